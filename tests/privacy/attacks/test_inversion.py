"""Records from gradients: exact without noise, by division and by search."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround.learning.glm import evaluate
from wardround.learning.records import Family
from wardround.privacy.attacks import (
    GeneralisedLinearGradient,
    NetworkGradient,
    Reconstruction,
    RecordGradient,
    invert_layer,
    match_gradient,
    relative_error,
)

GENERATOR = np.random.default_rng(20)


def network(features: int = 6, units: int = 12) -> NetworkGradient:
    generator = np.random.default_rng(4)
    return NetworkGradient(generator.normal(size=(units, features)), generator.normal(size=units))


MODELS = [
    GeneralisedLinearGradient(np.linspace(-0.8, 0.9, 7)),
    GeneralisedLinearGradient(np.linspace(-0.8, 0.9, 7), linear=True),
    network(),
]


@pytest.mark.parametrize("family", Family)
def test_one_patient_s_gradient_of_the_study_s_own_models_is_the_patient(family: Family) -> None:
    x = GENERATOR.normal(size=9)
    design = np.append(1.0, x)[None, :]
    coefficients = GENERATOR.normal(size=10)
    gradient = evaluate(family, design, np.array([1.0]), coefficients).gradient
    found = invert_layer(gradient[None, 1:], gradient[:1])
    assert relative_error(found, x) < 1e-12


def test_a_layer_of_many_units_is_inverted_by_all_of_them() -> None:
    x, back = GENERATOR.normal(size=(5, 8)), GENERATOR.normal(size=(5, 30))
    weights = back[:, :, None] * x[:, None, :]
    assert relative_error(invert_layer(weights, back), x).max() < 1e-12
    noisy = invert_layer(
        weights + 0.01 * GENERATOR.normal(size=weights.shape),
        back + 0.01 * GENERATOR.normal(size=back.shape),
    )
    one = invert_layer(
        weights[:, :1] + 0.01 * GENERATOR.normal(size=(5, 1, 8)),
        back[:, :1] + 0.01 * GENERATOR.normal(size=(5, 1)),
    )
    assert np.median(relative_error(noisy, x)) < np.median(relative_error(one, x))


def test_a_layer_without_a_gradient_says_nothing() -> None:
    found = invert_layer(np.zeros((3, 4)), np.zeros(3))
    assert (found == 0).all()


def losses(model: RecordGradient) -> NDArray[np.float64]:
    """The gradient by finite differences of the loss itself, as an independent oracle."""
    assert isinstance(model, NetworkGradient)
    x, y, step = np.linspace(-1, 1, model.hidden.shape[1]), 1.0, 1e-6

    def loss(hidden: NDArray[np.float64], output: NDArray[np.float64]) -> float:
        eta = output @ (1 / (1 + np.exp(-hidden @ x)))
        return float(np.logaddexp(0.0, eta) - y * eta)

    flat = np.append(model.hidden.ravel(), model.output)
    size, shape = model.hidden.size, model.hidden.shape
    return np.array(
        [
            (
                loss((flat + e)[:size].reshape(shape), (flat + e)[size:])
                - loss((flat - e)[:size].reshape(shape), (flat - e)[size:])
            )
            / (2 * step)
            for e in step * np.eye(len(flat))
        ]
    )


def test_the_network_s_gradient_is_that_of_its_loss() -> None:
    model = network()
    assert model.gradient(np.linspace(-1, 1, 6), 1.0) == pytest.approx(losses(model), abs=1e-8)


@pytest.mark.parametrize("model", MODELS, ids=["logistic", "linear", "network"])
def test_the_gradient_changes_with_the_record_as_stated(model: RecordGradient) -> None:
    x, y, step = np.linspace(-1.0, 1.2, 6), 0.3, 1e-6
    along = GENERATOR.normal(size=len(model.gradient(x, y)))
    to_x, to_y = model.pull(x, y, along)
    for place, unit in enumerate(np.eye(6)):
        change = model.gradient(x + step * unit, y) - model.gradient(x - step * unit, y)
        assert to_x[place] == pytest.approx(change @ along / (2 * step), abs=1e-7)
    change = model.gradient(x, y + step) - model.gradient(x, y - step)
    assert to_y == pytest.approx(change @ along / (2 * step), abs=1e-7)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[2]], ids=["logistic", "network"])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_search_finds_the_record_and_its_label(model: RecordGradient, y: float) -> None:
    generator = np.random.default_rng(8)
    errors = []
    for _ in range(5):
        x = generator.normal(size=6)
        found = match_gradient(model, model.gradient(x, y), generator.normal(size=(4, 6)))
        assert found.y == y
        errors.append(float(relative_error(found.x, x)))
    assert np.median(errors) < 1e-3


def test_search_can_look_for_a_measured_label_too() -> None:
    model, x = MODELS[1], np.linspace(-1, 1, 6)
    found = match_gradient(
        model, model.gradient(x, 2.5), GENERATOR.normal(size=(4, 6)), outcomes=None
    )
    assert relative_error(found.x, x) < 1e-3
    assert found.y == pytest.approx(2.5, abs=1e-3)


def test_noise_of_a_private_step_leaves_nothing_to_find() -> None:
    """Every patient's gradient has length 1 at most; noise of 1 on each element drowns it."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=(200, 6))
    gradient = 0.4 * np.column_stack([np.ones(200), x])
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    noisy = gradient + generator.normal(size=gradient.shape)
    clear_error, noisy_error = (
        relative_error(invert_layer(seen[:, None, 1:], seen[:, :1]), x)
        for seen in (gradient, noisy)
    )
    found = Reconstruction.of(clear_error, noisy_error, relative_error(0 * x, x))
    assert found.without_noise < 1e-12 < 0.9 < found.with_noise
    assert found.exact == 0 and found.guess == 1.0
