"""The root of the commands, and the one place where an error becomes words and an exit code.

A command is a function in ``cli/<noun>.py``; this file only knows its name and one line about it.
The module is imported when its command is called, so that ``wardround --help`` stays instant
however heavy a command is.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from wardround import __version__
from wardround.errors import WardroundError

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Whatever the library raises for a command line; it gives only this kind of it a public name."""


@dataclass(frozen=True)
class Entry:
    """One word after ``wardround``: a noun (a Typer app) or a verb (a function) in a module."""

    module: str
    attribute: str
    help: str


ENTRIES = {
    "demo": Entry("wardround.cli.demo", "demo", "See it work: four hospitals train one model."),
    "study": Entry("wardround.cli.study", "app", "Write, check and read a study document."),
    "privacy": Entry("wardround.cli.privacy", "app", "Divide a study's epsilon, with noise."),
    "coordinator": Entry("wardround.cli.coordinator", "app", "Set up and run a coordinator."),
    "run": Entry("wardround.cli.run", "app", "See what a run waits for, and since when."),
    "site": Entry("wardround.cli.site", "app", "Set up and run a hospital's agent."),
    "doctor": Entry("wardround.cli.doctor", "doctor", "Find out what is wrong with a service."),
    "verify": Entry("wardround.cli.verify", "verify", "Check a finished study, offline."),
    "audit": Entry("wardround.cli.audit", "app", "Attack a study before anybody else does."),
    "concepts": Entry("wardround.cli.concepts", "app", "Look up concepts: what a field can mean."),
    "schema": Entry("wardround.cli.schema", "app", "Print the JSON Schemas of documents."),
    "explain": Entry("wardround.cli.explain", "explain", "Explain an error code."),
}


def build(called: Collection[str]) -> typer.Typer:
    """The application, with the entries named in ``called`` imported and the others as one line."""
    app = typer.Typer(
        name="wardround",
        help="Train one clinical model across hospitals that never share a patient record.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, entry in ENTRIES.items():
        if name not in called:
            app.command(name, help=entry.help)(_not_imported)
            continue
        found = getattr(importlib.import_module(entry.module), entry.attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, help=entry.help, no_args_is_help=True)
        else:
            app.command(name)(found)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: refused or failed, with a code that ``wardround explain`` knows. 2: the command
    line itself was not understood (with ``--json`` that is a JSON document as well). 3: a
    coordinator's run had failed before, and starting it again changes nothing.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    completing = "_WARDROUND_COMPLETE" in os.environ
    called = ENTRIES if completing else [word for word in words if not word.startswith("-")][:1]
    try:
        # Standing alone, the library prints what it did not understand itself, and never as JSON.
        code = build(called)(words, prog_name="wardround", standalone_mode=not as_json)
    except SystemExit as stop:
        code = stop.code or 0
    except typer.Abort:  # a question that nobody answered
        return 1
    except Exception as error:  # noqa: BLE001  (the last frame: nothing above would explain it)
        if as_json and isinstance(error, _USAGE_ERROR):
            return _not_understood(error)
        return _fail(error, json=as_json)
    if code is None:
        return 0
    # An interrupt comes as 130; codes from 128 on are for shells to speak of signals.
    return code if isinstance(code, int) and code < 128 else 1


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the root itself."""


def _not_imported() -> None:
    raise AssertionError("an entry that is called is imported first")


def _not_understood(error: Exception) -> int:
    """What is wrong with the command line, as JSON; its own words could hold no patient's value."""
    from wardround.cli.console import fail

    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "wardround")
    message = getattr(error, "format_message", lambda: str(error))()
    problem = WardroundError(
        "WR-CLI-020",
        f"The command line was not understood: {' '.join(str(message).split()).rstrip('.')}.",
        f"`{command} --help` lists what can be said.",
    )
    fail(problem, json=True)
    return 2


def _fail(error: Exception, *, json: bool) -> int:
    """Say what went wrong; anything but a `WardroundError` is a fault of ours and said so."""
    from wardround.cli.console import fail  # rich: only where something is printed

    known = tuple(_known(error))
    if known:
        return fail(*known, json=json)
    from wardround.store.room import no_room, wants_room

    if wants_room(error):
        return fail(no_room(), json=json)
    if os.environ.get("WARDROUND_DEBUG"):
        raise error
    # Neither the message nor the traceback of a stranger: they may hold a patient's value.
    frame = _innermost(error)
    return fail(
        WardroundError(
            "WR-CLI-001",
            f"An unexpected {type(error).__name__} stopped this command.",
            "Run it again with WARDROUND_DEBUG=1 to see where, and report that.",
            path=frame,
        ),
        json=json,
    )


def _known(error: BaseException) -> Iterator[WardroundError]:
    """The errors with a code in this one: itself, its parts, or those of a task group."""
    if isinstance(error, WardroundError):
        yield from getattr(error, "errors", (error,))
    elif isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _known(part)


def _innermost(error: BaseException) -> str | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return None
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119
