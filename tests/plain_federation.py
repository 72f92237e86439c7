"""Sites in one process whose encodings are summed in the clear: algorithms without the protocol."""

import copy
import secrets

import numpy as np

from studies import document
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.ids import RoundId
from wardround.learning.registry import compute
from wardround.learning.specify import check_task
from wardround.secagg.quantised import Quantised
from wardround.site.carried import Carried
from wardround.study import Study
from wardround.study.plan import headroom
from wardround.study.task import Task

FEATURES = (
    "radius_mean",
    "texture_mean",
    "perimeter_mean",
    "area_mean",
    "smoothness_mean",
    "compactness_mean",
    "concavity_mean",
    "concave_points_mean",
    "symmetry_mean",
    "fractal_dimension_mean",
)


def study(features=FEATURES, outcome="malignant", disclosure=None, cohort=None, **model):
    """A study of four sites over these features."""
    return Study.parse(
        document(
            data={"outcome": outcome, "features": list(features)},
            model={"kind": "logistic", **model},
            cohort=cohort or {},
            disclosure={"opened_numbers": 100_000, **(disclosure or {})},
        )
    )


class PlainFederation:
    """``sites`` maps a name to its columns; ``absent(step)`` says who drops out of a step."""

    def __init__(self, study, sites, absent=lambda step: ()):
        self.study = study
        self.sites = sites
        self.absent = absent
        self.carried = {name: Carried(study, name) for name in sites}
        self.tasks = []
        self.said = []

    async def sum(self, task):
        # What a site gets has crossed the wire.
        model = None if task.model is None else task.model.tobytes()
        task = Task.from_wire(copy.deepcopy(task.to_wire()), model)
        check_task(self.study, task)
        absent = self.absent(len(self.tasks))
        self.tasks.append(task)
        encoding = headroom(self.study, task, len(self.study.sites)).encoding
        total = np.zeros(task.elements, encoding.dtype)
        survivors = []
        for name in sorted(set(self.sites) - set(absent)):
            try:
                vector = self.computed(name, task)
            except WardroundError as error:
                if not error.code.startswith("WR-PRIVACY"):
                    raise
                continue  # it refuses, and the sum is over the others
            total += encoded(encoding, self.carry(name, task, vector))
            survivors.append(name)
        values = encoding.decode(total)
        return Total(values, tuple(survivors), RoundId(f"round-{len(self.tasks)}"))

    def computed(self, name, task):
        """As a site computes it: in a task with turns beside what it has not sent."""
        left = self.carried[name].left("run", task, frozenset())
        if left is None:
            return compute(self.sites[name], self.request(task), task.model)
        request = {**self.request(task), "carried": len(left)}
        return compute(self.sites[name], request, np.concatenate([task.model, left]))

    def carry(self, name, task, vector):
        """In a task with turns: what has its turn, and the rest stays with the site."""
        if task.turns is None:
            return vector
        return self.carried[name].answer("run", task, frozenset(), vector)

    def request(self, task):
        rules = self.study.disclosure
        return {
            "kind": task.kind,
            "parameters": task.parameters,
            "length": task.length,
            "limits": {
                "minimum_cell": rules.minimum_cell,
                "minimum_cohort": rules.minimum_cohort,
            },
        }

    def say(self, event, **facts):
        self.said.append((event, facts))


def encoded(encoding, vector):
    """As a site encodes it; what is rounded at random is rounded afresh."""
    if isinstance(encoding, Quantised):
        return encoding.encode(vector, secrets.token_bytes(32))
    return encoding.encode(vector)


def spread(columns, sizes, seed=1):
    """Deal records to sites of the given sizes at random."""
    order = np.random.default_rng(seed).permutation(len(columns["_test"]))
    names = ("north-general", "lakeside", "st-anna", "harbour")
    cuts = np.cumsum(sizes)[:-1]
    parts = np.split(order[: sum(sizes)], cuts)
    return {
        name: {key: column[part] for key, column in columns.items()}
        for name, part in zip(names, parts, strict=True)
    }


def pooled(sites):
    """All sites' records in one table, in the sites' order."""
    first = next(iter(sites.values()))
    return {key: np.concatenate([site[key] for site in sites.values()]) for key in first}


def code_of(call, *arguments, **keywords):
    """The code of the error that a call raises."""
    try:
        call(*arguments, **keywords)
    except WardroundError as error:
        return error.code
    return None
