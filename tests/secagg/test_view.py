"""What the coordinator and a corrupt site see of one hospital says nothing of its numbers.

Two worlds have the same total over the honest sites: in one the victim has nothing but zeros and
its friend large numbers, in the other it is the other way round. What is seen:

- statements, sealed shares, votes and recovery shares: from the same random bytes they are the same
  bytes in both worlds, so they depend on no number (tested exactly);
- the packets, less every mask that is known: the victim's pair mask with the corrupt site and, when
  the round was opened, its own mask. What is left must be uniform whatever is in it (tested by
  counting, over many set-ups under keys of the operating system's randomness).

A count of n draws over k cells is compared with uniform by the likelihood-ratio chi-square
G = 2 n D, since its tail is bounded at every n and not only in the limit: P(n D >= x) is at most
e^-x (e x / (k - 1))^(k - 1) for x > k - 1 (Agrawal 2020, "Finite-sample concentration of the
multinomial in relative entropy"). Serial products are bounded by Hoeffding's inequality. Each test
may raise a false alarm with FALSE_ALARM / TESTS, less than 1e-7 in all.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from cohorts import BATCH, KEYS, MANIFEST, RUN, STUDY, Cohort, plain_sum
from secagg import reference
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import Advert, Member, RingArray, derive
from wardround.secagg.expand import Keystream
from wardround.trust.canonical import digest

FALSE_ALARM = 1e-7
TESTS = 10_000
"""More than this file makes, which is counted."""

LENGTH = 32
PAIRS = 10
"""Pairs of rounds in one set-up; every round has keys of its own."""

LARGE = 3_000_000_000
SITES = VICTIM, FRIEND, OTHER, CORRUPT = list(KEYS)[:4]
WORLDS = {"the victim has zeros": FRIEND, "the victim has large numbers": VICTIM}
BOUND = derive.Batch(STUDY, RUN, BATCH)

Words = NDArray[np.uint32]


class Watched(Cohort):
    """Four sites; what each draws is written down. With a seed, all of it can be repeated."""

    seed: str | None = None

    def member(self, name: SiteName) -> Member:
        draw = reference.stream(f"{self.seed} {name}") if self.seed else secrets.token_bytes
        drawn = self.__dict__.setdefault("drawn", {}).setdefault(name, [])

        def overheard(size: int) -> bytes:
            drawn.append(draw(size))
            return drawn[-1]

        self.random_bytes = overheard
        return super().member(name)

    def pair_mask(self, site: SiteName, index: int) -> Words:
        """What ``site`` added because of its secret with the corrupt one, which tells all."""
        private = derive.private_key(self.__dict__["drawn"][CORRUPT][1 + 2 * index])
        adverts = {one: Advert.open(self.adverts[one], self.keys[one]) for one in (site, CORRUPT)}
        pair = {one: advert.masking_keys[index] for one, advert in adverts.items()}
        shared = derive.exchange(private, pair[site])
        words = expanded(derive.pair_mask_key(shared, BOUND, index, manifest_of(index), pair))
        return words if site < CORRUPT else -words

    def self_mask(self, site: SiteName, index: int) -> Words:
        """What ``site`` alone added; the opening tells it of every survivor."""
        secret = self.__dict__["drawn"][site][2 + 2 * index]
        return expanded(derive.self_mask_key(secret, BOUND, index, manifest_of(index), site))


def manifest_of(index: int) -> Digest:
    return digest(b"manifest %d" % index)


def expanded(key: bytes) -> Words:
    words = np.zeros(LENGTH, np.uint32)
    Keystream(key).add_into(words)
    return words


def contributions(world: str) -> dict[SiteName, RingArray]:
    return {
        site: np.full(LENGTH, LARGE if site == WORLDS[world] else 0, np.uint32) for site in SITES
    }


def seen(
    world: str, runs: int, kind: type[Member] = Member, *, known: bool = True
) -> dict[str, Words]:
    """What is left of the packets, of shape (runs, LENGTH), with all ``known`` masks taken out."""
    left: dict[str, list[Words]] = {}
    values = {site: contributions(world)[site] for site in (VICTIM, FRIEND)}
    for _ in range(runs // PAIRS):
        cohort = Watched(4, 1, rounds=2 * PAIRS, kind=kind).set_up()
        for one in range(0, 2 * PAIRS, 2):
            packets, bare = [], []
            for index in (one, one + 1):
                masked = cohort.mask(index, manifest_of(index), values)
                if known:
                    masked = {s: w - cohort.pair_mask(s, index) for s, w in masked.items()}
                    own = {site: cohort.self_mask(site, index) for site in masked}
                    bare.append({site: words - own[site] for site, words in masked.items()})
                packets.append(masked[VICTIM])
            looks = {"the packet": packets[0], "two rounds": packets[0] - packets[1]}
            if known:
                looks["the opened packet"] = bare[0][VICTIM]
                looks["two opened rounds"] = bare[0][VICTIM] - bare[1][VICTIM]
                looks["beside the friend's"] = bare[0][VICTIM] - bare[0][FRIEND]
            for look, words in looks.items():
                left.setdefault(look, []).append(words)
    return {look: np.array(words, np.uint32) for look, words in left.items()}


# What is counted


def each_test(words: Words) -> Iterator[tuple[str, float]]:
    """Each test's name and a bound on the chance that uniform words give as much."""
    nibbles = np.stack([words >> np.uint32(4 * i) & np.uint32(15) for i in range(8)], axis=-1)
    for position in range(words.shape[1]):
        for nibble in range(8):
            counts = np.bincount(nibbles[:, position, nibble], minlength=16)
            yield "one position", chance_of_counts(counts)
    yield "all bytes", chance_of_counts(np.bincount(words.view(np.uint8).ravel(), minlength=256))
    for start in (0, 1):  # pairs that don't overlap, so that they are independent
        one, other = words[:, start:-1:2], words[:, start + 1 :: 2]
        pairs = 16 * nibbles[:, start:-1:2] + nibbles[:, start + 1 :: 2]
        yield "neighbours", chance_of_counts(np.bincount(pairs.ravel(), minlength=256))
        steps = np.ascontiguousarray(other - one).view(np.uint8).ravel()
        yield "steps", chance_of_counts(np.bincount(steps, minlength=256))
        products = (one / 2**32 - 0.5) * (other / 2**32 - 0.5)
        mean = float(products.mean()) - 2.0**-66  # of uniform words: (2^-33)^2, as good as nothing
        # Hoeffding: the products lie within [-1/4, 1/4].
        yield "serial correlation", 2 * math.exp(-8 * products.size * mean * mean)


