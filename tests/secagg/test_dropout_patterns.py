"""Every pattern of dropouts over every exchange, from the first advert to the last share.

Each site is lost before one of its messages, or never. Within the thresholds the total is exact to
the last bit; beyond them the round fails with the code of the exchange that lacked somebody, and
what has been given by then opens nothing. Up to 32 sites, where all pairs mask together; 33 to 40,
over the sparse graph, are in `test_sparse`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cohorts import KEYS, MANIFEST, Cohort, plain_sum, random_values
from secagg import reference
from wardround.errors import WardroundError
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg import Adversary, Advert, RecoveryShares, RingBits, default_corrupt

STAGES = ("advert", "deal", "packet", "vote", "shares")
LENGTH = 9
Lost = Mapping[SiteName, str | None]


def set_up(pool: tuple[SiteName, ...], corrupt: int, lost: Lost) -> Cohort | None:
    """Set-ups among whoever is left, until one is complete; None when too few are."""
    for attempt in range(3):
        try:
            minimum = Adversary(len(pool), corrupt).minimum_survivors
        except WardroundError as error:
            assert error.code in ("WR-SECAGG-001", "WR-SECAGG-002")
            return None
        state = Setup(BatchId(f"batch-{attempt}"), RunId("run-1"), pool, 1, minimum)
        cohort = Cohort(len(pool), corrupt, batch=state.batch, only=pool)
        absent = [name for name in pool if lost[name] == "advert"]
        cohort.advertise(absent)
        for name in cohort.adverts:
            state = state.on_advert(name)
        state = state if state.phase is SetupPhase.DEAL else state.on_deadline()
        if state.phase is SetupPhase.FAILED:
            return None
        try:
            cohort.deal([name for name in state.roster if lost[name] == "deal"])
        except WardroundError as error:  # two honest sites are no longer sure to be in it
            assert error.code in ("WR-SECAGG-001", "WR-SECAGG-002")
            return None
        for name in cohort.deals:
            state = state.on_deal(name)
        if state.phase is SetupPhase.READY:
            for name, member in cohort.members.items():
                member.accept(cohort.deals, cohort.sealed_to(name))
            return cohort
        for name in cohort.deals:
            with pytest.raises(WardroundError, match="WR-SECAGG-008"):
                cohort.members[name].accept(cohort.deals, cohort.sealed_to(name))
        pool = state.on_deadline().willing
    raise AssertionError("who is lost while dealing is lost once")


def opens_nothing(cohort: Cohort, shares: Mapping[SiteName, RecoveryShares]) -> bool:
    """Whether the shares that were given are too few for any secret."""
    if len(shares) >= cohort.adversary.threshold:
        return False
    numbers = {name: number for number, name in enumerate(cohort.roster, 1)}
    for kind in ("masking_shares", "self_mask_shares"):
        for dealer in cohort.roster:
            given = {
                numbers[helper]: int.from_bytes(getattr(one, kind)[dealer], "big")
                for helper, one in shares.items()
                if dealer in getattr(one, kind)
            }
            found = reference.secret_of(given) if given else b""
            advert = Advert.open(cohort.adverts[dealer], cohort.keys[dealer])
            if kind == "masking_shares" and found:
                assert reference.public_key(found) != advert.masking_keys[0]
    return True


def play(sites: int, corrupt: int, ring_bits: RingBits, lost: Lost) -> str:
    """The whole protocol; gives the code with which it failed, or ``exact``."""
    cohort = set_up(tuple(KEYS)[:sites], corrupt, lost)
    if cohort is None:
        return "no set-up"
    roster, adversary = cohort.roster, cohort.adversary
    values = random_values(roster, LENGTH, ring_bits, seed=sites)
    gone = {stage: {name for name in roster if lost[name] == stage} for stage in STAGES}
    survivors = [name for name in roster if name not in gone["packet"]]
    masked = cohort.mask(0, MANIFEST, {name: values[name] for name in survivors})
    if len(survivors) < adversary.minimum_survivors:
        for name in survivors:
            with pytest.raises(WardroundError, match="WR-SECAGG-013"):
                cohort.members[name].vote(0, MANIFEST, survivors)
        return "WR-SECAGG-013"
    voters = [name for name in survivors if name not in gone["vote"]]
    votes = cohort.votes(0, MANIFEST, survivors, voters)
    if len(voters) < adversary.threshold:
        for name in voters:
            with pytest.raises(WardroundError, match="WR-SECAGG-015"):
                cohort.members[name].recover(0, MANIFEST, survivors, votes)
        return "WR-SECAGG-015"
    helpers = [name for name in voters if name not in gone["shares"]]
    shares = cohort.recovered(0, MANIFEST, survivors, votes, helpers)
    if len(helpers) < adversary.threshold:
        with pytest.raises(WardroundError, match="WR-SECAGG-016"):
            cohort.unmasking(ring_bits, 0, MANIFEST, survivors, shares)
        assert opens_nothing(cohort, shares)
        return "WR-SECAGG-016"
    total = plain_sum(masked.values())
    cohort.unmasking(ring_bits, 0, MANIFEST, survivors, shares).unmask(total)
    assert np.array_equal(total, plain_sum(values[name] for name in survivors))
    return "exact"


@st.composite
def patterns(draw: st.DrawFn, most: int) -> tuple[int, int, RingBits, Lost]:
    sites = draw(st.integers(3, most))
    corrupt = draw(st.integers(0, default_corrupt(sites)))
    bearable = Adversary(sites, corrupt).tolerated_dropouts
    count = draw(st.sampled_from((bearable, bearable // 2, 0, bearable + 1, sites // 2 + 1)))
    names = draw(st.permutations(tuple(KEYS)[:sites]))[: max(count, 0)]
    lost: dict[SiteName, str | None] = dict.fromkeys(tuple(KEYS)[:sites])
    for name in names:
        lost[name] = draw(st.sampled_from(STAGES))
    return sites, corrupt, draw(st.sampled_from((32, 64))), lost


def check(sites: int, corrupt: int, ring_bits: RingBits, lost: Lost) -> None:
    ended = play(sites, corrupt, ring_bits, lost)
    event(ended)
    stages = [stage for stage in lost.values() if stage]
    if len(stages) <= Adversary(sites, corrupt).tolerated_dropouts and not (
        {"advert", "deal"} & set(stages)
    ):
        assert ended == "exact"


@settings(max_examples=40)
@given(patterns(16))
def test_any_pattern_of_dropouts(pattern: tuple[int, int, RingBits, Lost]) -> None:
    check(*pattern)


@settings(max_examples=6)
@given(patterns(32))
def test_any_pattern_of_dropouts_up_to_thirty_two(pattern: tuple[int, int, RingBits, Lost]) -> None:
    check(*pattern)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=200)
@given(patterns(32))
def test_many_patterns_of_dropouts_up_to_thirty_two(
    pattern: tuple[int, int, RingBits, Lost],
) -> None:
    check(*pattern)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("sites", [4, 7, 13])
def test_as_many_as_are_borne_and_one_more_at_each_stage(sites: int, stage: str) -> None:
    corrupt = default_corrupt(sites)
    bearable = Adversary(sites, corrupt).tolerated_dropouts
    codes = {"packet": "WR-SECAGG-013", "vote": "WR-SECAGG-015", "shares": "WR-SECAGG-016"}
    for count in (bearable, bearable + 1):
        lost: dict[SiteName, str | None] = dict.fromkeys(tuple(KEYS)[:sites])
        lost |= dict.fromkeys(tuple(KEYS)[:count], stage)
        ended = play(sites, corrupt, 64, lost)
        if count == bearable:
            assert ended == "exact"
        elif stage in codes:
            assert ended == codes[stage]
        else:
            assert ended in ("no set-up", "exact"), "a new set-up has thresholds of its own"
