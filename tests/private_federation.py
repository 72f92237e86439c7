"""Private studies, and sites in one process whose noisy sums are added in the clear."""

import copy

import numpy as np

from plain_federation import FEATURES
from studies import document
from wardround.federation.federation import Total
from wardround.ids import RoundId
from wardround.learning.registry import compute, find_private
from wardround.learning.specify import check_task
from wardround.privacy.clipping import clip_and_sum
from wardround.privacy.events import FRACTIONAL_BITS, L2
from wardround.study import Study
from wardround.study.plan import line_of
from wardround.study.task import Task

ONE = 1 << FRACTIONAL_BITS


def private_study(
    features=FEATURES, outcome="malignant", noise=0.1, patients=569, model=None, **privacy
):
    """A private study of four sites; ``privacy`` replaces tables or keys of ``[privacy]``."""
    steps = 1 if (model or {}).get("algorithm") == "noisy-statistics" else 40
    training = {"noise_multiplier": noise, "steps": steps, **privacy.pop("training", {})}
    return Study.parse(
        document(
            profile="private",
            data={"outcome": outcome, "features": list(features)},
            model={"kind": "logistic", "algorithm": "dp-sgd", **(model or {})},
            disclosure={"opened_numbers": 100_000},
            privacy={
                "epsilon": 1.0,
                "patients": patients,
                "rationale": "Public data, in a test.",
                "statistics": {"noise_multiplier": noise},
                "evaluation": {"noise_multiplier": noise},
                **privacy,
                "training": training,
            },
        )
    )


def clip_each(rows, with_quantile=False):
    """Each patient's share of the sum in whole steps, shape (patients, lanes [+ 1])."""
    chosen = np.ones(1, dtype=bool)
    return np.array([clip_and_sum(row[np.newaxis], chosen, with_quantile) for row in rows])


class PlainPrivateFederation:
    """``sites`` maps a name to its columns. ``noise`` False leaves it out, to compare.

    ``central`` pools all sites' records: one holder of all data carries the whole noise.
    """

    def __init__(self, study, sites, seed=0, noise=True, central=False):
        self.study = study
        self.sites = sites
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.central = central
        self.tasks = []
        self.said = []

    async def sum(self, task):
        model = None if task.model is None else task.model.tobytes()
        task = Task.from_wire(copy.deepcopy(task.to_wire()), model)
        check_task(self.study, task)
        self.tasks.append(task)
        event = line_of(self.study, task.kind).event
        local = task.kind == "private_fedavg"
        answers = [
            self._local(task, one, event) if local else self._rows(task, one, event, task.model)
            for one in self.sites.values()
        ]
        total = np.sum(answers, axis=0)
        if not local:
            total = total + self._noise(event, task.length)
        name = RoundId(f"round-{len(self.tasks)}")
        return Total(total / ONE, tuple(sorted(self.sites)), name)

    def _rows(self, task, columns, event, model):
        n = len(columns["_test"])
        batch = np.flatnonzero(self.rng.random(n) < event.sampling_rate)
        places = np.concatenate([batch, np.full(n - len(batch), -1)]).astype(np.float64)
        array = places if model is None else np.concatenate([model, places])
        computation = find_private(task.kind).parse(task.parameters, task.model)
        rows = compute(columns, self.request(task, n), array).reshape(n, computation.lanes)
        return clip_and_sum(rows, places >= 0, computation.with_quantile)

    def _local(self, task, columns, event):
        computation = find_private(task.kind).parse(task.parameters, task.model)
        weights = task.model
        for _ in range(computation.local_steps):
            noisy = self._rows(task, columns, event, weights) + self._noise(event, task.length)
            weights = computation.step(weights, noisy / ONE)
        return np.rint(computation.update(weights) * ONE).astype(np.int64)

    def _noise(self, event, length):
        if not self.noise:
            return np.zeros(length, dtype=np.int64)
        return np.rint(self.rng.normal(size=length) * event.noise_multiplier * L2).astype(np.int64)

    def request(self, task, batch):
        rules = self.study.disclosure
        return {
            "kind": task.kind,
            "parameters": task.parameters,
            "length": task.length,
            "limits": {
                "minimum_cell": rules.minimum_cell,
                "minimum_cohort": rules.minimum_cohort,
            },
            "batch": batch,
        }

    def say(self, event, **facts):
        self.said.append((event, facts))
