"""One request to a FHIR server and its answer, within bounds that the server can't move.

The hospital trusts its own server, but software goes wrong and machines are taken over. So an
answer has a largest size, an exchange a longest time, a redirection is not followed, and nothing
that a server wrote is ever part of an error. A token goes to addresses below the base only; the one
exception are the job and the files of an export, which many servers keep elsewhere on their origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import httpx
import orjson

from wardround.clinical.fhir.address import Base, elsewhere
from wardround.clinical.fhir.answers import (
    issue_codes,
    media_type,
    no_access,
    pieces,
    stated_pause,
    too_much,
    unreachable,
)
from wardround.clinical.fhir.bundle import not_fhir
from wardround.clinical.fhir.transport import ANSWER_S
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

JSON_TYPES = ("application/fhir+json", "application/json", "application/json+fhir")
_LATER = frozenset({429, 503})
_PASSING = _LATER | {500, 502, 504}
_SHORTEST_PAUSE_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What one reading of a server may cost, whatever the server does."""

    page_bytes: int = 64 * 2**20
    pages: int = 100_000
    resources: int = 1_000_000_000
    attempts: int = 6
    answer_s: float = 300.0
    download_s: float = 6 * 3600.0
    reading_s: float = 12 * 3600.0
    longest_pause_s: float = 600.0


class Clock(Protocol):
    """Time as the caller has it."""

    def now(self) -> datetime:
        """The time of day, with its zone."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Access(Protocol):
    """Who is asking, in a header of each request below the base."""

    def header(self, exchange: Exchange) -> str | None:
        """The value of ``Authorization``, or None for none."""

    def renew(self) -> bool:
        """Forget a refused token; whether it is worth asking again."""


class NoAccess:
    """A server that asks for no token (the network or a client certificate protects it)."""

    def header(self, _exchange: Exchange) -> str | None:
        """None."""
        return None

    def renew(self) -> bool:
        """False: there is nothing to renew."""
        return False


@dataclass(frozen=True, repr=False)
class Answer:
    """A whole answer: its status, headers and decoded JSON (None where there is no body)."""

    status: int
    headers: httpx.Headers
    body: JSON
    content: bytes = field(default=b"")


@dataclass(frozen=True, repr=False)
class Ask:
    """What is asked: ``what`` names it in errors and holds no value."""

    what: str
    url: httpx.URL
    method: str = "GET"
    accept: str = "application/fhir+json"
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    token: bool = True
    anywhere: bool = False
    """Whether the token may go to any path of the base's origin: to what an export made."""
    expected: tuple[int, ...] = (200,)
    read: tuple[int, ...] = (200,)
    """At which status the body is read; at any other it would say nothing that is needed."""
    harmless: bool = True
    """Whether asking again after a failure changes nothing at the server."""
    attempts: int | None = None


class Exchange:
    """Talks to one server over ``transport``."""

    def __init__(
        self,
        base: Base,
        transport: httpx.BaseTransport,
        access: Access,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.base = base
        self.clock = clock
        self.limits = limits
        self._transport = transport
        self._access = access

    def ask(self, ask: Ask) -> Answer:
        """Send a request and read the whole answer, which must be JSON if there is any.

        Raises:
            WardroundError: ``WR-DATA-060`` where there is no answer, ``-061`` for a refusal,
                ``-062`` where access is refused, ``-063`` for a redirection, ``-064`` where the
                answer is not JSON, ``-065`` where it is too large.
        """
        with self.open(ask) as response:
            if response.status_code not in ask.read:
                return Answer(response.status_code, response.headers, None)
            content = bytearray()
            for piece in pieces(response, ask.what):
                content += piece
                if len(content) > self.limits.page_bytes:
                    raise too_much(
                        ask.what, f"more than {self.limits.page_bytes // 2**20} MiB in one answer"
                    )
        if not content.strip():
            return Answer(response.status_code, response.headers, None)
        if media_type(response) not in JSON_TYPES:
            raise not_fhir(ask.what)
        try:
            body: JSON = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise not_fhir(ask.what) from None
        return Answer(response.status_code, response.headers, body, bytes(content))

    @contextmanager
    def open(self, ask: Ask, *, seconds: float | None = None) -> Iterator[httpx.Response]:
        """An expected answer of which the body is still to be read. Raises as :meth:`ask`."""
        seconds = seconds or self.limits.answer_s
        response = self._until_answered(ask, seconds)
        try:
            yield response
        except httpx.TransportError:
            raise unreachable(ask.what) from None
        finally:
            response.close()

    def wait(self, headers: httpx.Headers, attempt: int, deadline: float, what: str) -> None:
        """Sleep as long as the answer asks, or longer each time; never beyond ``deadline``."""
        pause = stated_pause(headers.get("retry-after"), self.clock.now())
        if pause is None:
            pause = min(_SHORTEST_PAUSE_S * 2**attempt, 60.0)
        pause = max(pause, _SHORTEST_PAUSE_S)
        if pause > self.limits.longest_pause_s or self.clock.monotonic() + pause > deadline:
            raise WardroundError(
                "WR-DATA-060",
                "The FHIR server asks to wait for longer than this reading may take.",
                "Try again when the server is less busy.",
                path=what,
            )
        self.clock.sleep(pause)

    def _until_answered(self, ask: Ask, seconds: float) -> httpx.Response:
        renewed = False
        deadline = self.clock.monotonic() + self.limits.reading_s
        harmless = ask.harmless and ask.method == "GET"
        left = ask.attempts or self.limits.attempts
        pauses = 0
        while left > 0:
            try:
                response = self._send(ask, seconds)
            except httpx.TransportError:
                if left == 1 or not harmless:
                    break
                headers = httpx.Headers()
            else:
                if response.status_code in ask.expected:
                    return response
                try:
                    if response.status_code == 401 and not renewed and self._access.renew():
                        renewed = True
                        continue
                    # Whoever is told to come back later has changed nothing yet.
                    again = response.status_code in (_PASSING if harmless else _LATER)
                    if left == 1 or not again:
                        raise self._refusal(response, ask)
                finally:
                    response.close()
                headers = response.headers
            self.wait(headers, pauses, deadline, ask.what)
            left, pauses = left - 1, pauses + 1
        raise unreachable(ask.what)

    def _send(self, ask: Ask, seconds: float) -> httpx.Response:
        headers = {
            "Accept": ask.accept,
            "Accept-Encoding": "gzip",
            "User-Agent": "wardround",
            **ask.headers,
        }
        known = self.base.shares_origin if ask.anywhere else self.base.contains
        if ask.token and known(ask.url):
            authorization = self._access.header(self)
            if authorization is not None:
                headers["Authorization"] = authorization
        request = httpx.Request(
            ask.method,
            ask.url,
            headers=headers,
            content=ask.content,
            extensions={ANSWER_S: seconds},
        )
        response = self._transport.handle_request(request)
        response.request = request
        return response

    def _refusal(self, response: httpx.Response, ask: Ask) -> WardroundError:
        status = response.status_code
        if 300 <= status < 400:
            return elsewhere(ask.what)
        if status in (401, 403):
            return no_access(ask.what, f"The FHIR server refuses access (status {status}).")
        issues = issue_codes(response, ask.what)
        said = f" It says: {', '.join(issues)}." if issues else ""
        return WardroundError(
            "WR-DATA-061",
            f"The FHIR server answered with status {status}.{said}",
            "Its own log says more; the text of its answer is withheld, it may quote records.",
            path=ask.what,
        )
