"""A finished run in one process: real set-ups, signatures, journal and algorithm, no masks.

The packets' contents never reach an evidence file, so here the encodings are summed in the clear.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache

import numpy as np

from plain_federation import PlainFederation, encoded, spread
from studies import KEYS, document
from wardround.algorithms.candidate import Candidate
from wardround.algorithms.plan import run_study
from wardround.federation.federation import Total
from wardround.federation.messages import JournalHead, Manifest, PacketHeader, Witness
from wardround.governance import (
    BatchRecord,
    EvidenceFile,
    JournalRecord,
    ModelRecord,
    RoundRecord,
)
from wardround.governance.artefact import encode_model, sign_model
from wardround.governance.replay import without_waiting
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.secagg import Member, SurvivorVote, setup_digest
from wardround.study import Study
from wardround.study.approval import approve
from wardround.study.plan import headroom
from wardround.trust.canonical import digest, parse_json
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Entry, Journal, MemoryLeafStore, sign_checkpoint

RUN = RunId("run-1")
DAY = date(2026, 11, 21)
STARTED = datetime(2026, 11, 21, 9, 14, tzinfo=UTC)
FINISHED = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)


def columns(records=600, seed=5):
    """Invented measurements with a real relation to the outcome."""
    draw = np.random.default_rng(seed)
    radius = np.clip(draw.normal(14.0, 3.5, records), 2.0, 60.0)
    texture = np.clip(draw.normal(19.0, 4.0, records), 1.0, 90.0)
    score = 0.5 * (radius - 14.0) + 0.2 * (texture - 19.0) - 0.4
    return {
        "radius_mean": radius,
        "texture_mean": texture,
        "malignant": (draw.random(records) < 1 / (1 + np.exp(-score))).astype(np.float64),
        "_test": (draw.random(records) < 0.3).astype(np.float64),
    }


@dataclass
class RecordedRun(PlainFederation):
    """A coordinator's federation that keeps what an evidence file needs.

    ``fails`` are steps whose first attempt gets no total, ``absent_at`` maps steps to a site that
    drops out, ``per_setup`` is the number of rounds of one set-up, ``witnessing`` how many sites
    countersign the end, ``elsewhere`` how many answers each says it gave to other runs.
    """

    study: Study = field(default_factory=lambda: Study.parse(document()))
    fails: frozenset[int] = frozenset()
    absent_at: dict[int, str] = field(default_factory=dict)
    per_setup: int = 5
    witnessing: int | None = None
    elsewhere: int = 0

    def __post_init__(self) -> None:
        dealt = spread(columns(), (240, 160, 120, 80))
        sites = {name: dealt[name] for name in self.study.site_names}
        PlainFederation.__init__(self, self.study, sites)
        self.key = KEYS["coordinator"]
        self.names = tuple(SiteName(name) for name in sorted(sites))
        self.store = MemoryLeafStore()
        self.journal = Journal(self.store, "wardround/test")
        self.checkpoints: list[Envelope] = []
        self.rounds: list[RoundRecord] = []
        self.batches: dict[BatchId, BatchRecord] = {}
        self.used = self.per_setup
        self.step = 0
        self.approvals = {site: approve(self.study, site, KEYS[site], DAY) for site in self.names}
        for site, envelope in self.approvals.items():
            self.record("approved", site=site, approval=digest(envelope.payload))
        self.record("run", run=RUN, study=self.study.digest, started=STARTED.isoformat())

    def record(self, kind, **facts):
        self.journal.record(Entry(kind, facts))

    def keep(self, kind, scope, site, envelope):
        self.record(kind, scope=scope, site=site, statement=digest(envelope.payload))

    def checkpoint(self) -> JournalHead:
        checkpoint = self.journal.checkpoint()
        if not self.checkpoints or self.head(self.checkpoints[-1]) != checkpoint.size:
            self.checkpoints.append(sign_checkpoint(checkpoint, self.key))
        return JournalHead(size=checkpoint.size, root=checkpoint.root.hex())

    @staticmethod
    def head(envelope):
        return parse_json(envelope.payload)["size"]

    def set_up(self):
        self.batch = BatchId(f"{RUN}.b.{len(self.batches):06d}")
        keys, self.used = self.study.site_keys, 0
        members = {
            site: Member(
                self.study.digest,
                RUN,
                self.batch,
                self.names,
                site,
                KEYS[site],
                keys,
                self.study.adversary,
                self.per_setup,
            )
            for site in self.names
        }
        adverts = {site: member.advert() for site, member in members.items()}
        deals = {site: member.deal(adverts)[0] for site, member in members.items()}
        self.batches[self.batch] = BatchRecord(adverts=adverts, deals=deals)
        for kind, envelopes in (("advert", adverts), ("deal", deals)):
            for site, envelope in envelopes.items():
                self.keep(kind, self.batch, site, envelope)
        self.setup = setup_digest(adverts, deals)

    async def sum(self, task) -> Total:
        step, attempt = self.step, 0
        self.step += 1
        if step in self.fails:
            self.attempt(task, step, attempt, self.names[:1])
            attempt = 1
        absent = self.absent_at.get(step)
        survivors = tuple(site for site in self.names if site != absent)
        return self.attempt(task, step, attempt, survivors)

    def manifest(self, task, step, attempt) -> Manifest:
        adversary = self.study.adversary(len(self.names))
        encoding = headroom(self.study, task, len(self.names)).encoding
        return Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=RUN,
            step=step,
            attempt=attempt,
            round=f"{RUN}.r.{step:06d}.{attempt}",
            batch=self.batch,
            index=self.used,
            task=task.hash,
            kind=task.kind,
            model=task.model_digest,
            length=task.elements,
            ring_bits=task.ring_bits,
            fractional_bits=encoding.fractional_bits,
            roster=self.names,
            setup=self.setup,
            corrupt=adversary.corrupt,
            threshold=adversary.threshold,
            minimum_survivors=self.study.minimum_survivors(len(self.names)),
            journal=self.checkpoint(),
        )

    def attempt(self, task, step, attempt, survivors) -> Total:
        if self.used == self.per_setup:
            self.set_up()
        manifest = self.manifest(task, step, attempt)
        self.used += 1
        signed = manifest.sign(self.key)
        scope = manifest.round
        self.record("manifest", round=scope, manifest=digest(signed.payload), task=task.hash)
        encoding = headroom(self.study, task, len(self.names)).encoding
        total = np.zeros(task.elements, encoding.dtype)
        packets, votes = {}, {}
        for site in survivors:
            total += encoded(encoding, self.carry(site, task, self.computed(site, task)))
            packets[site] = PacketHeader(
                study=manifest.study,
                run=RUN,
                step=step,
                round=scope,
                task=task.hash,
                manifest=digest(signed.payload),
                site=site,
                payload=digest(site.encode()),
                size_bytes=manifest.payload_bytes,
                part_bytes=1 << 22,
            ).sign(KEYS[site])
            self.keep("packet", scope, site, packets[site])
        opened = self.opens(manifest, survivors)
        if opened:
            for site in survivors:
                votes[site] = SurvivorVote(
                    manifest.study,
                    RUN,
                    self.batch,
                    RoundId(scope),
                    manifest.index,
                    digest(signed.payload),
                    survivors,
                    site,
                ).sign(KEYS[site])
                self.keep("vote", scope, site, votes[site])
            data = total.tobytes()
            self.record("total", round=scope, total=digest(data), opened=task.numbers)
        self.rounds.append(
            RoundRecord(
                manifest=signed,
                task=task.to_wire(),
                model=None if task.model is None else task.model.tobytes(),
                packets=packets,
                votes=votes,
                total=total.tobytes() if opened else None,
            )
        )
        return Total(encoding.decode(total), survivors, RoundId(scope))

    def opens(self, manifest, survivors) -> bool:
        return len(survivors) >= manifest.minimum_survivors

    def finish(self, candidate: Candidate) -> EvidenceFile:
        model = encode_model(candidate, self.study, RUN)
        signature = sign_model(model, self.key)
        self.record("ended", run=RUN, how="finish", finished=FINISHED.isoformat())
        head = self.checkpoint()
        witnesses = {}
        for site in self.names[: self.witnessing]:
            witnesses[site] = Witness(
                study=self.study.digest,
                run=RUN,
                site=site,
                journal=head,
                model=digest(signature.payload),
                answered=self.answered(site),
                elsewhere=self.elsewhere,
            ).sign(KEYS[site])
            self.keep("witness", RUN, site, witnesses[site])
        self.checkpoint()
        return EvidenceFile(
            study=parse_json(self.study.canonical()),
            run=RUN,
            approvals=self.approvals,
            batches=self.batches,
            rounds=tuple(self.rounds),
            journal=JournalRecord(
                leaves=tuple(self.store.leaves(0, self.store.size())),
                checkpoints=tuple(self.checkpoints),
            ),
            witnesses=witnesses,
            model=ModelRecord(
                description=model.description, weights=model.weights, signature=signature
            ),
        )

    def answered(self, site) -> dict[str, str]:
        """What a site has signed, by its own record."""
        packets = {Manifest.from_payload(one.manifest.payload).round: one for one in self.rounds}
        return {
            name: digest(one.packets[site].payload)
            for name, one in packets.items()
            if site in one.packets
        }

    def run(self) -> EvidenceFile:
        self.candidate = without_waiting(run_study(self))
        return self.finish(self.candidate)


@cache
def finished() -> tuple[RecordedRun, EvidenceFile]:
    """A run in which one attempt failed and one site dropped out of another step."""
    run = RecordedRun(fails=frozenset({2}), absent_at={4: "harbour"})
    return run, run.run()
