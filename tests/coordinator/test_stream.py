"""Late cohorts over the real services: who is ready is summed, nothing is lost or said twice."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest
from rich.console import Console

from ward import SITES, Ward, code_of, open_ward, until
from wardround.cli.timeline_picture import picture
from wardround.coordinator import timewords as words
from wardround.coordinator.intake import EACH
from wardround.coordinator.late_intake import LateIntake
from wardround.coordinator.records import Sent, save_statement
from wardround.coordinator.spool import Spool
from wardround.coordinator.streaming import Streaming
from wardround.coordinator.streams import GATHERING
from wardround.coordinator.timeline import Mark
from wardround.errors import WardroundError
from wardround.federation.federation import Stream, Total
from wardround.federation.late import MOST_WASTED
from wardround.federation.messages import Refused
from wardround.federation.streaming import version_scope
from wardround.ids import SiteName
from wardround.learning.buffered import scaled
from wardround.learning.registry import compute
from wardround.learning.specify import specify
from wardround.sandbox import InlineWorker
from wardround.secagg import Deal, LateMember
from wardround.simulation.inprocess import ENTRY
from wardround.site.custody import computable
from wardround.study import Task

FIRST, REST = SITES[0], SITES[1:]
MODEL = {"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 9, "learning_rate": 0.5}}
CHOICE = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "decay": 0.01}
START = np.zeros(3)


def agreed(sites: int = 3, dropouts: int = 0, **more: object) -> dict[str, object]:
    """A study of four hospitals, none of them corrupt, in cohorts of so many."""
    asynchronous = {"sites": sites, "tolerated_dropouts": dropouts, "sum_deadline_s": 3.0}
    cohort = {"deadline_s": 90.0, "attempts": 1, "asynchronous": {**asynchronous, **more}}
    return {"cohort": cohort, "model": MODEL, "adversary": {"corrupt_sites": 0}}


def question(ward: Ward, model: np.ndarray = START, number: int = 0) -> Task:
    return specify(ward.study, "buffered_fedavg", {**CHOICE, "round": number}, model)


async def following(stream: Stream) -> Total:
    return await asyncio.wait_for(anext(aiter(stream)), 90)


def contribution(ward: Ward, site: SiteName, task: Task) -> np.ndarray:
    """What a hospital trains, without the services."""
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
    }
    columns = computable(ward.study, ward.hospitals[site].custody.table)
    return compute(columns, request, task.model)


def truth(
    ward: Ward, trained: Mapping[SiteName, Task], stale: Mapping[SiteName, int] | None = None
):
    """The total of what these hospitals trained, each scaled by how stale it is."""
    return np.sum(
        [
            scaled(contribution(ward, site, trained[site]), (stale or {}).get(site, 0))
            for site in trained
        ],
        axis=0,
    )


class Gated(InlineWorker):
    """A worker that trains when it is let; ``calls`` counts how often it was asked to."""

    def __init__(self) -> None:
        super().__init__(ENTRY)
        self.gate = asyncio.Event()
        self.calls = 0

    async def call(self, request: Mapping[str, object], array: object = None) -> np.ndarray:
        self.calls += 1
        await self.gate.wait()
        return await super().call(request, array)


async def gated(ward: Ward, site: SiteName) -> Gated:
    """Have a hospital's agent run over a gated worker from its next start on."""
    worker = Gated()
    ward.hospitals[site].worker = worker
    await ward.hospitals[site].kill()
    await ward.hospitals[site].start()
    return worker


async def slowed(ward: Ward) -> tuple[Gated, Stream]:
    """A stream whose first version one hospital still trains from after three totals."""
    slow = await gated(ward, FIRST)
    training = asyncio.Event()
    for site in REST:
        ward.hospitals[site].line.before = lambda kind: training.wait() if kind == "ready" else None
    stream = ward.driver.stream(question(ward))
    for number in range(3):
        work = asyncio.create_task(following(stream))
        await until(lambda: slow.calls == 1)
        training.set()
        assert (await work).survivors == REST
        stream.publish(START + number + 1)
    await ward.hospitals[REST[0]].kill()
    slow.gate.set()
    return slow, stream


