"""Federated averaging: hospitals train on their own for a while, and their updates are averaged.

McMahan et al. 2017. W(t+1) = W(t) + sum_i (n_i / n) Delta_i, with n the survivors' total. For a
model as small as a regression, Newton steps are exact and need fewer rounds; this is the algorithm
for models that have no second derivatives at hand, shown on one whose optimum is known. Where
hospitals differ and train for more than one step, averaging settles beside the pooled optimum, not
on it: the last sum measures how far beside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.ask import ask, ask_whom
from wardround.algorithms.glm import constants
from wardround.federation.federation import Federation
from wardround.ids import SiteName
from wardround.learning.agreed import averaging, server_step
from wardround.learning.buffered import BufferedFedAvg, mean_scale
from wardround.learning.contribution import from_total
from wardround.learning.error_feedback import sent_of, tell
from wardround.learning.fit import Fit, Rule, check_size, covariance, newton_step, relative_change
from wardround.learning.glm import Standardisation
from wardround.learning.local_sgd import FedAvg, require_clipped
from wardround.learning.newton import NEWTON
from wardround.learning.specify import specify
from wardround.secagg.chosen import cycle_rounds
from wardround.secagg.quantised import rounding
from wardround.study.task import Compression
from wardround.trust.canonical import JSON


async def fit(
    federation: Federation, standardisation: Standardisation, rule: Rule, records: int
) -> Fit:
    """Train for the study's number of rounds, or until a step is below its tolerance.

    With ``[cohort.asynchronous]`` a round is a cohort of whoever was ready.

    ``records`` is the federation's number of training records; it spreads the ridge over them, so
    that the hospitals' objectives sum to the pooled one. A final Newton sum gives the standard
    errors, and ``remaining``, the Newton step that would still be needed. Raises WR-LEARN-011 and
    -013 as `glm.fit` does.
    """
    study = federation.study
    check_size(records, len(standardisation.centre) + 1)
    told = constants(standardisation)
    choice: dict[str, JSON] = {**told, "decay": rule.ridge / records}
    if study.cohort.asynchronous is None:
        weights, done, settled = await _in_rounds(federation, choice, rule, records)
    else:
        weights, done, settled = await _at_own_pace(federation, choice, rule)
    sums, _ = await ask(federation, NEWTON[rule.family], told, weights)
    check_size(sums.records, len(weights))
    factor, step = newton_step(rule, weights, sums)
    return Fit(
        coefficients=weights,
        covariance=covariance(rule, factor, sums),
        log_likelihood=sums.log_likelihood,
        records=sums.records,
        steps=done,
        halvings=0,
        remaining=relative_change(step, weights + step),
        settled=settled,
    )


async def _in_rounds(
    federation: Federation, choice: dict[str, JSON], rule: Rule, records: int
) -> tuple[NDArray[np.float64], int, bool]:
    """Rounds over everybody: the weights, how many rounds, and whether they settled.

    Where only some coordinates travel in a round, they have settled when nothing has moved for so
    many rounds that each has had its turn; and a site learns from the task in whose totals it was.
    """
    study, settings = federation.study, averaging(federation.study)
    step, expected = server_step(study), records
    norm, bits = settings.clipping_norm, settings.compression.lane_bits
    error = norm * rounding(len(_start(choice)), bits, len(study.sites)) if bits else 0.0
    weights, settled, done = _start(choice), False, 0
    rounded = settings.compression.lane_bits is not None
    partly = settings.compression is Compression.RANDOM_K
    cycle = cycle_rounds(len(weights), sent_of(settings.share_sent, len(weights)))
    included: list[tuple[SiteName, ...]] = []
    still = 0
    state = step.init(weights)
    for done in range(1, _rounds(federation) + 1):
        asked: dict[str, JSON] = {**choice, "round": done}
        if rounded:
            asked["expected"] = expected
        if partly and included:
            asked["included"] = tell(included, study.site_names)
        totals, survivors = await ask_whom(federation, FedAvg, asked, weights)
        included.append(survivors)
        while totals.outgrown:  # hospitals are back that were missing when records were counted
            expected = totals.records
            totals, _ = await ask(federation, FedAvg, {**asked, "expected": expected}, weights)
        mean = totals.update
        if not partly:  # there, what was kept for some rounds arrives together, and may be longer
            error_of_mean = error * expected / totals.records
            mean = require_clipped(mean, norm, rounding=error_of_mean)
        change, state = step.update(mean, state)
        weights = weights + change
        federation.say("fedavg", round=done, log_likelihood=totals.log_likelihood)
        still = still + 1 if relative_change(change, weights) <= rule.tolerance else 0
        settled = still >= cycle
        if settled:
            break
    return weights, done, settled


async def _at_own_pace(
    federation: Federation, choice: dict[str, JSON], rule: Rule
) -> tuple[NDArray[np.float64], int, bool]:
    """One step for each cohort of sites that happened to be ready; as `_in_rounds`.

    The mean is that of FedBuff (Nguyen et al. 2022), by records, in which what is stale counts for
    less. With ``server = "fedasync"`` it is divided by the cohort's mean scale, after the way Xie
    et al. 2019 weight single models: what is stale counts for less beside what is fresh, and a
    cohort of stale sites alone in full.
    """
    study = federation.study
    step = server_step(study)
    relative = study.model.fedavg is not None and study.model.fedavg.server == "fedasync"
    weights, settled, done = _start(choice), False, 0
    state = step.init(weights)
    task = specify(study, BufferedFedAvg.kind, {**choice, "round": 0}, weights)
    question = BufferedFedAvg.parse(task.parameters, weights)
    stream = federation.stream(task)
    try:
        for done in range(1, _rounds(federation) + 1):
            total = await anext(aiter(stream))
            totals, _ = from_total(question, total.values)
            scale = mean_scale(total.staleness)
            damped = require_clipped(totals.damped, question.clipping_norm)
            mean = totals.undamped(scale) if relative else damped
            change, state = step.update(mean, state)
            weights = weights + change
            stream.publish(weights)
            federation.say("cohort", step=done, sites=len(total.survivors), scale=scale)
            settled = relative_change(change, weights) <= rule.tolerance
            if settled:
                break
    finally:
        await stream.aclose()
    return weights, done, settled


def _start(choice: dict[str, JSON]) -> NDArray[np.float64]:
    centre = choice["centre"]
    assert isinstance(centre, list)
    return np.zeros(len(centre) + 1)


def _rounds(federation: Federation) -> int:
    fedavg = federation.study.model.fedavg
    return fedavg.rounds if fedavg else 0
