"""What sources hand over: facts, as parallel arrays, one row per value found.

Every kind of source is brought to this one form. Facts know patients only by number, and the
extract that holds them never prints an identifier or a value.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.provenance import SourceRead
from wardround.clinical.quarantine import Reason, SetAside

REASONS: Final = tuple(Reason)
"""A reason's code in ``Facts.reasons`` is its position here, counted from 1."""

CODE_OF: Final = {reason: number for number, reason in enumerate(REASONS, 1)}

NO_UNIT: Final = -1


@dataclass(frozen=True, repr=False, eq=False)
class Facts:
    """The values found for one field; all arrays have shape (facts,).

    ``patients`` are positions in the extract's list; ``values`` are as read, in the unit that
    ``units`` points to in ``unit_names`` (`NO_UNIT` where the record states none); ``reasons``
    are 0, or the code of why a value can't be used; ``days`` say when a value is of (proleptic
    Gregorian ordinals with the time as a fraction, NaN where unknown); ``places`` where it stands;
    ``records`` name the resource it is from, for sources whose resources change (else 0).
    """

    patients: NDArray[np.int64]
    values: NDArray[np.float64]
    reasons: NDArray[np.int8]
    units: NDArray[np.int32]
    days: NDArray[np.float64]
    places: NDArray[np.int64]
    records: NDArray[np.int64]
    unit_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def without(self, records: NDArray[np.int64]) -> Facts:
        """Return the facts that are not from these records."""
        return self.where(~np.isin(self.records, records))

    def where(self, keep: NDArray[np.bool_]) -> Facts:
        """Return the facts for which ``keep`` is set."""
        return Facts(
            self.patients[keep],
            self.values[keep],
            self.reasons[keep],
            self.units[keep],
            self.days[keep],
            self.places[keep],
            self.records[keep],
            self.unit_names,
        )

    def moved(self, patients: NDArray[np.int64], offset: int = 0) -> Facts:
        """Return the facts with their patients renumbered (shape: old patients) and places moved.

        Facts of patients whose new number is negative are left out.
        """
        renumbered = patients[self.patients] if len(self) else self.patients
        moved = replace(self, patients=renumbered, places=self.places + offset)
        return moved if (renumbered >= 0).all() else moved.where(renumbered >= 0)


class FactList:
    """Facts as they come in, one by one (`add`) or many at once (`add_many`).

    ``dated`` and ``keyed`` say whether single facts come with their day and their record.
    """

    def __init__(self, *, dated: bool = False, keyed: bool = False) -> None:
        self._done: list[Facts] = []
        self._units: dict[str, int] = {}
        self._dated = dated
        self._keyed = keyed
        self._begin()

    def _begin(self) -> None:
        # Plain C arrays: appending to one costs a fraction of making an object to keep.
        self.patients, self.places = array("q"), array("q")
        self.values, self.units = array("d"), array("i")
        self._days, self._records = array("d"), array("q")
        self._reasons: list[tuple[int, int]] = []

    def add(
        self,
        patient: int,
        value: float | Reason,
        unit: str | None,
        day: float,
        place: int,
        record: int = 0,
    ) -> None:
        """Append one fact."""
        if isinstance(value, Reason):
            self._reasons.append((len(self.values), CODE_OF[value]))
            value = 0.0
        self.patients.append(patient)
        self.values.append(value)
        self.units.append(NO_UNIT if unit is None else self.unit(unit))
        self.places.append(place)
        if self._dated:
            self._days.append(day)
        if self._keyed:
            self._records.append(record)

    def add_many(
        self,
        patients: NDArray[np.int64],
        values: NDArray[np.float64],
        reasons: NDArray[np.int8],
        units: NDArray[np.int32] | int,
        days: NDArray[np.float64] | float,
        places: NDArray[np.int64],
    ) -> None:
        """Append facts that are arrays already."""
        self._settle()
        whole, none = np.broadcast_to, np.zeros(len(values), np.int64)
        unit, day = np.asarray(units, np.int32), np.asarray(days, np.float64)
        shape = values.shape
        self._done.append(
            Facts(patients, values, reasons, whole(unit, shape), whole(day, shape), places, none)
        )

    def unit(self, text: str) -> int:
        """The number of a unit."""
        return self._units.setdefault(text, len(self._units))

    def facts(self) -> Facts:
        """Everything so far, in order."""
        self._settle()
        return replace(_joined(self._done), unit_names=tuple(self._units))

    def _settle(self) -> None:
        """Turn what came one by one into arrays of their own."""
        length = len(self.values)
        if not length:
            return
        reasons = np.zeros(length, np.int8)
        for at, code in self._reasons:
            reasons[at] = code
        self._done.append(
            Facts(
                np.array(self.patients, np.int64),
                np.array(self.values, np.float64),
                reasons,
                np.array(self.units, np.int32),
                np.array(self._days) if self._dated else np.full(length, np.nan),
                np.array(self.places, np.int64),
                np.array(self._records, np.int64) if self._keyed else np.zeros(length, np.int64),
            )
        )
        self._begin()


