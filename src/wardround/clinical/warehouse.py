"""A hospital's records in memory: what its sources say, kept current, one patient in all of them.

Nothing here touches the disk. A refresh reads again only what has changed: the files of another
size or time, and what a FHIR server has changed since it was last asked. A database is read again
whole, since a row that is gone leaves no trace; and so is everything on another day, since what
lies in the future depends on it. A search on a server can't tell that a resource was deleted, or is
now about something else: so the server is asked to count, and read again whole where it counts
fewer than are known here. What that doesn't show is noticed on another day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.facts import Extract, Facts, combine
from wardround.clinical.fields import AnyField
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.lines import changed, check_unreadable_share, empty
from wardround.clinical.mapping import ColumnarSource, FhirServerSource, Source
from wardround.clinical.mapping import Mapping as HospitalMapping
from wardround.clinical.opening import (
    Part,
    Stamp,
    Surroundings,
    look_at,
    next_since,
    open_table,
    parts_of,
    read_server,
)
from wardround.clinical.provenance import SourceRead
from wardround.clinical.quarantine import Reason, SetAside, garbled

UNLINKED: Final = -1


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: which parts of sources it read, and how many had not changed."""

    read: tuple[str, ...]
    unchanged: int


@dataclass(frozen=True, repr=False)
class Linked:
    """All patients of the hospital, and what each source says about them.

    ``patients`` are sorted; ``numbers`` lead from a source's patients to positions in it, and
    `UNLINKED` where there is none; ``first_seen`` tells where each patient first occurs.
    """

    patients: tuple[str, ...]
    numbers: Mapping[str, NDArray[np.int64]]
    first_seen: Callable[[int], str]
    unlinked: tuple[SetAside, ...]


@dataclass(frozen=True, repr=False)
class _Known:
    """A part of a source as it was read last.

    ``counts``: whether a server's counts of its resources can be believed.
    """

    stamp: tuple[Stamp, ...] | None
    extract: Extract
    counts: bool = True


@dataclass(frozen=True, repr=False)
class _Walk:
    """A crosswalk as it was read last: from a source's own numbers to the hospital's.

    None where one leads to several. ``unused`` are its lines that are none.
    """

    stamp: tuple[Stamp, ...] | None
    names: Mapping[str, str | None]
    read: SourceRead
    unused: tuple[SetAside, ...]


@dataclass(frozen=True, repr=False)
class _State:
    """Everything that was read, at one time; never changed, only replaced as a whole."""

    day: date
    parts: Mapping[tuple[str, str], _Known] = field(default_factory=dict)
    extracts: Mapping[str, Extract] = field(default_factory=dict)
    walks: Mapping[str, _Walk] = field(default_factory=dict)


