"""Payloads in the spool: whole or not there, and written over without getting mixed up."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES
from wardround.ids import RoundId, SiteName
from wardround.trust.canonical import digest

ONE, TWO = RoundId("round-1"), RoundId("round-2")
HARBOUR, HILL = SiteName("harbour"), SiteName("hill")
SIZE = PART_BYTES + 1000


def parts(seed: int) -> list[bytes]:
    return [bytes([seed]) * PART_BYTES, bytes([seed + 1]) * 1000]


def put_whole(spool: Spool, round_: RoundId, site: SiteName, seed: int) -> None:
    for number, data in enumerate(parts(seed)):
        spool.put(round_, site, number, data, SIZE)


def test_a_payload_stands_under_its_name_once_it_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    last, first = parts(1)[1], parts(1)[0]
    spool.put(ONE, HARBOUR, 1, last, SIZE)
    assert spool.missing(ONE, HARBOUR, SIZE) == [0]
    assert spool.payload_digest(ONE, HARBOUR, SIZE) is None
    assert not spool.path(ONE, HARBOUR).exists()
    spool.put(ONE, HARBOUR, 0, first, SIZE)
    assert spool.path(ONE, HARBOUR).read_bytes() == first + last
    hashes = b"".join(bytes.fromhex(digest(part).removeprefix("sha256:")) for part in (first, last))
    assert spool.payload_digest(ONE, HARBOUR, SIZE) == digest(hashes)


def test_after_a_restart_the_parts_that_had_arrived_count(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    spool.put(ONE, HILL, 0, parts(3)[0], SIZE)
    with spool.part(ONE, HILL, 1, SIZE) as cut:
        cut.write(parts(3)[1][:-1])
    again = Spool(tmp_path)
    assert again.missing(ONE, HARBOUR, SIZE) == []
    assert again.missing(ONE, HILL, SIZE) == [1]
    again.put(ONE, HILL, 1, parts(3)[1], SIZE)
    assert again.path(ONE, HILL).read_bytes() == b"".join(parts(3))
    assert sorted(one.name for one in again.path(ONE, HILL).parent.iterdir()) == [HARBOUR, HILL]


@pytest.mark.parametrize("kept", [0, 1, PART_BYTES - 1])
def test_a_part_that_the_power_took_is_missing_after_a_restart(tmp_path: Path, kept: int) -> None:
    spool = Spool(tmp_path)
    spool.put(ONE, HILL, 0, parts(3)[0], SIZE)
    os.truncate(spool.path(ONE, HILL).with_suffix(".part"), kept)
    assert Spool(tmp_path).missing(ONE, HILL, SIZE) == [0, 1]


def test_a_note_that_the_power_cut_short_spoils_no_later_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(ONE, HILL, 0, parts(3)[0], SIZE + PART_BYTES)
    notes = spool.path(ONE, HILL).with_suffix(".have")
    os.truncate(notes, notes.stat().st_size - 5)
    again = Spool(tmp_path)
    assert again.missing(ONE, HILL, SIZE + PART_BYTES) == [0, 1, 2]
    again.put(ONE, HILL, 1, parts(3)[0], SIZE + PART_BYTES)
    assert Spool(tmp_path).missing(ONE, HILL, SIZE + PART_BYTES) == [0, 2]


def test_a_payload_whose_last_part_came_just_before_the_end_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HILL, 3)
    path = spool.path(ONE, HILL)
    notes = b"".join(
        number.to_bytes(4, "big") + hashlib.sha256(part).digest()
        for number, part in enumerate(parts(3))
    )
    path.with_suffix(".have").write_bytes(notes)
    path.rename(path.with_suffix(".part"))
    again = Spool(tmp_path)
    assert again.missing(ONE, HILL, SIZE) == [] and path.exists()


def test_files_of_a_round_that_is_over_are_written_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    inode = spool.path(ONE, HARBOUR).stat().st_ino
    spool.drop(ONE)
    assert not spool.path(ONE, HARBOUR).exists()
    put_whole(spool, TWO, HILL, 5)
    assert spool.path(TWO, HILL).stat().st_ino == inode
    assert spool.path(TWO, HILL).read_bytes() == b"".join(parts(5))


def test_a_payload_of_another_size_gets_a_file_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    spool.drop(ONE)
    spool.put(TWO, HARBOUR, 0, b"short", 5)
    assert spool.path(TWO, HARBOUR).read_bytes() == b"short"


def test_a_straggler_of_an_old_round_writes_into_nobody_elses_payload(tmp_path: Path) -> None:
    """A slow upload keeps its file open past its round's end, and goes on writing."""
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    spool.put(ONE, HILL, 1, parts(7)[1], SIZE)
    with (
        spool.part(ONE, HILL, 0, SIZE) as unfinished,
        spool.part(ONE, HARBOUR, 0, SIZE) as repeated,
    ):
        spool.drop(ONE)
        put_whole(spool, TWO, HARBOUR, 3)
        put_whole(spool, TWO, HILL, 5)
        for late in (unfinished, repeated):
            with pytest.raises(WardroundError, match="WR-COORD-011"):
                late.write(bytes([99]) * PART_BYTES)
    assert spool.path(TWO, HARBOUR).read_bytes() == b"".join(parts(3))
    assert spool.path(TWO, HILL).read_bytes() == b"".join(parts(5))


