"""The task `fedavg`: a site trains on its own for some epochs and sends its weighted update.

McMahan et al. 2017, algorithm 1 (FedAvg), with the update clipped to a norm at the site, always.
The server adds sum_i n_i Delta_i / sum_i n_i; n_i travels inside the same protected vector.

Where updates are compressed (`secagg.quantised`), a site sends n_i Delta_i / N, with N the largest
number of records that the federation has had so far. As long as the n_i of a round add up to at
most N, the sum of all that is no longer than the clipping norm, which is what lanes have room for.

With ``random-k`` only a share of the update travels in a round and the rest stays with the site
(`error_feedback`), which trains on from the model *and* what it has not sent. So it does not
compute over and over again what it only has not told yet: from the model alone, the same move would
be made in each round and added up, and overshoot by as much. What is not sent is then as a part of
the model that is averaged now and then (partial model averaging: Lee et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.contribution import Answer, Limits, unit
from wardround.learning.error_feedback import WINDOW, sent_of, width
from wardround.learning.glm import (
    Standardisation,
    check_coefficients,
    likelihood_bound,
    log_likelihood,
    mean,
)
from wardround.learning.moments import nothing_left
from wardround.learning.parameters import Reader
from wardround.learning.records import Records, Split, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

MAXIMUM_EPOCHS = 5
"""Local epochs per round; the compliance policy allows no more."""

_FIXED_POINT = 1e-3
"""Far more than the fixed-point sum of as many updates as there can be may be off."""

ROUNDED = ("rotate16", "rotate8")
RANDOM_K = "random-k"
COMPRESSIONS = (*ROUNDED, RANDOM_K)
"""What a task may say of how updates travel; where it says nothing they are exact."""


@dataclass(frozen=True, eq=False)
class FedAvgTotals:
    """The weighted mean update (m,), and the log-likelihood at the model that was sent out."""

    update: NDArray[np.float64]
    log_likelihood: float
    records: int
    outgrown: bool = False
    """Whether more records took part than the lanes have room for; ``update`` is then of no use."""


@dataclass(frozen=True, eq=False)
class LocalTraining:
    """How a site trains on its own, from a model of everybody's.

    With ``compression`` by rounding the first m are divided by ``expected``, N above; with random-k
    ``sent_share`` of them travel, and ``included`` says who was in the totals of the rounds before
    (`error_feedback.tell`); ``carried`` is what this site has not sent, n * update in its units.
    ``decay`` is the ridge per record, so that local and pooled objectives have one optimum;
    ``proximal_mu`` pulls the local model towards the one that was sent out (FedProx: Li et al.
    2020, equation 2); ``round`` seeds the order of records, which is reproducible and protects
    nothing.
    """

    variables: Variables
    standardisation: Standardisation
    coefficients: NDArray[np.float64]
    local_epochs: int
    batch_size: int
    learning_rate: float
    clipping_norm: float
    decay: float
    round: int
    compression: str | None = None
    expected: int = 1
    proximal_mu: float = 0.0
    sent_share: float = 1.0
    included: str = ""
    carried: NDArray[np.float64] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the hyperparameters and the model to start from."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        training = reader.table("training")
        compression = _compression(parameters, training)
        rounded, partly = compression in ROUNDED, compression == RANDOM_K
        number = reader.whole("round", int(partly), 1 << 20)
        # As it was before there was such a pull, where the study asks for none.
        pulled = "proximal_mu" in training
        task = cls(
            variables=variables,
            standardisation=Standardisation.parse(reader, variables),
            coefficients=check_coefficients(variables, model),
            local_epochs=training.whole("local_epochs", 1, MAXIMUM_EPOCHS),
            batch_size=training.whole("batch_size", 1, 1 << 20),
            learning_rate=training.number("learning_rate", 1e-9, 1e3),
            clipping_norm=training.number("clipping_norm", 1e-9, 1e6),
            decay=reader.number("decay", 0.0, 1e6),
            round=number,
            compression=compression,
            expected=reader.whole("expected", 1, 1 << 48) if rounded else 1,
            proximal_mu=training.number("proximal_mu", 1e-9, 1e3) if pulled else 0.0,
            sent_share=training.number("sent_share", 0.0, 1.0) if partly else 1.0,
            included=_included(reader, training, number) if partly else "",
        )
        training.done()
        reader.done()
        return task

    @property
    def sent(self) -> int:
        """How many of the m coordinates travel in a round."""
        return sent_of(self.sent_share, len(self.coefficients))

    def update(self, design: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The clipped update (m,) that one site's training comes to."""
        start = self.coefficients
        if self.carried is not None:
            start = start + self.carried * unit(self.clipping_norm) / len(y)
        with np.errstate(over="ignore", invalid="ignore"):  # `clip` deals with what diverges
            return clip(self._train(start, design, y) - start, self.clipping_norm)

    def _train(
        self, start: NDArray[np.float64], design: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        weights = start.copy()
        order = np.random.default_rng(self.round)
        for _ in range(self.local_epochs):
            shuffled = order.permutation(len(y))
            for first in range(0, len(y), self.batch_size):
                batch = shuffled[first : first + self.batch_size]
                z = design[batch]
                residual = y[batch] - mean(self.variables.family, z @ weights)
                gradient = z.T @ residual / len(batch)
                gradient[1:] -= self.decay * weights[1:]
                if self.proximal_mu:
                    gradient -= self.proximal_mu * (weights - self.coefficients)
                weights += self.learning_rate * gradient
        return weights


@dataclass(frozen=True, eq=False)
class FedAvg(LocalTraining):
    """Lanes: n * update (m), log-likelihood at the received model, records n."""

    kind: ClassVar[str] = "fedavg"

    def beside(self, carried: NDArray[np.float64]) -> FedAvg:
        """The same at a site that has not sent ``carried``, shape (m,)."""
        return replace(self, carried=carried)

    @property
    def units(self) -> NDArray[np.float64]:
        """The clipped norm bounds every element of an update."""
        largest = self.standardisation.largest(self.variables)
        _, likelihood = likelihood_bound(self.variables, largest, self.coefficients)
        bounds = [*[self.clipping_norm] * len(largest), likelihood, 1.0]
        return unit(np.array(bounds))

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Train on the training records."""
        x, y = records.of(Split.TRAIN)
        design = self.standardisation.design(x)
        fitted = log_likelihood(self.variables.family, y, design @ self.coefficients).sum()
        update = self.update(design, y)
        weight = len(y) / self.expected
        return Answer(np.concatenate([weight * update, [fitted, float(len(y))]]))

    def read(self, lanes: NDArray[np.float64]) -> FedAvgTotals:
        """Divide by the survivors' records."""
        n = round(lanes[-1])
        if n == 0:
            raise nothing_left()
        outgrown = self.compression in ROUNDED and n > self.expected
        return FedAvgTotals(lanes[:-2] * self.expected / n, float(lanes[-2]), n, outgrown)


def _compression(parameters: Mapping[str, JSON], training: Reader) -> str | None:
    """None unless the task names another: those that are not compressed say nothing about it."""
    table = parameters["training"]
    if not isinstance(table, Mapping) or "compression" not in table:
        return None
    named = training.text("compression")
    if named not in COMPRESSIONS:
        raise training.malformed("compression", "must be rotate16, rotate8 or random-k")
    return named


def require_clipped(
    update: NDArray[np.float64], norm: float, *, rounding: float = 0.0
) -> NDArray[np.float64]:
    """The mean of updates that were clipped to ``norm``, if it is no longer than that.

    Single updates are seen by nobody, and each element of a sum may be as large as the records of a
    hospital allow. That their mean can't be longer than all of them is what can be seen of a
    hospital that sent one which is not clipped. ``rounding`` is what compression may add. Raises
    WR-LEARN-015.
    """
    if not float(np.linalg.norm(update)) <= norm * (1.0 + _FIXED_POINT) + rounding:
        raise WardroundError(
            "WR-LEARN-015",
            "The mean of the hospitals' updates is longer than the clipping norm, which none of "
            "them may be.",
            "A hospital sent what the study does not allow, or miscounted its records; nobody can "
            "see which one. The run ends: leave out whom you don't trust.",
        )
    return update


def _included(reader: Reader, training: Reader, number: int) -> str:
    """Who was in the totals before round ``number``: nothing to say in the first."""
    characters = width(training.whole("sites", 1, 1 << 20)) * min(number - 1, WINDOW)
    told = reader.text("included") if characters else ""
    if len(told) != characters or set(told) - set("0123456789abcdef"):
        raise reader.malformed("included", "must say of each round before who was in its total")
    return told


def clip(update: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Scale ``update`` down to Euclidean length ``norm`` if it is longer.

    An update that is not finite (a learning rate far too high) becomes zero: it must neither
    break the round nor say so outside.
    """
    length = float(np.linalg.norm(update))
    if not np.isfinite(length):
        return np.zeros_like(update)
    return update * min(1.0, norm / length) if length > 0 else update
