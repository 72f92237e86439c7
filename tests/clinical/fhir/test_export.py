"""Bulk Data export: waiting, fetching, counting, cleaning up, and servers that go wrong."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

import requires
from fhir_server import FakeClock, FhirServerDouble, InProcess, ndjson, outcome, patients
from wardround.clinical.fhir import Export, ExportStream, FhirServer, Limits
from wardround.errors import WardroundError

BASE = "https://ehr.example/fhir"
NDJSON = "application/fhir+ndjson"


class Hospital:
    def __init__(self, records: list[dict[str, Any]] | None = None, **limits: Any) -> None:
        self.clock = FakeClock()
        records = patients(5) if records is None else records
        self.server = FhirServerDouble(BASE, records, now=self.clock.now)
        transport = InProcess(self.server.app())
        self.client = FhirServer(BASE, transport, clock=self.clock, limits=Limits(**limits))

    def export(self, export: Export | None = None) -> ExportStream:
        return self.client.export("ehr", export or Export())

    def code(self, export: Export | None = None) -> str:
        stream = self.export(export)
        with pytest.raises(WardroundError) as refused:
            for body, _ in stream:
                if isinstance(body, bytes):
                    try:
                        orjson.loads(body)
                    except orjson.JSONDecodeError:
                        stream.refuse(body)
        assert "Muster" not in str(refused.value)
        return refused.value.code

    def edit(self, **more: Any) -> None:
        self.server.edit_manifest = lambda manifest: manifest.update(more)


@pytest.fixture
def hospital() -> Hospital:
    return Hospital()


@pytest.mark.parametrize(
    ("export", "path"),
    [
        (Export(), "/fhir/$export?"),
        (Export(all_patients=True), "/fhir/Patient/$export?"),
        (Export(group="g-1.a"), "/fhir/Group/g-1.a/$export?"),
    ],
)
def test_an_export_is_awaited_read_and_deleted(
    hospital: Hospital, export: Export, path: str
) -> None:
    stream = hospital.export(export)
    found = [orjson.loads(body) for body, _ in stream if isinstance(body, bytes)]
    assert sorted(found, key=repr) == sorted(hospital.server.records, key=repr)
    method, asked, headers = hospital.server.requests[0]
    assert (method, headers["prefer"]) == ("GET", "respond-async")
    assert asked.startswith(path)
    assert hospital.clock.slept == [7.0, 7.0]
    assert hospital.server.jobs == {}
    assert not stream.left_behind
    assert stream.read.as_of == hospital.clock.now().isoformat()


def test_types_and_since_are_asked_for_and_named(hospital: Hospital) -> None:
    export = Export(group="Muster", types=("Patient",), since="2026-01-01T00:00:00Z")
    stream = hospital.export(export)
    places = [stream.where(place) for _, place in stream]
    assert places == [f"Patient 1:{n}" for n in range(1, 6)]
    assert stream.read.query == (
        "GET Group/{id}/$export?_outputFormat=application/fhir+ndjson"
        "&_type=Patient&_since=2026-01-01T00:00:00Z"
    )
    assert "_type=Patient&_since=2026-01-01T00%3A00%3A00Z" in hospital.server.requests[0][1]


def test_places_go_on_through_the_files(hospital: Hospital) -> None:
    stream = hospital.export(Export(types=("Observation", "Patient")))
    assert [stream.where(place) for _, place in stream] == [
        *(f"Observation 1:{n}" for n in range(1, 6)), *(f"Patient 2:{n}" for n in range(1, 6))
    ]  # fmt: skip
    assert [part.lines for part in stream.read.parts] == [5, 5]


def test_problems_are_counted_and_deletions_listed(hospital: Hospital) -> None:
    hospital.server.error_lines = [json.loads(outcome(400, "exception").body)] * 3
    hospital.server.deleted = ["Patient/p1", "Observation/w1"]
    stream = hospital.export()
    assert len(list(stream)) == 10
    assert (stream.read.errors, stream.read.deleted) == (3, 2)
    assert stream.deleted == {"Patient/p1", "Observation/w1"}


def test_a_real_export_arrives_whole() -> None:
    folder = requires.shared("data/fhir_bulk10")
    names = ("Patient", "Encounter", "Condition")
    lines = {name: (folder / f"{name}.000.ndjson").read_bytes() for name in names}
    records = [orjson.loads(line) for text in lines.values() for line in text.splitlines()]
    stream = Hospital(records).export(Export(types=names))
    assert [orjson.loads(body) for body, _ in stream if isinstance(body, bytes)] == sorted(
        records, key=lambda record: str(record["resourceType"])
    )


def test_a_packed_file_is_unpacked(hospital: Hospital) -> None:
    text = bytes(ndjson(patients(5)[::2]).body)
    packed = Response(gzip.compress(text), media_type=NDJSON, headers={"Content-Encoding": "gzip"})
    hospital.server.faults.append((r"Patient\.ndjson", packed))
    stream = hospital.export(Export(types=("Patient",)))
    assert b"".join(body for body, _ in stream if isinstance(body, bytes)) == text


def test_the_job_is_deleted_though_the_reader_leaves(hospital: Hospital) -> None:
    stream = iter(hospital.export())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert hospital.server.jobs == {}


def test_a_job_that_can_not_be_deleted_is_told(hospital: Hospital) -> None:
    stream = hospital.export()
    reading = iter(stream)
    next(reading)
    hospital.server.faults += [("/jobs/1$", outcome(503, "transient"))] * 3
    assert len(list(reading)) == 9
    assert stream.left_behind
    assert hospital.clock.slept == [7.0, 7.0]  # nobody waits for a server at the very end


def test_a_busy_server_is_asked_again(hospital: Hospital) -> None:
    busy = Response(status_code=429, headers={"Retry-After": "30"})
    hospital.server.faults += [(r"\$export", busy), ("/jobs/1$", busy)]
    assert len(list(hospital.export())) == 10
    assert hospital.clock.slept == [30.0, 30.0, 7.0, 7.0]


def test_an_export_is_not_started_twice_by_accident(hospital: Hospital) -> None:
    hospital.server.faults.append((r"\$export", outcome(500, "exception")))
    assert hospital.code() == "WR-DATA-061"
    assert hospital.server.jobs == {}


def test_an_export_that_never_ends_ends() -> None:
    hospital = Hospital(reading_s=3600.0)
    hospital.server.busy_polls = 10**9
    assert hospital.code() == "WR-DATA-067"
    assert 3000 < hospital.clock.elapsed_s <= 3600
    assert hospital.server.jobs == {}


def test_without_a_stated_time_polls_become_rarer() -> None:
    hospital = Hospital(reading_s=3600.0)
    hospital.server.faults += [("/jobs/1$", Response(status_code=202))] * 9
    list(hospital.export())
    assert hospital.clock.slept[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_an_export_that_failed_is_said(hospital: Hospital) -> None:
    hospital.server.faults += [("/jobs/1$", outcome(500, "exception"))] * 6
    assert hospital.code() == "WR-DATA-067"


@pytest.mark.parametrize("link", ["https://evil.example/jobs/1", "http://ehr.example/j", None])
def test_a_status_elsewhere_is_not_asked(hospital: Hospital, link: str | None) -> None:
    headers = {} if link is None else {"Content-Location": link}
    hospital.server.faults.append((r"\$export", Response(status_code=202, headers=headers)))
    assert hospital.code() == "WR-DATA-063"
    assert len(hospital.server.requests) == 1


@pytest.mark.parametrize("key", ["output", "error", "deleted"])
def test_a_file_elsewhere_is_not_fetched(hospital: Hospital, key: str) -> None:
    hospital.edit(**{key: [{"type": "Patient", "url": "https://10.0.0.7/admin"}]})
    assert hospital.code() == "WR-DATA-063"


class Always:
    """Access by one token for ever."""

    def header(self, _exchange: object) -> str:
        return "Bearer secret"

    def renew(self) -> bool:
        return False


def test_a_file_in_a_store_that_the_hospital_named_is_fetched_without_a_token() -> None:
    hospital = Hospital()
    hospital.edit(
        requiresAccessToken=True,
        output=[{"type": "Patient", "url": "https://store.example/fhir/jobs/1/Patient.ndjson"}],
    )

    transport = InProcess(hospital.server.app())
    client = FhirServer(BASE, transport, Always(), clock=hospital.clock)
    stream = client.export("ehr", Export(file_origins=("https://store.example",)))
    assert len(list(stream)) == 5
    shown = {
        (headers["host"], "authorization" in headers) for *_, headers in hospital.server.requests
    }
    assert shown == {("ehr.example", True), ("store.example", False)}


@pytest.mark.parametrize("required", [True, False])
def test_a_job_and_its_files_may_lie_elsewhere_on_the_same_server(required: bool) -> None:
    hospital = Hospital()
    job = "https://ehr.example/bulk/jobs/1"
    hospital.edit(
        requiresAccessToken=required,
        output=[{"type": "Patient", "url": f"{job}/Patient.ndjson"}],
    )
    app = hospital.server.app()

    class Moved(InProcess):
        """The double's job, under another path of the same host."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append((request.url.path, "authorization" in request.headers))
            path = request.url.path.replace("/bulk/", "/fhir/")
            request.url = request.url.copy_with(path=path)
            answer = super().handle_request(request)
            if "content-location" in answer.headers:
                answer.headers["content-location"] = job
            return answer

    asked: list[tuple[str, bool]] = []
    stream = FhirServer(BASE, Moved(app), Always(), clock=hospital.clock).export("ehr", Export())
    assert len(list(stream)) == 5
    assert not stream.left_behind
    shown = dict(asked)
    assert shown["/bulk/jobs/1"]
    assert shown["/bulk/jobs/1/Patient.ndjson"] is required


