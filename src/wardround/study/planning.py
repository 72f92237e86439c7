"""A proposal for a study's budget: how much noise, how many steps, and on how many patients each.

What noise means is said against the longest gradient that one patient may have, the clipping norm
C. On the mean gradient of a step it is z sqrt(lanes) C / (q n) long, with z the noise multiplier of
the total, q the sampling rate and n the number of training patients; and a sample's mean is itself
off from everybody's by up to sqrt((1 - q) / (q n)) C. Both are drawn anew in each step, so that the
average of T steps is off by the whole over sqrt(T): about what is left of it in the model.

At a fixed epsilon, z grows with sqrt(T) where everybody takes part, so the average doesn't suffer
from more steps; only each step does. Samples cost less computing and never less noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wardround.errors import WardroundError
from wardround.privacy.calibrate import LEAST, Part, divide, round_up
from wardround.privacy.events import Event, Skellam
from wardround.privacy.statement import short
from wardround.study.document import Study
from wardround.study.plan import Line, Purpose, carriers, lines, require_privacy
from wardround.study.task import Algorithm, ModelKind

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

SHARES: Mapping[Purpose, float] = {
    Purpose.STATISTICS: 0.2,
    Purpose.TRAINING: 0.5,
    Purpose.EVALUATION: 0.15,
    Purpose.GATE: 0.1,
    Purpose.MONITORING: 0.05,
}
"""How a budget is divided unless somebody says otherwise.

Measured on 569 biopsies at epsilon 1.5 (40 runs each; training and evaluation had the rest):
statistics with .15 and .25 of the budget left a mean accuracy of .921 and .937, the worst .77 and
.91, where training with .3 or .4 made no difference.
"""

WINDOW = 4.0
"""Half a window of noisy moments in standard deviations of what lies there, where one is found."""

UNSURE = 0.6
"""Noise on means, in deviations, from which statistics are the bottleneck: at .61 and .53 the worst
of the runs on biopsies had accuracies of .77 and .90 (40 and 20 runs)."""

RELEASES: Mapping[Purpose, int] = {Purpose.GATE: 1, Purpose.MONITORING: 4}
"""How often the gate and monitoring look at the patients, unless the study says."""

STEPS = (5, 10, 20, 50)
"""Numbers of steps to compare, with everybody in each."""

SAMPLES = ((0.25, 40), (0.1, 100), (0.05, 200), (0.01, 1000))
"""Sampling rates and steps to compare: ten passes over the patients each."""

USUAL_STEPS, MANY_PATIENTS = 10, 10_000
"""Ten steps over everybody fit a model of a few dozen coefficients (measured on the four heart
hospitals); with more patients than this, twice as many half as long cost nothing that counts."""

EPSILONS = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0)
"""For the question what another epsilon would buy."""


@dataclass(frozen=True)
class Design:
    """One way to train, with the noise it needs so that the whole plan fits epsilon.

    Lengths relative to the clipping norm: ``step_noise`` is that of the noise on a step's mean
    gradient, ``average_noise`` that of the average over all steps, with the chance of the samples.
    """

    sampling_rate: float
    steps: int
    noise_multiplier: float
    patients_per_step: float
    passes: float
    step_noise: float
    average_noise: float

    @property
    def drowned(self) -> bool:
        """Whether a step's noise is longer than the longest mean gradient that there can be."""
        return self.step_noise > 1


