"""The coordinator's HTTP interface: routes and nothing else.

All of it is opened by the hospitals. Every request but enrolment comes over a connection with a
client certificate and is signed by that certificate's key (RFC 9421). Errors are problem
documents (RFC 9457) with the code that ``wardround explain`` knows.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Annotated

import orjson
from fastapi import Body, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.enrolment import Peer
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES, malformed, unframe
from wardround.ids import Digest, RoundId, SiteName
from wardround.trust.dsse import Envelope
from wardround.trust.replay import ReplayCache
from wardround.trust.requests import verify_request

MESSAGE = "application/vnd.wardround.message"
MAXIMUM_WAIT_S = 30.0
MAXIMUM_BODY_BYTES = 64 << 20
_STATUS = {"WR-COORD-031": 403, "WR-COORD-032": 401, "WR-COORD-033": 403, "WR-COORD-034": 403}


def create_app(coordinator: Coordinator) -> FastAPI:
    """The application of one coordinator."""
    app = FastAPI(title="Wardround coordinator", version="1", docs_url=None, redoc_url=None)
    door = _Doorkeeper(coordinator)

    @app.exception_handler(WardroundError)
    async def problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, WardroundError)
        return _problem(error, _STATUS.get(error.code, 409))

    @app.get("/v1/health")
    async def health() -> dict[str, str]:
        return {"study": coordinator.study.id, "state": coordinator.state_name}

    @app.post("/v1/enrol")
    async def enrol(request: Annotated[dict[str, str], Body()]) -> dict[str, str]:
        site, token, csr = (request.get(key, "") for key in ("site", "token", "csr"))
        certificate = coordinator.enrolment.enrol(SiteName(site), token, csr.encode())
        return {"certificate": certificate.decode()}

    @app.post("/v1/renew")
    async def renew(request: Request) -> dict[str, str]:
        peer, body = await door.open(request)
        return {"certificate": coordinator.enrolment.renew(peer, body).decode()}

    @app.put("/v1/approval", status_code=204)
    async def approve(request: Request) -> None:
        peer, body = await door.open(request)
        coordinator.approve(peer, Envelope.from_json(body))

    @app.post("/v1/next")
    async def following(request: Request) -> Response:
        peer, _ = await door.open(request)
        return await _next(coordinator, peer, request)

    @app.post("/v1/answers")
    async def answer(request: Request) -> Response:
        peer, body = await door.open(request)
        head, attachment = unframe(body)
        kind, envelope = head.get("kind"), head.get("envelope")
        if not isinstance(kind, str) or not isinstance(envelope, dict):
            raise malformed("answer")
        exchange = coordinator.exchange_for(peer)
        exchange.accept(peer.site, kind, Envelope.from_json(envelope), bytes(attachment))
        return await _next(coordinator, peer, request)

    @app.get("/v1/rounds/{round_}/parts")
    async def missing(request: Request, round_: str) -> list[int]:
        peer, _ = await door.open(request)
        exchange = coordinator.exchange_for(peer)
        exchange.check_open(peer.site, RoundId(round_))
        return exchange.spool.missing(RoundId(round_), peer.site, exchange.payload_bytes())

    @app.put("/v1/rounds/{round_}/parts/{number}", status_code=204)
    async def part(request: Request, round_: str, number: int) -> None:
        peer, body = await door.open(request)
        exchange = coordinator.exchange_for(peer)
        exchange.check_open(peer.site, RoundId(round_))
        size = exchange.payload_bytes()
        await run_in_threadpool(exchange.spool.put, RoundId(round_), peer.site, number, body, size)

    @app.get("/v1/blobs/{name}/parts/{number}")
    async def blob(request: Request, name: str, number: int) -> Response:
        peer, _ = await door.open(request)
        coordinator.exchange_for(peer).check_blob(Digest(name))
        data = await run_in_threadpool(
            coordinator.blobs.read_part, Digest(name), number * PART_BYTES, PART_BYTES
        )
        return Response(data, media_type="application/octet-stream")

    return app


class _Doorkeeper:
    """Lets in requests of enrolled agents: certificate, signature, no replay, one agent a site."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._replays = ReplayCache(not_before=int(time.time()))

    async def open(self, request: Request) -> tuple[Peer, bytes]:
        """Who asks, and the verified body."""
        peer = self._coordinator.enrolment.identify(_certificate(request))
        identity = self._coordinator.enrolment.identity(peer.site).text
        body = await _body(request)
        target = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        verify_request(
            lambda keyid: peer.key if keyid == identity else None,
            request.method,
            f"{target}?{query}" if query else target,
            request.headers,
            body,
            int(time.time()),
            self._replays,
        )
        self._coordinator.heard_of(peer.site, request.query_params.get("instance", ""))
        return peer, body


async def _next(coordinator: Coordinator, peer: Peer, request: Request) -> Response:
    """The site's next instruction, waited for as long as the agent asked."""
    try:
        wait = min(float(request.query_params.get("wait", "0")), MAXIMUM_WAIT_S)
        seen = int(request.query_params.get("seen", "0"))
    except ValueError as error:
        raise malformed("query") from error
    message = None
    with coordinator.waiting(peer.site, request.query_params.get("instance", "")):
        work = asyncio.ensure_future(coordinator.instruction(peer.site, seen, wait))
        gone = asyncio.ensure_future(request.receive())  # what comes next is the disconnect
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if work.done():
            message = work.result()
        else:
            work.cancel()
    if message is None:
        return Response(status_code=204)
    return Response(message, media_type=MESSAGE)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAXIMUM_BODY_BYTES:
            raise WardroundError(
                "WR-COORD-013",
                "A request body is larger than any message may be.",
                "Send large payloads in numbered parts.",
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _certificate(request: Request) -> bytes | None:
    tls = request.scope.get("extensions", {}).get("tls", {})
    chain = tls.get("client_cert_chain") or []
    return ssl.PEM_cert_to_DER_cert(chain[0]) if chain else None


def _problem(error: WardroundError, status: int) -> Response:
    document = {
        "type": f"urn:wardround:{error.code}",
        "title": error.problem,
        "detail": error.remedy,
        "status": status,
        "code": error.code,
    }
    return Response(
        orjson.dumps(document), status_code=status, media_type="application/problem+json"
    )
