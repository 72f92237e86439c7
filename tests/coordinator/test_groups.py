"""Studies with groups: the draw, a total for each, and coordinators and sites that lie about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from grouped import EIGHT, failures, federated, play
from plain_federation import PlainFederation
from ward import Ward, code_of, open_ward, plan, table, until
from wardround.algorithms.plan import run_study
from wardround.coordinator import records
from wardround.coordinator.drawing import Drawing
from wardround.coordinator.federate import GroupedDriver
from wardround.errors import WardroundError
from wardround.federation.draw import DrawPhase
from wardround.governance import verify
from wardround.ids import RunId, SiteName
from wardround.learning.specify import specify
from wardround.secagg.draw import Acceptance, Commitment, Reveal, commit, payloads_digest
from wardround.simulation.inprocess import open_federation
from wardround.site.door import computable
from wardround.site.grouping import Grouping


def groups(deadline_s: float = 5.0, **cohort: object) -> dict[str, object]:
    return {
        "cohort": {"deadline_s": deadline_s, "groups": {"number": 2}, **cohort},
        "adversary": {"corrupt_sites": 1},
    }


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path, sites=EIGHT, **groups()) as opened:
        yield opened


async def total_of(driver: GroupedDriver, ward: Ward, kind: str = "outcome_counts") -> object:
    return await asyncio.wait_for(driver.sum(ward.task(kind)), 30)


def plain(ward: Ward, absent: tuple[SiteName, ...] = ()) -> PlainFederation:
    tables = {
        site: computable(ward.study, one.custody.table)
        for site, one in ward.hospitals.items()
        if site not in absent
    }
    return PlainFederation(ward.study, tables)


async def test_each_group_opens_its_own_total(ward: Ward) -> None:
    driver = await federated(ward)
    total = await total_of(driver, ward)
    assert total.survivors == EIGHT
    assert [len(one.survivors) for one in total.groups] == [4, 4]
    assert np.array_equal(total.values, total.groups[0].values + total.groups[1].values)
    truth = await plain(ward).sum(ward.task())
    assert np.array_equal(total.values, truth.values)
    partition = ward.coordinator.groups.drawing.partitions.at(0)
    assert tuple(one.survivors for one in total.groups) == partition.groups
    for site, hospital in ward.hospitals.items():
        (accepted,) = [one for one in hospital.entries() if one.kind == "partition"]
        assert accepted.facts["partition"] == partition.digest
        assert accepted.facts["group"] == list(partition.group_of(site))
    rounds = [facts for event, facts in ward.said if event == "round"]
    assert [(one["survivors"], one["roster"]) for one in rounds] == [(8, 8)]


async def test_groups_over_sockets(tmp_path: Path) -> None:
    async with open_ward(tmp_path, "https", sites=EIGHT, **groups()) as ward:
        total = await total_of(await federated(ward), ward)
        assert total.survivors == EIGHT
        assert len(total.groups) == 2
        for one in ward.hospitals.values():
            drawn = {"commitment", "reveal", "acceptance"}
            assert set(one.line.kinds()) <= {
                "approval", "advert", "deal", "packet", "vote", "shares", *drawn
            }  # fmt: skip


async def test_groups_in_a_simulation(tmp_path: Path) -> None:
    document = plan(**groups())
    tables = {site: table(site) for site in (*EIGHT, SiteName("harbour"))}
    async with open_federation(document, tables, tmp_path) as federation:
        total = await federation.sum(specify(federation.study, "outcome_counts", {}))
        assert [len(one.survivors) for one in total.groups] == [5, 4]
        assert total.values.sum() == 9 * 60


async def test_each_hospital_is_charged_for_what_all_groups_open(ward: Ward) -> None:
    driver = await federated(ward)
    await total_of(driver, ward)
    for hospital in ward.hospitals.values():
        (packet,) = [one for one in hospital.entries() if one.kind == "packet"]
        assert packet.facts["opened"] == 2 * ward.task().length


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """One run of eight hospitals in two groups, one of which loses a member on the way."""

    async def run() -> tuple[object, ...]:
        folder = tmp_path_factory.mktemp("grouped")
        async with open_ward(folder, sites=EIGHT, start=False, **groups(2.0)) as ward:
            candidate, evidence, published = await play(ward, folder / "results")
            reference = await run_study(plain(ward))
            return candidate, reference, evidence, published, ward.study

    return asyncio.run(run())


def test_the_model_is_that_of_the_pooled_records(finished: tuple[object, ...]) -> None:
    candidate, reference, *_ = finished
    for name, array in candidate.model.items():
        np.testing.assert_allclose(array, reference.model[name], rtol=1e-9, atol=1e-12)


def test_its_evidence_verifies_and_its_report_says_groups(finished: tuple[object, ...]) -> None:
    _, _, _, published, _ = finished
    report = verify(published.evidence)
    assert report.ok, report.failures
    words = {check.name: check.detail for check in report.checks}
    assert "2 groups of 4, 4 hospitals" in words["Groups"]
    assert "one total per group and step" in words["Numbering"]
    page = published.report.read_text()
    assert "Groups: sums over 2 random groups of 4 hospitals" in page
    assert published.verified


def test_evidence_without_the_draw_is_refused_with_a_code(finished: tuple[object, ...]) -> None:
    evidence = finished[2]
    report = verify(evidence.model_copy(update={"partition": None}))
    assert {"Groups", "Manifests", "Replay"} <= {check.name for check in report.failures}
    assert any("WR-GOV-022" in check.detail for check in report.failures)


@pytest.mark.parametrize("part", ["commitments", "reveals", "acceptances"])
def test_evidence_that_leaves_out_a_part_of_the_draw_fails(
    finished: tuple[object, ...], part: str
) -> None:
    evidence = finished[2]
    said = dict(getattr(evidence.partition, part))
    del said[EIGHT[0]]
    partition = evidence.partition.model_copy(update={part: said})
    assert "Groups" in failures(evidence.model_copy(update={"partition": partition}))


def test_evidence_of_another_draw_fails(finished: tuple[object, ...]) -> None:
    evidence = finished[2]
    partition = evidence.partition.model_copy(update={"draw": 1})
    assert "Groups" in failures(evidence.model_copy(update={"partition": partition}))


def test_evidence_without_one_groups_total_fails(finished: tuple[object, ...]) -> None:
    evidence = finished[2]
    fewer = evidence.model_copy(update={"rounds": evidence.rounds[:-1]})
    assert {"Numbering", "Replay"} <= failures(fewer)


async def test_a_dropout_in_one_group_costs_its_contribution_and_no_more(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **groups(1.5)) as ward:
        driver = await federated(ward)
        await total_of(driver, ward)
        gone = EIGHT[0]
        ward.hospitals[gone].line.die_before("packet")
        total = await total_of(driver, ward, "moments")
        assert total.survivors == EIGHT[1:]
        assert sorted(len(one.survivors) for one in total.groups) == [3, 4]
        truth = await plain(ward, (gone,)).sum(ward.task("moments"))
        np.testing.assert_allclose(total.values, truth.values, rtol=1e-12)


async def test_a_group_that_opens_nothing_fails_the_step(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **groups(1.0, attempts=1)) as ward:
        driver = await federated(ward)
        partition = ward.coordinator.groups.drawing.partitions.at(0)
        for site in partition.groups[1][:2]:
            ward.hospitals[site].line.die_before("packet")
        with pytest.raises(WardroundError, match="Group 2") as raised:
            await total_of(driver, ward)
        assert raised.value.code == "WR-ROUND-002"


async def test_a_missing_hospital_delays_the_draw_and_spoils_nothing(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, start=False, **groups(1.0)) as ward:
        for site in EIGHT[:-1]:
            await ward.hospitals[site].start()
        await ward.coordinator.wait_for_sites(7, 10.0)
        ward.drive()
        with pytest.raises(WardroundError, match=EIGHT[-1]) as raised:
            await federated(ward)
        assert raised.value.code == "WR-ROUND-020"
        await ward.hospitals[EIGHT[-1]].start()
        driver = await federated(ward)
        assert ward.coordinator.groups.drawing.draw.number == 0
        assert (await total_of(driver, ward)).survivors == EIGHT


async def test_a_reveal_that_is_withheld_ends_the_draw_and_names_who(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **groups(4.0)) as ward:
        line = ward.hospitals[EIGHT[2]].line
        line.die_before("reveal")
        work = asyncio.create_task(federated(ward))
        await until(lambda: any(event == "draw-failed" for event, _ in ward.said))
        assert ("draw-failed", {"draw": 1, "ended_by": EIGHT[2]}) in ward.said
        await ward.hospitals[EIGHT[2]].kill()
        line.before = lambda _kind: None
        await ward.hospitals[EIGHT[2]].start()
        driver = await work
        drawing = ward.coordinator.groups.drawing
        assert drawing.draw.number == 1
        first, second = (
            {one.facts["site"]: one.facts["statement"] for one in ward.entries("commitment")
             if one.facts["scope"] == scope}
            for scope in ("draw.0", "draw.1")
        )  # fmt: skip
        assert set(first) == set(second) == set(EIGHT)
        assert not set(first.values()) & set(second.values()), "fresh commitments by all"
        assert (await total_of(driver, ward)).survivors == EIGHT


async def test_after_three_draws_the_study_is_over(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, start=False, **groups(1.0)) as ward:
        ward.drive()
        drawing = ward.coordinator.groups.drawing
        for number in range(3):
            drawing.begin(RunId("run"))
            assert drawing.draw.number == number
            for site in EIGHT:
                said = commit(ward.study.digest, number, site, bytes(32))
                drawing.accept(site, "commitment", said.sign(ward.keys.sites[site]))
            drawing.deadline_passed()
            assert drawing.draw.phase is DrawPhase.FAILED
        with pytest.raises(WardroundError, match=EIGHT[0]) as raised:
            drawing.begin(RunId("run"))
        assert raised.value.code == "WR-ROUND-021"


async def test_two_coordinators_do_not_fork_a_draw(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, start=False, **groups()) as ward:
        ward.drive()
        one = ward.coordinator.groups.drawing
        one.begin(RunId("run"))
        other = Drawing(ward.study, ward.coordinator.state)
        for drawing, site, code in ((one, EIGHT[0], None), (other, EIGHT[1], "WR-COORD-001")):
            said = commit(ward.study.digest, 0, site, bytes(32)).sign(ward.keys.sites[site])
            try:
                drawing.accept(site, "commitment", said)
            except WardroundError as error:
                assert error.code == code
                drawing.accept(site, "commitment", said)
        assert other.draw.committed == set(EIGHT[:2])


async def test_a_later_run_and_a_restarted_coordinator_keep_the_partition(ward: Ward) -> None:
    driver = await federated(ward)
    first = await total_of(driver, ward)
    await ward.crash()
    await ward.restart()
    driver = await federated(ward)
    again = await total_of(driver, ward)
    assert np.array_equal(first.values, again.values), "recorded, not asked again"
    assert [one.round for one in again.groups] == [one.round for one in first.groups]
    driver.say("algorithm", done=1)
    assert ward.coordinator.steps_opened == 1, "one in each group"
    second = await total_of(driver, ward, "moments")
    driver.say("algorithm", done=2)
    assert [facts["done"] for event, facts in ward.said if event == "algorithm"] == [2]
    assert [one.survivors for one in second.groups] == [one.survivors for one in first.groups]
    assert len(ward.entries("partition")) == 1
    assert len(ward.entries("commitment")) == len(EIGHT)


async def test_a_coordinator_that_crashes_in_the_draw_goes_on_with_it(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **groups(20.0)) as ward:
        for site in EIGHT[:3]:
            ward.hospitals[site].line.before = _wait_at("reveal")
        work = asyncio.create_task(federated(ward))
        await until(lambda: len(ward.entries("reveal")) == 5)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await ward.crash()
        for site in EIGHT[:3]:
            ward.hospitals[site].line.before = lambda _kind: None
            await ward.hospitals[site].kill()
            await ward.hospitals[site].start()
        await ward.restart()
        driver = await federated(ward)
        assert ward.coordinator.groups.drawing.draw.number == 0
        assert (await total_of(driver, ward)).survivors == EIGHT


def _wait_at(kind: str) -> object:
    return lambda one: asyncio.Event().wait() if one == kind else None


# What a site may not say


async def test_statements_that_do_not_belong_into_the_draw_are_refused(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, start=False, **groups()) as ward:
        ward.drive()
        drawing, study = ward.coordinator.groups.drawing, ward.study
        one, other = EIGHT[:2]

        def said(kind: str, message: object, site: SiteName = one) -> str | None:
            try:
                drawing.accept(site, kind, message.sign(ward.keys.sites[site]))
            except WardroundError as error:
                assert ward.entries("refused")[-1].facts["code"] == error.code
                return error.code
            return None

        own = commit(study.digest, 0, one, bytes(32))
        assert said("commitment", own) == "WR-COORD-021"
        drawing.begin(RunId("run"))
        assert said("commitment", commit(study.digest, 0, other, bytes(32))) == "WR-COORD-025"
        assert said("commitment", commit(study.digest, 1, one, bytes(32))) == "WR-COORD-025"
        assert said("reveal", Reveal(study.digest, 0, one, own.study, bytes(32))) == "WR-COORD-025"
        assert said("commitment", own) is None
        assert said("commitment", own) is None, "repeating is fine"
        assert said("commitment", Commitment(study.digest, 0, one, bytes(32))) == "WR-COORD-022"
        for site in EIGHT[1:]:
            assert said("commitment", commit(study.digest, 0, site, bytes(32)), site) is None
        seen = payloads_digest(drawing.said("commitment"))
        wrong = Reveal(study.digest, 0, one, seen, b"\x01" * 32)
        assert said("reveal", wrong) == "WR-COORD-025"
        assert said("reveal", Reveal(study.digest, 0, one, own.study, bytes(32))) == "WR-COORD-025"
        for site in EIGHT:
            assert said("reveal", Reveal(study.digest, 0, site, seen, bytes(32)), site) is None
        assert drawing.draw.phase is DrawPhase.SETTLED


async def test_a_site_that_will_not_accept_is_left_out_until_the_next_run(tmp_path: Path) -> None:
    async with open_ward(tmp_path, sites=EIGHT, **groups()) as ward:
        unwilling = EIGHT[5]
        real = Grouping.accept

        def accept(self: Grouping, ask: object) -> object:
            if self._me == unwilling:
                raise WardroundError("WR-SITE-084", "No.", "Really.")
            return real(self, ask)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Grouping, "accept", accept)
            driver = await federated(ward)
            total = await total_of(driver, ward)
        assert total.survivors == tuple(site for site in EIGHT if site != unwilling)
        (declined,) = ward.entries("declined")
        assert declined.facts["site"] == unwilling
        exchange = ward.coordinator.exchange
        exchange.stop("enough")
        with ward.coordinator.state.transaction() as transaction:
            records.end_run(transaction.connection, exchange.run, "failed")
        for hospital in ward.hospitals.values():
            await hospital.kill()
        await ward.crash()
        for hospital in ward.hospitals.values():
            await hospital.start()
        await ward.restart()
        total = await total_of(await federated(ward), ward)
        assert total.survivors == EIGHT, "a later run keeps the partition and asks again"
        assert ward.coordinator.exchange.run != exchange.run
        assert len(ward.entries("partition")) == 1
        (accepted,) = [one for one in ward.entries("acceptance") if one.facts["site"] == unwilling]
        assert accepted


async def test_rounds_are_closed_to_a_site_before_the_groups_are_drawn(ward: Ward) -> None:
    envelope = Acceptance(
        ward.study.digest, 0, EIGHT[0], *(ward.study.digest,) * 3
    ).sign(ward.keys.sites[EIGHT[0]])  # fmt: skip
    groups_ = ward.coordinator.groups
    assert await code_of(groups_.submit(EIGHT[0], "packet", envelope, b"")) == "WR-COORD-036"
    assert await code_of(groups_.submit(EIGHT[0], "acceptance", envelope, b"")) == "WR-COORD-021"
