"""Poisson batches: independent choices, and places that don't tell how many they were."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.stats import chi2

from noise_checks import poisson_sizes
from wardround import WardroundError
from wardround.privacy.batches import (
    OVERFLOW_PROBABILITY,
    check_rate,
    draw_batch,
    padded,
    padded_size,
)
from wardround.privacy.randomness import NoiseSource

PATIENTS, RATE, BATCHES = 400, 0.1, 3000


def source(number: int = 0) -> NoiseSource:
    return NoiseSource(number.to_bytes(32, "big"))


def test_batch_sizes_vary_as_independent_choices_do():
    shared = source(1)
    batches = [draw_batch(shared, PATIENTS, RATE) for _ in range(BATCHES)]
    assert poisson_sizes([batch.sum() for batch in batches], PATIENTS, RATE)
    # Hospitals draw on their own, so all together vary as the sum of theirs does.
    together = np.array(
        [[draw_batch(shared, n, RATE).sum() for n in (50, 120, 230)] for _ in range(BATCHES)]
    ).sum(axis=1)
    assert poisson_sizes(together, PATIENTS, RATE)


def test_shuffled_batches_sold_as_poisson_are_caught():
    generator = np.random.default_rng(0)

    def fixed():
        batch = np.zeros(PATIENTS, bool)
        batch[generator.permutation(PATIENTS)[: int(PATIENTS * RATE)]] = True
        return batch

    def epoch():
        return generator.integers(0, round(1 / RATE), PATIENTS) == 0

    assert not poisson_sizes([fixed().sum() for _ in range(200)], PATIENTS, RATE)
    # In one shuffled epoch each patient is in exactly one batch: what varies is fixed in the sum.
    parts = [np.bincount(generator.permutation(PATIENTS) % 10, minlength=10) for _ in range(20)]
    assert not poisson_sizes(np.concatenate(parts), PATIENTS, RATE)
    assert poisson_sizes([epoch().sum() for _ in range(200)], PATIENTS, RATE)
    assert not poisson_sizes([draw_batch(source(2), PATIENTS, 0.11).sum()] * 200, PATIENTS, RATE)


def test_patients_are_chosen_alike_and_independently():
    shared = source(3)
    batches = np.array([draw_batch(shared, 40, 0.25) for _ in range(20_000)], float)
    centred = (batches - 0.25) / math.sqrt(0.25 * 0.75)
    correlations = centred.T @ centred / math.sqrt(len(batches))
    singles = centred.sum(axis=0) / math.sqrt(len(batches))
    pairs = correlations[np.triu_indices(40, 1)]
    assert chi2.sf((singles**2).sum(), 40) > 1e-4
    assert chi2.sf((pairs**2).sum(), len(pairs)) > 1e-4


def test_at_rate_one_everybody_takes_part():
    assert draw_batch(source(), 7, 1.0).tolist() == [True] * 7
    assert padded_size(7, 1.0) == 7


def exceeds(patients, rate, size):
    """P(Binomial > size), all of it summed at 200 bits."""
    with mp.workprec(200):
        chance = mpf(rate)
        return mp.fsum(
            math.comb(patients, j) * chance**j * (1 - chance) ** (patients - j)
            for j in range(size + 1, patients + 1)
        )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.floats(0.001, 0.999), st.sampled_from([2.0**-60, 2.0**-20, 0.05]))
def test_a_batch_outgrows_its_places_with_the_stated_probability_and_they_are_the_fewest(
    patients, rate, tail
):
    if rate * patients < 1:
        return
    size = padded_size(patients, rate, tail)
    assert exceeds(patients, rate, size) <= tail
    assert size <= patients
    if size > math.floor(patients * rate):
        assert exceeds(patients, rate, size - 1) > tail * 0.999_999


@pytest.mark.parametrize(("patients", "rate"), [(3000, 0.01), (1500, 0.3), (2000, 1 / 2000)])
def test_places_at_sizes_in_use(patients, rate):
    size = padded_size(patients, rate)
    assert float(exceeds(patients, rate, size)) <= OVERFLOW_PROBABILITY
    assert float(exceeds(patients, rate, size - 1)) > OVERFLOW_PROBABILITY


def test_places_of_a_very_large_cohort_are_near_the_normal_approximation():
    patients, rate = 50_000_000, 0.02
    deviation = math.sqrt(patients * rate * (1 - rate))
    z = 9.078  # P(Z > z) = 2^-64 or so; 2^-60 is 8.81
    places = padded_size(patients, rate) - patients * rate
    assert 8.75 * deviation < places < z * deviation


@given(st.integers(1, 60), st.integers(1, 80), st.floats(0, 1), st.integers(0, 1000))
def test_places_hold_the_members_first_and_then_others(patients, size, share, seed):
    batch = np.random.default_rng(seed).random(patients) < share
    indices, chosen = padded(batch, size, source(seed))
    assert indices.shape == chosen.shape == (min(size, patients),)
    assert indices.dtype == np.int64
    assert chosen.dtype == np.bool_
    assert (np.diff(indices) > 0).all()
    assert (chosen == batch[indices]).all()
    assert chosen.sum() == min(batch.sum(), size)


def test_who_fills_up_and_who_is_dropped_is_random():
    batch = np.arange(12) < 4
    few = np.zeros(12)
    for number in range(4000):
        indices, _ = padded(batch, 8, source(number))
        few[indices] += 1
    assert (few[:4] == 4000).all()
    assert chi2.sf(((few[4:] - 2000) ** 2 / 1000).sum(), 8) > 1e-4
    dropped = np.zeros(12)
    for number in range(4000):
        indices, chosen = padded(batch, 3, source(number))
        assert chosen.all()
        dropped[indices] += 1
    assert chi2.sf(((dropped[:4] - 3000) ** 2 / 750).sum(), 4) > 1e-4


def test_places_do_not_tell_who_of_them_counts():
    # Given which patients have a place, each is as likely as any other to be one who counts.
    shared = source(9)
    counts, places = np.zeros(10), np.zeros(10)
    for _ in range(20_000):
        _, chosen = padded(draw_batch(shared, 30, 0.2), 10, shared)
        counts += chosen
        places += 1
    rate = counts.sum() / places.sum()
    assert chi2.sf(((counts - rate * places) ** 2 / (places * rate * (1 - rate))).sum(), 9) > 1e-4


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.0000001, math.nan, math.inf])
def test_what_is_no_sampling_rate_is_refused(rate):
    for ask in (draw_batch, lambda _, patients, rate: padded_size(patients, rate)):
        with pytest.raises(WardroundError, match="WR-PRIVACY-014"):
            ask(source(), 100, rate)
    with pytest.raises(WardroundError, match="WR-PRIVACY-014"):
        check_rate(100, rate)


def test_a_rate_that_the_data_cannot_give_is_refused_before_a_run_and_drawn_in_it():
    check_rate(100, 0.01)
    for patients, rate in ((100, 0.0099), (0, 1.0)):
        with pytest.raises(WardroundError, match="WR-PRIVACY-014") as caught:
            check_rate(patients, rate)
        assert "100" not in caught.value.problem
        batch = draw_batch(source(), patients, rate)
        places, chosen = padded(batch, padded_size(patients, rate), source())
        assert len(places) == len(chosen) == padded_size(patients, rate)
        assert chosen.sum() == batch.sum()
