"""Who is left out: kept when a study is approved again, and compared with the records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command
from steward import Steward
from ward import TODAY, plan
from wardround.errors import WardroundError
from wardround.site.home import SiteHome


@pytest.fixture
def steward(tmp_path: Path) -> Steward:
    return Steward(tmp_path)


def listed(home: SiteHome) -> frozenset[str]:
    return home.exclusions().patients


def code(call: Callable[[], object]) -> str:
    with pytest.raises(WardroundError) as caught:
        call()
    return caught.value.code


def test_the_first_approval_signs_an_empty_list(steward: Steward) -> None:
    steward.approve()
    assert listed(steward.home) == frozenset()


def test_approving_again_keeps_who_is_left_out(steward: Steward) -> None:
    steward.approve(("harbour-1", "harbour-2"))
    steward.approve()
    assert listed(steward.home) == {"harbour-1", "harbour-2"}
    steward.home.exclude(("harbour-3",), TODAY)
    steward.study = steward.keys.seal(plan(version=2))
    steward.approve()
    assert listed(steward.home) == {"harbour-3"}


def test_a_list_that_is_said_replaces_the_old_one(steward: Steward) -> None:
    steward.approve(("harbour-1",))
    steward.approve(())
    assert listed(steward.home) == frozenset()


def test_a_list_of_another_study_is_neither_kept_nor_dropped(steward: Steward) -> None:
    steward.approve(("harbour-1",))
    before = steward.contents()
    steward.study = steward.keys.seal(plan(id="another-study"))
    assert code(steward.approve) == "WR-SITE-062"
    assert steward.contents() == before
    steward.approve(("harbour-4",))
    assert listed(steward.home) == {"harbour-4"}


@pytest.mark.parametrize("harm", ["gone", "altered"])
def test_a_list_that_is_gone_or_damaged_is_not_replaced_by_an_empty_one(
    steward: Steward, harm: str
) -> None:
    steward.approve(("harbour-1",))
    path = steward.home.exclusions_path
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA'))
    assert code(steward.approve) == ("WR-STUDY-080" if harm == "gone" else "WR-STUDY-081")


def approve(command: Command, steward: Steward, *more: object) -> object:
    study = ("site", "approve", steward.folder, steward.study_path)
    return command(*study, "--mapping", steward.mapping, "--yes", *more)


def test_the_commands_say_what_stays_and_what_is_unknown(
    steward: Steward, command: Command, tmp_path: Path
) -> None:
    refusals = tmp_path / "refusals.txt"
    refusals.write_text('harbour-1\nHARBOUR-2\n"harbour-3"\n', encoding="utf-8")
    result = approve(command, steward, "--exclude", refusals)
    assert result.code == 0
    assert "2 of the 3 patients on the list" in result.err
    for identifier in ("harbour-1", "HARBOUR-2", "harbour-3"):
        assert identifier not in result.out + result.err
    again = approve(command, steward)
    assert again.code == 0 and f"3, by the list of {TODAY}, which stays" in again.err
    assert listed(steward.home) == {"harbour-1", "HARBOUR-2", '"harbour-3"'}


def test_a_list_saved_on_windows_is_read(
    steward: Steward, command: Command, tmp_path: Path
) -> None:
    steward.approve()
    refusals = tmp_path / "refusals.txt"
    refusals.write_bytes("\ufeffharbour-1\r\nharbour-2\r\n".encode())
    result = command("site", "exclude", steward.folder, refusals, "--json")
    assert json.loads(result.out) == {"excluded": 2, "unknown": 0}
    assert listed(steward.home) == {"harbour-1", "harbour-2"}


def test_a_list_is_signed_even_where_the_records_cannot_be_read(
    steward: Steward, command: Command, tmp_path: Path
) -> None:
    steward.approve()
    (steward.records / "biopsies.csv").unlink()
    refusals = tmp_path / "refusals.txt"
    refusals.write_text("harbour-1\n", encoding="utf-8")
    result = command("site", "exclude", steward.folder, refusals, "--json")
    assert json.loads(result.out) == {"excluded": 1, "unknown": None}
    assert "not compared" in result.err
    assert listed(steward.home) == {"harbour-1"}
