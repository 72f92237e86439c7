"""A federation's noisy totals against the same mechanism over all records in one place."""

import numpy as np
import pytest
from scipy import stats

from studies import private
from ward import SITES, plan, table
from wardround.errors import WardroundError
from wardround.learning.specify import specify
from wardround.privacy.events import deviation
from wardround.simulation.central import CentralFederation
from wardround.simulation.inprocess import Keys, open_federation

TABLES = {site: table(site) for site in SITES}
NOISE = 25.0


def document(releases):
    """Four hospitals, all honest and there; noise that this many steps may have."""
    budget = {
        "epsilon": 1.5,
        "patients": 240,
        "rationale": "Invented patients.",
        "statistics": {"noise_multiplier": NOISE, "spare": 0},
        "training": {"noise_multiplier": NOISE, "steps": releases, "spare": 0},
        "evaluation": {"noise_multiplier": NOISE, "spare": 0},
    }
    everybody = {"adversary": {"corrupt_sites": 0}, "cohort": {"minimum_sites": 4}}
    plain = {**private(), **plan(), "profile": "private", "privacy": budget, **everybody}
    plain["model"] = private()["model"]
    plain.pop("coordinator"), plain.pop("sites")
    return plain


async def totals(federation, count):
    """Totals of one gradient; each step is a task of its own, a millionth of a millionth apart."""
    found = []
    for number in range(count):
        at = np.array([0.1, -0.2, number * 1e-12])
        parameters = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
        found.append(
            await federation.sum(specify(federation.study, "private_gradient", parameters, at))
        )
    return found


async def one_place(count):
    study = Keys.generate(tuple(TABLES)).seal(document(100))
    return await totals(await CentralFederation.pool(study, TABLES), count)


async def test_one_place_adds_the_whole_noise(tmp_path):
    found = await one_place(300)
    assert found[0].noise == pytest.approx(deviation(NOISE))
    values = np.array([one.values for one in found])
    statistic = 299 * float(values.var(axis=0, ddof=1).sum()) / found[0].noise ** 2
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], 299 * 3)
    assert low < statistic < high


async def test_the_federation_has_the_same_totals(tmp_path):
    async with open_federation(document(40), TABLES, tmp_path) as federation:
        here = await totals(federation, 40)
    there = await one_place(400)
    assert here[0].noise == pytest.approx(there[0].noise)
    for mine, theirs in zip(
        np.array([one.values for one in here]).T,
        np.array([one.values for one in there]).T,
        strict=True,
    ):
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-5


async def test_one_place_answers_only_what_the_study_plans(tmp_path):
    study = Keys.generate(tuple(TABLES)).seal(document(1))
    federation = await CentralFederation.pool(study, TABLES)
    with pytest.raises(WardroundError) as refused:
        await federation.sum(specify(study, "moments", {}))
    assert refused.value.code == "WR-LEARN-003"
