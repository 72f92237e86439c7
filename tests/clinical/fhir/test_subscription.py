"""Notifications: a hint from whoever knows the secret, on this machine, and nothing more."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from fhir_server import FakeClock, FhirServerDouble, InProcess, outcome
from wardround.clinical.fhir import FhirServer, Subscription, receiver, receiver_server
from wardround.errors import WardroundError

BASE = "https://ehr.example/fhir"
SECRET = "s3cret" * 8
HOOK = "http://127.0.0.1:8765/fhir-hook"


class Ward:
    def __init__(self) -> None:
        self.hints = 0
        self.app = receiver(SECRET, self._changed)

    def _changed(self) -> None:
        self.hints += 1

    async def knock(
        self,
        *,
        method: str = "POST",
        url: str = HOOK,
        headers: dict[str, str] | None = None,
        client: str = "127.0.0.1",
        content: bytes = b"",
    ) -> int:
        transport = httpx.ASGITransport(self.app, client=(client, 5))
        headers = {"X-Wardround-Hook": SECRET} if headers is None else headers
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.request(method, url, headers=headers, content=content)
        assert answer.content == b"" or answer.status_code in (404, 405)
        return answer.status_code


async def test_a_notification_with_the_secret_is_a_hint() -> None:
    ward = Ward()
    assert await ward.knock() == 200
    assert await ward.knock(method="PUT", url=f"{HOOK}/Observation/1") == 200
    assert await ward.knock(content=b"\xff not even JSON") == 200
    assert ward.hints == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Wardround-Hook": ""},
        {"X-Wardround-Hook": SECRET[:-1]},
        {"X-Wardround-Hook": SECRET + "x"},
        {"X-Wardround-Hook": SECRET.upper()},
        {"Authorization": f"Bearer {SECRET}"},
        {"X-Wardround-Hook": SECRET, "Host": "evil.example"},
    ],
)
async def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    ward = Ward()
    assert await ward.knock(headers=headers) == 401
    assert ward.hints == 0


async def test_other_machines_paths_and_methods_are_refused() -> None:
    ward = Ward()
    assert await ward.knock(client="10.1.2.3") == 401
    assert await ward.knock(url="http://127.0.0.1:8765/") == 404
    assert await ward.knock(method="GET") == 405
    assert ward.hints == 0


class Knocker:
    """Creates the Subscription at a server that then calls the hook as R4 has it."""

    def __init__(self) -> None:
        self.server = FhirServerDouble(BASE, [])
        self.client = FhirServer(BASE, InProcess(self.server.app()), clock=FakeClock())

    def subscribe(self, **more: Any) -> str:
        settings: dict[str, Any] = {"type": "Observation", "endpoint": HOOK, "secret": SECRET}
        return self.client.subscribe(Subscription(**(settings | more)))


async def test_the_subscription_that_is_created_reaches_the_receiver() -> None:
    knocker, ward = Knocker(), Ward()
    parameters = (("code", "http://loinc.org|29463-7"),)
    name = await asyncio.to_thread(
        knocker.subscribe, parameters=parameters, end="2027-01-01T00:00:00Z"
    )
    made = knocker.server.subscriptions[name]
    assert made["criteria"] == "Observation?code=http%3A%2F%2Floinc.org%7C29463-7"
    assert made["end"] == "2027-01-01T00:00:00Z"
    channel = made["channel"]
    assert "payload" not in channel  # so the server sends no record
    header, _, value = channel["header"][0].partition(": ")
    assert await ward.knock(url=channel["endpoint"], headers={header: value}) == 200
    assert ward.hints == 1
    await asyncio.to_thread(knocker.client.unsubscribe, name)
    assert knocker.server.subscriptions == {}


def test_the_id_is_found_in_the_answer_or_its_address() -> None:
    knocker = Knocker()
    assert knocker.subscribe() == "sub-1"
    body = {"resourceType": "Subscription", "id": "abc"}
    knocker.server.faults.append(("Subscription", JSONResponse(body, status_code=201)))
    assert knocker.subscribe() == "abc"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Response(status_code=201), "WR-DATA-064"),
        (Response(status_code=201, headers={"Location": "/x/1"}), "WR-DATA-064"),
        (Response(status_code=201, headers={"Location": "/Subscription/../x"}), "WR-DATA-069"),
        (outcome(422, "not-supported"), "WR-DATA-061"),
        (outcome(403, "forbidden"), "WR-DATA-062"),
    ],
)
def test_an_answer_without_a_subscription_is_refused(answer: Response, code: str) -> None:
    knocker = Knocker()
    knocker.server.faults.append(("Subscription", answer))
    with pytest.raises(WardroundError, match=code) as refused:
        knocker.subscribe()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "http://10.0.0.1:80/fhir-hook"},
        {"endpoint": "http://agent.example/fhir-hook"},
        {"endpoint": "nothing"},
        {"secret": "short"},
        {"secret": "x" * 31},
        {"secret": "x" * 32 + "\r\nX: y"},
        {"type": "observation"},
    ],
)
def test_a_subscription_that_can_not_be_right_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        Knocker().subscribe(**settings)


def test_a_receiver_without_a_real_secret_is_refused() -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        receiver("", lambda: None)


async def test_the_receiver_listens_on_this_machine_only() -> None:
    ward = Ward()
    server = receiver_server(ward.app)
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(0.01)
    try:
        ((host, port),) = [
            listening.getsockname() for one in server.servers for listening in one.sockets
        ]
        assert host == "127.0.0.1"
        url = f"http://127.0.0.1:{port}/fhir-hook"
        knocker = Knocker()
        await asyncio.to_thread(knocker.subscribe, endpoint=url)
        with httpx.Client(trust_env=False) as http:

            def ring() -> None:
                knocker.server.ring(lambda to, headers: http.post(to, headers=headers))
                assert http.post(url).status_code == 401

            await asyncio.to_thread(ring)
        assert ward.hints == 1
    finally:
        server.should_exit = True
        await running