def record_key(kind: str, identifier: str) -> int:
    """A number that stands for one resource: 63 bits of a hash of its type and id, never 0."""
    name = f"{kind}/{identifier}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1 or 1


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, repr=False, eq=False)
class Records:
    """The resources of a source that hands them over again when they change; shape (records,).

    ``keys`` name them (each once), ``patients`` whom each is about (negative for nobody, as
    where the resource is gone), ``places`` where each stands. ``set_aside`` names for each entry
    of the extract's ``set_aside`` the resource that it is about, or 0.
    """

    keys: NDArray[np.int64] = field(default_factory=_none)
    patients: NDArray[np.int64] = field(default_factory=_none)
    places: NDArray[np.int64] = field(default_factory=_none)
    set_aside: NDArray[np.int64] = field(default_factory=_none)


@dataclass(frozen=True, repr=False, eq=False)
class Extract:
    """What was read from one source.

    ``patients`` are the source's own identifiers, ``first_places`` where each first occurs;
    ``facts`` are keyed by concept; ``set_aside`` names rows and resources that could not be read
    at all, ``unreadable`` counts lines that are none; ``identifiers`` lead from the source's
    identifiers to the hospital's, where it holds them itself (None where it states several);
    ``records`` are the resources that were seen, where the source hands them over again when they
    change.
    """

    source: str
    read: SourceRead
    patients: Sequence[str]
    first_places: NDArray[np.int64]
    facts: dict[str, Facts]
    set_aside: tuple[SetAside, ...]
    where: Callable[[int], str]
    identifiers: Mapping[str, str | None] | None = None
    unreadable: int = 0
    records: Records | None = None

    def of_patients(self, keep: NDArray[np.bool_]) -> Extract:
        """Return what is about those patients for whom ``keep`` is set (shape: patients)."""
        if keep.all():
            return self
        numbers = np.where(keep, np.cumsum(keep) - 1, -1)
        return replace(
            self,
            patients=[
                one for one, stays in zip(self.patients, keep.tolist(), strict=True) if stays
            ],
            first_places=self.first_places[keep],
            facts={concept: one.moved(numbers) for concept, one in self.facts.items()},
            records=None if self.records is None else _moved(self.records, numbers, 0),
        )


def combine(source: str, parts: Sequence[Extract]) -> Extract:
    """Put the parts of one source together: its files, its tables, or what came since.

    A patient is the same in all of them. A resource that a later part holds replaces what an
    earlier one said by it, and whoever is then named by no resource is gone with it.
    """
    offsets = [0]
    for part in parts:
        offsets.append(offsets[-1] + _places_of(part))
    kept = [
        _without(part, [one.records.keys for one in parts[number + 1 :] if one.records is not None])
        for number, part in enumerate(parts)
    ]
    index: dict[str, int] = {}
    first: list[int] = []
    pieces: dict[str, list[Facts]] = {}
    records: list[Records] = []
    for part, offset in zip(kept, offsets, strict=False):
        renumbered = np.fromiter(
            (index.setdefault(one, len(index)) for one in part.patients), np.int64
        )
        new = renumbered >= len(first)
        first += (part.first_places[new] + offset).tolist()
        for concept, facts in part.facts.items():
            pieces.setdefault(concept, []).append(facts.moved(renumbered, offset))
        if part.records is not None:
            records.append(_moved(part.records, renumbered, offset))
    joined = {concept: _concatenate(facts) for concept, facts in pieces.items()}
    first_places = np.array(first, np.int64)
    used = [first_places, *(facts.places for facts in joined.values())]
    return Extract(
        source=source,
        read=SourceRead(
            source,
            "; ".join(dict.fromkeys(part.read.query for part in parts)),
            sum(part.read.rows for part in parts),
            tuple(file for part in parts for file in part.read.parts),
            parts[-1].read.as_of,
        ),
        patients=tuple(index),
        first_places=first_places,
        facts=joined,
        set_aside=tuple(entry for part in kept for entry in part.set_aside),
        where=_where([part.where for part in parts], offsets[:-1], np.concatenate(used)),
        identifiers=_identifiers(kept),
        unreadable=sum(part.unreadable for part in parts),
        records=_join_records(records) if records else None,
    )


