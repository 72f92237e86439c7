"""Search: paging, patience, and servers that have gone wrong or over to somebody else."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from fhir_server import FakeClock, FhirServerDouble, InProcess, Pieces, outcome, patients
from wardround.clinical.fhir import FhirServer, Limits, Search, SearchStream
from wardround.clinical.fhir.address import Base
from wardround.errors import WardroundError

BASE = "https://ehr.example/fhir"
SECRET = "Muster"
WEIGHT = (("code", "http://loinc.org|29463-7"),)


class Hospital:
    """A server, a clock and the client of both."""

    def __init__(self, count: int = 25, **limits: Any) -> None:
        self.server = FhirServerDouble(BASE, patients(count), page_size=10)
        self.clock = FakeClock()
        self.client = FhirServer(
            BASE, InProcess(self.server.app()), clock=self.clock, limits=Limits(**limits)
        )

    def search(self, search: Search | None = None) -> SearchStream:
        return self.client.search("ehr", search or Search("Observation", WEIGHT))

    def ids(self, search: Search | None = None) -> list[str]:
        return [str(body["id"]) for body, _ in self.search(search) if isinstance(body, dict)]

    def code(self) -> str:
        with pytest.raises(WardroundError) as refused:
            self.ids()
        assert SECRET not in str(refused.value) + repr(refused.value)
        return refused.value.code


@pytest.fixture
def hospital() -> Hospital:
    return Hospital()


def test_all_pages_are_read_in_order(hospital: Hospital) -> None:
    stream = hospital.search()
    found = list(stream)
    assert [body["id"] for body, _ in found if isinstance(body, dict)] == [
        f"w{n}" for n in range(25)
    ]
    assert [stream.where(place) for _, place in (found[0], found[9], found[10], found[24])] == [
        "page 1:1", "page 1:10", "page 2:1", "page 3:5"
    ]  # fmt: skip
    read = stream.read
    assert (read.resources, [part.lines for part in read.parts]) == (25, [10, 10, 5])
    assert len({part.digest for part in read.parts}) == 3
    assert read.as_of is not None


def test_a_search_since_an_instant_finds_what_changed(hospital: Hospital) -> None:
    since = "2026-01-20T00:00:00+00:00"
    assert hospital.ids(Search("Patient", since=since)) == [f"p{n}" for n in range(19, 25)]


def test_provenance_states_the_request_but_no_patient(hospital: Hospital) -> None:
    parameters = (*WEIGHT, ("subject", f"Patient/{SECRET}"), ("patient.name", SECRET))
    read = hospital.search(Search("Observation", parameters)).read
    assert read.query == (
        "GET Observation?code=http://loinc.org|29463-7&subject=…&patient.name=…&_count=1000"
    )


def test_what_is_searched_for_is_in_no_repr() -> None:
    assert SECRET not in repr(Search("Patient", (("name", SECRET),)))


def test_search_values_reach_no_log(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        hospital.ids(Search("Patient", (("name", SECRET),)))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_is_given_the_time_that_it_asks_for(hospital: Hospital, status: int) -> None:
    later = format_datetime(hospital.clock.at.replace(minute=2), usegmt=True)
    for pause in ("12", later):
        answer = Response(status_code=status, headers={"Retry-After": pause})
        hospital.server.faults.append(("Observation", answer))
    assert len(hospital.ids()) == 25
    assert hospital.clock.slept == [12.0, 108.0]


def test_a_server_that_says_at_once_is_not_asked_in_a_busy_loop(hospital: Hospital) -> None:
    for pause in ("0", "Fri, 31 Dec 1999 23:59:59 GMT"):
        answer = Response(status_code=429, headers={"Retry-After": pause})
        hospital.server.faults.append(("Observation", answer))
    assert len(hospital.ids()) == 25
    assert hospital.clock.slept == [1.0, 1.0]


def test_without_a_stated_time_pauses_grow_and_end() -> None:
    hospital = Hospital(attempts=5)
    hospital.server.faults += [("Observation", outcome(500, "exception"))] * 5
    assert hospital.code() == "WR-DATA-061"
    assert hospital.clock.slept == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("pause", ["3600", "86400", "9" * 11, "Fri, 31 Dec 2027 23:59:59 GMT"])
def test_a_server_can_not_make_the_agent_wait_for_ever(hospital: Hospital, pause: str) -> None:
    answer = Response(status_code=429, headers={"Retry-After": pause})
    hospital.server.faults.append(("Observation", answer))
    assert hospital.code() == "WR-DATA-060"
    assert hospital.clock.slept == []


@given(st.text(max_size=40).filter(lambda text: text.isprintable() and text.isascii()))
def test_any_stated_pause_is_survived(pause: str) -> None:
    hospital = Hospital(count=1)
    answer = Response(status_code=503, headers={"Retry-After": pause})
    hospital.server.faults.append(("Observation", answer))
    try:
        assert hospital.ids() == ["w0"]
        assert hospital.clock.slept[0] >= 1.0
    except WardroundError as error:
        assert error.code == "WR-DATA-060"
    assert sum(hospital.clock.slept) <= 600


def test_a_refusal_shows_codes_of_fhir_and_no_text(hospital: Hospital) -> None:
    hospital.server.faults.append(("Observation", outcome(400, "not-supported")))
    with pytest.raises(WardroundError) as refused:
        hospital.ids()
    assert refused.value.code == "WR-DATA-061"
    assert "status 400. It says: not-supported." in refused.value.problem
    assert SECRET not in str(refused.value)
    hospital.server.faults.append(("Observation", outcome(400, f"{SECRET} 1950")))
    assert hospital.code() == "WR-DATA-061"


@pytest.mark.parametrize("status", [401, 403])
def test_no_access_is_said(hospital: Hospital, status: int) -> None:
    hospital.server.faults.append(("Observation", outcome(status, "login")))
    assert hospital.code() == "WR-DATA-062"


ELSEWHERE = [
    "https://evil.example/fhir?page=2",
    "http://ehr.example/fhir?page=2",
    "https://ehr.example:8443/fhir?page=2",
    "https://ehr.example@evil.example/fhir",
    "https://user:word@ehr.example/fhir",
    "//evil.example/fhir",
    "https:\\\\evil.example\\fhir",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://[::1",
    "https://ehr.example.evil.example/",
    "https://ehr.example/other?page=2",
    "https://ehr.example/fhirx?page=2",
    "https://ehr.example/?page=2",
    "/fhir/../other?page=2",
    "../other?page=2",
    "https://ehr.example/fhir/%2e%2e/other",
    "https://ehr.example/fhir/%252E./other",
    "https://ehr.example/fhir/..%2fother",
    "https://ehr.example/fhir/..;x/other",
    "https://ehr.example/fhir/.%2e%5cother",
    "",
    "x" * 100_000,
]


@pytest.mark.parametrize("link", ELSEWHERE)
def test_a_page_that_links_elsewhere_is_not_followed(hospital: Hospital, link: str) -> None:
    hospital.server.edit_page = lambda page: page.update(link=[{"relation": "next", "url": link}])
    assert hospital.code() == "WR-DATA-063"
    assert len(hospital.server.requests) == 1


@pytest.mark.parametrize("link", [7, ["x"], None, {}])
def test_a_next_link_without_an_address_is_no_end(hospital: Hospital, link: object) -> None:
    hospital.server.edit_page = lambda page: page.update(link=[{"relation": "next", "url": link}])
    assert hospital.code() == "WR-DATA-063"


def test_a_relative_link_is_followed() -> None:
    hospital = Hospital()

    def relative(page: dict[str, Any]) -> None:
        for link in page["link"]:
            link["url"] = link["url"].removeprefix("https://ehr.example")

    hospital.server.edit_page = relative
    assert len(hospital.ids()) == 25


@pytest.mark.parametrize("base", [BASE, f"{BASE}/"])
def test_a_link_to_the_base_itself_or_below_it_is_followed(base: str) -> None:
    found = Base(base)
    asked = found.join("Observation")
    for link in (f"{BASE}?_getpages=1", f"{BASE}/?x=..", "Patient/1.2", f"{BASE}/a%20b?c=%2e%2e"):
        assert found.follow(link, asked, "GET").host == "ehr.example"


def test_a_base_that_is_a_whole_host_contains_its_paths() -> None:
    assert Base("https://ehr.example").contains(httpx.URL("https://ehr.example:443/fhir/Patient"))


def test_a_redirection_is_not_followed(hospital: Hospital) -> None:
    answer = Response(status_code=302, headers={"Location": "https://evil.example/"})
    hospital.server.faults.append(("Observation", answer))
    assert hospital.code() == "WR-DATA-063"


def test_pages_in_a_circle_end(hospital: Hospital) -> None:
    hospital.server.edit_page = lambda page: page.update(
        link=[{"relation": "next", "url": f"{BASE}/Observation?_offset=10"}]
    )
    assert hospital.code() == "WR-DATA-065"


@pytest.mark.parametrize("empty", [True, False])
def test_pages_without_an_end_end(empty: bool) -> None:
    hospital = Hospital(count=1, pages=500)
    number = iter(range(10**9))

    def another(page: dict[str, Any]) -> None:
        link = f"{BASE}/Observation?page={next(number)}"
        page.update(link=[{"relation": "next", "url": link}])
        if empty:
            page["entry"] = []

    hospital.server.edit_page = another
    assert hospital.code() == "WR-DATA-065"
    assert len(hospital.server.requests) <= (102 if empty else 500)


def test_resources_without_an_end_end() -> None:
    hospital = Hospital(count=50, resources=19)
    assert hospital.code() == "WR-DATA-065"


def test_a_page_beyond_the_bound_is_refused() -> None:
    hospital = Hospital(page_bytes=2000)
    assert hospital.code() == "WR-DATA-065"


def test_a_packed_page_is_unpacked_within_the_bound() -> None:
    page = b'{"resourceType":"Bundle","type":"searchset","entry":[]}'
    headers = {"Content-Encoding": "gzip"}
    hospital = Hospital(page_bytes=2**20)
    for content in (page, page + b" " * 50 * 2**20):
        packed = Response(
            gzip.compress(content), media_type="application/fhir+json", headers=headers
        )
        hospital.server.faults.append(("Observation", packed))
    assert hospital.ids() == []
    assert hospital.code() == "WR-DATA-065"


PAGE = orjson.dumps({"resourceType": "Bundle", "type": "searchset", "note": SECRET})


@pytest.mark.parametrize(
    "answer",
    [
        Response(PAGE[:-9], media_type="application/fhir+json"),
        Response(PAGE, media_type="text/html"),
        Response(PAGE),
        Response(b"", media_type="application/fhir+json"),
        Response(b"\xff\xfe", media_type="application/fhir+json"),
        Response(b"[" * 10**6, media_type="application/fhir+json"),
        Response(PAGE, media_type="application/fhir+json", headers={"Content-Encoding": "br"}),
        Response(PAGE, media_type="application/fhir+json", headers={"Content-Encoding": "gzip"}),
        Response(
            gzip.compress(PAGE),
            media_type="application/fhir+json",
            headers={"Content-Encoding": "gzip, br"},
        ),
        Response(
            gzip.compress(PAGE)[:-3],
            media_type="application/fhir+json",
            headers={"Content-Encoding": "gzip"},
        ),
        JSONResponse({"resourceType": "Bundle", "type": "history"}),
        JSONResponse({"resourceType": "Bundle", "type": "searchset", "entry": {}}),
        JSONResponse([1]),
        JSONResponse("x"),
    ],
)
def test_what_is_no_page_is_refused(hospital: Hospital, answer: Response) -> None:
    hospital.server.faults.append(("Observation", answer))
    assert hospital.code() == "WR-DATA-064"


class Broken(httpx.BaseTransport):
    """Fails in the middle of the body, or before it, as often as told."""

    def __init__(self, times: int, midway: bool, then: httpx.BaseTransport) -> None:
        self.times, self.midway, self.then = times, midway, then

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.times -= 1
        if self.times < 0:
            return self.then.handle_request(request)
        if not self.midway:
            raise httpx.ConnectError(SECRET)

        def pieces() -> Iterator[bytes]:
            yield PAGE[:9]
            raise httpx.RemoteProtocolError(SECRET)

        kind = {"content-type": "application/fhir+json"}
        return httpx.Response(200, headers=kind, stream=Pieces(pieces()))


def broken(times: int, *, midway: bool) -> Callable[[], list[Any]]:
    server = FhirServerDouble(BASE, patients(3))
    transport = Broken(times, midway, InProcess(server.app()))
    client = FhirServer(BASE, transport, clock=FakeClock())
    return lambda: list(client.search("ehr", Search("Patient")))


def test_a_broken_connection_is_tried_again_but_not_for_ever() -> None:
    assert len(broken(3, midway=False)()) == 3
    for times, midway in ((99, False), (1, True)):
        with pytest.raises(WardroundError, match="WR-DATA-060") as refused:
            broken(times, midway=midway)()
        assert SECRET not in str(refused.value)


KEYS = [
    *("entry", "link", "relation", "url", "resource", "search", "mode", "meta", "request"),
    *("resourceType", "type", "lastUpdated", "method"),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["next", "searchset", "Bundle", "outcome", BASE]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JUNK, JUNK, JUNK)
def test_any_page_is_read_or_refused(entry: Any, link: Any, meta: Any) -> None:
    hospital = Hospital(count=1, pages=5)
    page = {"type": "searchset", "entry": entry, "link": link, "meta": meta}
    content = json.dumps(page).encode("utf-8", "replace")
    hospital.server.faults.append(
        ("Observation", Response(content, media_type="application/fhir+json"))
    )
    try:
        for body, _ in hospital.search():
            assert isinstance(body, dict)
            assert "resourceType" in body
    except WardroundError as error:
        assert error.code in ("WR-DATA-063", "WR-DATA-064", "WR-DATA-065")


@pytest.mark.parametrize("total", [None, "7", True, 2.5, []])
def test_what_is_no_count_is_none(hospital: Hospital, total: object) -> None:
    search = Search("Observation", WEIGHT)
    assert hospital.client.count(search) == 25
    hospital.server.edit_count = lambda page: page.update(total=total)
    assert hospital.client.count(search) is None


def test_the_capability_statement_must_be_r4(hospital: Hospital) -> None:
    hospital.client.check()
    for version in ("4.3.0", "5.0.0", "3.0.2", "", None):
        hospital.server.fhir_version = version  # type: ignore[assignment]
        with pytest.raises(WardroundError, match="WR-DATA-066"):
            hospital.client.check()
    hospital.server.faults.append(("metadata", JSONResponse({"resourceType": "Patient"})))
    with pytest.raises(WardroundError, match="WR-DATA-064"):
        hospital.client.check()


@pytest.mark.parametrize(
    "base",
    [
        "http://ehr.example/fhir",
        "ftp://ehr.example",
        "ehr.example/fhir",
        "https://",
        "https://user:word@ehr.example/fhir",
        "https://ehr.example/fhir?x=1",
        "https://ehr.example/fhir#x",
        "https://ehr.example/fh ir",
        "https://ehr.example/%2e%2e/fhir",
        "",
    ],
)
def test_a_base_that_can_not_be_right_is_refused(base: str) -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        FhirServer(base, InProcess(FhirServerDouble(BASE, []).app()))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("../Patient", ()),
        ("Patient?x", ()),
        ("patient", ()),
        ("Patient", (("a b", "x"),)),
        ("Patient", (("code", ""),)),
        ("Patient", (("code", "x\r\ny"),)),
    ],
)
def test_a_search_that_can_not_be_right_is_refused(kind: str, parameters: Any) -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        Search(kind, parameters)
