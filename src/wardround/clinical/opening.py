"""From a mapping's source to what it says: open it, read the fields that are asked for.

A source is read in parts that can be read again by themselves: the files of a FHIR export, or what
a server has changed since. Everything else is one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from wardround.clinical.facts import Extract, combine
from wardround.clinical.fhir import (
    Body,
    Client,
    ClientKey,
    Export,
    ExportStream,
    FhirServer,
    FhirTransport,
    FileStream,
    Limits,
    ResourceStream,
    Search,
    SmartBackend,
    StreamRead,
    proxy_for,
    tls_context,
)
from wardround.clinical.fields import AnyField, ColumnField, FhirField, OmopField
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.mapping import (
    ColumnarSource,
    CsvSource,
    ExcelSource,
    FhirServerSource,
    FhirSource,
    FhirViewSource,
    OmopSource,
    ParquetSource,
    Source,
    SqlSource,
)
from wardround.clinical.sources.columnar import Shape, is_wide, read_table
from wardround.clinical.sources.fhir import RESOURCES, read_resources
from wardround.clinical.sources.view_table import ViewTable
from wardround.clinical.tables import Table, csv_table, excel_table, parquet_table, sql_table
from wardround.clinical.tables.omop import Omop, omop_tables
from wardround.clinical.tables.omop_domains import OmopDomain
from wardround.clinical.tables.sql import SqlTable
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.views import View

Stamp: TypeAlias = tuple[str, int, int, int, int]
"""A file's name, size, times of change and inode: while they stay, so does what it says.

Both times: what copies a file may set the one that programs see, but not the other.
"""

OVERLAP: Final = timedelta(minutes=5)
"""How far before a server's time of the last reading the next one begins.

A resource may be stamped before others can see it: inside a transaction, or by another machine.
"""


@dataclass(frozen=True)
class Surroundings:
    """What reading depends on besides the source: where files lie, the graph, today's date.

    ``connect`` opens a FHIR server; tests hand in their own.
    """

    folder: Path
    graph: ConceptGraph
    today: date
    connect: Callable[[FhirServerSource, Path], FhirServer] | None = None


@dataclass(frozen=True)
class Part:
    """A part of a source: how to read it, and what tells whether it has changed, if anything."""

    name: str
    look: Callable[[], tuple[Stamp, ...] | None]
    read: Callable[[], Extract]


def parts_of(source: Source, fields: Sequence[AnyField], here: Surroundings) -> list[Part]:
    """The parts of ``source`` that together say what it knows of ``fields``."""
    match source:
        case FhirSource():
            return [_fhir_file(source, file, fields, here) for file in source.files]
        case FhirServerSource():
            return [Part(source.name, _nothing, lambda: read_server(source, fields, here).extract)]
        case OmopSource(files=str(files)):
            look = partial(stamps, here.folder, (files,))
            return [Part(source.name, look, lambda: _read_omop(source, fields, here))]
        case OmopSource():
            return [Part(source.name, _nothing, lambda: _read_omop(source, fields, here))]
        case CsvSource() | ParquetSource() | ExcelSource() | SqlSource() | FhirViewSource():
            look = partial(look_at, source, here.folder)
            return [Part(source.name, look, lambda: _read_columnar(source, fields, here))]


def look_at(source: ColumnarSource, folder: Path) -> tuple[Stamp, ...] | None:
    """What tells whether a table has changed; None where nothing does."""
    if isinstance(source, SqlSource):
        return None
    view = (source.view,) if isinstance(source, FhirViewSource) else ()
    return stamps(folder, (*source.files, *view))


def open_table(source: ColumnarSource, folder: Path) -> Table:
    """The table of a columnar source. Nothing is opened yet."""
    match source:
        case CsvSource():
            return csv_table(
                source.name,
                folder,
                source.files,
                encoding=source.encoding,
                delimiter=source.delimiter,
                missing=source.missing,
                maximum_unreadable_share=source.maximum_unreadable_share,
                header=source.header,
            )
        case ParquetSource():
            return parquet_table(source.name, folder, source.files, missing=source.missing)
        case ExcelSource():
            return excel_table(
                source.files[0],
                folder / source.files[0],
                sheet=source.sheet,
                header_row=source.header_row,
                missing=source.missing,
            )
        case FhirViewSource():
            stream = FileStream(source.name, folder, source.files)
            view = View.load(folder / source.view)
            return ViewTable(view, stream, source.missing, source.maximum_unreadable_share)
        case SqlSource():
            return sql_table(
                local_url(source.url, folder),
                table=source.table,
                query=source.query,
                name=source.name,
                missing=source.missing,
            )


def local_url(url: str, folder: Path) -> str:
    """A database's address; the file of a relative SQLite address lies beside the mapping."""
    start = "sqlite:///"
    if url.startswith(start) and not url.startswith(f"{start}/") and ":memory:" not in url:
        return f"{start}{folder.resolve() / url.removeprefix(start)}"
    return url


