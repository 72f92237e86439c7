"""The one place where a task is built.

The coordinator's algorithms build their tasks here; a site builds the same task again from the
study that it signed and refuses any other (`check_task`). So a coordinator chooses only what the
task's kind leaves open, within the limits of that kind; features, ranges, outcome, family and
hyperparameters come from the signed study at both ends.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.agreed import (
    agreed_private,
    agreed_training,
    agreed_variables,
    allowed_kinds,
    is_private,
)
from wardround.learning.contribution import BOUND, RESOLUTION, unit
from wardround.learning.local_sgd import RANDOM_K, FedAvg
from wardround.learning.registry import PRIVATE_KINDS, find, find_private, length, private_length
from wardround.secagg.encoding import RingBits
from wardround.secagg.headroom import choose
from wardround.study import Study, Task
from wardround.study.task import Lanes, Turns
from wardround.trust.canonical import JSON


def specify(
    study: Study,
    kind: str,
    parameters: Mapping[str, JSON],
    model: NDArray[np.float64] | None = None,
) -> Task:
    """Build the task of that kind for this study.

    ``parameters`` are those that the kind leaves to the algorithm; what the study fixes is added,
    and overrides. So specifying a task's own parameters again gives the identical task.

    Raises WR-LEARN-001 to -004 for anything that is malformed, unknown or not in the study's plan,
    and WR-LEARN-009 if a concept of the study has no plausible range.
    """
    if kind not in PRIVATE_KINDS:
        find(kind)
    if kind not in allowed_kinds(study):
        raise WardroundError(
            "WR-LEARN-003",
            f"The study's plan has no task {kind}.",
            "Sign a study whose model asks for it; a running study can't be widened.",
            path="task.kind",
        )
    lanes: Lanes | None = None
    turns: Turns | None = None
    complete: dict[str, JSON] = {**parameters, "variables": agreed_variables(study)}
    if is_private(study):
        complete |= agreed_private(study, kind)
        elements = private_length(find_private(kind).parse(complete, model))
        ring: RingBits = 64  # the largest patient's clipped row, in steps of 2^-22, and noise
    else:
        if kind in ("fedavg", "buffered_fedavg"):
            complete["training"] = agreed_training(study)
        computation = find(kind).parse(complete, model)
        elements = length(computation)
        lanes, turns = _lanes(study, computation), _turns(study, computation)
        ring = choose(BOUND, len(study.sites), RESOLUTION).encoding.ring_bits
    return Task(
        kind=kind,
        parameters=complete,
        length=elements,
        bound=BOUND,
        ring_bits=ring,
        model=model,
        lanes=lanes,
        turns=turns,
    )


def _lanes(study: Study, computation: object) -> Lanes | None:
    """How a compressed update travels; its norm is the clipping norm, in the unit of its lanes."""
    settings = study.model.fedavg
    if not isinstance(computation, FedAvg) or settings is None:
        return None
    bits = settings.compression.lane_bits
    if bits is None:
        return None
    norm = computation.clipping_norm / float(unit(computation.clipping_norm))
    return Lanes(bits, len(computation.coefficients), norm)


def _turns(study: Study, computation: object) -> Turns | None:
    """Which coordinates of an update travel where only some do in each round.

    The seed is the study, which every hospital has signed: so a coordinator can't choose whose turn
    it is, nor try seeds until it likes one.
    """
    if not isinstance(computation, FedAvg) or computation.compression != RANDOM_K:
        return None
    m = len(computation.coefficients)
    return Turns(m, computation.sent, computation.round, study.digest)


def check_task(study: Study, task: Task) -> None:
    """At the site: refuse a task that isn't what this study makes of its kind and choices.

    Raises as `specify` does, and WR-LEARN-003 for any difference.
    """
    # Coefficients are float64; a model of another type comes out with another hash.
    model = None if task.model is None else task.model.astype(np.float64)
    if specify(study, task.kind, task.parameters, model).hash != task.hash:
        raise WardroundError(
            "WR-LEARN-003",
            "A task differs from the one that the signed study gives rise to.",
            "Refuse the coordinator's request, and ask its operator what was changed.",
            path="task",
        )
