"""One algorithm, one test, two transports: in process and over real sockets with mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from plain_federation import PlainFederation
from ward import SITES, WARDS, Ward, open_ward
from wardround.algorithms.glm import fit
from wardround.learning.agreed import rule_of
from wardround.learning.glm import Standardisation
from wardround.site.door import computable

SCALES = Standardisation(np.array([14.0, 19.0]), np.array([3.5, 4.0]))


@pytest.fixture(params=WARDS)
async def ward(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path, request.param, cohort={"deadline_s": 1.0}) as opened:
        yield opened


async def test_a_regression_is_what_it_is_without_any_protocol(ward: Ward) -> None:
    sites = {
        site: computable(ward.study, one.custody.table) for site, one in ward.hospitals.items()
    }
    rule = rule_of(ward.study)
    plain = await fit(PlainFederation(ward.study, sites), SCALES, rule)
    federated = await fit(ward.driver, SCALES, rule)
    np.testing.assert_array_equal(federated.coefficients, plain.coefficients)
    for one in ward.hospitals.values():
        sent = set(one.line.kinds())
        assert sent == {"approval", "advert", "deal", "packet", "vote", "shares"}


async def test_a_dead_hospital_costs_a_deadline_and_nothing_else(ward: Ward) -> None:
    ward.hospitals[SITES[0]].line.die_before("packet")
    total = await asyncio.wait_for(ward.driver.sum(ward.task()), 20)
    assert total.survivors == SITES[1:]
    assert "packet" not in ward.hospitals[SITES[0]].line.kinds()
