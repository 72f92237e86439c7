"""What a lying coordinator and corrupt sites try during set-up, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cohorts import KEYS, MANIFEST, Cohort, random_values, usual
from wardround.errors import WardroundError
from wardround.ids import BatchId, RoundId, RunId
from wardround.secagg import Advert, Deal, derive, open_adverts, setup_digest
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey


def advert_of(cohort: Cohort, place: int) -> Advert:
    name = cohort.names[place]
    return Advert.open(cohort.adverts[name], cohort.keys[name])


def fresh_key(seed: int) -> bytes:
    return derive.public_key(bytes([seed]) * 32)


def test_the_coordinator_cannot_put_its_own_keys_into_an_advert() -> None:
    """Without the study's keys it could stand between every pair of sites."""
    cohort = usual(4).advertise()
    name = cohort.names[1]
    forged = replace(advert_of(cohort, 1), masking_keys=(fresh_key(1),))
    for key in (SigningKey.generate(), KEYS[cohort.names[2]]):
        cohort.adverts[name] = forged.sign(key)
        with pytest.raises(WardroundError, match="WR-TRUST-022"):
            cohort.members[cohort.names[0]].deal(cohort.adverts)
    cohort.adverts[name] = replace(
        forged.sign(SigningKey.generate()),
        signatures=cohort.members[name].advert().signatures,
    )
    with pytest.raises(WardroundError, match="WR-TRUST-023"):
        cohort.members[cohort.names[0]].deal(cohort.adverts)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, batch=BatchId("batch-0")),
        lambda a: replace(a, run=RunId("run-0")),
        lambda a: replace(a, study=digest(b"another study")),
        lambda a: replace(a, pool=a.pool[:3]),
        lambda a: replace(
            a,
            rounds=2,
            masking_keys=(fresh_key(1), fresh_key(2)),
            self_mask_commitments=(bytes(32), b"1" * 32),
        ),
        lambda a: replace(a, sealing_key=bytes(32)),
        lambda a: replace(a, masking_keys=(b"\1" + bytes(31),)),
        lambda a: replace(a, masking_keys=(a.sealing_key,)),
    ],
    ids=["batch", "run", "study", "pool", "rounds", "zero key", "order 4", "one key for both"],
)
def test_an_advert_that_does_not_belong_is_refused_though_its_site_signed_it(
    change: Callable[[Advert], Advert],
) -> None:
    cohort = usual(4).advertise()
    name = cohort.names[1]
    cohort.adverts[name] = change(advert_of(cohort, 1)).sign(KEYS[name])
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.members[cohort.names[0]].deal(cohort.adverts)


@pytest.mark.parametrize("field", ["sealing_key", "masking_keys", "self_mask_commitments"])
def test_two_sites_never_hold_one_key(field: str) -> None:
    """All sites sharing one decryption key is another system's failure."""
    cohort = usual(4).advertise()
    name = cohort.names[1]
    copied = replace(advert_of(cohort, 1), **{field: getattr(advert_of(cohort, 2), field)})
    cohort.adverts[name] = copied.sign(KEYS[name])
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.members[cohort.names[0]].deal(cohort.adverts)


def test_a_key_that_is_copied_in_another_spelling_is_known_again() -> None:
    cohort = usual(4).advertise()
    name = cohort.names[1]
    theirs = advert_of(cohort, 2).sealing_key
    copied = replace(advert_of(cohort, 1), sealing_key=theirs[:31] + bytes([theirs[31] | 128]))
    cohort.adverts[name] = copied.sign(KEYS[name])
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.members[cohort.names[0]].deal(cohort.adverts)


def test_an_advert_of_another_site_or_of_nobody_is_refused() -> None:
    cohort = usual(4).advertise()
    one, other = cohort.names[1:3]
    swapped = {**cohort.adverts, one: cohort.adverts[other], other: cohort.adverts[one]}
    with pytest.raises(WardroundError, match="WR-TRUST-022"):
        open_adverts(swapped, cohort.keys)
    posing = replace(advert_of(cohort, 1), site=other).sign(KEYS[one])
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        open_adverts({**cohort.adverts, one: posing}, cohort.keys)
    del cohort.keys[one]
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        open_adverts(cohort.adverts, cohort.keys)


