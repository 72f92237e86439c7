import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.ids import SiteName, StudyId
from wardround.trust.identity import SpiffeId

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.from_regex(r"[a-z0-9._-]{1,40}", fullmatch=True), labels, labels)
def test_round_trip(domain: str, study: str, name: str) -> None:
    identity = SpiffeId.of_site(domain, StudyId(study), SiteName(name))
    assert SpiffeId.parse(identity.text) == identity
    assert identity.text == f"spiffe://{domain}/study/{study}/site/{name}"


def test_a_coordinator_is_not_a_site() -> None:
    text = "spiffe://example.org/study/s/coordinator/c"
    assert SpiffeId.parse(text).role == "coordinator"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "https://example.org/study/s/site/n",
        "spiffe:///study/s/site/n",
        "spiffe://Example.org/study/s/site/n",
        "spiffe://example.org:8443/study/s/site/n",
        "spiffe://example.org/study/s/site/n/",
        "spiffe://example.org/study/s/site/n\n",
        "spiffe://example.org/study/s/steward/n",
        "spiffe://example.org/study//site/n",
        "spiffe://example.org/study/../site/n",
        "spiffe://example.org/study/s/site/-n",
        "spiffe://example.org/study/s/site/%6e",
        "spiffe://example.org/study/s/site/ñ",
        "spiffe://example.org/study/s/site/" + "n" * 64,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-030"):
        SpiffeId.parse(text)


@given(st.text(max_size=40))
def test_any_text_parses_or_raises_the_code(text: str) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-030"):
        SpiffeId.of_site("example.org", StudyId("s"), SiteName("/" + text))
