"""What every kind of source hands over: per mapped field, the values found, as they were found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import Reason, SetAside

RawValue: TypeAlias = str | int | float | bool | Reason
"""A value as the source gave it, or why the source's own rules forbid its use."""


@dataclass(repr=False)
class RawColumn:
    """One mapped field: four parallel lists with one entry per value found.

    ``units`` holds the unit that the record itself states (None where it states none), ``places``
    the line at which the value stands, counted through all files of the source.
    """

    patients: list[str] = field(default_factory=list)
    values: list[RawValue] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, patient: str, value: RawValue, unit: str | None, place: int) -> None:
        """Append one value."""
        self.patients.append(patient)
        self.values.append(value)
        self.units.append(unit)
        self.places.append(place)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, repr=False)
class Extract:
    """What was read from one source.

    ``patients`` maps each patient to the place where they first occur; ``columns`` is keyed by
    concept; ``set_aside`` names rows and resources that could not be read at all.
    """

    source: str
    files: tuple[FileRead, ...]
    patients: Mapping[str, int]
    columns: Mapping[str, RawColumn]
    set_aside: tuple[SetAside, ...]

    def where(self, place: int) -> str:
        """Return a place as ``file:line``."""
        return locate(self.files, place)


def locate(files: tuple[FileRead, ...], place: int) -> str:
    """Return ``file:line`` for a line counted from 1 through all ``files``."""
    ends: list[int] = []
    for file in files:
        ends.append(file.lines + (ends[-1] if ends else 0))
    index = min(bisect_right(ends, place - 1), len(files) - 1)
    return f"{files[index].name}:{place - (ends[index - 1] if index else 0)}"