def test_a_file_that_needs_no_token_gets_none() -> None:
    hospital = Hospital()
    transport = InProcess(hospital.server.app())
    list(FhirServer(BASE, transport, Always(), clock=hospital.clock).export("ehr", Export()))
    for _, path, headers in hospital.server.requests:
        assert ("authorization" in headers) == (not path.endswith(".ndjson")), path


@pytest.mark.parametrize(
    "manifest",
    [
        {"transactionTime": None},
        {"requiresAccessToken": "yes"},
        {"output": {}},
        {"output": [7]},
        {"output": [{"url": f"{BASE}/x"}]},
        {"link": [{"relation": "next", "url": f"{BASE}/more"}]},
    ],
)
def test_a_manifest_that_is_not_whole_is_refused(
    hospital: Hospital, manifest: dict[str, Any]
) -> None:
    hospital.edit(**manifest)
    assert hospital.code() == "WR-DATA-064"
    assert hospital.server.jobs == {}


@pytest.mark.parametrize("count", [4, 6, 0])
def test_a_file_of_another_length_than_counted_is_refused(hospital: Hospital, count: int) -> None:
    file = {"type": "Patient", "url": f"{BASE}/jobs/1/Patient.ndjson", "count": count}
    hospital.edit(output=[file])
    assert hospital.code() == "WR-DATA-067"