@pytest.mark.parametrize("mode", ["in process", "https"])
async def test_each_total_is_the_sum_of_what_ready_hospitals_trained(
    mode: str, tmp_path: Path
) -> None:
    async with open_ward(tmp_path, mode, **agreed(sites=4)) as ward:
        stream = ward.driver.stream(question(ward))
        model = START
        for number in range(3):
            total = await following(stream)
            assert total.survivors == SITES
            assert total.round == f"{ward.driver.exchange.run}.s0.c.{number:06d}"
            task = question(ward, model, number)
            np.testing.assert_allclose(
                total.values, truth(ward, dict.fromkeys(SITES, task)), atol=1e-6
            )
            model = model + 0.1 * (number + 1)
            stream.publish(model)
        await stream.aclose()


async def test_the_algorithm_goes_on_with_rounds_over_everyone(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed()) as ward:
        before = await ward.driver.sum(ward.task())
        stream = ward.driver.stream(question(ward))
        await following(stream)
        await stream.aclose()
        after = await asyncio.wait_for(ward.driver.sum(ward.task("moments")), 20)
        assert before.survivors == after.survivors == SITES


async def test_nobody_waits_for_a_slow_hospital_and_its_work_counts_for_less(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, **agreed()) as ward:
        slow, stream = await slowed(ward)
        total = await following(stream)
        assert total.survivors == tuple(sorted({FIRST, *REST[1:]}))
        fresh = question(ward, START + 3.0, 3)
        trained = dict.fromkeys(REST[1:], fresh) | {FIRST: question(ward)}
        expected = truth(ward, trained, {FIRST: 3})
        np.testing.assert_allclose(total.values, expected, atol=1e-6)
        assert slow.calls == 1


async def test_beyond_the_maximum_staleness_a_hospital_starts_anew(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed(maximum_staleness=1)) as ward:
        slow, stream = await slowed(ward)
        total = await following(stream)
        fresh = question(ward, START + 3.0, 3)
        trained = dict.fromkeys((FIRST, *REST[1:]), fresh)
        np.testing.assert_allclose(total.values, truth(ward, trained), atol=1e-6)
        assert slow.calls == 2


@pytest.mark.parametrize("stage", ["ready", "cohort", "deal", "packet", "vote", "shares"])
async def test_the_coordinator_dies_at(stage: str, tmp_path: Path) -> None:
    """It dies when the first statement of this kind was accepted in the second cohort."""
    async with open_ward(tmp_path, **agreed(sites=4)) as ward:
        stream = ward.driver.stream(question(ward))
        first = await following(stream)
        reached = asyncio.Event()

        def tell(kind: str) -> None:
            if kind == stage:
                reached.set()

        for one in ward.hospitals.values():
            one.line.after = tell
        stream.publish(START + 1.0)
        work = asyncio.create_task(following(stream))
        await asyncio.wait_for(reached.wait(), 10)
        work.cancel()
        await ward.crash()

        driver = await ward.restart()
        again = driver.stream(question(ward))
        replayed = await following(again)
        driver.say("algorithm", done=1)
        assert ward.coordinator.steps_opened == 1
        np.testing.assert_array_equal(replayed.values, first.values)
        assert (replayed.survivors, replayed.round) == (first.survivors, first.round)
        again.publish(START + 1.0)
        total = await following(again)
        driver.say("algorithm", done=2)
        assert [facts["done"] for event, facts in ward.said if event == "algorithm"] == [2]
        assert total.survivors == SITES
        trained = dict.fromkeys(SITES, question(ward, START + 1.0, 1))
        np.testing.assert_allclose(total.values, truth(ward, trained), atol=1e-6)
        assert len(ward.entries("total")) == 2
        assert all(one.line.kinds().count("packet") >= 2 for one in ward.hospitals.values())


async def test_the_coordinator_dies_when_the_total_is_stored_and_the_cohort_not_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ward(tmp_path, **agreed(sites=4)) as ward:

        def dies(_streaming: Streaming, _sequence: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Streaming, "over", dies)
            with pytest.raises(KeyboardInterrupt):
                await anext(ward.driver.stream(question(ward)))
        (total,) = ward.entries("total")
        await ward.crash()
        stream = (await ward.restart()).stream(question(ward))
        assert (await following(stream)).round == total.facts["round"]
        stream.publish(START + 1.0)
        second = await following(stream)
        trained = dict.fromkeys(SITES, question(ward, START + 1.0, 1))
        np.testing.assert_allclose(second.values, truth(ward, trained), atol=1e-6)


async def test_payloads_that_outlast_their_cohort_are_gone_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(_spool: Spool, _round: str) -> None:
        raise KeyboardInterrupt

    async with open_ward(tmp_path, **agreed(sites=4)) as ward:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "drop", dies)
            with pytest.raises(KeyboardInterrupt):
                await anext(ward.driver.stream(question(ward)))
        spool = tmp_path / "coordinator" / "spool"
        assert any(spool.iterdir())
        await ward.crash()
        await ward.restart()
        assert not any(spool.iterdir())


