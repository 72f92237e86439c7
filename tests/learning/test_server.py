"""Server steps beside a second reading of the paper's algorithm, one element at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plain_federation import study
from wardround.learning import server
from wardround.learning.agreed import server_step

STEPS = {
    "fedavg": server.plain,
    "fedbuff": server.plain,
    "fedasync": server.plain,
    "fedadam": server.adam,
    "fedyogi": server.yogi,
    "fedadagrad": server.adagrad,
}
RATES = {"fedadam": 0.1, "fedyogi": 0.01, "fedadagrad": 0.1}
NUMBERS = st.floats(-10, 10, allow_subnormal=False)


def reference(name, deltas, rate):
    """Algorithm 2 of Reddi et al. 2021 for one element, in plain floats."""
    m, v, tau, steps = 0.0, 1e-6, 1e-3, []
    for delta in deltas:
        square = delta * delta
        if name == "fedadagrad":
            m, v = delta, v + square
        else:
            m = 0.9 * m + (1 - 0.9) * delta
            if name == "fedadam":
                v = 0.99 * v + (1 - 0.99) * square
            else:
                v = v - (1 - 0.99) * square * math.copysign(1.0, v - square) * (v != square)
        steps.append(rate * m / (math.sqrt(v) + tau))
    return steps


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad"])
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_adaptive_steps_are_those_of_the_paper(name, deltas):
    step = STEPS[name]()
    state, found = step.init(np.zeros(2)), []
    for delta in deltas:
        change, state = step.update(np.array([delta, -delta]), state)
        assert change[1] == -change[0]
        found.append(change[0])
    np.testing.assert_allclose(found, reference(name, deltas, RATES[name]), rtol=1e-12)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_the_plain_step_adds_the_mean_as_it_is(deltas):
    step = server.plain()
    change, _ = step.update(np.array(deltas), step.init(np.array(deltas)))
    np.testing.assert_array_equal(change, deltas)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("rate", [None, 0.5])
def test_a_study_names_its_step_and_may_name_its_rate(name, rate):
    late = {"asynchronous": {}} if name in ("fedbuff", "fedasync") else {}
    settings = {"rounds": 3, "server": name}
    if rate is not None:
        settings["server_learning_rate"] = rate
    agreed = study(algorithm="fedavg", fedavg=settings, cohort=late)
    found, expected = server_step(agreed), STEPS[name](*([] if rate is None else [rate]))
    delta, start = np.array([0.5, -2.0]), np.zeros(2)
    one, _ = found.update(delta, found.init(start))
    two, _ = expected.update(delta, expected.init(start))
    np.testing.assert_array_equal(one, two)


def test_a_study_that_says_nothing_averages():
    step = server_step(study(algorithm="fedavg", fedavg={"rounds": 3}))
    change, _ = step.update(np.array([3.0]), step.init(np.zeros(1)))
    assert change == [3.0]
