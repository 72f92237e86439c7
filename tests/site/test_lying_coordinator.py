"""Honest hospitals against a coordinator that lies, with as many corrupt sites as the study grants
it: each lie is refused, the reason is in the hospital's journal, and no sum can be opened but the
agreed one. With one corrupt site more, the last tests open one hospital's vector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lying_coordinator import FOUR, SEVEN, Answer, LyingCoordinator, SetUp, lying
from memory import folder_in_memory
from ward import TODAY, plan, policy
from wardround.federation.messages import Ask, Manifest
from wardround.federation.packet import Packet, Status
from wardround.ids import BatchId, SiteName
from wardround.secagg import Advert, Deal, derive, setup_digest
from wardround.study import Task, approve
from wardround.trust.canonical import canonical
from wardround.trust.dsse import sign
from wardround.trust.keys import SigningKey

CORRUPT, ONE, TWO, THREE = FOUR


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield Path(folder)


@pytest.fixture
async def liar(tmp_path: Path) -> AsyncIterator[LyingCoordinator]:
    async with lying(tmp_path) as coordinator:
        yield coordinator


async def begun(liar: LyingCoordinator) -> tuple[SetUp, Task, Manifest]:
    """An honest set-up, and the first round's task and manifest."""
    setup, task = await liar.set_up(), liar.task()
    return setup, task, liar.manifest(setup, task)


def refused(answers: dict[SiteName, Answer]) -> dict[SiteName, str]:
    """The codes in the journals of those who refused."""
    return {site: answer for site, answer in answers.items() if isinstance(answer, str)}


def without(liar: LyingCoordinator, *gone: SiteName) -> tuple[SiteName, ...]:
    return tuple(site for site in liar.sites if site not in gone)


@pytest.mark.parametrize(("sites", "colluding"), [(FOUR, 1), (SEVEN, 2)])
async def test_an_honest_round_opens_the_agreed_sum_and_nothing_else(
    sites: tuple[SiteName, ...], colluding: int, tmp_path: Path
) -> None:
    async with lying(tmp_path, sites, colluding) as liar:
        setup, task, manifest = await begun(liar)
        assert liar.openable(setup, manifest) == set()
        await liar.whole_round(setup, task, manifest)
        honest = frozenset(liar.honest)
        assert liar.openable(setup, manifest) == {honest}
        assert liar.open(setup, manifest, honest) == liar.truth(task, len(sites), honest)


# It shows different sites different things


async def test_different_rosters(liar: LyingCoordinator) -> None:
    setup, _ = await liar.advertise()
    smaller = {site: one for site, one in setup.adverts.items() if site != THREE}
    dealt = await liar.deal(setup, lambda site: setup.adverts if site == ONE else smaller)
    assert refused(dealt) == {THREE: "WR-SECAGG-007"}, "it is not in the roster that it is shown"
    task = liar.task()
    answers = await liar.collect(setup, task, liar.manifest(setup, task))
    # One was shown all four, of whom one dealt nothing; the other sees deals for two rosters.
    assert refused(answers) == {
        ONE: "WR-SECAGG-008",
        TWO: "WR-SECAGG-008",
        THREE: "WR-SECAGG-010",
    }


async def test_different_keys_of_a_corrupt_site(liar: LyingCoordinator) -> None:
    setup, _ = await liar.advertise()
    key = liar.keys.sites[CORRUPT]
    first = Advert.open(setup.adverts[CORRUPT], key.public)
    other = replace(first, masking_keys=(derive.public_key(bytes(32)), *first.masking_keys[1:]))
    second = {**setup.adverts, CORRUPT: other.sign(key)}
    await liar.deal(setup, lambda site: second if site == ONE else setup.adverts)
    task = liar.task()
    answers = await liar.collect(setup, task, liar.manifest(setup, task))
    assert refused(answers) == dict.fromkeys(liar.honest, "WR-SECAGG-008")