def test_a_site_that_takes_its_payload_back_keeps_no_way_into_the_next(tmp_path: Path) -> None:
    """The attack: an old request completes a newer file, which becomes another site's."""
    spool = Spool(tmp_path)
    spool.put(ONE, HILL, 1, parts(1)[1], SIZE)
    with spool.part(ONE, HILL, 0, SIZE) as old:
        old.write(parts(1)[0][:-1])
        spool.discard(ONE, HILL)
        with spool.part(ONE, HILL, 0, SIZE) as hidden:
            with pytest.raises(WardroundError, match="WR-COORD-011"):
                old.write(parts(1)[0][-1:])
            with pytest.raises(WardroundError, match="WR-COORD-011"):
                old.accept(old.sha256.digest())
            assert not spool.path(ONE, HILL).exists()
            spool.drop(ONE)
            put_whole(spool, TWO, HARBOUR, 3)
            with pytest.raises(WardroundError, match="WR-COORD-011"):
                hidden.write(b"x")
    assert spool.path(TWO, HARBOUR).read_bytes() == b"".join(parts(3))


def test_what_was_signed_is_what_lies_there(tmp_path: Path) -> None:
    """A second writer of a part revokes the first, who can't have it accepted any more."""
    spool = Spool(tmp_path)
    with spool.part(ONE, HARBOUR, 0, SIZE) as honest:
        honest.write(parts(1)[0][:-1])
        with spool.part(ONE, HARBOUR, 0, SIZE) as other:
            other.write(b"other")
            with pytest.raises(WardroundError, match="WR-COORD-011"):
                honest.write(parts(1)[0][-1:])
    assert spool.missing(ONE, HARBOUR, SIZE) == [0, 1]


def test_a_file_that_somebody_holds_open_is_not_written_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    with spool.part(ONE, HARBOUR, 0, SIZE):
        spool.drop(ONE)
        assert not (tmp_path / ".spare").exists()


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may take less than it is given, and says so by a number alone."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, bytes(data[:777]), at))
    spool = Spool(tmp_path)
    spool.put(ONE, HARBOUR, 0, b"y" * 5000, 5000)
    assert spool.path(ONE, HARBOUR).read_bytes() == b"y" * 5000


def test_other_bytes_never_replace_a_part_that_arrived(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    with pytest.raises(WardroundError) as refused:
        spool.put(ONE, HARBOUR, 1, b"x" * 1000, SIZE)
    assert refused.value.code == "WR-COORD-011"
    assert spool.path(ONE, HARBOUR).read_bytes() == b"".join(parts(1))


def test_clearing_leaves_nothing_of_rounds_that_are_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put_whole(spool, ONE, HARBOUR, 1)
    spool.drop(ONE)
    spool.clear()
    assert list(tmp_path.iterdir()) == []


def test_what_is_swept_is_of_rounds_that_are_over(tmp_path: Path) -> None:
    put_whole(Spool(tmp_path), ONE, HARBOUR, 1)
    put_whole(Spool(tmp_path), TWO, HARBOUR, 3)
    spool = Spool(tmp_path)
    assert spool.missing(ONE, HARBOUR, SIZE) == []
    spool.sweep(lambda round_: round_ == TWO)
    assert [one.name for one in tmp_path.iterdir()] == [TWO]
    assert spool.missing(ONE, HARBOUR, SIZE) == [0, 1], "nor does it believe to have it"
    assert spool.path(TWO, HARBOUR).read_bytes() == b"".join(parts(3))