class Warehouse:
    """The records that ``concepts`` of a mapping need; empty until the first :meth:`refresh`.

    One thread may refresh it while others read from a :meth:`snapshot`.
    """

    def __init__(
        self,
        mapping: HospitalMapping,
        folder: Path,
        graph: ConceptGraph,
        concepts: Collection[str],
        *,
        today: Callable[[], date] = date.today,
        surroundings: Callable[[Surroundings], Surroundings] = lambda here: here,
    ) -> None:
        self.mapping = mapping
        self.graph = graph
        self._folder = folder
        self._today = today
        self._adapt = surroundings
        self._fields: dict[str, list[AnyField]] = {}
        for source, mapped in mapping.all_fields():
            if mapped.concept in concepts:
                self._fields.setdefault(source.name, []).append(mapped)
        self._state = _State(today())

    @property
    def extracts(self) -> Mapping[str, Extract]:
        """What each source says, by name."""
        return self._state.extracts

    def snapshot(self) -> Warehouse:
        """The warehouse as it is now, whatever is read later."""
        return copy(self)

    @property
    def fields(self) -> dict[str, tuple[Source, AnyField]]:
        """The fields that are read, by concept."""
        return {
            field.concept: (source, field)
            for source, field in self.mapping.all_fields()
            if field in self._fields.get(source.name, ())
        }

    def refresh(self) -> Refreshed:
        """Read what has changed. Raises what reading raises; then everything stays as it was.

        Raises:
            WardroundError: ``WR-DATA-059`` where a file is written to meanwhile, and whatever
                reading a source raises.
        """
        day = self._today()
        here = self._adapt(Surroundings(self._folder, self.graph, day))
        before = self._state.parts if day == self._state.day else {}
        read: list[str] = []
        unchanged = 0
        parts: dict[tuple[str, str], _Known] = {}
        extracts: dict[str, Extract] = {}
        walks: dict[str, _Walk] = {}
        for source in self.mapping.sources:
            fields = self._fields.get(source.name)
            if not fields:
                continue
            found = []
            for part in parts_of(source, fields, here):
                key = (source.name, part.name)
                known = before.get(key)
                stamp = part.look()
                if known is None or stamp is None or known.stamp != stamp:
                    read.append(part.name)
                    known = self._since(source, fields, here, known) or _Known(
                        stamp, _read(part, stamp)
                    )
                else:
                    unchanged += 1
                parts[key] = known
                found.append(known.extract)
            extracts[source.name] = _whole(source, found)
            if source.crosswalk is not None:
                old = self._state.walks.get(source.name)
                walks[source.name] = walk = self._walk(source, here, old)
                if walk is old:
                    unchanged += 1
                else:
                    read.append(walk.read.source)
        self._state = _State(day, parts, extracts, walks)
        return Refreshed(tuple(read), unchanged)

    def link(self) -> Linked:
        """Find every patient in all sources."""
        names = {
            source: self._own_names(source, extract)
            for source, extract in self._state.extracts.items()
        }
        unlinked = [
            SetAside(
                Reason.UNLINKED_PATIENT,
                self._state.extracts[source].where(
                    int(self._state.extracts[source].first_places[at])
                ),
            )
            for source, own in names.items()
            if None in own
            for at, one in enumerate(own)
            if one is None
        ]
        everyone: set[str | None] = set().union(*names.values())
        everyone.discard(None)
        known = sorted(one for one in everyone if one is not None)
        position: dict[str | None, int] = dict(zip(known, range(len(known)), strict=True))
        position[None] = UNLINKED
        numbers = {
            source: np.array([position[one] for one in own], np.int64)
            for source, own in names.items()
        }
        seen = np.full(len(known), -1, np.int64)
        by = list(self._state.extracts.values())
        place = np.zeros(len(known), np.int64)
        for number, (source, extract) in enumerate(self._state.extracts.items()):
            new = numbers[source][::-1]  # the first of several comes last, and stays
            places = extract.first_places[::-1]
            fresh = (new >= 0) & (seen[new] < 0)
            seen[new[fresh]], place[new[fresh]] = number, places[fresh]

        def first_seen(patient: int) -> str:
            return by[int(seen[patient])].where(int(place[patient]))

        return Linked(tuple(known), numbers, first_seen, tuple(unlinked))

    def facts(self, concept: str, linked: Linked) -> tuple[Facts, Extract]:
        """The facts about a mapped concept, with the patients' numbers in ``linked``."""
        source, _ = self.fields[concept]
        extract = self._state.extracts[source.name]
        return extract.facts[concept].moved(linked.numbers[source.name]), extract

    def reads(self) -> tuple[SourceRead, ...]:
        """What was read of each source."""
        return tuple(extract.read for extract in self._state.extracts.values())

    def provenance(self, source: str) -> tuple[SourceRead, ...]:
        """What was read for a source: itself, and the crosswalk to its patients."""
        own = self._state.extracts[source].read
        walk = self._state.walks.get(source)
        return (own,) if walk is None else (own, walk.read)

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """What could not be read of any source, or of a crosswalk that is no source by itself."""
        entries = [
            entry for extract in self._state.extracts.values() for entry in extract.set_aside
        ]
        for walk in self._state.walks.values():
            if walk.read.source not in self._state.extracts:
                entries += walk.unused
        return tuple(entries)

    def _since(
        self, source: Source, fields: list[AnyField], here: Surroundings, known: _Known | None
    ) -> _Known | None:
        """What a server said brought up to date; None where it has to be read whole.

        A server that counts fewer resources than it has just handed over can't count.
        """
        if not isinstance(source, FhirServerSource) or known is None:
            return None
        since = next_since(known.extract.read.as_of)
        if since is None:
            return None
        news = read_server(source, fields, here, since)
        extract = combine(source.name, [known.extract, news.extract])
        if not known.counts or not _some_are_gone(extract, news.count()):
            return replace(known, extract=extract)
        whole = read_server(source, fields, here)
        return _Known(None, whole.extract, not _some_are_gone(whole.extract, whole.count()))

    def _walk(self, source: Source, here: Surroundings, old: _Walk | None) -> _Walk:
        """Read a source's crosswalk, unless it is as it was."""
        assert source.crosswalk is not None
        other = next(one for one in self.mapping.sources if one.name == source.crosswalk.source)
        assert isinstance(other, ColumnarSource) and other.patient is not None
        stamp = look_at(other, here.folder)
        if old is not None and stamp is not None and stamp == old.stamp:
            return old
        column = source.crosswalk.column
        found: dict[str, str | None] = {}
        table = open_table(other, here.folder)
        for batch in table.batches([other.patient, column], text={other.patient, column}):
            ours, theirs = batch.columns[other.patient], batch.columns[column]
            there = ~(ours.missing | theirs.missing)
            for own, number in zip(
                ours.values[there].tolist(), theirs.values[there].tolist(), strict=True
            ):
                found[number] = own if found.setdefault(number, own) == own else None
        if look_at(other, here.folder) != stamp:
            raise changed(other.name)
        done = table.read
        query = done.query or ", ".join(file.name for file in done.files)
        read = SourceRead(other.name, query, done.rows, done.files)
        return _Walk(stamp, found, read, tuple(replace(e, record=False) for e in table.rejected))

    def _own_names(self, source: str, extract: Extract) -> Sequence[str | None]:
        """The hospital's name of each of a source's patients; None where there is none."""
        names: Sequence[str | None] = extract.patients
        if extract.identifiers is not None:
            names = [extract.identifiers.get(one) for one in extract.patients]
        walk = self._state.walks.get(source)
        if walk is not None:
            names = [None if one is None else walk.names.get(one) for one in names]
        return names


def _some_are_gone(extract: Extract, total: int | None) -> bool:
    """Whether a server that was read before it counted has fewer resources than it handed over.

    It may have more: those that came in between, and those that it counts for two searches.
    """
    records = extract.records
    return total is not None and records is not None and total < len(records.keys)


def _read(part: Part, stamp: tuple[Stamp, ...] | None) -> Extract:
    """Read a part that nobody writes to meanwhile."""
    extract = part.read()
    if part.look() != stamp:
        raise changed(part.name)
    return extract


def _whole(source: Source, parts: list[Extract]) -> Extract:
    """A source's parts together, if enough of it could be read."""
    extract = parts[0] if len(parts) == 1 else combine(source.name, parts)
    check_unreadable_share(
        source.name,
        extract.unreadable,
        extract.read.rows,
        source.maximum_unreadable_share,
        garbled(extract.set_aside),
    )
    if not extract.patients:
        raise empty(source.name)
    return extract
