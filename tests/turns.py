"""A study that sends a share of each update, and the tasks of its rounds, for tests."""

from __future__ import annotations

import numpy as np

from plain_federation import study
from wardround.learning.error_feedback import tell
from wardround.learning.specify import specify
from wardround.study import Study, Task

TWO = ("radius_mean", "texture_mean")
SCALES = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
FEDAVG = {"rounds": 12, "clipping_norm": 1.0, "compression": "random-k", "sent_share": 0.4}
MODEL = {"kind": "logistic", "algorithm": "fedavg", "fedavg": FEDAVG}


def sparse(**changes: object) -> Study:
    """Such a study of two features: of three coefficients one travels in a round."""
    return study(TWO, algorithm="fedavg", fedavg={**FEDAVG, **changes}, ridge=1.0)


def step(agreed: Study, totals: list[tuple[str, ...]] | None = None) -> Task:
    """The task of the round after those whose ``totals`` were over these sites."""
    totals = totals or []
    choice = {**SCALES, "decay": 0.001, "round": len(totals) + 1}
    if totals:
        choice["included"] = tell(totals, agreed.site_names)
    return specify(agreed, "fedavg", choice, np.zeros(3))
