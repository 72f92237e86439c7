"""Tasks as a hospital sees them: built from the study, bounded whatever the data, strict."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plain_federation import FEATURES, PlainFederation, code_of, study
from wardround.clinical.graph import ConceptGraph
from wardround.errors import WardroundError
from wardround.learning.agreed import agreed_variables, allowed_kinds, variables_of
from wardround.learning.contribution import BOUND, Answer, from_total
from wardround.learning.histogram import Distribution, even_edges
from wardround.learning.registry import KINDS, compute
from wardround.learning.specify import check_task, specify
from wardround.secagg.encoding import FixedPoint

LOGISTIC = study()
LINEAR = study(kind="linear", outcome="age_years")
FEDAVG = study(algorithm="fedavg", fedavg={"rounds": 3})
AT_OWN_PACE = study(algorithm="fedavg", fedavg={"rounds": 3}, cohort={"asynchronous": {}})
GRID = study(ridge=[0.1, 1, 10], folds=3)
VARIABLES = variables_of(LOGISTIC)
M = len(FEATURES) + 1


def constants(share=0.5, spread=0.1):
    width = VARIABLES.high - VARIABLES.low
    return {
        "centre": (VARIABLES.low + share * width).tolist(),
        "scale": (spread * width).tolist(),
    }


def edges():
    return [even_edges(a, b, 4) for a, b in zip(VARIABLES.low, VARIABLES.high, strict=True)]


def example(kind, model=None):
    """A task of that kind with everything chosen."""
    agreed = LOGISTIC
    if kind in ("newton_linear", "prediction_moments"):
        agreed = LINEAR
    if kind == "fedavg":
        agreed = FEDAVG
    if kind == "buffered_fedavg":
        agreed = AT_OWN_PACE
    if kind in ("fold_newton", "fold_scores"):
        agreed = GRID
        model = np.linspace(-1, 1, 4 * M) if model is None else model
    choice = {}
    if kind == "histogram":
        choice = {"edges": edges()}
    elif kind not in ("outcome_counts", "moments"):
        choice = constants()
        model = np.linspace(-1, 1, M) if model is None else model
    if kind in ("score_histogram", "prediction_moments"):
        choice["rows"] = "test"
    if kind in ("fedavg", "buffered_fedavg"):
        choice |= {"round": 1, "decay": 0.01}
    if agreed is GRID:
        choice["left_out"] = [0, 1, 2, 0]
    return agreed, specify(agreed, kind, choice, model)


def records(n=80, seed=0, corner=False):
    """Records anywhere in the plausible ranges, or all in one corner of them."""
    rng = np.random.default_rng(seed)
    share = np.ones((n, M - 1)) if corner else rng.random((n, M - 1))
    x = VARIABLES.low + share * (VARIABLES.high - VARIABLES.low)
    x = np.minimum(x, VARIABLES.high)
    columns = dict(zip(FEATURES, x.T, strict=True))
    columns["malignant"] = (rng.random(n) < 0.5).astype(float)
    columns["age_years"] = np.full(n, 120.0) if corner else 120 * rng.random(n)
    columns["_test"] = (rng.random(n) < 0.3).astype(float)
    for part in (0.0, 1.0):  # a few of both outcomes in either part, whatever the dice say
        few = np.flatnonzero(columns["_test"] == part)[:12]
        columns["malignant"][few] = np.arange(len(few)) % 2
    columns["_fold"] = rng.permutation(n) % 3.0
    for one in (0.0, 1.0):  # and of both in every fold
        mine = np.flatnonzero((columns["malignant"] == one) & (columns["_test"] == 0.0))
        columns["_fold"][mine] = rng.permutation(len(mine)) % 3.0
    return columns


def request(task, cell=5, cohort=20):
    limits = {"minimum_cell": cell, "minimum_cohort": cohort}
    return {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": limits,
    }


def test_every_kind_is_in_some_plan():
    plans = [allowed_kinds(agreed) for agreed in (LOGISTIC, LINEAR, FEDAVG, AT_OWN_PACE, GRID)]
    assert frozenset().union(*plans) == set(KINDS)
    assert "fedavg" not in plans[0] | plans[3]
    assert "fold_newton" not in plans[0]


@pytest.mark.parametrize("kind", KINDS)
def test_specifying_a_task_again_gives_the_identical_task(kind):
    agreed, task = example(kind)
    check_task(agreed, task)
    assert specify(agreed, kind, task.parameters, task.model).hash == task.hash


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_differs_in_anything_is_refused(kind):
    agreed, task = example(kind)
    parameters = dict(task.parameters)
    parameters["variables"] = {**parameters["variables"], "outcome": "birth_date"}
    changes = [
        {"bound": task.bound * 2},
        {"length": task.length + 1},
        {"ring_bits": 32},
        {"parameters": {**task.parameters, "surplus": 1}},
        {"parameters": parameters},
    ]
    if task.model is not None:
        changes += [{"model": task.model.astype(np.float32)}, {"model": None}]
        changes += [{"model": task.model[:-1]}]
    for change in changes:
        code = code_of(check_task, agreed, dataclasses.replace(task, **change))
        assert code in ("WR-LEARN-001", "WR-LEARN-003", "WR-LEARN-004"), change


def test_a_kind_outside_the_plan_is_refused():
    _, linear = example("newton_linear")
    assert code_of(check_task, LOGISTIC, linear) == "WR-LEARN-003"
    assert code_of(specify, LOGISTIC, "read_all_records", {}) == "WR-LEARN-002"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("moments", {"rows": "test"}),
        ("newton_logistic", {"scale": [0.0] * 10}),
        ("newton_logistic", {"centre": [1e9] * 10}),
        ("newton_logistic", {"centre": [1.0] * 9}),
        ("newton_logistic", {"scale": ["1"] * 10}),
        ("newton_logistic", {"scale": [True] * 10}),
        ("score_histogram", {"rows": "all"}),
        ("histogram", {"edges": edges()[:-1]}),
        ("histogram", {"edges": [[row[0], row[-1] + 1] for row in edges()]}),
        ("histogram", {"edges": [[row[0], row[0], row[-1]] for row in edges()]}),
        ("histogram", {"edges": [even_edges(row[0], row[-1], 65) for row in edges()]}),
        ("fedavg", {"round": -1}),
        ("fedavg", {"decay": -0.1}),
        ("fold_newton", {"left_out": [0, 1, 2, 20]}),
        ("fold_newton", {"left_out": [0, 1, 2, True]}),
        ("fold_scores", {"left_out": 0}),
        ("fold_scores", {"left_out": []}),
    ],
)
def test_a_malformed_choice_is_refused(kind, change):
    agreed, task = example(kind)
    assert code_of(specify, agreed, kind, {**task.parameters, **change}, task.model) == (
        "WR-LEARN-001"
    )


def test_hyperparameters_come_from_the_study_whatever_is_asked():
    _, task = example("fedavg")
    chosen = {**task.parameters, "training": {"local_epochs": 5}}
    assert specify(FEDAVG, "fedavg", chosen, task.model).hash == task.hash


@pytest.mark.parametrize("model", [None, np.zeros(M - 1), np.full(M, 2e3), np.zeros(M, np.float32)])
def test_a_model_that_is_none_is_refused(model):
    assert code_of(specify, LOGISTIC, "newton_logistic", constants(), model) == "WR-LEARN-004"


def test_a_model_without_use_is_refused():
    assert code_of(specify, LOGISTIC, "moments", {}, np.zeros(M)) == "WR-LEARN-004"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corner", [False, True])
def test_no_lane_exceeds_one_per_record(kind, corner):
    """The bound is proved per record, so n records stay within n, at the ranges' corners too."""
    model = np.full(M, 900.0) if kind == "newton_logistic" else None
    _, task = example(kind, model)
    columns = records(corner=corner)
    vector = compute(columns, request(task), task.model)
    assert vector.shape == (task.length,)
    assert np.abs(vector).max() <= 80 * (1 + 1e-12)
    encoding = FixedPoint.fit(task.bound, 32, task.ring_bits)
    assert encoding.fractional_bits >= 20  # what newton's coarse lanes rely on
    encoding.encode(vector)


