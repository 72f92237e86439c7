"""A small conforming FHIR R4 server for tests, with faults that a test can switch on.

Search with paging, Bulk Data export, SMART Backend Services and Subscriptions over resources in
memory. It checks what clients send more strictly than real servers do: a mistake of ours is a 400
here. The assertion's signature is checked with code of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FHIR_JSON = "application/fhir+json"
Record = dict[str, Any]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class InProcess(httpx.BaseTransport):
    """A transport that hands each request to an application in this process."""

    def __init__(self, app: Starlette) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=True)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answered() -> tuple[httpx.Response, list[bytes]]:
            response = await self._inner.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            return response, [piece async for piece in response.stream]

        response, pieces = asyncio.run(answered())
        return httpx.Response(response.status_code, headers=response.headers, stream=Pieces(pieces))


class Pieces(httpx.SyncByteStream):
    """A body as raw pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


@dataclass
class FakeClock:
    """Time that passes only by sleeping; ``slept`` lists for how long."""

    at: datetime = datetime(2026, 11, 25, 8, tzinfo=UTC)
    elapsed_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed_s += seconds


@dataclass
class FhirServerDouble:
    """The server; ``faults`` maps a path's pattern to answers to give instead, one per request.

    ``requests`` lists (method, path with query, headers) as they came.
    """

    base: str
    records: list[Record]
    keys: dict[str, PublicKey] = field(default_factory=dict)
    client_id: str = "wardround"
    token_life_s: int = 300
    busy_polls: int = 2
    page_size: int = 100
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    faults: list[tuple[str, Response]] = field(default_factory=list)
    edit_page: Callable[[Record], object] = lambda _page: None
    edit_count: Callable[[Record], object] = lambda _page: None
    edit_manifest: Callable[[Record], object] = lambda _manifest: None
    error_lines: list[Record] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    fhir_version: str = "4.0.1"
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    jtis: set[str] = field(default_factory=set)
    jobs: dict[str, Record] = field(default_factory=dict)
    subscriptions: dict[str, Record] = field(default_factory=dict)
    subscribed: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/{path:path}", self._all, methods=["GET", "POST", "DELETE"])]
        )

    def revoke(self) -> None:
        self.tokens.clear()

    async def _all(self, request: Request) -> Response:
        path = request.url.path
        query = f"?{request.url.query}" if request.url.query else ""
        self.requests.append((request.method, path + query, dict(request.headers)))
        for number, (pattern, response) in enumerate(self.faults):
            if re.search(pattern, path + query):
                del self.faults[number]
                return response
        below = path.removeprefix(path_of(self.base)).lstrip("/")
        if below == ".well-known/smart-configuration":
            return self._smart()
        if below == "token":
            return await self._token(request)
        if below == "metadata":
            body = {"resourceType": "CapabilityStatement", "fhirVersion": self.fhir_version}
            return JSONResponse(body, media_type=FHIR_JSON)
        if self.keys and not self._authorised(request):
            return outcome(401, "login")
        if below.endswith("$export"):
            return self._kick_off(request, below)
        if below.startswith("jobs/"):
            return self._job(request, below)
        if below.startswith("Subscription"):
            return await self._subscription(request, below)
        return self._search(request, below)

    def _authorised(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and token in self.tokens

    # Search

    def _search(self, request: Request, kind: str) -> Response:
        asked = dict(request.query_params)
        found = [record for record in self.records if record["resourceType"] == kind]
        if "code" in asked:
            wanted = {
                (system, code)
                for system, _, code in (one.rpartition("|") for one in asked["code"].split(","))
            }
            found = [record for record in found if wanted & codings(record)]
        if "_lastUpdated" in asked:
            assert asked["_lastUpdated"][:2] == "ge"
            found = changed(found, asked["_lastUpdated"][2:])
        if asked.get("_summary") == "count":
            total: Record = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
            self.edit_count(total)
            return JSONResponse(total, media_type=FHIR_JSON)
        size = min(int(asked.get("_count", self.page_size)), self.page_size)
        start = int(asked.get("_offset", 0))
        page: Record = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "meta": {"lastUpdated": self.now().isoformat()},
            "link": [{"relation": "self", "url": str(request.url)}],
            "entry": [
                {
                    "fullUrl": f"{self.base}/{kind}/{one['id']}",
                    "resource": one,
                    "search": {"mode": "match"},
                }
                for one in found[start : start + size]
            ],
        }
        if start + size < len(found):
            rest = request.url.include_query_params(_offset=start + size)
            page["link"].append({"relation": "next", "url": f"{self.base}/{kind}?{rest.query}"})
        self.edit_page(page)
        return JSONResponse(page, media_type=FHIR_JSON)

    # SMART Backend Services

    def _smart(self) -> Response:
        return JSONResponse(
            {
                "token_endpoint": f"{self.base}/token",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            }
        )

    async def _token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert form["grant_type"] == "client_credentials"
        assert form["client_assertion_type"].endswith(":client-assertion-type:jwt-bearer")
        assert form["scope"].startswith("system/")
        if not self._good_assertion(form["client_assertion"]):
            return JSONResponse({"error": "invalid_client"}, status_code=400)
        token = f"token-{len(self.jtis)}"
        self.tokens.add(token)
        body = {"access_token": token, "token_type": "bearer", "expires_in": self.token_life_s}
        return JSONResponse(body)

    def _good_assertion(self, assertion: str) -> bool:
        header, claims = (json.loads(unpadded(part)) for part in assertion.split(".")[:2])
        message, signature = (
            assertion.rpartition(".")[0].encode(),
            unpadded(assertion.split(".")[2]),
        )
        now_s = self.now().timestamp()
        key = self.keys.get(header["kid"])
        if (
            key is None
            or header["typ"] != "JWT"
            or claims["iss"] != self.client_id
            or claims["sub"] != self.client_id
            or claims["aud"] != f"{self.base}/token"
            or not now_s < claims["exp"] <= now_s + 300
            or claims["jti"] in self.jtis
        ):
            return False
        self.jtis.add(claims["jti"])
        try:
            if isinstance(key, rsa.RSAPublicKey) and header["alg"] == "RS384":
                key.verify(signature, message, padding.PKCS1v15(), SHA384())
            elif isinstance(key, ec.EllipticCurvePublicKey) and header["alg"] == "ES384":
                half = len(signature) // 2
                numbers = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
                key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(SHA384()))
            else:
                return False
        except InvalidSignature:
            return False
        return True

    # Bulk Data

    def _kick_off(self, request: Request, below: str) -> Response:
        if request.headers.get("prefer") != "respond-async" or not re.fullmatch(
            r"(Group/[^/]+/|Patient/)?\$export", below
        ):
            return outcome(400, "invalid")
        name = str(len(self.jobs) + 1)
        types = request.query_params.get("_type", "")
        since = request.query_params.get("_since")
        listed = [one for one in types.split(",") if one]
        self.jobs[name] = {"polls": 0, "types": listed, "since": since}
        location = f"{self.base}/jobs/{name}"
        return Response(status_code=202, headers={"Content-Location": location})

    def _job(self, request: Request, below: str) -> Response:
        _, name, *rest = below.split("/")
        job = self.jobs.get(name)
        if job is None:
            return outcome(404, "not-found")
        if request.method == "DELETE":
            del self.jobs[name]
            return Response(status_code=202)
        if rest:
            return self._job_file(rest[0], job)
        job["polls"] += 1
        if job["polls"] <= self.busy_polls:
            headers = {"Retry-After": "7", "X-Progress": "working"}
            return Response(status_code=202, headers=headers)
        return JSONResponse(self._manifest(f"{self.base}/jobs/{name}", job))

    def _manifest(self, job: str, state: Record) -> Record:
        kinds = sorted({record["resourceType"] for record in self._told(state)})
        manifest: Record = {
            "transactionTime": self.now().isoformat(),
            "request": f"{self.base}/$export",
            "requiresAccessToken": bool(self.keys),
            "output": [
                {"type": kind, "url": f"{job}/{kind}.ndjson", "count": len(self._of(kind, state))}
                for kind in kinds
                if not state["types"] or kind in state["types"]
            ],
            "error": [],
        }
        if self.error_lines:
            manifest["error"] = [{"type": "OperationOutcome", "url": f"{job}/errors.ndjson"}]
        if self.deleted:
            manifest["deleted"] = [{"type": "Bundle", "url": f"{job}/deleted.ndjson"}]
        self.edit_manifest(manifest)
        return manifest

    def _told(self, job: Record) -> list[Record]:
        return self.records if job["since"] is None else changed(self.records, job["since"])

    def _of(self, kind: str, job: Record) -> list[Record]:
        return [record for record in self._told(job) if record["resourceType"] == kind]

    def _job_file(self, name: str, job: Record) -> Response:
        if name == "errors.ndjson":
            return ndjson(self.error_lines)
        if name == "deleted.ndjson":
            entry = [{"request": {"method": "DELETE", "url": one}} for one in self.deleted]
            return ndjson([{"resourceType": "Bundle", "type": "transaction", "entry": entry}])
        return ndjson(self._of(name.removesuffix(".ndjson"), job))

    # Subscriptions

    async def _subscription(self, request: Request, below: str) -> Response:
        if request.method == "DELETE":
            self.subscriptions.pop(below.partition("/")[2], None)
            return Response(status_code=204)
        body = json.loads(await request.body())
        channel = body["channel"]
        if body["status"] != "requested" or not body["reason"] or channel["type"] != "rest-hook":
            return outcome(400, "required")
        self.subscribed += 1
        name = f"sub-{self.subscribed}"
        self.subscriptions[name] = body
        location = f"{self.base}/Subscription/{name}/_history/1"
        return Response(status_code=201, headers={"Location": location})

    def ring(self, knock: Callable[[str, dict[str, str]], object]) -> None:
        """Call every hook as R4 has it for an empty payload: a POST with the stated headers."""
        for subscription in self.subscriptions.values():
            channel = subscription["channel"]
            headers = dict(line.split(": ", 1) for line in channel["header"])
            knock(channel["endpoint"], headers)


