"""Splitting a study's sites into groups, as a function of random bytes from every one of them.

The same bytes give one partition, or in a study that redraws its groups a whole sequence of them:
each is a uniform partition of its own, and whoever can't choose the first can't choose any.

Each group then sums on its own, against the whole of the adversary: all ``corrupt`` sites may sit
in one group, so no threshold rests on how the draw came out. Which sites share a group only
matters to whoever compares the groups' totals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wardround.ids import Digest, SiteName
from wardround.secagg import derive
from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES, Adversary
from wardround.secagg.expand import Keystream
from wardround.trust.canonical import digest_json

_VERSION = "wardround partition v1"
_AGAIN = b"wardround partition v1, number "
_WORD_BYTES = 4
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Partition:
    """The groups in the order in which they were drawn, each with its sites in ascending order."""

    groups: tuple[tuple[SiteName, ...], ...]

    def number_of(self, site: SiteName) -> int:
        """Which group a site belongs to, counted from one."""
        return next(n for n, group in enumerate(self.groups, 1) if site in group)

    def group_of(self, site: SiteName) -> tuple[SiteName, ...]:
        """The group a site belongs to, itself included."""
        return self.groups[self.number_of(site) - 1]

    @property
    def digest(self) -> Digest:
        """A name for the partition, as sites sign it."""
        return digest_json([list(group) for group in self.groups])


@dataclass(frozen=True)
class Partitions:
    """What a draw settles, over ``sites`` in ascending order: the study's partition, or if
    groups are ``redrawn`` as many as it takes.

    ``seed`` is 32 bytes and no secret: everybody works it out from the reveals.
    """

    sites: tuple[SiteName, ...]
    groups: int
    seed: bytes
    redrawn: bool = False

    def at(self, number: int) -> Partition:
        """Partition ``number``, from 0.

        Uniform over all ordered partitions into groups of `group_sizes`, and independent of the
        others, if the seed is: the sites in ascending order are shuffled (Fisher and Yates;
        Durstenfeld 1964) with numbers from AES-256-CTR, each drawn by rejection so that none is
        likelier than another, and then cut. Raises ValueError for a second one where there is one.
        """
        if number < 0 or (number and not self.redrawn):
            raise ValueError(number)
        key = derive.hkdf(self.seed, _AGAIN + str(number).encode()) if number else self.seed
        words, sites = _words(Keystream(key)), list(self.sites)
        for last in range(len(sites) - 1, 0, -1):
            chosen = _below(last + 1, words)
            sites[last], sites[chosen] = sites[chosen], sites[last]
        return _cut(sites, self.groups)

    @property
    def digest(self) -> Digest:
        """A name for all of them, as sites sign it."""
        if not self.redrawn:
            return self.at(0).digest
        return digest_json({"first": self.at(0).digest, "seed": self.seed.hex()})


def group_sizes(sites: int, groups: int) -> tuple[int, ...]:
    """How large the groups are, in the order of drawing: sizes differ by one at most."""
    smaller, larger = divmod(sites, groups)
    return (smaller + 1,) * larger + (smaller,) * (groups - larger)


def least_group(corrupt: int, minimum_sites: int, tolerated: int) -> int:
    """The smallest group that may be formed: max(t, f + 2) members besides the tolerated dropouts.

    ``minimum_sites`` is the study's own least number of survivors. A group that is large enough
    stays so when it grows, since t rises by one for two more members. Gives a number beyond
    `MAXIMUM_SITES` when no group is large enough.
    """
    for size in range(max(MINIMUM_SITES, corrupt + 2), MAXIMUM_SITES + 1):
        survivors = max(Adversary(size, corrupt).minimum_survivors, minimum_sites)
        if survivors + tolerated <= size:
            return size
    return MAXIMUM_SITES + 1


def draw_partitions(
    study: Digest,
    draw: int,
    commitments: Digest,
    revealed: Mapping[SiteName, bytes],
    groups: int,
    *,
    redrawn: bool = False,
) -> Partitions:
    """What 32 random bytes of each site make, the same for whoever computes it.

    The seed is an HKDF of all bytes: uniform, as long as the bytes of one site are and the others'
    don't depend on them.
    """
    sites = tuple(sorted(revealed))
    secret = b"".join(revealed[site] for site in sites)
    seed = derive.hkdf(secret, label(study, draw, "seed", commitments, str(groups)))
    return Partitions(sites, groups, seed, redrawn)


def label(study: Digest, draw: int, purpose: str, *parts: str | bytes) -> bytes:
    """An injective encoding of a purpose and what it is for."""
    encoded = (
        part if isinstance(part, bytes) else part.encode()
        for part in (_VERSION, purpose, study, str(draw), *parts)
    )
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _cut(shuffled: Sequence[SiteName], groups: int) -> Partition:
    cut, start = [], 0
    for size in group_sizes(len(shuffled), groups):
        cut.append(tuple(sorted(shuffled[start : start + size])))
        start += size
    return Partition(tuple(cut))


def _below(bound: int, words: Iterator[int]) -> int:
    """A uniform number from 0 to ``bound`` - 1."""
    most = (1 << 8 * _WORD_BYTES) // bound * bound
    return next(word for word in words if word < most) % bound


def _words(stream: Keystream) -> Iterator[int]:
    """The stream's little-endian words of 32 bits."""
    block = bytearray(_BLOCK_BYTES)
    offset = 0
    while True:
        stream.read_into(memoryview(block), offset)
        for at in range(0, _BLOCK_BYTES, _WORD_BYTES):
            yield int.from_bytes(block[at : at + _WORD_BYTES], "little")
        offset += _BLOCK_BYTES
