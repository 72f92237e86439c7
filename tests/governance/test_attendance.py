"""The strip of who answered when."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wardround.governance.report.attendance import MOST_CELLS, attendance
from wardround.governance.report.data import RoundFacts

SITES = ("a", "b", "c")


def facts(step: int, *here: str, **more: object) -> RoundFacts:
    return RoundFacts(
        round=f"run.r.{step:06d}.0",
        step=step,
        kind="moments",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1.0,
        survivors=here,
        **more,
    )


def classes(row: dict[str, object]) -> list[str]:
    return re.findall(r'class="(here|missing|refused|out)"', str(row["strip"]))


def test_every_hospital_has_a_cell_for_each_round_in_which_it_was_asked() -> None:
    rounds = [
        facts(0, *SITES),
        facts(1, "a", "b", dropped=("c",)),
        facts(2, "a", dropped=("b", "c"), refused=("c",), completed=False),
        facts(3, "a", "b"),
    ]
    rows = {row["site"]: row for row in attendance(SITES, rounds)}
    assert classes(rows["a"]) == ["here"] * 4
    assert classes(rows["b"]) == ["here", "here", "missing", "here"]
    assert classes(rows["c"]) == ["here", "missing", "refused"]
    assert (rows["c"]["answered"], rows["c"]["asked"]) == (1, 3)
    assert "step 2: asked, no answer in time" in str(rows["c"]["strip"])


def test_a_hospital_that_was_never_asked_has_no_row() -> None:
    assert [row["site"] for row in attendance(SITES, [facts(0, "a", "b")])] == ["a", "b"]
    assert attendance(SITES, []) == []


def test_a_long_run_shows_the_worst_of_each_cell() -> None:
    rounds = [facts(step, "a", "b", *(["c"] if step != 500 else [])) for step in range(1000)]
    rounds[500] = facts(500, "a", "b", dropped=("c",))
    (row,) = [one for one in attendance(SITES, rounds) if one["site"] == "c"]
    assert classes(row).count("missing") == 1
    assert len(classes(row)) <= MOST_CELLS
    assert (row["answered"], row["asked"]) == (999, 1000)


def test_with_groups_only_the_own_groups_rounds_are_shown() -> None:
    rounds = [facts(0, "a", "b", group=1), facts(0, "c", group=2), facts(1, "a", "b", group=1)]
    rows = {row["site"]: row for row in attendance(SITES, rounds)}
    assert (rows["a"]["asked"], rows["c"]["asked"]) == (2, 1)


def test_a_name_can_be_no_markup() -> None:
    (row,) = attendance(("<b>",), [facts(0, "<b>")])
    assert "<b>" not in str(row["strip"])
