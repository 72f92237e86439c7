"""One round as a pure state machine: three exchanges, then a total or a reason.

Packets are collected until all have answered or the deadline passes; those who sent one are the
survivors. The survivors sign that set; with ``threshold`` signatures it is fixed, and the same
number of recovery shares opens the total (DESIGN section 5; Bonawitz et al. 2017, figure 4).
Every event is idempotent, and a late or foreign one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from wardround.ids import BatchId, RoundId, RunId, SiteName


class RoundPhase(StrEnum):
    """Where a round stands."""

    COLLECT = "collect"
    VOTE = "vote"
    RECOVER = "recover"
    OPENING = "opening"
    DONE = "done"
    FAILED = "failed"
    AUDIT = "audit"
    GARBAGE = "garbage"


@dataclass(frozen=True)
class Round:
    """The state of one attempt at one total.

    ``minimum`` is the least number of survivors over which a total may be opened, ``needed`` how
    many recovery shares the opening wants (more than the threshold after a bad one). ``helpers``
    are the first to have voted, and are asked for shares; everyone else is spared the work unless
    the round is ``widened``.
    """

    round: RoundId
    run: RunId
    step: int
    attempt: int
    batch: BatchId
    index: int
    roster: tuple[SiteName, ...]
    threshold: int
    minimum: int
    needed: int
    phase: RoundPhase = RoundPhase.COLLECT
    packets: frozenset[SiteName] = frozenset()
    refused: frozenset[SiteName] = frozenset()
    votes: frozenset[SiteName] = frozenset()
    shares: frozenset[SiteName] = frozenset()
    helpers: frozenset[SiteName] = frozenset()
    audited: frozenset[SiteName] = frozenset()
    widened: bool = False
    reason: str | None = None

    @property
    def survivors(self) -> tuple[SiteName, ...]:
        """Who sent a packet in time, sorted; settled once voting began."""
        return tuple(sorted(self.packets))

    @property
    def dropped(self) -> tuple[SiteName, ...]:
        """Who did not."""
        return tuple(sorted(set(self.roster) - self.packets))

    def was_late(self, site: SiteName) -> bool:
        """Whether ``site`` was asked, did not refuse, and is not among the packets."""
        return site in set(self.roster) - self.packets - self.refused

    @property
    def lacked(self) -> tuple[SiteName, ...]:
        """Whose answer was missing when it failed for want of answers."""
        if self.phase is not RoundPhase.FAILED:
            return ()
        if len(self.packets) < self.minimum:
            return self.dropped
        gave = self.votes if len(self.votes) < self.threshold else self.shares
        return tuple(sorted(self.packets - gave))

    @property
    def closed_by(self) -> frozenset[SiteName]:
        """Who may be done with this task, since shares were asked of them (or, sparse, votes)."""
        if self.widened and len(self.packets) >= self.minimum:
            return self.packets
        return self.helpers

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in (RoundPhase.DONE, RoundPhase.FAILED, RoundPhase.GARBAGE)

    def waits_for(self, site: SiteName) -> bool:
        """Whether this round needs something from ``site`` now."""
        if self.phase is RoundPhase.AUDIT:  # also of who lost its keys: its record is on disk
            return site in self.packets - self.audited
        if site not in self.roster or site in self.refused:
            return False
        match self.phase:
            case RoundPhase.COLLECT:
                return site not in self.packets
            case RoundPhase.VOTE:
                return site in self.packets - self.votes
            case RoundPhase.RECOVER:
                return site in (self.packets if self.widened else self.helpers) - self.shares
        return False

    def asks_vote_of(self, site: SiteName) -> bool:
        """Whether ``site`` still has to sign the survivor set before it can do more."""
        return (
            self.phase in (RoundPhase.VOTE, RoundPhase.RECOVER)
            and self.waits_for(site)
            and site not in self.votes
        )

    def on_packet(self, site: SiteName) -> Round:
        """``site`` has sent its whole packet."""
        if self.phase is not RoundPhase.COLLECT or not self.waits_for(site):
            return self
        return replace(self, packets=self.packets | {site})._settle()

    def on_refused(self, site: SiteName) -> Round:
        """``site`` refuses, or can't go on with this round."""
        if self.over or site not in self.roster or site in self.refused:
            return self
        widened = self.widened or site in self.helpers
        return replace(self, refused=self.refused | {site}, widened=widened)._settle()

    def on_vote(self, site: SiteName) -> Round:
        """``site`` has signed the survivor set; a late vote is welcome, and asks for nothing."""
        voting = self.phase in (RoundPhase.VOTE, RoundPhase.RECOVER)
        if not voting or site not in self.packets - self.votes - self.refused:
            return self
        return replace(self, votes=self.votes | {site})._settle()

    def on_shares(self, site: SiteName) -> Round:
        """``site`` has sent its recovery shares."""
        if self.phase is not RoundPhase.RECOVER or site not in self.votes - self.shares:
            return self
        return replace(self, shares=self.shares | {site})._settle()

    def on_bad_shares(self, bad: int) -> Round:
        """The opening found ``bad`` shares that don't fit; more are wanted."""
        if self.phase is not RoundPhase.OPENING:
            return self
        again = replace(self, phase=RoundPhase.RECOVER, needed=self.threshold + bad, widened=True)
        return again._settle()

    def on_waiting(self) -> Round:
        """The helpers take their time: ask every survivor."""
        if self.phase is not RoundPhase.RECOVER or self.widened:
            return self
        return replace(self, widened=True)

    def on_opened(self) -> Round:
        """The total has been opened and stored."""
        if self.phase is not RoundPhase.OPENING:
            return self
        return replace(self, phase=RoundPhase.DONE)

    def on_garbage(self) -> Round:
        """What has been opened is garbage: ask everyone who is in it about their packets."""
        if self.phase is not RoundPhase.OPENING:
            return self
        return replace(self, phase=RoundPhase.AUDIT)

    def on_audit(self, site: SiteName) -> Round:
        """``site`` has said what it has to say about its packet."""
        if self.phase is not RoundPhase.AUDIT or not self.waits_for(site):
            return self
        return replace(self, audited=self.audited | {site})

    def on_verdict(self, reason: str) -> Round:
        """The audit is over, and this is what came out of it."""
        if self.phase is not RoundPhase.AUDIT:
            return self
        return replace(self, phase=RoundPhase.GARBAGE, reason=reason)

    def on_deadline(self) -> Round:
        """Time is up for the current exchange."""
        if self.phase is RoundPhase.COLLECT:
            return self._vote_or_fail()
        if self.phase is RoundPhase.VOTE:
            return self._fail("too few survivors signed the survivor set in time")
        if self.phase is RoundPhase.RECOVER:
            return self._fail("too few recovery shares arrived in time")
        return self

    def _settle(self) -> Round:
        if self.phase is RoundPhase.COLLECT and self.packets | self.refused >= set(self.roster):
            return self._vote_or_fail()
        alive = self.packets - self.refused
        if self.phase is RoundPhase.VOTE:
            if len(self.votes) >= self.threshold:
                return replace(self, phase=RoundPhase.RECOVER, helpers=self.votes)
            if len(alive | self.votes) < self.threshold:
                return self._fail("too few survivors are left to sign the survivor set")
        if self.phase is RoundPhase.RECOVER:
            if len(self.shares) >= self.needed:
                return replace(self, phase=RoundPhase.OPENING)
            if len(alive | self.shares) < self.needed:
                return self._fail("too few survivors are left to recover the masks")
        return self

    def _vote_or_fail(self) -> Round:
        if len(self.packets) >= self.minimum:
            return replace(self, phase=RoundPhase.VOTE)
        return self._fail(f"{len(self.packets)} sites answered, {self.minimum} are needed")

    def _fail(self, reason: str) -> Round:
        return replace(self, phase=RoundPhase.FAILED, reason=reason)
