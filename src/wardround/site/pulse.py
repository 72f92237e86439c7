"""What an agent is at, written beside its state for whoever asks `wardround site status`.

A file and no row: it is out of date a moment later, nothing is ever decided by it, and it must cost
an answer nothing. It holds what the agent's log says and no more: codes, sentences, times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, cast

import orjson

from wardround.errors import WardroundError
from wardround.site.say import Say, told
from wardround.trust.canonical import JSON

EVERY_S = 2.0
"""How often it is written."""

SILENT_AFTER_S = 20.0
"""An agent that has written nothing for so long does not run, or its machine sleeps."""

ABSENT_AFTER_S = 60.0
"""A coordinator that has answered nothing for so long is not connected (a long poll lasts 25 s)."""

_NOT_REACHED = ("WR-SITE-040", "WR-SITE-042", "WR-SITE-170", "WR-SITE-171", "WR-SITE-172")
"""Trouble of the line itself: while it lasts the coordinator is not connected, however lately."""

NAME = "status.json"


class Listening(Protocol):
    """A link, as far as it says when the coordinator was heard of last."""

    heard_at: datetime | None


class Pulse:
    """Passes on what the agent says, and remembers the last of each kind."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._link: Listening | None = None
        self._facts: dict[str, JSON] = {"started": _now(), "trouble": None, "ended": None}

    def __call__(self, event: str, /, **facts: str | float) -> None:
        """Take note, and hand it on."""
        self._say(event, **facts)
        if event in ("trouble", "not-accepted"):
            before = self._facts["trouble"]
            same = isinstance(before, dict) and before["code"] == facts.get("code")
            since = before["since"] if same and isinstance(before, dict) else _now()
            self._facts["trouble"] = {**facts, "since": since}
        elif event in ("answered", "refused"):
            what: dict[str, JSON] = {
                name: facts[name] for name in ("what", "step") if name in facts
            }
            self._facts["asked"] = {**what, "answer": event, "at": _now()}
        elif event == "finished":
            self._facts["ended"] = {"how": event, "at": _now()}

    def listen(self, link: Listening) -> None:
        """From now on this link knows when the coordinator was heard of."""
        self._link = link

    def end(self, error: WardroundError | None) -> None:
        """The agent has ended, in peace or with an error."""
        if error is not None:
            self._facts["ended"] = {"how": "stopped", "at": _now(), **told(error)}
        elif self._facts["ended"] is None:
            self._facts["ended"] = {"how": "stopped", "at": _now()}

    def save(self, folder: Path) -> None:
        """Write it in one step, without waiting for the disk; a full one is no reason to stop."""
        heard = None if self._link is None else self._link.heard_at
        document = {
            **self._facts,
            "heard": None if heard is None else heard.isoformat(timespec="seconds"),
            "at": _now(),
        }
        fresh = folder / f".{NAME}.part"
        try:
            fresh.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            fresh.chmod(0o600)
            fresh.replace(folder / NAME)
        except OSError:
            fresh.unlink(missing_ok=True)


@asynccontextmanager
async def beating(folder: Path, say: Say) -> AsyncIterator[Pulse]:
    """A pulse that is written again and again while the block lasts, and once more at its end."""
    pulse = Pulse(say)

    async def beat() -> None:
        while True:
            pulse.save(folder)
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(beat(), name="pulse")
    ended: WardroundError | None = None
    try:
        yield pulse
    except WardroundError as error:
        ended = error
        raise
    finally:
        task.cancel()
        pulse.end(ended)
        pulse.save(folder)


@dataclass(frozen=True)
class Life:
    """What the file says, as far as it makes sense."""

    state: str = "never"
    """``never`` (has run), ``running``, ``silent`` (killed, or its machine is off), ``ended``."""
    at: datetime | None = None
    started: datetime | None = None
    heard: datetime | None = None
    connected: bool = False
    trouble: dict[str, JSON] | None = None
    asked: dict[str, JSON] | None = None
    ended: dict[str, JSON] | None = None

    @classmethod
    def load(cls, folder: Path, now: datetime) -> Life:
        """Read it; what can't be read is an agent that never ran."""
        try:
            document = orjson.loads((folder / NAME).read_bytes())
            at, started = _time(document["at"]), _time(document["started"])
            heard = None if document["heard"] is None else _time(document["heard"])
        except (OSError, ValueError, TypeError, KeyError):
            return cls()
        ended = _part(document, "ended")
        silent = now - at > timedelta(seconds=SILENT_AFTER_S)
        state = "ended" if ended is not None else "silent" if silent else "running"
        lately = heard is not None and now - heard < timedelta(seconds=ABSENT_AFTER_S)
        trouble = _part(document, "trouble")
        if trouble is not None and heard is not None and str(trouble["since"]) < heard.isoformat():
            trouble = None  # it got through again
        asked = _part(document, "asked")
        cut = trouble is not None and trouble.get("code") in _NOT_REACHED
        connected = state == "running" and lately and not cut
        return cls(state, at, started, heard, connected, trouble, asked, ended)


def _part(document: dict[str, object], name: str) -> dict[str, JSON] | None:
    part = document.get(name)
    return cast("dict[str, JSON]", part) if isinstance(part, dict) else None


def _time(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
