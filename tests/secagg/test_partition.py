"""The partition: sizes, uniformity, vectors computed another way."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import math
import secrets
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.secagg.adversary import Adversary
from wardround.secagg.partition import (
    Partition,
    Partitions,
    draw_partitions,
    group_sizes,
    least_group,
)
from wardround.trust.canonical import digest

STUDY, SEEN = digest(b"study"), digest(b"commitments")


def names(count: int) -> list[SiteName]:
    return [SiteName(f"site-{number:02}") for number in range(count)]


def draw_partition(*drawn: object) -> Partition:
    return draw_partitions(*drawn).at(0)


def revealed(count: int, seed: int) -> dict[SiteName, bytes]:
    return {site: hashlib.sha256(f"{seed} {site}".encode()).digest() for site in names(count)}


@given(st.integers(6, 40), st.integers(2, 13), st.integers(0, 2**32))
def test_every_site_is_in_one_group_and_sizes_differ_by_one(
    count: int, groups: int, seed: int
) -> None:
    groups = min(groups, count // 3)
    random = revealed(count, seed)
    partition = draw_partition(STUDY, 0, SEEN, random, groups)
    assert sorted(itertools.chain(*partition.groups)) == sorted(random)
    sizes = [len(group) for group in partition.groups]
    assert tuple(sizes) == group_sizes(count, groups)
    assert len(sizes) == groups
    assert max(sizes) - min(sizes) <= 1
    backwards = dict(reversed(random.items()))
    assert draw_partition(STUDY, 0, SEEN, backwards, groups) == partition
    for site in random:
        assert site in partition.group_of(site)
        assert partition.groups[partition.number_of(site) - 1] == partition.group_of(site)


@given(st.integers(6, 40), st.integers(0, 12), st.integers(3, 9), st.integers(0, 3))
def test_a_group_of_the_least_size_or_more_bears_all_corrupt_sites_and_the_dropouts(
    count: int, corrupt: int, minimum: int, tolerated: int
) -> None:
    least = least_group(corrupt, minimum, tolerated)
    for size in range(3, count + 1):
        try:
            adversary = Adversary(size, corrupt)
            needed = max(adversary.threshold, corrupt + 2, minimum)
            enough = needed + tolerated <= size
        except WardroundError:
            enough = False
        assert enough == (size >= least)


@pytest.mark.parametrize(
    ("change"),
    [
        lambda random: (digest(b"another study"), 0, SEEN, random),
        lambda random: (STUDY, 1, SEEN, random),
        lambda random: (STUDY, 0, digest(b"other commitments"), random),
        lambda random: (STUDY, 0, SEEN, random | {names(1)[0]: bytes(32)}),
    ],
)
def test_everything_that_is_signed_goes_into_the_draw(change: object) -> None:
    random = revealed(40, 0)
    before = draw_partition(STUDY, 0, SEEN, random, 8)
    assert draw_partition(*change(random), 8) != before


def chi_square(observed: Counter[object], expected: float, cells: int) -> float:
    assert len(observed) <= cells
    found = sum((count - expected) ** 2 / expected for count in observed.values())
    return found + (cells - len(observed)) * expected


def test_each_site_is_in_each_group_equally_often() -> None:
    """Chi-square over 12 sites in 3 groups of 4; the bound is the 1 - 1e-6 quantile."""
    draws, sites, groups = 6000, 12, 3
    counts: Counter[object] = Counter()
    for seed in range(draws):
        partition = draw_partition(STUDY, 0, SEEN, revealed(sites, seed), groups)
        counts.update((site, partition.number_of(site)) for site in names(sites))
    worst = max(
        chi_square(
            Counter({key: count for key, count in counts.items() if key[0] == site}),
            draws / groups,
            groups,
        )
        for site in names(sites)
    )
    assert worst < 27.6  # chi-square, 2 degrees of freedom


def test_all_partitions_of_six_in_two_groups_are_equally_likely() -> None:
    draws, cells = 8000, 20  # 6! / (3! 3!)
    seen = Counter(
        draw_partition(STUDY, 0, SEEN, revealed(6, seed), 2).groups for seed in range(draws)
    )
    assert len(seen) == cells
    assert chi_square(seen, draws / cells, cells) < 66.0  # 19 degrees of freedom, 1 - 4e-7


def test_one_honest_site_is_enough() -> None:
    """All others may have chosen their bytes as they like, beforehand."""
    draws, chosen = 4000, {site: bytes(32) for site in names(6)}
    seen = Counter(
        draw_partition(
            STUDY, 0, SEEN, chosen | {SiteName("site-03"): secrets.token_bytes(32)}, 2
        ).groups
        for _ in range(draws)
    )
    assert chi_square(seen, draws / 20, 20) < 66.0


def independent(random: dict[SiteName, bytes], draw: int, groups: int) -> list[list[str]]:
    """RFC 5869 by hand, AES in ECB over a counter, the shuffle after Durstenfeld's text."""
    parts = (
        b"wardround partition v1", b"seed", STUDY.encode(), str(draw).encode(),
        SEEN.encode(), str(groups).encode(),
    )  # fmt: skip
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    key_material = b"".join(value for _, value in sorted(random.items()))
    extracted = hmac.digest(bytes(32), key_material, "sha256")
    key = hmac.digest(extracted, info + b"\x01", "sha256")
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    stream = b"".join(block.update(n.to_bytes(16, "big")) for n in range(1000))
    words = iter(int.from_bytes(stream[at : at + 4], "little") for at in range(0, len(stream), 4))
    order = sorted(random)
    for i in reversed(range(1, len(order))):
        while (word := next(words)) >= 2**32 - 2**32 % (i + 1):
            pass
        j = word % (i + 1)
        order[i], order[j] = order[j], order[i]
    cut = []
    for number in range(groups):
        size = len(random) // groups + (number < len(random) % groups)
        cut.append(sorted(order[:size]))
        order = order[size:]
    return cut