LINE = b'{"resourceType":"Patient","id":"Muster"}\n'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Response(LINE, media_type="text/html"), "WR-DATA-064"),
        (Response(LINE * 4 + LINE[:20], media_type=NDJSON), "WR-DATA-013"),
        (Response(LINE.decode().encode("utf-16"), media_type=NDJSON), "WR-DATA-012"),
        (Response(b"x" * 17 * 2**20, media_type=NDJSON), "WR-DATA-017"),
        (Response(LINE * 4, media_type=NDJSON), "WR-DATA-067"),
        (Response(b"", media_type=NDJSON), "WR-DATA-067"),
        (outcome(404, "not-found"), "WR-DATA-061"),
        (outcome(403, "forbidden"), "WR-DATA-062"),
    ],
)
def test_a_file_that_went_bad_is_refused(hospital: Hospital, answer: Response, code: str) -> None:
    hospital.server.faults.append((r"Patient\.ndjson", answer))
    assert hospital.code(Export(types=("Patient",))) == code
    assert hospital.server.jobs == {}


def test_resources_without_an_end_end() -> None:
    assert Hospital(resources=7).code() == "WR-DATA-065"


def test_an_export_with_nothing_new_is_empty() -> None:
    stream = Hospital([]).export(Export(since="2026-01-01T00:00:00Z"))
    assert list(stream) == []
    assert stream.read.parts == ()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "url", "count", "output"]),
            inner | st.sampled_from(["Patient", f"{BASE}/jobs/1/Patient.ndjson"]),
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JUNK, JUNK, JUNK)
def test_any_manifest_is_read_or_refused(output: Any, error: Any, deleted: Any) -> None:
    hospital = Hospital()
    content = {"transactionTime": "2026", "requiresAccessToken": False, "output": output}
    content |= {"error": error, "deleted": deleted}
    text = json.dumps(content).encode()
    hospital.server.faults.append(("/jobs/1$", Response(text, media_type="application/json")))
    try:
        list(hospital.export())
    except WardroundError as refused:
        assert refused.code.startswith("WR-DATA-06")
    assert hospital.server.jobs == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"group": "../Patient"},
        {"group": ".."},
        {"group": "a", "all_patients": True},
        {"types": ("Patient,Observation",)},
        {"since": "x\n"},
        {"file_origins": ("http://store.example",)},
    ],
)
def test_an_export_that_can_not_be_right_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        Export(**settings)


def test_a_manifest_of_the_wrong_kind_is_refused(hospital: Hospital) -> None:
    for answer in (JSONResponse([]), Response("<html>", media_type="text/html")):
        hospital.server.faults.append(("/jobs/.$", answer))
        assert hospital.code() == "WR-DATA-064"
