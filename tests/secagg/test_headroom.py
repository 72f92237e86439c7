"""The ring follows from cohort, bound and resolution; data never overflow, noise hardly ever."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.secagg import FixedPoint
from wardround.secagg.headroom import Headroom, Noise, choose

bounds = st.floats(min_value=1e-9, max_value=1e9)
cohorts = st.integers(3, 1024)


def extremes(headroom: Headroom, cohort: int) -> None:
    """Every site at its bound, up or down: the sum has its sign, and as many steps as it should."""
    fixed = headroom.encoding
    for sign in (1, -1):
        one = fixed.encode(np.array([sign * fixed.bound]))
        total = one * one.dtype.type(cohort)  # the ring's own arithmetic
        signed = total.view(np.int32 if fixed.ring_bits == 32 else np.int64)
        assert int(signed[0]) == sign * cohort * fixed.largest
        assert abs(int(signed[0])) <= headroom.largest_total(cohort) < 1 << (fixed.ring_bits - 1)


@pytest.mark.parametrize("bound", [1.0, 0.1, 1.0 - 2**-53, 1e6, 3e-7])
@pytest.mark.parametrize("relative", [2**-8, 2**-20, 2**-40])
def test_no_cohort_overflows_at_its_extremes(bound: float, relative: float) -> None:
    for cohort in range(3, 1025):
        headroom = choose(bound, cohort, bound * relative)
        assert headroom.encoding.resolution <= bound * relative
        extremes(headroom, cohort)


@given(st.floats(1e-9, 1e6), cohorts, st.floats(min_value=2**-50, max_value=0.5))
def test_the_smallest_ring_that_is_fine_enough_is_taken(
    bound: float, cohort: int, relative: float
) -> None:
    resolution = bound * relative
    narrow = FixedPoint.fit(bound, cohort, 32)
    expected = 32 if narrow.resolution <= resolution else 64
    try:
        chosen = choose(bound, cohort, resolution)
    except WardroundError as error:
        assert error.code == "WR-SECAGG-040"
        assert FixedPoint.fit(bound, cohort, 64).resolution > resolution
        return
    assert chosen.encoding == FixedPoint.fit(bound, cohort, expected)
    assert chosen.noise == 0


@pytest.mark.parametrize("resolution", [0.0, -1.0, math.nan, math.inf, 1e-30])
def test_a_resolution_that_no_ring_has_is_refused(resolution: float) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-040"):
        choose(1.0, 4, resolution)


def test_a_bound_or_cohort_that_no_ring_takes_is_refused() -> None:
    for bound, cohort in ((math.nan, 4), (1e30, 4), (1.0, 10_001), (1.0, 0), (-1.0, 4)):
        with pytest.raises(WardroundError, match="WR-SECAGG-003"):
            choose(bound, cohort, 0.5)


# Noise


def skellam_tail(variance: float, least: int) -> float:
    """P(|Z| >= least) of Skellam noise with this variance, summed up term by term (I_k, scaled)."""
    from scipy.special import ive

    terms = np.arange(least, least + 100 + int(30 * math.sqrt(variance)))
    return float(2 * ive(terms, variance).sum())


@given(st.floats(0.3, 60), st.sampled_from([4, 10, 20, 40]), st.integers(3, 64), st.integers(0, 4))
def test_the_room_for_noise_holds_what_it_promises(
    deviation: float, wrap_bits: int, cohort: int, fractional_bits: int
) -> None:
    """Against the exact tails of Skellam noise, which are heavier, and of rounded Gaussians."""
    noise = Noise(deviation, wrap_bits)
    room = noise.room(fractional_bits, cohort)
    steps = deviation * 2**fractional_bits
    assert skellam_tail(steps**2, room) <= 2.0**-wrap_bits
    beyond = room - cohort / 2  # each site rounds its own by at most half a step
    assert math.erfc(beyond / steps / math.sqrt(2)) <= 2.0**-wrap_bits
    gaussian = steps * math.sqrt(2 * (wrap_bits + 1) * math.log(2))
    assert room <= gaussian + (wrap_bits + 1) * 0.47 + cohort / 2 + 4, "and is not wasteful"


@given(bounds, cohorts, st.floats(0.001, 100), st.sampled_from([16, 64, 128]))
def test_data_and_noise_fit_beside_each_other(
    bound: float, cohort: int, relative: float, wrap_bits: int
) -> None:
    noise = Noise(relative * bound, wrap_bits)
    headroom = choose(bound, cohort, bound / 16, noise)
    fixed = headroom.encoding
    assert headroom.noise == noise.room(fixed.fractional_bits, cohort)
    assert cohort * fixed.largest + headroom.noise < 1 << (fixed.ring_bits - 1)
    extremes(headroom, cohort)
    finer = fixed.fractional_bits + 1
    assert cohort * round(bound * 2**finer) * (1 + 1e-9) + noise.room(finer, cohort) >= 1 << (
        fixed.ring_bits - 1
    ), "one more bit would not fit"


def test_noise_that_leaves_no_room_is_refused_or_takes_the_wider_ring() -> None:
    quiet, loud = Noise(1.0), Noise(1e6)
    assert choose(1.0, 8, 2**-20, quiet).encoding.ring_bits == 32
    assert choose(1.0, 8, 2**-20, loud).encoding.ring_bits == 64
    with pytest.raises(WardroundError, match="WR-SECAGG-040"):
        choose(1.0, 8, 2**-20, Noise(1e15))


@pytest.mark.parametrize(
    ("deviation", "wrap_bits"), [(0.0, 64), (-1.0, 64), (math.nan, 64), (math.inf, 64), (1.0, 0)]
)
def test_noise_that_is_none_is_refused(deviation: float, wrap_bits: int) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-041"):
        Noise(deviation, wrap_bits)