async def test_what_the_power_took_of_a_cohorts_payloads_is_sent_again(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed(sites=4)) as ward:
        restarted = asyncio.Event()
        for one in ward.hospitals.values():
            one.line.before = lambda kind: restarted.wait() if kind == "shares" else None
        work = asyncio.create_task(following(ward.driver.stream(question(ward))))
        await until(lambda: len(ward.entries("vote")) == len(SITES))
        work.cancel()
        await ward.crash()
        payloads = [one for one in (tmp_path / "coordinator").glob("spool*/*/*") if one.is_file()]
        assert len(payloads) == len(SITES)
        for one in payloads:
            one.write_bytes(b"")
        driver = await ward.restart()
        restarted.set()
        total = await following(driver.stream(question(ward)))
        assert total.survivors == SITES
        trained = dict.fromkeys(SITES, question(ward))
        np.testing.assert_allclose(total.values, truth(ward, trained), atol=1e-6)


@pytest.mark.parametrize("stage", ["ready", "cohort", "deal"])
async def test_a_hospital_that_restarts_before_everybody_dealt_costs_a_cohort_at_most(
    stage: str, tmp_path: Path
) -> None:
    async with open_ward(tmp_path, **agreed(sites=4)) as ward:
        hospital = ward.hospitals[FIRST]
        hospital.line.die_after(stage)
        stream = ward.driver.stream(question(ward))
        work = asyncio.create_task(following(stream))
        await until(lambda: stage in hospital.line.kinds())
        await hospital.kill()
        hospital.line.after = lambda _kind: None
        await hospital.start()
        total = await work
        survivors = REST if stage == "deal" else SITES  # then all had dealt, and three suffice
        assert total.survivors == survivors
        trained = dict.fromkeys(survivors, question(ward))
        np.testing.assert_allclose(total.values, truth(ward, trained), atol=1e-6)
        others = [ward.hospitals[site] for site in REST]
        assert all(one.line.kinds().count("packet") == 1 for one in others)
        assert all(sum(kind == "trained" for kind, _ in one.events) == 1 for one in others)


@pytest.mark.parametrize(
    ("stage", "survivors"), [("packet", REST), ("vote", SITES), ("shares", SITES)]
)
async def test_a_hospital_that_dies_after_the_deals_costs_nothing_within_what_is_tolerated(
    stage: str, survivors: tuple[SiteName, ...], tmp_path: Path
) -> None:
    async with open_ward(tmp_path, **agreed(sites=4, dropouts=1)) as ward:
        ward.hospitals[FIRST].line.die_before(stage)
        total = await following(ward.driver.stream(question(ward)))
        assert total.survivors == survivors
        trained = dict.fromkeys(survivors, question(ward))
        np.testing.assert_allclose(total.values, truth(ward, trained), atol=1e-6)


async def test_what_was_masked_goes_into_no_other_cohort(tmp_path: Path) -> None:
    """A cohort that fails after the packets may be opened by its coordinator all the same."""
    changes = agreed(sites=4)
    changes["cohort"]["deadline_s"] = 15.0
    async with open_ward(tmp_path, **changes) as ward:
        for site in SITES[:2]:
            ward.hospitals[site].line.die_before("packet")
        stream = ward.driver.stream(question(ward))
        work = asyncio.create_task(code_of(following(stream)))
        others = [ward.hospitals[site] for site in SITES[2:]]
        await until(lambda: all("WR-SITE-029" in one.refusals() for one in others))
        assert all(one.line.kinds().count("packet") == 1 for one in others)
        assert await work == "WR-ROUND-040"
        assert ward.entries("total") == []


async def test_without_enough_hospitals_the_stream_ends_with_a_code(tmp_path: Path) -> None:
    changes = agreed()
    changes["cohort"]["deadline_s"] = 1.0
    async with open_ward(tmp_path, **changes) as ward:
        for site in SITES[:2]:
            await ward.hospitals[site].kill()
        assert await code_of(following(ward.driver.stream(question(ward)))) == "WR-ROUND-040"