def test_the_bound_has_room_for_the_most_records():
    assert BOUND == task_bound() > (2**22 - 1) * (1 + 1e-9)


def task_bound():
    return example("moments")[1].bound


@given(st.integers(0, 10_000), st.floats(0.01, 0.99), st.floats(0.001, 0.9))
def test_newton_sums_come_back_as_exact_as_doubles(seed, share, spread):
    """Through units, coarse and fine lanes and the fixed point: as if added up in one place."""
    from wardround.learning.glm import Standardisation, evaluate
    from wardround.learning.records import Family, Records, Split

    told = constants(share, spread)
    beta = np.random.default_rng(seed).normal(size=M)
    task = specify(LOGISTIC, "newton_logistic", told, beta)
    columns = records(120, seed)
    encoding = FixedPoint.fit(task.bound, 4, 64)
    total = np.zeros(task.length, np.uint64)
    for _ in range(4):
        total += encoding.encode(compute(columns, request(task), task.model))
    kind = KINDS["newton_logistic"].parse(task.parameters, task.model)
    sums, suppressed = from_total(kind, encoding.decode(total))
    x, y = Records.take(columns, VARIABLES).of(Split.TRAIN)
    design = Standardisation(np.array(told["centre"]), np.array(told["scale"])).design(x)
    plain = evaluate(Family.LOGISTIC, design, y, beta)
    size = np.abs(design).T @ np.ones(len(y))
    assert np.max(np.abs(sums.gradient - 4 * plain.gradient) / size) < 1e-13
    step = kind.units[2 * M : -2].max() * encoding.resolution
    np.testing.assert_allclose(sums.information, 4 * plain.information, atol=4 * step)
    assert (sums.records, suppressed) == (4 * len(y), 0)


