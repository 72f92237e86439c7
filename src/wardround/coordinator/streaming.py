"""The exchange of one stream: who is ready, the late cohorts that they form, and its models.

A stream has a run of its own, ``RUN.s0`` for a run's first, so none of its cohorts shares a name, a
task or keys with a round. From the masked vectors on, a cohort is a round like any other, one at a
time; what comes before (ready, signatures, deals) follows `federation.late`. Every transition is
one transaction with its journal leaf, so a coordinator that was killed goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from wardround.coordinator import records, streams
from wardround.coordinator.exchange import Exchange, refused
from wardround.coordinator.records import Sent, Versioned
from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.federation.late import CohortPhase, Gathering, LateCohort, Waiting
from wardround.federation.messages import Manifest, ModelVersion
from wardround.federation.round import RoundPhase
from wardround.federation.streaming import staleness, version_scope
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg import Offer, Ready, cohort_manifest, setup_digest
from wardround.secagg.cohort import CohortManifest, binding, check_cohort, late_batch, open_offer
from wardround.secagg.graph import Graph
from wardround.secagg.setup import check_adverts, open_adverts
from wardround.store.blobs import Blobs
from wardround.store.journalled import JournalledDatabase, Transaction
from wardround.study import Study, Task
from wardround.study.plan import headroom
from wardround.trust.canonical import canonical, digest
from wardround.trust.dsse import Envelope, verify
from wardround.trust.keys import SigningKey


class Streaming(Exchange):
    """What the sites are served from during a stream. ``task`` is its question."""

    def __init__(
        self,
        study: Study,
        key: SigningKey,
        state: JournalledDatabase,
        blobs: Blobs,
        spool: Spool,
        run: RunId,
        now: Callable[[], datetime],
        task: Task,
        on_serve: Callable[[Streaming | None], None],
    ) -> None:
        self.question = task
        self.wire = canonical(task.to_wire())
        self.gathering: Versioned[Gathering]
        self.versions: list[ModelVersion]
        self.newest: Envelope
        """The newest of the ``versions``, under this coordinator's signature."""
        self.offers: dict[Digest, Offer] = {}
        self._opened: tuple[int, ...] = ()
        self._on_serve = on_serve
        self._begin(study, key, state, blobs, run)
        super().__init__(study, key, state, blobs, spool, run, now)

    def _begin(
        self,
        study: Study,
        key: SigningKey,
        state: JournalledDatabase,
        blobs: Blobs,
        run: RunId,
    ) -> None:
        """Write down that the stream exists, with its first model; not again after a restart."""
        assert self.question.model is not None
        name = blobs.put(self.question.model.view(np.uint8).data, self.question.model_digest)
        with state.transaction() as transaction:
            connection = transaction.connection
            if streams.load_gathering(connection, run) is not None:
                return
            gathering = Gathering(run, study.site_names, study.late_terms.size)
            streams.insert_gathering(connection, gathering, self.wire)
            transaction.record("stream", run=run, task=self.question.hash)
            first = self._version(study, run, 0, name)
            self._save_version(transaction, first, first.sign(key))

    def _restore(self) -> None:
        super()._restore()
        with self.state.database.begin() as connection:
            found = streams.load_gathering(connection, self.run)
            assert found is not None
            self.gathering = found
            signed = streams.load_versions(connection, self.run)
            self.offers = streams.load_offers(connection, self.run)
            self.versions = [ModelVersion.from_payload(one.payload) for one in signed]
            self.newest = signed[-1]
            self._opened = streams.opened(connection, self.run)
            for scope in self._late_scopes():
                self._said[scope] = records.load_statements(connection, scope)
        if self.versions[0].task != self.question.hash:
            raise _another_task()
        # A version may become old while a slow line fetches it.
        self.models.keep(Digest(one.model) for one in self.versions)
        self.models.offer(Digest(self.versions[-1].model))
        if self.round is not None:
            self.task = self.wire

    def _late_scopes(self) -> list[str]:
        scopes = [one.manifest.round for one in self.gathering.state.cohorts]
        return [*scopes, version_scope(self.run, len(self.versions) - 1)]

    # What the driver asks for.

    @property
    def opened(self) -> tuple[int, ...]:
        """The numbers of the cohorts whose totals are stored, in order."""
        done = self.round is not None and self.round.state.phase is RoundPhase.DONE
        if done and self.round is not None and self.round.state.step not in self._opened[-1:]:
            self._opened = (*self._opened, self.round.state.step)
        return self._opened

    def dated(self, total: Total, newest: int) -> Total:
        """``total`` with how stale each survivor's contribution was beside version ``newest``."""
        with self.state.database.begin() as connection:
            said = records.load_statements(connection, total.round)
        ready = {site: sent.envelope for (kind, site), sent in said.items() if kind == "ready"}
        behind = staleness(ready, total.survivors, self.versions, newest)
        return replace(total, staleness=behind)

    @property
    def in_flight(self) -> bool:
        """Whether a cohort masks, votes or recovers."""
        return self.round is not None and not self.round.state.over

    def serve(self) -> None:
        """From now on, what the sites are asked comes from here."""
        self._on_serve(self)
        self.changed.notify()

    def close(self) -> None:
        """What the sites are asked comes from the run's own exchange again."""
        self._on_serve(None)
        self.changed.notify()

    def publish(self, number: int, model: NDArray[np.float64]) -> None:
        """Make ``model`` the version of that number; raises WR-ROUND-003 if another one is."""
        vector = np.ascontiguousarray(model, dtype="<f8")
        name = digest(vector.data)
        if number < len(self.versions):
            if self.versions[number].model != name:
                raise _another_task()
            return
        if number != len(self.versions):
            raise ValueError("versions of a model are published in order")
        # A site that is given a version must be able to fetch it, also after a power cut.
        self.blobs.put(vector.view(np.uint8).data, name, durable=True)
        version = self._version(self.study, self.run, number, name)
        envelope = version.sign(self._key)
        with self._moving(self.gathering.state.on_version()) as transaction:
            self._save_version(transaction, version, envelope)
        self.versions.append(version)
        self.newest = envelope
        self.models.keep((name,))
        self.models.offer(name)
        self._said.pop(version_scope(self.run, number - 1), None)
        self._said[version_scope(self.run, number)] = {}
        self.changed.notify()

    def _version(self, study: Study, run: RunId, number: int, model: Digest) -> ModelVersion:
        return ModelVersion(
            study=study.digest, run=run, task=self.question.hash, number=number, model=model
        )

    @staticmethod
    def _save_version(transaction: Transaction, version: ModelVersion, envelope: Envelope) -> None:
        run = RunId(version.run)
        streams.save_version(transaction.connection, run, version.number, envelope)
        transaction.record(
            "version",
            run=version.run,
            number=version.number,
            model=version.model,
            statement=version.digest,
        )

    def forming(self) -> LateCohort | None:
        """The cohort that is being formed, of those who wait if there is none; None without.

        A cohort that failed is put away first, and one whose round is over, where a crash came in
        between. One that is READY waits for `begin_round`.
        """
        if self.round is not None and self.round.state.over:
            self.over(self.round.state.step)
        for one in self.gathering.state.cohorts:
            if one.phase is CohortPhase.FAILED:
                self._change(
                    self.gathering.state.on_over(one.manifest.sequence),
                    "cohort-failed",
                    round=one.manifest.round,
                    lost=sorted(one.lost),
                )
                self._said.pop(one.manifest.round, None)
            else:
                return one
        return self._propose()

    def _propose(self) -> LateCohort | None:
        due = self.gathering.state.due()
        if not due:
            return None
        offers = {one.site: self.offers[one.ready] for one in due}
        state = self.gathering.state
        terms, study = self.study.late_terms, self.study.digest
        task = self.question.hash
        manifest = cohort_manifest(study, self.run, state.sequence, task, offers, terms)
        check_cohort(manifest, offers, study, self.run, self.keys, terms)
        sent = {
            (kind, site): Sent(envelope, b"")
            for site, offer in offers.items()
            for kind, envelope in (("ready", offer.ready), ("advert", offer.advert))
        }
        new = state.on_proposed(manifest)
        with self._moving(new) as transaction:
            for (kind, site), one in sent.items():
                records.save_statement(transaction.connection, manifest.round, kind, site, one)
            transaction.record("gathered", round=manifest.round, cohort=manifest.digest)
        self._said[manifest.round] = sent
        self.changed.notify()
        return new.cohorts[-1]

    def begin_round(self) -> None:
        """Sign the manifest of the round over the cohort that everybody signed and dealt to."""
        self.flush()
        (cohort,) = self.gathering.state.cohorts
        late, question, version = cohort.manifest, self.question, self.versions[-1]
        encoding = headroom(self.study, question, len(cohort.roster), len(self.sites)).encoding
        manifest = Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=self.run,
            step=late.sequence,
            attempt=0,
            round=late.round,
            batch=late_batch(self.run),
            index=0,
            task=question.hash,
            kind=question.kind,
            model=version.model,
            length=question.length,
            ring_bits=question.ring_bits,
            fractional_bits=encoding.fractional_bits,
            roster=cohort.roster,
            setup=self._binding(late),
            corrupt=late.corrupt,
            threshold=late.threshold,
            minimum_survivors=late.minimum_survivors,
            journal=self.journal_head(),
            version=version.digest,
        )
        envelope = manifest.sign(self._key)
        with self._transaction() as transaction:
            self._save_checkpoint(transaction)
            transaction.record(
                "manifest", round=late.round, manifest=digest(envelope.payload), task=question.hash
            )
            new = records.insert_round(
                transaction.connection, cohort.round(), envelope, self.wire, self._now()
            )
        if self.round is not None:
            self._said.pop(self.round.state.round, None)
        self.round, self.task = new, self.wire
        self.manifest, self.manifest_envelope = manifest, envelope
        self.prepared.clear()
        self.changed.notify()

    def _binding(self, late: CohortManifest) -> Digest:
        adverts = {site: sent.envelope for site, sent in self.said(late.round, "advert").items()}
        deals = {site: sent.envelope for site, sent in self.said(late.round, "deal").items()}
        return binding(late.digest, setup_digest(adverts, deals))

    def over(self, sequence: int) -> None:
        """The round of that cohort has ended, with a total or without."""
        cohort = self.gathering.state.cohort(sequence)
        if cohort is not None:
            self._change(
                self.gathering.state.on_over(sequence), "cohort-over", round=cohort.manifest.round
            )
            if self.round is None or self.round.state.round != cohort.manifest.round:
                self._said.pop(cohort.manifest.round, None)

    def bar(self, sites: Iterable[SiteName]) -> None:
        """Leave convicted sites out of all further cohorts."""
        for site in sorted(set(sites) - self.gathering.state.barred):
            self._change(self.gathering.state.on_barred(site), "barred", run=self.run, site=site)

    def deadline_passed(self) -> None:
        """Time is up: for signatures and deals of a cohort, or for what its round waits for."""
        for one in self.gathering.state.cohorts:
            if one.under_way:
                sequence, phase = one.manifest.sequence, one.phase.value
                new = self.gathering.state.on_deadline(sequence)
                self._change(new, "deadline", round=one.manifest.round, phase=phase)
                return
        super().deadline_passed()

    def stalled(self) -> WardroundError:
        """Why there is no total: nobody forms a cohort, or every cohort fails.

        Whoever starts the coordinator again has looked why: then everybody is heard again.
        """
        state = self.gathering.state
        waiting = len(state.waiting)
        out = ", ".join(sorted(site for site in state.pool if state.exhausted(site)))
        why = f" {out} left too many, and was not heard any more." if out else ""
        if out:
            self._change(state.on_version(), "stalled", run=self.run)
        return WardroundError(
            "WR-ROUND-040",
            f"No cohort of {state.size} hospitals came together in time; {waiting} are ready.{why}",
            "See in the journal which hospitals were lost; start the coordinator again when enough "
            "of them are connected (the run goes on), or tolerate a dropout in each cohort.",
        )

    # What the sites say.

    def take_ready(self, site: SiteName, offer: Offer) -> None:
        """A site is ready, with keys for one sum.

        Refused when it comes too late, while a cohort that counts on the site is formed
        (WR-COORD-091), and from a site that let too many come to nothing (WR-COORD-090): each
        costs a leaf of the journal, and some of them the others a cohort.
        """
        ready, advert = open_offer(offer, site, self.study.digest, self.run, self.keys)
        name, state = digest(offer.ready.payload), self.gathering.state
        formed = (one.manifest.ready.values() for one in state.cohorts if one.under_way)
        if name in self.offers or any(name in named for named in formed):
            return  # sent again, since the answer was lost on its way
        if state.forms_with(site):
            raise refused("WR-COORD-091", "A cohort is being formed that counts on this site.")
        if state.exhausted(site):
            raise refused("WR-COORD-090", "The site has said ready too often for this version.")
        base = max((one.number for one in self.versions if one.model == ready.model), default=None)
        if ready.task != self.question.hash or base is None:
            raise refused("WR-COORD-025", "The site is ready with another task or model.")
        self._require_usable(site, ready, base)
        # As all members will: two that share a key would have no cohort come together.
        waiting = {one.site: self.offers[one.ready].advert for one in state.waiting}
        others = open_adverts(
            {name: envelope for name, envelope in waiting.items() if name != site}, self.keys
        )
        check_adverts({**others, site: advert})
        new = state.on_ready(Waiting(site, name, ready.task, ready.expires))
        if new is state:
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        with self._moving(new) as transaction:
            streams.save_offer(transaction.connection, self.run, name, offer)
            transaction.record("ready", run=self.run, site=site, statement=name)
        self.offers[name] = offer
        self.changed.notify()

    def _require_usable(self, site: SiteName, ready: Ready, base: int) -> None:
        """Refuse what an honest site would not be ready with.

        It stands in the evidence of all, which does not verify with a contribution in it that is
        too stale, or that went into a cohort before. Each cohort makes one version at most.
        """
        agreed = self.study.cohort.asynchronous
        assert agreed is not None
        left = agreed.maximum_staleness - (len(self.versions) - 1 - base)
        late = left < 0 or ready.expires > self.gathering.state.sequence + left
        with self.state.database.begin() as connection:
            again = ready.model in streams.given(connection, self.run, site)
        if late or again:
            raise refused(
                "WR-COORD-070",
                "The site is ready with what may be too stale by then, or was in a cohort before.",
            )

    def take_signature(self, site: SiteName, envelope: Envelope) -> None:
        """A site signed the manifest of the cohort that is being formed."""
        payload = verify(envelope, CohortManifest.payload_type, self.keys[site])
        signed = CohortManifest.from_payload(payload)
        state, name = self.gathering.state, signed.digest
        self._take(
            site,
            "cohort",
            signed,
            Sent(envelope, b""),
            state.on_signature(signed.sequence, site, name),
        )

    def take_deal(self, site: SiteName, late: CohortManifest, sent: Sent) -> None:
        """A site dealt its sealed shares to the cohort; they were compared with its adverts."""
        self._take(site, "deal", late, sent, self.gathering.state.on_deal(late.sequence, site))

    def _take(
        self, site: SiteName, kind: str, late: CohortManifest, sent: Sent, new: Gathering
    ) -> None:
        known = self._said.get(late.round, {}).get((kind, site))
        if known is not None and known.envelope.payload == sent.envelope.payload:
            return
        if new is self.gathering.state:
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        statement = digest(sent.envelope.payload)
        with self._moving(new) as transaction:
            records.save_statement(transaction.connection, late.round, kind, site, sent)
            transaction.record(kind, scope=late.round, site=site, statement=statement)
        self._said[late.round][kind, site] = sent
        self.changed.notify()

    def take_refusal(self, site: SiteName, scope: str, sent: Sent) -> bool:
        """A site won't train from this version, or go on with this cohort; False for neither."""
        late = self.cohort_of(scope)
        state = self.gathering.state
        if late is not None and late.under_way:
            self._take(
                site, "refusal", late.manifest, sent, state.on_lost(late.manifest.sequence, site)
            )
            return True
        if scope != version_scope(self.run, len(self.versions) - 1):
            return False
        if not self.known_refusal(scope, site):  # said anew, under another incident's number
            self.keep(scope, "refusal", site, sent)
            self.flush()
        return True

    def on_restart(self, site: SiteName) -> None:
        """The agent of a site was started anew: the keys of what it said before are gone."""
        new = self.gathering.state.on_withdrawn(site)
        if new is not self.gathering.state:
            self._change(new, "withdrawn", run=self.run, site=site)

    def cohort_of(self, scope: str) -> LateCohort | None:
        """The cohort under that name, unless it is over."""
        found = (one for one in self.gathering.state.cohorts if one.manifest.round == scope)
        return next(found, None)

    def scope_of(self, site: SiteName) -> str:
        """For what a site's bytes count: the cohort that it is in, or the stream."""
        mine = (one for one in self.gathering.state.cohorts if site in one.roster)
        return next((one.manifest.round for one in mine), self.run)

    def trains(self, site: SiteName) -> bool:
        """Whether a site has nothing to wait for, and should train from the newest version."""
        state = self.gathering.state
        # What is to be made of the last total is the next model: nobody trains from the one before.
        owed = len(self.opened) >= len(self.versions)
        return not (
            owed
            or site in state.barred
            or state.exhausted(site)
            or any(one.site == site for one in state.waiting)
            or any(
                site in one.roster and one.phase is not CohortPhase.FAILED for one in state.cohorts
            )
            or ("refusal", site) in self._said[version_scope(self.run, len(self.versions) - 1)]
        )

    def _change(self, new: Gathering, kind: str, **facts: str | list[SiteName]) -> None:
        with self._moving(new) as transaction:
            transaction.record(kind, **facts)
        self.changed.notify()

    @contextmanager
    def _moving(self, new: Gathering) -> Iterator[Transaction]:
        """A transaction that ends with ``new`` in the gathering's place, here too once it is
        durable."""
        waiting = {one.ready for one in new.waiting}
        with self._transaction() as transaction:
            yield transaction
            streams.keep_offers(transaction.connection, self.run, waiting)
            moved = streams.replace_gathering(transaction.connection, self.gathering, new)
        self.gathering = moved
        self.offers = {name: one for name, one in self.offers.items() if name in waiting}

    # What differs from a round over everyone.

    @property
    def keys_scope(self) -> str:
        """Each cohort's keys are under its own name."""
        assert self.round is not None
        return self.round.state.round

    def graph(self) -> Graph:
        """In a cohort everybody holds everybody's shares."""
        assert self.round is not None
        return Graph(self.round.state.roster, self.round.state.threshold)


def _another_task() -> WardroundError:
    return WardroundError(
        "WR-ROUND-003",
        "A stream asked for another task, or gave out another model, when this run was here "
        "before.",
        "The program or the study was changed in mid-run: go back to the version that "
        "started the run, or start a new run.",
    )
