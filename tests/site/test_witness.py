"""Ledgers under each other's eyes: nobody's can be turned back while others remember it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete

from private_study import ME, PRIVACY, Books, manifest, private
from studies import KEYS
from ward import SITES, Ward, open_ward, until
from wardround.coordinator import ledgers
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.tables import ledgers as heard
from wardround.errors import WardroundError
from wardround.federation.messages import LedgerHead, LedgerReport, Manifest, PacketHeader
from wardround.ids import SiteName
from wardround.site.door import Door
from wardround.site.witness import Witnesses
from wardround.study import HospitalPolicy, Study, Task
from wardround.trust.canonical import digest

PEER, OTHER = SiteName("lakeside"), SiteName("st-anna")


class Eyes(Books):
    """A hospital's ledger, and what it remembers of others'."""

    @property
    def witnesses(self) -> Witnesses:
        return Witnesses(self.study, self.site, self.ledger)

    def see(self, number: int = 0, **heads: LedgerHead) -> None:
        """Check and answer a manifest with these heads."""
        shown = showing(self.study, number, **heads)
        with self.state.database.begin() as connection:
            self.witnesses.check(connection, shown)
        with self.state.database.begin(write=True) as connection:
            self.witnesses.remember(connection, shown)

    def expect(self, shown: Manifest, *survivors: SiteName) -> None:
        """Vote for these survivors."""
        with self.state.database.begin(write=True) as connection:
            self.witnesses.expect(connection, shown, survivors)

    def start(self, report: LedgerReport) -> None:
        """What the agent does with the coordinator's report."""
        with self.state.database.begin() as connection:
            self.witnesses.check_report(connection, report)


@pytest.fixture
def eyes(tmp_path: Path) -> Eyes:
    return Eyes(tmp_path)


def showing(study: Study, number: int = 0, **heads: LedgerHead) -> Manifest:
    names = {SiteName(name.replace("_", "-")): head for name, head in heads.items()}
    return manifest(study, number).model_copy(update={"ledgers": names})


def head(size: int, what: str = "entry") -> LedgerHead:
    return LedgerHead(size=size, digest=digest(f"{what} {size}".encode()))


def header(study: Study, site: SiteName, to: Manifest, ledger: LedgerHead) -> PacketHeader:
    return PacketHeader(
        study=study.digest,
        run=to.run,
        step=to.step,
        round=to.round,
        task=to.task,
        manifest=digest(to.to_payload()),
        site=site,
        payload=digest(b"payload"),
        size_bytes=1,
        part_bytes=1,
        ledger=ledger,
    )


def code(call, *arguments, **keywords) -> str:
    with pytest.raises(WardroundError) as error:
        call(*arguments, **keywords)
    return error.value.code


# In each manifest


def test_a_ledger_that_only_grows_is_let_pass(eyes: Eyes) -> None:
    eyes.see()
    eyes.see(lakeside=head(1))
    eyes.see(lakeside=head(1), st_anna=head(4))
    eyes.see(lakeside=head(7), st_anna=head(4))


@pytest.mark.parametrize("now", [{"lakeside": head(4)}, {"lakeside": head(5, "another")}, {}])
def test_a_peers_ledger_that_went_back_forked_or_was_left_out(
    eyes: Eyes, now: dict[str, LedgerHead]
) -> None:
    eyes.see(lakeside=head(5))
    eyes.reopen()
    assert code(eyes.see, 1, **now) == "WR-SITE-101"
    eyes.see(2, lakeside=head(5))


def test_what_another_coordinator_says_of_a_peer_counts_for_its_studies_alone(eyes: Eyes) -> None:
    eyes.see(lakeside=head(1_000_000))
    plain = private().model_dump(mode="json", by_alias=True, exclude_none=True)
    plain["coordinator"]["signing_key"] = KEYS["coordinator"].generate().public.text
    eyes.reopen(Study.parse(plain))
    eyes.see(lakeside=head(5))


