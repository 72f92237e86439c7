"""Prices of compositions: against published values, each other, and what must hold of any."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive

from wardround.privacy.accountant import (
    STATISTICAL_DISTANCE,
    Method,
    best_order,
    cross_check,
    epsilon,
    epsilon_for_hospitals,
    filter_budget,
    method,
    rdp,
    rdp_epsilon,
)
from wardround.privacy.events import DiscreteLaplace, Gaussian, Skellam

# Noise multipliers for epsilon 1.5 at delta 1e-5 (FIELD section 3), rounded to three digits there.
PUBLISHED = [
    (300, 32, 1, 1.4),
    (300, 32, 5, 2.2),
    (300, 32, 20, 4.0),
    (2_000, 32, 1, 0.87),
    (2_000, 32, 5, 1.08),
    (2_000, 32, 20, 1.67),
    (20_000, 128, 1, 0.75),
    (20_000, 128, 5, 0.86),
    (20_000, 128, 20, 1.17),
]


@pytest.mark.parametrize(("patients", "batch", "epochs", "noise"), PUBLISHED)
def test_published_noise_multipliers_give_the_published_epsilon(patients, batch, epochs, noise):
    steps = round(epochs * patients / batch)
    found = epsilon([(Gaussian(noise, batch / patients), steps)], 1e-5)
    assert found == pytest.approx(1.5, abs=0.025)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"),
    [
        (math.sqrt(3), 1.0, 3, 0.126936),
        (0.5, 0.2, 3, 0.15594),
        (1 / 3, 1.0, 1, 0.78760074),
        (10 / 6, 1.0, 25, 0.78760074),
        (0.67379294682, 0.01, 1, 1e-5),
        (3.20956502598 / 6, 0.001, 25, 1e-5),
    ],
)
def test_the_values_that_dp_accounting_is_itself_tested_by(noise, rate, steps, delta):
    # pld_privacy_accountant_test.py and accountant_test.py, version 0.6: epsilon is 1 in each.
    assert epsilon([(Gaussian(noise, rate), steps)], delta) == pytest.approx(1, abs=1e-3)


def test_gaussian_releases_over_everybody_cost_what_the_closed_form_says():
    # Balle and Wang 2018: delta = Phi(m/2 - e/m) - exp(e) Phi(-m/2 - e/m) for a shift of m.
    def phi(x):
        return math.erfc(-x / math.sqrt(2)) / 2

    for noise, times in ((3.0, 1), (30.0, 40)):
        shift = math.sqrt(times) / noise
        found = epsilon([(Gaussian(noise), times)], 1e-6)
        delta = phi(shift / 2 - found / shift) - math.exp(found) * phi(-shift / 2 - found / shift)
        assert delta <= 1e-6
        assert delta == pytest.approx(1e-6, rel=0.01)


def test_conversion_is_dp_accountings():
    from dp_accounting.rdp import rdp_privacy_accountant

    from wardround.privacy.rdp import ORDERS

    event = Skellam(4.0, 0.1)
    for delta in (1e-3, 1e-5, 1e-9):
        theirs, _ = rdp_privacy_accountant.compute_epsilon(ORDERS, 50 * rdp(event), delta)
        assert epsilon([(event, 50)], delta) == pytest.approx(theirs, rel=1e-5)
    assert rdp_epsilon([(Gaussian(1e6), 1)], 1e-3) == 0


@given(
    noise=st.floats(0.8, 30),
    rate=st.floats(0.01, 1),
    times=st.integers(1, 200),
    scale=st.floats(1, 50),
)
@settings(max_examples=8, deadline=None)
def test_two_accountants_agree(noise, rate, times, scale):
    releases = [(Gaussian(noise, rate), times), (Gaussian(10.0), 2), (DiscreteLaplace(scale), 1)]
    tight, loose = cross_check(releases, 1e-5)
    assert tight <= loose * 1.01 + 0.01


def test_a_count_with_laplace_noise_costs_its_epsilon_and_no_more():
    assert epsilon([(DiscreteLaplace(2.0), 1)], 1e-9) == pytest.approx(0.5, abs=1e-3)
    assert epsilon([(DiscreteLaplace(2.0), 3)], 1e-9) <= 1.5 + 1e-3


def test_skellam_noise_anywhere_means_renyi_divergences_everywhere():
    assert method([(Gaussian(1.0), 3), (DiscreteLaplace(1.0), 1)]) is Method.PLD
    mixed = [(Gaussian(4.0, 0.1), 30), (DiscreteLaplace(9.0), 1), (Skellam(12.0), 2)]
    assert method(mixed) is Method.RDP
    assert epsilon(mixed, 1e-5) == rdp_epsilon(mixed, 1e-5)
    with pytest.raises(TypeError):
        cross_check(mixed, 1e-5)


def test_skellam_noise_costs_little_more_than_gaussian_noise():
    for rate, times in ((1.0, 10), (0.1, 50), (0.01, 2000)):
        gaussian = epsilon([(Gaussian(4.0, rate), times)], 1e-5)
        skellam = epsilon([(Skellam(4.0, rate), times)], 1e-5)
        assert gaussian <= skellam <= gaussian * 1.25


@given(
    noise=st.floats(1, 30),
    rate=st.floats(0.01, 1),
    times=st.integers(1, 1000),
    more=st.integers(0, 1000),
    extra=st.sampled_from([[], [(Skellam(9.0), 1)], [(DiscreteLaplace(3.0), 2)]]),
)
def test_more_releases_cost_no_less_in_any_order(noise, rate, times, more, extra):
    event = Skellam(noise, rate)
    cost = epsilon([(event, times)], 1e-5)
    assert cost <= epsilon([(event, times + more), *extra], 1e-5) * (1 + 1e-12)
    assert epsilon([*extra, (event, times)], 1e-5) == epsilon([(event, times), *extra], 1e-5)
    assert cost == epsilon([(event, 1)] * min(times, 5) + [(event, max(times - 5, 0))], 1e-5)
    assert epsilon([(event, times)], 1e-6) >= cost


def test_nothing_costs_nothing_and_delta_is_a_probability():
    assert epsilon([], 1e-5) == 0 == epsilon([(Skellam(1.0), 0)], 1e-5)
    for delta in (0.0, 1.0, -1e-5):
        with pytest.raises(ValueError, match="delta"):
            epsilon([(Skellam(1.0), 1)], delta)
    with pytest.raises(ValueError, match="less than 0"):
        epsilon([(Skellam(1.0), -1)], 1e-5)


def test_the_samplers_distance_is_taken_out_of_delta():
    releases = [(Skellam(1000.0), 4000)]
    assert epsilon(releases, 4001 * STATISTICAL_DISTANCE) == math.inf  # it is needed twice
    assert epsilon(releases, 1e5 * STATISTICAL_DISTANCE) < math.inf
    # A price this high multiplies the distance by e^epsilon, until nothing is proven any more.
    assert epsilon([(Skellam(0.15), 1)], 1e-5) == math.inf


def test_a_patient_of_several_hospitals():
    shared, own = [(Skellam(60.0), 40)], [(Gaussian(60.0), 40)]
    assert epsilon_for_hospitals(shared, 1e-5, 1) == epsilon(shared, 1e-5)
    # Under one noise the vectors add up; noise of each hospital's own is independent.
    assert epsilon_for_hospitals(shared, 1e-5, 3) == epsilon([(Skellam(20.0), 40)], 1e-5)
    assert epsilon_for_hospitals(own, 1e-5, 3) == epsilon([(Gaussian(60.0), 120)], 1e-5)


@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("hospitals", [2, 4])
def test_a_sampled_patient_of_several_hospitals_shows_no_more_than_is_charged(rate, hospitals):
    # One element, noise of variance 400, each hospital's record moves the sum by 5 if it is drawn.
    reach, variance, step = 700, 400.0, 5
    numbers = np.arange(-reach, reach + 1)
    drawn = [
        math.comb(hospitals, k) * rate**k * (1 - rate) ** (hospitals - k)
        for k in range(hospitals + 1)
    ]
    with_patient = sum(
        chance * ive(np.abs(numbers - k * step), variance) for k, chance in enumerate(drawn)
    )
    without = ive(np.abs(numbers), variance)
    noise = variance**0.5 / step
    charged = rdp(Skellam(noise / hospitals, 1 - (1 - rate) ** hospitals), (2, 4, 8))
    found = epsilon_for_hospitals([(Skellam(noise, rate), 30)], 1e-5, hospitals)
    event = Skellam(noise / hospitals, -math.expm1(hospitals * math.log1p(-rate)))
    assert found == epsilon([(event, 30)], 1e-5)
    for order, bound in zip((2, 4, 8), charged, strict=True):
        for p, q in ((with_patient, without), (without, with_patient)):
            terms = order * np.log(p) - (order - 1) * np.log(q)
            assert np.logaddexp.reduce(terms) / (order - 1) <= bound * 1.02


@given(
    allowed=st.floats(0.1, 10),
    delta=st.floats(1e-9, 1e-3),
    events=st.lists(
        st.builds(Skellam, st.floats(0.5, 100), st.floats(0.01, 1)), min_size=1, max_size=50
    ),
)
def test_what_a_filter_lets_through_stays_below_its_epsilon(allowed, delta, events):
    order = best_order(allowed, delta)
    budget = filter_budget(allowed, delta, order)
    spent, kept = 0.0, []
    for event in events:
        cost = float(rdp(event, (order,))[0])
        if spent + cost <= budget:
            spent, kept = spent + cost, [*kept, (event, 1)]
    assert epsilon(kept, delta) <= allowed + 1e-9


def test_a_filter_has_nothing_to_give_where_nothing_fits():
    assert filter_budget(0.01, 1e-5, 2) < 0
    assert filter_budget(1.0, 1e-14, 20) == -math.inf


def test_nobody_waits_for_scipy_who_needs_no_price():
    code = (
        "import sys, wardround.privacy, wardround.privacy.accountant, wardround.privacy.calibrate;"
        "from wardround.privacy.events import Skellam;"
        "wardround.privacy.accountant.epsilon([(Skellam(4.0, 0.1), 10)], 1e-5);"
        "sys.exit(bool({'scipy', 'dp_accounting'} & {name.split('.')[0] for name in sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
