"""The variables a study agreed on, and one hospital's records of them.

Ranges come from the study's concepts, so every bound that follows from them is public and holds
at every site: a record outside them was quarantined long before, and is refused here again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.parameters import Reader

MAXIMUM_RECORDS = 1 << 22
"""More records than this at one site are refused, so that sums over records have a bound."""

TEST_COLUMN = "_test"
"""The column that marks held-out records with 1, others with 0."""

FOLD_COLUMN = "_fold"
"""The column that numbers the folds of cross-validation from 0, where the study has any."""


class Family(StrEnum):
    """Which generalised linear model: logistic for a yes/no outcome, linear for a measured one."""

    LOGISTIC = "logistic"
    LINEAR = "linear"


class Split(StrEnum):
    """Which of a site's records a task is about."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, eq=False)
class Variables:
    """What the signed study says about the model's inputs and outcome.

    ``low`` and ``high`` have shape (features,): the plausible range of each feature, in the
    concept's unit; ``outcome_low`` and ``outcome_high`` the outcome's (0 and 1 for yes/no).
    """

    family: Family
    features: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    outcome: str
    outcome_low: float
    outcome_high: float

    @classmethod
    def parse(cls, reader: Reader) -> Variables:
        """Read the ``variables`` that every task carries."""
        table = reader.table("variables")
        family = table.text("family")
        if family not in tuple(Family):
            raise table.malformed("family", "must be logistic or linear")
        features = table.texts("features")
        ranges = table.rows_of_numbers("ranges", len(features))
        outcome, outcome_range = table.text("outcome"), table.numbers("outcome_range", 2)
        table.done()
        for pair in (*ranges, outcome_range):
            if len(pair) != 2 or not pair[0] < pair[1] or not np.abs(pair).max() <= 1e15:
                raise table.malformed("ranges", "must be pairs of a lower and an upper end")
        if outcome in features:
            raise table.malformed("outcome", "must not be one of the features")
        low, high = np.array(ranges).T
        return cls(
            Family(family),
            features,
            low,
            high,
            outcome,
            float(outcome_range[0]),
            float(outcome_range[1]),
        )

    @property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends of the features and, last, of a measured outcome."""
        if self.family is Family.LOGISTIC:
            return self.low, self.high
        return np.append(self.low, self.outcome_low), np.append(self.high, self.outcome_high)


@dataclass(frozen=True, eq=False)
class Records:
    """Complete records of one site: ``x`` (records, features), ``y`` (records,). Never shown.

    ``fold`` (records,) is None in a study without cross-validation.
    """

    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    test: NDArray[np.bool_] = field(repr=False)
    fold: NDArray[np.float64] | None = field(default=None, repr=False)

    def values(self, variables: Variables) -> NDArray[np.float64]:
        """The columns that `Variables.bounds` bounds, (records, variables)."""
        return np.column_stack([self.x, self.y]) if variables.family is Family.LINEAR else self.x

    @classmethod
    def take(cls, columns: Mapping[str, NDArray[np.float64]], variables: Variables) -> Records:
        """Pick the study's columns and check them.

        Raises WR-LEARN-005 for a missing column, WR-LEARN-006 for values outside the agreed
        range, WR-LEARN-007 for too many records. None of them says which record or value.
        """
        _check_columns(columns, variables)
        if len(columns[TEST_COLUMN]) >= MAXIMUM_RECORDS:
            raise WardroundError(
                "WR-LEARN-007",
                f"The site has {MAXIMUM_RECORDS} records or more: sums have no bound there.",
                "Narrow the selection, or split the site in two.",
            )
        x = np.column_stack([columns[name] for name in variables.features]).astype(np.float64)
        y = np.asarray(columns[variables.outcome], dtype=np.float64)
        test = np.asarray(columns[TEST_COLUMN]) != 0
        for name, column, low, high in (
            *zip(variables.features, x.T, variables.low, variables.high, strict=True),
            (variables.outcome, y, variables.outcome_low, variables.outcome_high),
        ):
            if not bool(((column >= low) & (column <= high)).all()):  # a NaN fails too
                raise _out_of_range(name)
        if variables.family is Family.LOGISTIC and not bool(((y == 0) | (y == 1)).all()):
            raise _out_of_range(variables.outcome)
        fold = columns.get(FOLD_COLUMN)
        return cls(x, y, test, None if fold is None else np.asarray(fold, dtype=np.float64))

    @classmethod
    def within(
        cls,
        columns: Mapping[str, NDArray[np.float64]],
        variables: Variables,
        chosen: NDArray[np.int64],
    ) -> Records:
        """Pick some records for a computation under noise, each value held to its agreed range.

        Records out of range were quarantined long before; a refusal for one that got through would
        tell of that patient, so such a value becomes the nearest one that is allowed, and one that
        is missing the middle. Raises WR-LEARN-005 as `take` does, which is about the site's table,
        not about anybody in it.
        """
        _check_columns(columns, variables)

        def pick(name: str, low: float, high: float) -> NDArray[np.float64]:
            values = np.asarray(columns[name], dtype=np.float64)[chosen]
            return np.clip(np.where(np.isnan(values), low + 0.5 * (high - low), values), low, high)

        ranges = zip(variables.features, variables.low, variables.high, strict=True)
        x = np.column_stack([pick(name, low, high) for name, low, high in ranges])
        y = pick(variables.outcome, variables.outcome_low, variables.outcome_high)
        if variables.family is Family.LOGISTIC:
            y = np.rint(y)
        return cls(x, y, np.asarray(columns[TEST_COLUMN])[chosen] != 0)

    def of(self, split: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The features and outcomes of the training or of the held-out records."""
        chosen = self.test if split is Split.TEST else ~self.test
        return self.x[chosen], self.y[chosen]

    def of_fold(self, number: int) -> Records:
        """The records of one fold; raises WR-LEARN-005 in a table without folds."""
        return self._among(self._folds() == number)

    def without_fold(self, number: int) -> Records:
        """The records of all other folds; raises WR-LEARN-005 in a table without folds."""
        return self._among(self._folds() != number)

    def _folds(self) -> NDArray[np.float64]:
        if self.fold is None:
            raise WardroundError(
                "WR-LEARN-005",
                f"The site's table has no column {FOLD_COLUMN}.",
                "Run the same Wardround version at the coordinator and at every site.",
            )
        return self.fold

    def _among(self, chosen: NDArray[np.bool_]) -> Records:
        return Records(self.x[chosen], self.y[chosen], self.test[chosen], self._folds()[chosen])


def _check_columns(columns: Mapping[str, NDArray[np.float64]], variables: Variables) -> None:
    for name in (*variables.features, variables.outcome, TEST_COLUMN):
        if name not in columns:
            raise WardroundError(
                "WR-LEARN-005",
                f"The site's table has no column {name}.",
                "Map a source to this concept and have the steward approve the mapping.",
            )


def read_split(reader: Reader) -> Split:
    """Read ``rows``: train or test."""
    value = reader.text("rows")
    if value not in tuple(Split):
        raise reader.malformed("rows", "must be train or test")
    return Split(value)


def _out_of_range(name: str) -> WardroundError:
    return WardroundError(
        "WR-LEARN-006",
        f"A value of {name} is missing or outside the range that the study's concept allows.",
        "Harmonise the site's records again; records out of range belong in quarantine.",
    )