def test_ones_own_head_is_one_that_was(eyes: Eyes) -> None:
    first, second = eyes.charge(), eyes.charge()
    eyes.see(harbour=first)
    eyes.see(harbour=second)
    assert code(eyes.see, harbour=head(3)) == "WR-SITE-094"
    assert code(eyes.see, harbour=head(2)) == "WR-SITE-094"


def test_who_survived_a_round_was_charged_for_it(eyes: Eyes) -> None:
    """A coordinator that shows no heads at all, from the first manifest on, is found out."""
    first = showing(eyes.study)
    eyes.see()
    for _ in range(2):  # a vote that is asked for again says nothing new
        eyes.expect(first, PEER)
    eyes.reopen()
    assert code(eyes.see, 1) == "WR-SITE-101"
    assert code(eyes.see, 1, st_anna=head(4)) == "WR-SITE-101"
    eyes.see(1, lakeside=head(1))
    eyes.expect(showing(eyes.study, 1, lakeside=head(1)), PEER)
    assert code(eyes.see, 2, lakeside=head(1)) == "WR-SITE-101"
    eyes.see(2, lakeside=head(2))
    assert code(eyes.see, 3, lakeside=head(2, "another")) == "WR-SITE-101"


def test_a_head_of_a_stranger(eyes: Eyes) -> None:
    assert code(eyes.see, elsewhere=head(1)) == "WR-SITE-106"


# At the start


def test_a_rolled_back_ledger_refuses_to_start(eyes: Eyes, tmp_path: Path) -> None:
    eyes.charge()
    eyes.close()
    shutil.copy(eyes.path, tmp_path / "yesterday.db")
    eyes.open()
    latest = eyes.charge()
    to = manifest(eyes.study, 2)
    signed = header(eyes.study, ME, to, latest).sign(KEYS[ME])
    eyes.start(LedgerReport(header=signed))
    eyes.close()
    shutil.copy(tmp_path / "yesterday.db", eyes.path)
    for beside in ("-wal", "-shm"):
        eyes.path.with_name(f"state.db{beside}").unlink(missing_ok=True)
    eyes.open()
    assert eyes.verify().size == 1  # in itself, there is nothing wrong with it
    with pytest.raises(WardroundError) as error:
        eyes.start(LedgerReport(header=signed))
    assert error.value.code == "WR-SITE-094"
    assert "has 1 entries, in which 1 answers were charged" in error.value.problem
    assert "has it with 2 entries" in error.value.problem


def test_a_manifest_that_others_answered_counts_as_well(eyes: Eyes) -> None:
    to = showing(eyes.study, 2, harbour=head(2))
    envelope = to.sign(KEYS["coordinator"])
    answers = {PEER: header(eyes.study, PEER, to, head(1)).sign(KEYS[PEER])}
    with pytest.raises(WardroundError, match="WR-SITE-094") as error:
        eyes.start(LedgerReport(manifest=envelope, packets=answers))
    assert "that 1 other hospitals answered" in error.value.problem


def test_a_report_counts_only_what_is_signed_by_whom_it_names(eyes: Eyes) -> None:
    to = showing(eyes.study, 2, harbour=head(2))
    forged = header(eyes.study, ME, to, head(9)).sign(KEYS[PEER])
    assert code(eyes.start, LedgerReport(header=forged)).startswith("WR-TRUST")
    assert code(eyes.start, LedgerReport(manifest=to.sign(KEYS[PEER]))).startswith("WR-TRUST")
    answers = {PEER: header(eyes.study, PEER, to, head(1)).sign(KEYS[OTHER])}
    report = LedgerReport(manifest=to.sign(KEYS["coordinator"]), packets=answers)
    assert code(eyes.start, report).startswith("WR-TRUST")


