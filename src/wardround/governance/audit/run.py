"""Runs every attack against a study's own mechanism: clipping, sampling and noise as signed.

Each attack on training runs twice, once with the noise taken away. That shows that the attack is a
good one: an attack that fails without noise says nothing by failing with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.governance.audit.cohort import Cohort
from wardround.governance.audit.result import (
    Attribute,
    Canaries,
    Membership,
    PrivacyAudit,
    Settings,
)
from wardround.governance.audit.training import Trainer, trainer_of
from wardround.learning.agreed import expected_training
from wardround.learning.records import Family
from wardround.privacy.accountant import epsilon
from wardround.privacy.attacks import (
    AttributeResult,
    CanaryPlan,
    NetworkGradient,
    Reconstruction,
    audit_in_one_run,
    infer_attribute,
    infer_membership,
    invert_layer,
    match_gradient,
    relative_error,
)
from wardround.privacy.attacks.canaries import Coins
from wardround.privacy.attacks.whitebox import Mechanism, white_box
from wardround.privacy.events import Gaussian, Skellam
from wardround.study.plan import Purpose, lines, require_privacy
from wardround.study.price import releases, statement_of
from wardround.study.task import Algorithm

if TYPE_CHECKING:
    from wardround.study import Study

MAXIMUM_DRAWS = 200_000_000
"""Canaries times releases; beyond it an audit takes longer than anybody waits for."""

LARGEST_DELTA = 1e-5
"""A study's delta above this is audited at this one, against what the same releases cost there:
the one-run theorem pays for delta with every canary, so that at 1e-3 it shows nothing."""


def usual_settings(study: Study) -> tuple[int, int]:
    """Canaries and guesses that are fixed by the plan alone: some ten million draws, 2 % guessed.

    Trials on mechanisms with twice the sensitivity showed the share of 2 % to catch most.
    """
    releases_planned = sum(times for _, times in _vectors(study))
    canaries = min(20_000, max(1_000, 20_000_000 // max(releases_planned, 1)))
    return canaries, canaries // 50


_UNITS, _STARTS, _SEARCHED = 12, 3, 12
"""The small network that is attacked by search: hidden units, starts, and patients."""

_ATTRIBUTE_MODELS = 16


@dataclass(frozen=True)
class WithoutNoise:
    """The same sums, with the noise left away."""

    sums: Mechanism

    def batch(self, patients: int, event: Gaussian | Skellam) -> NDArray[np.bool_]:
        """As in the study."""
        return self.sums.batch(patients, event)

    def clipped_sum(
        self, rows: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """As in the study."""
        return self.sums.clipped_sum(rows, chosen)

    def noise(self, lanes: int, event: Gaussian | Skellam) -> NDArray[np.int64]:
        """None."""
        return np.zeros(lanes, dtype=np.int64)

    def in_units(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """As in the study."""
        return self.sums.in_units(total)


def run_audit(
    study: Study,
    cohort: Cohort,
    sums: Mechanism,
    coins: Coins,
    generator: np.random.Generator,
    settings: Settings,
    now: datetime,
    say: Callable[[str], None] = lambda text: None,
) -> PrivacyAudit:
    """Attack the study's mechanism, ``sums``, over a cohort of which no patient is real, or secret.

    ``generator`` makes the attackers' own choices; noise, batches and coins come from elsewhere.
    Raises WR-PRIVACY-035 for a study by noisy statistics, WR-PRIVACY-036 for more draws than
    anybody waits for, WR-PRIVACY-037 for a feature that can't be inferred, WR-PRIVACY-030 for
    canaries that can't be, and WR-STUDY-120 where the plan doesn't fit.
    """
    began = time.monotonic()
    privacy, statement = require_privacy(study), statement_of(study)
    delta = min(statement.delta, LARGEST_DELTA)
    claim = statement.epsilon if delta == statement.delta else epsilon(releases(study), delta)
    plan = CanaryPlan(settings.canaries, settings.guesses, delta, settings.confidence)
    planned = _vectors(study)
    count = sum(times for _, times in planned)
    _refuse_if_unfit(study, count * settings.canaries)
    feature = _sensitive(cohort, settings.sensitive)
    training = next(line for line in lines(study) if line.purpose is Purpose.TRAINING)
    event = training.event
    assert isinstance(event, Gaussian | Skellam)

    def trainer(which: Mechanism) -> Trainer:
        return trainer_of(
            cohort,
            which,
            event,
            steps=training.releases * training.events_per_task,
            clipping_norm=privacy.training.clipping_norm,
            learning_rate=privacy.training.learning_rate,
            decay=study.model.ridges[0] / expected_training(study),
        )

    noisy, clear = trainer(sums), trainer(WithoutNoise(sums))
    say(f"Canaries: {plan.canaries:,}, of which {plan.guesses:,} are guessed")
    canaries = audit_in_one_run(plan, white_box(sums, planned), coins)
    say("Gradient inversion")
    division = _division(clear, noisy, generator, settings.attacked)
    search = _search(cohort, sums, event, privacy.training.clipping_norm, generator)
    say(f"Membership: {settings.shadows} shadow models, {settings.targets} targets, twice")
    membership_clear, membership = (
        _membership(which, generator, settings) for which in (clear, noisy)
    )
    attribute = None
    if feature is not None:
        say(f"Attribute inference: {feature}")
        found = [_attribute(cohort, which, feature, generator) for which in (clear, noisy)]
        attribute = Attribute(feature, *found)
    return PrivacyAudit(
        study=study.id,
        title=study.title,
        version=study.version,
        algorithm=study.model.algorithm.value,
        source=cohort.source,
        made_up=cohort.made_up,
        patients=cohort.patients,
        left_out=cohort.left_out,
        steps=noisy.steps,
        noise_multiplier=event.noise_multiplier,
        sampling_rate=event.sampling_rate,
        statement=statement,
        settings=settings,
        canaries=Canaries(
            plan,
            canaries.correct,
            canaries.epsilon,
            claim,
            count,
            canaries.scores,
            canaries.included,
        ),
        division=division,
        search=search,
        membership_clear=membership_clear,
        membership=membership,
        attribute=attribute,
        when=now,
        seconds=time.monotonic() - began,
    )


def _division(
    clear: Trainer, noisy: Trainer, generator: np.random.Generator, attacked: int
) -> Reconstruction:
    """Recover records by division from all steps of a run, all other patients being known.

    Who knows them subtracts them, so each patient's own noisy gradients are left. A residual keeps
    its sign from step to step, so the attacker adds the steps up before dividing.
    """
    chosen = generator.permutation(noisy.patients)[:attacked]
    everybody = np.ones((1, noisy.patients), dtype=bool)
    errors = []
    for trainer in (clear, noisy):
        seen = np.zeros((len(chosen), trainer.design.shape[1]))

        def watch(
            coefficients: NDArray[np.float64],
            trainer: Trainer = trainer,
            seen: NDArray[np.float64] = seen,
        ) -> None:
            rows = trainer.gradients(coefficients[0])[chosen]
            drawn = trainer.sums.batch(trainer.patients, trainer.event)[chosen]
            own = np.stack(
                [
                    trainer.sums.clipped_sum(row[None, :], one)
                    for row, one in zip(rows, drawn[:, None], strict=True)
                ]
            )
            noise = trainer.sums.noise(own.size, trainer.event).reshape(own.shape)
            seen += trainer.sums.in_units(own + noise)

        trainer.fit(everybody, watch)
        found = _possible(invert_layer(seen[:, None, 1:], seen[:, :1]), trainer.design[:, 1:])
        errors.append(relative_error(found, trainer.design[chosen, 1:]))
    return Reconstruction.of(errors[0], errors[1], np.ones(len(chosen)))


def _search(
    cohort: Cohort,
    sums: Mechanism,
    event: Gaussian | Skellam,
    clipping_norm: float,
    generator: np.random.Generator,
) -> Reconstruction:
    """Recover records by search from one step of a small network under the same clipping and noise.

    The attacker is told each gradient's length before it was clipped, and the outcome (which its
    sign gives away: Zhao, Mopuri and Bilen, iDLG, 2020). A measured outcome becomes *above median*.
    """
    x = cohort.design[:, 1:]
    y = cohort.outcome
    if cohort.variables.family is Family.LINEAR:
        y = (y > np.median(y)).astype(np.float64)
    network = NetworkGradient(
        generator.normal(size=(_UNITS, x.shape[1])), generator.normal(size=_UNITS)
    )
    chosen = generator.permutation(len(x))[:_SEARCHED]
    errors: tuple[list[float], list[float]] = ([], [])
    for patient in chosen:
        gradient = network.gradient(x[patient], y[patient]) / clipping_norm
        shortened = max(float(np.linalg.norm(gradient)), 1.0)
        own = sums.clipped_sum(gradient[None, :], np.ones(1, dtype=bool))
        starts = generator.normal(size=(_STARTS, x.shape[1]))
        for into, total in zip(errors, (own, own + sums.noise(len(own), event)), strict=True):
            seen = sums.in_units(total) * shortened * clipping_norm
            match = match_gradient(network, seen, starts, outcomes=(float(y[patient]),))
            into.append(float(relative_error(_possible(match.x, x), x[patient])))
    return Reconstruction.of(np.array(errors[0]), np.array(errors[1]), np.ones(len(chosen)))


def _possible(found: NDArray[np.float64], records: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring every value into its feature's range, which is no secret."""
    return np.clip(found, records.min(axis=0), records.max(axis=0))


