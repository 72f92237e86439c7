"""Column names that also state a unit: ``Cholesterol (mg/dl)``, ``Größe [cm]``, ``weight_kg``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wardround.clinical.units import find_unit

_BRACKETS: Final = re.compile(r"[(\[{]\s*(?:in\s+)?([^()\[\]{}]{1,20}?)\s*[)\]}]")
_AFTER_WORD_IN: Final = re.compile(r"\s(?:in|en)\s+(\S{1,12})$")
_LAST_PART: Final = re.compile(r"[_ .,\-]\s*((?:[A-Za-z]{1,4}[_/])?[A-Za-z]{1,5}[0-9]?)$")

_ANSWERS: Final = frozenset({"j/n", "y/n", "o/n", "s/n", "t/f", "v/f", "m/f", "m/w", "h/f"})
"""Yes or no, man or woman: some are units as well, such as joules per newton."""

_SUFFIXES: Final[Mapping[str, str]] = {
    **{
        unit: unit
        for unit in (
            "mg", "kg", "ug", "mcg", "ng", "mmol", "umol", "nmol", "cm", "mm", "ml", "dl", "mmhg",
            "kpa", "bpm", "years", "yrs", "ans", "jahre", "days", "months", "weeks", "lbs",
        )
    },
    **{
        written.replace("/", mark): unit
        for written, unit in (
            ("mg/dl", "mg/dL"), ("mmol/l", "mmol/L"), ("umol/l", "umol/L"), ("g/dl", "g/dL"),
            ("g/l", "g/L"), ("mg/l", "mg/L"), ("ug/l", "ug/L"), ("ng/ml", "ng/mL"),
            ("ng/l", "ng/L"), ("pg/ml", "pg/mL"), ("u/l", "U/L"), ("iu/l", "[iU]/L"),
            ("kg/m2", "kg/m2"), ("mm/h", "mm/h"), ("mmol/mol", "mmol/mol"),
        )
        for mark in ("/", "_")
    },
    "mgdl": "mg/dL", "mmoll": "mmol/L", "umoll": "umol/L", "gdl": "g/dL",
}  # fmt: skip
"""Last parts of names that can hardly be anything but a unit; *_m*, *_s* and *_in* can."""


@dataclass(frozen=True)
class Header:
    """A column's name without its unit, and the unit as it is written, or None."""

    name: str
    unit: str | None


def split_header(text: str) -> Header:
    """Take the unit off a column's name, where it states one."""
    for found in _BRACKETS.finditer(text):
        unit = _unit(found[1])
        if unit is not None:
            return Header(" ".join((text[: found.start()] + text[found.end() :]).split()), unit)
    found_last = _AFTER_WORD_IN.search(text)
    if found_last is not None:
        unit = _unit(found_last[1])
        if unit is not None:
            return Header(text[: found_last.start()].strip(), unit)
    found_last = _LAST_PART.search(text)
    if found_last is not None and found_last[1].casefold() in _SUFFIXES:
        return Header(text[: found_last.start()], _SUFFIXES[found_last[1].casefold()])
    return Header(text, None)


def _unit(text: str) -> str | None:
    """The spelling that is a unit; laboratories write capitals and small letters as they like."""
    if text.casefold() in _ANSWERS or text.isdigit():
        return None
    return next((one for one in (text, text.lower()) if find_unit(one) is not None), None)
