"""Private studies, and sites in one process whose noisy sums are added in the clear."""

import copy
import math

import numpy as np

from plain_federation import FEATURES, pooled
from studies import document
from wardround.federation.federation import Total
from wardround.ids import RoundId
from wardround.learning.agreed import variables_of
from wardround.learning.registry import compute, find_private
from wardround.learning.specify import check_task
from wardround.privacy.clipping import clip_and_sum
from wardround.privacy.events import FRACTIONAL_BITS
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.shares import noise_share, share_variance
from wardround.study import Study
from wardround.study.plan import carriers, line_of
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
            # Nobody is corrupt and nobody may be missing: shares add up to the whole noise.
            adversary={"corrupt_sites": 0},
            cohort={"minimum_sites": 4},
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


def whole_windows(agreed):
    """The windows of moments over whole plausible ranges."""
    return np.column_stack(variables_of(agreed).bounds).tolist()


def clip_each(rows, with_quantile=False):
    """Each patient's share of the sum in whole steps, shape (patients, lanes [+ 1])."""
    chosen = np.ones(1, dtype=bool)
    return np.array([clip_and_sum(row[np.newaxis], chosen, with_quantile) for row in rows])


class PlainPrivateFederation:
    """``sites`` maps a name to its columns; noise is the real one, of keys that follow ``seed``.

    ``noise`` False leaves it out, to compare. ``central``: one holder of all sites' records, with
    the whole noise, asks nobody.
    """

    def __init__(self, study, sites, seed=0, noise=True, central=False):
        self.study = study
        self.sites = {"everybody": pooled(sites)} if central else sites
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.carriers = 1 if central else carriers(study, len(sites))
        self.tasks = []
        self.said = []

    async def sum(self, task):
        # What a site gets has crossed the wire.
        model = None if task.model is None else task.model.tobytes()
        task = Task.from_wire(copy.deepcopy(task.to_wire()), model)
        check_task(self.study, task)
        self.tasks.append(task)
        line = line_of(self.study, task.kind)
        total = np.zeros(task.length, dtype=np.int64)
        for columns in self.sites.values():
            if line.noise_within:
                total += self._local(task, columns, line)
            else:
                total += self._rows(task, columns, line.event, task.model)
                total += self._share(line.event, self.carriers, task.length)
        noise = 1e-9
        if self.noise and not line.noise_within:
            variance = share_variance(line.event, self.carriers) * len(self.sites)
            noise = math.sqrt(variance) / ONE
        name = RoundId(f"round-{len(self.tasks)}")
        return Total(total / ONE, tuple(sorted(self.sites)), name, noise=noise)

    def _rows(self, task, columns, event, model):
        n = len(columns["_test"])
        batch = np.flatnonzero(self.rng.random(n) < event.sampling_rate)
        places = np.concatenate([batch, np.full(n - len(batch), -1)]).astype(np.float64)
        array = places if model is None else np.concatenate([model, places])
        computation = find_private(task.kind).parse(task.parameters, task.model)
        rows = compute(columns, self.request(task, n), array).reshape(n, computation.lanes)
        return clip_and_sum(rows, places >= 0, computation.with_quantile)

    def _local(self, task, columns, line):
        computation = find_private(task.kind).parse(task.parameters, task.model)
        weights = task.model
        for _ in range(line.events_per_task):
            clipped = self._rows(task, columns, line.event, weights)
            noisy = clipped + self._share(line.event, 1, task.length)
            weights = computation.step(weights, noisy / ONE)
        return np.rint(computation.update(weights) * ONE).astype(np.int64)

    def _share(self, event, among, length):
        if not self.noise:
            return np.zeros(length, dtype=np.int64)
        return noise_share(event, among, NoiseSource(self.rng.bytes(32)), length)

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
