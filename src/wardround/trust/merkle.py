"""An append-only Merkle tree and its proofs (RFC 6962 section 2.1, RFC 9162 section 2.1).

Who holds a root holds everything under it fixed: the keeper of the log, who is the attacker here,
can't change, remove or reorder a leaf, nor show two parties different logs that both extend what
they saw, without a proof failing. Verifying raises; it never returns a truth value to forget.

All hashes are 32 bytes of SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from wardround.errors import WardroundError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's content; the prefix keeps a leaf from passing for a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """A growing tree in memory, 64 bytes a leaf. Roots and proofs exist for every past size.

    ``_levels[k]`` holds the hashes of the complete subtrees of ``2**k`` leaves, in order. Whatever
    lies beyond them hangs on the right edge and is hashed when asked for, in O(log n).
    """

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, hashed: bytes) -> int:
        """Add a leaf by its :func:`leaf_hash`; its index. Amortised O(1), at worst O(log n)."""
        if len(hashed) != HASH_BYTES:
            raise _out_of_range()
        index = self.size
        self._levels[0] += hashed
        complete, level = index, 0
        while complete & 1:  # each trailing 1 is a left sibling that now has its right one
            hashed = node_hash(self._node(level, complete - 1), hashed)
            complete >>= 1
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += hashed
        return index

    def truncate(self, size: int) -> None:
        """Forget all leaves from ``size`` on."""
        self._within(size)
        for level, nodes in enumerate(self._levels):
            del nodes[(size >> level) * HASH_BYTES :]

    def root(self, size: int | None = None) -> bytes:
        """The root now, or when the tree had ``size`` leaves."""
        size = self.size if size is None else self._within(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The audit path of leaf ``index`` in the tree of ``size`` leaves, lowest first.

        RFC 6962 section 2.1.1. Raises WR-TRUST-050 unless ``0 <= index < size <= self.size``.
        """
        size = self.size if size is None else self._within(size)
        if not 0 <= index < size:
            raise _out_of_range()
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start = middle
        return tuple(reversed(proof))

    def consistency_proof(self, size1: int, size2: int | None = None) -> tuple[bytes, ...]:
        """Proof that the tree of ``size2`` leaves begins with that of ``size1``, lowest first.

        RFC 6962 section 2.1.2. Raises WR-TRUST-050 unless ``0 < size1 <= size2 <= self.size``.
        """
        size2 = self.size if size2 is None else self._within(size2)
        if not 0 < size1 <= size2:
            raise _out_of_range()
        proof: list[bytes] = []
        start, end = 0, size2
        while size1 != end:
            middle = start + _split(end - start)
            if size1 <= middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start = middle
        if start:  # otherwise the old root itself is the lowest node, and the verifier has it
            proof.append(self._range(start, end))
        return tuple(reversed(proof))

    def _within(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise _out_of_range()
        return size

    def _node(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def _range(self, start: int, end: int) -> bytes:
        """The root over leaves ``start`` to ``end``, which the callers cut at subtree borders."""
        parts: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            parts.append(self._node(level, start >> level))
            start += 1 << level
        hashed = parts.pop()
        while parts:
            hashed = node_hash(parts.pop(), hashed)
        return hashed


def verify_inclusion(
    hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if the leaf hashed to ``hashed`` is number ``index`` of ``size`` under ``root``.

    RFC 9162 section 2.1.3.2. Raises WR-TRUST-051 otherwise.
    """
    failed = WardroundError(
        "WR-TRUST-051",
        "A journal's entry is not where its proof says.",
        "Ask for a new proof; if it fails too, the journal was altered: keep both and compare "
        "checkpoints with the other parties.",
    )
    if not 0 <= index < size or any(len(one) != HASH_BYTES for one in (hashed, root, *proof)):
        raise failed
    node, last = index, size - 1
    for sibling in proof:
        if last == 0:
            raise failed
        if node & 1 or node == last:
            hashed = node_hash(sibling, hashed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            hashed = node_hash(hashed, sibling)
        node >>= 1
        last >>= 1
    if last != 0 or not hmac.compare_digest(hashed, root):
        raise failed


def verify_consistency(
    size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the log of ``size2`` leaves under ``root2`` extends that of ``size1``.

    RFC 9162 section 2.1.4.2. Raises WR-TRUST-052 otherwise, also for ``size1 == 0``: that
    everything extends nothing is no evidence.
    """
    failed = WardroundError(
        "WR-TRUST-052",
        "A journal does not extend its earlier checkpoint: something was changed or removed.",
        "Keep both checkpoints and compare them with the other parties; trust neither until the "
        "difference is explained.",
    )
    if not 0 < size1 <= size2:
        raise failed
    if size1 == size2:
        if proof or not hmac.compare_digest(root1, root2):
            raise failed
        return
    # Two odd lengths could add up to the same bytes to hash.
    if any(len(one) != HASH_BYTES for one in (root1, root2, *proof)):
        raise failed
    # A complete old tree is itself the first node, and the proof leaves it out.
    path = list(proof) if size1 & (size1 - 1) else [root1, *proof]
    if not path:
        raise failed
    node, last = size1 - 1, size2 - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise failed
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last != 0 or not hmac.compare_digest(old, root1) or not hmac.compare_digest(new, root2):
        raise failed


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _out_of_range() -> WardroundError:
    return WardroundError(
        "WR-TRUST-050",
        "A journal was asked about an entry or a size that it does not have.",
        "Ask about an entry below the size of the checkpoint that you hold.",
    )
