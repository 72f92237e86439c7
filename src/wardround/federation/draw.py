"""The draw of a study's partition as a pure state machine: commit, reveal, accept.

Unlike a set-up it needs every site of the study: who stays away while committing is waited for,
and nothing is lost; who withholds its reveal ends the draw, and the next one begins with fresh
commitments of all (`secagg.draw` says what that is worth to whom).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from wardround.ids import SiteName


class DrawPhase(StrEnum):
    """Where a draw stands."""

    COMMIT = "commit"
    REVEAL = "reveal"
    SETTLED = "settled"
    FAILED = "failed"


@dataclass(frozen=True)
class Draw:
    """The state of draw ``number`` (from 0) among all ``sites`` of the study.

    Once ``SETTLED`` the partition is fixed; sites still say one by one that they have written it
    down, and until then they are asked for nothing else.
    """

    number: int
    sites: tuple[SiteName, ...]
    phase: DrawPhase = DrawPhase.COMMIT
    committed: frozenset[SiteName] = frozenset()
    revealed: frozenset[SiteName] = frozenset()
    accepted: frozenset[SiteName] = frozenset()
    refused: frozenset[SiteName] = frozenset()

    @property
    def missing(self) -> tuple[SiteName, ...]:
        """Who has not done what the draw waits for, or has ended it, sorted."""
        done = {DrawPhase.COMMIT: self.committed, DrawPhase.SETTLED: self.accepted}
        return tuple(sorted(set(self.sites) - done.get(self.phase, self.revealed)))

    def waits_for(self, site: SiteName) -> bool:
        """Whether this draw needs something from ``site`` now."""
        return self.phase is not DrawPhase.FAILED and site in self.missing

    def on_commitment(self, site: SiteName) -> Draw:
        """``site`` has committed itself."""
        if self.phase is not DrawPhase.COMMIT or not self.waits_for(site):
            return self
        committed = self.committed | {site}
        phase = DrawPhase.REVEAL if committed >= set(self.sites) else self.phase
        return replace(self, committed=committed, phase=phase)

    def on_reveal(self, site: SiteName) -> Draw:
        """``site`` has revealed its random bytes."""
        if self.phase is not DrawPhase.REVEAL or not self.waits_for(site):
            return self
        revealed = self.revealed | {site}
        phase = DrawPhase.SETTLED if revealed >= set(self.sites) else self.phase
        return replace(self, revealed=revealed, phase=phase)

    def on_accepted(self, site: SiteName) -> Draw:
        """``site`` has written the partition down."""
        if self.phase is not DrawPhase.SETTLED or not self.waits_for(site):
            return self
        return replace(self, accepted=self.accepted | {site})

    def on_refused(self, site: SiteName) -> Draw:
        """``site`` refuses: that ends a draw, unless its partition is fixed already."""
        if self.phase is DrawPhase.SETTLED or not self.waits_for(site):
            return self
        return replace(self, refused=self.refused | {site}, phase=DrawPhase.FAILED)

    def on_deadline(self) -> Draw:
        """Time is up: a reveal that is withheld ends the draw; nothing else does."""
        if self.phase is not DrawPhase.REVEAL:
            return self
        return replace(self, phase=DrawPhase.FAILED)