async def test_different_shares_of_a_corrupt_site(liar: LyingCoordinator) -> None:
    """It signs a second deal, and each hospital accepts the one that it is shown. The manifest
    names all deals, so one manifest is refused by half of them, and two gather no votes."""
    setup, task, manifest = await begun(liar)
    key = liar.keys.sites[CORRUPT]
    first = Deal.open(setup.deals[CORRUPT], key.public)
    other = replace(first, sealed={**first.sealed, THREE: manifest.digest})
    second = {**setup.deals, CORRUPT: other.sign(key)}
    assert isinstance(await liar.contribute(ONE, setup, task, manifest), Packet)
    answer = await liar.contribute(TWO, setup, task, manifest, envelopes=second)
    assert answer == "WR-SITE-031"
    told = liar.manifest(setup, task, setup=setup_digest(setup.adverts, second))
    assert isinstance(await liar.contribute(TWO, setup, task, told, envelopes=second), Packet)
    assert isinstance(await liar.contribute(THREE, setup, task, manifest), Packet)
    votes = await liar.votes(manifest, liar.sites)
    for site in liar.honest:
        assert await liar.recover(site, manifest, liar.sites, votes) == "WR-SECAGG-015"
    assert liar.openable(setup, manifest) == set()


async def test_a_manifest_over_other_members(liar: LyingCoordinator) -> None:
    setup, task, _ = await begun(liar)
    stranger = tuple(sorted((*liar.sites[:3], SiteName("zz-else"))))
    for lie in ({"roster": stranger}, {"setup": task.hash}):
        code = await liar.contribute(ONE, setup, task, liar.manifest(setup, task, **lie))
        assert code == "WR-SITE-031"


