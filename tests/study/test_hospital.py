import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies import clinical, codes, document
from wardround import WardroundError
from wardround.sandbox.limits import BASE_LIMITS, Limit, Priority
from wardround.study import HospitalPolicy, Profile, Study, combine

ACCEPTING = {"accepted_profiles": ["secure-sum", "private"]}


def hospital(**keys):
    return HospitalPolicy.model_validate_json(json.dumps(ACCEPTING | keys))


def load(folder, text):
    path = folder / "hospital.toml"
    path.write_text(text)
    return HospitalPolicy.load(path)


def test_the_defaults_are_careful(tmp_path):
    loaded = load(tmp_path, "# nothing said\n")
    assert loaded.accepted_profiles == (Profile.PRIVATE, Profile.CLINICAL)
    assert frozenset(loaded.required_limits) == BASE_LIMITS
    with pytest.raises(WardroundError, match="WR-POLICY-050"):
        combine(Study.parse(document()), loaded)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("accepted_profiles = []", "035"),
        ('accepted_profiles = ["none"]', "035"),
        ("minimum_cell = 1", "036"),
        ("minimum_cell = 2", "036"),
        ("minimum_cohort = 1", "037"),
        ("minimum_sites = 2", "038"),
        ("opened_numbers = 0", "039"),
        ("maximum_local_epochs = 6", "040"),
        ('allowed_tasks = ["Big Task"]', "041"),
        ('required_limits = ["gravity"]', "042"),
        ("[worker]\nmemory_mib = 1", "045"),
        ("[worker]\ncpu_s = 0", "046"),
        ("[worker]\nopen_files = 1", "047"),
        ("[worker]\ntask_s = 0", "048"),
        ("[worker]\ncpu_share = 0.01", "070"),
        ("[worker]\ncpu_share = 1.5", "070"),
        ('[worker]\npriority = "high"', "071"),
        ("[worker]\nprocessors = [-1]", "072"),
        ('[hours]\nopens = "8:00"\ncloses = "20:00"', "073"),
        ('[hours]\nopens = "08:00"\ncloses = "24:00"', "074"),
        ('[hours]\nopens = "08:00"\ncloses = "20:00"\ndays = []', "075"),
        ('[hours]\nopens = "08:00"\ncloses = "20:00"\ndays = ["monday"]', "075"),
        ('[hours]\nopens = "08:00"\ncloses = "20:00"\ntime_zone = "Berlin"', "076"),
        ('[hours]\nopens = "08:00"\ncloses = "20:00"\ntime_zone = "../x"', "076"),
        ('[hours]\nopens = "08:00"', "033"),
        ('[privacy]\npopulation = "All patients"', "060"),
        ("[privacy]\nepsilon = 0", "061"),
        ("[privacy]\ndelta = 0.5", "062"),
        ("[privacy]\nmaximum_study_epsilon = -1", "063"),
        ("[privacy]\nmaximum_study_delta = 0", "064"),
        ("minimum_cel = 5", "032"),
        ("worker = 3", "034"),
        ("minimum_cell =", "031"),
        ("", "030"),
    ],
)
def test_every_violated_bound_has_its_code(tmp_path, text, code):
    with pytest.raises(WardroundError) as refused:
        load(tmp_path, text)
    assert codes(refused.value) == [f"WR-POLICY-{code}"]
    assert refused.value.path


def test_a_missing_policy_is_refused(tmp_path):
    with pytest.raises(WardroundError, match="WR-POLICY-030"):
        HospitalPolicy.load(tmp_path / "hospital.toml")


def test_limits_are_named_as_the_sandbox_names_them(tmp_path):
    loaded = load(tmp_path, 'required_limits = ["network", "namespaces.user"]')
    assert loaded.required_limits == (Limit.NETWORK, Limit.USER_NAMESPACE)


