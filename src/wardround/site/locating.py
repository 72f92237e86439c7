"""What kind of source a place is, as a steward names it on the command line."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from wardround.clinical.lines import LineReader
from wardround.clinical.mapping import KINDS
from wardround.clinical.opening import database_file
from wardround.errors import WardroundError

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".parquet": "parquet",
    ".xlsx": "excel",
    ".xls": "excel",
    ".xlsb": "excel",
    ".ods": "excel",
    ".ndjson": "fhir",
    ".jsonl": "fhir",
    ".json": "fhir",
}
_SQLITE = (".db", ".sqlite", ".sqlite3")
_COMMA, _POINT = re.compile(r"[+-]?[0-9]+,[0-9]+"), re.compile(r"[+-]?[0-9]+\.[0-9]+")


def describe_place(place: str, base: Path, kind: str | None) -> dict[str, object]:
    """The keys of a source that follow from where it is; ``kind`` overrules what its name tells.

    Files are stored relative to the mapping's folder ``base`` where they lie below it. Raises
    WR-DATA-028 where nothing tells the kind, and WR-DATA-010 where a file isn't there.
    """
    if place.startswith(("http://", "https://")):
        return {"kind": kind or "fhir-server", "url": place}
    if "://" in place:
        file = database_file(place, base)
        if file is not None and not file.is_file():
            raise WardroundError(
                "WR-DATA-010",
                "The database's file does not exist.",
                "A relative address is looked for beside the mapping. Give the file itself instead "
                "(ehr.db), or its whole path behind four slashes (sqlite:////srv/ehr.db).",
                path=str(file),
            )
        return {"kind": kind or "sql", "url": place}
    path = Path(place)
    found = kind or _kind_of(path)
    if found not in KINDS:
        raise WardroundError(
            "WR-DATA-028",
            "The kind of this source can't be told from its name.",
            f"Say it with --kind: one of {', '.join(KINDS)}.",
            path=path.name,
        )
    if not path.exists():
        raise WardroundError(
            "WR-DATA-010",
            "The file does not exist or can't be read.",
            "Check its name, and that the agent's user may read it.",
            path=path.name,
        )
    where = path.resolve()
    name = str(where.relative_to(base)) if where.is_relative_to(base) else str(where)
    if path.suffix.lower() in _SQLITE and found in ("sql", "omop"):
        return {"kind": found, "url": f"sqlite:///{name}"}
    if found == "omop":
        return {"kind": found, "files": name}
    if found == "fhir" and path.is_dir():
        files = sorted(one.name for one in path.iterdir() if _kind_of(one) == "fhir")
        return {"kind": found, "files": [f"{name}/{one}" for one in files]}
    looks = _csv_looks(path) if found == "csv" else {}
    return {"kind": found, "files": [name], **looks}


def _kind_of(path: Path) -> str:
    if path.is_dir():
        names = {one.name.lower() for one in path.iterdir()}
        if any(name.startswith("person.") for name in names):
            return "omop"
        return "fhir" if any(name.endswith((".ndjson", ".json")) for name in names) else ""
    if path.suffix.lower() in _SQLITE:
        return "sql"
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".zip"):
        return "omop"
    return _BY_SUFFIX.get(Path(name).suffix, "")


def lines_not_text(path: Path, encoding: str) -> int:
    """How many of a CSV file's first lines hold a byte that is no text in ``encoding``."""
    lines = _start(path).split(b"\n")
    return sum(b"\0" in line or not _is_text(line, encoding) for line in lines)


def _start(path: Path) -> bytes:
    """The first lines of a file, unpacked; nothing where they can't be read."""
    try:
        with closing(LineReader(path, path.name).blocks()) as blocks:
            return next(blocks)[0]
    except WardroundError:
        return b""


def _encoding_of(start: bytes) -> str:
    """UTF-8 where nine in ten of the lines that are not ASCII are: hardly any other text is by
    chance, and a few slips are set aside.
    """
    lines = [line for line in start.split(b"\n") if not line.isascii()]
    good = sum(_is_text(line, "utf-8") for line in lines)
    return "utf-8" if good >= 0.9 * len(lines) else "windows-1252"


def _is_text(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _csv_looks(path: Path) -> Mapping[str, object]:
    """Delimiter and encoding as the first lines show them; the steward sees and may change both."""
    start = _start(path)
    if not start:
        return {}
    looks: dict[str, object] = {}
    encoding = _encoding_of(start)
    if encoding != "utf-8":
        looks["encoding"] = encoding
    first = start.decode(encoding, "replace").splitlines()[:20]
    try:
        delimiter = csv.Sniffer().sniff("\n".join(first), ",;\t|").delimiter
    except csv.Error:
        delimiter = max(",;\t|", key=lambda mark: first[0].count(mark) if first else 0)
    if delimiter != ",":
        looks["delimiter"] = delimiter
        cells = [cell.strip(' "') for line in first[1:] for cell in line.split(delimiter)]
        commas = sum(_COMMA.fullmatch(cell) is not None for cell in cells)
        points = sum(_POINT.fullmatch(cell) is not None for cell in cells)
        if commas > points:
            looks["decimal"] = ","
    return looks