def _membership(trainer: Trainer, generator: np.random.Generator, settings: Settings) -> Membership:
    def train(members: NDArray[np.bool_]) -> NDArray[np.float64]:
        return trainer.meets(trainer.fit(members))

    found = infer_membership(
        train,
        trainer.patients,
        generator,
        shadows=settings.shadows,
        targets=settings.targets,
    )
    return Membership(found.true_positives, found.area, found.advantage, found.curve)


def _attribute(
    cohort: Cohort, trainer: Trainer, feature: str, generator: np.random.Generator
) -> AttributeResult:
    """Means over models, each fitted to a random half of the patients."""
    place = cohort.variables.features.index(feature) + 1
    values = np.unique(trainer.design[:, place])
    members = generator.random((_ATTRIBUTE_MODELS, trainer.patients)) < 0.5
    found = []
    for coefficients, who in zip(trainer.fit(members), members, strict=True):
        residual = trainer.meets(coefficients[None, :])[0]
        variance = max(float((residual[~who] ** 2).mean()), 1e-9)
        fit = trainer.likelihood(coefficients, variance)
        found.append(infer_attribute(fit, trainer.design, place, (values[0], values[-1]), who))
    return AttributeResult(
        float(np.mean([one.members for one in found])),
        float(np.mean([one.others for one in found])),
        float(np.mean([one.base_rate for one in found])),
        sum(one.patients for one in found) // len(found),
    )


