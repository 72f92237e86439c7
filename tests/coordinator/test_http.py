"""The routes under requests that no agent sends."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from puppets import Puppets
from ward import SITES, Ward, code_of, open_ward
from wardround.coordinator.http import MAXIMUM_ENROLMENT_BYTES, create_app
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES, frame
from wardround.simulation.inprocess import Certified
from wardround.study import Task
from wardround.trust.keys import SigningKey
from wardround.trust.requests import sign_request


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path) as ward:
        yield ward


async def enrol(ward: Ward, body: bytes) -> httpx.Response:
    app = httpx.ASGITransport(create_app(ward.coordinator))
    async with httpx.AsyncClient(transport=app, base_url="https://localhost") as client:
        return await client.post("/v1/enrol", content=body)


async def test_a_stranger_cannot_send_a_large_enrolment(ward: Ward) -> None:
    answer = await enrol(ward, bytes(MAXIMUM_ENROLMENT_BYTES + 1))
    assert answer.json()["code"] == "WR-COORD-013"


@pytest.mark.parametrize(
    "body", [b"", b"junk", b"[]", b"{}", b'{"site": 1, "token": "s3cret", "csr": ""}']
)
async def test_a_malformed_enrolment_has_a_code_and_is_not_repeated(
    ward: Ward, body: bytes
) -> None:
    answer = await enrol(ward, body)
    assert answer.json()["code"] == "WR-ROUND-001"
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("wait", ["nan", "-1", "-inf", "long"])
async def test_a_wait_that_is_no_time_is_refused(ward: Ward, wait: str) -> None:
    agent = ward.hospitals[SITES[0]].agent
    assert agent is not None
    asked = agent.link._request("POST", f"/v1/next?wait={wait}&seen=0", b"")
    assert await code_of(asyncio.wait_for(asked, 5)) == "WR-ROUND-001"


@pytest.mark.parametrize("times", [1, 2])
async def test_a_payload_that_changed_on_disk_is_sent_again_and_never_summed(
    times: int, ward: Ward
) -> None:
    """As after a power cut: the process that took the payloads in is gone."""
    driver = ward.driver
    opened = driver._open_ring
    cuts = 0

    def after_a_power_cut(state: object, encoding: object) -> object:
        nonlocal cuts
        cuts += 1
        if cuts <= times:
            spool = driver.exchange.spool
            path = spool.path(state.round, SITES[1])
            path.write_bytes(bytes(path.stat().st_size))
            spool._parts.clear()
        return opened(state, encoding)

    driver._open_ring = after_a_power_cut
    work = asyncio.wait_for(driver.sum(ward.task()), 30)
    if times == 1:
        assert (await work).survivors == SITES
        return
    with pytest.raises(WardroundError, match="WR-COORD-012"):
        await work


# By hand: one site's requests, signed and sent as a test wants them

ME, PEER = SITES[:2]


class Hand:
    """Sends requests for one site; ``key`` signs them, ``certificate`` is shown."""

    def __init__(self, ward: Ward, site: str = ME) -> None:
        hospital = ward.hospitals[site]
        self.key: SigningKey = hospital.agent_key
        self.identity = str(hospital.identity.text)
        self.instance = "hand"
        app = Certified(create_app(ward.coordinator), hospital.certificate)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="https://localhost"
        )

    def signed(
        self, method: str, path: str, body: bytes = b"", now: int | None = None
    ) -> httpx.Request:
        target = f"{path}{'&' if '?' in path else '?'}instance={self.instance}"
        moment = int(time.time()) if now is None else now
        headers = sign_request(self.key, self.identity, method, target, body, moment)
        return self.client.build_request(method, target, content=body, headers=headers)

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self.client.send(request)

    async def ask(self, method: str, path: str, body: bytes = b"") -> httpx.Response:
        return await self.send(self.signed(method, path, body))


def problem(answer: httpx.Response) -> str:
    """The code of a problem document (RFC 9457), which must be whole."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code >= 400
    assert document["type"] == f"urn:wardround:{document['code']}"
    assert document["title"] and document["detail"]
    return str(document["code"])