def test_a_roster_that_is_too_small_or_without_me_is_refused() -> None:
    cohort = Cohort(7, 2).advertise()
    member = cohort.members[cohort.names[0]]
    for size, code in ((1, "001"), (2, "001"), (3, "002")):
        few = {name: cohort.adverts[name] for name in cohort.names[:size]}
        with pytest.raises(WardroundError, match=f"WR-SECAGG-{code}"):
            member.deal(few)
    others = {name: cohort.adverts[name] for name in cohort.names[1:]}
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        member.deal(others)
    member.deal(cohort.adverts)  # refusals used nothing up


def test_sites_that_were_shown_different_adverts_find_out_before_they_mask() -> None:
    """A corrupt site signs two adverts, and the coordinator shows one to each half."""
    cohort = Cohort(5, 1).advertise()
    liar = cohort.names[4]
    second = replace(advert_of(cohort, 4), masking_keys=(fresh_key(9),)).sign(KEYS[liar])
    for name in cohort.names:
        view = cohort.adverts if name in cohort.names[:2] else {**cohort.adverts, liar: second}
        if name != liar:
            cohort.deals[name], cohort.sealed[name] = cohort.members[name].deal(view)
    cohort.deals[liar], cohort.sealed[liar] = cohort.members[liar].deal(cohort.adverts)
    for name in cohort.names[:4]:
        with pytest.raises(WardroundError, match="WR-SECAGG-008"):
            cohort.members[name].accept(cohort.deals, cohort.sealed_to(name))


def test_sites_that_were_shown_different_rosters_find_out_before_they_mask() -> None:
    cohort = usual(5).advertise()
    smaller = {name: cohort.adverts[name] for name in cohort.names[:4]}
    for name in cohort.names:
        view = smaller if name in cohort.names[:2] else cohort.adverts
        cohort.deals[name], cohort.sealed[name] = cohort.members[name].deal(view)
    for name in cohort.names:
        with pytest.raises(WardroundError, match="WR-SECAGG-008"):
            cohort.members[name].accept(
                cohort.deals, {n: blobs.get(name, b"") for n, blobs in cohort.sealed.items()}
            )


def test_a_deal_of_another_set_up_is_refused() -> None:
    old = usual(4).set_up()
    cohort = usual(4).advertise().deal()
    me, other = cohort.names[:2]
    with pytest.raises(WardroundError, match="WR-SECAGG-008"):
        cohort.members[me].accept({**cohort.deals, other: old.deals[other]}, cohort.sealed_to(me))
    with pytest.raises(WardroundError, match="WR-SECAGG-008"):
        cohort.members[me].accept({**cohort.deals, me: old.deals[me]}, cohort.sealed_to(me))
    deal = Deal.open(cohort.deals[other], cohort.keys[other])
    fewer = replace(deal, sealed={k: v for k, v in deal.sealed.items() if k != cohort.names[3]})
    for changed in (replace(deal, batch=BatchId("batch-0")), fewer):
        with pytest.raises(WardroundError, match="WR-SECAGG-008"):
            cohort.members[me].accept(
                {**cohort.deals, other: changed.sign(KEYS[other])}, cohort.sealed_to(me)
            )


def test_my_own_deal_cannot_be_replaced_even_under_my_signature() -> None:
    """As after a restart within a batch: two deals of one site, one of them by a ghost."""
    cohort = usual(4).advertise().deal()
    me = cohort.names[0]
    deal = Deal.open(cohort.deals[me], cohort.keys[me])
    ghost = replace(deal, sealed=dict.fromkeys(deal.sealed, MANIFEST)).sign(KEYS[me])
    with pytest.raises(WardroundError, match="WR-SECAGG-008"):
        cohort.members[me].accept({**cohort.deals, me: ghost}, cohort.sealed_to(me))


def test_a_restarted_site_cannot_be_led_back_into_its_old_set_up() -> None:
    cohort = usual(4).advertise()
    me = cohort.names[0]
    reborn = cohort.member(me)
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        reborn.deal(cohort.adverts)


