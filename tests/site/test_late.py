"""One hospital in late cohorts, with a coordinator that may lie about any of them."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from bedside import ME, PEERS, RUN, Bedside, code
from ward import SITES
from wardround.federation.messages import Ask, Instruction, Manifest, ModelVersion, stream_run
from wardround.federation.packet import Packet, Refusal
from wardround.federation.streaming import at_version, version_scope
from wardround.learning.buffered import scaled
from wardround.learning.specify import specify
from wardround.secagg import (
    Advert,
    LateMember,
    Offer,
    RecoveryShares,
    Unmasking,
    cohort_manifest,
)
from wardround.secagg.cohort import binding, late_batch
from wardround.secagg.setup import setup_digest
from wardround.site.late import Held, Late
from wardround.site.order import Order
from wardround.study import Task
from wardround.study.plan import headroom
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

STREAM = stream_run(RUN, 0)
BATCH = late_batch(STREAM)
STUDY = {
    "model": {"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 9}},
    "cohort": {"asynchronous": {"sites": 4, "maximum_staleness": 3}},
    "adversary": {"corrupt_sites": 1},
}


class LateBedside(Bedside):
    """A stream asked of one hospital; the peers in its cohorts are moved by hand."""

    def __init__(self, folder: Path, **changes: object) -> None:
        super().__init__(folder, **{**STUDY, **changes})
        self.question = self.at(np.zeros(3), 0)

    def at(self, model: np.ndarray, number: int) -> Task:
        told = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "decay": 0.01, "round": number}
        return specify(self.study, "buffered_fedavg", told, model)

    def version(self, number: int = 0) -> ModelVersion:
        model = self.at(np.full(3, 0.1 * number), number).model_digest
        return ModelVersion(
            study=self.study.digest,
            run=STREAM,
            task=self.question.hash,
            number=number,
            model=model,
        )

    async def train(self, number: int = 0) -> Held | Refusal:
        task = self.at(np.full(3, 0.1 * number), number)
        return await self.door.train(task, self.version(number), version_scope(STREAM, number))

    async def hold(self, number: int = 0) -> Held:
        held = await self.train(number)
        assert isinstance(held, Held), self.codes()
        self.seat.late.held = held
        return held

    def form(self, sequence: int = 0, newest: int = 0) -> LateBedside:
        """A cohort of all four that everybody signed and dealt to, honestly."""
        ready = self.seat.late.say_ready(self.version(newest), sequence)
        peers = {
            site: LateMember(
                self.study.digest,
                STREAM,
                site,
                self.keys.sites[site],
                self.study.site_keys,
                self.study.late_terms,
                self.question.hash,
                self.version(newest).model,
                sequence,
                lambda _bond: None,
            )
            for site in PEERS
        }
        self.offers = {ME: Offer(ready.envelope, Envelope.from_json(ready.attachment))}
        self.offers |= {site: one.offer() for site, one in peers.items()}
        self.late = cohort_manifest(
            self.study.digest,
            STREAM,
            sequence,
            self.question.hash,
            self.offers,
            self.study.late_terms,
        )
        signatures = {ME: self.seat.late.sign(self.sign_ask()).envelope}
        signatures |= {site: one.sign(self.late, self.offers) for site, one in peers.items()}
        mine = self.seat.late.share(self.late_ask(Ask.SHARE, envelopes=signatures))
        dealt = {site: one.deal(signatures) for site, one in peers.items()}
        self.deals = {ME: mine.envelope} | {site: one for site, (one, _) in dealt.items()}
        self.to_me = {site: sealed[ME] for site, (_, sealed) in dealt.items()}
        to_them = {s: base64.b64decode(b) for s, b in orjson.loads(mine.attachment).items()}
        for site, one in peers.items():
            sealed = {other: dealt[other][1][site] for other in peers if other != site}
            one.accept(self.deals, {**sealed, ME: to_them[site]})
        self.peers = peers
        return self

    def late_ask(self, what: Ask, **more: object) -> Instruction:
        about = {"run": STREAM, "batch": BATCH, "round": self.late.round}
        return Instruction(ask=what, **{**about, **more})

    def sign_ask(self, **changes: object) -> Instruction:
        material = {
            "cohort": self.late.to_payload(),
            "envelopes": {site: one.ready for site, one in self.offers.items()},
            "keys": {site: one.advert for site, one in self.offers.items()},
        }
        return self.late_ask(Ask.SIGN, **{**material, **changes})

    def late_manifest(self, newest: int = 0, **changes: object) -> Manifest:
        late, task = self.late, self.question
        adverts = {site: one.advert for site, one in self.offers.items()}
        honest = Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=STREAM,
            step=late.sequence,
            attempt=0,
            round=late.round,
            batch=BATCH,
            index=0,
            task=task.hash,
            kind=task.kind,
            model=self.version(newest).model,
            length=task.length,
            ring_bits=task.ring_bits,
            fractional_bits=headroom(self.study, task, 4).encoding.fractional_bits,
            roster=late.cohort,
            setup=binding(late.digest, setup_digest(adverts, self.deals)),
            corrupt=late.corrupt,
            threshold=late.threshold,
            minimum_survivors=late.minimum_survivors,
            journal=self.head,
            version=self.version(newest).digest,
        )
        return honest.model_copy(update=changes)

    async def give(self, newest: int = 0, **changes: object) -> Packet | str:
        """The packet for a manifest with these lies, or the code of the refusal."""
        manifest = self.late_manifest(newest, **changes)
        ask = self.late_ask(Ask.CONTRIBUTE, envelopes=self.deals, blobs=self.to_me)
        refused = code(lambda: self.seat.late.take_shares(ask, manifest))
        if refused is not None:
            return refused
        held = self.seat.late.require_held()
        late = Late(held, self.version(newest))
        order = Order(manifest, manifest.digest, held.task, self.proof(), late)
        answer = await self.door.answer(order)
        return answer if isinstance(answer, Packet) else self.codes()[-1]


@pytest.fixture
def late(tmp_path: Path) -> LateBedside:
    return LateBedside(tmp_path)


async def test_what_is_held_leaves_masked_and_once(late: LateBedside) -> None:
    await late.hold()
    assert late.spent() == 0 and late.spooled() == {}, "training charges and spools nothing"
    packet = await late.form().give()
    assert isinstance(packet, Packet) and late.seat.late.held is None
    assert packet.header.manifest == late.late_manifest().digest
    assert late.spent() == late.question.length
    refusal = await late.train()
    assert isinstance(refusal, Refusal) and late.codes() == ["WR-SITE-029"]
    assert isinstance(await late.train(1), Held), "the next version is another contribution"


async def test_the_total_of_a_cohort_has_each_contribution_scaled(late: LateBedside) -> None:
    """The peers mask nothing but their masks, so what is opened is this hospital's alone."""
    held = await late.hold()
    late.form(sequence=3, newest=2)
    packet = await late.give(newest=2)
    assert isinstance(packet, Packet)
    manifest = late.late_manifest(2)
    encoding = headroom(late.study, late.question, 4).encoding
    total = np.frombuffer(packet.payload.read_bytes(), encoding.dtype).copy()
    for one in late.peers.values():
        ring = np.zeros_like(total)
        one.mask(ring, manifest.digest, manifest.setup)
        total += ring
    survivors = SITES
    ask = late.late_ask(Ask.VOTE, survivors=survivors)
    votes = {ME: late.seat.late.vote(ask).envelope}
    votes |= {
        site: one.vote(survivors).sign(late.keys.sites[site]) for site, one in late.peers.items()
    }
    ask = late.late_ask(Ask.RECOVER, survivors=survivors, envelopes=votes)
    keys = late.study.site_keys
    shares = {ME: RecoveryShares.open(late.seat.late.recover(ask).envelope, keys[ME])}
    shares |= {site: one.recover(survivors, votes) for site, one in late.peers.items()}
    adverts = {site: Advert.open(one.advert, keys[site]) for site, one in late.offers.items()}
    unmasking = Unmasking.prepare(
        adverts,
        encoding.ring_bits,
        survivors,
        shares,
        0,
        manifest.digest,
        late.study.late_terms.adversary,
    )
    unmasking.unmask(total)
    found = encoding.decode(total[: late.question.length])
    np.testing.assert_allclose(found, scaled(held.values, 2), atol=2 * encoding.resolution)


