"""The set-up of a batch of rounds as a pure state machine.

Every site of the pool advertises its keys; the sites that did are the roster; each of them deals
sealed shares to all the others. The roster is exactly the set to which shares were dealt, so a
site that is lost while dealing ends this set-up, and the next one starts without it: a dropout
here costs a set-up, never a round (Bonawitz et al. 2017, figure 4, rounds 0 and 1). In a pool of
more than 32 each site first chooses, among those that advertised, whom it deals to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg.graph import COMPLETE_UP_TO


class SetupPhase(StrEnum):
    """Where a set-up stands."""

    ADVERTISE = "advertise"
    CHOOSE = "choose"
    DEAL = "deal"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Setup:
    """The state of one batch. ``minimum`` is the least roster the study's rules allow.

    ``turns`` are in the pool because their turn had come, whatever their speed (see `selection`).
    """

    batch: BatchId
    run: RunId
    pool: tuple[SiteName, ...]
    rounds: int
    minimum: int
    phase: SetupPhase = SetupPhase.ADVERTISE
    advertised: frozenset[SiteName] = frozenset()
    chosen: frozenset[SiteName] = frozenset()
    dealt: frozenset[SiteName] = frozenset()
    lost: frozenset[SiteName] = frozenset()
    used: int = 0
    turns: tuple[SiteName, ...] = ()

    @property
    def roster(self) -> tuple[SiteName, ...]:
        """The sites to which shares are dealt, sorted; settled once dealing began."""
        return tuple(sorted(self.advertised))

    @property
    def sparse(self) -> bool:
        """Whether shares go to chosen sites only; all of it follows from the pool."""
        return len(self.pool) > COMPLETE_UP_TO

    @property
    def usable(self) -> bool:
        """Whether another round can be masked with this batch by everyone in it."""
        return self.phase is SetupPhase.READY and not self.lost and self.used < self.rounds

    @property
    def willing(self) -> tuple[SiteName, ...]:
        """Who advertised and was not lost: the pool of the next attempt."""
        return tuple(sorted(self.advertised - self.lost))

    @property
    def lacked(self) -> tuple[SiteName, ...]:
        """Who of the pool is not in the next attempt's: nothing came, or it was lost."""
        return tuple(site for site in self.pool if site not in self.willing)

    @property
    def awaits(self) -> str:
        """The kind of statement that the present phase waits for."""
        kinds = {SetupPhase.ADVERTISE: "advert", SetupPhase.CHOOSE: "choice"}
        return kinds.get(self.phase, "deal")

    def waits_for(self, site: SiteName) -> bool:
        """Whether this set-up needs something from ``site`` now."""
        if site in self.lost or site not in self.pool:
            return False
        if self.phase is SetupPhase.ADVERTISE:
            return site not in self.advertised
        if self.phase is SetupPhase.CHOOSE:
            return site in self.advertised - self.chosen
        return self.phase is SetupPhase.DEAL and site in self.advertised - self.dealt

    def on_advert(self, site: SiteName) -> Setup:
        """``site`` has advertised its keys."""
        if self.phase is not SetupPhase.ADVERTISE or not self.waits_for(site):
            return self
        return replace(self, advertised=self.advertised | {site})._settle()

    def on_choice(self, site: SiteName) -> Setup:
        """``site`` has chosen whom it deals to."""
        if self.phase is not SetupPhase.CHOOSE or not self.waits_for(site):
            return self
        return replace(self, chosen=self.chosen | {site})._settle()

    def on_deal(self, site: SiteName) -> Setup:
        """``site`` has dealt its sealed shares."""
        if self.phase is not SetupPhase.DEAL or not self.waits_for(site):
            return self
        return replace(self, dealt=self.dealt | {site})._settle()

    def on_lost(self, site: SiteName) -> Setup:
        """``site`` refused, or has lost the keys of this batch."""
        if site not in self.pool or site in self.lost:
            return self
        lost = replace(self, lost=self.lost | {site})
        if self.phase is not SetupPhase.READY and site in self.advertised:
            # Others may have been shown its keys already, or be about to.
            return replace(lost, phase=SetupPhase.FAILED)
        return lost._settle()

    def on_deadline(self) -> Setup:
        """Time is up for the current phase."""
        if self.phase is SetupPhase.ADVERTISE:
            enough = len(self.advertised) >= self.minimum
            return replace(self, phase=self._after_adverts if enough else SetupPhase.FAILED)
        if self.phase is SetupPhase.CHOOSE:
            late = self.lost | (self.advertised - self.chosen)
            return replace(self, phase=SetupPhase.FAILED, lost=late)
        if self.phase is SetupPhase.DEAL:
            late = self.lost | (self.advertised - self.dealt)
            return replace(self, phase=SetupPhase.FAILED, lost=late)
        return self

    def on_used(self, index: int) -> Setup:
        """Round ``index`` of the batch has been given a manifest."""
        return replace(self, used=max(self.used, index + 1))

    @property
    def _after_adverts(self) -> SetupPhase:
        return SetupPhase.CHOOSE if self.sparse else SetupPhase.DEAL

    def _settle(self) -> Setup:
        if self.phase is SetupPhase.ADVERTISE:
            if len(self.pool) - len(self.lost) < self.minimum:
                return replace(self, phase=SetupPhase.FAILED)
            if self.advertised >= set(self.pool) - self.lost:
                return replace(self, phase=self._after_adverts)
        if self.phase is SetupPhase.CHOOSE and self.chosen >= self.advertised:
            return replace(self, phase=SetupPhase.DEAL)
        if self.phase is SetupPhase.DEAL and self.dealt >= self.advertised:
            return replace(self, phase=SetupPhase.READY)
        return self
