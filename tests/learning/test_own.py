"""A hospital's own questions, asked as through a worker: the same answers as asked directly."""

from __future__ import annotations

import numpy as np
import pytest

from bedside import code
from studies import document
from ward import table
from wardround.learning import own, registry
from wardround.learning.agreed import agreed_variables, rule_of, variables_of
from wardround.learning.local import assess, fit_alone
from wardround.sandbox.worker import load_entry
from wardround.site.custody import computable
from wardround.study import Study

LOGISTIC = Study.parse(document())
GRID = Study.parse(document(model={"kind": "logistic", "ridge": [0.1, 1, 10], "folds": 3}))
LINEAR = Study.parse(
    document(
        data={"outcome": "texture_mean", "features": ["radius_mean"]},
        model={"kind": "linear"},
    )
)


@pytest.mark.parametrize("study", [LOGISTIC, GRID, LINEAR], ids=["logistic", "grid", "linear"])
def test_the_fit_and_its_figures_are_those_of_the_functions(study: Study) -> None:
    columns = computable(study, table("harbour"))
    agreed, variables = agreed_variables(study), variables_of(study)
    packed = own.compute(columns, own.fit_request(agreed, rule_of(study)), None)
    model, _ = fit_alone(columns, variables, rule_of(study))
    np.testing.assert_array_equal(packed, own.pack(model))
    figures = own.read_figures(own.compute(columns, own.figures_request(agreed), packed))
    expected = assess(columns, variables, model).to_json()
    assert figures.pop("roc") == expected.pop("roc", [])
    assert figures == {name: value for name, value in expected.items() if value is not None}


def test_figures_that_cannot_be_told_are_left_out() -> None:
    columns = dict(computable(LOGISTIC, table("harbour")))
    columns["_test"] = np.zeros_like(columns["_test"])
    request = own.figures_request(agreed_variables(LOGISTIC))
    packed = np.array([14.0, 19.0, 3.5, 4.0, 0.0, 1.0, 1.0])
    assert own.read_figures(own.compute(columns, request, packed)) == {"records": 0, "roc": []}


@pytest.mark.parametrize(
    ("change", "model"),
    [
        ({"ask": "records"}, None),
        ({"ask": "figures"}, None),
        ({"ask": "figures"}, np.zeros(6)),
        ({"ask": "fit", "ridges": [[-1.0]]}, None),
        ({"ask": "fit", "ridges": [[]]}, None),
        ({"ask": "fit", "ridges": [[0.1, 1.0]]}, None),
        ({"ask": "fit", "folds": 3}, None),
        ({"surplus": 1}, None),
    ],
)
def test_a_malformed_question_is_refused(change: dict, model: object) -> None:
    columns = computable(LOGISTIC, table("harbour"))
    request = own.fit_request(agreed_variables(LOGISTIC), rule_of(LOGISTIC)) | change
    assert code(lambda: own.compute(columns, request, model)) == "WR-LEARN-001"


def test_nothing_of_it_can_be_asked_through_the_door() -> None:
    assert load_entry("wardround.learning.own:compute") is own.compute
    assert not {"fit", "figures"} & registry.KINDS.keys()
    assert own.compute is not registry.compute
