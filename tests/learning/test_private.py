"""Private computations: rows of one patient each, none counting for more than one patient."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plain_federation import FEATURES, code_of
from plain_federation import study as open_study
from private_federation import ONE, clip_each, private_study, whole_windows
from wardround.learning.agreed import allowed_kinds, variables_of
from wardround.learning.mixing import check_rows_do_not_mix
from wardround.learning.private_histogram import nearest_counts
from wardround.learning.private_scores import REACH
from wardround.learning.records import TEST_COLUMN
from wardround.learning.registry import KINDS, PRIVATE_KINDS, compute, find_private
from wardround.learning.specify import check_task, specify
from wardround.privacy.clipping import QUANTILE_WEIGHT
from wardround.privacy.events import L1, L2

LINEAR_FEATURES = tuple(name for name in FEATURES if name != "perimeter_mean")
LINEAR = {"kind": "linear", "algorithm": "noisy-statistics"}
FEDAVG = {"algorithm": "fedavg", "fedavg": {"rounds": 4, "clipping_norm": 2.0}}
STUDIES = {
    "dp-sgd": private_study(),
    "adaptive": private_study(training={"adaptive_clipping": True, "steps": 5}),
    "fedavg": private_study(model=FEDAVG),
    "linear": private_study(LINEAR_FEATURES, "perimeter_mean", model=LINEAR),
    "linear-sgd": private_study(
        LINEAR_FEATURES, "perimeter_mean", model={"kind": "linear", "algorithm": "dp-sgd"}
    ),
    "linear-fedavg": private_study(
        LINEAR_FEATURES, "perimeter_mean", model={"kind": "linear", **FEDAVG}
    ),
}
CASES = [(name, kind) for name, one in STUDIES.items() for kind in sorted(allowed_kinds(one))]
GRADIENTS = ("private_gradient", "private_fedavg")


def example(name, kind, seed=0, windows=None):
    """A study and one of its tasks, at some model."""
    agreed = STUDIES[name]
    v = variables_of(agreed)
    rng = np.random.default_rng(seed)
    width = v.high - v.low
    scaled = {
        "centre": (v.low + 0.3 * width).tolist(),
        "scale": (0.01 * width).tolist(),
    }
    if v.family == "linear":
        scaled["outcome_centre"] = v.outcome_low + 0.3 * (v.outcome_high - v.outcome_low)
        scaled["outcome_scale"] = 0.01 * (v.outcome_high - v.outcome_low)
    model = 0.05 * rng.normal(size=len(v.features) + 1)
    choice = {
        "private_moments": {"windows": windows or whole_windows(agreed)},
        "private_histogram": {"bins": 7},
        "private_gradient": {**scaled, "clipping_norm": 1.0},
        "private_products": scaled,
        "private_fedavg": scaled,
        "private_scores": {**scaled, "edges": [[-1.0, 0.0, 0.5]]},
        "private_residuals": scaled,
    }[kind]
    without = kind in ("private_moments", "private_histogram", "private_products")
    return agreed, specify(agreed, kind, choice, None if without else model)


def patients(agreed, n, seed=0):
    """Patients anywhere in the plausible ranges, ends included."""
    v = variables_of(agreed)
    rng = np.random.default_rng(seed)
    share = np.clip(rng.random((n, len(v.features) + 1)) * 1.4 - 0.2, 0, 1)
    columns = {
        name: low + part * (high - low)
        for name, low, high, part in zip(v.features, v.low, v.high, share.T, strict=False)
    }
    y = v.outcome_low + share[:, -1] * (v.outcome_high - v.outcome_low)
    columns[v.outcome] = np.rint(y) if v.family == "logistic" else y
    columns[TEST_COLUMN] = (rng.random(n) < 0.3).astype(float)
    return columns


def ask(agreed, task, columns, places, **changes):
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
        "batch": len(places),
        **changes,
    }
    model = [] if task.model is None else [task.model]
    lanes = find_private(task.kind).parse(task.parameters, task.model).lanes
    array = np.concatenate([*model, np.asarray(places, dtype=np.float64)])
    return compute(columns, request, array).reshape(-1, lanes)


def test_every_private_kind_is_in_some_plan_and_no_other_kind_is():
    plans = [allowed_kinds(agreed) for agreed in STUDIES.values()]
    assert frozenset().union(*plans) == set(PRIVATE_KINDS)
    assert not set(PRIVATE_KINDS) & set(KINDS)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_specifying_a_private_task_again_gives_the_identical_task(name, kind):
    agreed, task = example(name, kind)
    check_task(agreed, task)
    assert task.ring_bits == 64
    for change in (
        {"bound": task.bound * 2},
        {"length": task.length + 1},
        {"parameters": {**task.parameters, "surplus": 1}},
        {"model": None if task.model is not None else np.zeros(3)},
    ):
        code = code_of(check_task, agreed, dataclasses.replace(task, **change))
        assert code in ("WR-LEARN-001", "WR-LEARN-003", "WR-LEARN-004"), change


def test_no_task_without_noise_in_a_private_study_and_no_private_one_in_an_open_study():
    for kind in KINDS:
        assert code_of(specify, STUDIES["dp-sgd"], kind, {}) == "WR-LEARN-003"
    for kind in PRIVATE_KINDS:
        assert code_of(specify, open_study(), kind, {}) == "WR-LEARN-003"
    assert code_of(specify, STUDIES["dp-sgd"], "unheard_of", {}) == "WR-LEARN-002"


def test_the_study_fixes_the_clipping_norm_unless_it_adapts():
    agreed, task = example("dp-sgd", "private_gradient")
    asked = {**task.parameters, "clipping_norm": 7.0}
    assert specify(agreed, task.kind, asked, task.model).parameters["clipping_norm"] == 1.0
    agreed, task = example("adaptive", "private_gradient")
    asked = {**task.parameters, "clipping_norm": 7.0}
    assert specify(agreed, task.kind, asked, task.model).parameters["clipping_norm"] == 7.0
    assert task.length == len(FEATURES) + 2


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_one_patient_more_or_less_moves_the_sum_by_one_patients_share(name, kind, seed, n):
    """Add or remove one patient: within the sensitivity that every event is priced with."""
    agreed, task = example(name, kind, seed)
    columns = patients(agreed, n, seed)
    quantile = find_private(kind).parse(task.parameters, task.model).with_quantile

    def total(places):
        return clip_each(ask(agreed, task, columns, places), quantile).sum(axis=0)

    for left_out in range(n):
        without = [place for place in range(n) if place != left_out]
        moved = total(range(n)) - total(without)
        assert int((moved * moved).sum()) <= L2 * L2
        assert int(np.abs(moved).sum()) <= L1


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] not in GRADIENTS])
def test_rows_that_promise_a_length_keep_it(name, kind):
    """What isn't a gradient is never clipped, so that counts are counts."""
    agreed, task = example(name, kind)
    rows = ask(agreed, task, patients(agreed, 300), range(300))
    assert (rows * rows).sum(axis=1).max() <= 1 + 1e-12
    assert (rows * rows).sum(axis=1).max() > 0.5  # and wastes little of it


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_row_depends_on_its_own_patient_only(name, kind):
    agreed, task = example(name, kind)
    n = 1003  # vector units compute a batch in parts, and its end in another way
    columns = patients(agreed, n)
    rng = np.random.default_rng(1)
    sample = np.append(rng.permutation(n)[:20], n - 1)
    check_rows_do_not_mix(lambda places: ask(agreed, task, columns, places), sample)
    alone = ask(agreed, task, columns, range(n))[5]
    others = {column: rng.permutation(values) for column, values in columns.items()}
    for column, values in columns.items():
        others[column][5] = values[5]
    assert ask(agreed, task, others, range(n))[5].tobytes() == alone.tobytes()
    everybody = ask(agreed, task, columns, range(n))
    assert everybody[sample].tobytes() == ask(agreed, task, columns, sample).tobytes()


