"""Forming late cohorts as a pure state machine: who is ready, who was asked to sign, who dealt.

Ready statements come in at any time and wait. As soon as enough of them wait for one task, the
coordinator proposes a manifest over exactly those (`due`, then `on_proposed`); its sites sign it,
and when all have signed they deal, and when all have dealt the cohort is an ordinary `Round`.

A ready statement is named by one manifest in its life. When a site is lost before everybody
dealt, the cohort is dead and with it every statement that it named: the sites say ready again,
with new keys. Several cohorts may be under way; they never share a statement. Every event is
idempotent, and a late or foreign one changes nothing.

The attacker is also a site that says ready over and over, or leaves each cohort that it is in. What
is remembered is bounded: a statement until it expires, and of each site at most `MOST_WASTED` that
came to nothing through the site itself before the model moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wardround.federation.round import Round
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.cohort import MAXIMUM_SEQUENCE, CohortManifest, late_batch

MOST_WASTED = 16
"""So many ready statements may come to nothing through their own site before the next version.

More restarts than that an agent hardly sees between two versions of a model; whoever has used them
up waits for the next one, so it costs the others so many cohorts and the journal so many leaves.
"""


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

    ``sequence`` is the number of the next manifest; ``retired`` are the statements that no further
    manifest may name, by the last number at which one could have: past it they are refused for
    their age, and forgotten. ``setbacks`` counts the cohorts that a site cost, so that among those
    who wait the reliable go first; ``wasted`` the ready statements that it let come to nothing
    since the newest version; ``barred`` are sites convicted of dealing false shares.
    """

    run: RunId
    pool: tuple[SiteName, ...]
    size: int
    sequence: int = 0
    waiting: tuple[Waiting, ...] = ()
    retired: Mapping[Digest, int] = field(default_factory=dict)
    cohorts: tuple[LateCohort, ...] = ()
    setbacks: Mapping[SiteName, int] = field(default_factory=dict)
    wasted: Mapping[SiteName, int] = field(default_factory=dict)
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

    def forms_with(self, site: SiteName) -> bool:
        """Whether a cohort that is still to be signed or dealt counts on ``site``."""
        return any(one.under_way and site in one.manifest.ready for one in self.cohorts)

    def exhausted(self, site: SiteName) -> bool:
        """Whether ``site`` is not heard before the next version: it wasted all it may."""
        return self.wasted.get(site, 0) >= MOST_WASTED

    def on_ready(self, new: Waiting) -> Gathering:
        """A site is ready. A second statement takes the place of its first, whose keys are gone.

        Not so while a cohort is formed over the first: a site that has lost those keys was
        restarted (`on_withdrawn`) or refuses (`on_lost`), and any other breaks no cohort.
        """
        known = self.retired.keys() | {one.ready for one in self.waiting}
        if new.ready in known or new.site not in self.pool or new.site in self.barred:
            return self
        if not self.sequence <= new.expires <= MAXIMUM_SEQUENCE:
            return self
        if self.forms_with(new.site) or self.exhausted(new.site):
            return self
        state = self._without(new.site)
        return replace(state, waiting=(*state.waiting, new))

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
        spent = {**self.retired, **{one.ready: one.expires for one in due}}
        return replace(
            self,
            sequence=sequence,
            waiting=tuple(
                one for one in self.waiting if one not in due and one.expires >= sequence
            ),
            retired={ready: until for ready, until in spent.items() if until >= sequence},
            cohorts=(*self.cohorts, LateCohort(manifest)),
        )

    def on_version(self) -> Gathering:
        """The model has moved on: everybody may be ready with something new."""
        return replace(self, wasted={}) if self.wasted else self

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
        return self._each(lambda cohort: cohort.on_lost(site))._without(site)

    def on_barred(self, site: SiteName) -> Gathering:
        """``site`` was convicted of a false deal or a false complaint: no cohort has it again."""
        if site in self.barred or site not in self.pool:
            return self
        state = replace(self._without(site), barred=self.barred | {site})
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
        lost = [site for one in changed for site in one.lost]
        return replace(
            self,
            cohorts=cohorts,
            setbacks=_counted(self.setbacks, lost),
            wasted=_counted(self.wasted, lost),
        )

    def _without(self, site: SiteName) -> Gathering:
        """Without the statement with which ``site`` waits, if it does: it came to nothing."""
        gone = [one for one in self.waiting if one.site == site]
        if not gone:
            return self
        return replace(
            self,
            waiting=tuple(one for one in self.waiting if one.site != site),
            retired={**self.retired, **{one.ready: one.expires for one in gone}},
            wasted=_counted(self.wasted, [site]),
        )


def _counted(counts: Mapping[SiteName, int], more: Iterable[SiteName]) -> dict[SiteName, int]:
    new = dict(counts)
    for site in more:
        new[site] = new.get(site, 0) + 1
    return new
