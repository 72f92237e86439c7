"""The journal: every decision of a coordinator or site, as leaves of a Merkle log.

The attacker is the keeper of the journal itself, who would later like to have decided something
else. It signs checkpoints, and other parties countersign or merely remember them; from then on a
changed, removed or reordered entry no longer fits, and two different journals shown to two parties
are found out as soon as those compare checkpoints. Nothing stops a keeper from writing a lie down
in the first place: a journal shows what was said and when, not that it is true.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from wardround.errors import WardroundError
from wardround.trust import dsse
from wardround.trust.canonical import JSON, canonical, parse_json
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.merkle import EMPTY_ROOT, HASH_BYTES, MerkleTree, leaf_hash

CHECKPOINT_TYPE: Final = "application/vnd.wardround.checkpoint+json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision: its ``kind`` and the ``facts`` that whoever checks it needs.

    Times belong in the facts. A journal may be shown to auditors, so a patient's value never does.
    """

    kind: str
    facts: Mapping[str, JSON]

    def to_leaf(self) -> bytes:
        """The canonical bytes that are hashed and stored."""
        return canonical({"kind": self.kind, "facts": dict(self.facts)})

    @classmethod
    def from_leaf(cls, leaf: bytes) -> Entry:
        """The entry of a stored leaf; raises WR-TRUST-053 for bytes :meth:`to_leaf` never makes."""
        match parse_json(leaf, code="WR-TRUST-053", what="journal entry"):
            case {"kind": str(kind), "facts": dict(facts), **rest} if not rest:
                entry = cls(kind, facts)
                if entry.to_leaf() == leaf:
                    return entry
        raise _malformed("entry")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A journal's state: whose it is (``origin``), its number of leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if (
            not 1 <= len(self.origin) <= 512
            or self.size < 0
            or len(self.root) != HASH_BYTES
            or (self.size == 0) != (self.root == EMPTY_ROOT)
        ):
            raise _malformed("checkpoint")

    def to_payload(self) -> bytes:
        """The canonical bytes that are signed."""
        root = base64.b64encode(self.root).decode()
        return canonical({"origin": self.origin, "size": self.size, "root": root})

    @classmethod
    def from_payload(cls, payload: bytes) -> Checkpoint:
        """Read :meth:`to_payload`; raises WR-TRUST-053 for anything else."""
        match parse_json(payload, code="WR-TRUST-053", what="checkpoint"):
            case {"origin": str(origin), "size": int(size), "root": str(root)}:
                try:
                    checkpoint = cls(origin, int(size), base64.b64decode(root))  # true is an int
                except (binascii.Error, ValueError):
                    raise _malformed("checkpoint") from None
                if checkpoint.to_payload() == payload:
                    return checkpoint
        raise _malformed("checkpoint")


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Envelope:
    """``checkpoint`` under the keeper's signature; a witness adds its own by ``Envelope.add``."""
    return dsse.sign(CHECKPOINT_TYPE, checkpoint.to_payload(), key)


def verify_checkpoint(
    envelope: Envelope,
    keeper: VerifyKey,
    witnesses: Iterable[VerifyKey] = (),
    threshold: int = 0,
) -> Checkpoint:
    """The checkpoint, if the keeper and at least ``threshold`` of the ``witnesses`` signed it.

    Raises the codes of :func:`wardround.trust.dsse.verify` for the keeper's signature and for a
    witness's that is there but wrong, and WR-TRUST-054 when there are too few witnesses.
    """
    payload = dsse.verify(envelope, CHECKPOINT_TYPE, keeper)
    signers = {signature.keyid for signature in envelope.signatures}
    present = {key for key in witnesses if key.text in signers and key != keeper}
    for key in present:
        dsse.verify(envelope, CHECKPOINT_TYPE, key)
    if len(present) < threshold:
        raise WardroundError(
            "WR-TRUST-054",
            f"A journal's checkpoint is signed by {len(present)} witnesses; {threshold} must.",
            "Ask the journal's keeper for a checkpoint that enough witnesses have signed.",
        )
    return Checkpoint.from_payload(payload)


