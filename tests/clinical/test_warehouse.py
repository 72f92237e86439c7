"""Refreshing: only what changed is read, what is gone is gone, and a failure changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from hospital_forms import (
    FORMS,
    GRAPH,
    STAMP,
    TODAY,
    USED,
    WANTED,
    Form,
    as_bulk,
    as_csv,
    as_ndjson,
    as_omop_files,
    as_parquet,
    as_search,
    parse,
    resources,
    table_of,
    write_csv,
)
from wardround.clinical import FeatureTable, Mapping
from wardround.clinical.harmonise import find_routes, needed
from wardround.clinical.warehouse import Warehouse
from wardround.errors import WardroundError


def seen(table: FeatureTable) -> dict[str, Any]:
    """All of a table but where a resource was found, which depends on when it was."""
    return {
        "patients": table.patient_ids,
        "columns": {name: values.tolist() for name, values in table.columns.items()},
        "records": table.quarantine.summary(),
        "resources": table.quarantine.resources(),
    }


def refused(warehouse: Warehouse) -> str:
    with pytest.raises(WardroundError) as caught:
        warehouse.refresh()
    return caught.value.code


# Files


@pytest.mark.parametrize(
    ("form", "parts"), [(as_csv, 3), (as_parquet, 3), (as_ndjson, 3), (as_omop_files, 1)]
)
def test_what_has_not_changed_is_not_read_again(
    tmp_path: Path, form: Callable[[Path], Form], parts: int
) -> None:
    warehouse = form(tmp_path).warehouse()
    assert len(warehouse.refresh().read) == parts
    first = seen(table_of(warehouse))
    again = warehouse.refresh()
    assert (again.read, again.unchanged) == ((), parts)
    assert seen(table_of(warehouse)) == first


def test_only_the_file_that_changed_is_read(tmp_path: Path) -> None:
    form = as_ndjson(tmp_path)
    warehouse = form.warehouse()
    warehouse.refresh()
    path = tmp_path / "Condition.ndjson"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-4]))
    assert warehouse.refresh().read == ("Condition.ndjson",)
    assert table_of(warehouse).columns["diabetes"].tolist() == [0, 0, 0, 0]
    assert seen(table_of(warehouse)) == seen(form.table())


def test_a_file_of_the_same_size_and_time_is_read_where_it_is_another(tmp_path: Path) -> None:
    warehouse = as_ndjson(tmp_path).warehouse()
    warehouse.refresh()
    path = tmp_path / "Patient.ndjson"
    stat = path.stat()
    path.write_text(path.read_text().replace("1961-05-17", "1962-05-17"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert warehouse.refresh().read == ("Patient.ndjson",)


def test_a_table_of_an_omop_folder_that_changed_is_noticed(tmp_path: Path) -> None:
    warehouse = as_omop_files(tmp_path).warehouse()
    warehouse.refresh()
    path = tmp_path / "cdm" / "MEASUREMENT.csv"
    path.write_text(path.read_text().replace("101.0", "99.0"))
    assert warehouse.refresh().read == ("cdm",)
    assert table_of(warehouse).columns["body_weight"][-1] == 99.0


@pytest.mark.parametrize("name", [name for name in FORMS if name not in ("search", "bulk")])
def test_a_failed_refresh_leaves_everything_as_it_was(tmp_path: Path, name: str) -> None:
    form = FORMS[name](tmp_path)
    warehouse = form.warehouse()
    warehouse.refresh()
    before, reads = seen(table_of(warehouse)), warehouse.reads()
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    moved.mkdir()
    for one in [*tmp_path.iterdir()]:
        shutil.move(one, moved / one.name)
    assert refused(warehouse).startswith("WR-DATA-")
    assert seen(table_of(warehouse)) == before
    assert warehouse.reads() == reads
    for one in [*moved.iterdir()]:
        shutil.move(one, tmp_path / one.name)
    warehouse.refresh()
    assert seen(table_of(warehouse)) == before


def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wardround.clinical.opening as opening

    form = as_ndjson(tmp_path)
    whole = opening.read_resources

    def while_written(*arguments: Any, **more: Any) -> Any:
        found = whole(*arguments, **more)
        with (tmp_path / "Patient.ndjson").open("a") as file:
            file.write("{}\n")
        return found

    monkeypatch.setattr(opening, "read_resources", while_written)
    assert refused(form.warehouse()) == "WR-DATA-059"


def test_another_day_reads_everything_again(tmp_path: Path) -> None:
    form, days = as_csv(tmp_path), [TODAY]
    routes = find_routes(form.mapping, GRAPH, WANTED)
    warehouse = Warehouse(
        form.mapping, tmp_path, GRAPH, needed(form.mapping, routes), today=lambda: days[-1]
    )
    warehouse.refresh()
    assert "1006" not in table_of(warehouse).patient_ids  # whose weight is of 2031
    days.append(date(2031, 1, 2))
    assert warehouse.refresh().unchanged == 0
    assert "1006" in table_of(warehouse).patient_ids


# Crosswalks

CROSSWALK = """version = 1
[[sources]]
name = "people"
kind = "csv"
files = ["people.csv"]
patient = "PID"
[[sources.fields]]
concept = "birth_date"
column = "DOB"
date_format = "YYYY-MM-DD"
[[sources]]
name = "lab"
kind = "csv"
files = ["lab.csv"]
patient = "LAB"
crosswalk = { source = "numbers", column = "LAB" }
[[sources.fields]]
concept = "hemoglobin"
column = "HB"
unit = "g/dL"
[[sources]]
name = "numbers"
kind = "csv"
files = ["numbers.csv"]
patient = "PID"
maximum_unreadable_share = 0.9
"""


@pytest.fixture
def crosswalk(tmp_path: Path) -> Form:
    write_csv(tmp_path / "people.csv", ("PID", "DOB"), [(f"p{n}", "1960-01-01") for n in range(5)])
    write_csv(tmp_path / "lab.csv", ("LAB", "HB"), [(f"L{n}", 10 + n) for n in range(6)])
    numbers = [("p0", "L0"), ("p1", "L1"), ("p1", "L1"), ("p2", "L2"), ("p3", "L2"), ("p4", "L4")]
    write_csv(tmp_path / "numbers.csv", ("PID", "LAB"), [*numbers, ("", "L3"), ("p9", "L5", "x")])
    return Form(parse(CROSSWALK), tmp_path)


LINKED = ("birth_date", "hemoglobin")


def test_a_crosswalk_links_and_never_guesses(crosswalk: Form) -> None:
    table = crosswalk.table(LINKED)
    assert table.patient_ids == ("p0", "p1", "p4")
    assert table.columns["hemoglobin"].tolist() == [10, 11, 14]
    # L2 leads to two, L3 and L5 to nobody; p2 and p3 have no value.
    assert table.quarantine.summary() == {"unlinked_patient": 3, "missing_value": 2}
    assert table.quarantine.resources() == {"wrong_column_count": 1}
    reads = {read.source for read in table.provenance[1].reads}
    assert reads == {"lab", "numbers"}


def test_a_crosswalk_is_read_again_only_where_it_changed(crosswalk: Form) -> None:
    warehouse = crosswalk.warehouse(LINKED)
    assert warehouse.refresh().read == ("people", "lab", "numbers")
    again = warehouse.refresh()
    assert (again.read, again.unchanged) == ((), 3)
    write_csv(crosswalk.folder / "numbers.csv", ("PID", "LAB"), [("p3", "L3")])
    assert warehouse.refresh().read == ("numbers",)
    assert table_of(warehouse, LINKED).patient_ids == ("p3",)


def test_rows_without_a_patient_are_joined_with_nothing() -> None:
    document = tomllib.loads(CROSSWALK)
    document["sources"][0]["patient"] = None
    with pytest.raises(WardroundError, match="name no patient"):
        Mapping.model_validate(document).check(GRAPH)


# Servers


class Server:
    """A server whose resources change, and a warehouse that follows."""

    def __init__(self, form: Form) -> None:
        assert form.server is not None
        self.form, self.server = form, form.server
        self.at = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.server.now = lambda: self.at
        self.warehouse = form.warehouse()

    def put(self, record: dict[str, Any]) -> None:
        self.remove(record["resourceType"], record["id"])
        self.server.records.append(record | {"meta": {"lastUpdated": self.at.isoformat()}})

    def remove(self, kind: str, name: str) -> None:
        self.server.records[:] = [
            one for one in self.server.records if (one["resourceType"], one["id"]) != (kind, name)
        ]

    def delete(self, kind: str, name: str) -> None:
        self.remove(kind, name)
        self.server.deleted.append(f"{kind}/{name}")

    def find(self, kind: str, name: str) -> dict[str, Any]:
        return next(
            one for one in self.server.records if (one["resourceType"], one["id"]) == (kind, name)
        )

    def refresh(self) -> dict[str, Any]:
        self.warehouse.refresh()
        return seen(table_of(self.warehouse))

    def fresh(self) -> dict[str, Any]:
        """What a warehouse that reads everything now comes to."""
        return seen(self.form.table())


@pytest.fixture(params=[as_search, as_bulk])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    return Server(request.param(tmp_path))


def test_a_server_is_asked_only_for_what_changed(server: Server) -> None:
    server.refresh()
    server.at += timedelta(hours=1)
    server.put(server.find("Observation", "o11") | {"valueQuantity": {"value": 1}})
    asked = len(server.server.requests)
    server.refresh()
    later = [path for _, path, _ in server.server.requests[asked:]]
    if server.form.mapping.sources[0].model_dump()["bulk"] is None:
        searches = [path for path in later if "_count" in path]
        assert len(searches) == 3
        # Five minutes before what the server called the time of the first reading.
        assert all("_lastUpdated=ge2026-01-01T11%3A55%3A00Z" in path for path in searches)
    else:
        (kick_off,) = [path for path in later if "$export" in path]
        assert "_since=2026-01-01T11%3A55%3A00Z" in kick_off


def test_changed_and_retracted_resources_replace_what_they_said(server: Server) -> None:
    assert server.refresh()["patients"] == USED
    server.at += timedelta(hours=1)
    # Another weight; a glucose that was wrong; a glucose that is the right one; a new diagnosis
    weight = server.find("Observation", "o39")
    server.put(weight | {"valueQuantity": weight["valueQuantity"] | {"value": 99.5}})
    server.put(server.find("Observation", "o19") | {"status": "entered-in-error"})
    server.put(server.find("Condition", "c1") | {"code": server.find("Condition", "c11")["code"]})
    found = server.refresh()
    assert found["patients"] == ("1001", "1002", "1004", "1010", "1011")
    assert found["columns"]["body_weight"][-1] == 99.5
    assert found["columns"]["diabetes"] == [1, 1, 1, 1, 0]
    assert found["resources"]["not_final"] == 1
    assert found == server.fresh()
    # and back again: what was set aside no longer is
    server.at += timedelta(hours=1)
    server.put(server.find("Observation", "o19") | {"status": "final"})
    assert server.refresh()["patients"] == ("1001", "1002", "1010", "1011")
    assert server.refresh() == server.fresh()


def test_nothing_new_changes_nothing(server: Server) -> None:
    server.at = datetime.fromisoformat(STAMP)  # so that all of it comes again each time
    first = server.refresh()
    for _ in range(3):
        assert server.refresh() == first
    extract = server.warehouse.extracts["ehr"]
    assert extract.records is not None
    assert len(set(extract.records.keys.tolist())) == len(extract.records.keys) <= len(resources())


def test_a_failing_server_leaves_everything_as_it_was(server: Server) -> None:
    first = server.refresh()
    server.at += timedelta(hours=1)
    server.put(server.find("Observation", "o11") | {"status": "entered-in-error"})
    server.server.faults += [("Condition|jobs/", Response(status_code=404))] * 2
    assert refused(server.warehouse).startswith("WR-DATA-06")
    assert seen(table_of(server.warehouse)) == first
    server.server.faults.clear()
    assert server.refresh() == server.fresh() != first


def test_an_export_tells_what_was_deleted(tmp_path: Path) -> None:
    server = Server(as_bulk(tmp_path))
    server.refresh()
    server.at += timedelta(hours=1)
    for record in [*server.server.records]:
        about = record.get("subject", {}).get("reference")
        if about == "Patient/1011" or record["id"] in ("1011", "o19"):
            server.delete(record["resourceType"], record["id"])
    found = server.refresh()
    assert found["patients"] == ("1001", "1002", "1004", "1010")
    assert "1011" not in server.warehouse.link().patients
    assert found == server.fresh()


def test_what_a_search_can_not_tell_is_noticed_on_another_day(tmp_path: Path) -> None:
    form, days = as_search(tmp_path), [TODAY]
    server = Server(form)
    routes = find_routes(form.mapping, GRAPH, WANTED)
    server.warehouse = Warehouse(
        form.mapping,
        tmp_path,
        GRAPH,
        needed(form.mapping, routes),
        today=lambda: days[-1],
        surroundings=form.surroundings,
    )
    server.server.edit_count = lambda page: page.pop("total")  # a server that doesn't count
    server.refresh()
    server.remove("Observation", "o19")
    server.at += timedelta(hours=20)
    assert "1004" not in server.refresh()["patients"]
    days.append(TODAY + timedelta(days=1))
    assert "1004" in server.refresh()["patients"]


def searches(server: Server, since: int) -> list[str]:
    """The searches from the request ``since`` on, less the questions how many there are."""
    return [path for _, path, _ in server.server.requests[since:] if "_count=" in path]


def test_a_deletion_is_noticed_by_counting(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    assert "1004" not in server.refresh()["patients"]
    server.remove("Observation", "o19")
    server.at += timedelta(hours=1)
    found = server.refresh()
    assert "1004" in found["patients"]
    assert found == server.fresh()
    # and so is a resource that is now about something else
    server.put(server.find("Observation", "o39") | {"code": {"text": "something else"}})
    assert server.refresh() == server.fresh()
    asked = len(server.server.requests)
    server.at += timedelta(hours=1)
    server.refresh()
    assert all("_lastUpdated" in path for path in searches(server, asked))
    counts = [path for _, path, _ in server.server.requests[asked:] if "_summary=count" in path]
    assert len(counts) == 3


def test_a_server_that_refuses_to_count_is_read_all_the_same(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    first = server.refresh()
    server.at += timedelta(hours=1)
    server.server.faults += [("_summary=count", Response(status_code=400))] * 3
    assert server.refresh() == first


def test_a_server_that_counts_wrongly_is_not_read_whole_each_time(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    server.server.edit_count = lambda page: page.update(total=0)
    server.refresh()
    server.at += timedelta(hours=1)
    server.refresh()
    asked = len(server.server.requests)
    server.at += timedelta(hours=1)
    server.refresh()
    assert all("_lastUpdated" in path for path in searches(server, asked))


def test_a_server_that_does_not_tell_the_time_is_read_whole(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    server.server.edit_page = lambda page: page.pop("meta")
    server.refresh()
    server.remove("Observation", "o19")
    assert server.refresh() == server.fresh()
    assert not [path for _, path, _ in server.server.requests if "_lastUpdated" in path]


def test_a_resource_that_changes_while_pages_are_read_counts_once(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    weight = server.find("Observation", "o39")

    def move(page: dict[str, Any]) -> None:
        # It was on a page already, and stands at the end when the next is asked for.
        if any(one["resource"]["id"] == "o39" for one in page["entry"]):
            changed = weight["valueQuantity"] | {"value": 55.5}
            server.put(weight | {"valueQuantity": changed})

    server.server.records.remove(weight)
    server.server.records.insert(len(server.server.records) // 3, weight)
    server.server.edit_page = move
    found = server.refresh()
    assert found["columns"]["body_weight"][-1] == 55.5


@pytest.mark.parametrize("form", [as_search, as_bulk])
@pytest.mark.parametrize("seed", range(6))
def test_however_a_server_changes_the_warehouse_follows(
    tmp_path: Path, form: Callable[[Path], Form], seed: int
) -> None:
    server, chance = Server(form(tmp_path)), random.Random(seed)
    bulk = form is as_bulk
    originals = resources()
    server.refresh()
    for _ in range(12):
        server.at += timedelta(minutes=chance.choice([1, 7, 90]))
        server.server.deleted.clear()
        for _ in range(chance.randint(0, 12)):
            record = chance.choice(originals)
            kind, name = record["resourceType"], record["id"]
            match chance.randint(0, 5):
                case 0 if bulk:
                    server.delete(kind, name)
                case 1 if "status" in record:
                    server.put(record | {"status": "entered-in-error"})
                case 2 if "valueQuantity" in record:
                    value = chance.choice([5.0, 71.5, 9999.0])
                    server.put(
                        record | {"valueQuantity": record["valueQuantity"] | {"value": value}}
                    )
                case 3 if "subject" in record and bulk:
                    other = chance.choice(["Patient/1001", "Patient/new", "Group/1"])
                    server.put(record | {"subject": {"reference": other}})
                case 4 if "code" in record and bulk:
                    server.put(record | {"code": chance.choice(originals).get("code", {})})
                case _:
                    server.put(record)
        assert server.refresh() == server.fresh()
    extract = server.warehouse.extracts["ehr"]
    assert all(extract.where(place) for place in extract.first_places.tolist())


def test_refreshes_do_not_pile_up(tmp_path: Path) -> None:
    server = Server(as_search(tmp_path))
    server.refresh()
    for _ in range(30):
        server.at += timedelta(hours=1)
        server.put(server.find("Observation", "o39"))
        server.warehouse.refresh()
    where: Any = server.warehouse.extracts["ehr"].where
    assert len(where.wheres) == 2  # what was read first, and the last change to it


def test_many_codes_are_searched_some_at_a_time(tmp_path: Path) -> None:
    codes = ", ".join(f'"c{number}"' for number in range(94))
    mapping = parse(
        f"""version = 1
[[sources]]
name = "ehr"
kind = "fhir-server"
url = "https://ehr.example/fhir"
[[sources.fields]]
concept = "diabetes"
element = "Condition.code"
system = "urn:a,b|c"
code = [{codes}]
absent = false
"""
    )
    form = Form(mapping, tmp_path, as_search(tmp_path).server)
    assert form.server is not None
    table = form.table(("diabetes",))
    assert table.columns["diabetes"].tolist() == [0.0] * 11
    searches = [path for _, path, _ in form.server.requests if "/Condition?" in path]
    assert len(searches) == 3
    assert searches[0].count("urn%3Aa%5C%2Cb%5C%7Cc%7Cc") == 40
