"""Study documents for tests."""

from wardround.trust.keys import SigningKey

KEYS = {
    name: SigningKey.generate()
    for name in ("coordinator", "north-general", "lakeside", "st-anna", "harbour")
}


def document(**changes):
    """A complete study of four sites as plain values; ``changes`` replace top-level keys."""
    sites = [name for name in KEYS if name != "coordinator"]
    plain = {
        "id": "breast-mass",
        "title": "Breast mass",
        "question": "Which masses are malignant?",
        "purpose": "Research on public data.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2027-12-31",
        "coordinator": {
            "name": "Example University",
            "url": "https://coordinator.example.org:8443",
            "signing_key": KEYS["coordinator"].public.text,
            "ca": "sha256:" + "ab" * 32,
        },
        "sites": [{"name": name, "signing_key": KEYS[name].public.text} for name in sites],
        "data": {"outcome": "malignant", "features": ["radius_mean", "texture_mean"]},
        "model": {"kind": "logistic"},
        "disclosure": {"opened_numbers": 5000},
    }
    return plain | changes
