"""The agent's one connection: what goes over it, how often, and with whom."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
import pytest

from studies import KEYS
from ward import code_of
from wardround.errors import WardroundError
from wardround.federation.messages import (
    INLINE_BYTES,
    PART_BYTES,
    Ask,
    Instruction,
    PacketHeader,
    Refused,
    frame,
    unframe,
)
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.ids import RunId, SiteName, StudyId
from wardround.site.link import Link, enrol
from wardround.trust.canonical import digest
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey
from wardround.trust.replay import ReplayCache
from wardround.trust.requests import verify_request

KEY = KEYS["lakeside"]
AGENT = SigningKey.generate()
IDENTITY = SpiffeId.of_site("localhost", StudyId("breast-mass"), SiteName("lakeside"))
SOME = digest(b"something")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.site.link._FIRST_PAUSE_S", 0.0)


@dataclass
class Far:
    """The other end: verifies every signature, and answers from a list of surprises first."""

    surprises: list[Callable[[httpx.Request], httpx.Response]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    replays: ReplayCache = field(default_factory=ReplayCache)
    trouble: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        created = int(request.headers["signature-input"].split("created=")[1].split(";")[0])
        verify_request(
            lambda keyid: AGENT.public if keyid == IDENTITY.text else None,
            request.method,
            request.url.raw_path.decode(),
            request.headers,
            request.content,
            created,
            self.replays,
        )
        if self.surprises:
            return self.surprises.pop(0)(request)
        if request.url.path.endswith("/parts") and request.method == "GET":
            return httpx.Response(200, content=orjson.dumps(self.missing))
        return httpx.Response(204)

    def link(self) -> Link:
        client = httpx.AsyncClient(
            transport=httpx.MockTransport(self), base_url="https://localhost"
        )
        return Link(client, AGENT, IDENTITY, lambda error: self.trouble.append(error.code))

    def paths(self) -> list[str]:
        return [f"{one.method} {one.url.path}" for one in self.requests]


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut", request=request)


def status(number: int, code: str | None = None) -> Callable[[httpx.Request], httpx.Response]:
    document = {"code": code, "title": "Problem.", "detail": "Remedy."} if code else {"x": 1}
    return lambda _request: httpx.Response(number, content=orjson.dumps(document))


def packet(folder: Path, payload: bytes, *, fresh: bool = True) -> Packet:
    path = folder / "round.packet"
    path.write_bytes(payload)
    parts = [payload[at : at + PART_BYTES] for at in range(0, len(payload), PART_BYTES)]
    hashes = tuple(hashlib.sha256(part).digest() for part in parts)
    header = PacketHeader(
        study=SOME,
        run=RunId("run"),
        step=0,
        round="round",
        task=SOME,
        manifest=SOME,
        site=SiteName("lakeside"),
        payload=digest(b"".join(hashes)),
        size_bytes=len(payload),
        part_bytes=PART_BYTES,
    )
    return Packet(header, header.sign(KEY), path, hashes if fresh else ())


REFUSED = Refused(study=SOME, run=RunId("run"), scope="round", site=SiteName("lakeside"))
REFUSAL = Refusal(REFUSED, REFUSED.sign(KEY))


async def test_a_broken_line_is_tried_again_with_the_same_bytes_under_a_fresh_signature(
    tmp_path: Path,
) -> None:
    far = Far([broken, broken, status(503), status(429)])
    await far.link().send(packet(tmp_path, b"12345678"), 3)
    assert len({one.content for one in far.requests}) == 1 and len(far.requests) == 5
    assert len({one.headers["signature"] for one in far.requests}) == 5
    assert len({one.url for one in far.requests}) == 1
    assert far.trouble == ["WR-SITE-040", "WR-SITE-040", "WR-SITE-042", "WR-SITE-042"]


@pytest.mark.parametrize("code", ["WR-COORD-037", "WR-TRUST-044", "WR-TRUST-045"])
async def test_what_passes_by_itself_is_waited_for(code: str) -> None:
    far = Far([status(409, code), status(409, code)])
    assert await far.link().next(0) is None
    assert far.trouble == [code, code]


@pytest.mark.parametrize("code", ["WR-COORD-034", "WR-TRUST-041", "WR-COORD-023"])
async def test_a_refusal_is_raised_with_its_code(code: str) -> None:
    far = Far([status(403, code)])
    assert await code_of(far.link().next(0)) == code
    assert len(far.requests) == 1


async def test_a_coordinators_words_do_not_steer_the_terminal() -> None:
    words = {"code": "WR-COORD-034", "title": "\x1b[2JGone.\r\n", "detail": "\x07Look.\u202e"}
    far = Far([lambda _request: httpx.Response(403, content=orjson.dumps(words))])
    with pytest.raises(WardroundError) as caught:
        await far.link().next(0)
    assert str(caught.value).isprintable() and "Gone." in caught.value.problem


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403, content=b"<html>blocked by policy</html>"),
        httpx.Response(404, content=b"[]"),
        httpx.Response(302, headers={"location": "https://elsewhere"}),
        httpx.Response(400, content=b'{"code": 1}'),
    ],
)
async def test_an_answer_of_somebody_on_the_way_has_its_own_code(answer: httpx.Response) -> None:
    far = Far([lambda _request: answer])
    assert await code_of(far.link().next(0)) == "WR-SITE-042"
    assert len(far.requests) == 1, "a redirection is not followed"


async def test_a_server_with_another_certificate_ends_it() -> None:
    def stranger(request: httpx.Request) -> httpx.Response:
        cause = ssl.SSLCertVerificationError("self-signed certificate")
        raise httpx.ConnectError("handshake", request=request) from cause

    far = Far([stranger])
    assert await code_of(far.link().next(0)) == "WR-SITE-041"
    assert len(far.requests) == 1


@pytest.mark.parametrize("body", [b"", b"\x00\x00\x00\xff{}", b"\x00\x00\x00\x02[]"])
async def test_a_malformed_instruction_has_a_code(body: bytes) -> None:
    far = Far([lambda _request: httpx.Response(200, content=body)])
    assert await code_of(far.link().next(0)) == "WR-ROUND-001"


async def test_an_instruction_comes_with_its_body() -> None:
    ask = Instruction(ask=Ask.STOP, run=RunId("run"), reason="enough")
    message = frame(ask.model_dump(mode="json", exclude_defaults=True), b"body")
    asked = await Far([lambda _request: httpx.Response(200, content=message)]).link().next(0)
    assert asked is not None and asked[0] == ask and bytes(asked[1]) == b"body"


async def test_every_kind_of_item_goes_its_own_way() -> None:
    far = Far()
    link = far.link()
    envelope = REFUSAL.envelope
    await link.send(Status(StatusKind.APPROVAL, envelope), 0)
    await link.send(REFUSAL, 7)
    await link.send(Status(StatusKind.DEAL, envelope, b"sealed"), 7)
    assert far.paths() == ["PUT /v1/approval", "POST /v1/answers", "POST /v1/answers"]
    heads = [unframe(one.content) for one in far.requests[1:]]
    assert [(head["kind"], bytes(body)) for head, body in heads] == [
        ("refusal", b""),
        ("deal", b"sealed"),
    ]
    assert {one.url.params["seen"] for one in far.requests[1:]} == {"7"}
    assert len({one.url.params["instance"] for one in far.requests}) == 1
    assert link.bytes_out > sum(len(one.content) for one in far.requests)


async def test_two_links_are_two_instances() -> None:
    far = Far()
    await far.link().next(0)
    await far.link().next(0)
    assert len({one.url.params["instance"] for one in far.requests}) == 2


# Large payloads


@pytest.fixture(scope="module")
def large() -> bytes:
    return bytes(range(256)) * ((2 * PART_BYTES + 1024) // 256)


async def test_a_small_payload_goes_with_its_header(tmp_path: Path) -> None:
    far = Far()
    await far.link().send(packet(tmp_path, bytes(INLINE_BYTES)), 0)
    assert far.paths() == ["POST /v1/answers"]
    assert bytes(unframe(far.requests[0].content)[1]) == bytes(INLINE_BYTES)


async def test_a_large_payload_goes_ahead_in_parts(tmp_path: Path, large: bytes) -> None:
    far = Far([status(204), broken])
    await far.link().send(packet(tmp_path, large), 0)
    parts = "PUT /v1/rounds/round/parts/"
    assert far.paths() == [f"{parts}0", f"{parts}1", f"{parts}1", f"{parts}2", "POST /v1/answers"]
    sent = {one.url.path: one.content for one in far.requests[:4]}
    assert b"".join(sent.values()) == large
    assert bytes(unframe(far.requests[4].content)[1]) == b""


async def test_on_a_line_that_is_cut_at_every_part_each_arrives_once(
    tmp_path: Path, large: bytes
) -> None:
    far = Far([broken, status(204), broken, status(204), broken, status(204), broken])
    await far.link().send(packet(tmp_path, large), 0)
    parts = [f"PUT /v1/rounds/round/parts/{number}" for number in range(3)]
    twice = [path for path in (*parts, "POST /v1/answers") for _ in range(2)]
    assert far.paths() == twice
    assert b"".join(one.content for one in far.requests[1:6:2]) == large


async def test_after_a_restart_only_what_is_missing_is_sent(tmp_path: Path, large: bytes) -> None:
    far = Far(missing=[1])
    await far.link().send(packet(tmp_path, large, fresh=False), 0)
    assert far.paths() == [
        "GET /v1/rounds/round/parts",
        "PUT /v1/rounds/round/parts/1",
        "POST /v1/answers",
    ]
    assert far.requests[1].content == large[PART_BYTES : 2 * PART_BYTES]


@pytest.mark.parametrize("missing", [b"junk", b"{}", b"[3]", b"[-1]", b'["0"]', b"[0.5]", b"[[1]]"])
async def test_an_impossible_list_of_missing_parts_has_a_code(
    tmp_path: Path, large: bytes, missing: bytes
) -> None:
    far = Far([lambda _request: httpx.Response(200, content=missing)])
    assert await code_of(far.link().send(packet(tmp_path, large, fresh=False), 0)) == (
        "WR-ROUND-001"
    )


async def test_a_part_of_a_model_is_asked_for_until_it_comes(large: bytes) -> None:
    def part(request: httpx.Request) -> httpx.Response:
        number = int(request.url.path.rsplit("/", 1)[1])
        return httpx.Response(200, content=large[number * PART_BYTES :][:PART_BYTES])

    far = Far([broken, part])
    assert await far.link().part(SOME, 1) == large[PART_BYTES:][:PART_BYTES]
    assert far.paths() == [f"GET /v1/blobs/{SOME}/parts/1"] * 2


async def test_no_delta_is_an_answer(large: bytes) -> None:
    assert await Far().link().delta_list(SOME, digest(b"base")) is None


# Enrolment


async def enrolled(answer: Callable[[httpx.Request], httpx.Response]) -> bytes:
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
        return await enrol(client, "lakeside", "token", b"csr")


async def test_a_token_is_traded_once_and_never_sent_twice() -> None:
    calls: list[httpx.Request] = []

    def once(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise httpx.ReadError("cut", request=request)

    assert await code_of(enrolled(once)) == "WR-SITE-061"
    assert len(calls) == 1
    good = httpx.Response(200, content=orjson.dumps({"certificate": "pem"}))
    assert await enrolled(lambda _request: good) == b"pem"


@pytest.mark.parametrize("document", [b"{}", b"[]", b'{"certificate": 5}', b"junk"])
async def test_an_enrolment_without_a_certificate_has_a_code(document: bytes) -> None:
    answer = httpx.Response(200, content=document)
    assert await code_of(enrolled(lambda _request: answer)) == "WR-ROUND-001"


async def test_a_used_token_is_told_as_such() -> None:
    with pytest.raises(WardroundError) as caught:
        await enrolled(status(403, "WR-COORD-031"))
    assert caught.value.code == "WR-COORD-031"


async def test_a_request_that_a_renewal_overtook_is_sent_again_on_the_new_connection() -> None:
    """Refused under the old certificate, because the new one came into use in between."""
    far = Far()
    link = far.link()
    changing: list[asyncio.Task[None]] = []

    def overtaken(request: httpx.Request) -> httpx.Response:
        fresh = httpx.AsyncClient(transport=httpx.MockTransport(far), base_url="https://localhost")
        changing.append(asyncio.ensure_future(link.use(fresh, SOME)))
        return status(403, "WR-COORD-034")(request)

    async def answer(request: httpx.Request) -> httpx.Response:
        made = far(request)
        await asyncio.sleep(0)
        return made

    far.surprises.append(overtaken)
    link._client = httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="https://localhost"
    )
    assert await link.next(0) is None
    assert [one.url.params.get("certificate") for one in far.requests] == [None, SOME]
    changing[0].cancel()
