"""The table ``[privacy]`` of a study: epsilon, why that epsilon, and what it is spent on.

Every number here is public and signed by each hospital; `wardround privacy plan` proposes them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import Field

from wardround.study.rules import Closed, Rule
from wardround.study.sections import Words

MAXIMUM_RELEASES = 100_000
"""More noisy sums than this one study can't plan."""


class NoisePlacement(StrEnum):
    """Who carries the noise of a total."""

    SITE = "site"
    """Each hospital's contribution is private on its own: rounded Gaussian noise of full size."""

    SHARED = "shared"
    """The total is private: each hospital adds a share of one Skellam noise."""


NoiseMultiplier: TypeAlias = Annotated[
    float,
    Field(ge=0.1, le=10_000),
    Rule(
        "WR-STUDY-100",
        "be a number from 0.1 to 10000",
        "`wardround privacy plan` finds the noise that fits epsilon; more is always allowed.",
    ),
]
Spare: TypeAlias = Annotated[
    int,
    Field(ge=0, le=MAXIMUM_RELEASES),
    Rule(
        "WR-STUDY-101",
        "be a whole number of rounds, 0 or more",
        "1 is usual: a round that fails after hospitals answered is paid for and repeated.",
    ),
]


class OneRelease(Closed):
    """Noise for sums that are asked once each."""

    noise_multiplier: NoiseMultiplier
    """Standard deviation of the noise, as a multiple of what one patient can change."""

    spare: Spare = 1
    """Rounds that may fail and be repeated."""


class Releases(OneRelease):
    """Noise for a number of releases that later steps of a study's life will need."""

    releases: Annotated[
        int,
        Field(ge=1, le=MAXIMUM_RELEASES),
        Rule("WR-STUDY-102", "be a whole number of releases, 1 or more", "Leave the table out."),
    ] = 1
    """How many."""


class PrivateTraining(Closed):
    """Noisy steps towards a model: how many, how noisy, and on how many patients each."""

    noise_multiplier: NoiseMultiplier
    """Standard deviation of the noise, as a multiple of what one patient can change."""

    sampling_rate: Annotated[
        float,
        Field(gt=0, le=1),
        Rule(
            "WR-STUDY-103",
            "be a number above 0 and at most 1",
            "1 means everybody in every step, which is usual below some thousand patients.",
        ),
    ] = 1.0
    """The chance of each patient, drawn anew for each step, to take part in it."""

    steps: Annotated[
        int,
        Field(ge=1, le=MAXIMUM_RELEASES),
        Rule(
            "WR-STUDY-104",
            "be a whole number of steps, 1 or more",
            "`wardround privacy plan` proposes a number.",
        ),
    ]
    """Noisy steps, all together."""

    clipping_norm: Annotated[
        float,
        Field(gt=0, le=1_000_000),
        Rule("WR-STUDY-105", "be a number above 0 and at most a million", "1 is a fair start."),
    ] = 1.0
    """The longest gradient of one patient; with ``adaptive_clipping`` the first one tried."""

    adaptive_clipping: bool = False
    """Whether the clipping norm follows a noisy median of the gradients' norms (Andrew et al.
    2021), paid for jointly with each step."""

    learning_rate: Annotated[
        float,
        Field(gt=0, le=1000),
        Rule("WR-STUDY-106", "be a number above 0 and at most 1000", "1 is a fair start."),
    ] = 1.0
    """The size of a step along the mean clipped gradient."""

    spare: Spare = 1
    """Rounds that may fail and be repeated."""


class Privacy(Closed):
    """What the study may learn about any one patient, and how that is divided among its steps."""

    epsilon: Annotated[
        float,
        Field(gt=0, le=100),
        Rule(
            "WR-STUDY-107",
            "be a number above 0 and at most 100",
            "1 is common; the compliance policy allows 1.5 at most.",
        ),
    ]
    """The privacy loss of the whole study, for a patient at one hospital."""

    delta: Annotated[
        float | None,
        Field(gt=0, lt=1),
        Rule(
            "WR-STUDY-108",
            "be a number above 0 and below 1",
            "Leave it out for min(1e-5, 1 / (10 patients)).",
        ),
    ] = None
    """The probability with which epsilon may fail."""

    patients: Annotated[
        int,
        Field(ge=1, le=1_000_000_000),
        Rule(
            "WR-STUDY-109",
            "be a whole number of patients",
            "Say about how many all hospitals have together; the exact number stays secret.",
        ),
    ]
    """About how many patients all hospitals have: a public constant by which sums are divided, and
    from which delta follows."""

    hospitals_per_patient: Annotated[
        int,
        Field(ge=1, le=64),
        Rule("WR-STUDY-110", "be a whole number of hospitals, 1 or more", "1 is usual."),
    ] = 1
    """In how many of the hospitals one patient may have records; epsilon is stated for that too."""

    noise: Annotated[
        NoisePlacement,
        Rule(
            "WR-STUDY-111",
            'be "shared" or "site"',
            '"shared" needs least noise; "site" makes each contribution private on its own.',
        ),
    ] = NoisePlacement.SHARED
    """Who carries the noise."""

    rationale: Words
    """Why this epsilon: what a patient risks, what the study gains, who agreed."""

    statistics: OneRelease
    """Counts, means and histograms before training."""

    training: PrivateTraining
    """The fit."""

    evaluation: OneRelease
    """How well the model does."""

    gate: Releases | None = None
    """What validation before a release will cost."""

    monitoring: Releases | None = None
    """What watching the released model will cost."""

    @property
    def delta_in_force(self) -> float:
        """The stated delta, or the default: min(1e-5, 1 / (10 patients))."""
        return min(1e-5, 1 / (10 * self.patients)) if self.delta is None else self.delta
