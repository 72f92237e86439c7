"""A hospital's questions to its own records, for its local report; no answer passes the door.

The entry of a worker of its own, confined like the one behind the door. The two tables are apart:
no coordinator can ask for anything here, and `registry` has nothing that is about one hospital.
Like everything a worker imports, this module needs only numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.learning.fit import Grid, Rule
from wardround.learning.glm import LinearModel
from wardround.learning.local import assess, fit_alone
from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Family, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

_FIGURES = (
    "records",
    "auroc",
    "auroc_low",
    "auroc_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "r_squared",
    "rmse",
)


def fit_request(variables: JSON, rule: Rule | Grid) -> dict[str, JSON]:
    """Ask for the study's fit to these records alone; ``variables`` as every task has them."""
    grid = rule if isinstance(rule, Grid) else Grid((rule,), 1)
    return {
        "ask": "fit",
        "variables": variables,
        "ridges": [[one.ridge for one in grid.rules]],
        "folds": grid.folds,
        "tolerance": grid.rules[0].tolerance,
        "maximum_steps": grid.rules[0].maximum_steps,
    }


def figures_request(variables: JSON) -> dict[str, JSON]:
    """Ask for the figures, on the held-out records, of a model that is given as `pack` has it."""
    return {"ask": "figures", "variables": variables}


def compute(
    columns: Mapping[str, NDArray[np.float64]],
    request: Mapping[str, JSON],
    model: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Answer one question; runs inside the hospital's sandbox.

    Returns a model as `pack` has it (``fit``) or what `read_figures` reads (``figures``). Raises
    WR-LEARN-001 and -004 for a malformed question, and as `fit_alone` and `assess`.
    """
    reader = Reader(request, "request")
    variables = Variables.parse(reader)
    ask = reader.text("ask")
    if ask == "fit":
        no_model(model)
        rule = _rule(reader, variables.family)
        reader.done()
        return pack(fit_alone(columns, variables, rule)[0])
    reader.done()
    features = len(variables.features)
    if ask != "figures" or model is None or model.shape != (3 * features + 1,):
        raise reader.malformed("ask", "must be fit, or figures with a model of the right length")
    fitted = unpack(model, variables.family, variables.features)
    return _flat(assess(columns, variables, fitted).to_json())


def _rule(reader: Reader, family: Family) -> Rule | Grid:
    (ridges,) = reader.rows_of_numbers("ridges", 1)
    folds = reader.whole("folds", 1, 1 << 10)
    tolerance = reader.number("tolerance", 0.0, 1.0)
    steps = reader.whole("maximum_steps", 1, 1 << 30)
    if not len(ridges) or not bool((ridges >= 0.0).all()) or (folds == 1) != (len(ridges) == 1):
        raise reader.malformed("ridges", "must be one, or several that are not negative, and folds")
    rules = tuple(Rule(family, ridge, tolerance, steps) for ridge in ridges.tolist())
    return rules[0] if folds == 1 else Grid(rules, folds)


def pack(model: LinearModel) -> NDArray[np.float64]:
    """A model as one vector, shape (3 * features + 1,): centre, scale, coefficients."""
    arrays = model.arrays()
    return np.concatenate([arrays[name] for name in ("centre", "scale", "coefficients")])


def unpack(vector: NDArray[np.float64], family: Family, features: tuple[str, ...]) -> LinearModel:
    """The reverse of `pack`."""
    n = len(features)
    arrays = {"centre": vector[:n], "scale": vector[n : 2 * n], "coefficients": vector[2 * n :]}
    return LinearModel.from_arrays(family, features, arrays)


def read_figures(vector: NDArray[np.float64]) -> dict[str, JSON]:
    """The figures in a worker's answer, in the shape that reports read; what is unknown is out."""
    known = zip(_FIGURES, vector.tolist(), strict=False)
    figures: dict[str, JSON] = {name: value for name, value in known if not math.isnan(value)}
    figures["records"] = round(vector[0])
    figures["roc"] = vector[len(_FIGURES) :].reshape(-1, 2).tolist()
    return figures


def _flat(figures: Mapping[str, JSON]) -> NDArray[np.float64]:
    """The figures in their order, not a number where there is none, and then the curve's points."""
    values = [figures.get(name) for name in _FIGURES]
    head = [math.nan if value is None else value for value in values]
    curve = np.array(figures.get("roc") or [], dtype=np.float64)
    return np.concatenate([np.array(head, dtype=np.float64), curve.ravel()])