def parts(train, test):
    """Records with so many without and with the outcome in either part."""
    columns = records(sum(train) + sum(test))
    columns["_test"] = np.repeat([0.0, 1.0], [sum(train), sum(test)])
    columns["malignant"] = np.repeat([0.0, 1.0, 0.0, 1.0], [*train, *test])
    columns["_fold"] = np.zeros(len(columns["_test"]))  # all in one: the others are empty
    return columns


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_of_a_study_refuses_a_small_training_cohort(kind):
    _, task = example(kind)
    enough, small = parts((12, 8), (9, 9)), parts((12, 7), (9, 9))
    assert compute(enough, request(task), task.model).shape == (task.length,)
    assert code_of(compute, small, request(task), task.model) == "WR-PRIVACY-001"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if example(kind)[0] is not LINEAR])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ((40, 4), (9, 9)),
        ((4, 40), (9, 9)),
        ((44, 0), (9, 9)),
        ((40, 5), (14, 4)),
        ((40, 5), (4, 14)),
        ((40, 5), (18, 0)),
        ((40, 5), (0, 0)),
    ],
)
def test_every_task_refuses_where_a_class_of_the_outcome_is_small(kind, train, test):
    """Whichever part it is small in: totals over the other part would give it away."""
    _, task = example(kind)
    assert code_of(compute, parts(train, test), request(task), task.model) == "WR-PRIVACY-002"
    assert compute(parts((40, 5), (13, 5)), request(task), task.model).shape == (task.length,)


