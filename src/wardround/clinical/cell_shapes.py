"""What the texts of a column look like: numbers, dates, yes and no, codes, identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.dates import DateFormat, read_fhir_date
from wardround.clinical.numbers import DecimalMark, read_number
from wardround.clinical.quarantine import Reason


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DAYS: Final = (
    "YYYY-MM-DD",
    "DD.MM.YYYY",
    "D.M.YYYY",
    "DD/MM/YYYY",
    "D/M/YYYY",
    "MM/DD/YYYY",
    "M/D/YYYY",
    "DD-MM-YYYY",
    "MM-DD-YYYY",
    "YYYY/MM/DD",
    "YYYY.MM.DD",
    "YYYYMMDD",
)
_FORMATS: Final = tuple(
    DateFormat(day + time) for time in ("", " hh:mm", " hh:mm:ss", "Thh:mm:ss") for day in _DAYS
)
_COMPACT: Final = DateFormat("YYYYMMDD")
_FIRST_DAY: Final = 18_500_101
_LAST_DAY: Final = 21_001_231

_YES: Final = _words("yes y true t ja j wahr oui o vrai si sí s verdadero vero 1 x")
_NO: Final = _words("no n false f nein falsch non faux falso 0")
_SURE: Final = _words(
    "yes true ja wahr oui vrai si sí verdadero vero nein false falsch non faux falso"
)
"""Words that mean yes or no even where a column has only one of them."""

_UUID: Final = re.compile(r"(?:urn:uuid:)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CODE: Final = re.compile(
    r"[0-9]{1,5}-[0-9]"  # LOINC
    r"|[A-Z][0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?[*+!]?"  # ICD-10
    r"|[A-Z][0-9]{2}[A-Z]{1,2}(?:[0-9]{2})?"  # ATC
    r"|[0-9]{3}\.[0-9]{1,2}|V[0-9]{2}(?:\.[0-9]{1,2})?|E[0-9]{3}(?:\.[0-9])?"  # ICD-9
)
_NAMED_LIKE_AN_ID: Final = re.compile(
    r"(?:^|[_\s\-.])(?:id|ids|key|mrn|uid|guid|uuid|nr|nummer|number)$|(?<=[a-z])(?:ID|Id|Nr)$",
)

_NAMES_SOMEBODY: Final = re.compile(
    r"(?:person|patient|pat|subject|case|fall|encounter|visit|provider|mrn)[_\s.\-]*"
    r"(?:id|ids|key|no|nr|num|number|nummer)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, repr=False)
class DaysRead:
    """Days found in texts: ``formats`` read every one of them, ``share`` counts cells."""

    share: float
    formats: tuple[str, ...]
    ordinals: NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class NumbersRead:
    """Numbers found in texts: ``decimal_marks`` read every one of them, ``share`` counts cells."""

    share: float
    decimal_marks: tuple[DecimalMark, ...]
    values: NDArray[np.float64]


def share(counts: Counter[str], test: Callable[[str], bool]) -> float:
    """Return the share of cells whose text passes; 0 where none of the first few texts does."""
    if not any(map(test, _some(counts))):
        return 0.0
    return sum(count for text, count in counts.items() if test(text)) / counts.total()


def is_unique_id(text: str) -> bool:
    """Whether a text is a UUID."""
    return _UUID.fullmatch(text) is not None


def is_code(text: str) -> bool:
    """Whether a text has the form of a LOINC, ICD or ATC code."""
    return _CODE.fullmatch(text) is not None


def is_one_word(text: str) -> bool:
    """Whether a text is a single word with a digit in it, as identifiers are."""
    return len(text) <= 64 and not any(map(str.isspace, text)) and any(map(str.isdigit, text))


def padded(counts: Counter[str]) -> bool:
    """Whether whole numbers have leading zeros: they are labels, not quantities."""
    return share(counts, lambda text: len(text) > 1 and text[0] == "0" and text.isdigit()) > 0.5


def are_yes_and_no(counts: Counter[str]) -> bool:
    """Whether the texts are yes and no, in whatever language, and nothing else."""
    words = {text.strip().casefold() for text in counts}
    if not words <= _YES | _NO:
        return False
    return bool(words & _SURE) or bool(words & _YES and words & _NO)


def named_like_an_id(name: str) -> bool:
    """Whether a column is called an identifier."""
    return _NAMED_LIKE_AN_ID.search(name) is not None


def names_somebody(name: str) -> bool:
    """Whether a column can only be the identifier of a patient, a stay or a clinician."""
    return _NAMES_SOMEBODY.fullmatch(name) is not None


def running_numbers(distinct: NDArray[np.float64], present: int, named: bool) -> bool:
    """Whether numbers name rows instead of measuring something (``distinct`` is sorted)."""
    if not np.array_equal(distinct, np.floor(distinct)) or present < 20:
        return False
    if named and len(distinct) > 50:
        return True
    span = distinct[-1] - distinct[0] + 1
    return len(distinct) == present and bool(span <= 1.2 * present or distinct[0] >= 100_000)


def concept_numbers(name: str, distinct: NDArray[np.float64]) -> bool:
    """Whether numbers are codes: large, whole, few, in a column that says so."""
    says_so = re.search(r"concept|code|_id$|Code", name) is not None
    whole = np.array_equal(distinct, np.floor(distinct))
    return says_so and whole and bool(np.all((distinct >= 1000) | (distinct == 0)))


def days_as_numbers(distinct: NDArray[np.float64]) -> bool:
    """Whether every number is a day written YYYYMMDD."""
    if distinct[0] < _FIRST_DAY or distinct[-1] > _LAST_DAY:
        return False
    if not np.array_equal(distinct, np.floor(distinct)):
        return False
    return all(isinstance(_COMPACT.read(str(int(one))), int) for one in distinct.tolist())


def compact_days(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ordinals of days written YYYYMMDD, all of which are days; shape kept."""
    distinct, where = np.unique(values, return_inverse=True)
    days = [_COMPACT.read(str(int(one))) for one in distinct.tolist()]
    return np.array(days, dtype=np.float64)[where]


