"""From a declared SQL type to a column's kind."""

from __future__ import annotations

import re

from wardround.clinical.tables.table import ColumnKind

_KINDS = (
    (ColumnKind.BOOLEAN, re.compile(r"BOOL|LOGICAL")),
    (ColumnKind.DATE, re.compile(r"DATE|TIMESTAMP|SMALLDATETIME")),
    (
        ColumnKind.NUMBER,
        re.compile(
            r"(TINY|SMALL|MEDIUM|BIG|HUGE|UTINY|USMALL|UBIG|UHUGE|U)?INT(EGER)?[0-9]*\b"
            r"|UNSIGNED|(BIG|SMALL)?SERIAL|NUMERIC|DECIMAL|NUMBER|REAL|FLOAT|DOUBLE|DEC\b"
        ),
    ),
)


def kind_of(declared: str) -> ColumnKind:
    """Return the kind of a type as a database writes it; what is not known is TEXT.

    A point in time is a DATE (the day on which it falls); a time of day, an interval, money, an
    array or a document is TEXT.
    """
    written = declared.strip().upper()
    if written.endswith("]"):
        return ColumnKind.TEXT
    for kind, pattern in _KINDS:
        if pattern.match(written):
            return kind
    return ColumnKind.TEXT
