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
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from wardround.clinical.dates import DateFormat
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.numbers import DecimalMark
from wardround.errors import WardroundError, WardroundErrors
from wardround.ids import Digest
from wardround.trust.canonical import canonical, digest

MAPPING_TYPE = "application/vnd.wardround.mapping+json"
"""The payload type under which a steward signs a mapping."""

OBSERVATION_VALUE: Final = "Observation.value"
OBSERVATION_DATE: Final = "Observation.effectiveDateTime"
BIRTH_DATE: Final = "Patient.birthDate"


def _date_format(text: str) -> str:
    DateFormat(text)
    return text


Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=500)]
DateForm: TypeAlias = Annotated[Text, AfterValidator(_date_format)]
ValueMap: TypeAlias = dict[str, bool]
"""From a category as the source writes it to true or false."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CsvField(_Strict):
    """What one column of a CSV file means.

    A number needs ``unit`` or ``unit_column``, a date ``date_format``, a boolean ``value_map``.
    """

    concept: Text
    column: Text
    unit: Text | None = None
    unit_column: Text | None = None
    date_format: DateForm | None = None
    value_map: ValueMap | None = None

    def words(self) -> str:
        """Return where the values stand, for a reader."""
        return f'column "{self.column}"'


class FhirField(_Strict):
    """What one element of FHIR resources means.

    Observations are found by ``system`` and ``code``. Numbers carry their own UCUM unit. A coded
    value needs ``value_map`` (by code) and the code system ``value_system`` that its codes are of;
    a boolean value needs neither.
    """

    concept: Text
    element: Literal["Observation.value", "Observation.effectiveDateTime", "Patient.birthDate"] = (
        OBSERVATION_VALUE
    )
    system: Text | None = None
    code: Text | None = None
    value_system: Text | None = None
    value_map: ValueMap | None = None

    def words(self) -> str:
        """Return where the values stand, for a reader."""
        return self.element if self.code is None else f"{self.element} of {self.system}|{self.code}"


class _Source(_Strict):
    name: Text
    files: tuple[Text, ...] = Field(min_length=1, strict=False)
    maximum_unreadable_share: float = Field(default=0.05, ge=0.0, le=1.0)


class CsvSource(_Source):
    """A table with one header line and one row per patient."""

    kind: Literal["csv"]
    patient: Text
    encoding: Literal["utf-8", "windows-1252", "iso-8859-1"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal: DecimalMark = "."
    missing: tuple[str, ...] = Field(default=("",), strict=False)
    fields: tuple[CsvField, ...] = Field(min_length=1, strict=False)


class FhirSource(_Source):
    """FHIR R4 resources, one JSON object per line."""

    kind: Literal["fhir-ndjson"]
    fields: tuple[FhirField, ...] = Field(min_length=1, strict=False)


Source: TypeAlias = Annotated[CsvSource | FhirSource, Field(discriminator="kind")]


class Mapping(_Strict):
    """A whole mapping; ``index_date`` names the date concept at which ages are taken."""

    version: Literal[1]
    index_date: Text | None = None
    sources: tuple[Source, ...] = Field(min_length=1, strict=False)

    @staticmethod
    def load(path: Path, graph: ConceptGraph | None = None) -> Mapping:
        """Read and check a mapping file.

        Raises:
            WardroundError: ``WR-DATA-010`` where the file can't be read, ``-004`` where it is no
                TOML, and all problems of its content together: ``-001``, ``-002``, ``-003`` for
                concepts and units, ``-005`` for keys and values, ``-007`` for a double mapping.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise WardroundError(
                "WR-DATA-010",
                "The file does not exist or can't be read.",
                "Check its name, and that the agent's user may read it.",
                path=path.name,
            ) from error
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
        return canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> Digest:
        """The digest of the canonical form."""
        return digest(self.to_payload())

    def field(self, concept: str) -> CsvField | FhirField | None:
        """Return the field that is mapped to ``concept``, or None."""
        for source in self.sources:
            for field in source.fields:
                if field.concept == concept:
                    return field
        return None


