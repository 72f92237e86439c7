"""Federated averaging: hospitals train on their own for a while, and their updates are averaged.

McMahan et al. 2017. W(t+1) = W(t) + sum_i (n_i / n) Delta_i, with n the survivors' total. For a
model as small as a regression, Newton steps are exact and need fewer rounds; this is the algorithm
for models that have no second derivatives at hand, shown on one whose optimum is known. Where
hospitals differ and train for more than one step, averaging settles beside the pooled optimum, not
on it: the last sum measures how far beside.
"""

from __future__ import annotations

import numpy as np

from wardround.algorithms.ask import ask
from wardround.algorithms.glm import constants
from wardround.federation.federation import Federation
from wardround.learning.fit import Fit, Rule, check_size, covariance, newton_step, relative_change
from wardround.learning.glm import Standardisation
from wardround.learning.local_sgd import FedAvg
from wardround.learning.newton import NEWTON
from wardround.trust.canonical import JSON


async def fit(
    federation: Federation, standardisation: Standardisation, rule: Rule, records: int
) -> Fit:
    """Train for the study's number of rounds, or until an average update is below its tolerance.

    ``records`` is the federation's number of training records; it spreads the ridge over them, so
    that the hospitals' objectives sum to the pooled one. A final Newton sum gives the standard
    errors, and ``remaining``, the Newton step that would still be needed. Raises WR-LEARN-011 and
    -013 as `glm.fit` does.
    """
    study = federation.study
    check_size(records, len(standardisation.centre) + 1)
    told = constants(standardisation)
    weights = np.zeros(len(standardisation.centre) + 1)
    rounds = study.model.fedavg.rounds if study.model.fedavg else 0
    compressed = bool(study.model.fedavg and study.model.fedavg.compression.lane_bits)
    done, settled, expected = 0, False, records
    for done in range(1, rounds + 1):
        choice: dict[str, JSON] = {**told, "decay": rule.ridge / records, "round": done}
        if compressed:
            choice["expected"] = expected
        totals, _ = await ask(federation, FedAvg, choice, weights)
        while totals.outgrown:  # hospitals are back that were missing when records were counted
            expected = totals.records
            totals, _ = await ask(federation, FedAvg, {**choice, "expected": expected}, weights)
        weights = weights + totals.update
        federation.say("fedavg", round=done, log_likelihood=totals.log_likelihood)
        settled = relative_change(totals.update, weights) <= rule.tolerance
        if settled:
            break
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
