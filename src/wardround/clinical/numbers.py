"""Numbers as hospitals write them."""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

from wardround.clinical.quarantine import Reason

DecimalMark: TypeAlias = Literal[".", ","]

# float() alone would also take "nan", "inf", "1_000" and digits of other scripts.
_NUMBER: dict[DecimalMark, re.Pattern[str]] = {
    ".": re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
    ",": re.compile(r"[+-]?(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?"),
}


def read_number(text: str, decimal: DecimalMark = ".") -> float | Reason:
    """Return a finite number, or why there is none.

    Marks between thousands are refused: whether ``1,234`` is a thousand or one and a bit is a
    guess unless the mapping states the decimal mark, and then it is the latter.
    """
    if _NUMBER[decimal].fullmatch(text) is None:
        return Reason.UNREADABLE_NUMBER
    value = float(text.replace(",", ".")) if decimal == "," else float(text)
    return value if math.isfinite(value) else Reason.UNREADABLE_NUMBER
