"""Messages: they survive the wire unchanged, and nothing else gets through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import KEYS, MANIFEST, random_values, usual
from wardround.errors import WardroundError
from wardround.secagg import Advert, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.messages import Message
from wardround.trust.dsse import Envelope


def examples() -> list[Message]:
    cohort = usual(4, rounds=2).set_up()
    cohort.mask(1, MANIFEST, random_values(cohort.names, 3, 32))
    me, survivors = cohort.names[0], cohort.names[:3]
    votes = cohort.votes(1, MANIFEST, survivors, survivors)
    key = cohort.keys[me]
    return [
        Advert.open(cohort.adverts[me], key),
        Deal.open(cohort.deals[me], key),
        SurvivorVote.open(votes[me], key),
        cohort.members[me].recover(1, MANIFEST, survivors, votes),
    ]


EXAMPLES = examples()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_survives_signing_and_the_wire(message: Message) -> None:
    key = KEYS[message.site]
    envelope = Envelope.from_json(message.sign(key).to_json())
    assert type(message).open(envelope, key.public) == message
    assert type(message).from_wire(json.loads(json.dumps(message.to_wire()))) == message


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_changed_field_is_refused_or_gives_another_message(
    message: Message, data: st.DataObject
) -> None:
    wire: dict[str, Any] = json.loads(json.dumps(message.to_wire()))
    name = data.draw(st.sampled_from(sorted(wire)))
    wire[name] = data.draw(json_values)
    try:
        assert type(message).from_wire(wire) != message
    except WardroundError as error:
        assert error.code == "WR-SECAGG-006"


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_missing_and_unknown_fields_are_refused(message: Message) -> None:
    wire = message.to_wire()
    for name in wire:
        with pytest.raises(WardroundError, match="WR-SECAGG-006"):
            type(message).from_wire({k: v for k, v in wire.items() if k != name})
    for value in ({**wire, "more": 1}, list(wire), None, "text"):
        with pytest.raises(WardroundError, match="WR-SECAGG-006"):
            type(message).from_wire(value)


def drop_last(wire: dict[str, Any], name: str) -> None:
    wire[name] = wire[name][:-1]


ADVERT, DEAL, VOTE, RECOVERY = EXAMPLES


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        (ADVERT, lambda w: w.update(rounds=True)),
        (ADVERT, lambda w: w.update(rounds=0, masking_keys=[], self_mask_commitments=[])),
        (ADVERT, lambda w: w.update(rounds=3)),
        (ADVERT, lambda w: w.update(pool=w["pool"][::-1])),
        (ADVERT, lambda w: w.update(pool=w["pool"][:1] * 4)),
        (ADVERT, lambda w: w.update(pool=w["pool"][:2])),
        (ADVERT, lambda w: w.update(site="site-30")),
        (ADVERT, lambda w: w.update(site="../etc", pool=["../etc", "b", "c"])),
        (ADVERT, lambda w: w.update(run="")),
        (ADVERT, lambda w: w.update(run="a\nb")),
        (ADVERT, lambda w: w.update(study="study")),
        (ADVERT, lambda w: w.update(sealing_key="AA==")),
        (ADVERT, lambda w: w.update(sealing_key=w["sealing_key"] + "\n")),
        (ADVERT, lambda w: w.update(sealing_key="!" * 44)),
        (ADVERT, lambda w: w.update(sealing_key="A" * 42 + "B=")),
        (ADVERT, lambda w: drop_last(w, "masking_keys")),
        (DEAL, lambda w: w["sealed"].update({w["site"]: MANIFEST})),
        (DEAL, lambda w: w.update(sealed={})),
        (VOTE, lambda w: w.update(survivors=[w["site"]])),
        (VOTE, lambda w: w.update(survivors=w["survivors"][1:])),
        (VOTE, lambda w: w.update(index=-1)),
        (VOTE, lambda w: w.update(index=True)),
        (RECOVERY, lambda w: w["masking_shares"].update(w["self_mask_shares"])),
        (RECOVERY, lambda w: w.update(self_mask_shares={})),
        (RECOVERY, lambda w: w["self_mask_shares"].update({w["site"]: "AAAA"})),
    ],
)
def test_damaged_messages_are_refused(
    message: Message, damage: Callable[[dict[str, Any]], None]
) -> None:
    wire: dict[str, Any] = json.loads(json.dumps(message.to_wire()))
    damage(wire)
    with pytest.raises(WardroundError, match="WR-SECAGG-006"):
        type(message).from_wire(wire)


def test_one_kind_of_message_never_passes_for_another() -> None:
    for message in EXAMPLES:
        key = KEYS[message.site]
        for kind in (Advert, Deal, SurvivorVote, RecoveryShares):
            if kind is not type(message):
                with pytest.raises(WardroundError, match="WR-TRUST-021"):
                    kind.open(message.sign(key), key.public)
