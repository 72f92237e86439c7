"""The price of a study's plan, and the one statement that follows from it."""

import math
import time

import pytest

from studies import document
from wardround import WardroundError
from wardround.privacy.accountant import epsilon
from wardround.privacy.events import Gaussian, Skellam
from wardround.study import Study
from wardround.study.price import check_plan, price, releases, statement_of

PRIVACY = {
    "epsilon": 1.5,
    "patients": 740,
    "rationale": "The ethics board accepted 1.5 for a study without risk to patients.",
    "statistics": {"noise_multiplier": 18.0},
    "training": {"noise_multiplier": 12.0, "steps": 10},
    "evaluation": {"noise_multiplier": 10.0},
}


def study(version=1, **changes):
    model = changes.pop("model", {"kind": "logistic", "algorithm": "dp-sgd"})
    limits = {"disclosure": changes.pop("disclosure")} if "disclosure" in changes else {}
    privacy = {**PRIVACY, **changes}
    return Study.parse(
        document(profile="private", version=version, model=model, privacy=privacy, **limits)
    )


def test_a_plan_is_priced_as_one_with_its_spare_rounds():
    events = [(Skellam(18.0), 3), (Skellam(12.0), 11), (Skellam(10.0), 2)]
    assert sorted(releases(study()), key=repr) == sorted(events, key=repr)
    assert price(study()) == epsilon(events, 1e-5) < 1.5
    check_plan(study())


def test_delta_follows_from_the_stated_number_of_patients():
    assert statement_of(study()).delta == 1e-5
    assert statement_of(study(patients=200_000, epsilon=2.0)).delta == 5e-7
    assert statement_of(study(delta=1e-3)).delta == 1e-3
    assert price(study(delta=1e-3)) < price(study()) < price(study(patients=200_000))


def test_a_plan_that_costs_too_much_is_refused_with_the_numbers_that_would_do():
    dear = study(training={"noise_multiplier": 4.0, "steps": 10})
    with pytest.raises(WardroundError) as refused:
        check_plan(dear)
    assert refused.value.code == "WR-STUDY-120"
    assert "the study allows 1.5" in refused.value.problem
    assert "training alone costs" in refused.value.problem
    factor = float(refused.value.remedy.split(" by ")[1].split(",")[0])
    louder = [(Skellam(event.noise_multiplier * factor), count) for event, count in releases(dear)]
    assert 1.45 < epsilon(louder, 1e-5) <= 1.5
    with pytest.raises(WardroundError, match="WR-STUDY-120"):
        statement_of(dear)


def test_noise_that_proves_nothing_is_refused_too():
    training = {"noise_multiplier": 0.1, "steps": 100_000}
    loud = study(training=training, disclosure={"opened_numbers": 1_000_000})
    assert price(loud) == math.inf
    with pytest.raises(WardroundError, match="without bound"):
        check_plan(loud)


def test_the_statement_says_all_that_it_rests_on():
    stated = statement_of(study(hospitals_per_patient=2))
    assert price(study()) <= stated.epsilon <= 1.5
    assert stated.epsilon_for_hospitals > 1.9 * stated.epsilon
    assert "everybody takes part" in stated.sampling
    assert "share of one Skellam noise" in stated.noise
    assert "Rényi" in stated.accountant
    assumed = " ".join(stated.assumptions)
    for words in ("at most 1 of the 4 hospitals", "at least 3 hospitals", "740 patients"):
        assert words in assumed


def test_the_statement_never_exceeds_what_was_agreed_on():
    cost = price(study())
    agreed = cost * (1 + 1e-9)
    assert statement_of(study(epsilon=agreed)).epsilon == agreed
    with pytest.raises(WardroundError, match="WR-STUDY-120"):
        statement_of(study(epsilon=cost * (1 - 1e-6)))


def test_a_later_version_promises_what_all_versions_may_cost():
    """A ledger lets them spend the study's epsilon together, whatever this one's plan costs."""
    later = statement_of(study(version=2))
    assert price(study(version=2)) < 1.4 < later.epsilon == 1.5
    assert any("all versions" in one for one in later.assumptions)
    assert not any("all versions" in one for one in statement_of(study()).assumptions)


def test_nothing_proven_for_a_patient_of_many_hospitals_is_refused():
    with pytest.raises(WardroundError, match="WR-STUDY-120") as refused:
        check_plan(study(hospitals_per_patient=64))
    assert "64 hospitals" in refused.value.problem


def test_poisson_samples_and_noise_of_each_hospital_are_named():
    sampled = study(training={"noise_multiplier": 6.0, "steps": 100, "sampling_rate": 0.05})
    assert "Poisson" in statement_of(sampled).sampling
    own = statement_of(study(noise="site"))
    assert "private on its own" in own.noise
    assert "loss distributions" in own.accountant
    assert Gaussian(12.0) in dict(releases(study(noise="site")))
    assert statement_of(study(noise="site", hospitals_per_patient=2)).epsilon_for_hospitals < (
        statement_of(study(hospitals_per_patient=2)).epsilon_for_hospitals
    )


def test_asking_again_is_free():
    asked = study(
        noise="site", training={"noise_multiplier": 6.0, "steps": 99, "sampling_rate": 0.05}
    )
    first = statement_of(asked)
    start = time.perf_counter()
    assert statement_of(asked) == first
    assert time.perf_counter() - start < 0.05