async def test_another_question_or_model_stops_a_resumed_stream(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed()) as ward:
        stream = ward.driver.stream(question(ward))
        await following(stream)
        stream.publish(START + 1.0)
        await ward.crash()
        driver = await ward.restart()
        with pytest.raises(Exception, match="WR-ROUND-003"):
            driver.stream(question(ward, START + 5.0))
        again = ward.drive().stream(question(ward))
        await following(again)
        with pytest.raises(Exception, match="WR-ROUND-003"):
            again.publish(START + 2.0)


async def test_a_study_without_late_cohorts_has_no_stream(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        with pytest.raises(Exception, match="WR-STUDY-154"):
            ward.driver.stream(ward.task())


async def test_a_round_over_everyone_does_not_get_what_a_stream_asks_for(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed()) as ward:
        assert await code_of(ward.driver.sum(question(ward))) == "WR-ROUND-002"
        assert all(one.refusals() == ["WR-SITE-131"] for one in ward.hospitals.values())


async def test_nothing_that_a_hospital_holds_is_on_its_disk(tmp_path: Path) -> None:
    """Between training and the cohort, the contribution is in memory alone."""
    async with open_ward(tmp_path, **agreed(sites=4)) as ward:
        slow = await gated(ward, FIRST)
        work = asyncio.create_task(following(ward.driver.stream(question(ward))))
        hospital = ward.hospitals[REST[0]]
        await until(lambda: "ready" in hospital.line.kinds())
        values = contribution(ward, REST[0], question(ward))
        files = [path for path in hospital.folder.rglob("*") if path.is_file()]
        held = [one.tobytes() for one in values if one not in (0.0, 1.0)]
        assert held and files
        assert not any(value in path.read_bytes() for path in files for value in held)
        slow.gate.set()
        assert (await work).survivors == SITES


def told(ward: Ward) -> tuple[str, str, str]:
    """Where the run is, for what it waits and what comes next, as an operator reads it."""
    found = ward.coordinator.timeline()
    (stage,) = found.stages
    return (
        words.place(found, stage),
        words.waiting(found, stage).partition(", since")[0],
        words.following(found, stage),
    )


def member(
    ward: Ward,
    streaming: Streaming,
    version: int,
    expires: int,
    site: SiteName = FIRST,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> LateMember:
    """A site that says ready, whether that is true or not."""
    return LateMember(
        ward.study.digest,
        streaming.run,
        site,
        ward.keys.sites[site],
        ward.study.site_keys,
        ward.study.late_terms,
        streaming.question.hash,
        streaming.versions[version].model,
        expires,
        lambda _bond: None,
        random_bytes=random_bytes,
    )


async def test_two_sites_that_share_a_key_end_no_run(tmp_path: Path) -> None:
    """The attack: every member would refuse the cohort, and the coordinator before them."""
    async with open_ward(tmp_path, start=False, **agreed(sites=4)) as ward:
        ward.drive()
        streaming = ward.coordinator.open_stream(question(ward), 0)
        intake, shared = LateIntake(streaming), secrets.token_bytes(32)
        for number, site in enumerate(SITES):
            first = iter([shared] if number < 2 else [])

            def drawn(size: int, first: Iterator[bytes] = first) -> bytes:
                return next(first, secrets.token_bytes(size))

            said = member(ward, streaming, 0, 0, site, drawn).offer()
            if number == 1:
                with pytest.raises(WardroundError, match="WR-SECAGG-007"):
                    intake.accept(site, "ready", said.ready, said.advert.to_json())
            else:
                intake.accept(site, "ready", said.ready, said.advert.to_json())
        assert streaming.forming() is None, "one of the four is not taken"


async def test_one_site_cannot_spoil_the_evidence_with_what_is_stale_or_was_given(
    tmp_path: Path,
) -> None:
    """The attack: verification refuses a run with such a contribution in it, for everybody."""
    late = agreed(sites=4, maximum_staleness=1)
    async with open_ward(tmp_path, start=False, **late) as ward:
        ward.drive()
        streaming = ward.coordinator.open_stream(question(ward), 0)
        streaming.publish(1, START + 1.0)
        streaming.publish(2, START + 2.0)

        def say(version: int, expires: int) -> str | None:
            said = member(ward, streaming, version, expires).offer()
            intake = LateIntake(streaming)
            try:
                intake.accept(FIRST, "ready", said.ready, said.advert.to_json())
            except WardroundError as error:
                return error.code
            return None

        assert say(0, 0) == "WR-COORD-070", "two versions behind, and one is allowed"
        assert say(1, 1) == "WR-COORD-070", "by cohort 1 it may be"
        assert say(1, 0) is None and say(2, 1) is None
        assert say(2, 2) == "WR-COORD-070"
        given = member(ward, streaming, 2, 0).offer()
        scope = f"{streaming.run}.c.000000"
        with streaming.state.transaction() as transaction:
            for kind in ("ready", "packet"):
                sent = Sent(given.ready, b"")
                save_statement(transaction.connection, scope, kind, FIRST, sent)
        assert say(2, 0) == "WR-COORD-070", "it masked that, whatever became of the cohort"
        assert say(1, 0) is None


async def test_a_flood_of_ready_statements_fills_neither_journal_nor_database(
    tmp_path: Path,
) -> None:
    """The attack: an enrolled site says ready without end, each time with fresh keys."""
    async with open_ward(tmp_path, start=False, **agreed(sites=4)) as ward:
        ward.drive()
        streaming = ward.coordinator.open_stream(question(ward), 0)
        intake = LateIntake(streaming)

        def flood(times: int) -> Counter[str]:
            heard: Counter[str] = Counter()
            for _ in range(times):
                said = member(ward, streaming, len(streaming.versions) - 1, 0).offer()
                try:
                    intake.accept(FIRST, "ready", said.ready, said.advert.to_json())
                except WardroundError as error:
                    heard[error.code] += 1
                else:
                    heard["taken"] += 1
            return heard

        assert flood(200) == {"taken": MOST_WASTED + 1, "WR-COORD-090": 200 - MOST_WASTED - 1}
        assert len(streaming.offers) == 1
        streaming.on_restart(FIRST)
        assert not streaming.offers and not streaming.trains(FIRST), "nor is it asked again"
        leaves, size = (
            len(ward.entries("ready")),
            len(GATHERING.dump_json(streaming.gathering.state)),
        )
        assert flood(300) == {"WR-COORD-090": 300}
        assert len(ward.entries("ready")) == leaves
        assert len(GATHERING.dump_json(streaming.gathering.state)) == size
        refusals = [one.facts["number"] for one in ward.entries("refused") if "number" in one.facts]
        assert len(ward.entries("refused")) == EACH + 2 and refusals == [128, 256]
        again = Streaming(
            ward.study,
            ward.keys.coordinator,
            ward.coordinator.state,
            ward.coordinator.blobs,
            ward.coordinator.spool,
            streaming.run,
            lambda: datetime.now(UTC),
            question(ward),
            lambda _streaming: None,
        )
        assert not again.trains(FIRST), "a restart forgets none of it"
        streaming.publish(1, START + 1.0)
        assert streaming.trains(FIRST)
        assert flood(1) == {"taken": 1}, "what it says of the next version is heard"
        flood(100)
        streaming.on_restart(FIRST)
        assert FIRST in streaming.stalled().problem
        assert flood(1) == {"taken": 1}, "and when the run has ended for it, and is started again"


async def test_no_site_breaks_a_cohort_that_is_being_formed_by_saying_ready_anew(
    tmp_path: Path,
) -> None:
    """The attack: each new statement would kill the cohort and cost all others new keys."""
    async with open_ward(tmp_path, start=False, **agreed(sites=4)) as ward:
        ward.drive()
        streaming = ward.coordinator.open_stream(question(ward), 0)
        intake = LateIntake(streaming)
        offers = {site: member(ward, streaming, 0, 0, site).offer() for site in SITES}
        for site, one in offers.items():
            intake.accept(site, "ready", one.ready, one.advert.to_json())
        cohort = streaming.forming()
        assert cohort is not None
        for _ in range(20):
            said = member(ward, streaming, 0, 1).offer()
            with pytest.raises(WardroundError, match="WR-COORD-091"):
                intake.accept(FIRST, "ready", said.ready, said.advert.to_json())
        first = offers[FIRST]
        intake.accept(FIRST, "ready", first.ready, first.advert.to_json())
        assert streaming.forming() == cohort, "sent again, it is the statement that was taken"
        assert len(ward.entries("ready")) == len(SITES)


async def test_one_site_cannot_have_all_others_refuse_a_cohort_by_how_it_deals(
    tmp_path: Path,
) -> None:
    """The attack: a deal that names another batch is over the same keys and roster, and each other
    member refuses the set-up for it, over and over."""
    async with open_ward(tmp_path, start=False, **agreed(sites=4)) as ward:
        ward.drive()
        streaming = ward.coordinator.open_stream(question(ward), 0)
        intake = LateIntake(streaming)
        members = {site: member(ward, streaming, 0, 0, site) for site in SITES}
        offers = {site: one.offer() for site, one in members.items()}
        for site, one in offers.items():
            intake.accept(site, "ready", one.ready, one.advert.to_json())
        cohort = streaming.forming()
        signed = {site: one.sign(cohort.manifest, offers) for site, one in members.items()}
        for site, envelope in signed.items():
            intake.accept(site, "cohort", envelope, b"")
        honest, sealed = members[FIRST].deal(signed)
        blobs = {site: base64.b64encode(blob).decode() for site, blob in sealed.items()}
        deal = Deal.open(honest, ward.study.site_keys[FIRST])
        lie = replace(deal, batch=f"{streaming.run}.b.000000").sign(ward.keys.sites[FIRST])
        with pytest.raises(WardroundError, match="WR-COORD-025"):
            intake.accept(FIRST, "deal", lie, orjson.dumps(blobs))
        intake.accept(FIRST, "deal", honest, orjson.dumps(blobs))


async def test_a_version_refused_twice_breaks_nobody_elses_commit(tmp_path: Path) -> None:
    """The attack: one site says no again, and what others had said is dropped with it."""
    async with open_ward(tmp_path, start=False, **agreed(sites=4)) as ward:
        run = ward.drive().exchange.run
        streaming = ward.coordinator.open_stream(question(ward), 0)
        intake = LateIntake(streaming)
        for incident in ("7KQ2-M9XA", "8KQ2-M9XA"):
            no = Refused(
                study=ward.study.digest,
                run=f"{run}.s0",
                scope=version_scope(streaming.run, 0),
                site=FIRST,
                incident=incident,
            )
            intake.accept(FIRST, "refusal", no.sign(ward.keys.sites[FIRST]), b"")
        assert len(ward.entries("refusal")) == 1 and not streaming.trains(FIRST)


async def test_the_timeline_says_who_trains_signs_and_deals(tmp_path: Path) -> None:
    async with open_ward(tmp_path, **agreed(sites=4, sum_deadline_s=30.0)) as ward:
        slow, line = await gated(ward, FIRST), ward.hospitals[FIRST].line
        work = asyncio.create_task(following(ward.driver.stream(question(ward))))
        await until(lambda: all("ready" in ward.hospitals[one].line.kinds() for one in REST))
        await until(lambda: slow.calls == 1)
        where, waits, follows = told(ward)
        assert where == "cohort 1 of whoever is ready"
        assert waits == f"word that it is ready of {FIRST}"
        assert follows.startswith("as soon as enough are ready")
        gates = {kind: asyncio.Event() for kind in ("cohort", "deal", "packet")}
        line.before = lambda kind: gates[kind].wait() if kind in gates else None
        slow.gate.set()
        expected = [
            ("cohort", f"signature under the cohort's manifest of {FIRST}"),
            ("deal", f"key shares of {FIRST}"),
            ("packet", f"contribution of {FIRST}"),
        ]
        for kind, sentence in expected:
            await until(lambda sentence=sentence: told(ward)[1] == sentence)
            assert told(ward)[0] == "cohort 1 of whoever is ready"
            gates[kind].set()
        await work
        found = ward.coordinator.timeline()
        assert (found.rounds, found.steps) == (1, 1)
        assert {lane.marks for lane in found.lanes} == {(Mark.ANSWERED,)}


async def test_cohorts_stand_in_the_lanes_between_the_rounds_as_they_came(tmp_path: Path) -> None:
    changes = agreed()
    changes["cohort"] |= {"rounds_per_setup": 1}  # whoever is started again has lost its keys
    async with open_ward(tmp_path, **changes) as ward:
        await ward.driver.sum(ward.task())
        _, stream = await slowed(ward)
        await following(stream)
        await stream.aclose()
        await ward.hospitals[REST[0]].start()
        await asyncio.wait_for(ward.driver.sum(ward.task("moments")), 30)
        found = ward.coordinator.timeline()
        assert (found.rounds, found.steps) == (6, 6)
        yes, no = Mark.ANSWERED, Mark.NOT_READY
        lanes = {FIRST: (no, no, no, yes), REST[0]: (yes, yes, yes, no)}
        for lane in found.lanes:
            assert lane.marks == (yes, *lanes.get(lane.site, (yes,) * 4), yes)
        assert words.tally(found.lane(FIRST)) == "3 of 3", "nobody waits for it to be ready"
        page = Console(width=120, file=io.StringIO(), color_system=None)
        page.print(picture(found, 120), markup=False)
        text = page.file.getvalue()
        assert "●···●●" in text and "●●●●·●" in text
