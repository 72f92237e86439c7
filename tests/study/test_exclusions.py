import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies import KEYS
from wardround import WardroundError
from wardround.study import load_exclusions, sign_exclusions
from wardround.study.exclusions import PAYLOAD_TYPE
from wardround.trust.dsse import Envelope, sign

KEY = KEYS["harbour"]
TODAY = date(2027, 3, 1)
CANARY = "patient-4711"


def written(folder, envelope):
    path = folder / "exclusions.json"
    path.write_bytes(envelope.to_json() if isinstance(envelope, Envelope) else envelope)
    return path


def load(path, study="breast-mass", site="harbour", key=KEY):
    return load_exclusions(path, study, site, key.public)


def listed(*patients):
    return sign_exclusions("breast-mass", "harbour", patients, KEY, TODAY)


def test_a_list_comes_back_as_signed(tmp_path):
    exclusions = load(written(tmp_path, listed(CANARY, "b", CANARY)))
    assert exclusions.patients == {CANARY, "b"}
    assert exclusions.issued == TODAY
    assert CANARY not in repr(exclusions)


def test_nobody_excluded_is_a_list_too(tmp_path):
    assert load(written(tmp_path, listed())).patients == frozenset()


@given(st.sets(st.text(min_size=1, max_size=200).filter(lambda t: t.isprintable() and t.strip())))
def test_identifiers_are_kept_exactly(tmp_path_factory, patients):
    path = written(tmp_path_factory.mktemp("exclusions"), listed(*patients))
    assert load(path).patients == patients


def payload(**changes):
    plain = json.loads(listed(CANARY).payload) | changes
    return sign(PAYLOAD_TYPE, json.dumps(plain).encode(), KEY)


@pytest.mark.parametrize(
    ("content", "options", "code"),
    [
        (None, {}, "080"),
        (b"", {}, "081"),
        (CANARY.encode(), {}, "081"),
        (b'["' + CANARY.encode() + b'"]', {}, "081"),
        (listed(CANARY), {"key": KEYS["lakeside"]}, "081"),
        (sign("text/plain", listed(CANARY).payload, KEY), {}, "081"),
        (payload(patients=[CANARY, CANARY]), {}, "081"),
        (payload(patients=[CANARY, 3]), {}, "081"),
        (payload(patients=CANARY), {}, "081"),
        (payload(issued="yesterday"), {}, "081"),
        (payload(surplus=CANARY), {}, "081"),
        (listed(CANARY), {"study": "other"}, "083"),
        (listed(CANARY), {"site": "lakeside"}, "083"),
    ],
)
def test_a_list_that_does_not_hold_closes_the_door(tmp_path, content, options, code):
    path = tmp_path / "exclusions.json" if content is None else written(tmp_path, content)
    with pytest.raises(WardroundError) as refused:
        load(path, **options)
    assert refused.value.code == f"WR-STUDY-{code}"
    shown = f"{refused.value} {refused.value.__cause__}"
    assert CANARY not in shown


def test_a_patient_can_not_be_taken_off_the_list(tmp_path):
    envelope = listed("a", CANARY)
    shorter = envelope.payload.replace(f',"{CANARY}"'.encode(), b"")
    assert shorter != envelope.payload
    altered = Envelope(envelope.payload_type, shorter, envelope.signatures)
    with pytest.raises(WardroundError, match="WR-STUDY-081"):
        load(written(tmp_path, altered))


@pytest.mark.parametrize("patient", ["", " ", "a\nb", "x" * 201, "a\x00"])
def test_an_impossible_identifier_is_refused_and_not_shown(patient):
    with pytest.raises(WardroundError) as refused:
        listed("good", patient)
    assert refused.value.code == "WR-STUDY-082"
    assert "good" not in str(refused.value)