@pytest.mark.parametrize(
    ("worker", "added"),
    [
        ("cpu_share = 0.5", {Limit.CPU_SHARE}),
        ('priority = "lowest"', {Limit.PRIORITY}),
        ('priority = "idle"', {Limit.PRIORITY, Limit.IO_PRIORITY}),
        ("processors = [1, 0, 1]", {Limit.PROCESSORS}),
        ('cpu_share = 1.0\npriority = "low"\nprocessors = []', set()),
    ],
)
def test_a_cap_that_is_set_is_required_of_the_host(tmp_path, worker, added):
    loaded = load(tmp_path, f'accepted_profiles = ["secure-sum"]\n[worker]\n{worker}')
    terms = combine(Study.parse(document()), loaded)
    assert terms.required_limits == BASE_LIMITS | added


def test_the_worker_is_given_what_the_hospital_set(tmp_path):
    loaded = load(tmp_path, '[worker]\ncpu_share = 0.5\npriority = "idle"\nprocessors = [1, 0, 1]')
    limits = loaded.worker.limits
    assert (limits.cpu_share, limits.priority, limits.processors) == (0.5, Priority.IDLE, (0, 1))


cells, cohorts, sites = st.integers(3, 1000), st.integers(5, 10**6), st.integers(3, 4)
numbers = st.integers(1, 10**9)


@given(cells, cells, cohorts, cohorts, sites, sites, numbers, st.none() | numbers)
def test_the_tighter_limit_always_holds(cell_s, cell_h, many_s, many_h, n_s, n_h, open_s, open_h):
    study = Study.parse(
        document(
            disclosure={"minimum_cell": cell_s, "minimum_cohort": many_s, "opened_numbers": open_s},
            cohort={"minimum_sites": n_s},
        )
    )
    terms = combine(
        study,
        hospital(
            minimum_cell=cell_h, minimum_cohort=many_h, minimum_sites=n_h, opened_numbers=open_h
        ),
    )
    assert terms.minimum_cell == max(cell_s, cell_h)
    assert terms.minimum_cohort == max(many_s, many_h)
    assert terms.minimum_sites == max(n_s, n_h)
    assert terms.opened_numbers == min(open_s, open_h or open_s)


def test_all_refusals_are_reported_together():
    study = Study.parse(
        document(
            model={
                "kind": "logistic",
                "algorithm": "fedavg",
                "fedavg": {"rounds": 2, "local_epochs": 4},
            }
        )
    )
    strict = HospitalPolicy.model_validate_json(
        json.dumps({"minimum_sites": 5, "maximum_local_epochs": 2})
    )
    with pytest.raises(WardroundError) as refused:
        combine(study, strict)
    assert codes(refused.value) == ["WR-POLICY-050", "WR-POLICY-051", "WR-POLICY-052"]


def test_the_studys_own_policy_bounds_local_epochs_too():
    study = Study.parse(clinical())
    assert combine(study, HospitalPolicy()).maximum_local_epochs == 3


def test_only_allowed_tasks_are_computed():
    study = Study.parse(document())
    assert combine(study, hospital()).allows("anything")
    terms = combine(study, hospital(allowed_tasks=["moments"]))
    assert terms.allows("moments")
    assert not terms.allows("histogram")
    assert not combine(study, hospital(allowed_tasks=[])).allows("moments")


def test_the_workers_limits_reach_the_sandbox():
    limits = combine(
        Study.parse(document()), hospital(worker={"memory_mib": 1024, "task_s": 30})
    ).worker_limits
    assert limits.memory_bytes == 1 << 30
    assert limits.wall_s == 30


def test_a_late_cohort_smaller_than_the_hospital_s_minimum_is_refused():
    plain = document(
        model={"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 2}},
        cohort={"asynchronous": {"sites": 3}},
        adversary={"corrupt_sites": 0},
    )
    study = Study.parse(plain)
    assert combine(study, hospital(minimum_sites=3))
    with pytest.raises(WardroundError) as refused:
        combine(study, hospital(minimum_sites=4))
    assert codes(refused.value) == ["WR-POLICY-051"]
