"""Bulk Data export: the server writes files in its own time, and the agent streams them in.

HL7 Bulk Data Access IG: kick-off, status, manifest, files, and the deletion of the job at the end.
Nothing is saved here; each line goes straight to the consumer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import orjson

from wardround.clinical.fhir.address import (
    elsewhere,
    identifier,
    in_words,
    origin,
    parse,
    query,
    resolve,
    resource_type,
    wrong_settings,
)
from wardround.clinical.fhir.answers import media_type, too_much
from wardround.clinical.fhir.bundle import not_fhir
from wardround.clinical.fhir.download import Download
from wardround.clinical.fhir.exchange import Ask, Exchange
from wardround.clinical.fhir.manifest import STATUS, File, Manifest
from wardround.clinical.fhir.stream import Body, StreamRead
from wardround.clinical.lines import truncated
from wardround.clinical.provenance import FileRead, locate
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

_NDJSON = ("application/fhir+ndjson", "application/ndjson", "application/x-ndjson")
_LINES = (*_NDJSON, "application/octet-stream", "binary/octet-stream")
"""Object stores don't know what they keep."""


@dataclass(frozen=True, repr=False)
class Export:
    """What to export: one group's patients, all patients, or (both unset) the whole system.

    ``types`` are resource types (none: all); ``since`` an instant; ``file_origins`` further
    servers, such as ``https://store.hospital.example``, from which files may be fetched, without
    a token.

    Raises:
        WardroundError: ``WR-DATA-069`` where a part can't be in an address.
    """

    group: str | None = None
    all_patients: bool = False
    types: tuple[str, ...] = ()
    since: str | None = None
    file_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.types:
            resource_type(name)
        query(self.asked)
        if self.group is not None:
            identifier(self.group)
            if self.all_patients:
                raise wrong_settings("Export either one group or all patients.")
        for address in self.file_origins:
            url = parse(address)
            if url is None or url.scheme != "https":
                raise wrong_settings("A file origin is https://HOST.")

    @property
    def path(self) -> str:
        """The path of the kick-off, below the base."""
        if self.group is not None:
            return f"Group/{self.group}/$export"
        return "Patient/$export" if self.all_patients else "$export"

    @property
    def what(self) -> str:
        """The kick-off for a reader, without the group's id."""
        return f"GET {'Group/{id}/$export' if self.group is not None else self.path}"

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The parameters of the kick-off."""
        return (
            ("_outputFormat", "application/fhir+ndjson"),
            *((("_type", ",".join(self.types)),) if self.types else ()),
            *((("_since", self.since),) if self.since is not None else ()),
        )


class ExportStream:
    """The lines of all files of an export; a :class:`ResourceStream`.

    Once the iteration has ended, however it did, the server is asked to delete the job;
    ``left_behind`` tells where it didn't. ``deleted`` holds references such as ``Patient/7`` that
    an export with ``since`` reports as deleted; it is complete when the iteration ends.

    Raises (while iterating):
        WardroundError: as :meth:`Exchange.ask`; ``WR-DATA-063`` for a file at an unknown server,
            ``-067`` where the export fails, takes too long or a file is not as the manifest says,
            ``-012``, ``-013``, ``-017`` for lines as in a file.
    """

    def __init__(self, name: str, exchange: Exchange, export: Export) -> None:
        self.name = name
        self.left_behind = False
        self.deleted: set[str] = set()
        self._exchange = exchange
        self._export = export
        self._parts: list[FileRead] = []
        self._lines: Download | None = None
        self._as_of: str | None = None
        self._resources = 0
        self._errors = 0

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        status = self._kick_off()
        try:
            manifest = self._manifest(status)
            self._as_of = manifest.as_of
            before = 0
            for file in manifest.output:
                for line in self._file(file, manifest):
                    if not line.isspace():
                        self._count()
                        yield line, before + self._now.lines
                before += self._done(file)
            for file in manifest.error:
                # Their lines are outcomes that may quote a record: they are only counted.
                self._errors += sum(not line.isspace() for line in self._file(file, manifest))
                self._done(file)
            for file in manifest.deleted:
                for line in self._file(file, manifest):
                    if len(self.deleted) > self._exchange.limits.resources:
                        raise too_much(self._export.what, "deletions without an end")
                    self.deleted.update(_deletions(line, file.name))
                self._done(file)
        finally:
            self._clean_up(status)

    def refuse(self, _place: int = 0) -> None:
        """Raise ``WR-DATA-013`` where the line handed out last shows its file to be cut off."""
        if self._lines is not None and not self._lines.complete:
            raise truncated(self._lines.name, self._lines.lines)

    def where(self, place: int) -> str:
        """Return a place as ``file:line``; files are named by type and number."""
        now = () if self._lines is None else (self._lines.result,)
        return locate((*self._parts, *now), place)

    @property
    def read(self) -> StreamRead:
        """The files as read so far."""
        return StreamRead(
            self.name,
            in_words(self._export.what, self._export.asked),
            self._resources,
            tuple(self._parts),
            self._as_of,
            deleted=len(self.deleted),
            errors=self._errors,
        )

    def _count(self) -> None:
        self._resources += 1
        if self._resources > self._exchange.limits.resources:
            raise too_much(self._export.what, "resources without an end")

    @property
    def _now(self) -> Download:
        assert self._lines is not None
        return self._lines

    def _kick_off(self) -> httpx.URL:
        url = self._exchange.base.join(self._export.path).copy_with(params=list(self._export.asked))
        headers = {"Prefer": "respond-async"}
        ask = Ask(self._export.what, url, headers=headers, expected=(202,), harmless=False)
        link = self._exchange.ask(ask).headers.get("content-location")
        status = resolve(link, url)
        if status is None or not self._exchange.base.shares_origin(status):
            raise elsewhere(self._export.what)
        return status

    def _manifest(self, status: httpx.URL) -> Manifest:
        deadline = self._exchange.clock.monotonic() + self._exchange.limits.reading_s
        attempt = 0
        while True:
            try:
                answer = self._exchange.ask(
                    Ask(
                        STATUS,
                        status,
                        expected=(200, 202),
                        accept="application/json",
                        anywhere=True,
                    )
                )
            except WardroundError as error:
                if error.code == "WR-DATA-061":
                    raise _failed("The server reports that the export failed.") from None
                raise
            if answer.status == 200:
                return Manifest.parse(answer.body, status, self._export.types, self._may_fetch)
            try:
                self._exchange.wait(answer.headers, attempt, deadline, STATUS)
            except WardroundError:
                raise _failed("The export was not ready in time.") from None
            attempt = min(attempt + 1, 10)

    def _may_fetch(self, url: httpx.URL) -> bool:
        return self._exchange.base.shares_origin(url) or origin(url) in {
            origin(httpx.URL(address)) for address in self._export.file_origins
        }

    def _file(self, file: File, manifest: Manifest) -> Iterator[bytes]:
        self._lines = download = Download(file.name)
        accept = "application/fhir+ndjson"
        # The token, where one is required, still goes to the base's own origin only.
        ask = Ask(f"GET {file.name}", file.url, accept=accept, token=manifest.token, anywhere=True)
        with self._exchange.open(ask, seconds=self._exchange.limits.download_s) as response:
            if media_type(response) not in _LINES:
                raise not_fhir(ask.what)
            download.response = response
            yield from download

    def _done(self, file: File) -> int:
        lines = self._now.result
        if file.count is not None and file.count != self._now.resources:
            raise _failed("A file has more or fewer resources than the server counted.")
        self._parts.append(lines)
        self._lines = None
        return lines.lines

    def _clean_up(self, status: httpx.URL) -> None:
        gone = (200, 202, 204, 404, 410)
        try:
            self._exchange.ask(
                Ask(
                    "DELETE export",
                    status,
                    "DELETE",
                    anywhere=True,
                    expected=gone,
                    read=(),
                    attempts=1,
                )
            )
        except WardroundError:
            self.left_behind = True  # what was read is good all the same


def _deletions(line: bytes, name: str) -> Iterator[str]:
    """What a Bundle of deletions names."""
    try:
        bundle: JSON = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise not_fhir(name) from None
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    if not isinstance(entries, list):
        raise not_fhir(name)
    for entry in entries:
        request = entry.get("request") if isinstance(entry, dict) else None
        if isinstance(request, dict) and request.get("method") == "DELETE":
            reference = request.get("url")
            if isinstance(reference, str):
                with suppress(ValueError):
                    kind, identity = reference.split("/")[-2:]
                    yield f"{kind}/{identity}"


def _failed(problem: str) -> WardroundError:
    return WardroundError(
        "WR-DATA-067",
        problem,
        "The server's operator finds the cause in its log; then start the reading again.",
        path="export",
    )