def chance_of_counts(counts: NDArray[np.int64]) -> float:
    """A bound on the chance of counts this far from uniform (see above)."""
    total, free = int(counts.sum()), len(counts) - 1
    shares = counts[counts > 0] / total
    x = total * float((shares * np.log(shares * len(counts))).sum())
    return 1.0 if x <= free else math.exp(-x + free * (1 + math.log(x / free)))


def alarms(looks: dict[str, Words]) -> set[tuple[str, str]]:
    """Which looks at the view, and which tests, tell it from uniform."""
    return {
        (look, test)
        for look, words in looks.items()
        for test, chance in each_test(words)
        if chance < FALSE_ALARM / TESTS
    }


# The views


@pytest.mark.parametrize("runs", [250, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("world", WORLDS)
def test_a_view_is_uniform_whatever_the_hospital_has(world: str, runs: int) -> None:
    looks = seen(world, runs)
    made = sum(1 for words in looks.values() for _ in each_test(words))
    assert len(looks) == 5 and made * 2 * len(WORLDS) < TESTS
    assert alarms(looks) == set()


def test_the_worlds_have_one_total() -> None:
    """Otherwise they could be told apart by what is meant to be told."""
    one, other = (plain_sum(contributions(world).values()) for world in WORLDS)
    assert np.array_equal(one, other)


def test_all_that_is_said_beside_the_packets_depends_on_no_number() -> None:
    class Repeated(Watched):
        seed = "the same in both worlds"

    said = []
    for world in WORLDS:
        cohort = Repeated(4, 1, rounds=2).set_up()
        masked = cohort.mask(0, MANIFEST, contributions(world))
        votes = cohort.votes(0, MANIFEST, SITES[:3], SITES[:3])
        shares = cohort.recovered(0, MANIFEST, SITES[:3], votes, SITES[:3])
        statements = [cohort.adverts, cohort.deals, votes]
        said.append(
            (
                [sorted((site, one.payload) for site, one in kind.items()) for kind in statements],
                cohort.sealed,
                {site: one.to_wire() for site, one in shares.items()},
            )
        )
    assert said[0] == said[1]
    assert len(masked) == 4


# The same counting finds the mistakes of others


class ScalarMask(Member):
    """One number for the whole vector, as in OpenFL."""

    def mask(self, index: int, manifest: object, values: RingArray, *, round_id: RoundId) -> None:
        one = np.zeros(1, values.dtype)
        super().mask(index, manifest, one, round_id=round_id)
        values += one


class ReusedMask(Member):
    """Every second round takes the mask of the one before."""

    def mask(self, index: int, manifest: object, values: RingArray, *, round_id: RoundId) -> None:
        mask = np.zeros_like(values)
        super().mask(index, manifest, mask, round_id=round_id)
        values += self.__dict__.setdefault(f"mask {index // 2}", mask)


@pytest.mark.parametrize("world", WORLDS)
def test_a_mask_that_is_one_number_would_be_noticed(world: str) -> None:
    found = alarms(seen(world, 80, ScalarMask, known=False))
    assert {("the packet", test) for test in ("neighbours", "steps", "serial correlation")} <= found
    assert ("the packet", "one position") not in found, "each number by itself looks well"


def test_a_mask_that_comes_twice_would_be_noticed() -> None:
    found = alarms(seen("the victim has zeros", 80, ReusedMask, known=False))
    assert {look for look, _ in found} == {"two rounds"}, "each round by itself looks well"
    assert ("two rounds", "one position") in found


def test_the_bound_on_a_false_alarm_holds_where_it_can_be_computed() -> None:
    """Two cells: the exact binomial tail stays below it."""
    n = 40
    for heads in range(n // 2, n + 1):
        at_least = sum(math.comb(n, i) for i in range(heads, n + 1)) * 2 / 2**n
        bound = chance_of_counts(np.array([heads, n - heads]))
        assert at_least <= bound * (1 + 1e-9) or bound == 1.0
