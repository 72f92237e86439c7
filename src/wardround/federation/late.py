"""Forming late cohorts as a pure state machine: who is ready, who was asked to sign, who dealt.

Ready statements come in at any time and wait. As soon as enough of them wait for one task, the
coordinator proposes a manifest over exactly those (`due`, then `on_proposed`); its sites sign it,
and when all have signed they deal, and when all have dealt the cohort is an ordinary `Round`.

A ready statement is named by one manifest in its life. When a site is lost before everybody
dealt, the cohort is dead and with it every statement that it named: the sites say ready again,
with new keys. Several cohorts may be under way; they never share a statement. Every event is
idempotent, and a late or foreign one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wardround.federation.round import Round
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.cohort import MAXIMUM_SEQUENCE, CohortManifest, late_batch


class CohortPhase(StrEnum):
    """Where a late cohort stands; what follows on READY is a `Round`."""

    SIGN = "sign"
    DEAL = "deal"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class LateCohort:
    """One cohort from its manifest until it can mask."""

    manifest: CohortManifest
    phase: CohortPhase = CohortPhase.SIGN
    signed: frozenset[SiteName] = frozenset()
    dealt: frozenset[SiteName] = frozenset()
    lost: frozenset[SiteName] = frozenset()
    reason: str | None = None

    @property
    def roster(self) -> tuple[SiteName, ...]:
        """The cohort's sites, sorted."""
        return self.manifest.cohort

    @property
    def under_way(self) -> bool:
        """Whether it still has to be signed or dealt."""
        return self.phase in (CohortPhase.SIGN, CohortPhase.DEAL)

    def waits_for(self, site: SiteName) -> bool:
        """Whether this cohort needs something from ``site`` now."""
        if site not in self.manifest.ready:
            return False
        if self.phase is CohortPhase.SIGN:
            return site not in self.signed
        return self.phase is CohortPhase.DEAL and site not in self.dealt

    def on_signature(self, site: SiteName, manifest: Digest) -> LateCohort:
        """``site`` signed the manifest of that digest, this one or another."""
        waited = self.phase is CohortPhase.SIGN and self.waits_for(site)
        if not waited or manifest != self.manifest.digest:
            return self
        signed = self.signed | {site}
        phase = CohortPhase.DEAL if signed >= self.manifest.ready.keys() else self.phase
        return replace(self, signed=signed, phase=phase)

    def on_deal(self, site: SiteName) -> LateCohort:
        """``site`` has dealt its sealed shares to this cohort."""
        if self.phase is not CohortPhase.DEAL or not self.waits_for(site):
            return self
        dealt = self.dealt | {site}
        phase = CohortPhase.READY if dealt >= self.manifest.ready.keys() else self.phase
        return replace(self, dealt=dealt, phase=phase)

    def on_lost(self, site: SiteName) -> LateCohort:
        """``site`` refused, said ready with other keys, or was convicted of a false deal."""
        if site not in self.manifest.ready or not self.under_way:
            return self
        return self._fail(frozenset({site}), f"{site} was lost before everybody dealt")

    def on_deadline(self) -> LateCohort:
        """Time is up: who was waited for is lost."""
        if not self.under_way:
            return self
        late = frozenset(site for site in self.roster if self.waits_for(site))
        return self._fail(late, f"{', '.join(sorted(late))} took too long to {self.phase.value}")

    def round(self) -> Round:
        """The round over this cohort, from the masked vectors on; only once it is READY."""
        if self.phase is not CohortPhase.READY:
            raise ValueError("a cohort masks only after everybody signed and dealt")
        manifest = self.manifest
        return Round(
            round=manifest.round,
            run=manifest.run,
            step=manifest.sequence,
            attempt=0,
            batch=late_batch(manifest.run),
            index=0,
            roster=self.roster,
            threshold=manifest.threshold,
            minimum=manifest.minimum_survivors,
            needed=manifest.threshold,
        )

    def _fail(self, lost: frozenset[SiteName], reason: str) -> LateCohort:
        return replace(self, phase=CohortPhase.FAILED, lost=lost, reason=reason)


@dataclass(frozen=True)
class Waiting:
    """A ready statement that was verified (`secagg.cohort.open_offer`) and is in no manifest."""

    site: SiteName
    ready: Digest
    task: Digest
    expires: int


