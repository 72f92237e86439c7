"""What a running service tells: words for a person, JSON lines for a program."""

from __future__ import annotations

import json

import pytest

from wardround.cli.events import printer
from wardround.errors import WardroundError
from wardround.site.say import told

TWIN = told(WardroundError("WR-COORD-037", "Two agents run.", "Stop one of the two."))
AWAY = told(WardroundError("WR-SITE-040", "It can't be reached.", "Check the address."))


def test_trouble_is_told_with_its_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    printer(json=False)("trouble", **TWIN)
    said = capsys.readouterr().err
    for part in ("trouble", *TWIN.values(), "wardround explain WR-COORD-037"):
        assert part in said


def test_trouble_that_goes_on_is_told_ever_more_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    tell = printer(json=False)
    for _ in range(100):
        tell("trouble", **TWIN)
    said = capsys.readouterr().err
    assert said.count("Two agents run.") == 1
    assert [line.split()[-2] for line in said.splitlines() if "again" in line] == [
        "2", "4", "8", "16", "32", "64",
    ]  # fmt: skip


def test_other_trouble_or_success_in_between_makes_it_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = printer(json=False)
    for event, facts in (
        ("trouble", TWIN),
        ("trouble", AWAY),
        ("trouble", TWIN),
        ("answered", {"what": "moments"}),
        ("trouble", TWIN),
    ):
        tell(event, **facts)
    assert capsys.readouterr().err.count("Two agents run.") == 3


def test_a_program_gets_every_event_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tell = printer(json=True)
    for _ in range(3):
        tell("trouble", **TWIN)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"event": "trouble", **TWIN}] * 3


def test_people_are_told_the_steps_that_every_page_counts_and_programs_those_of_the_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An algorithm's own turns have another name: they were taken for steps two off."""
    events: tuple[tuple[str, dict[str, str | float]], ...] = (
        ("answered", {"what": "fedavg", "step": 187, "bytes": 9}),
        ("refused", {"what": "fedavg", "step": 187}),
        ("round-failed", {"step": 187, "reason": "late"}),
        ("round", {"step": 187, "kind": "fedavg"}),
        ("fedavg", {"round": 186, "rounds": 200}),
        ("noisy-step", {"step": 186, "steps": 200}),
    )
    words, program = printer(json=False), printer(json=True)
    for event, facts in events:
        words(event, **facts)
        program(event, **facts)
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 6 and all(" step 188" in line for line in lines)
    assert all(line.endswith("step 188  iteration 186  of 200") for line in lines[4:])
    documents = [json.loads(line) for line in printed.out.splitlines()]
    assert documents == [{"event": event, **facts} for event, facts in events]