def centred(rows):
    """What batch normalisation does with a batch."""
    return rows - rows.mean(axis=0)


def test_a_computation_that_mixes_patients_is_refused():
    agreed, task = example("dp-sgd", "private_gradient")
    columns = patients(agreed, 40)

    def mixing(places):
        return centred(ask(agreed, task, columns, places))

    assert code_of(check_rows_do_not_mix, mixing, np.arange(6)) == "WR-LEARN-030"

    def by_place(places):
        rows = ask(agreed, task, columns, places)
        return rows * np.arange(1, len(rows) + 1)[:, np.newaxis]

    assert code_of(check_rows_do_not_mix, by_place, np.arange(6)) == "WR-LEARN-030"


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_held_out_patients_and_padding_have_rows_of_zeros(name, kind):
    agreed, task = example(name, kind)
    columns = patients(agreed, 60)
    rows = ask(agreed, task, columns, [*range(60), -1, -1])
    assert not rows[60:].any()
    if kind not in ("private_scores", "private_residuals"):
        assert not rows[:60][columns[TEST_COLUMN] != 0].any()
        assert rows[:60][columns[TEST_COLUMN] == 0].any(axis=1).all()
    else:
        assert rows[:60].any(axis=1).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_no_patient_and_no_number_of_patients_leads_to_a_refusal(name, kind):
    """Whoever sees a refusal would learn what noise was to hide."""
    agreed, task = example(name, kind)
    columns = patients(agreed, 3)
    for feature in columns:
        if feature != TEST_COLUMN:
            columns[feature][1] = np.nan
            columns[feature][2] = 1e300
    rows = ask(agreed, task, columns, [0, 1, 2])
    assert np.isfinite(rows).all()
    none = {name: values[:0] for name, values in columns.items()}
    assert not ask(agreed, task, none, [-1, -1]).any()
    assert ask(agreed, task, none, []).size == 0


