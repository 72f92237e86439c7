"""Resources from files: lines, Bundles, single resources, gzip, and files that went bad."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import requires
from fhir_server import patients
from wardround.clinical.fhir import FileStream
from wardround.clinical.fhir.bundle import document
from wardround.errors import WardroundError

RECORDS = patients(5)
LINES = b"".join(orjson.dumps(record) + b"\n" for record in RECORDS)


def bundle(records: list[dict[str, Any]], kind: str = "collection") -> dict[str, Any]:
    entry = [{"resource": record} for record in records]
    return {"resourceType": "Bundle", "type": kind, "entry": entry}


def read(folder: Path, *names: str) -> tuple[list[dict[str, Any]], FileStream, list[str]]:
    stream = FileStream("ehr", folder, names)
    found: list[dict[str, Any]] = []
    places: list[int] = []
    for body, place in stream:
        found.append(orjson.loads(body) if isinstance(body, bytes) else body)
        places.append(place)
    return found, stream, [stream.where(place) for place in places]


FORMS = {
    "lines.ndjson": LINES,
    "lines.json": LINES,
    "last-line-open.ndjson": LINES.rstrip(),
    "blank-lines.ndjson": b"\n\r\n" + LINES.replace(b"\n", b"\n\n"),
    "marked.ndjson": b"\xef\xbb\xbf" + LINES,
    "bundle.json": orjson.dumps(bundle(RECORDS)),
    "pretty.json": json.dumps(bundle(RECORDS), indent=4).encode(),
    "marked.json": b"\xef\xbb\xbf" + orjson.dumps(bundle(RECORDS)),
    "one-line-bundle.json": orjson.dumps(bundle(RECORDS, "searchset")) + b"\n",
    "transaction.json": orjson.dumps(bundle(RECORDS, "transaction")),
    "batch": orjson.dumps(bundle(RECORDS, "batch")),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_gives_the_same_resources(tmp_path: Path, name: str, packed: bool) -> None:
    stored = gzip.compress(FORMS[name]) if packed else FORMS[name]
    name += ".gz" if packed else ""
    (tmp_path / name).write_bytes(stored)
    found, stream, _ = read(tmp_path, name)
    assert found == RECORDS
    assert stream.read.resources == len(RECORDS)
    (part,) = stream.read.parts
    assert part.digest == f"sha256:{hashlib.sha256(stored).hexdigest()}"


def test_places_are_counted_through_all_files_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(LINES)
    (tmp_path / "b.json").write_bytes(orjson.dumps(bundle(RECORDS[:2])))
    (tmp_path / "c.json").write_bytes(orjson.dumps(RECORDS[0]))
    found, stream, places = read(tmp_path, "a.ndjson", "b.json", "c.json")
    assert found == RECORDS + RECORDS[:2] + RECORDS[:1]
    assert places == [
        *(f"a.ndjson:{n}" for n in range(1, 11)), "b.json:1", "b.json:2", "c.json:1"
    ]  # fmt: skip
    assert stream.read.resources == 13


def test_entries_that_hold_no_current_resource_are_passed_over(tmp_path: Path) -> None:
    made = bundle(RECORDS[:1], "searchset")
    outcome = {"resourceType": "OperationOutcome"}
    made["entry"] += [
        {"resource": outcome, "search": {"mode": "outcome"}},
        {"request": {"method": "DELETE", "url": "Patient/1"}, "resource": RECORDS[1]},
        {"fullUrl": "urn:x"},
        None,
        {"resource": {"no": "type"}},
        {"resource": RECORDS[2], "search": {"mode": "include"}},
    ]
    (tmp_path / "b.json").write_bytes(orjson.dumps(made))
    found, _, places = read(tmp_path, "b.json")
    assert found == [RECORDS[0], RECORDS[2]]
    assert places == ["b.json:1", "b.json:7"]


BAD = {
    "empty.ndjson": (b"", "WR-DATA-011"),
    "empty.json": (b"", "WR-DATA-011"),
    "spaces.json": (b" \n ", "WR-DATA-011"),
    "utf16.ndjson": (LINES.decode().encode("utf-16"), "WR-DATA-012"),
    "utf16-unmarked.ndjson": (LINES.decode().encode("utf-16-be"), "WR-DATA-012"),
    "utf16.json": (LINES.decode().encode("utf-16"), "WR-DATA-012"),
    "latin.json": (b'{"resourceType":"Patient","id":"M\xfcller"}', "WR-DATA-012"),
    "cut-letter.json": ('{"resourceType":"Patient","id":"ü'.encode()[:-1], "WR-DATA-013"),
    "cut.json": (orjson.dumps(bundle(RECORDS))[:-20], "WR-DATA-013"),
    "cut.ndjson.gz": (gzip.compress(LINES)[:-20], "WR-DATA-013"),
    "cut.json.gz": (gzip.compress(orjson.dumps(bundle(RECORDS)))[:-20], "WR-DATA-013"),
    "damaged.ndjson.gz": (gzip.compress(LINES)[:40] + b"\xff" * 40, "WR-DATA-010"),
    "long.ndjson": (b"x" * (17 * 2**20), "WR-DATA-017"),
    "page.json": (b"<html>Frau Muster</html>", "WR-DATA-064"),
    "list.json": (b"[1, 2]", "WR-DATA-064"),
    "history.json": (orjson.dumps(bundle(RECORDS, "history")), "WR-DATA-064"),
    "no-list.json": (b'{"resourceType":"Bundle","type":"batch","entry":{}}', "WR-DATA-064"),
    "other.json": (b'{"id":"Muster"}', "WR-DATA-064"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, code = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WardroundError) as refused:
        read(tmp_path, name)
    assert refused.value.code == code
    assert name in str(refused.value)
    assert "Muster" not in str(refused.value)


@pytest.mark.parametrize("name", ["absent.ndjson", "absent.json", "folder", "nul\0byte"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(WardroundError, match="WR-DATA-010"):
        read(tmp_path, name)


def test_a_bad_line_is_the_consumers_to_set_aside_and_a_cut_one_condemns_the_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.ndjson").write_bytes(b'{"half": \n{"name": "M\xfcller"}\n{"cut')
    stream = FileStream("ehr", tmp_path, ("a.ndjson",))
    codes = []
    for body, place in stream:
        assert isinstance(body, bytes)
        try:
            stream.refuse(place)
            codes.append("")
        except WardroundError as error:
            codes.append(error.code)
            assert error.path == f"a.ndjson:{place}"
    assert codes == ["", "", "WR-DATA-013"]


def large(text: bytes) -> list[Any]:
    """The same document as one that is too large to decode whole."""
    return list(document(Trickle(text), "b.json", whole_bytes=8))


class Trickle:
    """A file that hands out as little as it likes."""

    def __init__(self, text: bytes, seed: int = 0) -> None:
        self._text = text
        self._random = random.Random(seed)

    def read(self, size: int) -> bytes:
        size = min(size, self._random.randint(1, 30))
        part, self._text = self._text[:size], self._text[size:]
        return part


TEXT = st.text(st.sampled_from('"\\{}[],:\n aé"entry"'), max_size=12) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=5),
    st.dictionaries(TEXT.filter(lambda key: key != "entry"), VALUES, max_size=3),
    st.sampled_from([None, 1, 4]),
    st.booleans(),
)
def test_a_large_bundle_is_cut_as_a_parser_would(
    parts: list[Any], more: dict[str, Any], indent: int | None, first: bool
) -> None:
    records = [{**part, "resourceType": "Basic"} for part in parts]
    made = bundle(records)
    made = {"entry": made.pop("entry"), **more, **made} if first else {**more, **made}
    text = json.dumps(made, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert large(text) == [entry["resource"] for entry in orjson.loads(text)["entry"]]


WHOLE = orjson.dumps(bundle(RECORDS[:2]) | {"note": 'a "}]" b\\'})


@given(st.data())
def test_a_mutated_bundle_is_read_as_a_parser_reads_it_or_refused(data: st.DataObject) -> None:
    text = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                text[at] = data.draw(st.sampled_from(b'"\\{}[],: 1e\xff\0'))
            case "cut":
                del text[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                text[at:at] = data.draw(
                    st.sampled_from([b"{", b"]", b'"', b"\\", b",", b'"entry":['])
                )
        text = text or bytearray(b"{")
    try:
        found = large(bytes(text))
    except WardroundError as error:
        assert error.code in ("WR-DATA-011", "WR-DATA-012", "WR-DATA-013", "WR-DATA-064")
        return
    parsed = orjson.loads(text)
    taken = [entry.get("resource") for entry in parsed.get("entry", [])]
    assert [one for one in found if one is not None] == [
        one for one in taken if isinstance(one, dict) and "resourceType" in one
    ]


@pytest.mark.parametrize("at", range(9, len(WHOLE)))
def test_a_large_bundle_cut_off_anywhere_is_refused(at: int) -> None:
    with pytest.raises(WardroundError) as refused:
        large(WHOLE[:at])
    assert refused.value.code == "WR-DATA-013"


TWICE = b'{"resourceType":"Bundle","type":"batch","entry":[],"entry":[]}'
HIDDEN = b'{"resourceType":"Bundle","type":"batch","entr\\u0079":[{"resource":{}}]}'


def test_a_large_document_that_is_no_bundle_is_refused() -> None:
    for text in (
        b'{"resourceType":"List","entry":[{}]}',
        b'{"entry":[{"resource":{}}]}',
        b"[[],[]]  ",
        HIDDEN,
        TWICE,
    ):
        with pytest.raises(WardroundError, match="WR-DATA-064"):
            large(text)


def test_one_entry_without_an_end_does_not_fill_the_memory() -> None:
    class Endless:
        def __init__(self) -> None:
            self.given = 0

        def read(self, size: int) -> bytes:
            begun, self.given = self.given, self.given + size
            return b"a" * size if begun else (b'{"entry":[{"text":"' + b"a" * size)[:size]

    endless = Endless()
    with pytest.raises(WardroundError, match="WR-DATA-017"):
        list(document(endless, "b.json"))  # type: ignore[arg-type]
    assert endless.given < 40 * 2**20


def test_a_bundle_of_any_size_needs_the_memory_of_its_largest_entry() -> None:
    entry = b'{"resource":{"resourceType":"Basic","text":"%s"}}' % (b"a" * 2**20)

    class Many:
        def __init__(self) -> None:
            self._left = 200
            self._text = b'{"resourceType":"Bundle","type":"collection","entry":['

        def read(self, size: int) -> bytes:
            while self._left and len(self._text) < size:
                self._left -= 1
                self._text += entry + (b"," if self._left else b"]}")
            part, self._text = self._text[:size], self._text[size:]
            return part

    tracemalloc.start()
    try:
        count = sum(1 for _ in document(Many(), "b.json", whole_bytes=2**20))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 200
    assert peak < 32 * 2**20


@pytest.mark.slow
def test_a_hundred_thousand_damaged_bundles_are_read_or_refused() -> None:
    chance = random.Random(7)
    whole = orjson.dumps(bundle([{"resourceType": "Patient", "id": "Muster"}] * 2))
    refused = 0
    for _ in range(100_000):
        text = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 2))
        for limit in (8, 2**20):
            try:
                list(document(io.BytesIO(text), "b.json", whole_bytes=limit))
            except WardroundError as error:
                refused += 1
                assert "Muster" not in str(error)
    assert 100_000 < refused < 200_000


def test_a_real_export_reads_the_same_as_lines_and_as_bundle(tmp_path: Path) -> None:
    folder = requires.shared("data/fhir_bulk10")
    names = tuple(sorted(path.name for path in folder.glob("*.000.ndjson")))
    found, stream, _ = read(folder, *names)
    assert len(found) == stream.read.resources == 7160
    (tmp_path / "all.json").write_bytes(orjson.dumps(bundle(found)))
    with (tmp_path / "all.json").open("rb") as file:
        again = list(document(file, "all.json", whole_bytes=1024))
    assert again == found


def test_the_examples_of_the_standard_are_read_one_resource_per_file() -> None:
    folder = requires.shared("data/r4_examples")
    names: list[Path] = []
    for path in sorted(folder.rglob("*.json")):
        example = json.loads(path.read_bytes())
        if isinstance(example, dict) and example.get("resourceType", "Bundle") != "Bundle":
            names.append(path)
            found, _, _ = read(path.parent, path.name)
            assert found == [example]
    assert len(names) > 20
