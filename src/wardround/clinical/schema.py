"""The shape of a hospital's sources, as far as a mapping relies on it.

An approval is over a mapping *and* the shape that its sources had then: a column that vanished or
changed its type may mean something else now, so the approval is void until a person has looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, TypeGuard

from wardround.clinical.mapping import ColumnarSource, FhirViewSource, Source
from wardround.clinical.mapping import Mapping as HospitalMapping
from wardround.clinical.opening import open_table
from wardround.trust.canonical import digest

Shape: TypeAlias = Mapping[str, Mapping[str, str]]
"""By source, each column that the mapping relies on and its type, or `GONE`."""

GONE = "not there"


def shape_of(mapping: HospitalMapping, folder: Path) -> Shape:
    """The present shape of every table of ``mapping``; FHIR and OMOP have theirs by standard.

    Raises what opening a source raises.
    """
    shape: dict[str, dict[str, str]] = {}
    for source in mapping.sources:
        if not isinstance(source, ColumnarSource):
            continue
        # A view says what a column means, so it is signed by what is in it and not by its name.
        view = {f"view {source.view}": _content(folder / source.view)} if _has_view(source) else {}
        known = {info.name: info for info in open_table(source, folder).describe()}
        wanted = [] if source.patient is None else [source.patient]
        wanted += [name for field in source.fields for name in field.columns]
        shape[source.name] = view | {
            name: GONE
            if name not in known
            else " ".join(part for part in (known[name].kind.value, known[name].declared) if part)
            for name in dict.fromkeys(wanted)
        }
    return shape


def _has_view(source: Source) -> TypeGuard[FhirViewSource]:
    return isinstance(source, FhirViewSource)


def _content(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError:
        return GONE


def changes(approved: Shape, now: Shape) -> tuple[str, ...]:
    """What has changed since the approval, a sentence for each column; no value is in it."""
    found = []
    for source, columns in approved.items():
        for name, kind in columns.items():
            present = now.get(source, {}).get(name, GONE)
            if present != kind:
                found.append(f"{source}: the column {name!r} was {kind} and is {present}")
    return tuple(found)
