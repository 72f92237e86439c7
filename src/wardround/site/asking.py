"""What the coordinator says that the run waits for, of this hospital's own part in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from wardround.errors import WardroundError
from wardround.site.home import SiteHome
from wardround.site.say import printable
from wardround.site.sounding import own_lane
from wardround.trust.authority import certificate_digest, peer_identity
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context


@dataclass(frozen=True)
class Waiting:
    """What the latest run waits for, in the coordinator's words, and what comes next."""

    run: str | None
    state: str
    awaited: str
    """At whose end: ``own-answer``, ``own-disk``, ``approval``, ``enrolment``, ``others`` and so
    on (`coordinator.own`)."""
    since: str | None
    words: str
    next: str


def ask_waiting(home: SiteHome) -> Waiting:
    """Ask now, beside an agent that may be running; raises as `own_lane`, and WR-SITE-218."""
    if not home.url or not home.certificate_path.exists():
        raise WardroundError(
            "WR-SITE-218",
            "There is nobody to ask what the run waits for: this agent has not been enrolled.",
            "Enrol it with its invitation: `wardround site enrol`.",
        )
    context = client_context(
        home.ca_path,
        home.certificate_path,
        home.agent_key_path,
        inspecting_ca=home.inspecting_ca,
    )
    pem = home.certificate_path.read_bytes()
    named = None if home.inspecting_ca is None else certificate_digest(pem)
    key = SigningKey.load(home.agent_key_path)
    found = asyncio.run(own_lane(home.url, context, key, peer_identity(pem), named))
    waiting = found["waiting"]
    assert isinstance(waiting, dict)  # `own_lane` saw to it
    run, since = found.get("run"), waiting.get("since")
    return Waiting(
        run=None if run is None else _text(run),
        state=_text(found.get("state")),
        awaited=_text(waiting.get("for")),
        since=None if since is None else _text(since),
        words=_text(waiting.get("words")),
        next=_text(found.get("next")),
    )


def _text(value: object) -> str:
    """Somebody else's words, for a terminal."""
    return printable(str(value))[:500]