@dataclass(frozen=True)
class Proposal:
    """A study with its budget divided, and what it was chosen from."""

    study: Study
    shares: Mapping[Purpose, float]
    chosen: Design
    designs: tuple[Design, ...]
    epsilons: tuple[tuple[float, float], ...]
    """Other epsilons, and the noise of the average that the chosen way would have at each."""
    reason: str
    mean_noise: float
    """That of the means by which features are standardised, in typical standard deviations."""

    @property
    def unsure(self) -> bool:
        """Whether noise of the statistics, and not of training, is what limits the model."""
        return self.mean_noise > UNSURE

    def tables(self) -> dict[str, dict[str, JSON]]:
        """The tables below ``[privacy]`` that the proposal sets, with the keys that it sets."""
        training = require_privacy(self.study).training
        found: dict[str, dict[str, JSON]] = {}
        for line in lines(self.study):
            table: dict[str, JSON] = {"noise_multiplier": line.event.noise_multiplier}
            if line.purpose is Purpose.TRAINING:
                table |= {
                    "sampling_rate": training.sampling_rate,
                    "steps": training.steps,
                    "clipping_norm": training.clipping_norm,
                    "learning_rate": training.learning_rate,
                }
            if line.purpose in RELEASES:
                table["releases"] = line.releases
            found[line.purpose.value] = table
        return found


def complete(document: Mapping[str, JSON], shares: Mapping[Purpose, float]) -> dict[str, JSON]:
    """A study's plain values, with whatever tables its ``[privacy]`` lacks for these shares.

    Noise that isn't stated yet is 1 for the time being, and training takes one step. Tables of
    purposes without a share are left out. Raises WR-STUDY-121 for shares that are no division.
    """
    _check(shares)
    table = document.get("privacy")
    if not isinstance(table, Mapping):
        return dict(document)  # checking the study says what is missing
    made: dict[str, JSON] = dict(table)
    for purpose in Purpose:
        given = made.pop(purpose.value, {})
        if not shares.get(purpose):
            continue
        defaults: dict[str, JSON] = {"noise_multiplier": 1.0}
        if purpose is Purpose.TRAINING:
            defaults["steps"] = _rounds_in(document)
        if purpose in RELEASES:
            defaults["releases"] = RELEASES[purpose]
        made[purpose.value] = defaults | dict(given) if isinstance(given, Mapping) else given
    return {**document, "privacy": made}


