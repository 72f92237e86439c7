"""The root of the commands: exit codes, errors in words, and a start that is instant."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from commands import Command, Result
from wardround import WardroundError, WardroundErrors, __version__
from wardround.cli import app as root
from wardround.cli.console import Json

FIRST = WardroundError("WR-CLI-901", "The lamp is off.", "Switch it on.", path="lamp.switch")
SECOND = WardroundError("WR-CLI-902", "The door is shut.", "Open it.")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make ``wardround broken`` raise what the test says."""

    def prepare(error: Exception) -> None:
        def broken(json: Json = False) -> None:
            """Break."""
            raise error

        module = ModuleType("broken_command")
        module.broken = broken
        monkeypatch.setitem(sys.modules, "broken_command", module)
        monkeypatch.setitem(
            root.ENTRIES, "broken", root.Entry("broken_command", "broken", "Break.")
        )

    return prepare


def test_the_version_is_data(command: Command) -> None:
    assert command("--version") == Result(0, f"{__version__}\n", "")


@pytest.mark.parametrize("words", [["no-such-noun"], ["--no-such-option"], []])
def test_a_command_line_that_is_not_understood_exits_with_2(
    command: Command, words: list[str]
) -> None:
    result = command(*words)
    assert result.code == 2
    assert result.out == ""
    assert "Usage: wardround" in result.err


@pytest.mark.parametrize(
    "words",
    [
        ["study", "check"],
        ["study", "check", "x", "--no-such-option"],
        ["study", "no-such-verb"],
        ["no-such-noun"],
        ["coordinator", "serve", "x", "--wait-s", "soon"],
    ],
)
def test_with_json_a_command_line_that_is_not_understood_is_json_too(
    command: Command, words: list[str]
) -> None:
    result = command(*words, "--json")
    assert (result.code, result.err) == (2, "")
    (error,) = json.loads(result.out)["errors"]
    assert error["code"] == "WR-CLI-020"
    assert "\n" not in error["problem"]
    assert "--help" in error["remedy"]


def test_with_json_an_exit_code_is_kept(command: Command) -> None:
    assert command("verify", "no-such-file", "--json").code == 1
    assert command("schema", "study", "--json").code == 0
    assert command("study", "check", "--json", "--help").code == 0


def test_help_lists_every_entry_without_importing_it(command: Command) -> None:
    result = command("--help")
    assert result.code == 0
    for name, entry in root.ENTRIES.items():
        assert name in result.out
        assert entry.help in result.out


def test_help_is_there_in_half_a_second() -> None:
    """Processor time, which other work on the machine does not add to; the best of five."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "wardround", "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.5


def test_help_imports_no_more_than_it_shows() -> None:
    script = "import sys; from wardround.cli import main; main(['--help']); print(*sys.modules)"
    command = [sys.executable, "-c", script]
    modules = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    heavy = {"numpy", "duckdb", "cryptography", "fastapi", "sqlalchemy", "httpx", "rich"}
    assert "typer" in modules
    assert heavy.isdisjoint(modules)


@pytest.mark.parametrize("noun", root.ENTRIES)
def test_the_help_of_an_entry_imports_nothing_heavy(noun: str) -> None:
    """What a command needs is imported when it runs: half a second for help leaves no room."""
    script = f"import sys; from wardround.cli import main; main(['{noun}', '--help'])"
    script += "; print('IMPORTED', *sys.modules)"
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    modules = set(out.partition("IMPORTED")[2].split())
    heavy = {"numpy", "duckdb", "cryptography", "fastapi", "sqlalchemy", "httpx", "pygments"}
    assert "wardround.cli.console" in modules
    assert heavy.isdisjoint(modules)
    assert {
        one for one in modules if one.startswith(("wardround.study", "wardround.site"))
    } == set()


def test_an_error_names_its_code_place_and_remedy_on_stderr(
    command: Command, broken: Callable[[Exception], None]
) -> None:
    broken(FIRST)
    result = command("broken")
    assert (result.code, result.out) == (1, "")
    assert "WR-CLI-901 (lamp.switch): The lamp is off." in result.err
    assert "Switch it on." in result.err
    assert "wardround explain WR-CLI-901" in result.err


@pytest.mark.parametrize(
    "together",
    [
        WardroundErrors((FIRST, SECOND)),
        ExceptionGroup("tasks", [FIRST, ExceptionGroup("inner", [SECOND])]),
    ],
    ids=["one document", "several tasks"],
)
def test_several_errors_are_all_shown(
    command: Command, broken: Callable[[Exception], None], together: Exception
) -> None:
    broken(together)
    result = command("broken", "--json")
    assert (result.code, result.err) == (1, "")
    assert [error["code"] for error in json.loads(result.out)["errors"]] == [
        "WR-CLI-901",
        "WR-CLI-902",
    ]


def test_an_unforeseen_error_shows_no_text_and_no_traceback(
    command: Command, broken: Callable[[Exception], None]
) -> None:
    broken(ValueError("patient 4711 is 83 years old"))
    result = command("broken")
    assert (result.code, result.out) == (1, "")
    assert "WR-CLI-001 (test_app.py:" in result.err
    assert "ValueError" in result.err
    assert "4711" not in result.err
    assert "Traceback" not in result.err


def test_an_unforeseen_error_is_whole_for_who_asks(
    command: Command, broken: Callable[[Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_DEBUG", "1")
    broken(ValueError("the whole story"))
    with pytest.raises(ValueError, match="the whole story"):
        command("broken")


def test_an_interrupted_command_exits_below_128(
    command: Command, broken: Callable[[Exception], None]
) -> None:
    broken(KeyboardInterrupt())
    assert command("broken").code == 1
    assert command("broken", "--json").code == 1


def test_a_full_disk_is_told_by_its_code_wherever_a_command_meets_it(
    command: Command, broken: Callable[[Exception], None]
) -> None:
    broken(OSError(errno.ENOSPC, "No space left on device"))
    result = command("broken")
    assert result.code == 1
    assert "WR-STORE-004" in result.err and "start again" in result.err
