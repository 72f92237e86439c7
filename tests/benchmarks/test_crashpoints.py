"""What the record of deaths comes to: nothing is survived that was not died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import crashpoints


def line(death: str, *, reached: bool = True, lost: str | None = None) -> dict[str, Any]:
    about = {"code": "now", "study": "secure-sum", "party": "harbour", "how": "killed"}
    return {**about, "death": death, "reached": reached, "lost": lost}


def test_a_point_that_was_not_reached_is_neither_died_nor_survived() -> None:
    lines = [line("a"), line("b", reached=False), line("c", lost="another total")]
    report = crashpoints.summary(lines, 5, "note")
    assert report.figures == {"points": 2, "survived": 1, "unreached": 1, "not_tried": 2}
    assert report.notes == ["note", "another total"]


def test_a_run_that_went_wrong_by_itself_counts_as_lost() -> None:
    report = crashpoints.summary([line("a", reached=False, lost="stuck")], 1, "")
    assert report.figures["points"] == 1 and report.figures["survived"] == 0


def test_each_death_is_read_once_and_only_of_this_code(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    written = [line("a"), line("a"), {**line("b"), "code": "older"}, line("c")]
    cut = orjson.dumps(line("d"))[:20]
    record.write_bytes(b"\n".join([*map(orjson.dumps, written), cut]))
    found = [one["death"] for one in crashpoints.recorded(record, "now", "secure-sum")]
    assert found == ["a", "c"]
    assert not list(crashpoints.recorded(tmp_path / "none", "now", "secure-sum"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_share_is_died_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "record.jsonl"
    monkeypatch.setenv("CRASHPOINTS_RECORD", str(record))
    monkeypatch.setenv("CRASHPOINTS_SHARE", "7/1500")
    first = crashpoints.run()
    assert first.figures["points"] == first.figures["survived"] > 1
    assert first.figures["not_tried"] > 1000
    size = record.stat().st_size
    assert crashpoints.run().figures == first.figures
    assert record.stat().st_size == size, "nothing is died twice"
