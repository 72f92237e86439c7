import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround import WardroundError
from wardround.privacy.adaptive import next_clipping_norm
from wardround.privacy.clipping import QUANTILE_WEIGHT, clip_and_sum


def test_the_norm_finds_the_median_through_the_quantile_lane():
    lengths = np.random.default_rng(1).lognormal(1.0, 0.7, 1001)
    rows, chosen = lengths[:, np.newaxis], np.ones(1001, bool)
    for start in (0.05, 400.0):
        norm = start
        for _ in range(120):
            total = clip_and_sum(rows / norm, chosen, True)[-1] / 2**22
            norm = next_clipping_norm(norm, total, 1001)
        assert norm == pytest.approx(float(np.median(lengths)), rel=0.02)


def test_it_moves_as_the_published_rule_does():
    # Andrew et al. 2021: norm * exp(-0.2 (fraction short - 1/2)).
    for fraction in (0.0, 0.2, 0.5, 0.9, 1.0):
        total = QUANTILE_WEIGHT * 1000 * (2 * fraction - 1)
        expected = 3.0 * math.exp(-0.2 * (fraction - 0.5))
        assert next_clipping_norm(3.0, total, 1000) == pytest.approx(expected, rel=1e-4)
    assert next_clipping_norm(3.0, 0.0, 1000) == 3.0


def test_noise_moves_it_no_further_than_patients_could_and_it_stays_within_bounds():
    assert next_clipping_norm(1.0, -1e12, 10) == next_clipping_norm(1.0, -1.0, 10)
    assert next_clipping_norm(1.0, 1e12, 10) == next_clipping_norm(1.0, 1.0, 10)
    assert next_clipping_norm(1e6, -1e12, 10) == 1e6
    assert next_clipping_norm(1e-6, 1e12, 10) == 1e-6


@given(st.floats(1e-3, 1e3), st.floats(-100, 100), st.integers(1, 10**6))
def test_an_auditor_elsewhere_gets_the_same_bits(norm, total, patients):
    # In fractions, rounded once after each operation: what any IEEE 754 machine has to give.
    def rounded(value):
        return Fraction(float(value))

    scale = rounded(2 * rounded(QUANTILE_WEIGHT) * patients)
    above = min(max(rounded(Fraction(total) / scale), Fraction(-1, 2)), Fraction(1, 2))
    half = rounded(rounded(0.2) * above) / 2
    factor = rounded(rounded(1 - half) / rounded(1 + half))
    expected = float(rounded(Fraction(norm) * factor))
    assert next_clipping_norm(norm, total, float(patients)) == expected


@pytest.mark.parametrize(
    "numbers",
    [
        (0.0, 1.0, 10.0),
        (-1.0, 1.0, 10.0),
        (math.nan, 1.0, 10.0),
        (1.0, math.nan, 10.0),
        (1.0, math.inf, 10.0),
        (1.0, 1.0, 0.0),
        (1.0, 1.0, math.inf),
        (1.0, 1.0, 10.0, -0.1),
        (1.0, 1.0, 10.0, 1.5),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers):
    with pytest.raises(WardroundError, match="WR-PRIVACY-015"):
        next_clipping_norm(*numbers)