@pytest.mark.parametrize("kind", ["newton_linear", "prediction_moments"])
def test_a_study_of_a_measured_outcome_refuses_a_small_test_part(kind):
    _, task = example(kind)
    assert code_of(compute, parts((40, 0), (4, 0)), request(task), task.model) == "WR-PRIVACY-002"
    assert compute(parts((40, 0), (5, 0)), request(task), task.model).shape == (task.length,)


def test_no_refusal_says_which_group_is_small_or_how_small():
    _, task = example("outcome_counts")
    said = set()
    for train, test in (((40, 3), (9, 9)), ((40, 40), (9, 0)), ((2, 40), (1, 9))):
        with pytest.raises(WardroundError) as caught:
            compute(parts(train, test), request(task), None)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if example(kind)[0] is not LINEAR])
def test_every_task_refuses_where_a_fold_is_small(kind):
    """All or nothing here too: a fold withheld alone is the difference of two totals."""
    _, task = example(kind)
    columns = parts((40, 40), (9, 9))
    columns["_fold"][30:40] = 2.0
    columns["_fold"][76:80] = 2.0  # 14 for training in this fold, but 4 with the outcome
    assert code_of(compute, columns, request(task), task.model) == "WR-PRIVACY-002"
    columns["_fold"][75] = 2.0
    assert compute(columns, request(task), task.model).shape == (task.length,)


@pytest.mark.parametrize("kind", KINDS)
def test_public_records_may_do_without_a_smallest_cell(kind):
    _, task = example(kind)
    columns = parts((0, 40), (1, 2))
    assert compute(columns, request(task, cell=0), task.model).shape == (task.length,)


def test_paths_are_newton_steps_without_their_fold():
    _, task = example("fold_newton")
    columns = records(90)
    paths, _ = from_total(
        KINDS["fold_newton"].parse(task.parameters, task.model),
        compute(columns, request(task), task.model),
    )
    for path, fold, beta in zip(paths, [0, 1, 2, 0], task.model.reshape(4, M), strict=True):
        rest = {name: column[columns["_fold"] != fold] for name, column in columns.items()}
        step = specify(GRID, "newton_logistic", constants(), beta)
        kind = KINDS["newton_logistic"].parse(step.parameters, step.model)
        alone, _ = from_total(kind, compute(rest, request(step), step.model))
        np.testing.assert_array_equal(path.gradient, alone.gradient)
        np.testing.assert_array_equal(path.information, alone.information)
        assert (path.records, path.log_likelihood) == (alone.records, alone.log_likelihood)


def test_folds_are_needed_where_a_study_has_them():
    _, task = example("fold_newton")
    columns = records()
    columns.pop("_fold")
    assert code_of(compute, columns, request(task), task.model) == "WR-LEARN-005"


def test_outcomes_are_counted_exactly_where_they_are_counted():
    _, task = example("outcome_counts")
    assert compute(parts((33, 5), (7, 6)), request(task), None).tolist() == [33, 5, 7, 6, 0]
    _, task = example("score_histogram")
    vector = compute(parts((20, 20), (35, 5)), request(task), task.model)
    assert vector[:66].sum() == 35
    assert vector[66:132].sum() == 5


def test_small_cells_of_a_histogram_are_held_back_and_their_number_is_never_small():
    _, task = example("histogram")
    few = 0
    for seed in range(20):
        columns = records(60, seed)
        columns.pop("_fold")
        vector = compute(columns, request(task), None)
        assert not ((vector[:-1] > 0) & (vector[:-1] < 5)).any()
        train = columns["_test"] == 0
        for i, name in enumerate(FEATURES):
            held_back = train.sum() - vector[4 * i : 4 * i + 4].sum()
            assert held_back == 0 or held_back >= 5
            few += len(set(columns[name])) > 0 and held_back > 0
    assert few > 0


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda c: c.pop("radius_mean"), "WR-LEARN-005"),
        (lambda c: c.pop("_test"), "WR-LEARN-005"),
        (lambda c: c["radius_mean"].__setitem__(3, 123.456), "WR-LEARN-006"),
        (lambda c: c["radius_mean"].__setitem__(3, np.nan), "WR-LEARN-006"),
        (lambda c: c["malignant"].__setitem__(3, 0.5), "WR-LEARN-006"),
    ],
)
def test_unusable_columns_are_refused_without_telling_a_value(spoil, code):
    _, task = example("moments")
    columns = records()
    spoil(columns)
    with pytest.raises(WardroundError) as caught:
        compute(columns, request(task), None)
    assert caught.value.code == code
    assert "123" not in str(caught.value)
    assert "0.5" not in str(caught.value)


