import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.dsse import Envelope, sign
from wardround.trust.journal import (
    CHECKPOINT_TYPE,
    Checkpoint,
    Entry,
    Journal,
    MemoryLeafStore,
    sign_checkpoint,
    verify_checkpoint,
)
from wardround.trust.keys import SigningKey
from wardround.trust.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion

KEEPER, *WITNESSES = (SigningKey.generate() for _ in range(4))
ORIGIN = "spiffe://example.org/study/wdbc/coordinator/main"


def entry(number: int) -> Entry:
    return Entry("round-opened", {"round": f"r{number}", "at": 1_780_000_000 + number})


def filled(count: int) -> tuple[Journal, MemoryLeafStore]:
    store = MemoryLeafStore()
    journal = Journal(store, ORIGIN)
    assert [journal.record(entry(i)) for i in range(count)] == list(range(count))
    return journal, store


def test_entries_are_proved_against_a_signed_checkpoint() -> None:
    journal, _ = filled(11)
    envelope = Envelope.from_json(sign_checkpoint(journal.checkpoint(), KEEPER).to_json())
    checkpoint = verify_checkpoint(envelope, KEEPER.public)
    assert checkpoint.origin == ORIGIN
    for index in range(11):
        verify_inclusion(
            leaf_hash(entry(index).to_leaf()),
            index,
            checkpoint.size,
            journal.prove_inclusion(index),
            checkpoint.root,
        )


def test_a_later_checkpoint_extends_an_earlier_one() -> None:
    journal, _ = filled(5)
    earlier = journal.checkpoint()
    for number in range(5, 12):
        journal.record(entry(number))
    later = journal.checkpoint()
    proof = journal.prove_consistency(earlier.size)
    verify_consistency(earlier.size, earlier.root, later.size, later.root, proof)
    assert journal.prove_consistency(5, 5) == ()


def test_a_reopened_journal_is_the_same() -> None:
    journal, store = filled(9)
    reopened = Journal(store, ORIGIN)
    assert reopened.checkpoint() == journal.checkpoint()
    assert list(reopened.entries(7)) == [entry(7), entry(8)]
    assert reopened.record(entry(9)) == 9


def test_a_failed_transaction_leaves_no_trace() -> None:
    journal, store = filled(4)
    before = journal.checkpoint()
    journal.record(entry(100))
    journal.record(entry(101))
    store.truncate(before.size)  # the database rolls back
    journal.truncate(before.size)
    assert journal.checkpoint() == before
    journal.record(entry(4))
    assert journal.checkpoint() == filled(5)[0].checkpoint()


def test_a_store_that_fails_leaves_the_tree_alone() -> None:
    class Failing(MemoryLeafStore):
        def append(self, leaf: bytes) -> int:
            raise OSError("disk full")

    journal = Journal(Failing(), ORIGIN)
    with pytest.raises(OSError, match="disk full"):
        journal.record(entry(0))
    assert journal.size == 0


def test_a_second_writer_is_noticed() -> None:
    journal, store = filled(3)
    other = Journal(store, ORIGIN)
    other.record(entry(3))
    size = store.size()
    with pytest.raises(WardroundError, match="WR-TRUST-055"):
        journal.record(entry(4))
    store.truncate(size)
    journal.catch_up()
    journal.record(entry(4))
    assert journal.size == 5
    store.truncate(2)
    with pytest.raises(WardroundError, match="WR-TRUST-055"):
        journal.catch_up()


def test_the_empty_journal() -> None:
    journal = Journal(MemoryLeafStore(), ORIGIN)
    assert journal.checkpoint() == Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    for ask in (lambda: journal.prove_inclusion(0), lambda: journal.prove_consistency(0)):
        with pytest.raises(WardroundError, match="WR-TRUST-050"):
            ask()


def test_witnesses_are_counted_once_each() -> None:
    envelope = sign_checkpoint(filled(3)[0].checkpoint(), KEEPER)
    keys = [one.public for one in WITNESSES]
    verify_checkpoint(envelope, KEEPER.public, keys, 0)
    envelope = envelope.add(WITNESSES[0]).add(WITNESSES[0])
    verify_checkpoint(envelope, KEEPER.public, [*keys, *keys], 1)
    with pytest.raises(WardroundError, match="WR-TRUST-054"):
        verify_checkpoint(envelope, KEEPER.public, [*keys, *keys], 2)
    with pytest.raises(WardroundError, match="WR-TRUST-054"):  # the keeper is no witness of itself
        verify_checkpoint(envelope, KEEPER.public, [*keys, KEEPER.public], 2)
    verify_checkpoint(envelope.add(WITNESSES[1]), KEEPER.public, keys, 2)
    with pytest.raises(WardroundError, match="WR-TRUST-022"):
        verify_checkpoint(envelope, WITNESSES[2].public)


@given(st.data())
def test_any_altered_byte_of_a_checkpoint_is_found(data: st.DataObject) -> None:
    wire = bytearray(sign_checkpoint(filled(3)[0].checkpoint(), KEEPER).to_json())
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WardroundError):
        verify_checkpoint(Envelope.from_json(bytes(wire)), KEEPER.public)


GOOD = json.loads(filled(2)[0].checkpoint().to_payload())


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {},
        {**GOOD, "more": 1},
        {**GOOD, "origin": ""},
        {**GOOD, "origin": "x" * 513},
        {**GOOD, "size": -1},
        {**GOOD, "size": 0},
        {**GOOD, "size": True},
        {**GOOD, "size": 2.5},
        {**GOOD, "root": "AAAA"},
        {**GOOD, "root": GOOD["root"] + "\n"},
        {**GOOD, "root": "é"},
    ],
)
def test_malformed_checkpoints_are_refused(bad: object) -> None:
    payload = json.dumps(bad, separators=(",", ":"), sort_keys=True).encode()
    with pytest.raises(WardroundError, match="WR-TRUST-053"):
        Checkpoint.from_payload(payload)
    with pytest.raises(WardroundError, match="WR-TRUST-053"):
        verify_checkpoint(sign(CHECKPOINT_TYPE, payload, KEEPER), KEEPER.public)


@pytest.mark.parametrize(
    "leaf", [b"", b"{}", b"[]", b'{"facts":{},"kind":1}', b'{"facts":{}, "kind":"a"}',
             b'{"facts":{},"kind":"a","x":1}', b'{"facts":[],"kind":"a"}']
)  # fmt: skip
def test_malformed_leaves_are_refused(leaf: bytes) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-053"):
        Entry.from_leaf(leaf)


def test_an_entry_is_its_canonical_bytes() -> None:
    one = Entry("vote", {"b": [1, 2.5], "a": None})
    assert one.to_leaf() == b'{"facts":{"a":null,"b":[1,2.5]},"kind":"vote"}'
    assert Entry.from_leaf(one.to_leaf()) == one
