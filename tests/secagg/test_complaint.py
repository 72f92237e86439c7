"""A dealer that deals no shares is convicted, and so is who complains without a cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cohorts import BATCH, KEYS, MANIFEST, Cohort, plain_sum, random_values
from late_cohorts import Ward
from wardround.errors import WardroundError
from wardround.federation.late import CohortPhase, Gathering, Waiting
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg import Advert, CohortTerms, Deal, derive, equality
from wardround.secagg.complaint import Complaint, Verdict, Wrong, _context, judge
from wardround.secagg.sealing import Route
from wardround.secagg.setup import adverts_digest
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey


def code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except WardroundError as error:
        return error.code
    return None


class Court:
    """A set-up in which the second site deals ``blob`` to the first one, and signs for it."""

    def __init__(self, blob: Callable[[Court], bytes] = lambda _court: b"no shares at all") -> None:
        self.cohort = Cohort(5, 1).advertise().deal()
        self.me, self.dealer, *self.others = self.cohort.names
        self.keys = self.cohort.keys
        self.redeal(blob(self))

    def redeal(self, blob: bytes) -> None:
        self.cohort.sealed[self.dealer][self.me] = blob
        deal = Deal.open(self.cohort.deals[self.dealer], self.keys[self.dealer])
        changed = replace(deal, sealed={**deal.sealed, self.me: digest(blob)})
        self.cohort.deals[self.dealer] = changed.sign(KEYS[self.dealer])
        self.cohort.members[self.dealer]._own_deal = self.cohort.deals[self.dealer]

    @property
    def blob(self) -> bytes:
        return self.cohort.sealed[self.dealer][self.me]

    def advert(self, name: SiteName) -> Advert:
        return Advert.open(self.cohort.adverts[name], self.keys[name])

    def seal(self, *shares: bytes, tweak: bytes = b"") -> bytes:
        """What the dealer would seal with its true key."""
        batch = self.advert(self.dealer)
        route = Route(
            derive.Batch(batch.study, batch.run, batch.batch),
            adverts_digest(self.cohort.adverts),
            self.dealer,
            self.me,
        )
        key = derive.private_key(bytes(self.cohort.members[self.dealer]._sealing_key))
        return route.seal(key, self.advert(self.me).sealing_key, shares) + tweak

    def complaint(self) -> Complaint:
        sealed = self.cohort.sealed_to(self.me)
        return self.cohort.members[self.me].complain(self.dealer, self.cohort.deals, sealed)

    def judged(self, complaint: Complaint, /, **instead: object) -> Verdict:
        material = {
            "complaint": complaint.sign(KEYS[complaint.site]),
            "complainant": complaint.site,
            "adverts": self.cohort.adverts,
            "deal": self.cohort.deals[self.dealer],
            "blob": self.blob,
            "keys": self.keys,
        }
        return judge(**{**material, **instead})


FALSE_BLOBS: dict[str, Callable[[Court], bytes]] = {
    "junk": lambda _court: b"no shares at all",
    "nothing": lambda _court: b"",
    "another one's": lambda court: court.cohort.sealed[court.dealer][court.others[0]],
    "altered": lambda court: court.seal(bytes(33), bytes(33), tweak=b"x"),
    "one share": lambda court: court.seal(bytes(33)),
    "three shares": lambda court: court.seal(bytes(33), bytes(33), bytes(33)),
    "no field elements": lambda court: court.seal(b"\xff" * 33, b"\xff" * 33),
}


@pytest.mark.parametrize("blob", FALSE_BLOBS.values(), ids=FALSE_BLOBS)
def test_a_true_complaint_convicts_the_dealer(blob: Callable[[Court], bytes]) -> None:
    court = Court(blob)
    member, sealed = court.cohort.members[court.me], court.cohort.sealed_to(court.me)
    assert code(lambda: member.accept(court.cohort.deals, sealed)) == "WR-SECAGG-009"
    complaint = court.complaint()
    envelope = Envelope.from_json(complaint.sign(KEYS[court.me]).to_json())
    assert Complaint.open(envelope, court.keys[court.me]) == complaint
    verdict = court.judged(complaint, complaint=envelope)
    assert verdict == Verdict(court.dealer, Wrong.DEALT_NO_SHARES)


def test_a_complaint_about_a_blob_that_opens_convicts_who_complains() -> None:
    court = Court(lambda court: court.blob)
    assert code(court.complaint) == "WR-SECAGG-054", "an honest member does not make one"
    liar = Court()
    about = liar.complaint()  # of an earlier deal; the liar points it at the good one
    key = bytes(court.cohort.members[court.me]._sealing_key)
    deal = digest(court.cohort.deals[court.dealer].payload)
    false = replace(about, adverts=adverts_digest(court.cohort.adverts), deal=deal)
    assert court.judged(false) == Verdict(court.me, Wrong.FALSE_PROOF)
    proof = equality.prove(key, court.advert(court.dealer).sealing_key, _context(false))
    honest_key = replace(false, proof=proof)
    assert court.judged(honest_key) == Verdict(court.me, Wrong.FALSE_COMPLAINT)


def test_a_proof_of_another_secret_convicts_who_complains() -> None:
    court = Court()
    complaint = court.complaint()
    for proof in (b"", complaint.proof[:-1], bytes(128), complaint.proof[::-1]):
        false = replace(complaint, proof=proof)
        assert court.judged(false) == Verdict(court.me, Wrong.FALSE_PROOF)


def test_a_key_that_no_honest_site_has_convicts_its_owner() -> None:
    """On the curve's twist both ends compute different secrets, and no proof exists."""
    twist = next(
        one
        for number in range(2, 99)
        if not equality.is_on_curve(one := number.to_bytes(32, "little"))
    )
    for owner in (1, 0):
        court = Court()
        cohort = Cohort(5, 1).advertise()
        name = cohort.names[owner]
        advert = Advert.open(cohort.adverts[name], cohort.keys[name])
        cohort.adverts[name] = replace(advert, sealing_key=twist).sign(KEYS[name])
        cohort.members[name]._own_advert = cohort.adverts[name]
        court.cohort = cohort.deal()
        court.redeal(b"whatever")
        if owner == 1:
            complaint = court.complaint()
        else:
            adverts, deal = adverts_digest(cohort.adverts), cohort.deals[court.dealer]
            complaint = replace(Court().complaint(), adverts=adverts, deal=digest(deal.payload))
        assert court.judged(complaint) == Verdict(name, Wrong.KEY_OFF_THE_CURVE)


