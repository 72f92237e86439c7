"""Studies with noise whose groups are redrawn: who sums with whom at which step, and for how long.

Every opening is charged as ever; what is new is that groups follow from a step's number and from
nothing that anybody could choose.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from grouped import EIGHT, failures, federated, play
from private_federation import whole_windows
from ward import Ward, open_ward, policy, until
from wardround.coordinator.federate import GroupedDriver
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest, PacketHeader, group_of
from wardround.governance import EvidenceFile, verify
from wardround.ids import SiteName
from wardround.study import Profile, Study

HOSPITAL = policy(accepted_profiles=(Profile.PRIVATE,))


def redrawn(redraw_steps: int | None = 2, deadline_s: float = 5.0) -> dict[str, object]:
    agreed = {"number": 2} if redraw_steps is None else {"number": 2, "redraw_steps": redraw_steps}
    return {
        "profile": "private",
        "model": {"kind": "logistic", "algorithm": "dp-sgd"},
        "privacy": {
            "epsilon": 1.5,
            "patients": 10_000,
            "rationale": "A test.",
            "statistics": {"noise_multiplier": 40.0, "spare": 12},
            "training": {"noise_multiplier": 15.0, "steps": 5},
            "evaluation": {"noise_multiplier": 20.0},
        },
        "cohort": {"deadline_s": deadline_s, "groups": agreed},
        "adversary": {"corrupt_sites": 1},
    }


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path, sites=EIGHT, hospital=HOSPITAL, **redrawn()) as opened:
        yield opened


async def totals(driver: GroupedDriver, ward: Ward, steps: int) -> list[object]:
    """So many sums, one after the other."""
    task = ward.task("private_moments", windows=whole_windows(ward.study))
    return [await asyncio.wait_for(driver.sum(task), 30) for _ in range(steps)]


def members(total: object) -> tuple[tuple[SiteName, ...], ...]:
    return tuple(one.survivors for one in total.groups)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A whole run of eight hospitals in two groups that change every second step."""

    async def run() -> tuple[object, ...]:
        folder = tmp_path_factory.mktemp("redrawn")
        async with open_ward(
            folder, sites=EIGHT, start=False, hospital=HOSPITAL, **redrawn()
        ) as ward:
            _, evidence, published = await play(ward, folder / "results")
            drawn = ward.coordinator.groups.drawing.partitions
            return ward.study, evidence, published, drawn

    return asyncio.run(run())


def rosters(study: Study, evidence: EvidenceFile) -> dict[int, set[tuple[SiteName, ...]]]:
    """Over whom there were sums, by step."""
    found: dict[int, set[tuple[SiteName, ...]]] = {}
    for one in evidence.rounds:
        manifest = Manifest.open(one.manifest, study.coordinator_key)
        found.setdefault(manifest.step, set()).add(manifest.roster)
    return found