def database_file(url: str, folder: Path) -> Path | None:
    """Where the file of an SQLite address lies; None for any other address."""
    if not url.startswith("sqlite:"):
        return None
    found = DatabaseUrl(local_url(url, folder)).expand().database
    return None if not found or found == ":memory:" else Path(found).resolve()


@dataclass(frozen=True, repr=False)
class ServerRead:
    """What a FHIR server said, and a way to have it counted how many resources there are now.

    ``count`` gives None where the server doesn't count, or tells itself what was deleted.
    """

    extract: Extract
    count: Callable[[], int | None]


def read_server(
    source: FhirServerSource,
    fields: Sequence[AnyField],
    here: Surroundings,
    since: str | None = None,
) -> ServerRead:
    """What a FHIR server says, or what it has changed ``since`` an instant of its own clock.

    Only an export tells what was deleted; a search can't, but its resources can be counted.
    """
    wanted = [field for field in fields if isinstance(field, FhirField)]
    server = (here.connect or connect)(source, here.folder)
    server.check()
    streams = _Streams(source.name, list(_asked(source, wanted, server, since)))
    extract = read_resources(
        streams,
        wanted,
        here.graph,
        today=here.today.toordinal(),
        patient_identifier=source.patient_identifier,
        keyed=True,
        news=since is not None,
        deleted=lambda: streams.deleted,
    )

    def count() -> int | None:
        if source.bulk is not None:
            return None
        totals = [server.count(Search(kind, some)) for kind, some in criteria(wanted)]
        known = [total for total in totals if total is not None]
        return sum(known) if len(known) == len(totals) else None

    return ServerRead(extract, count)


def next_since(as_of: str | None) -> str | None:
    """From when on to ask for changes, after a reading at ``as_of`` of the server's clock.

    None where the server told no time that can be read: then it has to be read whole.
    """
    moment = None if as_of is None else _instant(as_of)
    if moment is None or moment - datetime.min.replace(tzinfo=UTC) < OVERLAP:
        return None
    return (moment - OVERLAP).isoformat().replace("+00:00", "Z")


