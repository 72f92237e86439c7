"""Commitments and reveals: what binds, what hides, and what is refused on the wire."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import KEYS, STUDY
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.secagg import Acceptance, Commitment, Reveal
from wardround.secagg.draw import (
    MAXIMUM_DRAWS,
    commit,
    open_commitments,
    open_reveals,
    payloads_digest,
)
from wardround.secagg.messages import Message
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

SITES = tuple(KEYS)[:6]
PUBLIC = {site: KEYS[site].public for site in SITES}
RANDOM = {site: bytes([n]) * 32 for n, site in enumerate(SITES)}
ONE = SITES[0]


def committed(draw: int = 0) -> dict[SiteName, Envelope]:
    return {site: commit(STUDY, draw, site, RANDOM[site]).sign(KEYS[site]) for site in SITES}


def revealed(draw: int = 0) -> dict[SiteName, Envelope]:
    seen = payloads_digest(committed(draw))
    return {site: Reveal(STUDY, draw, site, seen, RANDOM[site]).sign(KEYS[site]) for site in SITES}


def test_what_is_revealed_is_what_was_committed_to() -> None:
    for draw in range(MAXIMUM_DRAWS):
        commitments = open_commitments(committed(draw), STUDY, draw, PUBLIC)
        seen = payloads_digest(committed(draw))
        assert open_reveals(revealed(draw), commitments, seen, STUDY, draw, PUBLIC) == RANDOM


def test_a_commitment_is_a_hash_over_everything_that_it_is_for() -> None:
    """The label by hand: each part after its length."""
    parts = (b"wardround partition v1", b"commitment", STUDY.encode(), b"0", ONE.encode())
    text = b"".join(len(part).to_bytes(4, "big") + part for part in (*parts, RANDOM[ONE]))
    assert commit(STUDY, 0, ONE, RANDOM[ONE]).commitment == hashlib.sha256(text).digest()
    others = {
        commit(digest(b"another study"), 0, ONE, RANDOM[ONE]).commitment,
        commit(STUDY, 1, ONE, RANDOM[ONE]).commitment,
        commit(STUDY, 0, SITES[1], RANDOM[ONE]).commitment,
        commit(STUDY, 0, ONE, RANDOM[SITES[1]]).commitment,
        commit(STUDY, 0, ONE, RANDOM[ONE]).commitment,
    }
    assert len(others) == 5


def test_a_copied_commitment_can_not_be_opened() -> None:
    """A site that repeats another's commitment can't reveal the bytes as its own."""
    copied = Commitment(STUDY, 0, SITES[1], commit(STUDY, 0, ONE, RANDOM[ONE]).commitment)
    said = {**committed(), SITES[1]: copied.sign(KEYS[SITES[1]])}
    seen = payloads_digest(said)
    reveals = {
        site: Reveal(STUDY, 0, site, seen, RANDOM[ONE if site == SITES[1] else site]).sign(
            KEYS[site]
        )
        for site in SITES
    }
    commitments = open_commitments(said, STUDY, 0, PUBLIC)
    with pytest.raises(WardroundError) as raised:
        open_reveals(reveals, commitments, seen, STUDY, 0, PUBLIC)
    assert (raised.value.code, raised.value.path) == ("WR-SECAGG-031", SITES[1])


MESSAGES = (
    commit(STUDY, 0, ONE, RANDOM[ONE]),
    Reveal(STUDY, 2, ONE, STUDY, RANDOM[ONE]),
    Acceptance(STUDY, 1, ONE, STUDY, STUDY, STUDY),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_messages_survive_the_wire_and_nothing_else_does(message: Message) -> None:
    plain = message.to_wire()
    assert type(message).from_wire(plain) == message
    for key in plain:
        for value in (None, 3.5, "", -1, MAXIMUM_DRAWS, ["x"], "AAAA"):
            if key == "site" and value == "AAAA":
                continue  # whether it is the signer is for `open_signed`
            with pytest.raises(WardroundError) as raised:
                type(message).from_wire({**plain, key: value})
            assert raised.value.code == "WR-SECAGG-006"
        with pytest.raises(WardroundError):
            type(message).from_wire({name: one for name, one in plain.items() if name != key})
    with pytest.raises(WardroundError):
        type(message).from_wire({**plain, "more": 1})


@given(st.integers(0, 2), st.integers(0, 2))
def test_nothing_of_one_draw_is_good_in_another(draw: int, other: int) -> None:
    for call in (
        lambda: open_commitments(committed(draw), STUDY, other, PUBLIC),
        lambda: open_reveals(
            revealed(draw),
            open_commitments(committed(other), STUDY, other, PUBLIC),
            payloads_digest(committed(other)),
            STUDY,
            other,
            PUBLIC,
        ),
    ):
        if draw == other:
            call()
        else:
            with pytest.raises(WardroundError):
                call()
