"""What the demonstration's hospitals have in common, whatever form their records have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from wardround.ids import SiteName

Entry: TypeAlias = (
    bool | str | Sequence[str] | Sequence[int] | Mapping[str, bool | str | Sequence[str]]
)
"""A value in a mapping file."""

MappedField: TypeAlias = Mapping[str, Entry]
"""One field of a mapping file, key to value."""


class Form(StrEnum):
    """How a demonstration hospital keeps its records."""

    FHIR = "FHIR R4 NDJSON"
    SQL = "SQLite"
    CSV = "CSV"
    OMOP = "OMOP CDM 5.4"


@dataclass(frozen=True)
class DemoHospital:
    """One hospital as written to disk; ``records_total`` counts the broken records too."""

    name: SiteName
    form: Form
    folder: Path
    mapping_path: Path
    records_total: int


def source(fields: Iterator[MappedField], **entries: Entry) -> list[str]:
    """Return a mapping's source and its fields as TOML lines."""
    lines = ["", "[[sources]]", *toml_table(entries)]
    for field in fields:
        lines += ["", "[[sources.fields]]", *toml_table(field)]
    return lines


def toml_table(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Return TOML lines; a JSON string, number or array is a TOML one too."""
    for key, value in entries.items():
        if isinstance(value, Mapping):
            pairs = (f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items())
            yield f"{key} = {{ {', '.join(pairs)} }}"
        else:
            yield f"{key} = {json.dumps(value)}"