@dataclass(frozen=True)
class Gathering:
    """All late cohorts of one run. ``pool`` are the study's sites, ``size`` is K.

    ``sequence`` is the number of the next manifest; ``spent`` are the statements that no further
    manifest may name; ``setbacks`` counts the cohorts that a site cost, so that among those who
    wait the reliable go first; ``barred`` are sites convicted of dealing false shares.
    """

    run: RunId
    pool: tuple[SiteName, ...]
    size: int
    sequence: int = 0
    waiting: tuple[Waiting, ...] = ()
    spent: frozenset[Digest] = frozenset()
    cohorts: tuple[LateCohort, ...] = ()
    setbacks: Mapping[SiteName, int] = field(default_factory=dict)
    barred: frozenset[SiteName] = frozenset()

    def due(self) -> tuple[Waiting, ...]:
        """The ready statements of the next cohort, by site: exactly K for one task, or none.

        Of the tasks with enough of them, the one whose first statement has waited longest.
        """
        for task in dict.fromkeys(one.task for one in self.waiting):
            same = [one for one in self.waiting if one.task == task]
            if len(same) >= self.size:
                same.sort(key=lambda one: self.setbacks.get(one.site, 0))  # stable: then by age
                return tuple(sorted(same[: self.size], key=lambda one: one.site))
        return ()

    def cohort(self, sequence: int) -> LateCohort | None:
        """The cohort of that number, unless it is over."""
        return next((one for one in self.cohorts if one.manifest.sequence == sequence), None)

    def on_ready(self, new: Waiting) -> Gathering:
        """A site is ready. A second statement takes the place of its first, whose keys are gone.

        So a cohort under way that counts on the site's earlier keys is dead.
        """
        known = self.spent.union(one.ready for one in self.waiting)
        if new.ready in known or new.site not in self.pool or new.site in self.barred:
            return self
        if not self.sequence <= new.expires <= MAXIMUM_SEQUENCE:
            return self
        older = frozenset(one.ready for one in self.waiting if one.site == new.site)
        rest = tuple(one for one in self.waiting if one.site != new.site)
        state = replace(self, waiting=(*rest, new), spent=self.spent | older)
        return state._each(lambda cohort: cohort.on_lost(new.site))

    def on_proposed(self, manifest: CohortManifest) -> Gathering:
        """A manifest over exactly `due` was made and signed for: its statements are spent."""
        due = self.due()
        named = {one.site: one.ready for one in due}
        if (
            not due
            or (manifest.run, manifest.sequence) != (self.run, self.sequence)
            or manifest.task != due[0].task
            or dict(manifest.ready) != named
        ):
            return self
        sequence = self.sequence + 1
        rest = tuple(one for one in self.waiting if one not in due)
        expired = frozenset(one.ready for one in rest if one.expires < sequence)
        return replace(
            self,
            sequence=sequence,
            waiting=tuple(one for one in rest if one.ready not in expired),
            spent=self.spent | set(named.values()) | expired,
            cohorts=(*self.cohorts, LateCohort(manifest)),
        )

    def on_signature(self, sequence: int, site: SiteName, manifest: Digest) -> Gathering:
        """``site`` signed a manifest as that of cohort ``sequence``."""
        return self._one(sequence, lambda cohort: cohort.on_signature(site, manifest))

    def on_deal(self, sequence: int, site: SiteName) -> Gathering:
        """``site`` has dealt in cohort ``sequence``."""
        return self._one(sequence, lambda cohort: cohort.on_deal(site))

    def on_lost(self, sequence: int, site: SiteName) -> Gathering:
        """``site`` refused to go on with cohort ``sequence``."""
        return self._one(sequence, lambda cohort: cohort.on_lost(site))

    def on_deadline(self, sequence: int) -> Gathering:
        """Time is up for what cohort ``sequence`` waits for."""
        return self._one(sequence, LateCohort.on_deadline)

    def on_withdrawn(self, site: SiteName) -> Gathering:
        """``site`` was restarted: the keys of whatever it said before are gone."""
        gone = frozenset(one.ready for one in self.waiting if one.site == site)
        state = self._each(lambda cohort: cohort.on_lost(site))
        if not gone:
            return state
        rest = tuple(one for one in state.waiting if one.site != site)
        return replace(state, waiting=rest, spent=state.spent | gone)

    def on_barred(self, site: SiteName) -> Gathering:
        """``site`` was convicted of a false deal or a false complaint: no cohort has it again."""
        if site in self.barred or site not in self.pool:
            return self
        gone = frozenset(one.ready for one in self.waiting if one.site == site)
        rest = tuple(one for one in self.waiting if one.site != site)
        state = replace(self, waiting=rest, spent=self.spent | gone, barred=self.barred | {site})
        return state._each(lambda cohort: cohort.on_lost(site))

    def on_over(self, sequence: int) -> Gathering:
        """Cohort ``sequence`` failed, or its round has ended: it need not be kept."""
        cohort = self.cohort(sequence)
        if cohort is None or cohort.under_way:
            return self
        return replace(self, cohorts=tuple(one for one in self.cohorts if one is not cohort))

    def _one(self, sequence: int, event: Callable[[LateCohort], LateCohort]) -> Gathering:
        return self._each(lambda one: event(one) if one.manifest.sequence == sequence else one)

    def _each(self, event: Callable[[LateCohort], LateCohort]) -> Gathering:
        """``event`` in every cohort; who thereby cost one is remembered."""
        cohorts = tuple(event(one) for one in self.cohorts)
        changed = [new for old, new in zip(self.cohorts, cohorts, strict=True) if new is not old]
        if not changed:
            return self
        setbacks = dict(self.setbacks)
        for site in (site for one in changed for site in one.lost):
            setbacks[site] = setbacks.get(site, 0) + 1
        return replace(self, cohorts=cohorts, setbacks=setbacks)