def test_too_many_records_are_refused():
    _, task = example("moments")
    columns = {name: np.broadcast_to(column[:1], 1 << 22) for name, column in records().items()}
    assert code_of(compute, columns, request(task), None) == "WR-LEARN-007"


@pytest.mark.parametrize(
    "change",
    [{"kind": "moment"}, {"length": 3}, {"parameters": None}, {"limits": {}}, {"kind": 1}],
)
def test_a_malformed_request_is_refused(change):
    _, task = example("moments")
    code = code_of(compute, records(), {**request(task), **change}, None)
    assert code in ("WR-LEARN-001", "WR-LEARN-002")


def test_a_diverging_local_training_sends_nothing_wild():
    agreed = study(
        algorithm="fedavg",
        kind="linear",
        outcome="age_years",
        fedavg={"rounds": 1, "local_epochs": 5, "learning_rate": 10, "batch_size": 1},
    )
    choice = constants(spread=0.01) | {"round": 1, "decay": 0.0}
    task = specify(agreed, "fedavg", choice, np.zeros(M))
    vector = compute(records(), request(task), task.model)
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() <= BOUND


def test_a_concept_without_a_range_is_refused(monkeypatch):
    graph = ConceptGraph.load()
    rangeless = dataclasses.replace(graph.concept("radius_mean"), plausible=None)
    monkeypatch.setitem(graph._concepts, "radius_mean", rangeless)
    assert code_of(agreed_variables, LOGISTIC) == "WR-LEARN-009"


def test_quantiles_of_a_histogram():
    known = Distribution(np.array([0.0, 1.0, 2.0, 4.0]), np.array([2.0, 4.0, 2.0]))
    assert known.quantile(0.5) == (1.5, 1.0)
    assert known.quantile(0.0) == (0.0, 1.0)
    assert known.quantile(1.0) == (4.0, 2.0)
    assert known.refined(4) == [0.0, 1.0, 1.5, 2.0, 4.0]
    assert Distribution(np.array([0.0, 1.0]), np.zeros(1)).quantile(0.5) is None


def test_the_confined_worker_needs_numpy_and_nothing_else():
    listing = "import sys, wardround.learning.registry; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    ).stdout.split()
    top = {name.partition(".")[0] for name in loaded}
    assert not top & {"pydantic", "cryptography", "duckdb", "sklearn", "scipy", "httpx"}


def test_nobody_sees_a_contribution_by_printing_it():
    from wardround.learning.records import Records

    columns = records()
    shown = repr(Records.take(columns, VARIABLES))
    assert "array" not in shown


def test_the_test_federation_checks_like_a_site():
    _, task = example("moments")
    federation = PlainFederation(LINEAR, {})
    with pytest.raises(WardroundError):
        import asyncio

        asyncio.run(federation.sum(task))


@pytest.mark.parametrize("wild", [2 * BOUND, -2 * BOUND, np.nan, np.inf])
def test_what_goes_beyond_the_proved_bound_never_leaves_the_worker(monkeypatch, wild):
    """A fault in a computation; the encoding would take the value for another one."""
    kind, task = KINDS["moments"], example("moments")[1]

    def contribute(self, records, limits):
        return Answer(np.full(task.length - 1, wild))

    monkeypatch.setattr(kind, "contribute", contribute)
    assert code_of(compute, records(), request(task), None) == "WR-LEARN-008"