@pytest.mark.parametrize(
    ("lie", "refused"),
    [
        ({"study": digest(b"another")}, "WR-SITE-011"),
        ({"study_id": "another"}, "WR-SITE-011"),
        ({"run": RUN}, "WR-SITE-031"),
        ({"step": 1}, "WR-SITE-031"),
        ({"attempt": 1}, "WR-SITE-031"),
        ({"index": 1}, "WR-SITE-031"),
        ({"round": f"{STREAM}.c.000001"}, "WR-SITE-031"),
        ({"batch": f"{STREAM}.b.000000"}, "WR-SITE-031"),
        ({"task": digest(b"another")}, "WR-SITE-031"),
        ({"kind": "fedavg"}, "WR-SITE-011"),
        ({"model": digest(b"another")}, "WR-SITE-011"),
        ({"version": digest(b"another")}, "WR-SITE-011"),
        ({"version": None}, "WR-SITE-011"),
        ({"length": 4}, "WR-SITE-011"),
        ({"ring_bits": 32}, "WR-SITE-011"),
        ({"fractional_bits": 1}, "WR-SITE-011"),
        ({"roster": SITES[:3]}, "WR-SITE-031"),
        ({"setup": digest(b"another")}, "WR-SITE-031"),
        ({"corrupt": 0}, "WR-SITE-011"),
        ({"threshold": 2}, "WR-SITE-011"),
        ({"minimum_survivors": 2}, "WR-SITE-031"),
    ],
)
async def test_a_manifest_that_says_anything_else_is_refused(
    lie: dict[str, object], refused: str, late: LateBedside
) -> None:
    await late.hold()
    assert await late.form().give(**lie) == refused
    assert late.spent() == 0 and late.spooled() == {}
    assert late.seat.late.held is not None, "and nothing is lost"
    assert isinstance(await late.give(), Packet), "the honest one is answered after it"


