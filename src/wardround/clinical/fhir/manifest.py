"""The manifest of an export: which files there are, and whether they may be fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from wardround.clinical.fhir.address import elsewhere, resolve
from wardround.clinical.fhir.bundle import not_fhir
from wardround.trust.canonical import JSON

STATUS = "GET export status"
_MAXIMUM_FILES = 100_000


@dataclass(frozen=True, repr=False)
class File:
    """One file: its address, a name for errors and provenance, how many resources it has."""

    url: httpx.URL
    name: str
    count: int | None


@dataclass(frozen=True, repr=False)
class Manifest:
    """What an export made, at the server's time ``as_of``; ``token``: whether files need one."""

    as_of: str
    token: bool
    output: tuple[File, ...]
    error: tuple[File, ...]
    deleted: tuple[File, ...]

    @staticmethod
    def parse(
        body: JSON, asked: httpx.URL, types: tuple[str, ...], may_fetch: Callable[[httpx.URL], bool]
    ) -> Manifest:
        """Check the answer to ``asked``; files are named by those ``types`` that were asked for.

        Raises:
            WardroundError: ``WR-DATA-063`` where a file is at an address that ``may_fetch``
                refuses, ``-064`` where it is no whole manifest.
        """
        if not isinstance(body, dict):
            raise not_fhir(STATUS)
        as_of, token = body.get("transactionTime"), body.get("requiresAccessToken")
        # A manifest in parts comes only to those who ask for it; a part alone would be too little.
        if not isinstance(as_of, str) or not isinstance(token, bool) or body.get("link"):
            raise not_fhir(STATUS)
        output, error, deleted = (
            tuple(_listed(body.get(key), asked, prefix, types, may_fetch))
            for key, prefix in (("output", ""), ("error", "error "), ("deleted", "deleted "))
        )
        return Manifest(as_of[:40], token, output, error, deleted)


def _listed(
    files: JSON,
    asked: httpx.URL,
    prefix: str,
    types: tuple[str, ...],
    may_fetch: Callable[[httpx.URL], bool],
) -> Iterator[File]:
    if files is None:
        return
    if not isinstance(files, list) or len(files) > _MAXIMUM_FILES:
        raise not_fhir(STATUS)
    for number, file in enumerate(files, 1):
        kind = file.get("type") if isinstance(file, dict) else None
        if not isinstance(file, dict) or not isinstance(kind, str):
            raise not_fhir(STATUS)
        url, count = resolve(file.get("url"), asked), file.get("count")
        if url is None or not may_fetch(url):
            raise elsewhere(STATUS)
        counted = isinstance(count, int) and not isinstance(count, bool)
        name = f"{prefix}{kind if kind in types else 'file'} {number}"
        yield File(url, name, count if counted else None)