def test_the_coordinator_gets_no_verdict_out_of_other_material() -> None:
    """It holds all statements and may pair any complaint with any of them."""
    court, other = Court(), Court(lambda court: court.blob)
    complaint = court.complaint()
    first_blob, first_deal = court.blob, court.cohort.deals[court.dealer]
    court.redeal(b"another blob, which the dealer signed for too")
    true = {"deal": first_deal, "blob": first_blob}
    instead: list[dict[str, object]] = [
        {"blob": b"something else"},
        {"blob": court.blob},
        {"deal": court.cohort.deals[court.dealer]},
        {"deal": court.cohort.deals[court.dealer], "blob": court.blob},
        {"deal": other.cohort.deals[other.dealer], "blob": other.blob},
        {"adverts": other.cohort.adverts},
        {"deal": court.cohort.deals[court.others[0]]},
        {"adverts": {n: e for n, e in court.cohort.adverts.items() if n != court.me}},
        {"adverts": {n: e for n, e in court.cohort.adverts.items() if n != court.others[0]}},
        {"complainant": court.others[0]},
        {"complaint": court.cohort.adverts[court.me]},
        {"complaint": complaint.sign(SigningKey.generate())},
        {"complaint": complaint.sign(KEYS[court.dealer])},
    ]
    for change in instead:
        refused = code(lambda c=change: court.judged(complaint, **{**true, **c}))
        assert refused in ("WR-SECAGG-054", "WR-TRUST-021", "WR-TRUST-022"), change
    for claim in (
        {"batch": BatchId("batch-0")},
        {"run": RunId("run-0")},
        {"study": digest(b"another")},
        {"accused": court.others[0]},
        {"adverts": digest(b"none")},
        {"deal": digest(b"none")},
    ):
        refused = code(lambda c=claim: court.judged(replace(complaint, **c), **true))
        assert refused in ("WR-SECAGG-054", "WR-TRUST-022"), "about nothing, so nothing comes of it"
    verdict = court.judged(complaint, **true)
    assert verdict.culprit == court.dealer


def test_what_a_dealer_did_not_sign_for_is_not_held_against_it() -> None:
    court = Court(lambda court: court.blob)
    sealed = {**court.cohort.sealed_to(court.me), court.dealer: b"the coordinator's own"}
    member = court.cohort.members[court.me]
    assert code(lambda: member.accept(court.cohort.deals, sealed)) == "WR-SECAGG-009"
    for accused in (court.dealer, court.me, SiteName("site-09")):
        refused = code(lambda a=accused: member.complain(a, court.cohort.deals, sealed))
        assert refused == "WR-SECAGG-054"
    fewer = {name: blob for name, blob in sealed.items() if name != court.dealer}
    refused = code(lambda: member.complain(court.dealer, court.cohort.deals, fewer))
    assert refused == "WR-SECAGG-054"


