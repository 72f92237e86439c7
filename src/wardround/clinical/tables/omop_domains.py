"""The OMOP common data model 5.4 as one long shape: who, what, how much, when.

Tables and columns are those of the published specification (OHDSI, "OMOP CDM v5.4", 2021).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from wardround.clinical.omop_units import OMOP_UNITS
from wardround.clinical.tables.table import ColumnKind


class OmopDomain(StrEnum):
    """A table of the model that says something about a patient."""

    PERSON = "person"
    MEASUREMENT = "measurement"
    OBSERVATION = "observation"
    CONDITION = "condition_occurrence"
    DRUG = "drug_exposure"
    PROCEDURE = "procedure_occurrence"
    DEATH = "death"
    VISIT = "visit_occurrence"


LONG_SHAPE: Mapping[str, ColumnKind] = {
    "patient": ColumnKind.TEXT,
    "concept_id": ColumnKind.NUMBER,
    "value": ColumnKind.NUMBER,
    "value_text": ColumnKind.TEXT,
    "unit": ColumnKind.TEXT,
    "day": ColumnKind.DATE,
}
"""The columns of every OMOP table as it is presented here."""

# Operators of a measurement that make its number a bound: <, >, <=, >=.
_BOUNDS = {4171756: "<", 4172704: ">", 4171754: "<=", 4171755: ">="}


@dataclass(frozen=True)
class _Shape:
    """Where a domain keeps what the long shape shows; None where it keeps no such thing."""

    concepts: tuple[str, ...]
    day: str | None
    number: str | None = None
    texts: tuple[str, ...] = ()
    coded: str | None = None
    unit: str | None = None
    unit_text: str | None = None
    operator: str | None = None


_SHAPES = {
    OmopDomain.PERSON: _Shape(
        ("gender_concept_id", "race_concept_id", "ethnicity_concept_id"), None
    ),
    OmopDomain.MEASUREMENT: _Shape(
        ("measurement_concept_id",),
        "measurement_date",
        "value_as_number",
        ("value_source_value",),
        "value_as_concept_id",
        "unit_concept_id",
        "unit_source_value",
        "operator_concept_id",
    ),
    OmopDomain.OBSERVATION: _Shape(
        ("observation_concept_id",),
        "observation_date",
        "value_as_number",
        ("value_as_string", "value_source_value"),
        "value_as_concept_id",
        "unit_concept_id",
        "unit_source_value",
    ),
    OmopDomain.CONDITION: _Shape(("condition_concept_id",), "condition_start_date"),
    OmopDomain.DRUG: _Shape(("drug_concept_id",), "drug_exposure_start_date", "quantity"),
    OmopDomain.PROCEDURE: _Shape(("procedure_concept_id",), "procedure_date", "quantity"),
    OmopDomain.DEATH: _Shape(("cause_concept_id",), "death_date"),
    OmopDomain.VISIT: _Shape(("visit_concept_id",), "visit_start_date"),
}
_BIRTH = ("year_of_birth", "month_of_birth", "day_of_birth")

VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "concept": ("concept_id", "concept_name", "vocabulary_id", "concept_code", "standard_concept"),
    "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
}
"""The vocabulary's tables that are used where they are present, with their columns."""


def columns_of(domain: OmopDomain) -> tuple[str, ...]:
    """Return the columns of the domain's table that are read."""
    shape = _SHAPES[domain]
    named = (shape.day, shape.number, shape.coded, shape.unit, shape.unit_text, shape.operator)
    birth = _BIRTH if domain is OmopDomain.PERSON else ()
    found = ("person_id", *shape.concepts, *named, *shape.texts, *birth)
    return tuple(column for column in found if column is not None)


@dataclass(frozen=True)
class Dialect:
    """What differs between databases: where tables are, which there are, how a day is kept.

    ``tables`` maps each present table to its columns. ``sqlite`` is true where OHDSI's tools write
    dates as seconds since 1970 and identifiers as REAL, and others dates as text.
    """

    schema: str | None
    tables: Mapping[str, Collection[str]]
    sqlite: bool

    def table(self, name: str) -> str:
        """Return a table's name with its schema."""
        return f'"{self.schema}".{name}' if self.schema else name

    def day(self, column: str) -> str:
        """Return an expression for a day."""
        if not self.sqlite:
            return column
        return (
            f"CASE typeof({column}) WHEN 'text' THEN {column}"
            f" WHEN 'null' THEN NULL ELSE date({column}, 'unixepoch') END"
        )

    def identifier(self, column: str) -> str:
        """Return an expression for an identifier as text."""
        text = f"CAST({column} AS VARCHAR(40))"
        if not self.sqlite:
            return text
        whole = f"CAST(CAST({column} AS INTEGER) AS VARCHAR(40))"
        return f"CASE typeof({column}) WHEN 'real' THEN {whole} ELSE {text} END"


def long_query(
    domain: OmopDomain, dialect: Dialect, concept_ids: Sequence[int] | None, *, descendants: bool
) -> str:
    """Return one SELECT that presents a domain in the long shape.

    A value that is only a bound is shown as text (``<5``), never as a number. A coded value is
    shown by its concept's name, a unit by its UCUM code, or as the source wrote it. A person is
    one row each for gender, race and ethnicity, with the birth date as the day. Rows come in no
    order, so a digest over them may differ where the content is the same.
    """
    return " UNION ALL ".join(
        _select(domain, concept, dialect, concept_ids, descendants)
        for concept in _SHAPES[domain].concepts
    )


