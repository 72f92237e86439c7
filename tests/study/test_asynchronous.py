"""The table [cohort.asynchronous], and what [model.fedavg] says of the coordinator's step."""

import copy

import pytest

from studies import codes, document, privacy, private
from wardround import WardroundError
from wardround.secagg import Adversary, CohortTerms
from wardround.study import Study
from wardround.trust.keys import SigningKey

FEDAVG = {"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 5}}


def of(count, corrupt=None, model=FEDAVG, **asynchronous):
    sites = [
        {"name": f"site-{number}", "signing_key": SigningKey.generate().public.text}
        for number in range(count)
    ]
    adversary = {} if corrupt is None else {"corrupt_sites": corrupt}
    cohort = {"asynchronous": asynchronous}
    return document(sites=sites, model=model, adversary=adversary, cohort=cohort)


def refusal(plain):
    with pytest.raises(WardroundError) as refused:
        Study.parse(plain)
    return codes(refused.value)


@pytest.mark.parametrize(
    ("count", "corrupt", "dropouts", "size"),
    [
        (3, 0, 0, 3),
        (4, 0, 0, 3),
        (4, 1, 0, 3),
        (4, 1, 1, 4),
        (8, 2, 0, 4),
        (20, 0, 0, 5),
        (20, 6, 0, 8),
        (64, 0, 0, 16),
        (64, 21, 0, 23),
        (20, 6, 3, 13),
    ],
)
def test_k_is_a_quarter_or_the_least_that_the_adversary_allows(count, corrupt, dropouts, size):
    study = Study.parse(of(count, corrupt, tolerated_dropouts=dropouts))
    terms = study.late_terms
    assert terms.size == size
    least = max(Adversary(size, corrupt).minimum_survivors, 3)
    assert size >= least + dropouts
    if size > max(3, count // 4):  # none smaller would do
        with pytest.raises(WardroundError, match=r"WR-SECAGG-0(50|02)"):
            CohortTerms(size - 1, corrupt, dropouts)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("sites", 2, "WR-STUDY-150"),
        ("sites", "3", "WR-STUDY-150"),
        ("tolerated_dropouts", -1, "WR-STUDY-151"),
        ("maximum_staleness", -1, "WR-STUDY-152"),
        ("maximum_staleness", 1001, "WR-STUDY-152"),
        ("sum_deadline_s", 0.5, "WR-STUDY-153"),
        ("steps", 3, "WR-STUDY-003"),
    ],
)
def test_each_key_has_its_bounds_and_its_code(key, value, code):
    assert refusal(of(4, **{key: value})) == [code]


@pytest.mark.parametrize(
    ("count", "corrupt", "asynchronous"),
    [
        (8, 2, {"sites": 3}),  # both corrupt ones and one other
        (8, 2, {"sites": 9}),
        (4, 1, {"sites": 3, "tolerated_dropouts": 1}),
        (4, 1, {"tolerated_dropouts": 2}),
    ],
)
def test_a_cohort_that_can_t_be_formed_is_refused(count, corrupt, asynchronous):
    assert refusal(of(count, corrupt, **asynchronous)) == ["WR-STUDY-150"]


def test_only_averaging_can_be_asynchronous():
    assert refusal(of(4, model={"kind": "logistic"})) == ["WR-STUDY-155"]


def test_groups_and_noise_do_not_go_together_with_it():
    grouped = of(12, 1)
    grouped["cohort"]["groups"] = {"number": 2}
    assert refusal(grouped) == ["WR-STUDY-156"]
    noisy = private(model=FEDAVG, privacy=privacy(), cohort={"asynchronous": {}})
    assert "WR-STUDY-156" in refusal(noisy)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"server": "adam"}, "WR-STUDY-157"),
        ({"server": "fedbuff"}, "WR-STUDY-157"),  # without late cohorts
        ({"server": "fedasync"}, "WR-STUDY-157"),
        ({"server_learning_rate": 0}, "WR-STUDY-158"),
        ({"server_learning_rate": 101}, "WR-STUDY-158"),
        ({"proximal_mu": 0}, "WR-STUDY-159"),
        ({"proximal_mu": float("nan")}, "WR-STUDY-159"),
    ],
)
def test_the_coordinator_s_step_has_its_bounds_and_its_codes(changes, code):
    model = copy.deepcopy(FEDAVG)
    model["fedavg"] |= changes
    assert refusal(document(model=model)) == [code]


@pytest.mark.parametrize(
    "changes", [{"server": "fedadam"}, {"server_learning_rate": 0.5}, {"proximal_mu": 0.1}]
)
def test_a_private_study_has_no_other_step(changes):
    model = copy.deepcopy(FEDAVG)
    model["fedavg"] |= changes
    assert "WR-STUDY-157" in refusal(private(model=model, privacy=privacy()))


def test_a_study_that_says_nothing_of_it_is_signed_as_before():
    plain = Study.parse(document(model=FEDAVG)).canonical()
    for key in (b"asynchronous", b"server", b"proximal"):
        assert key not in plain
    said = Study.parse(document(model=FEDAVG, cohort={"asynchronous": {}})).canonical()
    assert b'"maximum_staleness":10' in said
