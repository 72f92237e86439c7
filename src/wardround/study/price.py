"""What a study's plan costs, whether it fits its epsilon, and what that promises a patient.

Prices are remembered by what they depend on (`privacy.accountant`), so asking again is free.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from wardround.errors import WardroundError
from wardround.privacy.accountant import (
    Method,
    Release,
    epsilon,
    epsilon_for_hospitals,
    method,
)
from wardround.privacy.calibrate import least_noise, round_up
from wardround.privacy.events import DiscreteLaplace, Event
from wardround.privacy.statement import RELATION, UNIT, Statement, short
from wardround.study.plan import Line, lines, require_privacy
from wardround.study.privacy import NoisePlacement, Privacy
from wardround.study.task import Algorithm

if TYPE_CHECKING:
    from wardround.study.document import Study


def releases(study: Study) -> tuple[Release, ...]:
    """Everything that the study may ever release, as the accountant takes it."""
    return tuple((line.event, line.events) for line in lines(study))


def price(study: Study) -> float:
    """Epsilon of the whole plan at the study's delta, spare rounds included."""
    return epsilon(releases(study), require_privacy(study).delta_in_force)


def check_plan(study: Study) -> None:
    """Refuse a plan that costs more than the study's epsilon, with the numbers (WR-STUDY-120).

    The same for one under which nothing is proven for a patient of as many hospitals as it says.
    """
    privacy = require_privacy(study)
    delta, spent = privacy.delta_in_force, price(study)
    if spent <= privacy.epsilon:
        hospitals = privacy.hospitals_per_patient
        if not math.isfinite(epsilon_for_hospitals(releases(study), delta, hospitals)):
            raise WardroundError(
                "WR-STUDY-120",
                f"For a patient of {hospitals} hospitals nothing is proven of this plan: "
                "no epsilon bounds what it costs.",
                "State fewer hospitals per patient, or plan fewer or noisier releases.",
                path="privacy.hospitals_per_patient",
            )
        return
    purposes = {line.purpose: 0.0 for line in lines(study)}
    for purpose in purposes:
        of = [(line.event, line.events) for line in lines(study) if line.purpose is purpose]
        purposes[purpose] = epsilon(of, delta)
    dearest = max(purposes, key=lambda purpose: purposes[purpose])
    raise WardroundError(
        "WR-STUDY-120",
        f"The plan costs epsilon {_words(spent)} at delta {short(delta)}, the study allows "
        f"{short(privacy.epsilon)}; {dearest.value} alone costs {_words(purposes[dearest])}.",
        _remedy(lines(study), privacy.epsilon, delta),
        path="privacy",
    )


def statement_of(study: Study) -> Statement:
    """What the study promises a patient; raises WR-STUDY-120 where its plan doesn't fit."""
    check_plan(study)
    privacy = require_privacy(study)
    delta = privacy.delta_in_force
    many = epsilon_for_hospitals(releases(study), delta, privacy.hospitals_per_patient)
    spent = min(round_up(price(study), 4), privacy.epsilon)  # no more than what was agreed
    if study.version > 1:
        spent = privacy.epsilon  # each ledger adds what earlier versions spent, up to that
    return _statement(study, privacy, spent, max(spent, round_up(many, 4)))


def _statement(
    study: Study, privacy: Privacy, spent: float, spent_for_hospitals: float
) -> Statement:
    return Statement(
        epsilon=spent,
        delta=privacy.delta_in_force,
        relation=RELATION,
        unit=UNIT,
        hospitals_per_patient=privacy.hospitals_per_patient,
        epsilon_for_hospitals=spent_for_hospitals,
        sampling=_sampling(privacy),
        noise=_noise(study, privacy),
        accountant=_accountant(releases(study)),
        assumptions=_assumptions(study, privacy),
    )


def _sampling(privacy: Privacy) -> str:
    rate = privacy.training.sampling_rate
    if rate == 1:
        return "none: everybody takes part in every step"
    return (
        f"Poisson: each patient takes part in a training step with probability {short(rate)}, "
        "independently; everything else is computed over everybody"
    )


def _noise(study: Study, privacy: Privacy) -> str:
    own = "each hospital adds all of the noise itself (rounded Gaussian)"
    if privacy.noise is NoisePlacement.SITE:
        return f"{own}: its contribution is private on its own"
    shared = "each hospital adds a share of one Skellam noise: the total is private"
    if study.model.algorithm is Algorithm.FEDAVG:
        return f"in training {own}, in each of its steps; elsewhere {shared}"
    return shared


def _accountant(plan: tuple[Release, ...]) -> str:
    if method(plan) is Method.PLD:
        return "privacy loss distributions, rounded pessimistically (dp-accounting)"
    return (
        "Rényi divergences at integer orders (Agarwal, Kairouz and Liu 2021; Poisson samples after "
        "Zhu and Wang 2019), converted after Canonne, Kamath and Steinke 2020"
    )


def _assumptions(study: Study, privacy: Privacy) -> tuple[str, ...]:
    corrupt, smallest = study.corrupt_sites, study.smallest_cohort
    survivors = study.minimum_survivors(smallest, smallest)
    where = "" if study.cohort.groups is None else " of a group"
    found = [
        f"The coordinator may do anything; at most {corrupt} of the {len(study.sites)} hospitals "
        "work with it.",
    ]
    if privacy.noise is NoisePlacement.SHARED:
        found.append(
            f"A total is opened over at least {survivors} hospitals{where}; the shares of "
            f"{survivors - corrupt} of them carry the whole noise. Whoever else answers only adds "
            "to it."
        )
    if study.version > 1:
        found.append(
            "Epsilon is what all versions of the study together may cost, by each hospital's "
            "ledger; what is said of several hospitals counts this version alone."
        )
    return (
        *found,
        f"Which hospitals take part, and that they have about {privacy.patients} patients, is "
        "public.",
        "Each hospital clips, samples and adds noise as this program does, from its operating "
        "system's cryptographic generator; how far the noise is from the ideal is counted in "
        "delta.",
        "Nothing about the patients is published besides: results that a hospital releases "
        "elsewhere add up with these.",
    )


def _remedy(plan: tuple[Line, ...], allowed: float, delta: float) -> str:
    """By how much all noise would have to grow."""

    def louder(factor: float) -> list[Release]:
        return [(_louder(line.event, factor), line.events) for line in plan]

    try:
        factor = least_noise(louder, allowed, delta)
    except WardroundError:
        return "Plan fewer steps, or agree on a larger epsilon; no noise is enough."
    return (
        f"Multiply every noise multiplier by {short(factor)}, or plan fewer steps; "
        "`wardround privacy plan` divides epsilon anew."
    )


def _louder(event: Event, factor: float) -> Event:
    if isinstance(event, DiscreteLaplace):
        return replace(event, scale=event.scale * factor)
    return replace(event, noise_multiplier=event.noise_multiplier * factor)


def _words(spent: float) -> str:
    return short(round_up(spent)) if math.isfinite(spent) else "without bound"
