"""Search on a FHIR server: one page after another, as the server links them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from wardround.clinical.fhir.address import in_words, query, resource_type
from wardround.clinical.fhir.answers import too_much
from wardround.clinical.fhir.bundle import current_entries, not_fhir, resource_in
from wardround.clinical.fhir.exchange import Ask, Exchange
from wardround.clinical.fhir.stream import Body, Resource, StreamRead
from wardround.clinical.provenance import FileRead
from wardround.errors import WardroundError
from wardround.ids import Digest
from wardround.trust.canonical import JSON

_EMPTY_PAGES = 100
"""How many pages without a resource may follow each other: a filtering server sends some."""


@dataclass(frozen=True, repr=False)
class Search:
    """What to search for.

    ``since`` is an instant (``2026-11-25T08:00:00Z``): only resources changed at or after it.
    ``page_size`` is a wish; servers have their own maximum.

    Raises:
        WardroundError: ``WR-DATA-069`` where type or parameters can't be in an address.
    """

    type: str
    parameters: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    page_size: int = 1000

    def __post_init__(self) -> None:
        resource_type(self.type)
        query(self.asked)

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """All parameters of the first request."""
        since = () if self.since is None else (("_lastUpdated", f"ge{self.since}"),)
        return (*self.parameters, *since, ("_count", str(self.page_size)))


class SearchStream:
    """The resources that a search finds; a :class:`ResourceStream`.

    What the server changes while pages are read may be missing or come twice, as FHIR has it; the
    next reading since ``read.as_of`` brings what was missed.

    Raises (while iterating):
        WardroundError: as :meth:`Exchange.ask`; ``WR-DATA-063`` where a page links to another
            server, ``-065`` where pages repeat or never end.
    """

    def __init__(self, name: str, exchange: Exchange, search: Search) -> None:
        self.name = name
        self._exchange = exchange
        self._search = search
        self._what = f"GET {search.type}"
        self._parts: list[FileRead] = []
        self._ends: list[int] = []
        self._resources = 0
        self._problems = 0
        self._as_of: str | None = None

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        place = 0
        for page in self._pages():
            entries = current_entries(page, self._what)
            self._ends.append(place + len(entries))
            for entry in entries:
                place += 1
                resource = resource_in(entry)
                if resource is None:
                    self._problems += 1
                else:
                    self._resources += 1
                    yield resource, place

    def refuse(self, _place: int = 0) -> None:
        """Nothing: every page was decoded whole."""

    def where(self, place: int) -> str:
        """Return a place as ``page N:entry``."""
        page = bisect_left(self._ends, place)
        return f"page {page + 1}:{place - (self._ends[page - 1] if page else 0)}"

    @property
    def read(self) -> StreamRead:
        """The pages as read so far; ``errors`` counts entries without a resource to use."""
        return StreamRead(
            self.name,
            in_words(self._what, self._search.asked),
            self._resources,
            tuple(self._parts),
            self._as_of,
            errors=self._problems,
        )

    def _pages(self) -> Iterator[Resource]:
        limits, clock = self._exchange.limits, self._exchange.clock
        deadline = clock.monotonic() + limits.reading_s
        base = self._exchange.base
        url: httpx.URL | None = base.join(self._search.type).copy_with(
            params=list(self._search.asked)
        )
        seen: set[bytes] = set()
        empty = 0
        while url is not None:
            name = hashlib.sha256(str(url).encode()).digest()
            if name in seen:
                raise too_much(self._what, "a page that links back to an earlier one")
            seen.add(name)
            if (
                len(seen) > limits.pages
                or self._resources > limits.resources
                or empty > _EMPTY_PAGES
                or clock.monotonic() > deadline
            ):
                raise too_much(self._what, "pages without an end")
            answer = self._exchange.ask(Ask(self._what, url))
            page = answer.body
            if not isinstance(page, dict) or page.get("type") != "searchset":
                raise not_fhir(self._what)
            if self._as_of is None:
                self._as_of = _instant(page)
            entries = page.get("entry")
            count = len(entries) if isinstance(entries, list) else 0
            digest = Digest(f"sha256:{hashlib.sha256(answer.content).hexdigest()}")
            self._parts.append(FileRead(f"page {len(seen)}", digest, count))
            empty = 0 if count else empty + 1
            link = _next(page)
            url = None if link is None else base.follow(link, url, self._what)
            yield page


def count(exchange: Exchange, search: Search) -> int | None:
    """How many resources a search would find now, as the server counts; None where it doesn't.

    Raises:
        WardroundError: as :meth:`Exchange.ask`, but for a request that the server refuses.
    """
    asked = (*search.parameters, ("_summary", "count"))
    url = exchange.base.join(search.type).copy_with(params=list(asked))
    try:
        page = exchange.ask(Ask(f"GET {search.type}", url)).body
    except WardroundError as error:
        if error.code != "WR-DATA-061":
            raise
        return None
    total = page.get("total") if isinstance(page, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def _instant(page: Resource) -> str | None:
    """When the server put the page together (``Bundle.meta.lastUpdated``)."""
    meta = page.get("meta")
    stated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return stated if isinstance(stated, str) and len(stated) <= 40 else None


def _next(page: Resource) -> JSON:
    links = page.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next":
            # A link without an address is no end: the rest would be missing silently.
            return link.get("url") or ""
    return None
