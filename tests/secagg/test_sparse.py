"""Secure sums over a sparse graph: exact within the dropouts, and every lie in set-up refused."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts import BATCH, KEYS, MANIFEST, RUN, STUDY, plain_sum, random_values
from sparse_cohorts import ROUND, RULE, SparseCohort
from wardround.errors import WardroundError
from wardround.ids import BatchId, SiteName
from wardround.secagg import Adversary
from wardround.secagg.graph import GraphRule, choose
from wardround.secagg.messages import BriefVote, Deal, SurvivorVote
from wardround.secagg.sparse import (
    Choices,
    Proved,
    SparseMember,
    Tree,
    plant,
    require_signatures,
    to_check,
)
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey

NAMES = tuple(KEYS)[:12]


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(WardroundError, match=code):
        call()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_totals_are_exact_within_the_thresholds_and_refused_beyond(data: st.DataObject) -> None:
    rule = GraphRule(Adversary(9, 1), degree=5, share_threshold=3)
    cohort = SparseCohort(rule)
    names = cohort.names
    # All of it is drawn before the sites choose: what they choose can't be repeated.
    undealt = data.draw(st.sets(st.sampled_from(names), max_size=2), "not dealt")
    dropped = data.draw(st.sets(st.sampled_from(names), max_size=3), "dropped")
    silent = data.draw(st.sets(st.sampled_from(names), max_size=2), "silent")
    ring_bits = data.draw(st.sampled_from([32, 64]))
    seed = data.draw(st.integers(0, 99))
    cohort.set_up(undealt)
    roster = [name for name in names if name not in undealt]
    survivors = tuple(name for name in roster if name not in dropped)
    values = random_values(survivors, 37, ring_bits, seed=seed)
    masked = cohort.mask(values)
    graph = cohort.graph()
    kept = all(len(set(graph.chosen[name]) & set(survivors)) >= 3 for name in survivors)
    if len(survivors) < rule.adversary.minimum_survivors or not kept:
        with pytest.raises(WardroundError, match="WR-SECAGG-013"):
            cohort.votes(survivors, survivors)
        return
    votes = cohort.votes(survivors, survivors)
    helpers = [name for name in survivors if name not in silent]
    recovered = cohort.recovered(survivors, votes, helpers)
    enough = all(len(set(graph.holders(name)) & set(helpers)) >= 3 for name in roster)
    if not enough:
        with pytest.raises(WardroundError, match="WR-SECAGG-016"):
            cohort.unmasking(ring_bits, survivors, recovered)
        return
    total = plain_sum(masked.values())
    cohort.unmasking(ring_bits, survivors, recovered).unmask(total, 0)
    assert np.array_equal(total, plain_sum(values.values()))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_dropouts_that_were_stated_at_any_stage_leave_the_total_exact(
    data: st.DataObject,
) -> None:
    """33 to 40 sites over the graph that is chosen for them, lost between any two messages."""
    sites = data.draw(st.integers(33, 40), "sites")
    corrupt = data.draw(st.integers(0, sites // 5), "corrupt")
    adversary = Adversary(sites, corrupt)
    borne = data.draw(st.integers(1, min(8, adversary.tolerated_dropouts)), "borne")
    rule = choose(adversary, borne)
    cohort = SparseCohort(rule)
    lost = data.draw(
        st.dictionaries(
            st.sampled_from(cohort.names),
            st.sampled_from(("deal", "packet", "vote", "shares")),
            max_size=borne,
        ),
        "lost",
    )
    cohort.set_up([name for name, stage in lost.items() if stage == "deal"])
    roster = cohort.roster.sites
    survivors = tuple(name for name in roster if lost.get(name) != "packet")
    values = random_values(survivors, 16, 32, seed=sites)
    masked = cohort.mask(values)
    voters = [name for name in survivors if lost.get(name) != "vote"]
    votes = cohort.votes(survivors, voters)
    helpers = [name for name in voters if lost.get(name) != "shares"]
    recovered = cohort.recovered(survivors, votes, helpers)
    total = plain_sum(masked.values())
    cohort.unmasking(32, survivors, recovered).unmask(total, 0)
    assert np.array_equal(total, plain_sum(values.values()))


def test_a_cohort_of_forty_over_the_graph_that_is_chosen_for_it() -> None:
    rule = choose(Adversary(40, 8), 8)
    assert not rule.is_complete
    cohort = SparseCohort(rule).set_up()
    survivors = cohort.names[8:]
    values = random_values(survivors, 100, 32)
    total = plain_sum(cohort.mask(values).values())
    votes = cohort.votes(survivors, survivors[: rule.adversary.threshold])
    late = [name for name in survivors if name not in votes]
    cohort.votes(survivors, late)
    recovered = cohort.recovered(survivors, votes, survivors)
    cohort.unmasking(32, survivors, recovered).unmask(total, 0)
    assert np.array_equal(total, plain_sum(values.values()))


def test_a_site_draws_once_uniformly_and_never_itself() -> None:
    counts = dict.fromkeys(NAMES, 0)
    cohort = SparseCohort().advertise()
    me = NAMES[3]
    for _ in range(600):
        member = cohort.member(me)
        tree, adverts = plant(
            {n: member.advert() if n == me else one.envelope for n, one in cohort.adverts.items()}
        )
        chosen = member.choose(tree, adverts[me]).chosen
        assert len(set(chosen)) == RULE.degree
        refused("WR-SECAGG-010", lambda m=member, t=tree, a=adverts: m.choose(t, a[me]))
        for name in chosen:
            counts[name] += 1
    assert counts.pop(me) == 0
    expected = 600 * RULE.degree / 11
    # Eleven correlated counts; 60 is far beyond what chance gives (chi-square, 10 degrees).
    assert sum((found - expected) ** 2 / expected for found in counts.values()) < 60


def test_the_coordinator_cannot_put_its_own_cohort_together() -> None:
    cohort = SparseCohort().advertise()
    me, tree = NAMES[0], cohort.tree
    mine = cohort.adverts[me]
    stranger = SiteName("stranger")

    def choosing(tree: Tree, proved: Proved = mine) -> Callable[[], object]:
        return lambda: cohort.members[me].choose(tree, proved)

    refused("WR-SECAGG-007", choosing(replace(tree, sites=(*NAMES[:11], stranger))))
    refused("WR-SECAGG-007", choosing(replace(tree, sites=tree.sites[::-1])))
    refused("WR-SECAGG-007", choosing(replace(tree, sites=(*NAMES[:11], NAMES[10]))))
    refused("WR-SECAGG-061", choosing(replace(tree, root=bytes(32))))
    refused("WR-SECAGG-061", choosing(tree, Proved(mine.envelope, mine.proof[1:])))
    refused("WR-SECAGG-007", choosing(tree, cohort.adverts[NAMES[1]]))
    # A tree without me, whose root is right.
    others, _ = plant({n: one.envelope for n, one in cohort.adverts.items() if n != me})
    refused("WR-SECAGG-061", choosing(others))


def test_only_the_adverts_of_the_chosen_and_of_this_tree_are_dealt_to() -> None:
    cohort = SparseCohort().advertise().choose()
    me = NAMES[0]
    chosen = cohort.chosen[me]
    mine = {name: cohort.adverts[name] for name in chosen}
    other = next(name for name in NAMES if name not in (*chosen, me))
    swapped = {**mine, other: cohort.adverts[other]}
    del swapped[chosen[0]]
    refused("WR-SECAGG-007", lambda: cohort.members[me].deal_chosen(swapped))
    refused("WR-SECAGG-007", lambda: cohort.members[me].deal_chosen({}))
    # Fresh keys of the same site, signed by it, are not those that the tree was grown over.
    again = cohort.member(chosen[0]).advert()
    lie = {**mine, chosen[0]: Proved(again, mine[chosen[0]].proof)}
    refused("WR-SECAGG-061", lambda: cohort.members[me].deal_chosen(lie))
    cohort.members[me].deal_chosen(mine)


def test_deals_for_another_cohort_or_another_number_are_refused() -> None:
    cohort = SparseCohort().advertise().choose().deal()
    me = next(name for name in NAMES if any(name in cohort.chosen[one] for one in NAMES))
    dealer = next(name for name in NAMES if me in cohort.chosen[name])
    honest = Deal.open(cohort.dealt[dealer], cohort.keys[dealer])
    one_less = {name: hash_ for name, hash_ in honest.sealed.items() if name != me}
    one_less.popitem()
    lies = [
        replace(honest, adverts=digest(b"another tree")),
        replace(honest, batch=BatchId("another batch")),
        replace(honest, sealed={**one_less, me: honest.sealed[me]}),
        replace(honest, sealed={**honest.sealed, SiteName("one-more"): digest(b"x")}),
        replace(
            honest,
            sealed={**one_less, me: honest.sealed[me], SiteName("stranger"): digest(b"x")},
        ),
    ]
    for lie in lies:
        cohort.dealt[dealer] = lie.sign(KEYS[dealer])
        cohort.roster, cohort.deals = plant(cohort.dealt)
        arguments = cohort.for_accept(me)
        refused("WR-SECAGG-008", lambda a=arguments: cohort.members[me].accept_chosen(*a))


def test_altered_shares_and_foreign_rosters_are_refused() -> None:
    cohort = SparseCohort().advertise().choose().deal()
    me = next(name for name in NAMES if any(name in cohort.chosen[one] for one in NAMES))
    deals, adverts, blobs, roster, choices = cohort.for_accept(me)
    accept = cohort.members[me].accept_chosen
    dealer = next(iter(blobs))
    flipped = {**blobs, dealer: bytes([blobs[dealer][0] ^ 1]) + blobs[dealer][1:]}
    refused("WR-SECAGG-009", lambda: accept(deals, adverts, flipped, roster, choices))
    without = {one: proved for one, proved in deals.items() if one != me}
    refused("WR-SECAGG-008", lambda: accept(without, adverts, blobs, roster, choices))
    small = Tree(roster.sites[:5], roster.root)
    refused("WR-SECAGG-008", lambda: accept(deals, adverts, blobs, small, choices))
    other = replace(roster, root=bytes(32))
    refused("WR-SECAGG-061", lambda: accept(deals, adverts, blobs, other, choices))
    accept(deals, adverts, blobs, roster, choices)


def test_nobody_can_be_kept_in_the_dark_about_who_chose_it() -> None:
    """A hidden deal is a mask that one side adds: the sum without its dealer would open."""
    cohort = SparseCohort().advertise().choose().deal()
    me = next(name for name in NAMES if any(name in cohort.chosen[one] for one in NAMES))
    deals, adverts, blobs, roster, choices = cohort.for_accept(me)
    dealer = next(iter(blobs))
    accept = cohort.members[me].accept_chosen

    def without(things: dict[SiteName, object]) -> dict[SiteName, object]:
        return {one: thing for one, thing in things.items() if one != dealer}

    hidden = (without(deals), without(adverts), without(blobs))
    refused("WR-SECAGG-008", lambda: accept(*hidden, roster, choices))
    # Nor by lying about the choice: the dealer has another number of them then, or other ones.
    fewer = [one for one in cohort.chosen[dealer] if one != me]
    other = next(one for one in NAMES if one not in (*cohort.chosen[dealer], dealer, me))
    for lie in (fewer, [*fewer, other]):
        false = Choices.among(cohort.tree.sites, {**cohort.chosen, dealer: lie})
        refused(
            "WR-SECAGG-008",
            lambda false=false: cohort.members[dealer].accept_chosen(
                *cohort.for_accept(dealer)[:4], false
            ),
        )
    swapped = Choices.among(cohort.tree.sites, {**cohort.chosen, dealer: [*fewer, other]})
    assert swapped.digest != choices.digest, "who believes it is in another set-up"
    with_itself = Choices.among(cohort.tree.sites, {**cohort.chosen, dealer: [*fewer, dealer]})
    refused("WR-SECAGG-008", lambda: accept(*hidden, roster, with_itself))


def test_choices_of_another_form_are_refused() -> None:
    sites = NAMES
    bits = Choices.among(sites, dict.fromkeys(sites, ())).bits
    refused("WR-SECAGG-008", lambda: Choices((), {}))
    refused("WR-SECAGG-008", lambda: Choices(sites, {**bits, sites[0]: bytes(3)}))
    refused("WR-SECAGG-008", lambda: Choices(sites, {**bits, sites[0]: b"\x00\x01"}))
    refused("WR-SECAGG-008", lambda: Choices.among(sites, {sites[0]: [SiteName("stranger")]}))
    with_stranger = Choices(sites, {**bits, SiteName("stranger"): bytes(2)})
    refused("WR-SECAGG-008", lambda: with_stranger.require(sites, sites, 0))


def test_survivors_that_cut_a_site_off_get_no_vote_from_anybody() -> None:
    """The coordinator declares the neighbours of one hospital dropped, so as to cut it off."""
    cohort = SparseCohort(GraphRule(Adversary(12, 1), degree=4, share_threshold=3)).set_up()
    victim = NAMES[0]
    gone = set(sorted(cohort.chosen[victim])[:2])
    survivors = tuple(name for name in cohort.names if name not in gone)
    assert len(survivors) >= cohort.rule.adversary.minimum_survivors
    cohort.mask(random_values(survivors, 4, 32))
    for name in survivors:
        refused("WR-SECAGG-013", lambda n=name: cohort.votes(survivors, [n]))


def test_votes_are_of_survivors_on_this_set_and_enough() -> None:
    cohort = SparseCohort(GraphRule(Adversary(12, 2), degree=10, share_threshold=5)).set_up()
    survivors = cohort.names[1:]
    cohort.mask(random_values(cohort.names, 4, 32))
    votes = cohort.votes(survivors, survivors)
    few = dict(list(votes.items())[: cohort.rule.adversary.threshold - 1])

    def recover(helper: int, votes: dict[SiteName, bytes]) -> Callable[[], object]:
        member = cohort.members[survivors[helper]]
        return lambda: member.recover_signed(0, MANIFEST, survivors, votes)

    refused("WR-SECAGG-015", recover(0, few))
    recover(0, votes)()
    swapped = {**votes, survivors[1]: votes[survivors[2]]}
    refused("WR-SECAGG-015", recover(1, swapped))
    refused("WR-SECAGG-015", recover(2, {**votes, cohort.names[0]: votes[survivors[1]]}))
    refused("WR-SECAGG-015", recover(3, {**few, SiteName("stranger"): votes[survivors[1]]}))
    # Whoever showed a false vote gets nothing more from that site.
    for helper in (1, 2, 3):
        refused("WR-SECAGG-011", recover(helper, votes))


def test_a_sample_of_votes_is_as_good_as_all_of_them() -> None:
    """As many are checked as bring the chance of too few true ones below what is stated."""
    assert to_check(601, 601, 1000) == 601
    assert to_check(20, 20, 33) == 20
    assert to_check(800, 601, 1000) == 121
    assert to_check(1000, 601, 1000) == 68
    for shown in range(601, 1001, 13):
        sample = to_check(shown, 601, 1000)
        true_ones = 600
        passes = sum(
            math.log2((true_ones - checked) / (shown - checked)) if checked < true_ones else -999
            for checked in range(sample)
        )
        assert passes + math.log2(1000) <= -40


def test_with_as_many_votes_as_possible_a_forged_majority_is_noticed() -> None:
    keys = {SiteName(f"s{place:03}"): SigningKey.generate() for place in range(120)}
    sites = tuple(keys)
    vote = SurvivorVote(STUDY, RUN, BATCH, ROUND, 0, MANIFEST, sites, sites[0])
    signed = {
        site: BriefVote.of(replace(vote, site=site)).sign(key).signatures[0].sig
        for site, key in keys.items()
    }
    public = {site: key.public for site, key in keys.items()}
    require_signatures(signed, public, vote, 73)
    forged = {
        site: sig if place < 72 else bytes(64) for place, (site, sig) in enumerate(signed.items())
    }
    assert to_check(120, 73, 120) < 120
    for _ in range(20):
        refused("WR-SECAGG-015", lambda: require_signatures(forged, public, vote, 73))


def test_shares_leave_only_after_the_sites_own_vote() -> None:
    cohort = SparseCohort(GraphRule(Adversary(12, 2), degree=10, share_threshold=5)).set_up()
    survivors = cohort.names
    cohort.mask(random_values(survivors, 4, 32))
    votes = cohort.votes(survivors, survivors[1:])
    member = cohort.members[survivors[0]]
    refused("WR-SECAGG-014", lambda: member.recover_signed(0, MANIFEST, survivors, votes))
    member.vote(0, MANIFEST, survivors)
    shares = member.recover_signed(0, MANIFEST, survivors, votes)
    assert shares.masking_shares == {}
    assert set(shares.self_mask_shares) == cohort.graph().dealers(survivors[0])


def test_no_site_ever_gives_both_kinds_of_share() -> None:
    cohort = SparseCohort(GraphRule(Adversary(12, 2), degree=10, share_threshold=5)).set_up()
    one, other = cohort.names[1:], cohort.names[:-1]
    cohort.mask(random_values(cohort.names, 4, 32))
    cohort.votes(one, [cohort.names[5]])
    refused("WR-SECAGG-014", lambda: cohort.votes(other, [cohort.names[5]]))


def test_a_member_that_did_not_choose_is_not_dealt_through() -> None:
    cohort = SparseCohort().advertise()
    refused("WR-SECAGG-010", lambda: cohort.members[NAMES[0]].deal_chosen({}))
    assert isinstance(cohort.members[NAMES[0]], SparseMember)
