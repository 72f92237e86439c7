"""A hospital's mapping: what each of its fields means, written by a person and signed by one.

Nothing is mapped by guess: a field that the mapping doesn't name is not read, and a category that
its value map doesn't name is set aside. The file is TOML; the steward signs its canonical form.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from wardround.clinical.fields import (
    AnyField,
    ColumnField,
    FhirField,
    Frozen,
    OmopField,
    Text,
    contradiction,
    problems_of,
)
from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.clinical.numbers import DecimalMark
from wardround.errors import WardroundError, WardroundErrors
from wardround.ids import Digest
from wardround.trust.canonical import canonical, digest

MAPPING_TYPE = "application/vnd.wardround.mapping+json"
"""The payload type under which a steward signs a mapping."""


class Crosswalk(Frozen):
    """How a source's own patient numbers lead to the hospital's.

    ``source`` is another source of the mapping, with one row per number: its ``column`` holds the
    number that *this* source uses, its own patient column the hospital's.
    """

    source: Text
    column: Text


class _Source(Frozen):
    """What every source has.

    Two sources mean the same patient by the same identifier; where they number patients
    differently, a ``crosswalk`` leads from one to the other.
    """

    name: Text
    crosswalk: Crosswalk | None = None
    maximum_unreadable_share: float = Field(default=0.05, ge=0.0, le=1.0)


class _Files(_Source):
    files: tuple[Text, ...] = Field(min_length=1, strict=False)


class _Columnar(_Source):
    """``patient`` names the patient's column; with ``rows_are_patients`` each row is a patient."""

    patient: Text | None = None
    rows_are_patients: bool = False
    missing: tuple[str, ...] = Field(default=("",), strict=False)
    decimal: DecimalMark = "."
    fields: tuple[ColumnField, ...] = Field(default=(), strict=False)