def read_days(counts: Counter[str]) -> DaysRead:
    """Find the ways to read the texts as days.

    The formats returned read every text that any format reads. One with leading zeros makes the
    one without superfluous. FHIR's dates with a zone are read but have no format to state.
    """
    likely = [f for f in _FORMATS if any(isinstance(f.read(t), int) for t in _some(counts))]
    if not likely and not any(isinstance(read_fhir_date(t), int) for t in _some(counts)):
        return DaysRead(0.0, (), np.empty(0))
    texts = list(counts)
    readings = [[one.read(text) for text in texts] for one in likely]
    fhir = [read_fhir_date(text) for text in texts]
    readable = [any(isinstance(r[at], int) for r in (*readings, fhir)) for at in range(len(texts))]
    whole = [
        (one, reading)
        for one, reading in zip(likely, readings, strict=True)
        if all(isinstance(day, int) for day, known in zip(reading, readable, strict=True) if known)
    ]
    days = whole[0][1] if whole else fhir
    pairs = [(d, counts[t]) for d, t in zip(days, texts, strict=True) if not isinstance(d, Reason)]
    ordinals = np.repeat([float(day) for day, _ in pairs], [count for _, count in pairs])
    return DaysRead(len(ordinals) / counts.total(), _sparse([f.text for f, _ in whole]), ordinals)


def _some(counts: Counter[str]) -> list[str]:
    """A few texts: enough to rule out nearly every format before all texts are read."""
    return [text for text, _ in zip(counts, range(20), strict=False)]


def _sparse(formats: list[str]) -> tuple[str, ...]:
    padded_forms = {text.replace("DD", "D").replace("MM", "M") for text in formats if "DD" in text}
    return tuple(text for text in formats if "DD" in text or text not in padded_forms)


def read_numbers(counts: Counter[str]) -> NumbersRead:
    """Read the texts as numbers, with whichever decimal mark reads more of them."""
    read = {mark: _read_all(counts, mark) for mark in _marks(counts)}
    most = max(len(numbers) for numbers in read.values())
    best = tuple(mark for mark in read if len(read[mark]) == most)
    numbers_of = read[best[0]]
    repeats = [counts[text] for text in numbers_of]
    values = np.repeat(np.array(list(numbers_of.values()), dtype=np.float64), repeats)
    return NumbersRead(len(values) / counts.total(), best, values)


def _marks(counts: Counter[str]) -> tuple[DecimalMark, ...]:
    """The decimal marks worth trying; whole numbers read the same with either."""
    points = sum("." in text for text in counts)
    commas = sum("," in text for text in counts)
    if points and not commas:
        return (".",)
    return (",",) if commas and not points else (".", ",")


def _read_all(counts: Counter[str], mark: DecimalMark) -> dict[str, float]:
    readings = ((text, read_number(text, mark)) for text in counts)
    return {text: number for text, number in readings if not isinstance(number, Reason)}