# Among hospitals and a coordinator


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """Four hospitals in a study with noise."""
    model = {"kind": "logistic", "algorithm": "dp-sgd"}
    async with open_ward(
        tmp_path,
        hospital=HospitalPolicy(),
        profile="private",
        model=model,
        privacy={**PRIVACY, "statistics": {"noise_multiplier": 30.0, "spare": 4}},
        cohort={"rounds_per_setup": 1},  # who was away is back in the next round
    ) as ward:
        yield ward


def asked(ward: Ward) -> Task:
    return ward.task("private_moments")


async def shown(ward: Ward) -> dict[str, int]:
    """How many entries each ledger has in the latest manifest."""
    assert ward.driver.exchange.manifest is not None
    return {site: one.size for site, one in ward.driver.exchange.manifest.ledgers.items()}


async def test_each_manifest_shows_what_was_charged_before(ward: Ward) -> None:
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    assert await shown(ward) == {}
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    assert await shown(ward) == dict.fromkeys(SITES, 1)
    await ward.crash()
    driver = await ward.restart()
    for _ in range(3):  # two of which are known already
        await asyncio.wait_for(driver.sum(asked(ward)), 30)
    assert await shown(ward) == dict.fromkeys(SITES, 2)


async def rolled_back(ward: Ward) -> object:
    """A hospital's agent over the database of the day before."""
    hospital = ward.hospitals[SITES[0]]
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    with (
        closing(sqlite3.connect(hospital.folder / "state.db")) as now,
        closing(sqlite3.connect(hospital.folder / "copy.db")) as backup,
    ):
        now.backup(backup)
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    await hospital.kill()
    await ward.stop_serving()  # its last request would wait for work, and pass for a twin
    await ward.serve()
    for beside in ("-wal", "-shm"):
        (hospital.folder / f"state.db{beside}").unlink(missing_ok=True)
    shutil.copy(hospital.folder / "copy.db", hospital.folder / "state.db")
    return hospital


async def test_an_agent_that_was_rolled_back_refuses_to_start(ward: Ward) -> None:
    hospital = await rolled_back(ward)
    await hospital.start()
    with pytest.raises(WardroundError, match="WR-SITE-094"):
        await asyncio.wait_for(hospital.task, 10)


async def test_one_that_is_not_told_finds_out_in_the_next_manifest(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = await rolled_back(ward)
    nothing = lambda _self, _site: LedgerReport()  # noqa: E731
    monkeypatch.setattr(Coordinator, "ledger_report", nothing)
    await hospital.start()
    await ward.coordinator.wait_for_sites(len(SITES), 10.0)
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)  # over the three others
    assert hospital.refusals() == ["WR-SITE-094"]


async def test_the_others_refuse_a_coordinator_that_hides_it(ward: Ward) -> None:
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    with ward.coordinator.state.database.begin(write=True) as connection:
        connection.execute(delete(heard).where(heard.c.site == SITES[0]))
        assert SITES[0] not in ledgers.heads(connection, SITES)
    with pytest.raises(WardroundError):
        await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    for site in SITES[1:]:
        assert "WR-SITE-101" in ward.hospitals[site].refusals()


async def test_a_coordinator_that_never_shows_a_head_gets_one_total(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else none of its hospitals would ever remember another's ledger."""
    monkeypatch.setattr(ledgers, "heads", lambda _connection, _roster: {})
    await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    with pytest.raises(WardroundError):
        await asyncio.wait_for(ward.driver.sum(asked(ward)), 30)
    for site in SITES:
        assert "WR-SITE-101" in ward.hospitals[site].refusals()


async def test_a_packet_that_was_not_charged_is_not_taken(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "_charge", lambda self, order: None)
    work = asyncio.create_task(ward.driver.sum(asked(ward)))
    await until(lambda: ward.entries("refused"))
    work.cancel()
    assert {one.facts["code"] for one in ward.entries("refused")} == {"WR-COORD-028"}
    assert not ward.entries("packet")