def codes_query(domain: OmopDomain, dialect: Dialect) -> str:
    """Return one SELECT that counts a domain's concepts, the most frequent first."""
    long = long_query(domain, dialect, None, descendants=False)
    names = "NULL AS name, NULL AS vocabulary, NULL AS code"
    join = ""
    if "concept" in dialect.tables:
        names = "MAX(c.concept_name) AS name, MAX(c.vocabulary_id) AS vocabulary,"
        names += " MAX(c.concept_code) AS code"
        join = f" LEFT JOIN {dialect.table('concept')} c ON c.concept_id = d.concept_id"
    return (
        "SELECT d.concept_id AS concept_id, COUNT(*) AS occurrences,"  # noqa: S608
        " COUNT(DISTINCT d.patient) AS patients, COUNT(d.value) AS numbers,"
        f" MIN(d.unit) AS unit, MAX(d.unit) AS last_unit, {names}"
        f" FROM ({long}) d{join} GROUP BY d.concept_id ORDER BY 2 DESC, 1"
    )


def _select(
    domain: OmopDomain,
    concept: str,
    dialect: Dialect,
    concept_ids: Sequence[int] | None,
    descendants: bool,
) -> str:
    shape, present = _SHAPES[domain], dialect.tables[domain]
    joins = ""

    def of(column: str | None) -> str:
        return f"e.{column}" if column in present else "NULL"

    number, texts, unit = of(shape.number), [], []
    if shape.operator in present:
        bounds = " ".join(f"WHEN {key} THEN '{sign}'" for key, sign in _BOUNDS.items())
        listed = ", ".join(map(str, _BOUNDS))
        bounded = f"e.{shape.operator} IN ({listed})"
        texts.append(f"CASE e.{shape.operator} {bounds} END || {_written(number)}")
        number = f"CASE WHEN {bounded} THEN NULL ELSE {number} END"
    if shape.coded in present and "concept" in dialect.tables:
        joins += (
            f" LEFT JOIN {dialect.table('concept')} v"
            f" ON v.concept_id = e.{shape.coded} AND v.concept_id <> 0"
        )
        texts.append("v.concept_name")
    texts += [f"NULLIF({of(column)}, '')" for column in shape.texts if column in present]
    if shape.unit in present:
        unit.append(_unit_of(of(shape.unit)))
    if shape.unit in present and "concept" in dialect.tables:
        joins += (
            f" LEFT JOIN {dialect.table('concept')} u"
            f" ON u.concept_id = e.{shape.unit} AND u.vocabulary_id = 'UCUM'"
        )
        unit.append("u.concept_code")
    if shape.unit_text in present:
        unit.append(f"e.{shape.unit_text}")
    day = _birth_day() if domain is OmopDomain.PERSON else dialect.day(of(shape.day))
    return (
        f"SELECT {dialect.identifier('e.person_id')} AS patient,"  # noqa: S608
        f" COALESCE({of(concept)}, 0) AS concept_id, {number} AS value,"
        f" {_first(texts)} AS value_text, {_first(unit)} AS unit, {day} AS day"
        f" FROM {dialect.table(domain)} e{joins}"
        f"{_where(of(concept), dialect, concept_ids, descendants)}"
    )


def _written(number: str) -> str:
    """Return a number as text, a whole one without the decimals that some databases add."""
    return (
        f"CASE WHEN ABS({number}) < 1000000000 AND {number} = CAST({number} AS BIGINT)"
        f" THEN CAST(CAST({number} AS BIGINT) AS VARCHAR(40))"
        f" ELSE CAST({number} AS VARCHAR(40)) END"
    )


def _unit_of(concept: str) -> str:
    """Return a unit's concept id as UCUM, also where there is no vocabulary."""
    known = " ".join(f"WHEN {key} THEN {_quoted(code)}" for key, code in OMOP_UNITS.items())
    return f"CASE {concept} {known} END"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first(expressions: Sequence[str]) -> str:
    # COALESCE of a single argument is an error in SQLite.
    return f"COALESCE({', '.join(expressions)}, NULL)" if expressions else "CAST(NULL AS VARCHAR)"


def _where(
    concept: str, dialect: Dialect, concept_ids: Sequence[int] | None, descendants: bool
) -> str:
    if concept_ids is None:
        return ""
    wanted = ", ".join(str(int(concept_id)) for concept_id in concept_ids) or "NULL"
    clause = f"{concept} IN ({wanted})"
    if descendants and "concept_ancestor" in dialect.tables:
        clause += (
            f" OR {concept} IN (SELECT a.descendant_concept_id"  # noqa: S608
            f" FROM {dialect.table('concept_ancestor')} a"
            f" WHERE a.ancestor_concept_id IN ({wanted}))"
        )
    return f" WHERE ({clause})"


def _birth_day() -> str:
    """Return the birth date as ISO 8601 text, missing where its month or day is."""

    def two(column: str) -> str:
        text = f"CAST(CAST(e.{column} AS INTEGER) AS VARCHAR(2))"
        return f"CASE WHEN e.{column} < 10 THEN '0' || {text} ELSE {text} END"

    year = "CAST(CAST(e.year_of_birth AS INTEGER) AS VARCHAR(4))"
    return f"{year} || '-' || {two('month_of_birth')} || '-' || {two('day_of_birth')}"
