"""What every computation behind a task has in common: lanes, their units, and suppression.

A contribution is a vector of *lanes*, each a sum over a site's records. A lane's *unit* is a power
of two that no single record's term can exceed, known to everyone from the task alone. Divided by
its unit, a lane is a sum of numbers in [-1, 1]: at most `MAXIMUM_RECORDS` in magnitude, at any
site, whatever the data. So one bound serves every task, the fixed-point sum can't overflow, and
as units are powers of two the scaling itself rounds nothing. The last lane counts the figures
that a site held back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.learning.records import MAXIMUM_RECORDS, Family, Records, Split, Variables
from wardround.privacy import check_cohort, check_groups

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

BOUND = float(MAXIMUM_RECORDS)
"""The largest absolute value of any lane in its unit, at one site."""

RESOLUTION = 2.0**-28
"""The coarsest step between encodings of a lane in its unit, from which the ring follows."""

Totals = TypeVar("Totals", covariant=True)


@dataclass(frozen=True)
class Limits:
    """The disclosure rules in force at a site: the stricter of the study's and the hospital's."""

    minimum_cell: int
    minimum_cohort: int

    def check(self, records: Records, family: Family) -> None:
        """Refuse a site with too few records, whichever task of a study it is asked.

        It is one rule for all tasks, in training and test part alike, because their totals are
        compared: were a site in one total and not in another, or a class of a yes/no outcome
        zero in the one and part of a sum in the other, the difference would be that site's own
        count. (Means open the exact number of training records, the first Newton step that of
        those with the outcome; no zero in `outcome_counts` could hide either.)

        Raises WR-PRIVACY-001 for fewer than the minimum cohort of training records, and
        WR-PRIVACY-002 for fewer than the minimum cell of records, or of records with or without
        a yes/no outcome, in either part, or in a fold of cross-validation.
        A minimum cell of 0, for public records, refuses nobody.
        """
        check_cohort(len(records.of(Split.TRAIN)[1]), self.minimum_cohort)
        parts = [records.of(part)[1] for part in Split]
        if records.fold is not None:
            # An empty fold adds nothing to any total, so nothing about it can be told. In any
            # other the first step opens the records with the outcome, so they count by class.
            fold, y = records.fold[~records.test], records.of(Split.TRAIN)[1]
            parts += [y[fold == one] for one in np.unique(fold)]
        groups: list[int] = []
        for y in parts:
            yes_no = family is Family.LOGISTIC
            groups += [int((y == 0).sum()), int((y == 1).sum())] if yes_no else [len(y)]
        check_groups(np.array(groups), self.minimum_cell)


@dataclass(frozen=True, eq=False)
class Answer:
    """One site's lanes in natural units, shape (lanes,), and how many figures it held back."""

    lanes: NDArray[np.float64] = field(repr=False)
    suppressed: int = field(default=0, repr=False)


class Computation(Protocol[Totals]):
    """A task kind with its parameters read: what a site computes and what a total means."""

    kind: ClassVar[str]

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read a task's parameters strictly; raise WR-LEARN-001, or -004 for the model."""
        ...

    @property
    def variables(self) -> Variables:
        """What the study says about the variables."""
        ...

    @property
    def units(self) -> NDArray[np.float64]:
        """The unit of each lane, shape (lanes,), the suppression lane left out."""
        ...

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Compute one site's lanes; the site has passed `Limits.check`."""
        ...

    def read(self, lanes: NDArray[np.float64]) -> Totals:
        """Give the summed lanes, in natural units, their names."""
        ...


def unit(bound: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The least power of two that is at least ``bound``, element by element (1 for 0)."""
    mantissa, exponent = np.frexp(np.asarray(bound, dtype=np.float64))
    exponent = np.where(mantissa == 0.5, exponent - 1, exponent)
    return np.where(mantissa == 0, 1.0, np.ldexp(1.0, exponent))


def to_vector(computation: Computation[object], answer: Answer) -> NDArray[np.float64]:
    """The vector that goes to the door, shape (lanes + 1,), bounded by `BOUND`."""
    return np.append(answer.lanes / computation.units, float(answer.suppressed))


def from_total(computation: Computation[Totals], values: NDArray[np.float64]) -> tuple[Totals, int]:
    """Read a total, shape (lanes + 1,): what it says, and how many figures sites held back."""
    return computation.read(values[:-1] * computation.units), round(values[-1])
