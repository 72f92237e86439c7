"""Algorithms as short coroutines over a federation, whose only verb is `sum`.

`plan.run_study` is the whole of a study: statistics, a fit, an evaluation on held-out records.
Between a total and the next task there is only elementary arithmetic in a fixed order, so that an
auditor's replay of the recorded totals asks the same questions and ends with the same model.
"""

from wardround.algorithms.candidate import Candidate
from wardround.algorithms.plan import run_study

__all__ = ["Candidate", "run_study"]
