"""The Rényi bounds against divergences that are summed up number by number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ive

from wardround.privacy.accountant import rdp
from wardround.privacy.events import DiscreteLaplace, Gaussian, Skellam
from wardround.privacy.rdp import ORDERS, poisson_sampled, skellam_rdp

SMALL = (2, 3, 5, 8, 16, 32)


def skellam(variance, reach, shift=0):
    """P(x) for whole x from -reach to reach; scaled Bessel function: e^-mu I_x(mu)."""
    return ive(np.abs(np.arange(-reach, reach + 1) - shift), variance)


def divergence(p, q, order):
    """The Rényi divergence of that order, where both have mass."""
    both = (p > 0) & (q > 0)
    terms = order * np.log(p[both]) - (order - 1) * np.log(q[both])
    return np.logaddexp.reduce(terms) / (order - 1)


def sampled(without, with_patient, rate, order):
    """The larger of the two divergences between releases with and without a sampled patient."""
    mixed = (1 - rate) * without + rate * with_patient
    return max(divergence(mixed, without, order), divergence(without, mixed, order))


@pytest.mark.parametrize("variance", [1.0, 4.0, 25.0, 400.0])
@pytest.mark.parametrize("shift", [1, 2, 5])
def test_the_skellam_bound_is_one_and_is_close_where_noise_is_large(variance, shift):
    reach = 60 * int(variance**0.5) + 60 * shift
    orders = np.array([order for order in SMALL if order * shift < 4 * variance], float)
    exact = [
        divergence(skellam(variance, reach, shift), skellam(variance, reach), order)
        for order in orders
    ]
    bound = skellam_rdp(orders, variance, shift, shift)

    assert np.all(bound >= np.array(exact) * (1 - 1e-9))
    if variance == 400:
        assert np.all(bound <= np.array(exact) * 1.05)


def test_the_variance_in_the_skellam_bound_is_that_of_the_noise():
    numbers = np.arange(-400, 401)
    assert np.sum(skellam(25.0, 400) * numbers**2) == pytest.approx(25)


def test_skellam_noise_at_the_scale_of_every_release_costs_as_much_as_gaussian():
    for noise in (0.5, 1, 5, 40):
        gaussian, like = rdp(Gaussian(noise)), rdp(Skellam(noise))
        assert np.all(like >= gaussian)
        np.testing.assert_allclose(like, gaussian, rtol=1e-8)
        np.testing.assert_allclose(gaussian, np.array(ORDERS) / (2 * noise**2))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("variance", [0.5, 4.0, 30.0])
def test_what_sampling_leaves_of_symmetric_noise_is_the_exact_sum(rate, variance):
    without, shifted = skellam(variance, 300), skellam(variance, 300, 1)
    orders = range(2, 17)
    full = np.array([divergence(shifted, without, order) for order in orders])
    exact = [sampled(without, shifted, rate, order) for order in orders]

    tight = poisson_sampled(full, rate, list(orders), symmetric=True)
    general = poisson_sampled(full, rate, list(orders), symmetric=False)

    np.testing.assert_allclose(tight, exact, rtol=1e-6)
    assert np.all(general >= tight)
    assert general[0] == pytest.approx(tight[0])  # order 2 has no third term


@given(
    masses=st.lists(st.tuples(*[st.floats(0.01, 1)] * 2), min_size=2, max_size=6),
    rate=st.floats(0.01, 0.99),
)
def test_the_general_sampling_bound_holds_for_any_mechanism(masses, rate):
    p, q = (np.array(column) / sum(column) for column in zip(*masses, strict=True))
    orders = list(range(2, 13))
    full = np.array([max(divergence(p, q, a), divergence(q, p, a)) for a in orders])
    bound = poisson_sampled(full, rate, orders, symmetric=False)

    # Either may be the one with the patient.
    for without, with_patient in ((p, q), (q, p)):
        exact = np.array([sampled(without, with_patient, rate, order) for order in orders])
        assert np.all(bound >= exact - 1e-9)


@given(
    half=st.lists(st.tuples(*[st.floats(0.01, 1)] * 2), min_size=1, max_size=4),
    rate=st.floats(0.01, 0.99),
)
def test_for_symmetric_noise_a_removed_patient_shows_no_more_than_an_added_one(half, rate):
    # Outcomes in pairs that an exchange of the two releases swaps.
    p = np.array([one for one, _ in half] + [other for _, other in half])
    q = np.roll(p, len(half))
    p, q = p / p.sum(), q / q.sum()
    mixed = (1 - rate) * q + rate * p
    for order in (2, 3, 7, 20):
        assert divergence(q, mixed, order) <= divergence(mixed, q, order) + 1e-9


@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.01), (2.2, 32 / 300), (0.8, 0.3)])
def test_sampled_gaussians_cost_what_dp_accounting_says(noise, rate):
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    accountant = rdp_privacy_accountant.RdpAccountant(list(ORDERS))
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)))
    theirs = accountant._rdp  # what it sums up; it has no public name
    np.testing.assert_allclose(rdp(Gaussian(noise, rate)), theirs, rtol=1e-6, atol=1e-12)


def test_the_renyi_values_that_dp_accounting_is_itself_tested_by():
    # rdp_privacy_accountant_test.py, version 0.6: fifty samples, at the orders 5, 50 and 100.
    found = 50 * rdp(Gaussian(2.5, 0.01), (5, 50, 100))
    np.testing.assert_allclose(found, [2.18075656e-3, 2.38460375e-2, 1.67416308e2], rtol=1e-6)


def test_a_laplace_count_costs_what_summing_says():
    scale = 1.7
    numbers = np.arange(-400, 401)
    p, q = (np.exp(-np.abs(numbers - shift) / scale) for shift in (0, 1))
    exact = [divergence(p / p.sum(), q / q.sum(), order) for order in SMALL]

    np.testing.assert_allclose(rdp(DiscreteLaplace(scale), SMALL), exact, rtol=1e-9)
    assert np.all(rdp(DiscreteLaplace(scale)) <= 1 / scale)


@given(
    noise=st.floats(0.3, 100),
    more=st.floats(1.001, 5),
    rate=st.floats(0.001, 1),
    less=st.floats(0.1, 1),
    kind=st.sampled_from([Gaussian, Skellam]),
)
def test_more_noise_and_smaller_samples_cost_less(noise, more, rate, less, kind):
    cost = rdp(kind(noise, rate))
    assert np.all(rdp(kind(noise * more, rate)) <= cost * (1 + 1e-9))
    assert np.all(rdp(kind(noise, rate * less)) <= cost * (1 + 1e-9) + 1e-12)
    assert np.all(np.diff(cost) >= -1e-9 * cost[1:])


def test_only_whole_orders_have_a_price():
    for order in (1, 2.5, 1025):
        with pytest.raises(ValueError, match="whole numbers"):
            rdp(Gaussian(1.0), (order,))
