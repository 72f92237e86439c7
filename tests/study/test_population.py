"""What a hospital allows studies with noise to learn about its patients."""

import pytest

from private_study import private
from studies import codes
from wardround import WardroundError
from wardround.study import HospitalPolicy, combine
from wardround.study.population import PopulationPrivacy


def refusal(study, **privacy):
    policy = HospitalPolicy(privacy=PopulationPrivacy(**privacy))
    with pytest.raises(WardroundError) as refused:
        combine(study, policy)
    return refused.value


def test_a_study_within_all_ceilings_is_accepted():
    combine(private(), HospitalPolicy())


def test_a_study_above_the_hospitals_epsilon():
    error = refusal(private(epsilon=2.0))
    assert codes(error) == ["WR-POLICY-065"]
    assert "epsilon is 2; this hospital allows a study 1.5" in error.problem
    combine(
        private(epsilon=2.0), HospitalPolicy(privacy=PopulationPrivacy(maximum_study_epsilon=2))
    )


def test_a_study_above_the_hospitals_delta():
    assert codes(refusal(private(delta=0.001))) == ["WR-POLICY-066"]
    assert codes(refusal(private(), maximum_study_delta=1e-6)) == ["WR-POLICY-066"]


def test_a_plan_that_could_not_even_be_the_only_one():
    error = refusal(private(), epsilon=0.5)
    assert codes(error) == ["WR-POLICY-067"]
    assert "'patients'" in error.problem and "epsilon 0.5 at delta 1e-6" in error.problem


def test_all_reasons_are_told_together():
    found = codes(refusal(private(epsilon=2.0, delta=0.001), epsilon=0.5))
    assert found == ["WR-POLICY-065", "WR-POLICY-066", "WR-POLICY-067"]
