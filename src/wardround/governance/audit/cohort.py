"""The patients of an audit: a table of public records, or made-up ones that say so."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.errors import WardroundError
from wardround.learning.agreed import variables_of
from wardround.learning.records import Family, Variables
from wardround.study import Study

MINIMUM_PATIENTS = 40
"""With fewer, rates are too coarse to say anything."""

MAXIMUM_PATIENTS = 2000
"""Of a longer table so many are drawn at random: shadow models are fitted by the hundred."""

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True, eq=False)
class Cohort:
    """Complete records: ``x`` (patients, features) in the concepts' units, ``y`` (patients,)."""

    variables: Variables
    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    source: str
    made_up: bool
    left_out: int = 0

    @property
    def patients(self) -> int:
        """How many there are."""
        return len(self.y)

    @property
    def design(self) -> NDArray[np.float64]:
        """A column of ones and the features, standardised by this table's own moments."""
        spread = self.x.std(axis=0)
        z = (self.x - self.x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        return np.column_stack([np.ones(self.patients), z])

    @property
    def outcome(self) -> NDArray[np.float64]:
        """0 and 1, or a measured outcome standardised as the features are."""
        if self.variables.family is Family.LOGISTIC:
            return self.y
        spread = float(self.y.std())
        scaled: NDArray[np.float64] = (self.y - self.y.mean()) / (spread if spread > 0 else 1.0)
        return scaled

    def yes_or_no(self) -> tuple[str, ...]:
        """The features that are 0 or 1, both of which occur: one of them can be inferred."""
        return tuple(
            name
            for name, column in zip(self.variables.features, self.x.T, strict=True)
            if set(np.unique(column)) == {0.0, 1.0}
        )


def read_table(path: Path, study: Study, generator: np.random.Generator) -> Cohort:
    """Read a CSV with a column for each concept of the study, in the concepts' units.

    A row with a value that is missing, no number, or outside the concept's plausible range is left
    out and counted. Raises WR-PRIVACY-031 when the file can't be read, WR-PRIVACY-032 for a column
    that is missing, WR-PRIVACY-033 when too few patients are left.
    """
    variables = variables_of(study)
    names = (*variables.features, variables.outcome)
    ranges = (
        *zip(variables.low, variables.high, strict=True),
        (variables.outcome_low, variables.outcome_high),
    )
    rows, left_out = [], 0
    for line in _lines(path, names):
        values = [_number(line[name]) for name in names]
        good = all(low <= value <= high for value, (low, high) in zip(values, ranges, strict=True))
        if good and (variables.family is not Family.LOGISTIC or values[-1] in (0.0, 1.0)):
            rows.append(values)
        else:
            left_out += 1
    if len(rows) < MINIMUM_PATIENTS:
        raise WardroundError(
            "WR-PRIVACY-033",
            f"The table has fewer than {MINIMUM_PATIENTS} complete rows within the concepts' "
            "ranges.",
            "Give more records, in the units of `wardround concepts show`, or audit over made-up "
            "patients.",
            path=str(path),
        )
    table = np.array(rows)
    if len(table) > MAXIMUM_PATIENTS:
        table = generator.choice(table, MAXIMUM_PATIENTS, replace=False)
    return Cohort(variables, table[:, :-1], table[:, -1], path.name, False, left_out)


def made_up(study: Study, patients: int, generator: np.random.Generator) -> Cohort:
    """Patients who never were: related features, and an outcome that follows from some of them.

    Each measured feature is normal in the middle of its plausible range, with one common cause
    behind all; a yes/no feature is true for three in ten.
    """
    if not MINIMUM_PATIENTS <= patients <= MAXIMUM_PATIENTS:
        raise WardroundError(
            "WR-PRIVACY-034",
            f"An audit takes {MINIMUM_PATIENTS} to {MAXIMUM_PATIENTS:,} patients.",
            "300 are a fair start; what an attack learns about one hardly depends on the others.",
        )
    variables = variables_of(study)
    graph = ConceptGraph.load()
    width = variables.high - variables.low
    cause = generator.normal(size=(patients, 1))
    own = generator.normal(size=(patients, len(width)))
    z = np.sqrt(0.3) * cause + np.sqrt(0.7) * own
    x = variables.low + width * np.clip(0.5 + z / 8.0, 0.0, 1.0)
    for place, name in enumerate(variables.features):
        if graph.concept(name).type is ConceptType.BOOLEAN:
            x[:, place] = z[:, place] > 0.5244  # the normal quantile of 0.7
    effect = z @ generator.normal(size=len(width)) * (1.5 / np.sqrt(len(width)))
    if variables.family is Family.LOGISTIC:
        y = (generator.random(patients) < 1.0 / (1.0 + np.exp(-effect))).astype(np.float64)
    else:
        middle = (variables.outcome_low + variables.outcome_high) / 2
        reach = variables.outcome_high - variables.outcome_low
        noisy = (effect + generator.normal(size=patients)) / 16.0
        y = np.clip(middle + reach * noisy, variables.outcome_low, variables.outcome_high)
    return Cohort(variables, x, y, "made-up patients", True)


def _lines(path: Path, names: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in names if name not in (reader.fieldnames or ())]
            if missing:
                raise WardroundError(
                    "WR-PRIVACY-032",
                    f"The table lacks {'the column' if len(missing) == 1 else 'the columns'} "
                    f"{', '.join(missing)}.",
                    "Name each column as the study names its concept.",
                    path=str(path),
                )
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WardroundError(
            "WR-PRIVACY-031",
            "The table can't be read.",
            "Give a CSV file in UTF-8 with a header line.",
            path=str(path),
        ) from error


def _number(text: str | None) -> float:
    """A number, or NaN, which lies in no range."""
    plain = (text or "").strip().lower()
    try:
        return _WORDS[plain] if plain in _WORDS else float(plain)
    except ValueError:
        return float("nan")
