"""What a private study releases, line by line: the menu that each hospital's ledger keeps to.

The lines follow from the signed study alone. A hospital answers a task only if its kind stands in
a line, with that line's noise, and at most as often as the line says. So whatever order a
coordinator asks in, what it gets is a part of one multiset of events that was priced beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from wardround.errors import WardroundError
from wardround.privacy.events import Event, Gaussian, Skellam
from wardround.study.privacy import NoisePlacement, Privacy
from wardround.study.task import Algorithm, ModelKind

if TYPE_CHECKING:
    from wardround.study.document import Study


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
    event: Event
    releases: int
    spare: int
    events_per_task: int = 1

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


def require_privacy(study: Study) -> Privacy:
    """The study's ``[privacy]``; raises WR-STUDY-112 where it has none."""
    if study.privacy is None:
        raise WardroundError(
            "WR-STUDY-112",
            f"A study of the profile {study.profile.value!r} lacks the table [privacy].",
            "Add epsilon, patients and rationale; `wardround privacy plan` proposes the rest.",
            path="privacy",
        )
    return study.privacy


def _training(study: Study, privacy: Privacy) -> Line:
    plan = privacy.training
    match study.model.algorithm:
        case Algorithm.FEDAVG:
            # Each hospital's own noisy steps; what it answers is post-processing of them.
            event: Event = Gaussian(plan.noise_multiplier, plan.sampling_rate)
            rounds = study.model.fedavg.rounds if study.model.fedavg else 1
            per_round = -(-plan.steps // rounds)
            return Line(Purpose.TRAINING, ("private_fedavg",), event, rounds, plan.spare, per_round)
        case Algorithm.NOISY_STATISTICS:
            event = _event(privacy, plan.noise_multiplier)
            return Line(Purpose.TRAINING, ("private_products",), event, 1, plan.spare)
        case _:
            event = _event(privacy, plan.noise_multiplier, plan.sampling_rate)
            return Line(Purpose.TRAINING, ("private_gradient",), event, plan.steps, plan.spare)


def _event(privacy: Privacy, noise_multiplier: float, sampling_rate: float = 1.0) -> Event:
    if privacy.noise is NoisePlacement.SHARED:
        return Skellam(noise_multiplier, sampling_rate)
    return Gaussian(noise_multiplier, sampling_rate)