def _sensitive(cohort: Cohort, asked: str | None) -> str | None:
    possible = cohort.yes_or_no()
    if asked is not None and asked not in possible:
        raise WardroundError(
            "WR-PRIVACY-037",
            f"The feature {asked!r} can't be inferred: it is no yes-or-no feature of the study "
            "with both values in the table.",
            f"Possible are: {', '.join(possible) or 'none'}.",
        )
    return asked or (possible[0] if possible else None)


def _refuse_if_unfit(study: Study, draws: int) -> None:
    if study.model.algorithm is Algorithm.NOISY_STATISTICS:
        raise WardroundError(
            "WR-PRIVACY-035",
            "The attacks on training know noisy steps, not noisy statistics.",
            'Audit a study with algorithm = "dp-sgd" or "fedavg".',
            path="model.algorithm",
        )
    if draws > MAXIMUM_DRAWS:
        raise WardroundError(
            "WR-PRIVACY-036",
            f"Canaries times releases come to {draws:,}, more than {MAXIMUM_DRAWS:,}.",
            "Ask for fewer canaries.",
        )


def _vectors(study: Study) -> list[tuple[Gaussian | Skellam, int]]:
    """The planned releases of vectors; a count with Laplace noise has no lane for a canary."""
    return [
        (event, times) for event, times in releases(study) if isinstance(event, Gaussian | Skellam)
    ]
