"""Mutated inputs for every parser: no crash, no hang, and no patient's value in any error.

The fast version (20,000 inputs) is part of ``make test``, the slow one (more than a million) of
``make test-all``. Mutation is by a seed, so that whatever is found is found again.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import requires
from columns import write_excel, write_parquet
from hospital_forms import FIELDS, GRAPH, TODAY, fhir_mapping, observation, omop_mapping, resources
from mutation import mutated
from wardround.clinical import Mapping, Reason
from wardround.clinical.dates import DateFormat, read_fhir_date, read_fhir_moment
from wardround.clinical.fhir import Body, StreamRead
from wardround.clinical.fhir.bundle import document
from wardround.clinical.numbers import read_number
from wardround.clinical.sources.fhir import read_resources
from wardround.clinical.tables import csv_table, excel_table, parquet_table
from wardround.clinical.tables.sql_text import single_select
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.errors import WardroundError

CANARY = "Canary-73519.4242"
LONGEST_S = 10.0
"""No single input may take longer; the machine may be busy."""

Parser = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """A parser, inputs to start from, words to mix in, and how many inputs of a million it gets."""

    build: Callable[[Path], Parser]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    of_a_million: int


def text_of(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


# Parsers of single values


def dates(_folder: Path) -> Parser:
    formats = [DateFormat(one) for one in ("DD.MM.YYYY", "YYYYMMDD", "D/M/YYYY hh:mm:ss")]

    def parse(content: bytes) -> None:
        text = text_of(content)
        for read in (read_fhir_date, *(one.read for one in formats)):
            found = read(text)
            assert isinstance(found, Reason) or 1 <= found <= 3652059
        assert read_fhir_moment(text) is None or 0 <= (read_fhir_moment(text) or 0) < 3652061
        with suppress(ValueError):
            DateFormat(text)

    return parse


def numbers(_folder: Path) -> Parser:
    def parse(content: bytes) -> None:
        text = text_of(content)
        for mark in (".", ","):
            found = read_number(text, mark)  # type: ignore[arg-type]
            assert isinstance(found, Reason) or abs(found) < float("inf")

    return parse


def units(_folder: Path) -> Parser:
    def parse(content: bytes) -> None:
        path = GRAPH.find_path(text_of(content), "mmol/L", "glucose")
        assert path is None or CANARY not in path.words()

    return parse


def urls(_folder: Path) -> Parser:
    return lambda content: DatabaseUrl(text_of(content)).expand({"WARDROUND_P": "x"})


def queries(_folder: Path) -> Parser:
    return lambda content: single_select(text_of(content), "ehr")


# Documents


def mapping(_folder: Path) -> Parser:
    return lambda content: Mapping.parse(content, GRAPH).to_payload()


class Lines:
    """Lines in memory as a source hands them over; what can't be read is set aside."""

    name = "ehr"

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        for place, line in enumerate(self._content.split(b"\n"), 1):
            yield line, place

    def blocks(self) -> Iterator[tuple[bytes, int, int]]:
        content = self._content
        yield content, 1, content.count(b"\n") + (not content.endswith(b"\n"))

    def refuse(self, _place: int = 0) -> None:
        pass

    def where(self, place: int) -> str:
        return f"all.ndjson:{place}"

    @property
    def read(self) -> StreamRead:
        return StreamRead(self.name, "all.ndjson", 1, ())


def ndjson(_folder: Path) -> Parser:
    return lambda content: read(Lines(content))


def read(stream: Lines) -> None:
    found = read_resources(
        stream, FIELDS, GRAPH, today=TODAY.toordinal(), patient_identifier="urn:mrn"
    )
    assert CANARY not in repr(found) + repr(found.set_aside)


def bundle(_folder: Path) -> Parser:
    def parse(content: bytes) -> None:
        for whole in (1 << 24, 64):
            list(document(io.BytesIO(content), "all.json", whole))

    return parse


