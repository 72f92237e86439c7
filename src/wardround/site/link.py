"""The agent's only connection: outbound HTTPS to the coordinator of the study.

It sends a `Packet`, a `Refusal` or a `Status`, and nothing else that comes from inside the
hospital but, beside a poll for work, that it waits for room on its disk. A line that fails is tried
again with the identical bytes, for as long as it takes; a coordinator that proves to be somebody
else ends the run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httptools
import httpx
import orjson

from wardround.errors import WardroundError
from wardround.federation.causes import Hindrance
from wardround.federation.messages import (
    INLINE_BYTES,
    PART_BYTES,
    Instruction,
    LedgerReport,
    frame,
    malformed,
    unframe,
)
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.ids import Digest
from wardround.site.line import Line, nothing
from wardround.site.pace import UNLIMITED, Pace
from wardround.site.say import printable
from wardround.site.way import proxy_for, proxy_trouble, reach
from wardround.trust.dsse import Envelope
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey
from wardround.trust.requests import sign_request

LONG_POLL_S = 25.0
SLOWEST_BYTES_S = 16_000.0
"""Slower than that, a part does not come through within the five minutes of its signature."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_AFRESH = frozenset({"WR-COORD-037", "WR-TRUST-044", "WR-TRUST-045"})
"""Refusals that pass: a twin that goes away; a clock that is put right; a request signed before the
coordinator started."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 15.0

Asked = tuple[Instruction, memoryview]
"""An instruction and the raw bytes that came with it."""


@dataclass(frozen=True)
class Patience:
    """How long the agent waits, in seconds, before it takes a line for dead and opens another."""

    wait_s: float = LONG_POLL_S
    """How long a request for work stays open; the hospital's firewall may cut sooner."""
    answer_s: float = 30.0
    """From sending a request to the end of its answer, on top of ``wait_s``."""
    connect_s: float = 30.0


