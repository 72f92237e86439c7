"""Error feedback: what a site could not send in one round it adds to what it sends in the next.

Stich, Cordonnier and Jaggi 2018 (algorithm 1), Karimireddy et al. 2019 (EF-SGD); with sites that
are not in every round, Li and Li 2023. A site's memory e begins at zero. In a round it computes its
update g, sends the coordinates of e + g whose turn it is, and keeps the others. So over all rounds
that count, what was sent and what is left add up to the updates.

Whether a round counts is known only afterwards: its total may be over others, or be opened in a
second attempt. So the memory moves on when the next task says that the site was in the total, and
else stays what it was before that round, whose update then counts for nothing, as without
compression: the mean over the others has stood in for it. What can't be told empties the memory.
Too little memory costs rounds; nothing is ever sent twice.

Sites here don't send gradients but what local training comes to, so they train from the model plus
their own e: see `local_sgd` for why. DESIGN calls this a stepwise task. It is a state with one
transition and not a generator, since a generator can't be taken back when a round comes to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]

WINDOW = 64
"""Of so many rounds past a task says who was in their totals."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One site's part in one round of training.

    ``scope`` is for what a memory holds: of another one it is of no use. ``number`` counts rounds
    from 1; ``chosen`` are the coordinates that travel, of the ``first`` values; ``counted`` says of
    the rounds just before this one, the last one last, whether the site was in their totals. No
    value beyond ``bound`` in magnitude can be sent.
    """

    scope: Hashable
    number: int
    chosen: NDArray[np.int64]
    first: int
    counted: Sequence[bool]
    bound: float


@dataclass(frozen=True, eq=False)
class _Answered:
    number: int
    left: Vector = field(repr=False)


class ErrorFeedback:
    """One site's memory, in this object alone: about its records, and never to be written down."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empty the memory."""
        self._scope: Hashable = None
        self._left: Vector | None = None
        self._answered: _Answered | None = None

    def left(self, turn: Turn) -> Vector | None:
        """What was not sent before this round, shape (first,); None where there is nothing."""
        self._settle(turn)
        return self._left

    def answer(self, turn: Turn, values: NDArray[np.float32] | Vector) -> Vector:
        """What is sent for ``values``, of the same shape: zero where it is not a coordinate's turn.

        Asked again for the same round it adds the same memory, so that the same is sent.
        """
        self._settle(turn)
        whole = values[: turn.first].astype(np.float64)
        if self._left is not None:
            whole += self._left
        sent = values.astype(np.float64)
        sent[: turn.first] = 0.0
        # What would be beyond the bound stays as well: the sum can't overflow, and loses nothing.
        sent[turn.chosen] = np.clip(whole[turn.chosen], -turn.bound, turn.bound)
        whole -= sent[: turn.first]
        self._answered = _Answered(turn.number, whole)
        return sent

    def _settle(self, turn: Turn) -> None:
        """What became of the round that was answered last."""
        last = self._answered
        if turn.scope != self._scope:
            self.forget()
            self._scope = turn.scope
        elif last is not None and last.number != turn.number:
            back = turn.number - last.number
            self._answered = None
            if not 0 < back <= len(turn.counted):
                self.forget()
                self._scope = turn.scope
            elif turn.counted[-back]:
                self._left = last.left


def sent_of(share: float, first: int) -> int:
    """How many of ``first`` coordinates a share of them is: one at least."""
    return max(1, round(share * first))


def width(sites: int) -> int:
    """How many characters a round takes in `tell`."""
    return 2 * -(-sites // 8)


def tell(totals: Sequence[Collection[str]], sites: Sequence[str]) -> str:
    """Who was in the last `WINDOW` of ``totals``, as a task has it: a bit for each site, in hex."""
    rows = [np.packbits([site in one for site in sites]) for one in totals[-WINDOW:]]
    return "".join(row.tobytes().hex() for row in rows)


def counted(told: str, sites: Sequence[str], site: str) -> tuple[bool, ...]:
    """What `tell` says of one site, round by round."""
    size, place = width(len(sites)), sites.index(site)
    rows = [bytes.fromhex(told[at : at + size]) for at in range(0, len(told), size)]
    return tuple(bool(row[place // 8] >> (7 - place % 8) & 1) for row in rows)