async def test_one_site_cannot_fill_the_memory_with_requests_that_never_end(
    idle: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: many at once, each as large as may be, and none of them signed to its end."""
    monkeypatch.setattr("wardround.coordinator.reception.MOST_HELD_BYTES", 1000)
    hand = Hand(idle)
    body, begun, go_on = bytes(600), asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield body
        begun.set()
        await go_on.wait()

    signed = hand.signed("POST", "/v1/next", body)
    slow = hand.client.build_request("POST", signed.url, content=slowly(), headers=signed.headers)
    under_way = asyncio.create_task(hand.send(slow))
    await begun.wait()
    answer = await hand.ask("POST", "/v1/next", body)
    assert (answer.status_code, problem(answer)) == (429, "WR-COORD-071")
    assert (await hand.ask("POST", "/v1/next", bytes(300))).status_code == 204
    go_on.set()
    assert (await under_way).status_code == 204
    for _ in range(3):
        assert (await hand.ask("POST", "/v1/next", body)).status_code == 204


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[Ward]:
    """A ward without agents; every approval is at hand, and a round of two parts is open."""
    async with open_ward(tmp_path, start=False) as ward:
        for site, hospital in ward.hospitals.items():
            peer = ward.coordinator.enrolment.identify(_der(hospital.certificate))
            assert peer.site == site
            ward.coordinator.approve(peer, hospital.custody.approval)
        yield ward


def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


async def test_a_request_counts_once_unaltered_and_under_its_own_key(idle: Ward) -> None:
    hand = Hand(idle)
    request = hand.signed("POST", "/v1/next?wait=0&seen=0")
    assert (await hand.send(request)).status_code == 204
    assert problem(await hand.send(request)) == "WR-TRUST-045"

    unsigned = hand.client.build_request("POST", "/v1/next?wait=0&seen=0&instance=hand")
    assert problem(await hand.send(unsigned)) == "WR-TRUST-040"
    moved = hand.signed("POST", "/v1/next?wait=0&seen=0")
    moved.url = moved.url.copy_set_param("seen", "7")
    assert problem(await hand.send(moved)) == "WR-TRUST-042"
    body = hand.signed("PUT", "/v1/approval", b"{}")
    swapped = hand.client.build_request("PUT", body.url, content=b"[]", headers=body.headers)
    assert problem(await hand.send(swapped)) == "WR-TRUST-043"
    old = hand.signed("POST", "/v1/next?wait=0&seen=0", now=int(time.time()) - 900)
    assert problem(await hand.send(old)) == "WR-TRUST-044"

    thief = Hand(idle, PEER)
    thief.identity = hand.identity
    assert problem(await thief.ask("POST", "/v1/next?wait=0&seen=0")) == "WR-TRUST-041"
    thief.identity = Hand(idle, PEER).identity
    thief.key = hand.key
    assert problem(await thief.ask("POST", "/v1/next?wait=0&seen=0")) == "WR-TRUST-042"


async def test_two_agents_with_one_identity(idle: Ward) -> None:
    first, second = Hand(idle), Hand(idle)
    second.instance = "twin"
    second.client = first.client
    assert (await first.ask("POST", "/v1/next?wait=0&seen=0")).status_code == 204
    assert problem(await second.ask("POST", "/v1/next?wait=0&seen=0")) == "WR-COORD-037"


async def test_without_a_certificate_there_is_only_enrolment(idle: Ward) -> None:
    app = httpx.ASGITransport(create_app(idle.coordinator))
    async with httpx.AsyncClient(transport=app, base_url="https://localhost") as client:
        for method, path in [
            ("POST", "/v1/next"),
            ("POST", "/v1/answers"),
            ("POST", "/v1/renew"),
            ("PUT", "/v1/approval"),
            ("GET", "/v1/rounds/r/parts"),
            ("PUT", "/v1/rounds/r/parts/0"),
            ("GET", "/v1/blobs/b/parts/0"),
        ]:
            answer = await client.request(method, path)
            assert (answer.status_code, problem(answer)) == (401, "WR-COORD-032")
        assert (await client.get("/v1/health")).json()["state"] == "waiting"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/elsewhere"),
        ("GET", "/v1/next"),
        ("PUT", "/v1/rounds/r/parts/first"),
        ("GET", "/v1/blobs/b/parts/-1"),
        ("GET", "/v1/blobs/b/parts/1.5"),
        ("POST", "/v1/next?wait=0&seen=many"),
    ],
)
async def test_requests_that_make_no_sense_are_problems_too(
    idle: Ward, method: str, path: str
) -> None:
    assert problem(await Hand(idle).ask(method, path)) == "WR-ROUND-001"


@pytest.mark.parametrize(
    "body",
    [b"", b"junk", frame({}), frame({"kind": 5, "envelope": {}}), frame({"kind": "vote"})],
)
async def test_an_answer_that_is_none(idle: Ward, body: bytes) -> None:
    idle.drive()
    answer = await Hand(idle).ask("POST", "/v1/answers?wait=0&seen=0", body)
    assert problem(answer) == "WR-ROUND-001"


@pytest.fixture
async def wide(idle: Ward) -> AsyncIterator[Puppets]:
    """A round whose payloads come in two parts."""

    puppets = Puppets(idle)
    task = idle.task()
    length = (PART_BYTES + 800) // 8
    idle.task = lambda *_: Task(task.kind, task.parameters, length, task.bound, task.ring_bits)
    puppets.ready()
    yield puppets


async def test_a_payload_in_parts_is_resumed_after_a_cut(wide: Puppets) -> None:
    hand = Hand(wide.ward)
    payload = wide.masked(ME)
    header = wide.header(ME, payload).sign(wide.key(ME))
    parts = f"/v1/rounds/{wide.round}/parts"
    message = frame({"kind": "packet", "envelope": header.to_dict()})
    assert (await hand.ask("GET", parts)).json() == [0, 1]
    assert problem(await hand.ask("POST", "/v1/answers?wait=0&seen=0", message)) == "WR-COORD-026"
    first, second = payload[:PART_BYTES], payload[PART_BYTES:]
    for number, body in [(0, first[:-1]), (0, first + b"x"), (1, first), (2, b""), (2, second)]:
        answer = await hand.ask("PUT", f"{parts}/{number}", body)
        assert problem(answer) == "WR-COORD-011", number
    assert (await hand.ask("GET", parts)).json() == [0, 1], "a part that does not fit is not kept"
    assert (await hand.ask("PUT", f"{parts}/1", second)).status_code == 204
    assert (await hand.ask("GET", parts)).json() == [0]
    assert (await hand.ask("PUT", f"{parts}/0", first)).status_code == 204
    assert (await hand.ask("PUT", f"{parts}/0", first)).status_code == 204, "twice is fine"
    other = bytes(len(first))
    assert problem(await hand.ask("PUT", f"{parts}/0", other)) == "WR-COORD-011"
    assert (await hand.ask("POST", "/v1/answers?wait=0&seen=0", message)).status_code == 204
    assert wide.exchange.spool.path(wide.round, ME).read_bytes() == payload
    assert problem(await hand.ask("GET", parts)) == "WR-COORD-023"
    assert problem(await hand.ask("PUT", f"{parts}/0", first)) == "WR-COORD-023"


async def test_parts_for_another_round_or_of_another_site_are_not_taken(wide: Puppets) -> None:
    hand = Hand(wide.ward)
    for round_ in ("another", "..%2f..%2fetc", wide.exchange.run):
        answer = await hand.ask("PUT", f"/v1/rounds/{round_}/parts/0", bytes(PART_BYTES))
        assert problem(answer) in ("WR-COORD-023", "WR-ROUND-001")
    unsigned = hand.signed("PUT", f"/v1/rounds/{wide.round}/parts/0", bytes(PART_BYTES))
    del unsigned.headers["signature"]
    assert problem(await hand.send(unsigned)) == "WR-TRUST-040"
    assert (await hand.ask("GET", f"/v1/rounds/{wide.round}/parts")).json() == [0, 1]


async def test_a_coordinator_that_was_killed_asks_for_the_parts_it_lost(wide: Puppets) -> None:
    ward = wide.ward
    payload = wide.masked(ME)
    parts = f"/v1/rounds/{wide.round}/parts"
    await Hand(ward).ask("PUT", f"{parts}/0", payload[:PART_BYTES])
    await ward.crash()
    ward.open_coordinator()
    wide.exchange = ward.drive().exchange
    await ward.serve()
    hand = Hand(ward)
    assert (await hand.ask("GET", parts)).json() == [1], "what had arrived is not sent again"
    assert (await hand.ask("PUT", f"{parts}/1", payload[PART_BYTES:])).status_code == 204
    header = wide.header(ME, payload).sign(wide.key(ME))
    message = frame({"kind": "packet", "envelope": header.to_dict()})
    assert (await hand.ask("POST", "/v1/answers?wait=0&seen=0", message)).status_code == 204
    assert ME in wide.exchange.round.state.packets


async def test_statements_that_come_together_are_all_kept(idle: Ward) -> None:
    """They share one transaction; nobody hears that his is kept before it is."""
    puppets = Puppets(idle)
    puppets.exchange.start_setup(SITES)

    async def advertise(site: str) -> httpx.Response:
        advert = puppets.member(site).advert()
        message = frame({"kind": "advert", "envelope": advert.to_dict()})
        answer = await Hand(idle, site).ask("POST", "/v1/answers?wait=0&seen=0", message)
        assert site in puppets.exchange.said(puppets.exchange.setup.state.batch, "advert")
        return answer

    answers = await asyncio.gather(*(advertise(site) for site in SITES[:3]))
    assert {one.status_code for one in answers} <= {200, 204}
    assert len(idle.entries("advert")) == 3
    await idle.crash()
    idle.open_coordinator()
    restored = idle.drive().exchange
    assert restored.setup.state.advertised == set(SITES[:3])


async def test_statements_whose_transaction_failed_are_not_counted(
    idle: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppets = Puppets(idle)
    puppets.exchange.start_setup(SITES)
    advert = puppets.member(ME).advert()
    message = frame({"kind": "advert", "envelope": advert.to_dict()})

    def fail(*_arguments: object) -> None:
        raise WardroundError("WR-COORD-001", "Another was faster.", "Again.")

    with monkeypatch.context() as broken:
        broken.setattr("wardround.coordinator.records.save_statement", fail)
        answer = await Hand(idle).ask("POST", "/v1/answers?wait=0&seen=0", message)
        assert (answer.status_code, problem(answer)) == (503, "WR-COORD-001")
    assert puppets.exchange.setup_ahead.advertised == set()
    assert idle.entries("advert") == []
    hand = Hand(idle)
    assert (await hand.ask("POST", "/v1/answers?wait=0&seen=0", message)).status_code == 204
    assert puppets.exchange.setup.state.advertised == {ME}


async def test_a_problem_never_repeats_what_was_sent(idle: Ward) -> None:
    answer = await Hand(idle).ask("PUT", "/v1/approval", b'{"secret": "s3cret"}')
    assert problem(answer) == "WR-TRUST-020"
    assert "s3cret" not in answer.text and orjson.loads(answer.content)


async def test_whoever_is_turned_away_is_in_the_journal(idle: Ward) -> None:
    hand = Hand(idle)
    once = hand.signed("POST", "/v1/next?wait=0&seen=0")
    stale = hand.signed("POST", "/v1/next?wait=0&seen=0", now=int(time.time()) - 3600)
    unsigned = hand.client.build_request("POST", "/v1/next?wait=0&seen=0")
    for request in (once, once, stale, unsigned):
        await hand.send(request)
    bare = httpx.ASGITransport(create_app(idle.coordinator))
    async with httpx.AsyncClient(transport=bare, base_url="https://localhost") as client:
        assert problem(await client.send(unsigned)) == "WR-COORD-032"
    wrong = {"site": PEER, "token": "guessed", "csr": "none"}
    assert problem(await enrol(idle, orjson.dumps(wrong))) == "WR-COORD-031"
    leaves = [dict(one.facts) for one in idle.entries("turned-away")]
    assert [one["site"] for one in leaves] == [ME, ME, ME, None, PEER]
    codes = [str(one["code"]) for one in leaves]
    assert [code[:8] for code in codes[:3]] == ["WR-TRUST"] * 3
    assert len(set(codes[:3])) == 3
    assert codes[3:] == ["WR-COORD-032", "WR-COORD-031"]
    assert "guessed" not in str(leaves)


async def test_a_second_agent_of_one_site_is_in_the_journal(idle: Ward) -> None:
    hand, twin = Hand(idle), Hand(idle)
    twin.instance = "twin"
    await hand.ask("POST", "/v1/next?wait=0&seen=0")
    assert problem(await twin.ask("POST", "/v1/next?wait=0&seen=0")) == "WR-COORD-037"
    assert [one.facts["code"] for one in idle.entries("turned-away")] == ["WR-COORD-037"]