class Link:
    """A connection under one agent key. ``trouble`` is told about every failed attempt.

    ``certificate`` is named in each signed request where a proxy may take it off the connection.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        key: SigningKey,
        identity: SpiffeId,
        trouble: Callable[[WardroundError], None] = lambda _error: None,
        *,
        wait_s: float = LONG_POLL_S,
        certificate: Digest | None = None,
    ) -> None:
        self._client = client
        self._base = str(client.base_url).rstrip("/")
        self._key = key
        self._identity = identity
        self._trouble = trouble
        self._instance = secrets.token_hex(8)
        self._wait_s = wait_s
        self._certificate = certificate
        self.bytes_out = 0
        self.bytes_in = 0
        self.heard_at: datetime | None = None
        """When the coordinator last answered."""
        self.hindrance: Hindrance | None = None
        """What keeps this hospital from answering now: told with each poll while it lasts."""

    async def next(self, seen: int) -> Asked | None:
        """Ask what to do next; None when nothing came up for a while."""
        return _asked(await self._request("POST", self._polling("/v1/next", seen), b""))

    async def send(self, item: Packet | Refusal | Status, seen: int) -> Asked | None:
        """Send, and receive what to do next, if that is known soon."""
        match item:
            case Packet():
                attachment = await self._payload(item)
                message = _framed("packet", item, attachment)
            case Refusal():
                message = _framed("refusal", item, b"")
            case Status(kind=StatusKind.APPROVAL):
                await self._request("PUT", "/v1/approval", item.envelope.to_json())
                return None
            case Status():
                message = _framed(item.kind.value, item, item.attachment)
        last = isinstance(item, Status) and item.kind is StatusKind.WITNESS
        path = self._polling("/v1/answers", seen, 0.0 if last else None)
        return _asked(await self._request("POST", path, message))

    async def part(self, name: Digest, number: int) -> bytes:
        """One part of a model, or of its delta; the caller checks it."""
        return (await self._request("GET", f"/v1/blobs/{name}/parts/{number}", b"")).content

    async def part_list(self, name: Digest) -> Envelope:
        """The signed hashes of a model's parts; the caller opens it."""
        return Envelope.from_json(
            (await self._request("GET", f"/v1/blobs/{name}/parts", b"")).content
        )

    async def delta_list(self, name: Digest, base: Digest) -> Envelope | None:
        """The same of the delta from another model; None where there is none that is smaller."""
        path = f"/v1/blobs/{name}/delta?base={base}"
        answer = await self._request("GET", path, b"")
        return None if answer.status_code == 204 else Envelope.from_json(answer.content)

    async def ledger_report(self) -> LedgerReport:
        """What the coordinator has last heard of this hospital's privacy ledger."""
        return LedgerReport.parse(_document(await self._request("GET", "/v1/ledger", b"")))

    async def renew(self, csr: bytes) -> bytes:
        """A new certificate (PEM) for a new request under the current one."""
        answer = await self._request("POST", "/v1/renew", csr)
        return _certificate(answer)

    async def use(self, client: httpx.AsyncClient, certificate: Digest | None = None) -> None:
        """Go on over another connection, under a renewed certificate."""
        old, self._client = self._client, client
        self._certificate = certificate
        try:
            await asyncio.sleep(self._wait_s)  # what is under way on the old one ends by itself
        finally:
            await old.aclose()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _payload(self, packet: Packet) -> bytes:
        """A small payload to go with the header; a large one is sent ahead in parts."""
        size = packet.header.size_bytes
        if size <= INLINE_BYTES:
            return packet.payload.read_bytes()
        descriptor = os.open(packet.payload, os.O_RDONLY)
        try:
            numbers = list(range(-(-size // PART_BYTES)))
            if not packet.part_digests:  # sent before: ask what is still missing
                path = f"/v1/rounds/{packet.round}/parts"
                missing = _document(await self._request("GET", path, b""))
                if not isinstance(missing, list) or not all(one in numbers for one in missing):
                    raise malformed("list of missing parts")
                numbers = [number for number in numbers if number in missing]
            for number in numbers:
                body = os.pread(descriptor, PART_BYTES, number * PART_BYTES)
                path = f"/v1/rounds/{packet.round}/parts/{number}"
                known = packet.part_digests[number] if packet.part_digests else None
                await self._request("PUT", path, body, known)
        finally:
            os.close(descriptor)
        return b""

    def _polling(self, path: str, seen: int, wait_s: float | None = None) -> str:
        told = "" if self.hindrance is None else f"&waits={self.hindrance.text}"
        return f"{path}?wait={self._wait_s if wait_s is None else wait_s:g}&seen={seen}{told}"

    async def _request(
        self, method: str, path: str, body: bytes, body_sha256: bytes | None = None
    ) -> httpx.Response:
        """One signed request, repeated until it gets through; a refusal is raised."""
        unnamed = f"{path}{'&' if '?' in path else '?'}instance={self._instance}"
        pause = _FIRST_PAUSE_S
        while True:
            client, named = self._client, self._certificate
            target = unnamed if named is None else f"{unnamed}&certificate={named}"
            headers = sign_request(
                self._key,
                self._identity.text,
                method,
                target,
                body,
                int(time.time()),
                body_sha256=body_sha256,
            )
            try:
                # Built here: merging defaults into each request costs more than sending it.
                request = httpx.Request(
                    method,
                    f"{self._base}{target}",
                    headers=headers,
                    content=body,
                    extensions={"timeout": client.timeout.as_dict()},
                )
                answer = await client.send(request)
            except (httpx.TransportError, ssl.SSLError) as error:  # httpx lets TLS alerts through
                self._trouble(unreachable(error))
            except RuntimeError:
                if client is self._client:
                    raise
                continue  # closed in the meantime, after a renewal
            else:
                self.bytes_out += len(body) + sum(
                    len(name) + len(value) for name, value in answer.request.headers.raw
                )
                self.bytes_in += len(answer.content) + sum(
                    len(name) + len(value) for name, value in answer.headers.raw
                )
                if answer.is_success:
                    self.heard_at = datetime.now(UTC)
                    return answer
                problem = refusal_of(answer)
                if client is not self._client and problem.code == "WR-COORD-034":
                    continue  # the certificate was renewed while this was on its way
                if answer.status_code not in _TRANSIENT and problem.code not in _AFRESH:
                    raise problem
                self._trouble(problem)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def https_client(
    url: str,
    context: ssl.SSLContext,
    patience: Patience | None = None,
    pace: Pace = UNLIMITED,
) -> httpx.AsyncClient:
    """A client for the coordinator alone; system proxies are honoured, other CAs are not.

    Through a proxy, too, bodies keep to ``pace``. Raises WR-SITE-173 for a proxy in the environment
    that can't be used.
    """
    patience = patience or Patience()
    answer_s = patience.wait_s + patience.answer_s
    return httpx.AsyncClient(
        base_url=url,
        transport=_LineTransport(context, proxy_for(url), pace, patience.connect_s, answer_s),
        timeout=httpx.Timeout(patience.connect_s, read=answer_s),
    )


class _LineTransport(httpx.AsyncBaseTransport):
    """Keeps connections to one host open and reuses them; raises httpx's own transport errors.

    ``answer_s`` bounds the time in which nothing moves, once a request had time to get away.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        proxy: str | None,
        pace: Pace,
        connect_s: float,
        answer_s: float,
    ) -> None:
        self._context = context
        self._proxy = proxy
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._pace = pace
        self._idle: list[Line] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read the whole answer."""
        line = await self._line(request.url)
        content = await request.aread()
        loop = asyncio.get_running_loop()
        # What is handed to the system counts as sent, and may lie there for as long as this.
        patience_s = self._answer_s + len(content) / SLOWEST_BYTES_S
        try:
            async with asyncio.timeout(patience_s) as limit:
                line.on_progress = lambda: limit.reschedule(loop.time() + patience_s)
                answer = await line.exchange(
                    request.method, request.url.raw_path, request.headers.raw, content
                )
        except TimeoutError as error:
            line.close()
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except (OSError, httptools.HttpParserError) as error:
            line.close()
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        except BaseException:
            line.close()
            raise
        finally:
            line.on_progress = nothing
        if self._closed:  # the last answer of a connection that a renewal has replaced
            line.close()
        elif line.open:
            self._idle.append(line)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)

    async def aclose(self) -> None:
        """Close every connection that is not in use, and the others after their answer."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _line(self, url: httpx.URL) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.open:
                return line
        try:
            async with asyncio.timeout(self._connect_s):
                return await reach(url, self._context, lambda: Line(self._pace), self._proxy)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:  # ssl.SSLError is one
            raise httpx.ConnectError(str(error)) from error


async def enrol(
    client: httpx.AsyncClient, site: str, token: str, csr: bytes, proof: Envelope | None = None
) -> bytes:
    """Trade a one-time token for a certificate (PEM); raises WR-SITE-061 out of reach.

    ``proof`` is the hospital's word that the request is its own. A token is never sent twice:
    whether the first request arrived can't be known.
    """
    document: dict[str, object] = {"site": site, "token": token, "csr": csr.decode()}
    if proof is not None:
        document["proof"] = proof.to_dict()
    try:
        answer = await client.post("/v1/enrol", json=document)
    except (httpx.TransportError, ssl.SSLError) as error:
        why = unreachable(error)  # raises where somebody else answered
        if why.code != "WR-SITE-040":
            raise why from error
        raise WardroundError(
            "WR-SITE-061",
            "The coordinator can't be reached, or the connection broke; nothing was changed here.",
            "When it is up and the address is right, enrol again. If the token is refused as used "
            "then (WR-COORD-031), the answer was lost on its way: ask for a new invitation.",
        ) from error
    if not answer.is_success:
        raise refusal_of(answer)
    return _certificate(answer)


_NOT_ACCEPTED = re.compile(
    "ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_|ACCESS_DENIED)"
)
"""How OpenSSL names the alerts of RFC 8446, section 6.2, that are about the agent's certificate."""


def unreachable(error: httpx.TransportError | ssl.SSLError) -> WardroundError:
    """What to say of a connection that failed.

    Raises WR-SITE-041 when somebody else answered, WR-SITE-068 when the coordinator answered and
    does not accept this agent's certificate, and WR-SITE-170 when the proxy asks for a password:
    trying again would change none of them.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            # Dates are looked at last: chain and host name were right.
            if getattr(cause, "verify_code", 0) in (_NOT_YET_VALID, _EXPIRED):
                return _untimely(cause.verify_code == _EXPIRED)
            raise WardroundError(
                "WR-SITE-041",
                "Whoever answers at the coordinator's address is not the study's coordinator.",
                "Check the address; a proxy that inspects TLS must let this host pass. Don't "
                "go on before you know who it is; `wardround doctor` says who signed for it.",
            ) from error
        # Alerts come under the keys of a handshake in which the coordinator proved itself.
        if isinstance(cause, ssl.SSLError) and _NOT_ACCEPTED.search(cause.reason or ""):
            raise WardroundError(
                "WR-SITE-068",
                "The coordinator does not accept the agent's certificate.",
                "Check this machine's clock, and ask the study's coordinator for a new invitation "
                "to enrol again.",
            ) from error
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ProxyError():
            return proxy_trouble(error)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            problem = "The coordinator can't be reached: nobody answers at its address."
            remedy = "check the address and the way out if it lasts."
        case httpx.TimeoutException():
            problem = "The coordinator did not answer in time."
            remedy = "ask its operator if it lasts."
        case _:  # some servers don't say why they end a handshake
            problem = "The connection to the coordinator broke before it answered."
            remedy = (
                "if it happens each time, the coordinator may not accept this agent's "
                "certificate: check the clock, or enrol again."
            )
    return WardroundError("WR-SITE-040", problem, f"The agent tries again by itself; {remedy}")


_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def _untimely(expired: bool) -> WardroundError:
    when = "has expired" if expired else "is not valid yet"
    clock = "fast" if expired else "slow"
    return WardroundError(
        "WR-SITE-172",
        f"The coordinator's certificate {when} by this machine's clock; everything else in it is "
        "right.",
        f"If this machine's clock is {clock}, set it, best by NTP. If it is right, tell the "
        "coordinator's operator. The agent tries again by itself.",
    )


def refusal_of(answer: httpx.Response) -> WardroundError:
    """The error in a problem document (RFC 9457), in letters that no terminal takes for more."""
    try:
        document = orjson.loads(answer.content)
        code, problem, remedy = (str(document[key]) for key in ("code", "title", "detail"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        code, problem = "WR-SITE-042", f"The coordinator answered with HTTP {answer.status_code}."
        remedy = "A proxy may stand in between; the coordinator's log says more."
    code, problem, remedy = (printable(one) for one in (code, problem, remedy))
    return WardroundError(code[:20], problem[:500], remedy[:500])


def _framed(kind: str, item: Packet | Refusal | Status, attachment: bytes) -> bytes:
    return frame({"kind": kind, "envelope": item.envelope.to_dict()}, attachment)


def _asked(answer: httpx.Response) -> Asked | None:
    if answer.status_code == 204:
        return None
    head, body = unframe(answer.content)
    return Instruction.parse(head), body


def _document(answer: httpx.Response) -> object:
    try:
        document: object = orjson.loads(answer.content)
    except orjson.JSONDecodeError as error:
        raise malformed("answer") from error
    return document


def _certificate(answer: httpx.Response) -> bytes:
    document = _document(answer)
    certificate = document.get("certificate") if isinstance(document, dict) else None
    if not isinstance(certificate, str):
        raise malformed("certificate")
    return certificate.encode()