_KEY_PROBLEMS = {
    "extra_forbidden": ("This key is unknown.", "Remove it, or correct its spelling."),
    "missing": ("A key is missing here.", "Add it; the how-to on mappings lists the keys."),
    "union_tag_invalid": ("The kind of source is unknown.", 'Use "csv" or "fhir-ndjson".'),
    "union_tag_not_found": ("The kind of source is missing.", 'Add kind = "csv" or "fhir-ndjson".'),
}


def _key_problem(kind: str, place: tuple[int | str, ...]) -> WardroundError:
    problem, remedy = _KEY_PROBLEMS.get(
        kind,
        ("The value has the wrong type or is not allowed.", "See the how-to on mappings."),
    )
    path = ""
    for part in place:
        # The name of the union's branch is pydantic's, not a key of the document.
        if part not in ("csv", "fhir-ndjson"):
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return WardroundError("WR-DATA-005", problem, remedy, path=path.lstrip(".") or "mapping")


def _problems(mapping: Mapping, graph: ConceptGraph) -> Iterator[WardroundError]:
    mapped: Counter[str] = Counter()
    for s, source in enumerate(mapping.sources):
        fields: tuple[CsvField | FhirField, ...] = source.fields
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
            if isinstance(field, CsvField):
                yield from _csv_problems(field, concept, graph, path)
            else:
                yield from _fhir_problems(field, concept, path)
    if len({source.name for source in mapping.sources}) < len(mapping.sources):
        yield _contradiction("Two sources have one name.", "Rename one of them.", "sources")
    if mapping.index_date is not None and (
        not mapped[mapping.index_date] or graph.concept(mapping.index_date).type != ConceptType.DATE
    ):
        yield _contradiction(
            "The index date is not a date that this mapping maps.",
            "Name the concept of a mapped date, such as specimen_date.",
            "index_date",
        )


def _csv_problems(
    field: CsvField, concept: Concept, graph: ConceptGraph, path: str
) -> Iterator[WardroundError]:
    wanted = {
        ConceptType.NUMERIC: "unit" if field.unit_column is None else "unit_column",
        ConceptType.DATE: "date_format",
        ConceptType.BOOLEAN: "value_map",
        ConceptType.CATEGORY: "value_map",
    }[concept.type]
    for key in ("unit", "unit_column", "date_format", "value_map"):
        given = getattr(field, key) is not None
        if given != (key == wanted):
            verb = "must not be given" if given else "is needed"
            yield _contradiction(
                f"{key} {verb} for the {concept.type} concept {concept.id!r}.",
                "A number needs unit or unit_column, a date date_format, a boolean value_map.",
                path,
            )
    if wanted == "unit" and field.unit is not None and concept.unit is not None:
        try:
            graph.path(field.unit, concept.unit, concept.id)
        except WardroundError as error:
            yield WardroundError(error.code, error.problem, error.remedy, path=f"{path}.unit")


def _fhir_problems(field: FhirField, concept: Concept, path: str) -> Iterator[WardroundError]:
    observed = field.element != BIRTH_DATE
    if observed != (field.code is not None) or observed != (field.system is not None):
        yield _contradiction(
            "An Observation is found by its system and code, and only an Observation is.",
            "Give both for an element of Observation, neither for Patient.birthDate.",
            path,
        )
    if (field.element != OBSERVATION_VALUE) and concept.type != ConceptType.DATE:
        yield _contradiction(
            f"{field.element} is a date, {concept.id!r} is not.",
            "Map it to the concept of a date.",
            path,
        )
    if field.value_map is not None and concept.type == ConceptType.NUMERIC:
        yield _contradiction("A number has no value map.", "Remove value_map.", path)
    if (field.value_map is None) != (field.value_system is None):
        yield _contradiction(
            "value_map and value_system belong together.",
            "Name the code system whose codes the value map lists.",
            path,
        )


def _contradiction(problem: str, remedy: str, path: str) -> WardroundError:
    return WardroundError("WR-DATA-005", problem, remedy, path=path)
