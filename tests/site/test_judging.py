"""What the checks of a hospital's records may refuse, and to whom a refusal would say something."""

import numpy as np
import pytest

from quality_records import concept, facts, material
from studies import document, private
from wardround.clinical.quality import Check, Federation, Histogram, Level, Overrides, Thresholds
from wardround.clinical.quality.drift import shares_in_bins, stability_index
from wardround.site.judging import judge
from wardround.study import HospitalPolicy, Study

VALUES = np.concatenate([np.full(60, 0.25), np.full(20, 0.75)])
EDGES = np.array([0.0, 0.5, 1.0])


def chosen() -> Histogram:
    """A histogram under which one patient more or less decides about the alarm."""
    alarm = Thresholds().psi_alarm

    def index(values: np.ndarray, low: float) -> float:
        shown = Histogram(EDGES, np.array([low, 10_000.0 - low]))
        return stability_index(*shares_in_bins(values, shown))

    low = next(
        low
        for low in range(5_500, 100, -1)
        if index(VALUES, low) > alarm >= index(np.append(VALUES, 0.75), low)
    )
    return Histogram(EDGES, np.array([float(low), 10_000.0 - low]))


def drifts(study: Study, values: np.ndarray) -> list[Level]:
    outcome = (np.arange(len(values)) % 2).astype(float)
    about = material(
        outcome, facts(concept("x"), values), federation=Federation({"x": chosen()}, None)
    )
    policy = HospitalPolicy.model_validate(
        {"accepted_profiles": ("private", "secure-sum")}, strict=False
    )
    found = judge(policy, study, Overrides("breast-mass", "harbour", "sha256:" + 64 * "0"), about)
    return [one.level for one in found if one.check is Check.DRIFT]


@pytest.mark.parametrize("values", [VALUES, np.append(VALUES, 0.75)])
def test_under_noise_no_histogram_of_the_coordinators_makes_a_hospital_stay_away(
    values: np.ndarray,
) -> None:
    assert drifts(Study.parse(private()), values) == [Level.WARN]


def test_without_noise_it_does() -> None:
    plain = Study.parse(document())
    assert drifts(plain, VALUES) == [Level.BLOCK]
    assert drifts(plain, np.append(VALUES, 0.75)) == [Level.WARN]
