"""Column names that also state a unit: ``Cholesterol (mg/dl)``, ``Größe [cm]``, ``weight_kg``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BRACKETS: Final = re.compile(r"[(\[{]\s*(?:in\s+)?([^()\[\]{}]{1,20}?)\s*[)\]}]")
_AFTER_WORD_IN: Final = re.compile(r"\s(?:in|en)\s+(\S{1,12})$")
_LAST_PART: Final = re.compile(r"[_ .,\-]\s*([A-Za-zµ°%]{1,5}(?:[/_][A-Za-z]{1,3}[0-9²]?)?)$")

_WORDS: Final = _words(
    """
    % ‰ mg g kg ug µg ng pg mcg lb lbs oz mmol umol µmol nmol pmol mol meq mval
    cm mm um µm m in inch km ml dl l cl fl nl mmhg kpa cmh2o torr mv v ms s sec min h hr hrs
    d day days y yr yrs year years jahre jahr ans anni años months month wk weeks weeks
    bpm kcal kj u iu ui ie c °c f °f degc k w met mets g/l
    """
)
_LIKE_A_QUOTIENT: Final = re.compile(
    r"(?:[0-9x*^.]*\s*)?[A-Za-zµμ%\[\]0-9^*.]{1,8}(?:/[A-Za-z0-9µμ.²³^*]{1,8}){1,2}"
)
_SUFFIXES: Final = _words(
    """
    mg kg ug mcg ng mmol umol nmol cm mm ml dl mmhg kpa bpm years yrs days months
    mg_dl mg/dl mmol_l mmol/l umol_l umol/l g_dl g/dl g_l g/l ng_ml ng/ml ng_l ng/l u_l u/l iu_l
    iu/l pg_ml pg/ml kg_m2 kg/m2 mg_l mg/l
    """
)


@dataclass(frozen=True)
class Header:
    """A column's name without its unit, and the unit as it is written, or None."""

    name: str
    unit: str | None


def split_header(text: str) -> Header:
    """Take the unit off a column's name, where it states one that looks like a unit."""
    for found in _BRACKETS.finditer(text):
        if _is_unit(found[1]):
            return Header(" ".join((text[: found.start()] + text[found.end() :]).split()), found[1])
    found_last = _AFTER_WORD_IN.search(text)
    if found_last and _is_unit(found_last[1]):
        return Header(text[: found_last.start()].strip(), found_last[1])
    found_last = _LAST_PART.search(text)
    if found_last and found_last[1].casefold() in _SUFFIXES:
        return Header(text[: found_last.start()], found_last[1].replace("_", "/"))
    return Header(text, None)


def _is_unit(text: str) -> bool:
    return text.casefold() in _WORDS or _LIKE_A_QUOTIENT.fullmatch(text) is not None
