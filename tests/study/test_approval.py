import json
from datetime import date

import pytest

from studies import KEYS, clinical, codes, document
from wardround import WardroundError
from wardround.study import Profile, Study, approve, check_approval
from wardround.study.approval import PAYLOAD_TYPE
from wardround.trust.dsse import Envelope, sign
from wardround.trust.keys import SigningKey

TODAY = date(2027, 3, 1)
STUDY = Study.parse(document())
KEY = KEYS["harbour"]


def check(envelope, *, study=STUDY, site="harbour", key=KEY, today=TODAY):
    return check_approval(envelope, study, site, key.public, today)


def test_an_approval_says_what_was_approved():
    approval = check(Envelope.from_json(approve(STUDY, "harbour", KEY, TODAY).to_json()))
    assert approval.study == STUDY.digest
    assert approval.site == "harbour"
    assert approval.profile is Profile.SECURE_SUM
    assert (approval.approved_on, approval.approved_until) == (TODAY, STUDY.expires)


def signed(**changes):
    payload = json.loads(approve(STUDY, "harbour", KEY, TODAY).payload) | changes
    payload = {key: value for key, value in payload.items() if value is not None}
    return sign(PAYLOAD_TYPE, json.dumps(payload).encode(), KEY)


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (lambda: check(approve(STUDY, "harbour", KEY, TODAY), key=KEYS["lakeside"]), "070"),
        (lambda: check(sign("text/plain", b"yes", KEY)), "070"),
        (lambda: check(signed(extra=1)), "071"),
        (lambda: check(signed(site=None)), "071"),
        (lambda: check(signed(study="sha256:12")), "071"),
        (lambda: check(signed(profile="none")), "071"),
        (lambda: check(signed(approved_until="later")), "071"),
        (lambda: check(sign(PAYLOAD_TYPE, b"{", KEY)), "071"),
        (lambda: check(sign(PAYLOAD_TYPE, b"3", KEY)), "071"),
        (lambda: check(signed(study="sha256:" + "0" * 64)), "072"),
        (lambda: check(signed(profile="private")), "072"),
        (
            lambda: check(
                approve(STUDY, "harbour", KEY, TODAY), study=Study.parse(document(version=2))
            ),
            "072",
        ),
        (lambda: check(signed(site="lakeside")), "073"),
        (lambda: check(approve(STUDY, "harbour", KEY, TODAY), site="lakeside"), "073"),
        (
            lambda: check(approve(STUDY, "harbour", KEY, TODAY), today=date(2028, 1, 1)),
            "074",
        ),
        (
            lambda: check(approve(STUDY, "harbour", KEY, TODAY), today=date(2027, 2, 28)),
            "074",
        ),
        (
            lambda: check(
                approve(STUDY, "harbour", KEY, TODAY, until=date(2027, 4, 1)),
                today=date(2027, 4, 2),
            ),
            "074",
        ),
        # A hospital's own signature doesn't outlive the study either.
        (lambda: check(signed(approved_until="2030-01-01"), today=date(2028, 1, 1)), "074"),
    ],
)
def test_an_approval_that_does_not_hold_is_refused(refused, code):
    with pytest.raises(WardroundError) as error:
        refused()
    assert error.value.code == f"WR-STUDY-{code}"


def test_no_byte_of_an_approval_can_be_altered():
    envelope = approve(STUDY, "harbour", KEY, TODAY)
    for place in range(len(envelope.payload)):
        payload = bytearray(envelope.payload)
        payload[place] ^= 1
        altered = Envelope(envelope.payload_type, bytes(payload), envelope.signatures)
        with pytest.raises(WardroundError, match="WR-STUDY-070"):
            check(altered)


@pytest.mark.parametrize(
    ("arguments", "options", "code"),
    [
        ((STUDY, "elsewhere", KEY, TODAY), {}, "WR-STUDY-076"),
        ((STUDY, "lakeside", KEY, TODAY), {}, "WR-STUDY-076"),
        ((STUDY, "harbour", SigningKey.generate(), TODAY), {}, "WR-STUDY-076"),
        ((STUDY, "harbour", KEY, date(2028, 1, 1)), {}, "WR-STUDY-052"),
        ((STUDY, "harbour", KEY, TODAY), {"until": date(2028, 1, 1)}, "WR-STUDY-075"),
        ((STUDY, "harbour", KEY, TODAY), {"until": date(2027, 1, 1)}, "WR-STUDY-075"),
        (
            (
                Study.parse(clinical()),
                "harbour",
                KEY,
                TODAY,
            ),
            {},
            "WR-STUDY-050",
        ),
        (
            (
                Study.parse(document(coordinator={"name": "Somebody"}), draft=True),
                "harbour",
                KEY,
                TODAY,
            ),
            {},
            "WR-STUDY-051",
        ),
    ],
)
def test_what_must_not_be_approved_is_not_signed(arguments, options, code):
    with pytest.raises(WardroundError) as error:
        approve(*arguments, **options)
    assert codes(error.value) == [code]