@pytest.mark.parametrize(
    ("places", "changes"),
    [
        ([0, 60], {}),
        ([0, -2], {}),
        ([0, 0.5], {}),
        ([0, np.nan], {}),
        ([0, 1], {"batch": 200}),
        ([0, 1], {"batch": -1}),
        ([0, 1], {"batch": None}),
        ([0, 1], {"length": 3}),
        ([0, 1], {"parameters": None}),
    ],
)
def test_a_malformed_request_for_rows_is_refused(places, changes):
    agreed, task = example("dp-sgd", "private_moments")
    columns = patients(agreed, 60)
    assert code_of(ask, agreed, task, columns, places, **changes) == "WR-LEARN-001"


def total_of(name, kind, columns, windows=None):
    agreed, task = example(name, kind, windows=windows)
    n = len(columns[TEST_COLUMN])
    computation = find_private(kind).parse(task.parameters, task.model)
    rows = ask(agreed, task, columns, range(n))
    return computation, clip_each(rows, computation.with_quantile).sum(axis=0) / ONE


def test_moments_without_noise_are_the_moments():
    agreed = STUDIES["linear"]
    columns = patients(agreed, 200)
    computation, total = total_of("linear", "private_moments", columns)
    found = computation.read(total, 1e-9)
    train = columns[TEST_COLUMN] == 0
    assert found.records == pytest.approx(train.sum(), rel=1e-5)
    for i, name in enumerate(LINEAR_FEATURES):
        assert found.mean[i] == pytest.approx(columns[name][train].mean(), rel=1e-4)
        assert found.deviation[i] == pytest.approx(columns[name][train].std(), rel=1e-4)
    outcome = columns["perimeter_mean"][train]
    assert found.outcome_mean == pytest.approx(outcome.mean(), rel=1e-4)
    assert found.outcome_deviation == pytest.approx(outcome.std(), rel=1e-4)


def part_windows(agreed, low, high):
    """Windows over the same part of each range."""
    v = variables_of(agreed)
    width = v.bounds[1] - v.bounds[0]
    ends = v.bounds[0] + low * width, v.bounds[0] + high * width
    return np.column_stack(ends).tolist()


def test_moments_in_a_window_are_those_of_clipped_values():
    agreed = STUDIES["linear"]
    columns = patients(agreed, 400)
    windows = part_windows(agreed, 0.25, 0.7)
    computation, total = total_of("linear", "private_moments", columns, windows)
    found = computation.read(total, 1e-9)
    train = columns[TEST_COLUMN] == 0
    for i, name in enumerate(LINEAR_FEATURES):
        clipped = np.clip(columns[name][train], *windows[i])
        assert found.mean[i] == pytest.approx(clipped.mean(), rel=1e-4)
        assert found.deviation[i] == pytest.approx(clipped.std(), rel=1e-4)


