"""What a source holds, field by field, before anything is mapped: for suggestions and the steward.

A field is a column of a table; in a table with one row per result, a column for each test; in FHIR
and OMOP, a code. The profiles hold values, so they stay in the hospital.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from wardround.clinical.fhir import Body, FhirServer, FileStream, Limits, Search
from wardround.clinical.fields import BIRTH_DATE, GENDER
from wardround.clinical.mapping import (
    ColumnarSource,
    FhirServerSource,
    FhirSource,
    OmopSource,
    Source,
)
from wardround.clinical.opening import Surroundings, connect, open_omop, open_table
from wardround.clinical.profile import FieldKind, FieldProfile, profile_column
from wardround.clinical.sources.fhir import RESOURCES
from wardround.clinical.tables.omop import Omop
from wardround.clinical.tables.omop_domains import OmopDomain
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

MOST_ROWS = 200_000
"""How much of a source is looked at: enough to tell what a field is."""

SERVER_SAMPLE = 1_000
"""How many resources of each type a live FHIR server is asked for: it may hold millions."""

_SAMPLE_PAGES = 10
_BRIEF = Limits(attempts=2, answer_s=60.0, longest_pause_s=30.0)
"""What a person who waits for an answer puts up with."""

_MOST_VALUES = 20_000


@dataclass(frozen=True)
class Long:
    """A table with one row per result: which column says what, and which holds it in which unit."""

    by: str
    value: str
    unit: str | None = None


@dataclass(frozen=True, repr=False)
class _Cells:
    values: NDArray[Any]
    missing: NDArray[np.bool_]


def survey(
    source: Source, here: Surroundings, long: Long | None = None
) -> tuple[FieldProfile, ...]:
    """Describe every field of ``source``; raises what reading it raises.

    Of a live FHIR server, the fields of a sample: at most ``SERVER_SAMPLE`` resources of each type.
    """
    if isinstance(source, FhirSource):
        stream = FileStream(source.name, here.folder, source.files)
        return _survey_fhir(source.name, stream, stream.refuse)
    if isinstance(source, OmopSource):
        return _survey_omop(source, here)
    if isinstance(source, FhirServerSource):
        return _survey_server(source, here)
    return _survey_table(source, here, long)


def _survey_table(
    source: ColumnarSource, here: Surroundings, long: Long | None
) -> tuple[FieldProfile, ...]:
    table = open_table(source, here.folder)
    infos = {info.name: info for info in table.describe()}
    if source.patient is not None and source.patient not in infos:
        next(iter(table.batches([source.patient])))  # which raises in the table's own words
    if long is None:
        names, text = list(infos), [source.patient]
    else:
        names, text = [long.by, long.value], [long.by, long.unit]
        names += [] if long.unit is None else [long.unit]
    parts: list[dict[str, _Cells]] = []
    rows = 0
    for batch in table.batches(names, text={one for one in text if one is not None}):
        parts.append({n: _Cells(c.values, c.missing) for n, c in batch.columns.items()})
        rows += len(batch)
        if rows >= MOST_ROWS:
            break
    columns = {
        name: _Cells(
            np.concatenate([part[name].values for part in parts]),
            np.concatenate([part[name].missing for part in parts]),
        )
        for name in names
    }
    if long is not None:
        return tuple(_by_test(source.name, columns, long))
    return tuple(
        profile_column(
            source.name,
            name,
            columns[name],
            description=infos[name].description,
            declared=infos[name].declared,
        )
        for name in names
    )


def _by_test(source: str, columns: dict[str, _Cells], long: Long) -> Iterator[FieldProfile]:
    tests, value = columns[long.by], columns[long.value]
    known = ~tests.missing
    for test in dict.fromkeys(tests.values[known].tolist()):
        rows = known & (tests.values == test)
        units = None
        if long.unit is not None:
            stated = columns[long.unit]
            units = [
                None if gone else str(text)
                for text, gone in zip(
                    stated.values[rows].tolist(), stated.missing[rows].tolist(), strict=True
                )
            ]
        yield profile_column(
            source,
            str(test),
            _Cells(value.values[rows], value.missing[rows]),
            description=f"rows of {long.value} where {long.by} is {test}",
            unit_text=units,
            codes=[("local", str(test))],
        )


def _survey_omop(source: OmopSource, here: Surroundings) -> tuple[FieldProfile, ...]:
    found: list[FieldProfile] = []
    with open_omop(source, here.folder) as omop:
        for domain in omop.domains():
            if domain is OmopDomain.PERSON:
                found += _persons(source.name, omop)
            if domain in (OmopDomain.PERSON, OmopDomain.DEATH):
                continue
            codes = {code.concept_id: code for code in omop.codes(domain)}
            parts = list(omop.table(domain).batches(["concept_id", "value", "value_text", "unit"]))
            if not parts:
                continue
            columns = {
                name: _Cells(
                    np.concatenate([part.columns[name].values for part in parts]),
                    np.concatenate([part.columns[name].missing for part in parts]),
                )
                for name in ("concept_id", "value", "value_text", "unit")
            }
            for concept_id, code in codes.items():
                rows = columns["concept_id"].values == concept_id
                name = "value" if code.numbers else "value_text"
                chosen = columns[name]
                units = columns["unit"]
                described = profile_column(
                    source.name,
                    f"{domain} {concept_id}",
                    _Cells(chosen.values[rows], chosen.missing[rows]),
                    description=code.name,
                    unit_text=[
                        None if gone else str(text)
                        for text, gone in zip(
                            units.values[rows].tolist(),
                            units.missing[rows].tolist(),
                            strict=True,
                        )
                    ],
                    codes=[
                        ("omop", str(concept_id)),
                        *(
                            [(code.vocabulary.lower(), code.code)]
                            if code.vocabulary and code.code
                            else []
                        ),
                    ],
                )
                presence = domain is not OmopDomain.MEASUREMENT
                if presence and described.kind is FieldKind.EMPTY:
                    described = replace(described, presence=True)
                found.append(described)
    return tuple(found)


def _persons(source: str, omop: Omop) -> Iterator[FieldProfile]:
    """What OMOP keeps in its table of persons: the day of birth, and the sex as a concept."""
    parts = list(omop.table(OmopDomain.PERSON, _SEXES).batches(["concept_id", "day"]))
    if not parts:
        return
    days = [part.columns["day"] for part in parts]
    yield profile_column(
        source,
        "person day",
        _Cells(np.concatenate([d.values for d in days]), np.concatenate([d.missing for d in days])),
        description="date of birth",
    )
    sexes = np.concatenate([part.columns["concept_id"].values for part in parts])
    texts = np.array([str(int(one)) for one in sexes.tolist()], dtype=object)
    yield profile_column(
        source,
        "person concept",
        _Cells(texts, np.zeros(len(texts), np.bool_)),
        description="sex",
    )


_SEXES = (8507, 8532)
"""OMOP's concepts of male and female."""


