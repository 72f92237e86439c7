"""What a hospital trains at its own pace: as `fedavg`, scaled by staleness, and FedProx's pull."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plain_federation import study
from ward import table
from wardround.learning.buffered import BufferedFedAvg, mean_scale, scale, scaled
from wardround.learning.contribution import from_total
from wardround.learning.local_sgd import FedAvg
from wardround.learning.registry import compute
from wardround.learning.specify import specify
from wardround.site.custody import computable

FEATURES = ("radius_mean", "texture_mean")
M = 3
FEDAVG = study(FEATURES, algorithm="fedavg", fedavg={"rounds": 3})
LATE = {"asynchronous": {}}
AT_OWN_PACE = study(FEATURES, algorithm="fedavg", fedavg={"rounds": 3}, cohort=LATE)
CHOICE = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "round": 2, "decay": 0.01}


def trained(agreed, kind, at=None):
    task = specify(agreed, kind, CHOICE, np.zeros(M) if at is None else at)
    request = {
        "kind": kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
    }
    return task, compute(computable(agreed, table("harbour")), request, task.model)


def test_the_update_is_that_of_a_round():
    late, values = trained(AT_OWN_PACE, "buffered_fedavg")
    task, whole = trained(FEDAVG, "fedavg")
    ours, _ = from_total(BufferedFedAvg.parse(late.parameters, late.model), values)
    theirs, _ = from_total(FedAvg.parse(task.parameters, task.model), whole)
    np.testing.assert_allclose(ours.damped, theirs.update, rtol=1e-15)
    assert ours.records == theirs.records


@given(st.integers(0, 1000))
def test_the_scale_falls_as_one_over_the_root(staleness):
    assert scale(staleness) == pytest.approx((1 + staleness) ** -0.5, rel=1e-15)


def test_scaling_leaves_records_and_suppressed_figures_alone():
    task, values = trained(AT_OWN_PACE, "buffered_fedavg")
    question = BufferedFedAvg.parse(task.parameters, task.model)
    fresh, _ = from_total(question, values)
    stale, _ = from_total(question, scaled(values, 3))
    np.testing.assert_allclose(stale.damped, 0.5 * fresh.damped, rtol=1e-15)
    assert stale.records == fresh.records
    stale_alone = stale.undamped(mean_scale({"harbour": 3}))
    np.testing.assert_allclose(stale_alone, fresh.damped, rtol=1e-15)
    np.testing.assert_array_equal(scaled(values, 0), values)
    assert (np.abs(scaled(values, 7)) <= np.abs(values)).all()


def test_a_mixed_cohort_weighs_what_is_stale_less():
    """FedBuff damps the step, FedAsync's weights don't: two fresh sites and one at tau = 3."""
    task, values = trained(AT_OWN_PACE, "buffered_fedavg")
    question = BufferedFedAvg.parse(task.parameters, task.model)
    total, _ = from_total(question, 2 * values + scaled(values, 3))
    alone, _ = from_total(question, values)
    np.testing.assert_allclose(total.damped, 2.5 / 3 * alone.damped, rtol=1e-12)
    mean = mean_scale({"harbour": 0, "quarry": 0, "valley": 3})
    np.testing.assert_allclose(total.undamped(mean), alone.damped, rtol=1e-12)


@given(st.integers(1, 1000))
def test_staleness_takes_no_hospitals_number_of_records_out_of_the_sum(staleness):
    """The attack: who is stale, and by how much, stands in the ready statements. Were the sum of
    n * s in the vector beside the sum of n, a cohort in which one hospital is stale would give that
    hospital's n, and one of several scales all of them: s is no ratio of small whole numbers."""
    _, values = trained(AT_OWN_PACE, "buffered_fedavg")
    update, counts = values[:M], values[M:]
    assert counts.tolist() == [values[-2], 0.0], "records, and figures that were held back"
    np.testing.assert_array_equal(scaled(values, staleness)[M:], counts)
    assert (scaled(values, staleness)[:M] != update).all()


@pytest.mark.parametrize("kind", ["fedavg", "buffered_fedavg"])
def test_the_proximal_pull_keeps_the_update_shorter(kind):
    cohort = LATE if kind == "buffered_fedavg" else {}
    lengths = []
    for mu in (None, 0.1, 1.0, 5.0):
        pull = {} if mu is None else {"proximal_mu": mu}
        settings = {"rounds": 3, "local_epochs": 5, **pull}
        agreed = study(FEATURES, algorithm="fedavg", fedavg=settings, cohort=cohort)
        task, values = trained(agreed, kind)
        assert ("proximal_mu" in task.parameters["training"]) is (mu is not None)
        lengths.append(np.linalg.norm(values[:M]))
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] < 0.9 * lengths[0]