def _rounds_in(document: Mapping[str, JSON]) -> JSON:
    """The rounds of local training, if that is how the study trains; nobody has checked them."""
    found: JSON = document
    for key in ("model", "fedavg", "rounds"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return 1 if found is None else found


def propose(
    study: Study,
    shares: Mapping[Purpose, float] = SHARES,
    *,
    steps: int | None = None,
    sampling_rate: float | None = None,
    learning_rate: float | None = None,
) -> Proposal:
    """Divide the study's epsilon by ``shares`` and choose how to train.

    ``study`` has every table for which there is a share, with any noise. ``steps`` and
    ``sampling_rate`` are taken if they are given, ``learning_rate`` too. Raises WR-STUDY-121 for
    shares that are no division of one, WR-STUDY-122 where noise would drown what it is added to,
    and WR-PRIVACY-021 where nothing fits epsilon.
    """
    _check(shares)
    privacy = require_privacy(study)
    candidates = _candidates(study, steps, sampling_rate)
    designs = tuple(_design(study, shares, *candidate, privacy.epsilon) for candidate in candidates)
    chosen = _choose(study, designs)
    if chosen.drowned:
        raise _drowned(study, shares, chosen)
    rate = round_up(USUAL_STEPS / chosen.steps, 2) if learning_rate is None else learning_rate
    planned = _with_training(
        study,
        sampling_rate=chosen.sampling_rate,
        steps=chosen.steps,
        learning_rate=rate,
    )
    planned = _with_noise(planned, _divide(planned, shares, privacy.epsilon))
    others = tuple(
        (epsilon, _average(study, shares, chosen, epsilon))
        for epsilon in sorted({*EPSILONS, privacy.epsilon})
    )
    return Proposal(
        study=planned,
        shares={purpose: share for purpose, share in shares.items() if share},
        chosen=chosen,
        designs=designs,
        epsilons=tuple((epsilon, noise) for epsilon, noise in others if math.isfinite(noise)),
        reason=_reason(study, chosen, designs),
        mean_noise=_mean_noise(planned),
    )


def training_patients(study: Study) -> float:
    """About how many patients train the model at all hospitals together."""
    test = study.data.test_fraction if study.data.held_out is None else 0.0
    return require_privacy(study).patients * (1 - test)


def _mean_noise(study: Study) -> float:
    """The noise of a mean over a window (`learning.private_moments`), if all are measured."""
    variables = len(study.data.features) + int(study.model.kind is ModelKind.LINEAR)
    noise = require_privacy(study).statistics.noise_multiplier
    noise *= _spread(study, Purpose.STATISTICS) * math.sqrt(1.0 + 1.5 * variables)
    return WINDOW * noise / training_patients(study)


def _candidates(study: Study, steps: int | None, rate: float | None) -> list[tuple[float, int]]:
    if study.model.algorithm is Algorithm.NOISY_STATISTICS:
        return [(1.0, 1)]
    unit = _rounds(study)
    whole = [(1.0, count) for count in STEPS]
    found = [(q, unit * max(1, round(count / unit))) for q, count in (*whole, *SAMPLES)]
    if steps is not None:
        found = [(q, steps) for q, _ in found]
    if rate is not None:
        found = [(rate, count) for _, count in found]
    enough = [(q, count) for q, count in found if q * training_patients(study) >= 1]
    return sorted(set(enough or found), key=lambda one: (-one[0], one[1]))


def _design(
    study: Study, shares: Mapping[Purpose, float], rate: float, steps: int, epsilon: float
) -> Design:
    tried = _with_training(study, sampling_rate=rate, steps=steps)
    noise = _divide(tried, shares, epsilon)[Purpose.TRAINING]
    patients = training_patients(study) * rate
    chance = (1 - rate) / patients
    step_noise = noise * _spread(study, Purpose.TRAINING) * math.sqrt(_lanes(study)) / patients
    return Design(
        sampling_rate=rate,
        steps=steps,
        noise_multiplier=noise,
        patients_per_step=patients,
        passes=rate * steps,
        step_noise=step_noise,
        average_noise=math.sqrt((step_noise**2 + chance) / steps),
    )


def _average(
    study: Study, shares: Mapping[Purpose, float], chosen: Design, epsilon: float
) -> float:
    try:
        found = _design(study, shares, chosen.sampling_rate, chosen.steps, epsilon)
    except WardroundError:
        return math.inf
    return found.average_noise


def _choose(study: Study, designs: tuple[Design, ...]) -> Design:
    """The least noise in the model; of ways that are alike, the usual number of steps."""
    if len(designs) == 1:
        return designs[0]
    usable = [design for design in designs if not design.drowned]
    if not usable:
        return min(designs, key=lambda design: design.step_noise)
    least = min(design.average_noise for design in usable)
    alike = [design for design in usable if design.average_noise <= 1.05 * least]
    usual = USUAL_STEPS * (2 if training_patients(study) > MANY_PATIENTS else 1)
    return min(alike, key=lambda design: (abs(math.log(design.steps / usual)), design.steps))


def _reason(study: Study, chosen: Design, designs: tuple[Design, ...]) -> str:
    if study.model.algorithm is Algorithm.NOISY_STATISTICS:
        return "One noisy sum over everybody is the whole fit."
    left = (
        f"Noise of about {percent(chosen.average_noise)} of the clipping norm is left in the model"
    )
    if len(designs) == 1:
        return f"{left}; steps and sampling rate were given."
    if chosen.sampling_rate == 1:
        sampled = [design.average_noise for design in designs if design.sampling_rate < 1]
        least = percent(min(sampled, default=0))
        more = "as much" if least == percent(chosen.average_noise) else least
        others = f"; samples would leave {more} or more" if sampled else ""
        return (
            f"{left}{others}. With everybody in each step the number of steps hardly matters: "
            f"{chosen.steps} are enough for a model of this size and keep each of them quiet."
        )
    return f"{left}, the least among the ways whose steps are not drowned in it."


def percent(share: float) -> str:
    """A share with two significant digits, such as ``0.83 %``, ``5 %`` or ``12 %``."""
    value = 100 * share
    return f"{value:,.0f} %" if value >= 99.5 else f"{short(float(f'{value:.2g}'))} %"


def _drowned(study: Study, shares: Mapping[Purpose, float], best: Design) -> WardroundError:
    """The refusal, with how many steps over everybody would do, or how many patients it takes."""
    privacy = require_privacy(study)
    unit = _rounds(study)

    def least_loud(times: int) -> Design:
        return _design(study, shares, 1.0, unit * times, privacy.epsilon)

    single = least_loud(1)
    if single.drowned:
        needed = math.ceil(privacy.patients * single.step_noise)
        many = "a single step" if unit == 1 else "one step in each round"
        remedy = (
            f"It takes about {needed:,} patients even for {many} over everybody; find more of "
            "them, use fewer features, or agree on a larger epsilon."
        )
    else:
        low, high = 1, max(2, best.steps // unit + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if least_loud(middle).drowned else (middle, high)
        remedy = f"At most {unit * low} steps over everybody would do."
    return WardroundError(
        "WR-STUDY-122",
        f"With {privacy.patients:,} patients and epsilon {short(privacy.epsilon)}, the noise of "
        f"a step on {best.patients_per_step:,.0f} of them, one of {best.steps}, is "
        f"{percent(best.step_noise)} of the longest mean gradient: it couldn't know where to go.",
        remedy,
        path="privacy",
    )


def _rounds(study: Study) -> int:
    """Training takes a multiple of so many steps."""
    return 1 if study.model.fedavg is None else study.model.fedavg.rounds


def _check(shares: Mapping[Purpose, float]) -> None:
    total = sum(shares.values())
    needed = (Purpose.STATISTICS, Purpose.TRAINING, Purpose.EVALUATION)
    if all(share >= 0 for share in shares.values()) and math.isclose(total, 1, abs_tol=1e-6):
        if all(shares.get(purpose, 0) > 0 for purpose in needed):
            return
        problem = "Statistics, training and evaluation need a share of the budget each."
    else:
        problem = f"The shares add up to {total:g}, not to 1."
    raise WardroundError(
        "WR-STUDY-121",
        problem,
        "Say less or more; what is left over goes to training if its share isn't given.",
        path="privacy",
    )


def _spread(study: Study, purpose: Purpose) -> float:
    """Noise of the total over all sites, as a multiple of what the plan asks for."""
    cohort = study.smallest_cohort
    planned = next(line for line in lines(study) if line.purpose is purpose)
    shared = isinstance(planned.event, Skellam)
    return math.sqrt(len(study.sites) / (carriers(study, cohort, cohort) if shared else 1))


def _lanes(study: Study) -> int:
    """How many numbers a patient's vector in training has."""
    privacy, coefficients = require_privacy(study), len(study.data.features) + 1
    if study.model.algorithm is Algorithm.NOISY_STATISTICS:
        return (coefficients + 1) * (coefficients + 2) // 2
    return coefficients + int(privacy.training.adaptive_clipping)


def _divide(study: Study, shares: Mapping[Purpose, float], epsilon: float) -> dict[Purpose, float]:
    parts = [
        Part(line.purpose.value, shares[line.purpose], _noisier(line), line.events)
        for line in lines(study)
    ]
    found = divide(parts, epsilon, require_privacy(study).delta_in_force)
    return {Purpose(name): max(noise, LEAST) for name, noise in found.items()}


def _noisier(line: Line) -> Callable[[float], Event]:
    return lambda noise: replace(line.event, noise_multiplier=noise)


def _with_training(study: Study, **changes: JSON) -> Study:
    return _with(study, {Purpose.TRAINING: changes})


def _with_noise(study: Study, noise: Mapping[Purpose, float]) -> Study:
    return _with(study, {purpose: {"noise_multiplier": one} for purpose, one in noise.items()})


def _with(study: Study, changes: Mapping[Purpose, Mapping[str, JSON]]) -> Study:
    """The study with other values in tables of its ``[privacy]``, checked anew."""
    document = study.model_dump(mode="json", by_alias=True, exclude_none=True)
    for purpose, values in changes.items():
        document["privacy"][purpose.value].update(values)
    return Study.parse(document, draft=True)