@dataclass(repr=False)
class _Seen:
    """The values found under one code."""

    description: str | None = None
    values: list[object] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)
    total: int = 0

    def add(self, value: object, unit: str | None = None) -> None:
        self.total += 1
        if len(self.values) < _MOST_VALUES:
            self.values.append(value)
            self.units.append(unit)


def _survey_server(source: FhirServerSource, here: Surroundings) -> tuple[FieldProfile, ...]:
    """The fields of a sample. A type that the server refuses is passed over, all of them are not.

    A server that is read by export need not have search at all: of one without, nothing is known.
    """
    server = (here.connect or partial(connect, limits=_BRIEF))(source, here.folder)
    server.check()
    found: list[tuple[Body, int]] = []
    refused: list[WardroundError] = []
    kinds = dict.fromkeys(("Patient", "Observation", *RESOURCES.values()))
    for kind in kinds:
        try:
            found += _sample(source.name, server, kind)
        except WardroundError as error:
            if error.code not in ("WR-DATA-061", "WR-DATA-062"):
                raise
            refused.append(error)
    if len(refused) == len(kinds) and source.bulk is None:
        raise refused[0]
    return _survey_fhir(source.name, found)


def _sample(name: str, server: FhirServer, kind: str) -> Iterator[tuple[Body, int]]:
    stream = server.search(name, Search(kind, page_size=SERVER_SAMPLE))
    for number, one in enumerate(stream, 1):
        yield one
        if number >= SERVER_SAMPLE or len(stream.read.parts) > _SAMPLE_PAGES:
            return


