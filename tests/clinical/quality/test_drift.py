"""Whether a hospital's patients are like the federation's."""

import math

import numpy as np
import pytest

from quality_records import concept, facts, fired, material
from wardround.clinical.quality import (
    Check,
    Federation,
    Histogram,
    Level,
    Material,
    check,
    stability_index,
)

GEN = np.random.default_rng(13)
EDGES = np.linspace(-5, 5, 33)
EVERYBODY = Histogram(EDGES, np.histogram(GEN.normal(0, 1, 20_000), EDGES)[0].astype(float))


def study(values: np.ndarray, prevalence: float | None = None, cases: float = 0.5) -> Material:
    outcome = (np.arange(len(values)) < cases * len(values)).astype(float)
    federation = Federation({"x": EVERYBODY}, prevalence)
    return material(outcome, facts(concept("x"), values), federation=federation)


def levels(values: np.ndarray) -> list[Level]:
    return [one.level for one in fired(study(values), Check.DRIFT)]


@pytest.mark.parametrize(
    ("shift", "expected"), [(0.0, []), (0.2, []), (0.4, [Level.WARN]), (0.8, [Level.BLOCK])]
)
def test_a_shift_is_watched_and_then_alarms(shift: float, expected: list[Level]) -> None:
    # Two normals a shift d apart have an index of about d squared.
    assert levels(np.random.default_rng(1).normal(shift, 1, 2000)) == expected


def test_a_wrong_unit_alarms_and_values_outside_all_edges_count() -> None:
    assert levels(GEN.normal(0, 1, 100) * 38.67) == [Level.BLOCK]
    assert levels(np.full(100, 1e9)) == [Level.BLOCK]


def test_a_small_hospital_of_the_same_patients_seldom_alarms() -> None:
    """At 40 patients the index exceeds .1 nine times in ten; only chance's 1 % is left."""
    draws = [np.random.default_rng(seed).normal(0, 1, 40) for seed in range(300)]
    assert sum(bool(levels(values)) for values in draws) <= 12
    assert levels(np.random.default_rng(0).normal(1.5, 1, 40)) == [Level.BLOCK]


@pytest.mark.parametrize("noise", [20.0, 100.0])
def test_what_noise_explains_is_no_drift(noise: float) -> None:
    """A private study's histogram of few patients would else alarm at every hospital."""
    alarms = 0
    for seed in range(200):
        gen = np.random.default_rng(seed)
        edges = np.linspace(-5, 5, 5)
        exact = np.histogram(gen.normal(0, 1, 400), edges)[0]
        noisy = np.maximum(exact + gen.normal(0, noise, 4), 0.0)
        federation = Federation({"x": Histogram(edges, noisy, noise)})
        values = gen.normal(0, 1, 150)
        about = material(np.arange(150) % 2, facts(concept("x"), values), federation=federation)
        alarms += bool(fired(about, Check.DRIFT))
    assert alarms <= 2


def test_a_wrong_unit_alarms_in_spite_of_noise() -> None:
    federation = Federation({"x": Histogram(EDGES, EVERYBODY.counts, 50.0)})
    values = facts(concept("x"), GEN.normal(0, 1, 100) * 38.67)
    found = fired(material(np.arange(100) % 2, values, federation=federation), Check.DRIFT)
    assert [one.level for one in found] == [Level.BLOCK]


def test_the_index_of_two_rows_of_counts() -> None:
    here, there = np.array([79.5, 19.5]), np.array([49.5, 49.5])
    by_hand = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert stability_index(here, there) == pytest.approx(by_hand, rel=1e-12)
    assert stability_index(there, there) == 0.0


def test_without_histograms_it_says_that_it_did_not_look() -> None:
    about = material(np.arange(50) % 2, facts(concept("x"), np.arange(50.0)))
    states = {one.check: one.level for one in check(about)}
    assert states[Check.DRIFT] is states[Check.PREVALENCE] is Level.NOT_CHECKED


def test_a_histogram_of_nothing_is_no_comparison() -> None:
    empty = Federation({"x": Histogram(EDGES, np.zeros(32))})
    about = material(np.arange(50) % 2, facts(concept("x"), np.arange(50.0)), federation=empty)
    assert fired(about, Check.DRIFT) == []


@pytest.mark.parametrize(
    ("patients", "cases", "fires"),
    [(200, 0.5, False), (200, 0.68, False), (200, 0.75, True), (200, 0.2, True), (12, 0.75, False)],
)
def test_an_outcome_far_more_or_less_common(patients: int, cases: float, fires: bool) -> None:
    about = study(GEN.normal(0, 1, patients), 0.5, cases)
    assert bool(fired(about, Check.PREVALENCE)) is fires
