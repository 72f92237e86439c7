"""Totals that are garbage: never used, never told, and whoever can be named is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ward import SITES, Hospital, Ward, open_ward, until
from wardround.coordinator import records
from wardround.coordinator.driver import Driver
from wardround.coordinator.opening import Garbage
from wardround.errors import WardroundError
from wardround.federation.round import RoundPhase
from wardround.secagg import Unmasking
from wardround.site.tables import packets
from wardround.trust.canonical import digest

FIRST, SECOND, REST = SITES[0], SITES[1], SITES[1:]
NOBODY = "Every packet is as its hospital signed it"
OTHERS = "Every other packet is as its hospital signed it"

Fault = Callable[[Ward], None]


def masks_for_another_manifest(ward: Ward) -> None:
    seat = ward.hospitals[FIRST].agent._seat
    mask = seat.mask

    def wrongly(manifest, manifest_digest, values) -> None:
        mask(manifest, digest(b"another manifest"), values)
        seat._masked = (manifest, manifest_digest)

    seat.mask = wrongly


def flips_a_bit_before_signing(ward: Ward, site: str = FIRST) -> None:
    door = ward.hospitals[site].agent._door
    sign = door._sign

    def flipped(order, ring, *more):
        ring[0] ^= np.uint64(1 << 17)
        return sign(order, ring, *more)

    door._sign = flipped


def flips_a_lane(ward: Ward) -> None:
    door = ward.hospitals[FIRST].agent._door
    sign = door._sign

    def flipped(order, ring, *more):
        ring[-1] ^= np.uint64(1 << 63)
        return sign(order, ring, *more)

    door._sign = flipped


def encodes_beyond_its_bound(ward: Ward) -> None:
    """And so are its lanes: its check of the bound is broken, or it lies."""
    door = ward.hospitals[FIRST].agent._door
    encode = door._encode

    def beyond(order, values):
        ring = encode(order, values)
        ring[0] += np.uint64(1 << 62)
        return ring

    door._encode = beyond


def copy_rots(ward: Ward) -> None:
    """Accepted as signed, and altered on the coordinator's disk before it is summed."""
    opened = ward.driver._open_ring

    def rotten(state, encoding):
        path = ward.driver.exchange.spool.path(state.round, SECOND)
        content = bytearray(path.read_bytes())
        content[11] ^= 4
        path.write_bytes(content)
        ward.driver._open_ring = opened
        return opened(state, encoding)

    ward.driver._open_ring = rotten


def spool_rots(hospital: Hospital) -> None:
    """What the site spooled changes after it was sent."""

    def rot(kind: str) -> None:
        if kind == "packet":
            (path,) = hospital.custody.spool.iterdir()
            path.write_bytes(path.read_bytes()[::-1])

    hospital.line.after = rot


async def outcome(ward: Ward, driver: Driver | None = None) -> str:
    """The failure of a step that opens garbage; checks that nothing of the total is anywhere."""
    seen: list[np.ndarray] = []
    unmask = Unmasking.unmask

    def watched(self: Unmasking, chunk: np.ndarray, offset: int = 0) -> None:
        unmask(self, chunk, offset)
        seen.append(chunk if chunk.base is None else chunk.base)

    Unmasking.unmask = watched
    try:
        with pytest.raises(WardroundError) as caught:
            await asyncio.wait_for((driver or ward.driver).sum(ward.task()), 30)
    finally:
        Unmasking.unmask = unmask
    assert caught.value.code == "WR-ROUND-010"
    assert all(not whole.any() for whole in seen), "the total was wiped"
    exchange = ward.coordinator.exchange
    assert exchange.round.state.phase is RoundPhase.GARBAGE
    with ward.coordinator.state.database.begin() as connection:
        assert records.load_total(connection, exchange.run, 0) is None
    assert ward.entries("total") == []
    assert not any((ward.folder / "coordinator" / "blobs").glob("*")), "nothing was stored"
    (garbage,) = ward.entries("garbage")
    assert set(garbage.facts) == {"round", "failed"}
    (audited,) = ward.entries("audited")
    assert set(audited.facts) == {"round", "answers", "altered_here"}
    assert not any((ward.folder / "coordinator" / "spool").iterdir()), "the packets are gone"
    return str(caught.value)


def failed(ward: Ward) -> object:
    return list(ward.entries("garbage")[0].facts["failed"])


def answers(ward: Ward) -> dict[str, str]:
    return dict(ward.entries("audited")[0].facts["answers"])


AS_SIGNED = dict.fromkeys(SITES, "as-signed")