class CsvSource(_Columnar, _Files):
    """A table in text: one header line (or ``header``, where the file has none), then rows."""

    kind: Literal["csv"]
    encoding: Literal["utf-8", "windows-1252", "iso-8859-1"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    header: tuple[Text, ...] = Field(default=(), strict=False)


class ParquetSource(_Columnar, _Files):
    """Parquet files of one schema."""

    kind: Literal["parquet"]


class ExcelSource(_Columnar, _Files):
    """A sheet of a workbook; the first unless ``sheet`` names another."""

    kind: Literal["excel"]
    sheet: Text | None = None
    header_row: int = Field(default=1, ge=1, le=1_048_576)


class SqlSource(_Columnar):
    """A table or a query of a database; it is only ever read.

    ``${WARDROUND_...}`` in ``url`` is an environment variable: passwords are never in a mapping.
    """

    kind: Literal["sql"]
    url: Text
    table: Text | None = None
    query: Annotated[str, Field(max_length=20_000)] | None = None


class OmopSource(_Source):
    """An OMOP CDM 5.4 database (``url``), or a folder or ZIP file of its tables as CSV."""

    kind: Literal["omop"]
    url: Text | None = None
    files: Text | None = None
    fields: tuple[OmopField, ...] = Field(default=(), strict=False)


class _Fhir(_Source):
    """``patient_identifier`` is the system of ``Patient.identifier`` that names the patient.

    Without it a Patient resource's own id does.
    """

    patient_identifier: Text | None = None
    fields: tuple[FhirField, ...] = Field(default=(), strict=False)


class FhirSource(_Fhir, _Files):
    """FHIR R4 resources in files: one JSON object per line, or Bundles."""

    kind: Literal["fhir"]


class FhirViewSource(_Columnar, _Files):
    """FHIR R4 resources in files, through a ViewDefinition (SQL on FHIR v2) beside the mapping."""

    kind: Literal["fhir-view"]
    view: Text


class FhirServerSource(_Fhir):
    """A FHIR R4 server of the hospital.

    It is searched by resource type, or (``bulk``) asked for an export. ``ca``, ``client_id`` and
    ``client_key`` are for SMART Backend Services; the key is a file beside the mapping.
    """

    kind: Literal["fhir-server"]
    url: Text
    bulk: Literal["patient", "system", "group"] | None = None
    group: Text | None = None
    client_id: Text | None = None
    client_key: Text | None = None
    ca: Text | None = None


Source: TypeAlias = Annotated[
    CsvSource
    | ParquetSource
    | ExcelSource
    | SqlSource
    | OmopSource
    | FhirSource
    | FhirViewSource
    | FhirServerSource,
    Field(discriminator="kind"),
]
ColumnarSource: TypeAlias = CsvSource | ParquetSource | ExcelSource | SqlSource | FhirViewSource
FhirSources: TypeAlias = FhirSource | FhirServerSource

KINDS = ("csv", "parquet", "excel", "sql", "omop", "fhir", "fhir-view", "fhir-server")
"""Every kind of source, as ``kind`` names it."""


class Mapping(Frozen):
    """A whole mapping; ``index_date`` names the date concept at which ages are taken."""

    version: Literal[1]
    index_date: Text | None = None
    sources: tuple[Source, ...] = Field(min_length=1, strict=False)

    @staticmethod
    def load(path: Path, graph: ConceptGraph | None = None) -> Mapping:
        """Read and check a mapping file.

        Raises:
            WardroundError: ``WR-DATA-010`` where the file can't be read, ``-086`` where it is a
                folder, ``-004`` where it is no
                TOML, and all problems of its content together: ``-001``, ``-002``, ``-003`` for
                concepts and units, ``-005`` for keys and values, ``-007`` for a double mapping.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise unreadable_mapping(path) from error
        return Mapping.parse(text, graph or ConceptGraph.load(), name=path.name)

    @staticmethod
    def parse(text: bytes, graph: ConceptGraph, name: str = "mapping.toml") -> Mapping:
        """Read and check a mapping's text; ``name`` appears in errors. Raises as :meth:`load`."""
        try:
            document = tomllib.loads(text.decode("utf-8-sig"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            line = re.search(r"at line (\d+)", str(error))
            raise WardroundError(
                "WR-DATA-004",
                "The mapping is not valid TOML in UTF-8.",
                "Mend the line, or start again from a mapping that works.",
                path=f"{name}:{line[1]}" if line else name,
            ) from None
        try:
            mapping = Mapping.model_validate(document)
        except ValidationError as error:
            problems = tuple(
                _key_problem(problem["type"], problem["loc"]) for problem in error.errors()
            )
            raise WardroundErrors(problems) from None
        mapping.check(graph)
        return mapping

    def check(self, graph: ConceptGraph) -> None:
        """Raise every contradiction between this mapping and the graph, together."""
        problems = tuple(_problems(self, graph))
        if problems:
            raise WardroundErrors(problems)

    def to_payload(self) -> bytes:
        """Return the canonical form (RFC 8785) that the steward signs."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def digest(self) -> Digest:
        """The digest of the canonical form."""
        return digest(self.to_payload())

    def field(self, concept: str) -> AnyField | None:
        """Return the field that is mapped to ``concept``, or None."""
        return next((field for _, field in self.all_fields() if field.concept == concept), None)

    def all_fields(self) -> Iterator[tuple[Source, AnyField]]:
        """Every field, with its source."""
        for source in self.sources:
            for field in source.fields:
                yield source, field


def unreadable_mapping(path: Path) -> WardroundError:
    """The error for a mapping that the system doesn't let be read."""
    if path.is_dir():
        return WardroundError(
            "WR-DATA-086",
            "Where the mapping should be is a folder.",
            "Name the mapping's file; where a folder stands in its place, move the folder away.",
            path=str(path),
        )
    return WardroundError(
        "WR-DATA-010",
        "The file does not exist or can't be read.",
        "Check its name, and that the agent's user may read it.",
        path=path.name,
    )


_KEY_PROBLEMS = {
    "extra_forbidden": ("This key is unknown.", "Remove it, or correct its spelling."),
    "missing": ("A key is missing here.", "Add it; the how-to on mappings lists the keys."),
    "union_tag_invalid": ("The kind of source is unknown.", f"Use one of {', '.join(KINDS)}."),
    "union_tag_not_found": (
        "The kind of source is missing.",
        f"Add kind, one of {', '.join(KINDS)}.",
    ),
}


def _key_problem(kind: str, place: tuple[int | str, ...]) -> WardroundError:
    problem, remedy = _KEY_PROBLEMS.get(
        kind,
        ("The value has the wrong type or is not allowed.", "See the how-to on mappings."),
    )
    path = ""
    for part in place:
        # Names of a union's branches are pydantic's, not keys of the document.
        if part in _BRANCHES:
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return WardroundError("WR-DATA-005", problem, remedy, path=path.lstrip(".") or "mapping")


_BRANCHES = (*KINDS, "bool", "str", "float", "tuple[str, ...]", "constrained-str")


def _problems(mapping: Mapping, graph: ConceptGraph) -> Iterator[WardroundError]:
    mapped: Counter[str] = Counter()
    for s, source in enumerate(mapping.sources):
        fields: tuple[AnyField, ...] = source.fields
        yield from _source_problems(source, mapping, f"sources[{s}]")
        for f, field in enumerate(fields):
            path = f"sources[{s}].fields[{f}]"
            mapped[field.concept] += 1
            if mapped[field.concept] == 2:
                yield WardroundError(
                    "WR-DATA-007",
                    f"Two fields are mapped to {field.concept!r}.",
                    "Keep the one that the study should use.",
                    path=path,
                )
            try:
                concept = graph.concept(field.concept)
            except WardroundError as error:
                yield WardroundError(error.code, error.problem, error.remedy, path=path)
                continue
            yield from problems_of(field, concept, graph, path)
    if len({source.name for source in mapping.sources}) < len(mapping.sources):
        yield contradiction("Two sources have one name.", "Rename one of them.", "sources")
    if mapping.index_date is not None and (
        mapping.index_date not in graph
        or graph.concept(mapping.index_date).type is not ConceptType.DATE
        or mapping.field(mapping.index_date) is None
    ):
        yield contradiction(
            "The index date is not a date concept that a field is mapped to.",
            "Name the concept of a date, and map a field to it.",
            "index_date",
        )


def _source_problems(source: Source, mapping: Mapping, path: str) -> Iterator[WardroundError]:
    if isinstance(source, _Columnar) and (source.patient is None) != source.rows_are_patients:
        yield contradiction(
            "A table needs the column that names the patient, or rows_are_patients = true.",
            "Give one of the two.",
            f"{path}.patient",
        )
    match source:
        case SqlSource() if (source.table is None) == (source.query is None):
            yield contradiction("A database is read by table or by query.", "Give one.", path)
        case OmopSource() if (source.url is None) == (source.files is None):
            yield contradiction("OMOP is a url or files.", "Give one of them.", path)
        case ExcelSource() if len(source.files) > 1:
            yield contradiction(
                "A workbook is one file.", "Write a source for each of the workbooks.", path
            )
        case FhirServerSource() if (source.bulk == "group") != (source.group is not None):
            yield contradiction(
                'bulk = "group" and group belong together.',
                "Give both, or neither to read all patients.",
                path,
            )
        case FhirServerSource() if (source.client_id is None) != (source.client_key is None):
            yield contradiction("client_id and client_key belong together.", "Give both.", path)
        case _:
            pass
    walk = source.crosswalk
    nameless = isinstance(source, ColumnarSource) and source.patient is None
    if nameless and (len(mapping.sources) > 1 or walk is not None):
        yield contradiction(
            "Rows that name no patient can't be joined with other sources.",
            "Name the column of the patient (key `patient`), or remove the other sources.",
            f"{path}.patient",
        )
    if walk is not None:
        others = {one.name: one for one in mapping.sources if one is not source}
        other = others.get(walk.source)
        if not isinstance(other, ColumnarSource) or other.patient is None or other.crosswalk:
            yield contradiction(
                "The crosswalk is no other table of this mapping with a patient column.",
                "Name a source of kind csv, parquet, excel or sql.",
                f"{path}.crosswalk",
            )
