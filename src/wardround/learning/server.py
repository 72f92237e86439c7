"""What the coordinator makes of a mean update: server steps as pairs of pure functions.

Reddi et al. 2021 (Adaptive federated optimization, algorithm 2) for the adaptive ones; the plain
step is McMahan et al. 2017. A pair is made as in optax: ``init`` gives the state for a model,
``update`` the step to add to the model and the next state. Steps are plain element-wise arithmetic
in a fixed order, so that an auditor's replay gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

BETA1, BETA2 = 0.9, 0.99
"""How much of the first and second moment is kept (Reddi et al. 2021, section 4)."""

TAU = 1e-3
"""How adaptive the step is: added to the root of the second moment, which begins at its square."""


@dataclass(frozen=True, eq=False)
class State:
    """Moments of the updates so far, each of shape (m,); empty for a step that keeps none."""

    first: Vector
    second: Vector


@dataclass(frozen=True)
class Step:
    """``init(model)`` begins; ``update(delta, state)`` gives the step (m,) and the next state."""

    init: Callable[[Vector], State]
    update: Callable[[Vector, State], tuple[Vector, State]]


def plain(learning_rate: float = 1.0) -> Step:
    """The mean update, times the server learning rate."""

    def init(model: Vector) -> State:
        return State(np.zeros(0), np.zeros(0))

    def update(delta: Vector, state: State) -> tuple[Vector, State]:
        return learning_rate * delta, state

    return Step(init, update)


def adam(learning_rate: float = 0.1) -> Step:
    """FedAdam: the second moment is a running mean of squares."""
    return _adaptive(
        learning_rate, BETA1, lambda second, square: BETA2 * second + (1 - BETA2) * square
    )


def yogi(learning_rate: float = 0.01) -> Step:
    """FedYogi: the second moment moves by no more than the new square (Zaheer et al. 2018)."""
    return _adaptive(
        learning_rate,
        BETA1,
        lambda second, square: second - (1 - BETA2) * square * np.sign(second - square),
    )


def adagrad(learning_rate: float = 0.1) -> Step:
    """FedAdagrad: the second moment is the sum of all squares; without momentum."""
    return _adaptive(learning_rate, 0.0, lambda second, square: second + square)


def _adaptive(
    learning_rate: float, beta1: float, follow: Callable[[Vector, Vector], Vector]
) -> Step:
    def init(model: Vector) -> State:
        return State(np.zeros_like(model), np.full_like(model, TAU * TAU))

    def update(delta: Vector, state: State) -> tuple[Vector, State]:
        first = beta1 * state.first + (1 - beta1) * delta
        second = follow(state.second, delta * delta)
        return learning_rate * first / (np.sqrt(second) + TAU), State(first, second)

    return Step(init, update)
