"""How commands speak: data whole on stdout, the rest on stderr, colour only for a person."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from wardround import WardroundError
from wardround.cli.console import emit, fail, say, suggest, table

LONG = "sha256:" + "0123456789abcdef" * 12


def test_json_is_one_document_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"digest": LONG, "sites": ["a", "b"]}, json=True)
    assert json.loads(capsys.readouterr().out) == {"digest": LONG, "sites": ["a", "b"]}


def test_a_table_is_neither_broken_nor_cut_for_another_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit([], human=table(("name", "digest", "n"), [("lakeside", LONG, 12), ("[bold]", "", 3)]))
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "digest", "n"]
    assert first.split() == ["lakeside", LONG, "12"]
    assert second.split() == ["[bold]", "3"]  # what looks like markup is data


def test_a_concepts_id_is_not_broken_in_a_narrow_terminal() -> None:
    concepts = ("estimated_glomerular_filtration_rate", "sex")
    terminal = Console(width=80)
    with terminal.capture() as captured:
        terminal.print(
            table(("concept", "why"), [(one, "a long reason " * 20) for one in concepts])
        )
    assert concepts[0] in captured.get()


def test_without_words_for_people_data_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"size_bytes": 12, "path": "a b"})
    emit(["x", "y"])
    emit(LONG)
    assert capsys.readouterr().out == f"size_bytes: 12\npath: a b\nx\ny\n{LONG}\n"


def test_progress_and_hints_never_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    say("Round 3 of 7")
    suggest("wardround study check study.toml")
    fail(WardroundError("WR-CLI-901", "The lamp is off.", "Switch it on."))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Round 3 of 7\nNext: wardround study check study.toml\n" in captured.err


def on_a_terminal(*words: str, **environment: str) -> bytes:
    """What a command prints when stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "wardround", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            check=False,
        )
        return os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)


def test_colour_is_for_terminals_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    red = b"\x1b[1;31m"
    assert red in on_a_terminal("explain", "WR-NO-000")
    assert red not in on_a_terminal("explain", "WR-NO-000", NO_COLOR="1")


def test_what_a_record_holds_does_not_steer_a_terminal() -> None:
    cells = table(("before",), [["\x1b]0;title\x07\x1b[2J178"]])
    console = Console(width=80, no_color=True, file=io.StringIO())
    console.print(cells)
    assert "\x1b" not in console.file.getvalue() and "178" in console.file.getvalue()