def test_groups_change_with_the_steps_and_as_drawn(finished: tuple[object, ...]) -> None:
    study, evidence, _, drawn = finished
    found = rosters(study, evidence)
    assert sorted(found) == list(range(len(found)))
    assert len(found) >= 7
    for step, groups in found.items():
        assert groups == set(drawn.at(step // 2).groups)
    assert len({frozenset(groups) for groups in found.values()}) > 1


def test_its_evidence_verifies_and_its_report_says_what_redrawing_costs(
    finished: tuple[object, ...],
) -> None:
    study, evidence, published, *_ = finished
    report = verify(published.evidence)
    assert report.ok, report.failures
    words = {check.name: check.detail for check in report.checks}
    steps = len(rosters(study, evidence))
    assert (
        f"{-(-steps // 2)} partitions follow from that, a new one every 2 steps"
        in (words["Groups"])
    )
    page = published.report.read_text()
    assert "2 random groups of 4 hospitals, others after every 2 steps" in page
    assert "can be subtracted" in page
    assert "at least 3 hospitals of a group; the shares of 2 of them" in page
    assert published.verified


def test_a_hospital_answers_in_one_group_of_each_step(finished: tuple[object, ...]) -> None:
    """The report counts what a hospital gave against the plan, not what all groups opened."""
    published = finished[2]
    page = re.sub(r"<[^>]*>", " ", published.report.read_text())
    # Planned once, five times and once, with so many more for rounds that fail.
    assert re.findall(r"([0-9]+) +of (14|6|2)\b", page) == [("2", "14"), ("5", "6"), ("1", "2")]


def test_every_answer_was_charged(finished: tuple[object, ...]) -> None:
    """Each site's ledger has grown by one with each of its packets, in whichever group."""
    study, evidence, *_ = finished
    sizes: dict[SiteName, list[int]] = {}
    for one in evidence.rounds:
        for site, envelope in one.packets.items():
            header = PacketHeader.open(envelope, study.site_keys[site])
            sizes.setdefault(site, []).append(header.ledger.size)
    steps = len(rosters(study, evidence))
    assert sizes.keys() == set(EIGHT)
    for found in sizes.values():
        first = min(found)
        assert sorted(found) == list(range(first, first + steps))


def test_evidence_without_a_later_groups_rounds_fails(finished: tuple[object, ...]) -> None:
    study, evidence, *_ = finished
    left = tuple(
        one
        for one in evidence.rounds
        if group_of(Manifest.open(one.manifest, study.coordinator_key).run) != (1, 1)
    )
    found = failures(evidence.model_copy(update={"rounds": left}))
    assert {"Numbering", "Replay"} <= found


def test_evidence_of_a_study_that_does_not_redraw_fails(finished: tuple[object, ...]) -> None:
    """The rule stands in what all hospitals signed; a file with another one is another study's."""
    evidence = finished[1]
    document = orjson.loads(orjson.dumps(evidence.study))
    del document["cohort"]["groups"]["redraw_steps"]
    found = failures(evidence.model_copy(update={"study": document}))
    assert {"Groups", "Manifests", "Approvals"} & found


async def test_a_restarted_coordinator_goes_on_with_the_groups_it_had_come_to(ward: Ward) -> None:
    driver = await federated(ward)
    before = await totals(driver, ward, 3)
    assert members(before[0]) == members(before[1])
    assert members(before[1]) != members(before[2])
    await ward.crash()
    await ward.restart()
    assert ward.coordinator.groups.number == 1, "who answers late is heard where it belongs"
    driver = await federated(ward)
    again = await totals(driver, ward, 5)
    for old, new in zip(before, again, strict=False):
        assert np.array_equal(old.values, new.values), "recorded, not asked again"
        assert [one.round for one in new.groups] == [one.round for one in old.groups]
    drawn = ward.coordinator.groups.drawing.partitions
    assert [members(one) for one in again] == [drawn.at(n).groups for n in (0, 0, 1, 1, 2)]


async def test_a_coordinator_that_dies_in_the_middle_of_a_later_groups_round(ward: Ward) -> None:
    driver = await federated(ward)
    await totals(driver, ward, 2)
    held = ward.coordinator.groups.drawing.partitions.at(1).groups[0][0]
    ward.hospitals[held].line.before = lambda kind: (
        asyncio.Event().wait() if kind == "packet" else None
    )
    work = asyncio.create_task(totals(driver, ward, 1))
    await until(lambda: len(ward.entries("packet")) == 2 * 8 + 7)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await ward.crash()
    ward.hospitals[held].line.before = lambda _kind: None
    await ward.hospitals[held].kill()
    await ward.hospitals[held].start()
    await ward.restart()
    again = await totals(await federated(ward), ward, 3)
    drawn = ward.coordinator.groups.drawing.partitions
    assert [members(one)[1] for one in again] == [drawn.at(n).groups[1] for n in (0, 0, 1)]


async def test_a_dropout_is_in_the_groups_again_after_the_next_redraw(tmp_path: Path) -> None:
    async with open_ward(
        tmp_path, sites=EIGHT, hospital=HOSPITAL, **redrawn(1, deadline_s=2.0)
    ) as ward:
        driver = await federated(ward)
        gone = EIGHT[0]
        await totals(driver, ward, 1)
        ward.hospitals[gone].line.die_before("packet")
        (without,) = await totals(driver, ward, 1)
        assert gone not in without.survivors
        await ward.hospitals[gone].kill()
        ward.hospitals[gone].line.before = lambda _kind: None
        await ward.hospitals[gone].start()
        await until(lambda: not ward.coordinator.exchange.stopwatch.absent(gone))
        (again,) = await totals(driver, ward, 1)
        assert again.survivors == EIGHT
        assert members(again) == ward.coordinator.groups.drawing.partitions.at(2).groups


async def test_whoever_watches_sees_the_groups_that_are_summed_now(ward: Ward) -> None:
    driver = await federated(ward)
    await totals(driver, ward, 3)
    found = ward.coordinator.timeline()
    assert found.steps == 3
    assert [one.group for one in found.stages] == [1, 2]
    drawn = ward.coordinator.groups.drawing.partitions.at(1)
    for lane in found.lanes:
        assert lane.group == drawn.number_of(lane.site)
        assert len(lane.marks) == 3


def test_without_noise_groups_are_not_redrawn() -> None:
    changes = {key: value for key, value in redrawn().items() if key in ("cohort", "adversary")}
    from studies import document

    with pytest.raises(WardroundError) as raised:
        Study.parse(document(**changes, sites=_eight()))
    assert raised.value.code == "WR-STUDY-171"


def _eight() -> list[dict[str, str]]:
    from wardround.trust.keys import SigningKey

    return [{"name": site, "signing_key": SigningKey.generate().public.text} for site in EIGHT]
