"""Requests that were turned away, as leaves of the journal, so that an attempt leaves a trace.

The attacker may send as many bad requests as the line carries, so the journal must not grow with
them: of each kind of refusal of each site, `EACH` an hour get a leaf, and the others are counted in
one more when the hour is over. (A coordinator that is killed forgets what it had only counted.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.store.journalled import JournalledDatabase

EACH = 8
"""So many refusals of a site and code have a leaf of their own within `WINDOW`."""

WINDOW = timedelta(hours=1)


@dataclass
class _Count:
    since: datetime
    leaves: int = 0
    more: int = 0


class Refusals:
    """Keeps count. ``sites`` are the study's: any other name counts as nobody's."""

    def __init__(
        self, state: JournalledDatabase, sites: frozenset[SiteName], now: Callable[[], datetime]
    ) -> None:
        self._state = state
        self._sites = sites
        self._now = now
        self._counts: dict[tuple[SiteName | None, str], _Count] = {}

    @contextmanager
    def noted(self, site: SiteName | None) -> Iterator[None]:
        """Take note of a `WardroundError` that leaves this block; ``site`` is None if unknown."""
        try:
            yield
        except WardroundError as error:
            self._note(site if site in self._sites else None, error.code)
            raise

    def close(self) -> None:
        """Write down what was only counted."""
        for (site, code), count in self._counts.items():
            self._write_more(site, code, count)
        self._counts.clear()

    def _note(self, site: SiteName | None, code: str) -> None:
        now = self._now()
        count = self._counts.get((site, code))
        if count is None or now - count.since >= WINDOW:
            if count is not None:
                self._write_more(site, code, count)
            count = self._counts[site, code] = _Count(now)
        if count.leaves == EACH:
            count.more += 1
            return
        count.leaves += 1
        with self._state.transaction() as transaction:
            transaction.record("turned-away", site=site, code=code, at=now.isoformat())

    def _write_more(self, site: SiteName | None, code: str, count: _Count) -> None:
        if count.more:
            with self._state.transaction() as transaction:
                since = count.since.isoformat()
                transaction.record(
                    "turned-away", site=site, code=code, since=since, more=count.more
                )
        count.more = 0