@pytest.mark.parametrize("newest", [4, 5])
async def test_what_is_too_stale_is_thrown_away(newest: int, late: LateBedside) -> None:
    await late.hold()
    assert not await late.door.still_good(late.version(newest))
    late.form()
    assert await late.give(newest) == "WR-SITE-134"
    assert late.seat.late.held is None and late.spooled() == {}


async def test_a_contribution_from_the_future_is_refused(late: LateBedside) -> None:
    """Scaling by a negative staleness would make it larger than it may be."""
    await late.hold(2)
    late.form(newest=2)
    assert await late.give(newest=1) == "WR-SITE-134"


async def test_who_withdrew_since_the_training_is_in_no_cohort(late: LateBedside) -> None:
    await late.hold()
    late.form()
    late.exclude(*late.papers.table.patient_ids[:7])
    assert await late.give() == "WR-SITE-134"
    assert not await late.door.still_good(late.version())
    await late.hold()
    assert isinstance(await late.form(1).give(), Packet)


async def test_a_second_manifest_gets_no_signature(late: LateBedside) -> None:
    await late.hold()
    late.form()
    second = replace(late.late, sequence=1)
    ask = late.sign_ask(cohort=second.to_payload(), round=second.round)
    assert code(lambda: late.seat.late.sign(ask)) == "WR-SECAGG-052"
    assert len(late.leaves("cohort")) == 1
    missing = late.sign_ask(keys={})
    assert code(lambda: late.seat.late.sign(missing)) == "WR-ROUND-001"


async def test_after_a_restart_nothing_is_held_and_the_same_packet_is_sent(
    late: LateBedside,
) -> None:
    await late.hold()
    packet = await late.form().give()
    assert isinstance(packet, Packet)
    late.restart()
    assert code(lambda: late.seat.late.say_ready(late.version(), 0)) == "WR-SITE-133"
    vote = late.late_ask(Ask.VOTE, survivors=SITES)
    assert code(lambda: late.seat.late.vote(vote)) == "WR-SITE-034"
    again = late.door.already_sent(packet.round)
    assert again is not None and again.envelope == packet.envelope
    assert isinstance(await late.train(), Refusal), "what left before the restart leaves no more"


async def test_one_survivor_set_and_no_fewer_than_the_cohort_agreed(late: LateBedside) -> None:
    await late.hold()
    assert isinstance(await late.form().give(), Packet)
    few = late.late_ask(Ask.VOTE, survivors=SITES[:2])
    assert code(lambda: late.seat.late.vote(few)) == "WR-SECAGG-013"
    late.seat.late.vote(late.late_ask(Ask.VOTE, survivors=SITES))
    other = late.late_ask(Ask.VOTE, survivors=SITES[:3])
    assert code(lambda: late.seat.late.vote(other)) == "WR-SECAGG-014"
    assert [one.facts["survivors"] for one in late.leaves("vote")] == [list(SITES)]


async def test_a_stream_has_one_question(late: LateBedside) -> None:
    """The attack: a question's own round and model are replaced by those of a version, so another
    question can ask for the very same contribution once more, in a cohort that differs by one."""
    held = await late.hold()
    assert isinstance(await late.form().give(), Packet)
    question = late.at(np.full(3, 0.5), 7)
    again = late.version().model_copy(update={"task": question.hash})
    same = at_version(question.to_wire(), again, np.zeros(3).tobytes())
    assert same.hash == held.task.hash, "what would be trained is what left before"
    refusal = await late.door.train(same, again, version_scope(STREAM, 0))
    assert isinstance(refusal, Refusal) and late.codes()[-1] == "WR-SITE-200"
    late.restart()
    refusal = await late.door.train(same, again, version_scope(STREAM, 0))
    assert isinstance(refusal, Refusal) and late.codes()[-1] == "WR-SITE-200"


async def test_a_kind_is_for_rounds_or_for_cohorts(late: LateBedside) -> None:
    late.set_up()
    order = late.order(late.question)
    late.give_shares(order)
    assert await late.refused(order) == "WR-SITE-131"
    counts = late.task()
    refusal = await late.door.train(counts, late.version(), version_scope(STREAM, 0))
    assert isinstance(refusal, Refusal) and late.codes()[-1] == "WR-SITE-131"
