"""The coordinator's HTTP interface: routes and nothing else.

All of it is opened by the hospitals. Every request but enrolment comes over a connection with a
client certificate and is signed by that certificate's key (RFC 9421). Errors are problem
documents (RFC 9457) with the code that ``wardround explain`` knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import orjson
from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from wardround import __version__
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.enrolment import Peer
from wardround.coordinator.own import own_document
from wardround.coordinator.reception import Reception, read_body
from wardround.coordinator.traffic import Counted
from wardround.errors import WardroundError
from wardround.federation.messages import malformed, unframe
from wardround.ids import Digest, RoundId, RunId, SiteName
from wardround.store.room import NO_ROOM
from wardround.trust.dsse import Envelope

MESSAGE = "application/vnd.wardround.message"
LATEST = "latest"
"""Stands for the latest run where a run is named."""

MAXIMUM_WAIT_S = 30.0
MAXIMUM_ENROLMENT_BYTES = 64 << 10
"""Anybody may send this one, so little of it is read."""

_STATUS = {
    "WR-COORD-001": 503,
    NO_ROOM: 503,
    "WR-STORE-003": 503,  # after a power cut: the model is made again when the run is replayed
    "WR-COORD-031": 403,
    "WR-COORD-032": 401,
    "WR-COORD-033": 403,
    "WR-COORD-034": 403,
    "WR-COORD-042": 404,
    "WR-COORD-061": 403,
    "WR-COORD-071": 429,
}


def create_app(coordinator: Coordinator) -> FastAPI:
    """The application of one coordinator."""
    app = FastAPI(title="Wardround coordinator", version="1", docs_url=None, redoc_url=None)
    reception = Reception(coordinator)
    app.add_middleware(Counted, count=coordinator.count)

    @app.exception_handler(WardroundError)
    async def problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, WardroundError)
        return _problem(error, _STATUS.get(error.code, 409))

    @app.exception_handler(StarletteHTTPException)
    async def unknown(_request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return _problem(malformed("request"), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, _error: Exception) -> Response:
        return _problem(malformed("request"), 400)

    @app.get("/v1/health")
    async def health(request: Request, nonce: str = "") -> dict[str, object]:
        found: dict[str, object] = {"study": coordinator.study.id, "state": coordinator.state_name}
        known = reception.known(request)
        if isinstance(known, WardroundError):
            found["refused"] = known.code
        elif known is not None:  # to the study's own hospitals a little more
            found |= {"site": known.site, "version": __version__}
            if nonce:
                found["present"] = coordinator.present_to(known.site, nonce).to_dict()
        return found

    @app.post("/v1/enrol")
    async def enrol(request: Request) -> dict[str, str]:
        body = await read_body(request, MAXIMUM_ENROLMENT_BYTES)
        site, token, csr, proof = _enrolment(body)
        with coordinator.refusals.noted(site):
            certificate = coordinator.enrolment.enrol(site, token, csr, proof)
        return {"certificate": certificate.decode()}

    @app.post("/v1/renew")
    async def renew(request: Request) -> dict[str, str]:
        peer, body = await reception.admit(request)
        return {"certificate": coordinator.enrolment.renew(peer, body).decode()}

    @app.put("/v1/approval", status_code=204)
    async def approve(request: Request) -> None:
        peer, body = await reception.admit(request)
        coordinator.approve(peer, Envelope.from_json(body))

    @app.get("/v1/ledger")
    async def ledger(request: Request) -> Response:
        peer, _ = await reception.admit(request)
        report = coordinator.ledger_report(peer.site).model_dump_json()
        return Response(report, media_type="application/json")

    @app.get("/v1/runs/{run}/timeline")
    async def timeline(request: Request, run: str) -> Response:
        """A hospital's own lane; who may read the coordinator's folder sees all of them there.

        Asked by people beside a running agent, so it is no sign of one.
        """
        peer, _ = await reception.admit(request, looks=True)
        found = coordinator.timeline(None if run == LATEST else RunId(run))
        body = orjson.dumps(own_document(found, peer.site))
        return Response(body, media_type="application/json")

    @app.post("/v1/next")
    async def following(request: Request) -> Response:
        peer, _ = await reception.admit(request)
        return await _next(coordinator, peer, request)

    @app.post("/v1/answers")
    async def answer(request: Request) -> Response:
        peer, body = await reception.admit(request)
        head, attachment = unframe(body)
        kind, envelope = head.get("kind"), head.get("envelope")
        if not isinstance(kind, str) or not isinstance(envelope, dict):
            raise malformed("answer")
        intake = coordinator.intake_for(peer)
        await intake.submit(peer.site, kind, Envelope.from_json(envelope), bytes(attachment))
        if kind == "witness":  # its last word
            coordinator.take_leave(peer.site)
            return Response(status_code=204)
        return await _next(coordinator, peer, request)

    @app.get("/v1/rounds/{round_}/parts")
    async def missing(request: Request, round_: str) -> list[int]:
        peer, _ = await reception.admit(request)
        exchange = coordinator.exchange_for(peer)
        exchange.check_open(peer.site, RoundId(round_))
        return exchange.spool.missing(RoundId(round_), peer.site, exchange.payload_bytes())

    @app.put("/v1/rounds/{round_}/parts/{number}", status_code=204)
    async def part(request: Request, round_: str, number: int) -> None:
        visitor = reception.visitor(request)
        exchange = coordinator.exchange_for(visitor.peer)
        name, site = RoundId(round_), visitor.peer.site
        exchange.check_open(site, name)
        with exchange.spool.part(name, site, number, exchange.payload_bytes()) as incoming:
            async for piece in request.stream():
                incoming.write(piece)
            visitor.verify(body_sha256=incoming.sha256.digest())
            incoming.accept(incoming.sha256.digest())

    @app.get("/v1/blobs/{name}/parts")
    async def parts(request: Request, name: str) -> Response:
        peer, _ = await reception.admit(request)
        listed = await coordinator.exchange_for(peer).models.parts(Digest(name))
        return Response(listed.to_json(), media_type="application/json")

    @app.get("/v1/blobs/{name}/delta")
    async def delta(request: Request, name: str, base: str) -> Response:
        peer, _ = await reception.admit(request)
        listed = await coordinator.exchange_for(peer).models.delta(Digest(name), Digest(base))
        if listed is None:
            return Response(status_code=204)
        return Response(listed.to_json(), media_type="application/json")

    @app.get("/v1/blobs/{name}/parts/{number}")
    async def blob(
        request: Request, name: str, number: Annotated[int, PathParameter(ge=0, lt=2**20)]
    ) -> Response:
        peer, _ = await reception.admit(request)
        pieces = coordinator.exchange_for(peer).models.read_part(Digest(name), number)
        return StreamingResponse(_in_turn(pieces), media_type="application/octet-stream")

    return app


def _enrolment(body: bytes) -> tuple[SiteName, str, bytes, Envelope | None]:
    """Site, token, CSR and the hospital's signature over it, if there is one.

    Anything else is refused and not repeated, as a token may be in it.
    """
    try:
        match orjson.loads(body):
            case {"site": str(site), "token": str(token), "csr": str(csr), **more}:
                proof = more.get("proof")
                signed = Envelope.from_json(proof) if isinstance(proof, dict) else None
                return SiteName(site), token, csr.encode(), signed
    except (orjson.JSONDecodeError, WardroundError):
        pass
    raise malformed("enrolment")


async def _in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces as the line takes them, so that a slow one holds no more than a piece in memory."""
    for piece in pieces:
        yield piece


async def _next(coordinator: Coordinator, peer: Peer, request: Request) -> Response:
    """The site's next instruction, waited for as long as the agent asked."""
    try:
        asked = float(request.query_params.get("wait", "0"))
        seen = int(request.query_params.get("seen", "0"))
    except ValueError as error:
        raise malformed("query") from error
    if not asked >= 0:  # nor a number at all: a clock that waits for NaN never stands still
        raise malformed("query")
    coordinator.hear_hindrance(peer.site, request.query_params.get("waits", ""))
    wait = min(asked, MAXIMUM_WAIT_S)
    message = coordinator.instruction_now(peer.site, seen)
    if message is not None or not wait:
        return _message(message)
    with coordinator.waiting(peer.site, request.query_params.get("instance", "")):
        work = asyncio.ensure_future(coordinator.instruction(peer.site, seen, wait))
        gone = asyncio.ensure_future(request.receive())  # what comes next is the disconnect
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if work.done():
            message = work.result()
        else:
            work.cancel()
    return _message(message)


def _message(message: bytes | None) -> Response:
    if message is None:
        return Response(status_code=204)
    return Response(message, media_type=MESSAGE)


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
