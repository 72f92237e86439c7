"""The facts that a study's report is made of.

All of it is aggregate: what the federation opened, what each hospital says about itself in its
own local report, and the protections that were in force. No field can hold a patient's record.
Shares (AUROC, accuracy, rates) are between 0 and 1; times are in UTC; sizes are in bytes.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wardround.errors import WardroundError
from wardround.governance.files import read_bounded, write_whole
from wardround.governance.findings import EvidenceLevel, VerificationReport

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
_LOCAL_REMEDY = "Give the local_report.json that the hospital's agent wrote at the end of a run."

RocPoint = tuple[Share, Share]
"""(false-positive rate, sensitivity)."""


class Facts(BaseModel):
    """Base of everything below: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Performance(Facts):
    """How well a model did on held-out records, with 95 % intervals.

    A classifier has ``auroc`` and ``accuracy``; a linear model has ``r_squared`` and ``rmse``
    (root mean squared error, in the outcome's unit). What was not measured is None.
    """

    auroc: Share | None = None
    auroc_low: Share | None = None
    auroc_high: Share | None = None
    accuracy: Share | None = None
    accuracy_low: Share | None = None
    accuracy_high: Share | None = None
    r_squared: Finite | None = None
    rmse: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    records: Count | None = None
    roc: tuple[RocPoint, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("auroc", "accuracy"):
            low, value, high = (getattr(self, name + end) for end in ("_low", "", "_high"))
            if (low is None) != (high is None) or (value is None and low is not None):
                raise ValueError(f"{name} needs both ends of its interval, and an estimate")
            if low is not None and not low <= value <= high:
                raise ValueError(f"{name} lies outside its own interval")
        return self


class Sandbox(Facts):
    """What a hospital's computer enforced around the computation, and what it could not."""

    enforced: tuple[str, ...] = ()
    missing: dict[str, str] = {}
    simulated: bool = False


class LetPass(Facts):
    """A check of the records that blocked and that the hospital's steward has signed for."""

    check: str
    concept: str | None = None
    override: str
    """Who let it pass, from when to when, and why."""


class LocalReport(Facts):
    """What one hospital knows about its own part; written by its agent, kept in the hospital.

    Figures about a single hospital never pass the door. They reach a study report only when the
    hospital hands over this file, or when, as in the demo, all of them lie on the same disk.
    """

    name: str
    records_used: Count
    records_total: Count
    quarantine: dict[str, Count] = {}
    source: str | None = None
    n_train: Count = 0
    n_test: Count = 0
    bytes_out: Count
    bytes_in: Count = 0
    opened_numbers: Count
    alone: Performance | None = None
    federated_here: Performance | None = None
    sandbox: Sandbox = Sandbox()
    checks: dict[str, Count] = {}
    """How many checks of the records came to which level."""
    let_pass: tuple[LetPass, ...] = ()

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.records_used > self.records_total:
            raise ValueError("more records used than there are")
        return self

    @classmethod
    def load(cls, path: Path) -> LocalReport:
        """Read ``local_report.json``; raise WR-GOV-030 when it is not one."""
        data = read_bounded(
            path, 16 << 20, code="WR-GOV-030", what="local report", remedy=_LOCAL_REMEDY
        )
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise WardroundError(
                "WR-GOV-030",
                "This is not a hospital's local report.",
                _LOCAL_REMEDY,
                path=str(path),
            ) from None

    def save(self, path: Path) -> None:
        """Write ``local_report.json``, replacing an older one in one step."""
        write_whole(path, (self.model_dump_json(indent=2) + "\n").encode())


class StudyFacts(Facts):
    """What was agreed."""

    id: str
    version: int = 1
    title: str
    question: str = ""
    purpose: str = ""
    digest: str
    profile: Literal["secure-sum", "private"]
    """``clinical`` gets its pages together with its protections."""
    expires: date | None = None
    coordinator: str = ""
    sites: tuple[str, ...]
    outcome: str
    corrupt_sites: Count
    threshold: Count
    minimum_survivors: Count
    groups: Count | None = None
    """How many random groups have a total each; None where one sum is over all hospitals."""
    redraw_steps: Count | None = None
    """After how many steps the groups are others; None where they stay as they were drawn."""
    minimum_cell: Count
    minimum_cohort: Count
    opened_numbers_limit: Count | None = None


class BudgetLine(Facts):
    """A part of the privacy budget: what was planned and signed, and what was used of it.

    ``share`` is the part of the whole plan's noise budget (the sum of 1 / noise multiplier squared
    over all releases); ``answered`` counts rounds that were paid for, failed ones included.
    """

    purpose: str
    releases: Count
    spare: Count
    answered: Count
    noise_multiplier: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    sampling_rate: Share
    share: Share


class PrivacyFacts(Facts):
    """What was promised to each patient, in the words that stand everywhere, and why."""

    epsilon: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    delta: Share
    words: str
    particulars: tuple[tuple[str, str], ...]
    rationale: str
    budget: tuple[BudgetLine, ...]


class Coefficient(Facts):
    """One feature's coefficient: the change in the linear predictor per standard deviation."""

    name: str
    label: str
    unit: str = ""
    value: Finite
    standard_error: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    value_per_unit: Finite | None = None


class RidgeLoss(Facts):
    """What a ridge cost per record that its fit did not see: log loss, or half a squared error."""

    ridge: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    loss: Finite


class ModelFacts(Facts):
    """The candidate in words and numbers; ``ridge_losses`` where cross-validation chose."""

    kind: Literal["logistic", "linear"]
    algorithm: str
    coefficients: tuple[Coefficient, ...]
    intercept: Finite | None = None
    ridge: Finite | None = None
    folds: Count | None = None
    ridge_losses: tuple[RidgeLoss, ...] = ()
    steps: Count | None = None
    stopping: str = ""
    digest: str = ""


class CalibrationBin(Facts):
    """Records of similar predicted risk: mean prediction, observed share, how many."""

    predicted: Share
    observed: Share
    records: Annotated[float, Field(ge=0.0)]


class Evaluation(Facts):
    """The federated model on the hospitals' held-out records, from secure sums."""

    held_out: Performance
    training: Performance | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    calibration_slope: Finite | None = None
    calibration_intercept: Finite | None = None
    brier: Share | None = None


class SiteTraffic(Facts):
    """Bytes of bodies that a coordinator received from a hospital and sent to it."""

    bytes_in: Count
    bytes_out: Count


class RoundFacts(Facts):
    """One attempt at one total; steps and attempts count from 0, as in the manifest."""

    round: str
    step: Count
    attempt: Count = 0
    group: Count | None = None
    """Which group's total, counted from 1, in a study with groups."""
    kind: str
    started: datetime
    seconds: Annotated[float, Field(ge=0.0)]
    """From its manifest to its total, or until it failed, the time in which nobody was there to
    open it included."""
    completed: bool = True
    reason: str = ""
    survivors: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Who was asked and is not in the total: too late, away, or refusing."""
    not_asked: tuple[str, ...] = ()
    """Which of the cohort's hospitals took no part: not chosen, or away when keys were agreed."""
    records: Count | None = None
    """How many records the total says it is over; None where it does not, or under noise."""
    opened_numbers: Count = 0
    bytes_in: Count = 0
    """Of the contributions that counted."""
    traffic: dict[str, SiteTraffic] = {}
    """By hospital: all that was moved while this was what was under way, or the last that was, what
    was sent again included; of a late cohort also what its members moved to form it."""
    refused: tuple[str, ...] = ()
    """Which of those who were dropped said no; never told of a study with noise."""


class SetupFacts(Facts):
    """One set-up of masking keys for the rounds that follow it, or one that failed."""

    batch: str
    group: Count | None = None
    started: datetime
    seconds: Annotated[float, Field(ge=0.0)]
    completed: bool = True
    traffic: dict[str, SiteTraffic] = {}
    """By hospital, as for a round."""


class AbsenceFacts(Facts):
    """A hospital that is not in every total: how many steps it is in, and which it is not in.

    ``missing`` are the steps whose total was opened without its answer, ``not_asked`` those in
    which it took no part; both counted from 0.
    """

    site: str
    present: Count
    missing: tuple[Count, ...] = ()
    not_asked: tuple[Count, ...] = ()


class ReportData(Facts):
    """Everything on the page. What is absent is left out of the page, never guessed."""

    study: StudyFacts
    privacy: PrivacyFacts | None = None
    run: str
    started: datetime
    finished: datetime
    model: ModelFacts
    evaluation: Evaluation
    rounds: tuple[RoundFacts, ...]
    setups: tuple[SetupFacts, ...] = ()
    other_traffic: dict[str, dict[str, SiteTraffic]] = {}
    """What belongs to no round and no set-up, by scope and hospital: what was moved before and
    after, and for draws (under the run's name), for late cohorts that never masked, and between
    late cohorts (under the stream's name)."""
    resumed: tuple[datetime, ...] = ()
    """When a coordinator that had been away went on with the run. Bytes that it had not written
    down by then are not in ``traffic``: where there is such a time, the numbers are the least."""
    absences: tuple[AbsenceFacts, ...] = ()
    suppressed_cells: Count = 0
    sites: tuple[LocalReport, ...] = ()
    exact: Performance | None = None
    """The federated model on everybody's held-out records, without noise: a demonstration's."""

    pooled: Performance | None = None
    level: EvidenceLevel = "E0"
    verification: VerificationReport | None = None
    notes: tuple[str, ...] = ()
