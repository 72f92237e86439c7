"""Late cohorts: exact totals, and what a lying coordinator tries before anybody deals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cohorts import KEYS, RUN, plain_sum, random_values
from late_cohorts import TASK, VERSION, LateSum, Ward
from wardround.errors import WardroundError
from wardround.ids import RunId, SiteName
from wardround.secagg import (
    Advert,
    CohortManifest,
    CohortTerms,
    LateMember,
    Offer,
    Ready,
    RingBits,
    default_corrupt,
    derive,
)
from wardround.secagg.cohort import binding, late_batch
from wardround.secagg.late import Bond
from wardround.secagg.messages import Deal
from wardround.trust.canonical import canonical, digest, parse_json
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

LENGTH = 19
MANIFEST = digest(b"the coordinator's manifest of a round")
OTHER_MANIFEST = digest(b"one that names another version as the newest")
FOUR = CohortTerms(4, 1, 1)


def code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except WardroundError as error:
        return error.code
    return None


# The honest protocol


@settings(max_examples=60)
@given(st.data(), st.integers(3, 12))
def test_totals_are_exact_for_every_cohort_and_every_dropout_it_bears(
    data: st.DataObject, size: int
) -> None:
    corrupt = data.draw(st.integers(0, default_corrupt(size)), label="corrupt")
    floor = max(CohortTerms(size, corrupt).adversary.minimum_survivors, 3)
    terms = CohortTerms(size, corrupt, data.draw(st.integers(0, size - floor), label="dropouts"))
    ward = Ward(size + 2, terms)
    names = data.draw(st.permutations(ward.names), label="who is ready first")[:size]
    cohort = ward.ready(names).set_up(data.draw(st.integers(0, 10), label="sequence"))

    def some(whole: Sequence[SiteName], least: int, label: str) -> list[SiteName]:
        keep = data.draw(st.integers(least, len(whole)), label=label)
        return sorted(data.draw(st.permutations(whole), label=f"which, {label}")[:keep])

    ring_bits: RingBits = data.draw(st.sampled_from([32, 64]), label="ring")
    values = random_values(cohort.names, LENGTH, ring_bits, seed=size)
    masked = cohort.mask(values)
    survivors = some(cohort.names, terms.minimum_survivors, "vectors")
    event(f"lost: {size - len(survivors)}")
    threshold = terms.adversary.threshold
    votes = cohort.votes(survivors, some(survivors, threshold, "votes"))
    shares = cohort.recovered(survivors, votes, some(sorted(votes), threshold, "shares"))
    total = cohort.total(ring_bits, masked, survivors, shares)
    assert np.array_equal(total, plain_sum(values[name] for name in survivors))


def test_each_step_is_bound_to_the_manifest_and_the_set_up() -> None:
    cohort = Ward(6, FOUR).ready().set_up(3)
    values = random_values(cohort.names, LENGTH, 32)
    cohort.mask(values)
    vote = cohort.members[cohort.names[0]].vote(cohort.names)
    assert vote.round == f"{RUN}.c.000003" and vote.batch == late_batch(RUN)
    assert vote.manifest == cohort.under
    assert [bond.manifest for _, bond in cohort.ward.bonds] == [cohort.manifest(3).digest] * 4
    assert {bond.model for _, bond in cohort.ward.bonds} == {VERSION}


def test_sites_may_have_trained_from_different_versions() -> None:
    ward = Ward(4, FOUR)
    members = {n: ward.member(n, model=digest(n.encode())) for n in ward.names}
    values = random_values(ward.names, LENGTH, 64)
    cohort = LateSum(ward, members).set_up()
    assert np.array_equal(cohort.opened(64, values), plain_sum(values.values()))


def test_the_same_request_gets_the_same_answer() -> None:
    cohort = Ward(4, FOUR).ready().sign()
    member = cohort.members[cohort.names[0]]
    assert member.offer() == member.offer()
    assert member.sign(cohort.manifest(), cohort.offers) == cohort.signatures[cohort.names[0]]
    assert len(cohort.ward.bonds) == 4, "and it is written down once"


def test_nothing_comes_before_its_turn() -> None:
    cohort = Ward(4, FOUR).ready()
    member = cohort.members[cohort.names[0]]
    ring = np.zeros(3, np.uint32)
    early: list[Callable[[], object]] = [
        lambda: member.deal({}),
        lambda: member.accept({}, {}),
        lambda: member.mask(ring, MANIFEST, MANIFEST),
        lambda: member.vote(cohort.names),
        lambda: member.recover(cohort.names, {}),
        lambda: member.bound,
    ]
    assert [code(call) for call in early] == ["WR-SECAGG-010"] * 6
    cohort.sign()
    assert [code(call) for call in early] == ["WR-SECAGG-053", *["WR-SECAGG-010"] * 5]
    cohort.deal()
    assert code(lambda: member.mask(ring, MANIFEST, MANIFEST)) == "WR-SECAGG-010"
    assert code(lambda: member.deal(cohort.signatures)) == "WR-SECAGG-010", "once only"
    cohort.accept()
    assert code(lambda: member.vote(cohort.names)) == "WR-SECAGG-012", "it gave nothing yet"
    member.mask(ring, MANIFEST, member.bound)
    assert code(lambda: member.mask(ring, MANIFEST, member.bound)) == "WR-SECAGG-011", "one vector"


# Terms


@pytest.mark.parametrize(
    ("size", "corrupt", "dropouts", "minimum", "refused"),
    [
        (3, 0, 0, 3, None),
        (3, 0, 1, 3, "WR-SECAGG-050"),
        (4, 1, 1, 3, None),
        (4, 1, 1, 4, "WR-SECAGG-050"),
        (4, 1, 2, 3, "WR-SECAGG-050"),
        (5, 3, 0, 3, None),
        (5, 3, 1, 3, "WR-SECAGG-050"),
        (4, 3, 0, 3, "WR-SECAGG-002"),
        (2, 0, 0, 3, "WR-SECAGG-001"),
        (7, 2, -1, 3, "WR-SECAGG-050"),
        (7, 2, 0, 1, "WR-SECAGG-050"),
    ],
)
def test_a_cohort_is_large_enough_for_the_corrupt_and_the_lost(
    size: int, corrupt: int, dropouts: int, minimum: int, refused: str | None
) -> None:
    assert code(lambda: CohortTerms(size, corrupt, dropouts, minimum)) == refused


@given(st.integers(3, 64), st.integers(0, 62), st.integers(0, 64), st.integers(3, 64))
def test_terms_that_exist_always_leave_two_honest_and_no_second_majority(
    size: int, corrupt: int, dropouts: int, minimum: int
) -> None:
    if code(lambda: CohortTerms(size, corrupt, dropouts, minimum)) is None:
        terms = CohortTerms(size, corrupt, dropouts, minimum)
        assert size - dropouts >= terms.minimum_survivors >= max(corrupt + 2, minimum)
        assert 2 * terms.adversary.threshold - size > corrupt


# Attacks on the manifest


def test_one_ready_statement_is_never_bound_to_two_manifests() -> None:
    ward = Ward(6, FOUR)
    everyone = {name: ward.member(name) for name in ward.names}
    me = ward.names[0]
    first = LateSum(ward, {n: everyone[n] for n in ward.names[:4]})
    second = LateSum(ward, {n: everyone[n] for n in (me, *ward.names[3:])})
    everyone[me].sign(first.manifest(), first.offers)
    for other in (second.manifest(1), first.manifest(1), first.manifest(0, minimum=4)):
        offers = second.offers if other.cohort == second.names else first.offers
        assert code(lambda o=other, f=offers: everyone[me].sign(o, f)) == "WR-SECAGG-052"
    assert [name for name, _ in ward.bonds] == [me]
    assert everyone[me].manifest == first.manifest()


def test_a_manifest_that_could_not_be_written_down_is_not_signed() -> None:
    def fail(_name: SiteName, _bond: Bond) -> None:
        raise OSError("no space left")

    cohort = Ward(4, FOUR, record=fail).ready()
    member = cohort.members[cohort.names[0]]
    with pytest.raises(OSError, match="no space"):
        member.sign(cohort.manifest(), cohort.offers)
    assert member.manifest is None
    assert code(lambda: member.deal(cohort.signatures)) == "WR-SECAGG-010"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, study=digest(b"another study")),
        lambda m: replace(m, run=RunId("run-0")),
        lambda m: replace(m, sequence=11),
        lambda m: replace(m, task=digest(b"another task")),
        lambda m: replace(m, corrupt=0),
        lambda m: replace(m, threshold=2),
        lambda m: replace(m, threshold=4, minimum_survivors=4),
        lambda m: replace(m, ready=dict(list(m.ready.items())[:3])),
        lambda m: replace(m, ready={**m.ready, SiteName("site-09"): digest(b"x")}),
        lambda m: replace(m, ready={**m.ready, SiteName("site-00"): digest(b"x")}),
        lambda m: replace(m, ready={**m.ready, SiteName("site-01"): digest(b"x")}),
    ],
    ids=[
        "study",
        "run",
        "expired",
        "task",
        "corrupt",
        "threshold",
        "higher threshold",
        "too few",
        "too many",
        "not my statement",
        "not a peer's statement",
    ],
)
def test_a_manifest_that_does_not_fit_is_not_signed(
    change: Callable[[CohortManifest], CohortManifest],
) -> None:
    cohort = Ward(6, FOUR).ready()
    member = cohort.members[cohort.names[0]]
    wrong = change(cohort.manifest())
    offers = {name: one for name, one in cohort.offers.items() if name in wrong.ready}
    assert code(lambda: member.sign(wrong, offers)) == "WR-SECAGG-051"
    assert cohort.ward.bonds == [] and member.manifest is None
    assert member.sign(cohort.manifest(), cohort.offers), "the right one is still welcome"


def test_a_cohort_below_the_studys_floor_or_the_hospitals_is_refused() -> None:
    strict = Ward(4, CohortTerms(4, 1, 0, minimum_sites=4)).ready()
    low = replace(strict.manifest(), minimum_survivors=3)
    member = strict.members[strict.names[0]]
    assert code(lambda: member.sign(low, strict.offers)) == "WR-SECAGG-051"
    ward = Ward(4, FOUR)
    members = {n: ward.member(n, own_minimum=4 if n == ward.names[0] else 0) for n in ward.names}
    cohort = LateSum(ward, members)
    member = members[ward.names[0]]
    assert code(lambda: member.sign(cohort.manifest(), cohort.offers)) == "WR-SECAGG-051"
    manifest = cohort.manifest(minimum=4)
    cohort.signatures = {n: one.sign(manifest, cohort.offers) for n, one in members.items()}
    cohort.deal().accept().mask(random_values(cohort.names, LENGTH, 32))
    assert code(lambda: member.vote(cohort.names[:3])) == "WR-SECAGG-013", "and it is kept"
    member.vote(cohort.names)


def test_a_stranger_is_in_no_cohort() -> None:
    """The coordinator makes up a site, or lets one of another study say ready."""
    ward = Ward(4, FOUR)
    cohort = ward.ready()
    stranger = SiteName("site-09")
    larger = {**ward.keys, stranger: KEYS[stranger].public}
    for keys in (larger, {**ward.keys, stranger: KEYS[stranger].public}):
        members = {n: cohort.members[n] for n in cohort.names[:3]}
        members[stranger] = ward.member(stranger, keys=keys)
        mixed = LateSum(ward, members)
        me = cohort.members[cohort.names[0]]
        assert code(lambda m=mixed, me=me: me.sign(m.manifest(), m.offers)) == "WR-SECAGG-051"
    # In a member's place, under the coordinator's own key.
    name = cohort.names[1]
    forged = ward.member(
        name, signing_key=(fresh := SigningKey.generate()), keys={**ward.keys, name: fresh.public}
    )
    mixed = LateSum(ward, {**cohort.members, name: forged})
    assert code(lambda: me.sign(mixed.manifest(), mixed.offers)) == "WR-TRUST-022"


def forge(cohort: LateSum, name: SiteName, **changes: object) -> dict[SiteName, Offer]:
    """The cohort's offers with what a corrupt ``name`` signs instead."""
    offer = cohort.offers[name]
    ready = Ready.open(offer.ready, cohort.ward.keys[name])
    advert = Advert.open(offer.advert, cohort.ward.keys[name])
    own = {key: changes.pop(key) for key in ("rounds", "pool", "batch") if key in changes}
    if own.get("rounds"):
        second = derive.public_key(bytes([7]) * 32)
        own |= {"masking_keys": (*advert.masking_keys, second)}
        own |= {"self_mask_commitments": (*advert.self_mask_commitments, bytes(32))}
    keys = {k: changes.pop(k) for k in ("sealing_key", "masking_keys") if k in changes}
    signed = replace(advert, **{**own, **keys}).sign(KEYS[name])
    said = replace(ready, **{"advert": digest(signed.payload), **changes})
    return {**cohort.offers, name: Offer(said.sign(KEYS[name]), signed)}


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"task": digest(b"another")}, "WR-SECAGG-051"),
        ({"expires": 1}, "WR-SECAGG-051"),
        ({"study": digest(b"another")}, "WR-SECAGG-051"),
        ({"run": RunId("run-0")}, "WR-SECAGG-051"),
        ({"advert": digest(b"another")}, "WR-SECAGG-051"),
        ({"rounds": 2}, "WR-SECAGG-051"),
        ({"pool": tuple(sorted(list(KEYS)[:4]))}, "WR-SECAGG-051"),
        ({"batch": "batch-1"}, "WR-SECAGG-051"),
        ({"sealing_key": bytes(32)}, "WR-SECAGG-007"),
        ({"masking_keys": (b"\1" + bytes(31),)}, "WR-SECAGG-007"),
        ({"model": digest(b"older")}, None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_a_corrupt_peer_is_ready_with_is_checked(
    changes: dict[str, object], refused: str | None
) -> None:
    cohort = Ward(6, FOUR).ready()
    offers = forge(cohort, cohort.names[1], **changes)
    manifest = replace(
        cohort.manifest(2),
        ready={name: digest(offer.ready.payload) for name, offer in offers.items()},
    )
    member = cohort.members[cohort.names[0]]
    assert code(lambda: member.sign(manifest, offers)) == refused


def test_a_peers_keys_copied_from_another_peer_are_refused() -> None:
    cohort = Ward(6, FOUR).ready()
    other = Advert.open(cohort.offers[cohort.names[2]].advert, cohort.ward.keys[cohort.names[2]])
    offers = forge(cohort, cohort.names[1], masking_keys=other.masking_keys)
    ready = {name: digest(offer.ready.payload) for name, offer in offers.items()}
    manifest = replace(cohort.manifest(), ready=ready)
    member = cohort.members[cohort.names[0]]
    assert code(lambda: member.sign(manifest, offers)) == "WR-SECAGG-007"


def test_an_old_ready_statement_of_this_site_is_not_joined_again() -> None:
    """After a restart, or a cohort that came to nothing, the coordinator tries the old one."""
    ward = Ward(4, FOUR)
    dead = ward.ready().sign()
    old = dead.members[dead.names[0]]
    old.abandon()
    fresh = ward.member(dead.names[0])
    manifest = dead.manifest(1)
    assert code(lambda: fresh.sign(manifest, dead.offers)) == "WR-SECAGG-051"
    assert code(lambda: old.deal(dead.signatures)) == "WR-SECAGG-010", "its keys are gone"
    replayed = LateSum(ward, {**dead.members, dead.names[0]: fresh})
    for name in dead.names[1:]:
        member = dead.members[name]
        refused = code(lambda m=member, r=replayed: m.sign(r.manifest(1), r.offers))
        assert refused == "WR-SECAGG-052", "theirs are spent too"


def test_what_was_given_up_is_not_signed_for() -> None:
    cohort = Ward(4, FOUR).ready()
    member = cohort.members[cohort.names[0]]
    member.abandon()
    assert code(lambda: member.sign(cohort.manifest(), cohort.offers)) == "WR-SECAGG-010"
    assert cohort.ward.bonds == []


# Nobody deals before everybody signed the same


def test_a_missing_foreign_or_surplus_signature_keeps_everybody_from_dealing() -> None:
    ward = Ward(6, FOUR)
    cohort, others = ward.ready().sign(), ward.ready(ward.names[2:])
    others.sign(1)
    me, one = cohort.names[0], cohort.names[2]
    signatures = cohort.signatures
    unsigned = {name: e for name, e in signatures.items() if name != one}
    stranger = SiteName("site-09")
    for pile in (
        {},
        unsigned,
        {**signatures, one: others.signatures[one]},
        {**signatures, stranger: cohort.manifest().sign(KEYS[stranger])},
        {**unsigned, stranger: cohort.manifest().sign(KEYS[stranger])},
        {**signatures, one: replace(cohort.manifest(), sequence=1).sign(KEYS[one])},
    ):
        assert code(lambda p=pile: cohort.members[me].deal(p)) == "WR-SECAGG-053"
    for forged in (signatures[me], cohort.manifest().sign(SigningKey.generate())):
        pile = {**signatures, one: forged}
        assert code(lambda p=pile: cohort.members[me].deal(p)) == "WR-TRUST-022"
    altered = Envelope(
        signatures[one].payload_type, signatures[one].payload, others.signatures[one].signatures
    )
    pile = {**signatures, one: altered}
    assert code(lambda: cohort.members[me].deal(pile)) == "WR-TRUST-023"
    asreadied = {**signatures, one: cohort.offers[one].ready}
    assert code(lambda: cohort.members[me].deal(asreadied)) == "WR-TRUST-021"
    cohort.members[me].deal(signatures)


def test_two_halves_that_see_different_cohorts_deal_nothing() -> None:
    """Equivocation: the corrupt site in the middle signs whatever it is asked to."""
    ward = Ward(7, FOUR)
    everyone = {name: ward.member(name) for name in ward.names}
    corrupt = ward.names[3]
    left = LateSum(ward, {n: everyone[n] for n in ward.names[:4]})
    right = LateSum(ward, {n: everyone[n] for n in (ward.names[0], *ward.names[3:6])})
    signatures: dict[SiteName, dict[SiteName, Envelope]] = {"left": {}, "right": {}}
    for side, half in (("left", left), ("right", right)):
        for name in half.names:
            if name == corrupt:
                signatures[side][name] = half.manifest().sign(KEYS[name])
                continue
            try:
                signatures[side][name] = everyone[name].sign(half.manifest(), half.offers)
            except WardroundError as error:
                assert (name, error.code) == (ward.names[0], "WR-SECAGG-052")
    everything = {**signatures["left"], **signatures["right"]}
    for name in right.names:
        if name not in (corrupt, ward.names[0]):
            for pile in (signatures["right"], everything):
                assert code(lambda n=name, p=pile: everyone[n].deal(p)) == "WR-SECAGG-053"
    # The left half is a cohort like any other: complete, and every site in it saw the same.
    left.signatures = signatures["left"]
    for name in set(left.names) - {corrupt}:
        everyone[name].deal(left.signatures)


def test_two_manifests_that_differ_in_anything_never_both_get_dealt() -> None:
    """Same sites, other floor: two of them are shown one manifest and two the other."""
    cohort = Ward(4, FOUR).ready()
    one, other = cohort.manifest(), cohort.manifest(minimum=4)
    for place, name in enumerate(cohort.names):
        shown = one if place < 2 else other
        cohort.signatures[name] = cohort.members[name].sign(shown, cohort.offers)
    for name in cohort.names:
        assert code(lambda n=name: cohort.members[n].deal(cohort.signatures)) == "WR-SECAGG-053"


def test_members_that_were_shown_different_deals_open_nothing() -> None:
    """A corrupt dealer signs two deals, and one member is shown another than the rest."""
    ward = Ward(4, FOUR)
    cohort = ward.ready().sign().deal()
    corrupt, peer, *rest = cohort.names
    first = Deal.open(cohort.deals[corrupt], ward.keys[corrupt])
    second = replace(first, sealed={**first.sealed, peer: digest(b"another blob")})
    for name, member in cohort.members.items():
        shown = second.sign(KEYS[corrupt]) if name == rest[0] else cohort.deals[corrupt]
        member.accept({**cohort.deals, corrupt: shown}, cohort.sealed_to(name))
    bound = {name: member.bound for name, member in cohort.members.items()}
    assert bound[rest[0]] != bound[peer] == bound[corrupt]
    ring = np.zeros(LENGTH, np.uint32)
    for name, member in cohort.members.items():
        refused = code(lambda m=member: m.mask(ring, MANIFEST, bound[peer]))
        expected = "WR-SECAGG-051" if name == rest[0] else None
        assert refused == expected, "no manifest names both"


def test_members_that_were_shown_different_manifests_of_the_round_open_nothing() -> None:
    """The newest version stands in it, from which each counts its staleness: with a manifest for
    each member, a coordinator could have each one's contribution scaled as it likes."""
    cohort = Ward(4, FOUR).ready().set_up()
    values = random_values(cohort.names, LENGTH, 32)
    masked = {}
    for name, member in cohort.members.items():
        masked[name] = values[name].copy()
        shown = OTHER_MANIFEST if name == cohort.names[0] else MANIFEST
        member.mask(masked[name], shown, cohort.bound)
    votes = cohort.votes(cohort.names, cohort.names)
    for member in cohort.members.values():
        refused = code(lambda m=member: m.recover(cohort.names, votes))
        assert refused == "WR-SECAGG-015", "their votes are not about one round"


# Dropouts and collusion


def test_who_disappears_before_everybody_signed_costs_nothing_but_new_keys() -> None:
    ward = Ward(5, FOUR)
    first = ward.ready()
    gone = first.names[3]
    for name in first.names[:3]:
        first.signatures[name] = first.members[name].sign(first.manifest(), first.offers)
    for name in first.names[:3]:
        assert code(lambda n=name: first.members[n].deal(first.signatures)) == "WR-SECAGG-053"
        first.members[name].abandon()
    names = [name for name in ward.names if name != gone]
    second = ward.ready(names).set_up(1)
    keys = [
        set(Advert.open(o.advert, ward.keys[n]).masking_keys)
        for cohort in (first, second)
        for n, o in cohort.offers.items()
    ]
    assert len(set().union(*keys)) == 8, "no key is under two manifests"
    values = random_values(second.names, LENGTH, 32)
    assert np.array_equal(second.opened(32, values), plain_sum(values.values()))


def test_a_cohort_of_which_all_survivors_drop_opens_nothing_and_the_next_one_does() -> None:
    ward = Ward(5, FOUR)
    lost = ward.ready().set_up()
    masked = lost.mask(random_values(lost.names, LENGTH, 32))
    survivors = lost.names[:3]
    votes = lost.votes(survivors, survivors)
    for member in lost.members.values():
        member.abandon()
    for name in survivors:
        assert code(lambda n=name: lost.members[n].recover(survivors, votes)) == "WR-SECAGG-010"
    assert code(lambda: lost.total(32, masked, survivors, {})) == "WR-SECAGG-016"
    again = ward.ready().set_up(1)
    values = random_values(again.names, LENGTH, 32, seed=5)
    assert np.array_equal(again.opened(32, values), plain_sum(values.values()))


def test_f_corrupt_sites_and_the_coordinator_hold_too_few_shares_and_votes() -> None:
    """Everything that the corrupt ones ever received, before an honest site helps."""
    for size in (4, 7, 10, 12):
        corrupt = default_corrupt(size)
        cohort = Ward(size, CohortTerms(size, corrupt)).ready().set_up()
        masked = cohort.mask(random_values(cohort.names, LENGTH, 32))
        assert masked
        threshold = cohort.ward.terms.adversary.threshold
        bad, survivors = cohort.names[:corrupt], cohort.names
        shares = {}
        votes = cohort.votes(survivors, bad)
        for name in bad:
            # A corrupt site gives its shares against no votes at all, of both kinds.
            inner = cohort.members[name]._member._rounds[0]
            shares[name] = set(inner.self_mask_shares)
        assert len(shares) < threshold and len(votes) < threshold
        honest = cohort.members[cohort.names[-1]]
        honest.vote(survivors)
        assert code(lambda h=honest, v=votes, s=survivors: h.recover(s, v)) == "WR-SECAGG-015"


def test_shares_and_votes_of_one_cohort_say_nothing_in_another() -> None:
    """All late cohorts of a run share a batch's name; what binds them is the manifest."""
    ward = Ward(4, FOUR)
    first, second = ward.ready().set_up(0), ward.ready().set_up(1)
    values = random_values(first.names, LENGTH, 32)
    first.mask(values)
    masked = second.mask(values)
    old = first.votes(first.names, first.names)
    second.votes(second.names, second.names)
    for name in second.names:
        refused = code(lambda n=name: second.members[n].recover(second.names, old))
        assert refused == "WR-SECAGG-015"
    stale = first.recovered(first.names, old, first.names)
    assert code(lambda: second.total(32, masked, second.names, stale)) == "WR-SECAGG-016"
    blob = first.sealed[first.names[0]][first.names[1]]
    assert blob not in second.sealed[first.names[0]].values()


# The wire


def test_statements_survive_the_wire_and_nothing_else_does() -> None:
    cohort = Ward(4, FOUR).ready()
    offer = cohort.offers[cohort.names[0]]
    ready = Ready.open(Envelope.from_json(offer.ready.to_json()), KEYS[cohort.names[0]].public)
    assert (ready.task, ready.model, ready.expires) == (TASK, VERSION, 10)
    manifest = cohort.manifest()
    assert CohortManifest.from_payload(manifest.to_payload()) == manifest
    for document, parse in (
        (ready.to_wire(), Ready.from_wire),
        (parse_json(manifest.to_payload()), lambda v: CohortManifest.from_payload(canonical(v))),
    ):
        for key in document:
            less = {name: value for name, value in document.items() if name != key}
            assert code(lambda p=parse, d=less: p(d)) == "WR-SECAGG-006"
            for wrong in (None, -1, True, [], "x"):
                if not (key in ("run", "site") and wrong == "x"):
                    changed = {**document, key: wrong}
                    assert code(lambda p=parse, d=changed: p(d)) == "WR-SECAGG-006", (key, wrong)
        assert code(lambda p=parse, d=document: p({**d, "more": 1})) == "WR-SECAGG-006"
    few = {**parse_json(manifest.to_payload()), "ready": {}}
    assert code(lambda: CohortManifest.from_payload(canonical(few))) == "WR-SECAGG-006"
    assert binding(manifest.digest, TASK) != binding(TASK, manifest.digest)
    assert isinstance(cohort.members[cohort.names[0]], LateMember)
