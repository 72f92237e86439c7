"""Windows for noisy moments: found where values are, left alone where noise hides them."""

import numpy as np
import pytest

from private_federation import PlainPrivateFederation, private_study
from wardround.algorithms.private_statistics import describe
from wardround.algorithms.private_windows import find_place, window
from wardround.learning.records import TEST_COLUMN

BINS = 64
PATIENTS = 400


def counts(mean, deviation, seed=0):
    """A histogram of so many patients, normally distributed; both in bins."""
    values = np.random.default_rng(seed).normal(mean, deviation, PATIENTS)
    return np.histogram(np.clip(values, 0, BINS), np.arange(BINS + 1))[0].astype(float)


@pytest.mark.parametrize(("mean", "deviation"), [(5.0, 0.6), (20.3, 1.5), (40.0, 4.0), (1.2, 0.8)])
@pytest.mark.parametrize("noise", [0.01, 20.0])
def test_a_window_is_where_the_values_are(mean, deviation, noise):
    rng = np.random.default_rng(7)
    for seed in range(10):
        noisy = counts(mean, deviation, seed) + rng.normal(0, noise, BINS)
        place = find_place(noisy, noise, PATIENTS)
        assert place is not None
        low, high = window(place, BINS)
        assert low <= max(0.0, mean - 1.5 * deviation)
        assert high >= mean + 1.5 * deviation
        assert high - low <= 16 * deviation + 2


def test_noise_alone_has_no_place():
    rng = np.random.default_rng(11)
    found = [find_place(rng.normal(0, 60, BINS), 60.0, PATIENTS) for _ in range(100)]
    assert sum(place is not None for place in found) <= 2


def test_a_tail_that_is_seen_widens_the_window():
    """Seen only with little noise: otherwise nobody can know of it."""
    both = counts(10.0, 1.0)
    both[55] += 30
    wide = window(find_place(both, 0.5, PATIENTS), BINS)
    narrow = window(find_place(both, 25.0, PATIENTS), BINS)
    assert wide[1] >= 56 > 20 >= narrow[1]


def sites(deviation):
    """Four hospitals whose patients' radius is around 14, of a plausible range from 1 to 100."""
    rng = np.random.default_rng(5)
    made = {}
    for name in ("north-general", "lakeside", "st-anna", "harbour"):
        columns = {
            "radius_mean": np.clip(rng.normal(14.0, deviation, 140), 1, 100),
            "malignant": (rng.random(140) < 0.4).astype(float),
            TEST_COLUMN: (rng.random(140) < 0.3).astype(float),
        }
        made[name] = columns
    return made


async def test_noisy_moments_come_near_where_they_were_a_part_of_the_range():
    agreed = private_study(("radius_mean",), noise=15.0)
    for seed in range(5):
        found = await describe(PlainPrivateFederation(agreed, sites(3.5), seed))
        assert found.moments.mean[0] == pytest.approx(14, abs=3)
        assert 1.5 < found.moments.deviation[0] < 8


async def test_without_noise_that_shows_moments_are_of_the_whole_range():
    agreed = private_study(("radius_mean",), noise=0.1)
    federation = PlainPrivateFederation(agreed, sites(20.0))
    await describe(federation)
    assert federation.tasks[-1].parameters["windows"] == [[1, 100]]
