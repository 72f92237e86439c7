"""What a private study releases, line by line: the menu that each hospital's ledger keeps to.

The lines follow from the signed study alone. A hospital answers a task only if its kind stands in
a line, with that line's noise, and at most as often as the line says. So whatever order a
coordinator asks in, what it gets is a part of one multiset of events that was priced beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from wardround.errors import WardroundError
from wardround.privacy.events import FRACTIONAL_BITS, Gaussian, Skellam, deviation
from wardround.secagg.chosen import Chosen
from wardround.secagg.encoding import FixedPoint
from wardround.secagg.headroom import Headroom, Noise
from wardround.secagg.quantised import Quantised
from wardround.study.checks import lacks_privacy
from wardround.study.privacy import NoisePlacement, Privacy
from wardround.study.task import Algorithm, ModelKind

if TYPE_CHECKING:
    from wardround.study.document import Study
    from wardround.study.task import Task

RING_BITS = 64
"""The ring of every private sum: noise needs room beside the data."""


class Purpose(StrEnum):
    """What a part of the budget is for."""

    STATISTICS = "statistics"
    TRAINING = "training"
    EVALUATION = "evaluation"
    GATE = "gate"
    MONITORING = "monitoring"


@dataclass(frozen=True)
class Line:
    """So many releases of one event.

    Every answer to a task of one of ``kinds`` is charged as ``events_per_task`` times ``event``
    (more than one where a hospital takes noisy steps of its own before it answers). ``releases``
    counts answers, ``spare`` how many more may be given for rounds that failed.
    """

    purpose: Purpose
    kinds: tuple[str, ...]
    event: Gaussian | Skellam
    releases: int
    spare: int
    events_per_task: int = 1
    noise_within: bool = False
    """Whether the noise is in what a hospital computes, and none is added to what it answers."""

    @property
    def events(self) -> int:
        """How many events the whole line comes to, spare ones included."""
        return (self.releases + self.spare) * self.events_per_task


def lines(study: Study) -> tuple[Line, ...]:
    """Everything that the study may ever release; raises WR-STUDY-112 without ``[privacy]``."""
    privacy = require_privacy(study)
    family = study.model.kind
    scores = "private_scores" if family is ModelKind.LOGISTIC else "private_residuals"
    statistics = ("private_moments", "private_histogram")

    def once(purpose: Purpose, kinds: tuple[str, ...], noise: float, spare: int) -> Line:
        return Line(purpose, kinds, _event(privacy, noise), len(kinds), spare)

    found = [
        once(
            Purpose.STATISTICS,
            statistics,
            privacy.statistics.noise_multiplier,
            privacy.statistics.spare,
        ),
        _training(study, privacy),
        once(
            Purpose.EVALUATION,
            (scores,),
            privacy.evaluation.noise_multiplier,
            privacy.evaluation.spare,
        ),
    ]
    for purpose, later in (
        (Purpose.GATE, privacy.gate),
        (Purpose.MONITORING, privacy.monitoring),
    ):
        if later is not None:
            event = _event(privacy, later.noise_multiplier)
            found.append(Line(purpose, (), event, later.releases, later.spare))
    return tuple(found)


def line_of(study: Study, kind: str) -> Line:
    """The line under which a task kind is charged; raises WR-STUDY-113 where there is none."""
    for line in lines(study):
        if kind in line.kinds:
            return line
    raise WardroundError(
        "WR-STUDY-113",
        f"The study plans no noise for tasks of the kind {kind!r}, and declares no sensitivity.",
        "Only what the signed plan lists is computed; `wardround study show` prints it.",
        path="privacy",
    )


def carriers(study: Study, roster: int, whole: int | None = None) -> int:
    """Among how many sites of a roster shared noise is divided: those that are sure to be there.

    A total is opened over the minimum of survivors at least, of whom f may be corrupt and tell the
    coordinator their shares; all others together carry the noise that the plan asks for. ``whole``
    as for `Study.adversary`.
    """
    return study.minimum_survivors(roster, whole) - study.corrupt_sites


def headroom(study: Study, task: Task, roster: int, whole: int | None = None) -> Headroom:
    """How a task's contributions are encoded for a roster of so many sites.

    Without noise as finely as the ring allows, of a task with turns only those values whose turn it
    is, or in the lanes that it has; private sums all on the one scale of their sensitivity, with
    room for the noise of everybody on the roster.
    """
    if study.privacy is None:
        exact = FixedPoint.fit(task.bound, roster, task.ring_bits)
        lanes, turns = task.lanes, task.turns
        if turns is not None:
            first, sent, number = turns.first, turns.sent, turns.number
            return Headroom(Chosen(exact, first, sent, number, turns.seed_bytes))
        if lanes is None:
            return Headroom(exact)
        seed = bytes.fromhex(task.hash.removeprefix("sha256:"))
        return Headroom(Quantised(exact, lanes.bits, lanes.first, lanes.norm, seed))
    encoding = FixedPoint(task.ring_bits, FRACTIONAL_BITS, task.bound, roster)
    noise = noise_deviation(study, task.kind, roster, roster, whole)
    room = Noise(noise).room(FRACTIONAL_BITS, roster) if noise else 0
    return Headroom(encoding, room)


def noise_deviation(
    study: Study, kind: str, sites: int, roster: int, whole: int | None = None
) -> float:
    """The standard deviation of the noise on each element of a total over so many sites.

    In units of a patient's clipped vector; 0 without noise, or where it lies within what the sites
    computed. With shared noise a total has the more of it the more sites take part beyond those
    that carry what is needed.
    """
    if study.privacy is None:
        return 0.0
    line = line_of(study, kind)
    if line.noise_within:
        return 0.0
    shares = 1 if isinstance(line.event, Gaussian) else carriers(study, roster, whole)
    return deviation(line.event.noise_multiplier) * math.sqrt(sites / shares)


def require_privacy(study: Study) -> Privacy:
    """The study's ``[privacy]``; raises WR-STUDY-112 where it has none."""
    if study.privacy is None:
        raise lacks_privacy(study)
    return study.privacy


def _training(study: Study, privacy: Privacy) -> Line:
    plan = privacy.training
    match study.model.algorithm:
        case Algorithm.FEDAVG:
            # Each hospital's own noisy steps; what it answers is post-processing of them.
            event: Gaussian | Skellam = Gaussian(plan.noise_multiplier, plan.sampling_rate)
            rounds = study.model.fedavg.rounds if study.model.fedavg else 1
            per_round = -(-plan.steps // rounds)
            kinds = ("private_fedavg",)
            return Line(Purpose.TRAINING, kinds, event, rounds, plan.spare, per_round, True)
        case Algorithm.NOISY_STATISTICS:
            event = _event(privacy, plan.noise_multiplier)
            return Line(Purpose.TRAINING, ("private_products",), event, 1, plan.spare)
        case _:
            event = _event(privacy, plan.noise_multiplier, plan.sampling_rate)
            return Line(Purpose.TRAINING, ("private_gradient",), event, plan.steps, plan.spare)


def _event(
    privacy: Privacy, noise_multiplier: float, sampling_rate: float = 1.0
) -> Gaussian | Skellam:
    if privacy.noise is NoisePlacement.SHARED:
        return Skellam(noise_multiplier, sampling_rate)
    return Gaussian(noise_multiplier, sampling_rate)