def _survey_fhir(
    name: str,
    stream: Iterable[tuple[Body, int]],
    refuse: Callable[[int], None] = lambda _place: None,
) -> tuple[FieldProfile, ...]:
    seen: dict[tuple[str, str, str], _Seen] = {}
    handlers: dict[str, Callable[[dict[str, JSON], dict[tuple[str, str, str], _Seen]], None]] = {
        "Patient": _patient,
        "Observation": _observation,
    }
    kinds = set(RESOURCES.values()) - {"Patient"}
    for number, (body, place) in enumerate(stream):
        if number >= MOST_ROWS:
            break
        try:
            resource: JSON = orjson.loads(body) if isinstance(body, bytes) else body
        except orjson.JSONDecodeError:
            refuse(place)
            continue
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if not isinstance(resource, dict) or not isinstance(kind, str):
            continue
        if kind in handlers:
            handlers[kind](resource, seen)
        elif kind in kinds:
            concept = resource.get("medicationCodeableConcept", resource.get("code"))
            for system, code, text in _coded(concept):
                _at(seen, kind, system, code, text).add(True)
    return tuple(_fhir_profile(name, key, one) for key, one in seen.items())


def _patient(resource: dict[str, JSON], seen: dict[tuple[str, str, str], _Seen]) -> None:
    for element, key in ((BIRTH_DATE, "birthDate"), (GENDER, "gender")):
        if isinstance(value := resource.get(key), str):
            _at(seen, element, "", "", None).add(value)


def _observation(resource: dict[str, JSON], seen: dict[tuple[str, str, str], _Seen]) -> None:
    _values("Observation", resource, seen)
    components = resource.get("component")
    for component in components if isinstance(components, list) else ():
        for system, code, _ in _coded(resource.get("code")):
            if isinstance(component, dict):
                _values(f"Observation.component {system}|{code}", component, seen)


def _values(kind: str, valued: dict[str, JSON], seen: dict[tuple[str, str, str], _Seen]) -> None:
    for system, code, text in _coded(valued.get("code")):
        one = _at(seen, kind, system, code, text)
        quantity = valued.get("valueQuantity")
        if isinstance(quantity, dict) and isinstance(value := quantity.get("value"), int | float):
            unit = quantity.get("code") or quantity.get("unit")
            one.add(float(value), unit if isinstance(unit, str) else None)
        elif isinstance(boolean := valued.get("valueBoolean"), bool):
            one.add(boolean)
        elif isinstance(text_value := valued.get("valueString"), str):
            one.add(text_value)
        else:
            for _, answer, _ in _coded(valued.get("valueCodeableConcept")):
                one.add(answer)


def _at(
    seen: dict[tuple[str, str, str], _Seen], kind: str, system: str, code: str, text: str | None
) -> _Seen:
    return seen.setdefault((kind, system, code), _Seen(text))


def _coded(concept: JSON) -> Iterable[tuple[str, str, str | None]]:
    if not isinstance(concept, dict) or not isinstance(codings := concept.get("coding"), list):
        return
    for coding in codings:
        if isinstance(coding, dict):
            system, code, shown = coding.get("system"), coding.get("code"), coding.get("display")
            if isinstance(system, str) and isinstance(code, str):
                yield system, code, shown if isinstance(shown, str) else None


def _fhir_profile(source: str, key: tuple[str, str, str], seen: _Seen) -> FieldProfile:
    kind, system, code = key
    values: Sequence[object] = seen.values
    column: NDArray[Any]
    if values and all(type(value) is float for value in values):
        column = np.array(values, np.float64)
    elif values and all(type(value) is bool for value in values):
        column = np.array(values, np.bool_)
    else:
        column = np.array([str(value) for value in values], dtype=object)
    return profile_column(
        source,
        f"{kind} {system}|{code}" if code else kind,
        _Cells(column, np.zeros(len(column), np.bool_)),
        description=seen.description,
        declared=kind,
        unit_text=seen.units if any(seen.units) else None,
        codes=[(system, code)] if code else [],
    )
