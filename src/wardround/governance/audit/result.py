"""What an audit found, as one document: the page and ``--json`` say the same."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.attacks import (
    AttributeResult,
    CanaryPlan,
    Curve,
    Reconstruction,
    most_advantage,
    most_true_positives,
)
from wardround.privacy.attacks.membership import LOW
from wardround.privacy.statement import Statement

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True)
class Settings:
    """What is decided before anything is run; of the canaries, ``guesses`` above all."""

    canaries: int
    guesses: int
    confidence: float = 0.95
    shadows: int = 64
    targets: int = 16
    attacked: int = 60
    sensitive: str | None = None


@dataclass(frozen=True, eq=False)
class Canaries:
    """The white-box canaries: the planned guesses, how many were right, the bound.

    ``epsilon`` is the bound, ``claim`` what the accountant proves for the same releases, both at
    the plan's delta.
    """

    plan: CanaryPlan
    correct: int
    epsilon: float
    claim: float
    releases: int
    scores: NDArray[np.float64] = field(repr=False)
    included: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Membership:
    """Shadow models' success: rates and the whole curve."""

    true_positives: float
    area: float
    advantage: float
    curve: Curve = field(repr=False)


@dataclass(frozen=True)
class Attribute:
    """The inferred feature, and shares of right answers as means over the attacked models."""

    feature: str
    without_noise: AttributeResult
    with_noise: AttributeResult


@dataclass(frozen=True, eq=False)
class PrivacyAudit:
    """One simulated audit of one study; every attack once without noise and once as the study is.

    ``attribute`` is None where no feature is a yes or no.
    """

    study: str
    title: str
    version: int
    algorithm: str
    source: str
    made_up: bool
    patients: int
    left_out: int
    steps: int
    noise_multiplier: float
    sampling_rate: float
    statement: Statement
    settings: Settings
    canaries: Canaries
    division: Reconstruction
    search: Reconstruction
    membership_clear: Membership
    membership: Membership
    attribute: Attribute | None
    when: datetime
    seconds: float

    @property
    def exceeded(self) -> bool:
        """Whether the bound lies above the claim: then the claim is wrong, or it was bad luck."""
        return self.canaries.epsilon > self.canaries.claim

    @property
    def allowed_true_positives(self) -> float:
        """The rate that the claim allows at the false-positive rate of the membership attack."""
        return most_true_positives(LOW, self.statement.epsilon, self.statement.delta)

    @property
    def allowed_advantage(self) -> float:
        """The advantage that the claim allows to any attack on membership."""
        return most_advantage(self.statement.epsilon, self.statement.delta)

    def to_json(self) -> dict[str, JSON]:
        """Everything but the scores and curves."""
        plan = self.canaries.plan
        found: dict[str, JSON] = {
            "simulated": True,
            "study": self.study,
            "version": self.version,
            "data": {
                "source": self.source,
                "made_up": self.made_up,
                "patients": self.patients,
                "left_out": self.left_out,
            },
            "claim": self.statement.to_json(),
            "canaries": {
                "canaries": plan.canaries,
                "guesses": plan.guesses,
                "correct": self.canaries.correct,
                "confidence": plan.confidence,
                "delta": plan.delta,
                "epsilon_at_least": round(self.canaries.epsilon, 6),
                "epsilon_claimed": self.canaries.claim,
                "releases": self.canaries.releases,
                "exceeds_claim": self.exceeded,
            },
            "inversion_by_division": _plain(self.division),
            "inversion_by_search": _plain(self.search),
            "membership": {
                "shadows": self.settings.shadows,
                "targets": self.settings.targets,
                "without_noise": _rates(self.membership_clear),
                "with_noise": _rates(self.membership),
                "allowed": {
                    "true_positives_at_1_percent": self.allowed_true_positives,
                    "advantage": self.allowed_advantage,
                },
            },
            "attribute": None,
            "seconds": round(self.seconds, 2),
        }
        if self.attribute is not None:
            found["attribute"] = {
                "feature": self.attribute.feature,
                "without_noise": _attribute(self.attribute.without_noise),
                "with_noise": _attribute(self.attribute.with_noise),
            }
        return found


def _plain(found: Reconstruction) -> dict[str, JSON]:
    return {
        name: value if math.isfinite(value) else None
        for name, value in dataclasses.asdict(found).items()
    }


def _rates(found: Membership) -> dict[str, JSON]:
    return {
        "true_positives_at_1_percent": found.true_positives,
        "area": found.area,
        "advantage": found.advantage,
    }


def _attribute(found: AttributeResult) -> dict[str, JSON]:
    return {
        **dataclasses.asdict(found),
        "advantage": found.advantage,
        "over_base_rate": found.over_base_rate,
    }
