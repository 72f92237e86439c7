"""Study documents for tests."""

import copy
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.trust.keys import SigningKey

NAMES = ("coordinator", "north-general", "lakeside", "st-anna", "harbour")
# Fixed, so that tests have the same names in every process.
KEYS = {
    name: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number, name in enumerate(NAMES, start=1)
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


def toml(plain):
    """A study's plain values as the text of a ``study.toml``."""
    tops = {key: value for key, value in plain.items() if isinstance(value, str | int | float)}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in tops.items()]
    for key, value in plain.items():
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, dict):
                lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
                lines += [f"{name} = {json.dumps(item)}" for name, item in table.items()]
    return "\n".join(lines) + "\n"


def altered(path, value):
    """The complete study with the value at ``path`` (keys and indices) replaced."""
    plain = copy.deepcopy(document())
    place = plain
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = value
    return plain


def policy():
    """A compliance policy, as the published schema has it."""
    return {
        "node_execution_bounds": {
            "hardware_enclave_isolation": "INTEL_SGX_OR_AMD_SEV_ENFORCED",
            "maximum_local_epochs_per_round": 3,
            "local_data_ingestion_protocol": "FHIR_COMPLIANT_JSON_STREAMS",
        },
        "cryptographic_privacy_guardrails": {
            "weight_encryption_protocol": "HOMOMORPHIC_PALLIER_ENFORCED",
            "differential_privacy_epsilon": 1.0,
            "gaussian_noise_sigma": 0.7,
        },
    }


def privacy(**changes):
    """A budget of epsilon 1 for some seven hundred patients, which its noise keeps to."""
    plain = {
        "epsilon": 1.0,
        "patients": 700,
        "rationale": "A guess at membership is right at most 73 times in 100; so agreed.",
        "statistics": {"noise_multiplier": 20.0, "spare": 0},
        "training": {"noise_multiplier": 20.0, "steps": 10, "spare": 0},
        "evaluation": {"noise_multiplier": 20.0, "spare": 0},
    }
    return plain | changes


def private(**changes):
    """A complete study under the profile ``private``."""
    plain = {
        "profile": "private",
        "model": {"kind": "logistic", "algorithm": "dp-sgd"},
        "privacy": privacy(),
    }
    return document(**(plain | changes))


def clinical(**changes):
    """A study under the profile ``clinical``, which can't be run yet."""
    return private(**({"profile": "clinical", "policy": policy()} | changes))


def codes(error):
    """The codes in an error, of which there may be several."""
    return [one.code for one in getattr(error, "errors", (error,))]