def _without(part: Extract, later: Sequence[NDArray[np.int64]]) -> Extract:
    """A part less what its resources said that came again, or are gone, later."""
    records = part.records
    if records is None or not later:
        return part
    gone = np.concatenate(later)
    stays = ~np.isin(records.keys, gone)
    if stays.all():
        return part
    alive = np.zeros(len(part.patients), np.bool_)
    first_places = np.full(len(part.patients), np.iinfo(np.int64).max)
    named = stays & (records.patients >= 0)
    alive[records.patients[named]] = True
    np.minimum.at(first_places, records.patients[named], records.places[named])
    told = ~np.isin(records.set_aside, gone)
    identifiers = part.identifiers
    if identifiers is not None:
        replaced = frozenset(gone.tolist())
        identifiers = {
            name: one
            for name, one in identifiers.items()
            if record_key("Patient", name) not in replaced
        }
    return replace(
        part,
        first_places=first_places,
        facts={concept: one.without(gone) for concept, one in part.facts.items()},
        set_aside=tuple(
            one for one, keep in zip(part.set_aside, told.tolist(), strict=True) if keep
        ),
        identifiers=identifiers,
        records=Records(
            records.keys[stays],
            records.patients[stays],
            records.places[stays],
            records.set_aside[told],
        ),
    ).of_patients(alive)


def _moved(records: Records, patients: NDArray[np.int64], offset: int) -> Records:
    """Records with their patients renumbered and places moved."""
    table = np.append(patients, -1)  # the last one answers for nobody
    return replace(records, patients=table[records.patients], places=records.places + offset)


def _join_records(records: Sequence[Records]) -> Records:
    return Records(
        np.concatenate([one.keys for one in records]),
        np.concatenate([one.patients for one in records]),
        np.concatenate([one.places for one in records]),
        np.concatenate([one.set_aside for one in records]),
    )


def _identifiers(parts: Sequence[Extract]) -> dict[str, str | None] | None:
    """All parts' ways to the hospital's identifiers; None for a patient with two of them."""
    known = [part.identifiers for part in parts if part.identifiers is not None]
    found: dict[str, str | None] = {}
    for one in known:
        for name, identifier in one.items():
            found[name] = identifier if found.setdefault(name, identifier) == identifier else None
    return found if known else None


@dataclass(frozen=True, repr=False)
class _Places:
    """Which part a place lies in, and what that part calls it."""

    starts: tuple[int, ...]
    wheres: tuple[Callable[[int], str], ...]

    def __call__(self, place: int) -> str:
        number = bisect_right(self.starts, place) - 1
        return self.wheres[number](place - self.starts[number])


def _where(
    wheres: Sequence[Callable[[int], str]], starts: Sequence[int], used: NDArray[np.int64]
) -> _Places:
    """One way to say where a place is, that holds on to no part which nothing is from any more.

    Flat, however often what came since was added to what was there.
    """
    flat: list[tuple[int, Callable[[int], str]]] = []
    for where, start in zip(wheres, starts, strict=True):
        if isinstance(where, _Places):
            flat += [(start + one, of) for one, of in zip(where.starts, where.wheres, strict=True)]
        else:
            flat.append((start, where))
    begins = np.array([start for start, _ in flat])
    alive = np.unique(np.searchsorted(begins, used, "right") - 1).tolist()
    return _Places(tuple(flat[at][0] for at in alive), tuple(flat[at][1] for at in alive))


def _places_of(part: Extract) -> int:
    """One more than the last place of a part that anything is from."""
    arrays = [part.first_places, *(facts.places for facts in part.facts.values())]
    return 1 + max((int(places.max()) for places in arrays if len(places)), default=0)


def _concatenate(pieces: Sequence[Facts]) -> Facts:
    """Facts one after the other, whose units are numbered differently."""
    units: dict[str, int] = {}
    renumbered = []
    for piece in pieces:
        numbers = [units.setdefault(unit, len(units)) for unit in piece.unit_names]
        table = np.array([*numbers, NO_UNIT], np.int32)  # the last one answers for -1
        renumbered.append(replace(piece, units=table[piece.units]))
    return replace(_joined(renumbered), unit_names=tuple(units))


def _joined(pieces: Sequence[Facts]) -> Facts:
    if not pieces:
        none, floats = np.empty(0, np.int64), np.empty(0)
        small, units = np.empty(0, np.int8), np.empty(0, np.int32)
        return Facts(none, floats, small, units, floats, none, none)
    return Facts(
        np.concatenate([one.patients for one in pieces]),
        np.concatenate([one.values for one in pieces]),
        np.concatenate([one.reasons for one in pieces]),
        np.concatenate([one.units for one in pieces]),
        np.concatenate([one.days for one in pieces]),
        np.concatenate([one.places for one in pieces]),
        np.concatenate([one.records for one in pieces]),
    )