async def test_different_manifests_for_one_round(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    other = liar.manifest(setup, task, minimum_survivors=4)
    assert isinstance(await liar.contribute(ONE, setup, task, manifest), Packet)
    assert isinstance(await liar.contribute(TWO, setup, task, other), Packet)
    assert isinstance(await liar.contribute(THREE, setup, task, manifest), Packet)
    votes = await liar.votes(manifest, liar.sites)
    assert votes.keys() == set(liar.sites), "each votes, under the manifest that it was shown"
    for mine in (manifest, other):
        for site in liar.honest:
            assert await liar.recover(site, mine, liar.sites, votes) == "WR-SECAGG-015"
    for mine in (manifest, other):
        assert liar.openable(setup, mine) == set()


async def test_different_models_for_one_round(liar: LyingCoordinator) -> None:
    """The model's hash is in the manifest: the masks of those who got another don't cancel."""
    setup = await liar.set_up()
    scales = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
    tasks = [liar.task("newton_logistic", np.full(3, level), **scales) for level in (0.0, 0.5)]
    manifests = [liar.manifest(setup, task) for task in tasks]
    shown = {ONE: 0, TWO: 1, THREE: 1}
    for site, which in shown.items():
        answer = await liar.contribute(site, setup, tasks[which], manifests[which])
        assert isinstance(answer, Packet)
    for site, which in shown.items():  # and a second model for who has answered is another packet
        other = await liar.contribute(site, setup, tasks[1 - which], manifests[1 - which])
        assert isinstance(other, Packet) and other.header.manifest == manifests[which].digest
    body = tasks[1].model.tobytes() if tasks[1].model is not None else b""
    honest = liar.manifest(setup, tasks[0], index=1, step=1)
    code = await liar.honest[ONE].ask(
        liar.ask(
            Ask.CONTRIBUTE,
            setup.batch,
            round=honest.round,
            manifest=honest.sign(liar.keys.coordinator),
            task=tasks[0].to_wire(),
            model=tasks[0].model_digest,
            model_bytes=len(body),
        ),
        body,
    )
    assert code == "WR-STUDY-061", "another model than the signed task names"
    votes = {site: liar.false_vote(site, manifests[1], liar.sites) for site in liar.colluders}
    votes |= await liar.votes(manifests[1], liar.sites)
    for site in liar.honest:
        assert await liar.recover(site, manifests[1], liar.sites, votes) == "WR-SECAGG-015"
    assert all(liar.openable(setup, one) == set() for one in manifests)


@pytest.mark.parametrize(("sites", "colluding"), [(FOUR, 1), (SEVEN, 2)])
async def test_another_set_of_survivors_for_every_helper(
    sites: tuple[SiteName, ...], colluding: int, tmp_path: Path
) -> None:
    """The attack of DESIGN section 5, with its own sites voting for every set."""
    async with lying(tmp_path, sites, colluding) as liar:
        setup, task, manifest = await begun(liar)
        await liar.collect(setup, task, manifest)
        honest = list(liar.honest)
        told = {
            site: without(liar, honest[(place + 1) % len(honest)])
            for place, site in enumerate(honest)
        }
        signed = {}
        for site, survivors in told.items():
            signed[site] = await liar.votes(manifest, survivors, [site])
            assert site in signed[site], "each set by itself is one that may be signed"
        every = {site: votes[site] for site, votes in signed.items()}
        for site, survivors in told.items():
            for pile in (signed[site], every, {**every, **signed[site]}):
                assert await liar.recover(site, manifest, survivors, pile) == "WR-SECAGG-015"
        assert liar.openable(setup, manifest) == set()


async def test_two_sets_of_survivors_for_two_halves(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    await liar.collect(setup, task, manifest)
    first, second = liar.sites, without(liar, ONE)
    votes = [await liar.votes(manifest, first, [ONE, TWO])]
    votes.append(await liar.votes(manifest, second, [THREE]))
    for site in (ONE, TWO):
        assert isinstance(await liar.recover(site, manifest, first, votes[0]), Status)
        code = "WR-SECAGG-013" if site == ONE else "WR-SECAGG-014"
        assert await liar.recover(site, manifest, second, votes[1]) == code
    assert await liar.recover(THREE, manifest, second, votes[1]) == "WR-SECAGG-015"
    assert await liar.recover(THREE, manifest, first, votes[0]) == "WR-SECAGG-014"
    assert liar.openable(setup, manifest) == {frozenset(liar.honest)}


# It asks for more than one answer


async def test_both_kinds_of_share(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    await liar.collect(setup, task, manifest)
    first, second = liar.sites, without(liar, THREE)
    votes = await liar.votes(manifest, first)
    for site in (ONE, TWO, THREE):
        assert isinstance(await liar.recover(site, manifest, first, votes), Status)
    for site in (ONE, TWO):
        assert await liar.vote(site, manifest, second) == "WR-SECAGG-014"
        forged = {one: liar.false_vote(one, manifest, second) for one in liar.colluders}
        assert await liar.recover(site, manifest, second, forged) == "WR-SECAGG-014"
    assert liar.openable(setup, manifest) == {frozenset(liar.honest)}


async def test_shares_before_a_vote_or_without_a_packet(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    assert await liar.vote(ONE, manifest, liar.sites) == "WR-SITE-034"
    assert await liar.recover(ONE, manifest, liar.sites, {}) == "WR-SITE-034"
    await liar.collect(setup, task, manifest)
    votes = await liar.votes(manifest, liar.sites, [TWO, THREE])
    assert await liar.recover(ONE, manifest, liar.sites, votes) == "WR-SECAGG-014"


async def test_forged_votes(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    await liar.collect(setup, task, manifest)
    votes = await liar.votes(manifest, liar.sites, [ONE])
    forged = liar.false_vote(CORRUPT, manifest, liar.sites)
    own = liar.false_vote(TWO, manifest, liar.sites)  # the test may sign for TWO: the liar may not
    stranger = sign(own.payload_type, own.payload, SigningKey.generate())
    pretended = replace(stranger, signatures=(replace(own.signatures[0], sig=bytes(64)),))
    for vote, code in (
        (forged, "WR-TRUST-022"),
        (stranger, "WR-TRUST-022"),
        (pretended, "WR-TRUST-023"),
    ):
        assert await liar.recover(ONE, manifest, liar.sites, {**votes, TWO: vote}) == code
    assert await liar.recover(ONE, manifest, liar.sites, votes) == "WR-SECAGG-015", (
        "two are too few"
    )
    assert liar.openable(setup, manifest) == set()


async def test_one_task_over_two_sets_of_survivors(liar: LyingCoordinator) -> None:
    """The difference would be one hospital; in the same batch, and over another roster."""
    setup, task, manifest = await begun(liar)
    await liar.whole_round(setup, task, manifest)
    again = liar.manifest(setup, task, index=1, attempt=1)
    answers = await liar.collect(setup, task, again)
    assert refused(answers) == dict.fromkeys(liar.honest, "WR-SITE-022")
    smaller = await liar.set_up(without(liar, THREE))
    again = liar.manifest(smaller, task, attempt=2)
    answers = await liar.collect(smaller, task, again)
    assert refused(answers) == {ONE: "WR-SITE-022", TWO: "WR-SITE-022"}


async def test_one_task_again_over_the_same_survivors(liar: LyingCoordinator) -> None:
    """It is answered, since it opens nothing new; and never over fewer, whoever drops out then."""
    setup, task, manifest = await begun(liar)
    await liar.whole_round(setup, task, manifest)
    fresh = await liar.set_up()
    again = liar.manifest(fresh, task, attempt=1, minimum_survivors=len(FOUR))
    answers = await liar.collect(fresh, task, again)
    assert refused(answers) == {}
    for site in liar.honest:
        for missing in (CORRUPT, THREE):
            assert await liar.vote(site, again, without(liar, missing)) == "WR-SITE-032"
    votes = await liar.votes(again, liar.sites)
    for site in liar.honest:
        assert isinstance(await liar.recover(site, again, liar.sites, votes), Status)
    assert liar.openable(fresh, again) == {frozenset(liar.honest)}
    assert liar.open(fresh, again, liar.honest) == liar.open(setup, manifest, liar.honest)


async def test_one_task_again_over_other_survivors_with_nobody_missing(
    liar: LyingCoordinator,
) -> None:
    """First without one hospital, then with it: the difference would be what it gave."""
    setup, task, manifest = await begun(liar)
    await liar.whole_round(setup, task, manifest, without(liar, THREE))
    fresh = await liar.set_up()
    again = liar.manifest(fresh, task, attempt=1, minimum_survivors=len(FOUR))
    answers = await liar.collect(fresh, task, again)
    assert refused(answers) == {ONE: "WR-SITE-022", TWO: "WR-SITE-022"}
    assert await liar.vote(THREE, again, (CORRUPT, THREE)) == "WR-SITE-032"
    votes = await liar.votes(again, liar.sites)
    assert await liar.recover(THREE, again, liar.sites, votes) == "WR-SECAGG-015"


async def test_the_same_question_in_the_next_step(liar: LyingCoordinator) -> None:
    """What no refusal prevents without noise, as DESIGN section 4 and the profile's page say:
    a step is a task of its own, and the coordinator chooses who drops out of it."""
    setup, task, manifest = await begun(liar)
    await liar.whole_round(setup, task, manifest)
    following = liar.manifest(setup, task, index=1, step=1)
    await liar.whole_round(setup, task, following, without(liar, THREE))
    first = liar.open(setup, manifest, liar.honest)
    second = liar.open(setup, following, [ONE, TWO])
    difference = [(a - b) % 2**64 for a, b in zip(first, second, strict=True)]
    assert difference == liar.truth(task, len(FOUR), [THREE])
    charged = [len(liar.honest[site].journal("packet")) for site in (ONE, TWO, THREE)]
    assert charged == [2, 2, 1], "every answer is in the account and in the journal"


async def test_a_task_again_from_those_who_gave_no_shares(liar: LyingCoordinator) -> None:
    """Only helpers know that the task is closed; those who are left are too few for a total."""
    setup, task, manifest = await begun(liar)
    await liar.collect(setup, task, manifest)
    votes = await liar.votes(manifest, liar.sites)
    for site in (ONE, TWO):  # with the corrupt site's own: three helpers
        assert isinstance(await liar.recover(site, manifest, liar.sites, votes), Status)
    assert liar.openable(setup, manifest) == {frozenset(liar.honest)}
    again = liar.manifest(setup, task, index=1, attempt=1)
    answers = await liar.collect(setup, task, again)
    assert refused(answers) == {ONE: "WR-SITE-022", TWO: "WR-SITE-022"}
    few = (CORRUPT, THREE)
    assert await liar.vote(THREE, again, few) == "WR-SITE-032"
    votes = await liar.votes(again, liar.sites)
    assert await liar.recover(THREE, again, liar.sites, votes) == "WR-SECAGG-015"
    assert liar.openable(setup, again) == set()


async def test_other_data_under_the_same_keys(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    packet = await liar.contribute(ONE, setup, task, manifest)
    assert isinstance(packet, Packet)
    first = packet.payload.read_bytes()
    other = liar.task("moments")
    for lie in (
        liar.manifest(setup, other, index=0, step=1),
        liar.manifest(setup, task, index=0, attempt=1),
    ):
        asked = other if lie.task == other.hash else task
        assert await liar.contribute(ONE, setup, asked, lie) == "WR-SITE-025"
    again = await liar.contribute(ONE, setup, task, manifest)
    assert isinstance(again, Packet) and again.payload.read_bytes() == first


async def test_a_set_up_used_anew(liar: LyingCoordinator) -> None:
    """An old batch is gone with its keys, and its name brings nothing of it back."""
    old, task, manifest = await begun(liar)
    await liar.set_up()
    assert await liar.contribute(ONE, old, task, manifest) == "WR-SITE-033"
    reborn, _ = await liar.advertise(batch=old.batch)
    for site in liar.honest:
        assert reborn.adverts[site].payload != old.adverts[site].payload
        deal = liar.ask(Ask.DEAL, old.batch, envelopes=old.adverts)
        assert await liar.honest[site].ask(deal) == "WR-SECAGG-007"
    mixed = {**reborn.adverts, TWO: old.adverts[TWO]}
    await liar.deal(reborn, lambda site: mixed if site == ONE else reborn.adverts)
    answers = await liar.collect(reborn, task, liar.manifest(reborn, task))
    assert set(refused(answers).values()) == {"WR-SECAGG-008"}


async def test_more_rounds_than_were_set_up(liar: LyingCoordinator) -> None:
    setup, task, _ = await begun(liar)
    lie = liar.manifest(setup, task, index=4)
    assert await liar.contribute(ONE, setup, task, lie) == "WR-SECAGG-011"


async def test_old_rounds_replayed(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    votes = await liar.whole_round(setup, task, manifest)
    other = liar.task("moments")
    following = liar.manifest(setup, other, index=1, step=1)
    await liar.collect(setup, other, following)
    replayed = await liar.contribute(ONE, setup, task, manifest)
    assert replayed == "WR-SITE-016", "the packet is spooled until the next one is"
    assert await liar.vote(ONE, manifest, without(liar, THREE)) == "WR-SITE-034"
    assert await liar.recover(ONE, manifest, liar.sites, votes) == "WR-SITE-034"
    assert isinstance(await liar.vote(ONE, following, liar.sites), Status)
    assert await liar.recover(ONE, following, liar.sites, votes) == "WR-SECAGG-015"
    assert liar.openable(setup, following) == set()


async def test_a_journal_rewritten_between_rounds(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    await liar.collect(setup, task, manifest)
    head = manifest.journal.model_copy(update={"root": "ab" * 32})
    other = liar.task("moments")
    lie = liar.manifest(setup, other, index=1, step=1, journal=head)
    code = await liar.contribute(ONE, setup, other, lie)
    assert isinstance(code, str) and code.startswith("WR-TRUST-05")


# It claims a smaller cohort, or other members


async def test_a_cohort_of_one(liar: LyingCoordinator) -> None:
    for pool in ((ONE,), (CORRUPT, ONE)):
        ask = liar.ask(Ask.ADVERTISE, BatchId("small"), pool=pool, rounds=4)
        assert await liar.honest[ONE].ask(ask) == "WR-SECAGG-006"
    setup, _ = await liar.advertise()
    few = {site: setup.adverts[site] for site in (CORRUPT, ONE)}
    deal = liar.ask(Ask.DEAL, setup.batch, envelopes=few)
    assert await liar.honest[ONE].ask(deal) == "WR-SECAGG-001"
    setup, task, manifest = await begun(liar)
    for roster in ([ONE], []):
        lie = {**manifest.model_dump(mode="json"), "roster": roster}
        envelope = sign(Manifest.payload_type(), canonical(lie), liar.keys.coordinator)
        ask = liar.ask(
            Ask.CONTRIBUTE,
            setup.batch,
            round=manifest.round,
            manifest=envelope,
            task=task.to_wire(),
        )
        code = await liar.honest[ONE].ask(ask)
        assert code == "WR-ROUND-001"
    for lie in ({"minimum_survivors": 1}, {"threshold": 1}, {"corrupt": 0}):
        assert await liar.contribute(ONE, setup, task, liar.manifest(setup, task, **lie)) == (
            "WR-SITE-011"
        )
    await liar.collect(setup, task, manifest)
    for survivors in ((ONE,), (CORRUPT, ONE), ()):
        assert await liar.vote(ONE, manifest, survivors) == "WR-SITE-032"
    assert await liar.vote(ONE, manifest, (CORRUPT, ONE, ONE)) == "WR-SECAGG-013"
    assert liar.openable(setup, manifest) == set()


async def test_keys_swapped_for_its_own(liar: LyingCoordinator) -> None:
    """Its own between every pair, one site's given as another's, and one site's for all."""
    setup, _ = await liar.advertise()
    theirs = Advert.open(setup.adverts[TWO], liar.keys.sites[TWO].public)
    mine = replace(theirs, masking_keys=tuple(derive.public_key(bytes([n]) * 32) for n in range(4)))
    views = {
        "WR-TRUST-022": mine.sign(liar.keys.coordinator),
        "WR-TRUST-023": replace(
            mine.sign(liar.keys.coordinator), signatures=setup.adverts[TWO].signatures
        ),
        "WR-SECAGG-007": replace(theirs, site=CORRUPT).sign(liar.keys.sites[TWO]),
    }
    for code, envelope in views.items():
        deal = liar.ask(Ask.DEAL, setup.batch, envelopes={**setup.adverts, TWO: envelope})
        assert await liar.honest[ONE].ask(deal) == code
    swapped = {**setup.adverts, TWO: setup.adverts[THREE], THREE: setup.adverts[TWO]}
    deal = liar.ask(Ask.DEAL, setup.batch, envelopes=swapped)
    assert await liar.honest[ONE].ask(deal) == "WR-TRUST-022"
    corrupt = Advert.open(setup.adverts[CORRUPT], liar.keys.sites[CORRUPT].public)
    copied = replace(corrupt, sealing_key=theirs.sealing_key).sign(liar.keys.sites[CORRUPT])
    deal = liar.ask(Ask.DEAL, setup.batch, envelopes={**setup.adverts, CORRUPT: copied})
    assert await liar.honest[ONE].ask(deal) == "WR-SECAGG-007"


async def test_shares_altered_on_the_way(liar: LyingCoordinator) -> None:
    setup, task, manifest = await begun(liar)
    blobs = setup.sealed_to(ONE)
    for altered in (
        {**blobs, TWO: blobs[THREE]},
        {**blobs, TWO: blobs[TWO][:-1]},
        {**blobs, TWO: setup.sealed[TWO][THREE]},
        {site: blob for site, blob in blobs.items() if site != TWO},
    ):
        code = await liar.contribute(ONE, setup, task, manifest, blobs=altered)
        assert code == "WR-SECAGG-009"
    assert isinstance(await liar.contribute(ONE, setup, task, manifest), Packet)


# Who may join


async def test_a_stranger_in_the_pool(liar: LyingCoordinator) -> None:
    sybil = SiteName("sybil")
    for pool in ((*liar.sites, sybil), (ONE, TWO, sybil)):
        ask = liar.ask(Ask.ADVERTISE, BatchId("b"), pool=tuple(sorted(pool)), rounds=4)
        assert await liar.honest[ONE].ask(ask) == "WR-SITE-030"
    setup, _ = await liar.advertise()
    theirs = Advert.open(setup.adverts[TWO], liar.keys.sites[TWO].public)
    key = SigningKey.generate()
    posing = replace(theirs, site=sybil, pool=tuple(sorted((*theirs.pool, sybil)))).sign(key)
    deal = liar.ask(Ask.DEAL, setup.batch, envelopes={**setup.adverts, sybil: posing})
    assert await liar.honest[ONE].ask(deal) == "WR-SECAGG-007", "its key is not in the study"


async def test_a_name_of_the_study_under_another_key(liar: LyingCoordinator) -> None:
    """Whoever the certificate authority, which is the coordinator's, lets in under that name."""
    setup, _ = await liar.advertise()
    theirs = Advert.open(setup.adverts[TWO], liar.keys.sites[TWO].public)
    fresh = tuple(derive.public_key(bytes([n]) * 32) for n in range(4))
    posing = replace(theirs, masking_keys=fresh).sign(SigningKey.generate())
    deal = liar.ask(Ask.DEAL, setup.batch, envelopes={**setup.adverts, TWO: posing})
    assert await liar.honest[ONE].ask(deal) == "WR-TRUST-022"


async def test_one_hospital_under_two_names(liar: LyingCoordinator) -> None:
    """A corrupt site signs for a second seat in the roster, with its own key and with copies."""
    setup, _ = await liar.advertise()
    key = liar.keys.sites[CORRUPT]
    own = Advert.open(setup.adverts[CORRUPT], key.public)
    fresh = tuple(derive.public_key(bytes([n]) * 32) for n in range(4))
    second = replace(own, site=TWO, sealing_key=derive.public_key(b"2" * 32), masking_keys=fresh)
    for envelope, code in (
        (second.sign(key), "WR-TRUST-022"),
        (setup.adverts[CORRUPT], "WR-TRUST-022"),
    ):
        deal = liar.ask(Ask.DEAL, setup.batch, envelopes={**setup.adverts, TWO: envelope})
        assert await liar.honest[ONE].ask(deal) == code


async def test_a_site_that_is_enrolled_but_did_not_approve(liar: LyingCoordinator) -> None:
    """Its agent runs; its steward signed another version. It is in no sum, whoever asks."""
    site = liar.honest[ONE]
    earlier = liar.keys.seal(plan(version=2))
    approval = approve(earlier, ONE, site.key, TODAY)
    site.papers = replace(site.papers, approval=approval)
    await site.restart()
    setup, task, manifest = await begun(liar)
    answers = await liar.collect(setup, task, manifest)
    assert refused(answers) == {ONE: "WR-STUDY-072"}
    for survivors in (liar.sites, without(liar, ONE)):
        assert await liar.vote(ONE, manifest, survivors) == "WR-SITE-034"
    assert ONE not in set().union(*liar.openable(setup, manifest))


async def test_the_hospitals_own_minimum_holds_at_the_manifest_and_at_the_survivors(
    tmp_path: Path,
) -> None:
    async with lying(tmp_path, hospital=policy(minimum_sites=4)) as liar:
        setup, task, manifest = await begun(liar)
        assert manifest.minimum_survivors == 3
        assert await liar.contribute(ONE, setup, task, manifest) == "WR-SITE-011"
        enough = liar.manifest(setup, task, minimum_survivors=4)
        await liar.collect(setup, task, enough)
        assert await liar.vote(ONE, enough, without(liar, THREE)) == "WR-SITE-032"
        assert isinstance(await liar.vote(ONE, enough, liar.sites), Status)


async def test_a_roster_below_the_hospitals_own_minimum_is_never_opened(tmp_path: Path) -> None:
    """No honest manifest over three exists for it; one that promises four can't be kept."""
    async with lying(tmp_path, colluding=0, hospital=policy(minimum_sites=4)) as liar:
        setup = await liar.set_up(without(liar, THREE))
        task = liar.task()
        assert await liar.contribute(ONE, setup, task, liar.manifest(setup, task)) == "WR-SITE-011"
        lie = liar.manifest(setup, task, minimum_survivors=4)
        await liar.collect(setup, task, lie)
        for site in setup.roster:
            assert await liar.vote(site, lie, setup.roster) == "WR-SITE-032"
        assert liar.openable(setup, lie) == set()


# It turns back the clock


async def test_a_helper_restarted_from_an_old_snapshot(liar: LyingCoordinator) -> None:
    """The keys were in memory only, so whatever the database says, nothing is signed any more."""
    setup, task, manifest = await begun(liar)
    before = liar.honest[ONE].snapshot()
    await liar.collect(setup, task, manifest)
    answered = liar.honest[ONE].snapshot()
    votes = await liar.votes(manifest, liar.sites)
    assert isinstance(await liar.recover(ONE, manifest, liar.sites, votes), Status)
    other = without(liar, THREE)
    for snapshot in (answered, before):
        await liar.honest[ONE].roll_back(snapshot)
        assert await liar.vote(ONE, manifest, other) == "WR-SITE-034"
        assert await liar.recover(ONE, manifest, other, votes) == "WR-SITE-034"
        assert await liar.contribute(ONE, setup, task, manifest) in ("WR-SITE-016", "WR-SITE-033")
    for site in (TWO, THREE):
        assert isinstance(await liar.recover(site, manifest, liar.sites, votes), Status)
    assert liar.openable(setup, manifest) == {frozenset(liar.honest)}


async def test_as_many_sites_rolled_back_as_may_be_corrupt(tmp_path: Path) -> None:
    """Rolled back it has forgotten that the task is closed, and counts as corrupt. The others
    have not, and with only one such site no second total comes together."""
    async with lying(tmp_path, colluding=0) as liar:
        setup, task, manifest = await begun(liar)
        old = liar.honest[CORRUPT].snapshot()
        await liar.whole_round(setup, task, manifest)
        await liar.honest[CORRUPT].roll_back(old)
        fresh = await liar.set_up()
        again = liar.manifest(fresh, task, attempt=1)
        answers = await liar.collect(fresh, task, again)
        assert refused(answers) == dict.fromkeys((ONE, TWO, THREE), "WR-SITE-022")
        assert isinstance(answers[CORRUPT], Packet)
        assert await liar.vote(CORRUPT, again, (CORRUPT,)) == "WR-SITE-032"
        votes = await liar.votes(again, liar.sites)
        assert await liar.recover(CORRUPT, again, liar.sites, votes) == "WR-SECAGG-015"
        assert liar.openable(fresh, again) == set()


async def test_more_sites_rolled_back_than_may_be_corrupt(tmp_path: Path) -> None:
    """What then breaks: one task over two sets of survivors, whose difference is one hospital."""
    async with lying(tmp_path, colluding=0) as liar:
        setup, task, manifest = await begun(liar)
        old = {site: one.snapshot() for site, one in liar.honest.items() if site != THREE}
        await liar.whole_round(setup, task, manifest)
        everyone = liar.open(setup, manifest, liar.sites)
        for site, snapshot in old.items():
            await liar.honest[site].roll_back(snapshot)
        fresh = await liar.set_up()
        again = liar.manifest(fresh, task, attempt=1)
        await liar.whole_round(fresh, task, again, list(old))
        others = liar.open(fresh, again, old)
        difference = [(a - b) % 2**64 for a, b in zip(everyone, others, strict=True)]
        assert difference == liar.truth(task, len(FOUR), [THREE])


# One corrupt site more than the study grants


@pytest.mark.parametrize(("sites", "colluding"), [(FOUR, 2), (SEVEN, 3)])
async def test_with_one_corrupt_site_too_many_a_hospital_is_opened(
    sites: tuple[SiteName, ...], colluding: int, tmp_path: Path
) -> None:
    """Two sets of survivors both gather votes: the victim survives in one and not in the other."""
    async with lying(tmp_path, sites, colluding) as liar:
        assert colluding == liar.study.adversary(len(sites)).corrupt + 1
        setup, task, manifest = await begun(liar)
        await liar.collect(setup, task, manifest)
        honest = list(liar.honest)
        victim, half = honest[0], len(honest) // 2
        first, second = liar.sites, without(liar, victim)
        for survivors, voters in ((first, honest[:half]), (second, honest[half:])):
            votes = await liar.votes(manifest, survivors, voters)
            for site in voters:
                assert isinstance(await liar.recover(site, manifest, survivors, votes), Status)
        assert frozenset([victim]) in liar.openable(setup, manifest)
        assert liar.open(setup, manifest, [victim]) == liar.truth(task, len(sites), [victim])


@pytest.mark.parametrize(("sites", "colluding"), [(FOUR, 1), (SEVEN, 2)])
async def test_with_as_many_as_are_granted_the_same_attack_opens_nobody(
    sites: tuple[SiteName, ...], colluding: int, tmp_path: Path
) -> None:
    async with lying(tmp_path, sites, colluding) as liar:
        setup, task, manifest = await begun(liar)
        await liar.collect(setup, task, manifest)
        honest = list(liar.honest)
        victim, half = honest[0], (len(honest) + 1) // 2
        opened = 0
        for survivors, voters in (
            (liar.sites, honest[:half]),
            (without(liar, victim), honest[half:]),
        ):
            votes = await liar.votes(manifest, survivors, voters)
            answers = [await liar.recover(one, manifest, survivors, votes) for one in voters]
            assert len({isinstance(one, Status) for one in answers}) == 1
            opened += isinstance(answers[0], Status)
        assert opened == 1
        assert liar.openable(setup, manifest) <= {frozenset(liar.honest)}