def csv(folder: Path) -> Parser:
    path = folder / "labs.csv"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        table = csv_table("labs", folder, ["labs.csv"], maximum_unreadable_share=1.0)
        for batch in table.batches(["id", "value"]):
            assert CANARY not in repr(batch)
        assert CANARY not in repr(table.rejected)

    return parse


def parquet(folder: Path) -> Parser:
    def parse(content: bytes) -> None:
        (folder / "labs.parquet").write_bytes(content)
        for batch in parquet_table("labs", folder, ["labs.parquet"]).batches(["id", "value"]):
            assert CANARY not in repr(batch)

    return parse


def excel(folder: Path) -> Parser:
    requires.package("python_calamine")

    def parse(content: bytes) -> None:
        (folder / "labs.xlsx").write_bytes(content)
        for batch in excel_table("labs", folder / "labs.xlsx").batches(["id", "value"]):
            assert CANARY not in repr(batch)

    return parse


NASTY = (b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"\r\n", b"\n", b'"', b"\\", b"0" * 400, b"-")
LINE = json.dumps(observation(1, CANARY, "weight", 71.5, "kg", TODAY)).encode()
JSON = (
    *NASTY,
    *(b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"1e400", b"\\ud800", b"[" * 1200),
    *(b'"code"', b'"coding":[{}]', b'"value":-0', b'"status":"final"', b'"comparator":"<"'),
    *(b'"resourceType"', b'"Patient"', b'"Observation"', b'"reference":"Patient/1"'),
)
BUNDLE = json.dumps(
    {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": json.loads(LINE)}]}
).encode()
TOML = (
    *(b"[[sources]]", b"[[sources.fields]]", b'concept = "sex"', b'concept = "birth_date"'),
    *(b'kind = "csv"', b'kind = "omop"', b'kind = "fhir-server"', b'kind = "sql"', b"\0", b"'''"),
    *(b'unit = "mg/dL"', b'choose = "mean"', b"absent = false", b'coding = "fhir"', b"[" * 500),
    *(b'where = { A = "b" }', b'value_map = { m = "male" }', b"concept_ids = [-1, 1]", b'"'),
    *(b'crosswalk = { source = "a", column = "S" }', b"version = 2", b'index_date = "sex"'),
)
VALUES = (
    *(b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"true", b"false", b'""', b"[]", b"[1]", b"{}"),
    *(b'"a"', b'["a", 1]', b"{ a = { b = 1 } }", b"2020-01-01", b"12:00:00", b'"mg/dL"', b'"kg"'),
    *(b'"latest"', b'"sex"', b'"\\u0000"', b'"${X}"', b'"../x"', b'"' + b"x" * 600 + b'"'),
)


def changed_lines(seeds: tuple[bytes, ...], drawn: random.Random) -> bytes:
    """A mapping that mostly is still TOML: lines and values changed, not letters."""
    lines = drawn.choice(seeds).splitlines()
    for _ in range(drawn.choice((1, 1, 2, 4))):
        at = drawn.randrange(len(lines))
        match drawn.randrange(4):
            case 0:
                del lines[at]
                lines = lines or [b""]
            case 1:
                lines.insert(at, drawn.choice((*TOML, drawn.choice(lines))))
            case _:
                key, equals, _ = lines[at].partition(b" = ")
                lines[at] = key + equals + drawn.choice(VALUES) if equals else lines[at]
    return b"\n".join(lines)


TARGETS = {
    "dates": Target(
        dates,
        (b"2020-02-29", b"29.02.2020", b"2020-01-01T10:00:00+02:00", b"1/1/2020 10:00:00"),
        (b"0", b"9999", b"-", b".", b"T", b"Z", b"+14:00", b"DD", b"M", "٣".encode(), *NASTY),
        230_000,
    ),
    "numbers": Target(
        numbers,
        (b"73519.4242", b"-1e-9", b"+0,5", b"1.234,5"),
        (b"e", b"E+9", b"_", b"inf", b"nan", b",", b".", "٣".encode(), *NASTY),
        230_000,
    ),
    "units": Target(
        units,
        (b"mg/dL", b"10*9/L", b"mmol/mol{creat}", b"mL/min/{1.73_m2}", b"m[iU]/mL", b"kg.m2/s2"),
        (
            b"(",
            b")",
            b"{",
            b"}",
            b"[",
            b"/",
            b".",
            b"*",
            b"^",
            b"-9",
            b"999",
            b"10*",
            "µ".encode(),
            *NASTY,
        ),
        200_000,
    ),
    "ndjson": Target(
        ndjson,
        (LINE, LINE + b"\n" + LINE + b"\n", *(json.dumps(one).encode() for one in resources()[:4])),
        JSON,
        200_000,
    ),
    "bundle": Target(
        bundle, (BUNDLE, LINE, BUNDLE.replace(b"collection", b"searchset")), JSON, 60_000
    ),
    "urls": Target(
        urls,
        (
            b"postgresql://reader:${WARDROUND_P}@db:5432/ehr",
            b"sqlite:///ehr.db",
            b"postgresql://r@/e?host=/s",
        ),
        (
            b"${",
            b"}",
            b"@",
            b":",
            b"//",
            b"?",
            b"&",
            b"=",
            b"%",
            b"[",
            b"password=${WARDROUND_P}",
            b"${P}",
            *NASTY,
        ),
        30_000,
    ),
    "queries": Target(
        queries,
        (b"SELECT a FROM t WHERE b = 'x' -- c", b"WITH x AS (SELECT 1) SELECT * FROM x"),
        (b";", b"--", b"/*", b"*/", b"'", b'"', b"$$", b"$a$", b"(", b")", b"DELETE", *NASTY),
        30_000,
    ),
    "csv": Target(
        csv,
        (
            f"id,name,value\n1,{CANARY},5\n2,b,6\n".encode(),
            f'id,value\r\n"1\n{CANARY}",5\r\n'.encode(),
        ),
        (b",", b";", b"\t", b'"', b'""', b"id", b"value", CANARY.encode(), *NASTY),
        30_000,
    ),
    "mapping": Target(
        mapping,
        (
            fhir_mapping('kind = "fhir"\nfiles = ["a.ndjson"]').encode(),
            omop_mapping('files = "cdm"').encode(),
            b'version = 1\n[[sources]]\nname = "a"\nkind = "csv"\nfiles = ["a"]\npatient = "P"\n'
            b'[[sources.fields]]\nconcept = "sex"\ncolumn = "S"\nvalue_map = { m = "male" }\n',
        ),
        TOML,
        40_000,
    ),
    "parquet": Target(parquet, (), NASTY, 3_000),
    "excel": Target(excel, (), NASTY, 3_000),
}
TOTAL = sum(target.of_a_million for target in TARGETS.values())


def seeds_of(name: str, folder: Path) -> tuple[bytes, ...]:
    match name:
        case "parquet":
            return ((folder / write_parquet(folder)).read_bytes(),)
        case "excel":
            return (write_excel(folder / "labs.xlsx").read_bytes(),)
        case _:
            return TARGETS[name].seeds


def fuzz(name: str, folder: Path, count: int, seed: int) -> None:
    """Feed ``count`` mutated inputs; whatever is raised but an error with a code is a failure."""
    target, drawn = TARGETS[name], random.Random(f"{name} {seed}")
    parse, seeds = target.build(folder), seeds_of(name, folder)
    for _ in range(count):
        by_lines = name == "mapping" and drawn.random() < 0.8
        content = changed_lines(seeds, drawn) if by_lines else mutated(seeds, target.words, drawn)
        start = time.monotonic()
        try:
            parse(content)
        except WardroundError as error:
            assert CANARY not in f"{error} {error!r}"
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__} on {content!r}") from error
        assert time.monotonic() - start < LONGEST_S, content


@pytest.mark.parametrize("name", TARGETS)
def test_twenty_thousand_mutated_inputs(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, max(20, TARGETS[name].of_a_million // 51), seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TARGETS)
def test_a_million_mutated_inputs(name: str, tmp_path: Path) -> None:
    assert TOTAL >= 1_000_000
    fuzz(name, tmp_path, TARGETS[name].of_a_million, seed=1)