@given(st.integers(6, 40), st.integers(2, 6), st.integers(0, 2), st.integers(0, 2**32))
def test_another_implementation_draws_the_same(
    count: int, groups: int, draw: int, seed: int
) -> None:
    groups = min(groups, count // 3)
    random = revealed(count, seed)
    drawn = draw_partition(STUDY, draw, SEEN, random, groups)
    assert [list(group) for group in drawn.groups] == independent(random, draw, groups)


def test_the_vector() -> None:
    """Kept so that a study that was drawn yesterday is drawn alike for ever."""
    random = {site: bytes([number]) * 32 for number, site in enumerate(names(8))}
    drawn = draw_partition(STUDY, 0, SEEN, random, 3)
    assert [[site[-2:] for site in group] for group in drawn.groups] == [
        ["01", "03", "04"],
        ["00", "02", "05"],
        ["06", "07"],
    ]


def sequence(seed: int, sites: int = 6, groups: int = 2) -> Partitions:
    return draw_partitions(STUDY, 0, SEEN, revealed(sites, seed), groups, redrawn=True)


def test_a_sequence_begins_with_the_partition_that_there_would_be_alone() -> None:
    drawn = sequence(0, 12, 3)
    assert drawn.at(0) == draw_partition(STUDY, 0, SEEN, revealed(12, 0), 3)
    assert drawn.at(5) == drawn.at(5)
    assert len({drawn.at(number) for number in range(20)}) == 20
    assert all(group_sizes(12, 3) == tuple(map(len, drawn.at(n).groups)) for n in range(20))


def test_there_is_no_second_partition_where_groups_are_not_redrawn() -> None:
    fixed = draw_partitions(STUDY, 0, SEEN, revealed(12, 0), 3)
    with pytest.raises(ValueError, match="1"):
        fixed.at(1)
    with pytest.raises(ValueError, match="-1"):
        sequence(0).at(-1)


def test_what_is_signed_names_all_partitions_of_a_sequence() -> None:
    """Two draws may begin with the same groups and go on with others."""
    first: dict[Partition, Partitions] = {}
    for seed in range(40):  # there are 20 partitions
        drawn = sequence(seed)
        twin = first.setdefault(drawn.at(0), drawn)
        assert (twin.digest == drawn.digest) == (twin is drawn)


def test_later_partitions_are_uniform_and_do_not_follow_from_the_one_before() -> None:
    draws, cells = 8000, 20
    drawn = [sequence(seed) for seed in range(draws)]
    for number in (1, 2):
        seen = Counter(one.at(number).groups for one in drawn)
        assert chi_square(seen, draws / cells, cells) < 66.0
    pairs = Counter((one.at(0).groups, one.at(1).groups) for one in drawn)
    assert chi_square(pairs, draws / cells**2, cells**2) < 400 + 5.5 * math.sqrt(2 * 399)


def test_a_later_partition_as_another_implementation_has_it() -> None:
    """HKDF over the seed with the number in its label, then the same shuffle."""
    random = revealed(9, 4)
    drawn = draw_partitions(STUDY, 1, SEEN, random, 3, redrawn=True)
    extracted = hmac.digest(bytes(32), drawn.seed, "sha256")
    key = hmac.digest(extracted, b"wardround partition v1, number 7\x01", "sha256")
    assert Partitions(drawn.sites, 3, key).at(0) == drawn.at(7)