def test_noise_on_moments_is_a_share_of_the_window():
    agreed = STUDIES["dp-sgd"]
    columns = patients(agreed, 400)
    widths = []
    for windows in (None, part_windows(agreed, 0.4, 0.6)):
        computation, total = total_of("dp-sgd", "private_moments", columns, windows)
        widths.append(computation.read(total, 1.0).mean_noise)
    np.testing.assert_allclose(widths[1], 0.2 * widths[0], rtol=1e-6)


def test_a_window_that_missed_its_values_leaves_what_lies_beyond_it():
    agreed = STUDIES["dp-sgd"]
    columns = patients(agreed, 400)
    v = variables_of(agreed)
    for name, low, high in zip(v.features, v.low, v.high, strict=True):
        columns[name] = np.full(400, low + 0.1 * (high - low))
    windows = part_windows(agreed, 0.6, 0.8)
    computation, total = total_of("dp-sgd", "private_moments", columns, windows)
    found = computation.read(total, 0.1)
    np.testing.assert_allclose(found.mean, v.low + 0.3 * (v.high - v.low))
    np.testing.assert_allclose(found.deviation, 0.075 * (v.high - v.low))


@pytest.mark.parametrize(
    ("feature", "pair"),
    [
        ("radius_mean", [0.5, 100.0]),
        ("radius_mean", [1.0, 100.5]),
        ("radius_mean", [20.0, 10.0]),
        ("radius_mean", [20.0, 20.5]),
        ("radius_mean", [20.0]),
        ("male", [0.0, 0.5]),
    ],
)
def test_windows_lie_in_the_range_and_have_a_width(feature, pair):
    agreed = private_study(("radius_mean", "male"))
    windows = whole_windows(agreed)
    specify(agreed, "private_moments", {"windows": windows})
    windows[list(agreed.data.features).index(feature)] = pair
    assert code_of(specify, agreed, "private_moments", {"windows": windows}) == "WR-LEARN-001"


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("seed", range(5))
def test_moments_stay_usable_whatever_the_noise_does(size, seed):
    """Every standardisation that comes out is one that the next task accepts."""
    agreed, task = example("linear", "private_moments")
    computation = find_private(task.kind).parse(task.parameters, None)
    total = np.random.default_rng(seed).normal(size=task.length) * size
    found = computation.read(total, max(size, 1e-6))
    scaled = {
        "centre": found.mean.tolist(),
        "scale": found.deviation.tolist(),
        "outcome_centre": found.outcome_mean,
        "outcome_scale": found.outcome_deviation,
    }
    specify(agreed, "private_products", scaled)


def test_histograms_without_noise_count_exactly():
    columns = patients(STUDIES["dp-sgd"], 200)
    computation, total = total_of("dp-sgd", "private_histogram", columns)
    train = columns[TEST_COLUMN] == 0
    found = computation.read(total, 0.0).distributions(train.sum())
    for name, one in zip(FEATURES, found, strict=True):
        exact, _ = np.histogram(columns[name][train], one.edges)
        np.testing.assert_allclose(one.counts, exact, atol=1e-3)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.floats(-5, 100))
def test_projected_counts_are_the_nearest_ones(noisy, total):
    noisy = np.array(noisy)
    found = nearest_counts(noisy, total)
    assert (found >= 0).all()
    if total <= 0:
        assert not found.any()
        return
    assert found.sum() == pytest.approx(total, abs=1e-8)
    rng = np.random.default_rng(3)
    for other in rng.dirichlet(np.ones(len(noisy)), 20) * total:
        assert ((found - noisy) ** 2).sum() <= ((other - noisy) ** 2).sum() + 1e-6