class LeafStore(Protocol):
    """Where leaves are kept, in order and for good."""

    def append(self, leaf: bytes) -> int:
        """Store ``leaf`` and return its index: the number of leaves before it."""

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Leaves ``start`` to ``stop`` (exclusive), in order."""

    def size(self) -> int:
        """The number of leaves."""


class MemoryLeafStore:
    """A :class:`LeafStore` for tests and simulations in one process."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []

    def append(self, leaf: bytes) -> int:
        """Keep ``leaf``."""
        self._leaves.append(leaf)
        return len(self._leaves) - 1

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """What was kept."""
        return iter(self._leaves[start:stop])

    def size(self) -> int:
        """How much was kept."""
        return len(self._leaves)

    def truncate(self, size: int) -> None:
        """Drop leaves from ``size`` on, as a transaction that is rolled back does."""
        del self._leaves[size:]


class Journal:
    """The log of one keeper: a tree in memory over leaves in a store.

    A decision and its leaf belong in one SQL transaction. So :meth:`record` may be called while the
    store appends inside a caller's transaction; if that fails, the caller takes the tree back with
    :meth:`truncate` to the :attr:`size` from before.
    """

    def __init__(self, store: LeafStore, origin: str) -> None:
        self._store = store
        self._origin = origin
        self._tree = MerkleTree()
        self.catch_up()

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._tree.size

    def record(self, entry: Entry) -> int:
        """Append ``entry``; its index.

        Raises WR-TRUST-055 when another process has written to the store in between; roll the
        transaction back, :meth:`catch_up`, and do it again.
        """
        leaf = entry.to_leaf()
        if self._store.append(leaf) != self._tree.size:
            raise _out_of_step()
        return self._tree.append(leaf_hash(leaf))

    def truncate(self, size: int) -> None:
        """Forget entries from ``size`` on that the store has not kept, after a failed transaction.

        Raises WR-TRUST-050 when there never were as many.
        """
        self._tree.truncate(size)

    def catch_up(self) -> None:
        """Take in what the store holds beyond this tree: everything, on opening.

        Raises WR-TRUST-055 when the store holds less than the tree, or less than it says.
        """
        size = self._store.size()
        for leaf in self._store.leaves(self._tree.size, size):
            self._tree.append(leaf_hash(leaf))
        if self._tree.size != size:
            raise _out_of_step()

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries ``start`` to ``stop`` (exclusive; all when ``None``), read from the store."""
        stop = self.size if stop is None else stop
        return (Entry.from_leaf(leaf) for leaf in self._store.leaves(start, stop))

    def checkpoint(self) -> Checkpoint:
        """The present state, to be signed."""
        return Checkpoint(self._origin, self._tree.size, self._tree.root())

    def prove_inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that entry ``index`` is in the journal (as of ``size``), for ``verify_inclusion``.

        Raises WR-TRUST-050 when it is not.
        """
        return self._tree.inclusion_proof(index, size)

    def prove_consistency(self, from_size: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that the journal (as of ``size``) extends its first ``from_size`` entries.

        For ``verify_consistency``. Raises WR-TRUST-050 for an unknown size and for 0: that
        everything extends an empty journal needs no proof.
        """
        return self._tree.consistency_proof(from_size, size)


def _malformed(what: str) -> WardroundError:
    return WardroundError(
        "WR-TRUST-053",
        f"A journal's {what} is malformed.",
        "Ask the journal's keeper for it again; an auditor should treat it as altered.",
    )


def _out_of_step() -> WardroundError:
    return WardroundError(
        "WR-TRUST-055",
        "The journal in memory and the one in the database differ in length.",
        "Make sure that only one process runs on this database; restarting reads it afresh.",
    )