def test_a_complaint_shows_the_two_blobs_of_one_pair_and_no_other() -> None:
    """Others may have masked by now; what is shown the corrupt one of the two knew before."""
    court = Court()
    complaint = court.complaint()
    mine, their = court.advert(court.me), court.advert(court.dealer)
    shared = equality.reveal(
        mine.sealing_key, their.sealing_key, _context(complaint), complaint.proof
    )
    assert shared is not None
    batch = derive.Batch(mine.study, mine.run, mine.batch)
    opened = set()
    for sender, blobs in court.cohort.sealed.items():
        for receiver, blob in blobs.items():
            route = Route(batch, complaint.adverts, sender, receiver)
            if code(lambda r=route, b=blob: r.unseal_with(shared, b, 2)) is None:
                opened.add((sender, receiver))
    assert opened == {(court.me, court.dealer)}


def test_the_rest_of_the_roster_goes_on_without_who_could_not_accept() -> None:
    court = Court()
    cohort = court.cohort
    for name in cohort.names[1:]:
        cohort.members[name].accept(cohort.deals, cohort.sealed_to(name))
    values = random_values(cohort.names[1:], 7, 32)
    masked = cohort.mask(0, MANIFEST, values)
    complaint = court.complaint()
    cohort.members[court.me].abandon()
    assert court.judged(complaint).culprit == court.dealer
    survivors = cohort.names[1:]
    votes = cohort.votes(0, MANIFEST, survivors, survivors)
    shares = cohort.recovered(0, MANIFEST, survivors, votes, survivors)
    total = plain_sum(masked.values())
    cohort.unmasking(32, 0, MANIFEST, survivors, shares).unmask(total)
    assert np.array_equal(total, plain_sum(values.values()))


@pytest.mark.parametrize("false", [False, True])
def test_the_next_set_up_leaves_the_culprit_out(false: bool) -> None:
    court = Court()
    complaint = court.complaint()
    if false:
        complaint = replace(complaint, proof=b"")
    culprit = court.judged(complaint).culprit
    assert culprit == (court.me if false else court.dealer)
    setup = Setup(BATCH, complaint.run, court.cohort.names, 1, 3)
    for name in court.cohort.names:
        setup = setup.on_advert(name)
    for name in court.cohort.names:
        setup = setup.on_deal(name)
    assert setup.phase is SetupPhase.READY
    setup = setup.on_lost(culprit)
    assert not setup.usable and setup.willing == tuple(
        name for name in court.cohort.names if name != culprit
    )
    again = Cohort(4, 1, batch=BatchId("batch-2"), only=setup.willing).set_up()
    assert culprit not in again.roster


def test_a_late_cohort_has_the_same_remedy() -> None:
    terms = CohortTerms(4, 1, 1)
    ward = Ward(5, terms)
    late = ward.ready().sign().deal()
    me, dealer = late.names[:2]
    late.sealed[dealer][me] = b"no shares"
    deal = Deal.open(late.deals[dealer], ward.keys[dealer])
    deal = replace(deal, sealed={**deal.sealed, me: digest(b"no shares")})
    late.deals[dealer] = deal.sign(KEYS[dealer])
    member = late.members[me]
    assert code(lambda: member.accept(late.deals, late.sealed_to(me))) == "WR-SECAGG-009"
    complaint = member.complain(dealer, late.deals, late.sealed_to(me)).sign(KEYS[me])
    adverts = {name: offer.advert for name, offer in late.offers.items()}
    verdict = judge(complaint, me, adverts, late.deals[dealer], b"no shares", ward.keys)
    state = Gathering(complaint_run(complaint, me), ward.names, terms.size)
    for name in late.names:
        said = digest(late.offers[name].ready.payload)
        state = state.on_ready(Waiting(name, said, digest(b"task"), 5))
    manifest = replace(late.manifest(), task=digest(b"task"))
    state = state.on_proposed(manifest).on_barred(verdict.culprit)
    assert state.cohorts[0].phase is CohortPhase.FAILED and dealer in state.barred


def complaint_run(envelope: Envelope, name: SiteName) -> RunId:
    return Complaint.open(envelope, KEYS[name].public).run
