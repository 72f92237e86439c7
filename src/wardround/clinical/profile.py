"""What one field of one source looks like, before anybody has said what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class FieldKind(StrEnum):
    """What a field's values are, as found in them."""

    NUMBER = "number"
    TEXT = "text"
    CATEGORY = "category"
    CODE = "code"
    DATE = "date"
    BOOLEAN = "boolean"
    IDENTIFIER = "identifier"
    EMPTY = "empty"


@dataclass(frozen=True, repr=False)
class FieldProfile:
    """What one field of one source looks like.

    Holds values: it never leaves the hospital, and its repr shows none.
    """

    source: str
    field: str
    description: str | None
    declared: str
    codes: tuple[tuple[str, str], ...]
    kind: FieldKind
    rows: int
    missing: int
    distinct: int
    units: Mapping[str, int]
    quantiles: tuple[float, ...]
    zeros: int
    categories: Mapping[str, int]
    date_formats: tuple[str, ...]
    samples: tuple[str, ...]