def test_altered_missing_swapped_and_rerouted_shares_are_refused() -> None:
    cohort = usual(4).advertise().deal()
    me, one, other = cohort.names[:3]
    member, good = cohort.members[me], cohort.sealed_to(me)
    altered = bytes([good[one][0] ^ 1]) + good[one][1:]
    for wrong in (
        {**good, one: altered},
        {**good, one: good[one][:-1]},
        {k: v for k, v in good.items() if k != one},
        {**good, one: good[other], other: good[one]},
        {**good, one: cohort.sealed[one][other]},
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-009"):
            member.accept(cohort.deals, wrong)
    member.accept(cohort.deals, good)  # and the true ones are still welcome


@pytest.mark.parametrize("junk", [b"", b"junk" * 100, "shares of another pair"])
def test_a_dealer_that_signs_for_junk_is_named(junk: bytes | str) -> None:
    cohort = usual(4).advertise().deal()
    me, dealer, other = cohort.names[:3]
    blob = cohort.sealed[dealer][other] if isinstance(junk, str) else junk
    deal = Deal.open(cohort.deals[dealer], cohort.keys[dealer])
    signed = replace(deal, sealed={**deal.sealed, me: digest(blob)}).sign(KEYS[dealer])
    with pytest.raises(WardroundError, match=f"WR-SECAGG-009.*{dealer}"):
        cohort.members[me].accept(
            {**cohort.deals, dealer: signed}, {**cohort.sealed_to(me), dealer: blob}
        )


def test_shares_that_their_dealer_did_not_sign_for_are_refused_though_they_open() -> None:
    cohort = usual(4).advertise().deal()
    me, dealer = cohort.names[:2]
    deal = Deal.open(cohort.deals[dealer], cohort.keys[dealer])
    other = replace(deal, sealed={**deal.sealed, me: MANIFEST}).sign(KEYS[dealer])
    with pytest.raises(WardroundError, match="WR-SECAGG-009"):
        cohort.members[me].accept({**cohort.deals, dealer: other}, cohort.sealed_to(me))


def test_every_step_of_a_set_up_happens_once_and_in_order() -> None:
    cohort = usual(4).advertise()
    name = cohort.names[0]
    member = cohort.members[name]
    for early in (
        lambda: member.accept({}, {}),
        lambda: member.setup,
        lambda: member.mask(0, MANIFEST, np.zeros(3, np.uint32), round_id=RoundId("r")),
        lambda: member.vote(0, MANIFEST, cohort.names),
        lambda: member.forget(0),
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-010"):
            early()
    cohort.deal()
    with pytest.raises(WardroundError, match="WR-SECAGG-010"):
        member.deal(cohort.adverts)
    digests = {m.accept(cohort.deals, cohort.sealed_to(n)) for n, m in cohort.members.items()}
    assert digests == {member.setup}
    with pytest.raises(WardroundError, match="WR-SECAGG-010"):
        member.accept(cohort.deals, cohort.sealed_to(name))


def test_the_digest_of_a_set_up_covers_every_key_and_every_sealed_share() -> None:
    cohort = usual(4).advertise().deal()
    name = cohort.names[2]
    advert, deal = advert_of(cohort, 2), Deal.open(cohort.deals[name], cohort.keys[name])
    assert deal.sealed[cohort.names[0]] == digest(cohort.sealed[name][cohort.names[0]])
    adverts = {**cohort.adverts, name: replace(advert, masking_keys=(bytes(32),)).sign(KEYS[name])}
    sealed = {**deal.sealed, cohort.names[0]: MANIFEST}
    deals = {**cohort.deals, name: replace(deal, sealed=sealed).sign(KEYS[name])}
    views = [(cohort.adverts, cohort.deals), (adverts, cohort.deals), (cohort.adverts, deals)]
    assert len({setup_digest(*view) for view in views}) == 3


def test_a_key_masks_one_vector_only() -> None:
    """A retry that masks other data with the same mask would show the difference of the two."""
    cohort = usual(4).set_up()
    values = random_values(cohort.names, 5, 32)
    cohort.mask(0, MANIFEST, values)
    again = values[cohort.names[0]].copy()
    for manifest in (MANIFEST, digest(b"retry")):
        with pytest.raises(WardroundError, match="WR-SECAGG-011"):
            cohort.members[cohort.names[0]].mask(0, manifest, again, round_id=RoundId("r"))
        assert np.array_equal(again, values[cohort.names[0]]), "refused before it was touched"
    for index in (-1, 1, 10**9):
        with pytest.raises(WardroundError, match="WR-SECAGG-011"):
            cohort.members[cohort.names[0]].mask(index, MANIFEST, again, round_id=RoundId("r"))
