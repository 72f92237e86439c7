"""Ridge regression, logistic or linear, by Newton's method: each step is one sum over hospitals.

The log-likelihood of a generalised linear model, its gradient and its information are sums over
records, so they are sums over hospitals, and what Newton's method does with the federation's sums
is exactly what it would do with all records in one place. Nothing is approximated: the
coefficients equal those of the pooled fit up to the fixed point of the secure sum, which is finer
than a double (`learning.newton`). Each hospital sends (m = features + 1)

    gradient         Z'(y - mu)        m numbers
    information      Z' diag(w) Z      m (m + 1) / 2 numbers
    log-likelihood                     1 number, to notice a step that overshot
    records                            1 number

with Z standardised by federated means and deviations, all under the mask; the coordinator sees
only the totals. It solves (information + ridge) step = gradient - ridge * coefficients, moves, and
asks again. From a few hundred records that takes six or eight rounds for a logistic model, and two
for a linear one: the first already lands on the answer, the second says so.

`learning.fit` holds the step, the halving of one that overshot, the stopping rule and the standard
errors; a hospital's own report uses the same functions on its own records.
"""

from __future__ import annotations

from wardround.algorithms.ask import ask
from wardround.federation.federation import Federation
from wardround.learning.fit import Fit, Rule, advance, start
from wardround.learning.glm import Standardisation
from wardround.learning.newton import NEWTON
from wardround.trust.canonical import JSON


async def fit(federation: Federation, standardisation: Standardisation, rule: Rule) -> Fit:
    """Fit the study's model to all hospitals' training records.

    Raises WR-LEARN-011 when the data don't determine the coefficients, -012 when the fit doesn't
    settle within the study's ``maximum_steps``, -013 when there are too few records.
    """
    progress = start(rule, len(standardisation.centre))
    while progress.fit is None:
        sums, _ = await ask(
            federation, NEWTON[rule.family], constants(standardisation), progress.ask
        )
        progress = advance(progress, sums)
        federation.say(
            "newton",
            step=progress.steps,
            log_likelihood=sums.log_likelihood,
            records=sums.records,
        )
    return progress.fit


def constants(standardisation: Standardisation) -> dict[str, JSON]:
    """The standardisation as every site is told it."""
    return {"centre": standardisation.centre.tolist(), "scale": standardisation.scale.tolist()}
