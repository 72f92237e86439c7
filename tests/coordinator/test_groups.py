"""Studies with groups: the draw, one total a group, and coordinators and sites that lie about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from ward import Ward, code_of, open_ward
from wardround.coordinator.federate import GroupedDriver, federate
from wardround.ids import SiteName

EIGHT = tuple(SiteName(f"site-{letter}") for letter in "abcdefgh")
GROUPS = {
    "cohort": {"deadline_s": 5.0, "groups": {"number": 2}},
    "adversary": {"corrupt_sites": 1},
}


async def federated(ward: Ward) -> GroupedDriver:
    return await asyncio.wait_for(federate(ward.coordinator), 30)


async def test_each_group_opens_its_own_total(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **GROUPS) as ward:
        driver = await federated(ward)
        total = await asyncio.wait_for(driver.sum(ward.task()), 30)
        assert total.survivors == EIGHT
        assert [len(one.survivors) for one in total.groups] == [4, 4]
        assert np.array_equal(total.values, total.groups[0].values + total.groups[1].values)
        assert total.values.sum() == 8 * 60
