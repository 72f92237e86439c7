"""Private sums through the whole of the services: noise of the right size, fresh each time."""

import numpy as np
import pytest
from scipy import stats

from studies import private
from ward import SITES, plan, table
from wardround.errors import WardroundError
from wardround.learning.specify import specify
from wardround.privacy.events import deviation
from wardround.simulation.inprocess import ENTRY, open_federation
from wardround.study.plan import noise_deviation

TABLES = {site: table(site) for site in SITES}
NOISE = 25.0


def budget(releases, **changes):
    """A budget for many noisy sums."""
    training = {"noise_multiplier": NOISE, "steps": releases, "spare": 0, "clipping_norm": 0.5}
    one = {"noise_multiplier": NOISE, "spare": 0}
    plain = {
        "epsilon": 1.5,
        "patients": 240,
        "rationale": "Invented patients.",
        "statistics": one,
        "training": training,
        "evaluation": one,
    }
    return plain | changes


async def noisy_sums(folder, count, privacy, entry=ENTRY, **changes):
    """Totals of one task asked ``count`` times, a step each."""
    document = {**private(), **plan(), "profile": "private", "privacy": privacy, **changes}
    document["model"] = private()["model"]
    document.pop("coordinator"), document.pop("sites")
    parameters = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "clipping_norm": 0.5}
    async with open_federation(document, TABLES, folder, entry=entry) as federation:
        totals = []
        for number in range(count):
            at = np.array([0.0, 0.0, number * 1e-9])  # each step is a task of its own
            task = specify(federation.study, "private_gradient", parameters, at)
            totals.append(await federation.sum(task))
        return federation.study, totals


@pytest.mark.parametrize("noise", ["shared", "site"])
async def test_a_total_has_the_noise_that_it_is_said_to_have(tmp_path, noise):
    study, totals = await noisy_sums(tmp_path, 30, budget(30, noise=noise))
    values = np.array([one.values for one in totals])
    said = totals[0].noise
    assert said == pytest.approx(noise_deviation(study, "private_gradient", 4, 4))
    assert said == pytest.approx(deviation(NOISE) * (2**0.5 if noise == "shared" else 2.0))
    spread = values.std(axis=0, ddof=1)
    # 30 draws of 3 elements: chi-square with 87 degrees of freedom, both tails at 1e-6.
    statistic = 29 * float((spread**2).sum()) / said**2
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], 87)
    assert low < statistic < high


async def test_with_everybody_honest_and_there_the_noise_is_no_more_than_planned(tmp_path):
    everybody = {"adversary": {"corrupt_sites": 0}, "cohort": {"minimum_sites": 4}}
    _, totals = await noisy_sums(tmp_path, 1, budget(1), **everybody)
    assert totals[0].noise == pytest.approx(deviation(NOISE))


async def test_the_same_study_run_twice_has_other_noise(tmp_path):
    first, second = [
        (await noisy_sums(tmp_path / name, 1, budget(1)))[1][0].values for name in ("a", "b")
    ]
    assert not np.allclose(first, second, atol=1e-3)


async def test_no_more_is_answered_than_the_plan_lists(tmp_path):
    with pytest.raises(WardroundError) as refused:
        await noisy_sums(tmp_path, 3, budget(2))
    assert refused.value.code == "WR-ROUND-002"


async def test_a_computation_that_fails_is_not_told_and_the_agent_stops(tmp_path):
    """Whether it does might be about one patient: neither an answer nor a refusal leaves."""
    with pytest.raises(WardroundError) as stopped:
        await noisy_sums(tmp_path, 1, budget(1), entry="private_study:fails")
    assert stopped.value.code == "WR-SITE-111"
    assert "patient" not in str(stopped.value.problem).replace("noise", "")
