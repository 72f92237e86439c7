"""A few values of a field, before and after: so that a steward sees what the mapping does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from wardround.clinical.facts import CODE_OF, NO_UNIT, REASONS, Facts
from wardround.clinical.fields import AnyField, ColumnField
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.numbers import DecimalMark
from wardround.clinical.quarantine import Reason
from wardround.clinical.reading import TextReader, dates, mapped, numbers
from wardround.clinical.tables import Table

HOW_MANY = 5


def read_samples(
    facts: Facts, field: AnyField, graph: ConceptGraph
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Up to five facts spread over all, as they were read and as the concept's values.

    Both hold patients' values: they are for the steward's screen at the hospital alone.
    """
    concept = graph.concept(field.concept)
    if not len(facts):
        return (), ()
    chosen = np.unique(np.linspace(0, len(facts) - 1, HOW_MANY).astype(np.int64))
    before, after = [], []
    for at in chosen.tolist():
        unit = None
        if facts.units[at] != NO_UNIT:
            unit = facts.unit_names[int(facts.units[at])]
        elif getattr(field, "unit", None) is not None:
            unit = str(getattr(field, "unit"))  # noqa: B009  (a column's unit stands in the fact)
        value, reason = float(facts.values[at]), int(facts.reasons[at])
        before.append("(as written)" if reason else _written(value, concept, unit))
        after.append(_harmonised(value, reason, unit, concept, graph))
    return tuple(before), tuple(after)


def read_cells(
    table: Table, field: ColumnField, decimal: DecimalMark, today: int, graph: ConceptGraph
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As :func:`read_samples`, of a table's column: before are the cells as the source has them."""
    wanted = [field.column, *field.where, *([field.unit_column] if field.unit_column else [])]
    batch = next(iter(table.batches(wanted, text=set(wanted))))
    rows = ~batch.columns[field.column].missing
    for name, values in field.where.items():
        among = [values] if isinstance(values, str) else list(values)
        rows &= np.isin(batch.columns[name].values, among)
    found = np.flatnonzero(rows)
    if not len(found):
        return (), ()
    chosen = found[np.unique(np.linspace(0, len(found) - 1, HOW_MANY).astype(np.int64))]
    before: list[str] = []
    after: list[str] = []
    for at in chosen.tolist():
        text = str(batch.columns[field.column].values[at])
        unit = field.unit
        if field.unit_column is not None:
            unit = str(batch.columns[field.unit_column].values[at])
        before.append(text if unit is None else f"{text} {unit}")
        after += read_texts([text], field, unit, decimal, today, graph)
    return tuple(before), tuple(after)


def read_texts(
    texts: Sequence[str],
    field: AnyField,
    unit: str | None,
    decimal: DecimalMark,
    today: int,
    graph: ConceptGraph,
) -> tuple[str, ...]:
    """What texts, as the source writes them, become: one for each, in their order."""
    concept = graph.concept(field.concept)
    reader = _reader(field, concept, decimal, today, graph)
    marks = field.missing if isinstance(field, ColumnField) else ()
    found = []
    for text in texts:
        value = reader.read_one(text)
        reason = CODE_OF[value] if isinstance(value, Reason) else 0
        number = 0.0 if isinstance(value, Reason) else float(value)
        found.append("none" if text in marks else _harmonised(number, reason, unit, concept, graph))
    return tuple(found)


def _reader(
    field: AnyField, concept: Concept, decimal: DecimalMark, today: int, graph: ConceptGraph
) -> TextReader:
    match concept.type:
        case ConceptType.NUMERIC:
            return numbers(decimal)
        case ConceptType.DATE:
            written = field.date_format if isinstance(field, ColumnField) else None
            return dates(written, today)
        case _:
            there = field.value_map is None and field.coding is None
            return TextReader(lambda _: 1.0) if there else mapped(field.codes(graph))


def _written(value: float, concept: Concept, unit: str | None) -> str:
    return _said(value, concept) if unit is None else f"{value:g} {unit}"


def _harmonised(
    value: float, reason: int, unit: str | None, concept: Concept, graph: ConceptGraph
) -> str:
    if reason:
        return f"set aside: {REASONS[reason - 1].words}"
    if concept.type is not ConceptType.NUMERIC or concept.unit is None:
        return _said(value, concept)
    path = None if unit is None else graph.find_path(unit, concept.unit, concept.id)
    if path is None:
        return "set aside: a unit is missing, unknown or of another kind"
    found = float(path.apply(np.array([value]))[0])
    low, high = concept.plausible or (-np.inf, np.inf)
    if not low <= found <= high:
        return "set aside: a value lies outside the concept's plausible range"
    return f"{found:g} {concept.unit}"


def _said(value: float, concept: Concept) -> str:
    match concept.type:
        case ConceptType.DATE:
            return date.fromordinal(int(value)).isoformat()
        case ConceptType.BOOLEAN:
            return "yes" if value else "no"
        case ConceptType.CATEGORY:
            return concept.levels[int(value)]
        case _:
            return f"{value:g}"
