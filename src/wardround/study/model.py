"""What a study fits, and how: its model, and federated averaging."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from wardround.study.rules import Closed, Rule
from wardround.study.task import Algorithm, Compression, ModelKind, ServerStep


def _rising(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if any(second <= first for first, second in pairwise(numbers)):
        raise ValueError
    return numbers


class FedAvg(Closed):
    """How local training goes, where the algorithm is ``fedavg``."""

    rounds: Annotated[
        int,
        Field(ge=1, le=1000),
        Rule("WR-STUDY-037", "be a whole number from 1 to 1000", "20 is a fair start."),
    ]
    """How often the hospitals' models are averaged."""

    local_epochs: Annotated[
        int,
        Field(ge=1, le=5),
        Rule(
            "WR-STUDY-038",
            "be a whole number from 1 to 5",
            "More passes over the local data per round leak more and drift apart; 1 is usual.",
        ),
    ] = 1
    """Passes over the local data per round."""

    batch_size: Annotated[
        int,
        Field(ge=1, le=100_000),
        Rule("WR-STUDY-039", "be a whole number from 1 to 100000", "32 is usual."),
    ] = 32
    """Records per step of gradient descent."""

    learning_rate: Annotated[
        float,
        Field(gt=0, le=10),
        Rule("WR-STUDY-040", "be a number above 0 and at most 10", "0.1 is a fair start."),
    ] = 0.1
    """The step size of gradient descent, on standardised features."""

    clipping_norm: Annotated[
        float,
        Field(gt=0, le=1_000_000),
        Rule(
            "WR-STUDY-041",
            "be a number above 0 and at most a million",
            "10 is a fair start: a longer update is shortened to this length.",
        ),
    ] = 10.0
    """The largest Euclidean norm of one hospital's update."""

    compression: Annotated[
        Compression,
        Rule(
            "WR-STUDY-160",
            'be "none", "rotate16", "rotate8" or "random-k"',
            '"rotate16" sends a quarter and "rotate8" an eighth of the bytes, "random-k" a share '
            'of the coordinates; "none" is exact.',
        ),
    ] = Compression.NONE
    """How updates are made smaller on their way: not at all; or rotated and rounded at random to 16
    or 8 bits a number, which adds an error without bias; or a share of the coordinates in each
    round, the same for all, while each hospital adds what it did not send to its next update."""

    sent_share: Annotated[
        float | None,
        Field(ge=0.001, le=1),
        Rule(
            "WR-STUDY-162",
            "be a number from 0.001 to 1",
            "0.1, a tenth of the coordinates in each round, is a fair start.",
        ),
    ] = None
    """Only for `random-k`: which share of the coordinates is sent in a round; left out, 0.1."""

    server: Annotated[
        ServerStep | None,
        Rule(
            "WR-STUDY-157",
            'be "fedavg", "fedbuff", "fedasync", "fedadam", "fedyogi" or "fedadagrad"',
            "Leave it out for plain averaging; the adaptive ones help on tables, and are no "
            "blanket default.",
        ),
    ] = None
    """What the coordinator makes of the mean update; left out, it is added as it is."""

    server_learning_rate: Annotated[
        float | None,
        Field(gt=0, le=100),
        Rule(
            "WR-STUDY-158",
            "be a number above 0 and at most 100",
            "Leave it out for 1, or for the adaptive ones 0.1 (fedadam, fedadagrad) and 0.01 "
            "(fedyogi).",
        ),
    ] = None
    """The step size of the coordinator's step."""

    proximal_mu: Annotated[
        float | None,
        Field(gt=0, le=1000),
        Rule(
            "WR-STUDY-159",
            "be a number above 0 and at most 1000",
            "0.01 is a fair start; leave it out for none.",
        ),
    ] = None
    """FedProx: the weight of the pull of local training towards the model that was sent out."""

    @property
    def share_sent(self) -> float:
        """Which share of an update's coordinates travels in a round."""
        if self.compression is not Compression.RANDOM_K:
            return 1.0
        return 0.1 if self.sent_share is None else self.sent_share


class Model(Closed):
    """What is fitted, and when fitting stops."""

    kind: Annotated[
        ModelKind,
        Rule(
            "WR-STUDY-031",
            'be "logistic" or "linear"',
            '"logistic" predicts a yes or no, "linear" a number.',
        ),
    ]
    """The model: ``logistic`` for a yes or no, ``linear`` for a number."""

    algorithm: Annotated[
        Algorithm,
        Rule(
            "WR-STUDY-032",
            'be "newton", "fedavg", "dp-sgd" or "noisy-statistics"',
            '"newton" is exact and needs few rounds, "fedavg" averages local models; under '
            '"private", "dp-sgd" takes noisy steps and "noisy-statistics" fits a linear model from '
            "one noisy sum.",
        ),
    ] = Algorithm.NEWTON
    """How it is fitted."""

    ridge: Annotated[
        Annotated[float, Field(ge=0, le=1e9)]
        | Annotated[
            tuple[Annotated[float, Field(gt=0, le=1e9)], ...],
            Field(min_length=2, max_length=20),
            AfterValidator(_rising),
        ],
        Rule(
            "WR-STUDY-033",
            "be a number from 0 to 1000000000, or a rising list of 2 to 20 numbers above 0",
            "1.0 is usual, 0 switches the penalty off; of a list such as [0.01, 0.1, 1, 10] "
            "cross-validation chooses one.",
        ),
    ] = 1.0
    """The weight of the penalty on large coefficients; the intercept is never penalised. Of a
    list, cross-validation over all hospitals' training records chooses one."""

    folds: Annotated[
        int | None,
        Field(ge=2, le=20),
        Rule("WR-STUDY-057", "be a whole number from 2 to 20", "5 is usual."),
    ] = None
    """Parts of the training records for cross-validation, by a hash of the patient's identifier;
    needed if, and only if, ``ridge`` is a list."""

    tolerance: Annotated[
        float,
        Field(ge=1e-12, le=0.1),
        Rule("WR-STUDY-034", "be a number from 1e-12 to 0.1", "1e-8 is usual."),
    ] = 1e-8
    """The relative change at which fitting stops."""

    maximum_steps: Annotated[
        int,
        Field(ge=1, le=200),
        Rule(
            "WR-STUDY-035",
            "be a whole number from 1 to 200",
            "25 is usual; a Newton fit that needs more doesn't converge.",
        ),
    ] = 25
    """Steps after which fitting gives up."""

    fedavg: FedAvg | None = None
    """Needed if, and only if, the algorithm is ``fedavg``."""

    @property
    def ridges(self) -> tuple[float, ...]:
        """The ridge, or all among which cross-validation chooses."""
        return self.ridge if isinstance(self.ridge, tuple) else (self.ridge,)
