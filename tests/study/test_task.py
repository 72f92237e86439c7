import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround import WardroundError
from wardround.study.task import Contribution, Task


def task(**changes):
    given = {
        "kind": "moments",
        "parameters": {"features": ["a", "b"], "scale": [1.5, 2]},
        "length": 7,
        "bound": 100.0,
        "ring_bits": 64,
        "model": np.array([0.5, -1.25, 3.0]),
    }
    return Task(**(given | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"parameters": {"features": ["a"]}},
        {"length": 8},
        {"bound": 99.0},
        {"ring_bits": 32},
        {"model": None},
        {"model": np.array([0.5, -1.25, 3.5])},
        {"model": np.array([0.5, -1.25, 3.0], dtype=np.float32)},
    ],
)
def test_the_hash_covers_everything(change):
    assert task(**change).hash != task().hash
    assert task(**change).hash == task(**change).hash


@given(
    st.sampled_from([np.float32, np.float64]),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30),
    st.sampled_from([32, 64]),
    st.integers(1, 10**6),
)
def test_a_task_survives_the_wire(dtype, values, ring_bits, length):
    sent = task(model=np.array(values, dtype=dtype), ring_bits=ring_bits, length=length)
    received = Task.from_wire(sent.to_wire(), sent.model.tobytes())
    assert received.hash == sent.hash
    assert received.model.dtype == dtype
    assert (received.model == sent.model).all()
    assert received.parameters == sent.parameters


def test_a_task_without_a_model_survives_the_wire():
    sent = task(model=None)
    assert Task.from_wire(sent.to_wire()).hash == sent.hash


def test_whole_floats_and_integers_are_the_same_parameter():
    assert task(parameters={"x": 1.0}).hash == task(parameters={"x": 1}).hash


def test_another_model_is_refused():
    sent = task()
    for model in (None, b"", sent.model.tobytes()[:-8], (sent.model + 1).tobytes()):
        with pytest.raises(WardroundError) as refused:
            Task.from_wire(sent.to_wire(), model)
        assert refused.value.code == "WR-STUDY-061"
    with pytest.raises(WardroundError, match="WR-STUDY-061"):
        Task.from_wire(task(model=None).to_wire(), sent.model.tobytes())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Moments"},
        {"kind": 3},
        {"parameters": []},
        {"length": 0},
        {"length": True},
        {"length": 1.5},
        {"length": 10**12},
        {"bound": 0},
        {"bound": float("inf")},
        {"bound": "1"},
        {"ring_bits": 16},
        {"format": 2},
        {"surplus": 1},
        {"model": {"digest": "x"}},
        {"model": {"digest": "x", "dtype": "int8", "length": 3}},
        {"model": {"digest": "x", "dtype": "float64", "length": -3}},
    ],
)
def test_a_malformed_task_is_refused(change):
    sent = task()
    with pytest.raises(WardroundError) as refused:
        Task.from_wire({**sent.to_wire(), **change}, sent.model.tobytes())
    assert refused.value.code == "WR-STUDY-060"


@pytest.mark.parametrize(
    "model", [np.zeros((2, 2)), np.zeros(2, dtype=np.int64), np.array([np.nan])]
)
def test_a_model_is_a_flat_finite_vector(model):
    with pytest.raises(WardroundError, match="WR-STUDY-060"):
        task(model=model)


def test_a_parameter_that_is_no_json_is_refused():
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(WardroundError, match="WR-STUDY-060"):
            task(parameters={"x": value})


def test_a_task_does_not_follow_later_changes_of_its_parts():
    model, parameters = np.ones(3), {"bins": [1, 2]}
    built = task(model=model, parameters=parameters)
    before = built.hash
    model[0] = 9
    parameters["bins"].append(3)
    assert built.model[0] == 1
    assert Task.from_wire(built.to_wire(), built.model.tobytes()).hash == before
    with pytest.raises(ValueError, match="read-only"):
        built.model[0] = 9


def test_derived_values_are_not_shown():
    shown = repr(Contribution(np.array([1234.5]), 77)) + repr(task())
    assert "1234" not in shown
    assert "77" not in shown
    assert "-1.25" not in shown