def test_products_without_clipping_or_noise_are_the_normal_equations():
    agreed = private_study(
        LINEAR_FEATURES, "perimeter_mean", model=LINEAR, training={"clipping_norm": 1e3}
    )
    columns = patients(agreed, 200)
    _, task = example("linear", "private_products")
    task = specify(agreed, task.kind, task.parameters)
    computation = find_private(task.kind).parse(task.parameters, None)
    found = computation.read(ask(agreed, task, columns, range(200)).sum(axis=0), 0.0)
    train = columns[TEST_COLUMN] == 0
    x = np.column_stack([columns[name] for name in LINEAR_FEATURES])[train]
    z = computation.scaling.standardisation.design(x)
    t = computation.scaling.outcome(columns["perimeter_mean"][train])
    np.testing.assert_allclose(found.information, z.T @ z, rtol=1e-9)
    np.testing.assert_allclose(found.products, z.T @ t, rtol=1e-9)
    assert found.outcome_squares == pytest.approx(t @ t)


def test_gradients_are_those_of_the_likelihood_and_the_quantile_counts_the_short_ones():
    columns = patients(STUDIES["adaptive"], 300)
    computation, total = total_of("adaptive", "private_gradient", columns)
    agreed, task = example("adaptive", "private_gradient")
    rows = ask(agreed, task, columns, range(300))
    train = columns[TEST_COLUMN] == 0
    x = np.column_stack([columns[name] for name in FEATURES])
    z = computation.scaling.standardisation.design(x)
    mu = 1 / (1 + np.exp(-(z @ task.model)))
    exact = z * (columns["malignant"] - mu)[:, np.newaxis]
    np.testing.assert_allclose(rows[train], exact[train], rtol=1e-6, atol=1e-12)
    short = (np.sqrt((exact[train] ** 2).sum(axis=1)) <= 1.0).sum()
    told = computation.read(total, 0.0).quantile
    assert told == pytest.approx(QUANTILE_WEIGHT * (2 * short - train.sum()), rel=1e-5)


def test_local_training_answers_an_update_of_length_one_at_most():
    _, task = example("fedavg", "private_fedavg")
    computation = find_private(task.kind).parse(task.parameters, task.model)
    assert computation.local_steps == 10  # 40 steps in 4 rounds
    weights = task.model
    rng = np.random.default_rng(4)
    for _ in range(5):
        weights = computation.step(weights, rng.normal(size=computation.lanes) * 1e6)
        assert np.linalg.norm(weights - task.model) <= 2.0 + 1e-9
    update = computation.update(weights)
    assert np.linalg.norm(update) <= 1 + 1e-12
    mean = computation.read(4 * update, 0.0).update
    np.testing.assert_allclose(task.model + mean, weights, rtol=1e-12)


def test_every_patient_has_one_cell_of_the_scores():
    columns = patients(STUDIES["dp-sgd"], 300)
    computation, total = total_of("dp-sgd", "private_scores", columns)
    tables = computation.read(total, 0.0)
    x = np.column_stack([columns[name] for name in FEATURES])
    eta = computation.standardisation.design(x) @ computation.coefficients
    edges = [-np.inf, -1.0, 0.0, 0.5, np.inf]
    for table, part in ((tables.train, 0), (tables.test, 1)):
        mine = columns[TEST_COLUMN] == part
        for counts, outcome in ((table.without, 0), (table.cases, 1)):
            chosen = eta[mine & (columns["malignant"] == outcome)]
            np.testing.assert_allclose(counts, np.histogram(chosen, edges)[0])
    assert tables.test.positive.tolist() == [False, False, True, True]


def test_residuals_without_noise_are_those_of_the_records():
    columns = patients(STUDIES["linear"], 300)
    computation, total = total_of("linear", "private_residuals", columns)
    train, test = computation.read(total, 0.0)
    assert train.patients == pytest.approx((columns[TEST_COLUMN] == 0).sum(), rel=1e-5)
    mine = columns[TEST_COLUMN] != 0
    x = np.column_stack([columns[name] for name in LINEAR_FEATURES])[mine]
    y = columns["perimeter_mean"][mine]
    predicted = computation.scaling.standardisation.design(x) @ computation.coefficients
    scale = computation.scaling.outcome_scale
    r = np.clip((y - predicted) / scale, -REACH, REACH)
    u = np.clip((y - computation.scaling.outcome_centre) / scale, -REACH, REACH)
    assert test.residual_squares == pytest.approx((r * r).sum(), rel=1e-4)
    assert test.outcome_squares == pytest.approx((u * u).sum(), rel=1e-4)
    assert test.outcomes == pytest.approx(u.sum(), rel=1e-4)
