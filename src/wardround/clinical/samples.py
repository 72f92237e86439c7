"""A few values of a field, before and after: so that a steward sees what the mapping does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardround.clinical.facts import CODE_OF, NO_UNIT, REASONS, Facts
from wardround.clinical.fields import AnyField, ColumnField
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.numbers import DecimalMark
from wardround.clinical.quarantine import Reason
from wardround.clinical.reading import TextReader, dates, mapped, numbers
from wardround.clinical.tables import Table

HOW_MANY = 5

_ENOUGH = 200_000
"""Rows after which no further values are looked for, once there are some."""


def read_samples(
    facts: Facts, field: AnyField, graph: ConceptGraph
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Up to five different facts, as they were read and as the concept's values.

    Both hold patients' values: they are for the steward's screen at the hospital alone.
    """
    concept = graph.concept(field.concept)
    stated = getattr(field, "unit", None)
    shown: dict[tuple[str, str], None] = {}
    seen: set[tuple[float, int, int]] = set()
    for one in zip(
        facts.values.tolist(), facts.units.tolist(), facts.reasons.tolist(), strict=True
    ):
        if one in seen:
            continue
        seen.add(one)
        value, number, reason = one
        unit = stated if number == NO_UNIT else facts.unit_names[number]
        before = "(as written)" if reason else _written(value, concept, unit)
        shown[before, _harmonised(value, reason, unit, concept, graph)] = None
        if len(shown) == HOW_MANY:
            break
    return tuple(before for before, _ in shown), tuple(after for _, after in shown)


def read_cells(
    table: Table, field: ColumnField, decimal: DecimalMark, today: int, graph: ConceptGraph
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As :func:`read_samples`, of a table's column: before are the cells as the source has them."""
    wanted = [field.column, *field.where, *([field.unit_column] if field.unit_column else [])]
    shown: dict[str, str] = {}
    looked_at = 0
    for batch in table.batches(wanted, text=set(wanted)):
        columns = batch.columns
        rows = ~columns[field.column].missing
        for name, values in field.where.items():
            among = [values] if isinstance(values, str) else list(values)
            rows &= np.isin(columns[name].values, among)
        texts = columns[field.column].values[rows].tolist()
        units = [field.unit] * len(texts)
        if field.unit_column is not None:
            column = columns[field.unit_column]
            stated = zip(column.values[rows].tolist(), column.missing[rows].tolist(), strict=True)
            units = [field.unit if gone else str(unit) for unit, gone in stated]
        for text, unit in dict.fromkeys(zip(map(str, texts), units, strict=True)):
            before = text if unit is None else f"{text} {unit}"
            (shown[before],) = read_texts([text], field, unit, decimal, today, graph)
            if len(shown) == HOW_MANY:
                return tuple(shown), tuple(shown.values())
        looked_at += len(batch)
        if shown and looked_at >= _ENOUGH:
            break
    return tuple(shown), tuple(shown.values())


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
    return concept.said(value) if unit is None else f"{value:g} {unit}"


def _harmonised(
    value: float, reason: int, unit: str | None, concept: Concept, graph: ConceptGraph
) -> str:
    if reason:
        return f"set aside: {REASONS[reason - 1].words}"
    if concept.type is not ConceptType.NUMERIC or concept.unit is None:
        return concept.said(value)
    path = None if unit is None else graph.find_path(unit, concept.unit, concept.id)
    if path is None:
        return "set aside: a unit is missing, unknown or of another kind"
    found = float(path.apply(np.array([value]))[0])
    low, high = concept.plausible or (-np.inf, np.inf)
    if not low <= found <= high:
        return "set aside: a value lies outside the concept's plausible range"
    return f"{found:g} {concept.unit}"