def _instant(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def connect(source: FhirServerSource, folder: Path, limits: Limits | None = None) -> FhirServer:
    """The hospital's own FHIR server, over TLS, under the agent's own key where it has one."""
    context = tls_context(None if source.ca is None else folder / source.ca)
    transport = FhirTransport(context, proxy_for(source.url))
    access = None
    if source.client_id is not None and source.client_key is not None:
        key = ClientKey.load(folder / source.client_key)
        access = SmartBackend(Client(source.client_id, key))
    return FhirServer(source.url, transport, access, limits=limits)


def _asked(
    source: FhirServerSource, fields: Sequence[FhirField], server: FhirServer, since: str | None
) -> list[ResourceStream]:
    wanted = criteria(fields)
    if source.bulk is not None:
        export = Export(
            group=source.group if source.bulk == "group" else None,
            all_patients=source.bulk == "patient",
            types=tuple(dict.fromkeys(kind for kind, _ in wanted)),
            since=since,
        )
        return [server.export(source.name, export)]
    return [server.search(source.name, Search(kind, some, since=since)) for kind, some in wanted]


def criteria(fields: Sequence[FhirField]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """What to ask a server for: resource types, and the codes by which they are found."""
    codes: dict[str, list[str]] = {"Patient": []}
    for field in fields:
        kind = RESOURCES.get(field.element, "Observation")
        found = codes.setdefault(kind, [])
        found += [f"{_escaped(field.system or '')}|{_escaped(one)}" for one in field.all_codes]
    return [
        (kind, parameters)
        for kind, some in codes.items()
        for parameters in _parameters(list(dict.fromkeys(some)))
    ]


def _parameters(codes: Sequence[str]) -> Iterator[tuple[tuple[str, str], ...]]:
    """What to search by: no code, or some of them at a time, since an address has an end.

    A resource that is found twice counts once, as one that changed while pages were read.
    """
    if not codes:
        yield ()
    for start in range(0, len(codes), _CODES_AT_ONCE):
        yield (("code", ",".join(codes[start : start + _CODES_AT_ONCE])),)


def _escaped(text: str) -> str:
    r"""A part of a search's value, in which ``\``, ``$``, ``,`` and ``|`` mean more (FHIR R4)."""
    return "".join(f"\\{mark}" if mark in "\\$,|" else mark for mark in text)


class _Streams:
    """Several streams of one source, one after the other; a `ResourceStream`."""

    def __init__(self, name: str, streams: Sequence[ResourceStream]) -> None:
        self.name = name
        self._streams = streams
        self._now = 0

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        for number, stream in enumerate(self._streams):
            self._now = number
            for body, place in stream:
                yield body, place | number << _STREAM_BITS

    def refuse(self, _place: int = 0) -> None:
        """As the stream that handed it out."""
        self._streams[self._now].refuse()

    def where(self, place: int) -> str:
        """As the stream that handed it out."""
        return self._streams[place >> _STREAM_BITS].where(place & ((1 << _STREAM_BITS) - 1))

    @property
    def deleted(self) -> set[str]:
        """What an export said is gone."""
        named = (one.deleted for one in self._streams if isinstance(one, ExportStream))
        return {reference for one in named for reference in one}

    @property
    def read(self) -> StreamRead:
        """What all of them have read."""
        reads = [stream.read for stream in self._streams]
        return StreamRead(
            self.name,
            query="; ".join(dict.fromkeys(one.query for one in reads)),
            resources=sum(one.resources for one in reads),
            parts=tuple(part for one in reads for part in one.parts),
            as_of=_earliest([one.as_of for one in reads]),
            deleted=sum(one.deleted for one in reads),
            errors=sum(one.errors for one in reads),
        )


_STREAM_BITS = 36
_CODES_AT_ONCE = 40


def _earliest(stated: Sequence[str | None]) -> str | None:
    """The first of several times: what changed while the others were read comes again next time.

    None where one of them is unknown.
    """
    moments = {one: _instant(one) for one in stated if one is not None}
    if len(stated) == 0 or None in stated or None in moments.values():
        return None
    return min(moments, key=lambda one: moments[one] or datetime.max.replace(tzinfo=UTC))


def _fhir_file(
    source: FhirSource, file: str, fields: Sequence[AnyField], here: Surroundings
) -> Part:
    wanted = [field for field in fields if isinstance(field, FhirField)]

    def read() -> Extract:
        return read_resources(
            FileStream(source.name, here.folder, (file,)),
            wanted,
            here.graph,
            today=here.today.toordinal(),
            patient_identifier=source.patient_identifier,
        )

    return Part(file, partial(stamps, here.folder, (file,)), read)


def _read_columnar(
    source: ColumnarSource, fields: Sequence[AnyField], here: Surroundings
) -> Extract:
    shape = Shape(
        source.patient, source.decimal, here.today.toordinal(), wide=is_wide(source.fields)
    )
    wanted = [field for field in fields if isinstance(field, ColumnField)]
    found = read_table(open_table(source, here.folder), wanted, shape, here.graph)
    return replace(found, source=source.name, read=replace(found.read, source=source.name))


def _read_omop(source: OmopSource, fields: Sequence[AnyField], here: Surroundings) -> Extract:
    """One query for each field, after the list of all persons, some of whom have no facts."""
    shape = Shape("patient", ".", here.today.toordinal(), wide=False)
    with open_omop(source, here.folder) as omop:
        found = [read_table(omop.table(OmopDomain.PERSON), (), shape, here.graph)]
        for field in fields:
            assert isinstance(field, OmopField)
            table = rows_of(omop, field)
            found.append(read_table(table, [omop_column(field)], shape, here.graph))
        whole = combine(source.name, found)
        return replace(whole, set_aside=(*omop.rejected, *whole.set_aside))


def open_omop(source: OmopSource, folder: Path) -> Omop:
    """The tables of an OMOP source, to be closed after use."""
    return omop_tables(local_url(source.url, folder) if source.url else folder / str(source.files))


def rows_of(omop: Omop, field: OmopField) -> SqlTable:
    """The rows that an OMOP field is about, in the long shape."""
    return omop.table(OmopDomain(field.domain), field.concept_ids or None)


def omop_column(field: OmopField) -> ColumnField:
    """An OMOP field as the column of the long shape that it is."""
    presence = field.value == "presence"
    return ColumnField(
        concept=field.concept,
        column="concept_id" if presence or field.value == "concept" else field.value,
        present=presence,
        unit_column="unit" if field.value == "value" and field.value_map is None else None,
        value_map=field.value_map,
        coding=field.coding,
        choose=field.choose,
        absent=field.absent,
        date_column="day",
    )


def _nothing() -> None:
    """What tells whether a database has changed: nothing."""


def stamps(folder: Path, files: Sequence[str]) -> tuple[Stamp, ...] | None:
    """The stamps of files, and of what lies in those that are folders; None where one is gone."""
    try:
        paths = [folder / file for file in files]
        inside = [one for path in paths if path.is_dir() for one in sorted(path.iterdir())]
        found = [(path.name, path.stat()) for path in (*paths, *inside)]
    except (OSError, ValueError):
        return None  # reading will say what is wrong
    return tuple(
        (name, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for name, one in found
    )