@pytest.mark.parametrize(
    ("fault", "check", "mode"),
    [
        (masks_for_another_manifest, "checksum", "in process"),
        (flips_a_bit_before_signing, "checksum", "https"),
        (flips_a_lane, "checksum", "in process"),
        (encodes_beyond_its_bound, "bounds", "in process"),
    ],
)
async def test_what_a_site_did_wrong_before_signing_is_found_and_nobody_is_blamed(
    fault: Fault, check: str, mode: str, tmp_path: Path
) -> None:
    async with open_ward(tmp_path, mode, cohort={"deadline_s": 10.0}) as ward:
        fault(ward)
        error = await outcome(ward)
        assert NOBODY in error
        assert not any(site in error for site in SITES)
        assert check in failed(ward)
        assert ("checksum" in failed(ward)) == (check == "checksum")
        assert answers(ward) == AS_SIGNED
        for one in ward.hospitals.values():
            (leaf,) = [entry for entry in one.entries() if entry.kind == "audit"]
            assert set(leaf.facts) == {"round", "packet", "answer"}
        assert len(ward.entries("audit")) == len(SITES)


async def test_a_copy_that_rotted_at_the_coordinator_is_its_own_fault(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        copy_rots(ward)
        error = await outcome(ward)
        assert f"coordinator's own copy of the packet of {SECOND} is not what was" in error
        assert NOBODY not in error and OTHERS not in error
        assert answers(ward) == AS_SIGNED
        assert list(ward.entries("audited")[0].facts["altered_here"]) == [SECOND]


async def test_a_site_whose_spool_rotted_is_named(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        flips_a_bit_before_signing(ward)
        spool_rots(ward.hospitals[FIRST])
        error = await outcome(ward)
        assert answers(ward) == {**AS_SIGNED, FIRST: "spool-differs"}
        assert f"At {FIRST}, what was spooled has changed" in error
        assert OTHERS in error, "it may be why, and need not"


async def test_a_site_that_lost_its_record_says_so(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        flips_a_bit_before_signing(ward)
        hospital = ward.hospitals[SECOND]

        def forget(kind: str) -> None:
            if kind == "packet":  # as when an older backup is put back
                with hospital.agent._state.database.begin(write=True) as connection:
                    connection.execute(packets.delete())

        hospital.line.after = forget
        error = await outcome(ward)
        assert answers(ward) == {**AS_SIGNED, SECOND: "not-mine"}
        assert f"According to {SECOND}" in error
        assert OTHERS not in error


async def test_a_site_that_does_not_answer_is_named_as_such(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 1.0}) as ward:
        flips_a_bit_before_signing(ward)
        ward.hospitals[SECOND].line.die_before("audit")
        error = await outcome(ward)
        assert answers(ward) == {**AS_SIGNED, SECOND: "no answer"}
        assert f"{SECOND} did not answer the audit in time." in error
        assert OTHERS in error


async def test_an_agent_that_restarts_answers_from_its_record(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        flips_a_bit_before_signing(ward)
        hospital = ward.hospitals[SECOND]
        hospital.line.die_before("audit")
        work = asyncio.create_task(outcome(ward))
        await until(lambda: ward.entries("garbage"))
        await hospital.kill()
        hospital.line.before = lambda _kind: None
        await hospital.start()
        assert NOBODY in await work
        assert answers(ward) == AS_SIGNED


async def test_a_coordinator_that_dies_in_the_audit_goes_on_with_it(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        flips_a_bit_before_signing(ward)
        hospital = ward.hospitals[SECOND]
        gate = asyncio.Event()
        hospital.line.before = lambda kind: gate.wait() if kind == "audit" else None
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: len(ward.entries("audit")) == len(REST))
        work.cancel()
        await ward.crash()
        gate.set()
        driver = await ward.restart()
        assert NOBODY in await outcome(ward, driver)
        assert answers(ward) == AS_SIGNED


async def test_the_verdict_outlasts_a_restart_and_no_second_round_is_tried(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0, "attempts": 3}) as ward:
        flips_a_bit_before_signing(ward)
        first = await outcome(ward)
        await ward.crash()
        driver = await ward.restart()
        assert await outcome(ward, driver) == first
        assert len(ward.entries("manifest")) == 1


async def test_a_crash_between_verdict_and_wiping_leaves_no_packets(tmp_path: Path) -> None:
    """Packets and the shares in the database would give the wiped total back."""
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        flips_a_bit_before_signing(ward)
        await outcome(ward)
        state = ward.driver.exchange.round.state
        await ward.crash()
        left = tmp_path / "coordinator" / "spool" / "left"
        path = ward.driver.exchange.spool.path(state.round, FIRST)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a packet that outlasted the crash")
        assert left.parent.exists()
        driver = await ward.restart()
        await outcome(ward, driver)
        assert not path.exists()


async def test_a_fault_that_passes_costs_no_task(tmp_path: Path) -> None:
    """A machine that adds wrongly once: the same packets are added up again."""
    async with open_ward(tmp_path) as ward:
        opened = ward.driver._open_ring

        def once(state, encoding):
            ward.driver._open_ring = opened
            raise Garbage(("checksum",))

        ward.driver._open_ring = once
        total = await asyncio.wait_for(ward.driver.sum(ward.task()), 30)
        assert total.survivors == SITES
        assert "added-again" in [event for event, _ in ward.said]
        assert ward.entries("garbage") == []