def changed(records: list[Record], since: str) -> list[Record]:
    """Those changed at or after an instant."""
    start = datetime.fromisoformat(since)
    return [
        record
        for record in records
        if datetime.fromisoformat(record["meta"]["lastUpdated"]) >= start
    ]


def path_of(base: str) -> str:
    return "/" + base.split("/", 3)[3]


def codings(record: Record) -> set[tuple[str, str]]:
    found = record.get("code", {}).get("coding", [])
    return {(one.get("system", ""), one["code"]) for one in found}


def unpadded(text: str) -> bytes:
    assert not set(text) & set("+/=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def outcome(status: int, code: str, text: str = "Frau Muster, born 1950-01-01") -> Response:
    """An OperationOutcome as a careless server writes it: with a patient in its text."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return JSONResponse(body, status_code=status, media_type=FHIR_JSON)


def ndjson(records: list[Record]) -> Response:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    return Response(lines, media_type="application/fhir+ndjson")


def patients(count: int) -> list[Record]:
    """Made-up patients, each with a weight."""
    made: list[Record] = []
    for number in range(count):
        meta = {"lastUpdated": f"2026-01-{number % 28 + 1:02d}T00:00:00+00:00"}
        made.append({"resourceType": "Patient", "id": f"p{number}", "meta": meta})
        made.append(
            {
                "resourceType": "Observation",
                "id": f"w{number}",
                "meta": meta,
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
                "subject": {"reference": f"Patient/p{number}"},
                "valueQuantity": {"value": 60 + number % 40, "unit": "kg"},
            }
        )
    return made
