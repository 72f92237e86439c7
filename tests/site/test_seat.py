"""The site's seat: what it signs once, what it never signs, and what it forgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedside import ME, PEERS, RUN, Bedside, code
from ward import SITES, policy
from wardround.federation.messages import Ask, Instruction
from wardround.ids import BatchId, RoundId, SiteName
from wardround.secagg.cohort import late_batch
from wardround.site import records

THREE = tuple(sorted((ME, *PEERS[:2])))


@pytest.fixture
async def bedside(tmp_path: Path) -> Bedside:
    return await Bedside(tmp_path).ready()


# Set-up


@pytest.mark.parametrize(
    "ask",
    [
        {"pool": (*SITES, SiteName("somebody-else")), "rounds": 4},
        {"pool": SITES, "rounds": 17},
    ],
    ids=["a stranger in the pool", "more rounds than the study has"],
)
def test_a_set_up_outside_the_study_is_refused(tmp_path: Path, ask: dict[str, object]) -> None:
    seat = Bedside(tmp_path).seat
    asked = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=BatchId("b"), **ask)
    assert code(lambda: seat.advertise(asked)) == "WR-SITE-030"


def test_the_keys_of_late_cohorts_are_not_given_out_for_a_set_up(tmp_path: Path) -> None:
    seat = Bedside(tmp_path).seat
    batch = late_batch(RUN)
    asked = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=batch, pool=SITES, rounds=1)
    assert code(lambda: seat.advertise(asked)) == "WR-SITE-030"


def test_a_set_up_without_this_site_is_refused(tmp_path: Path) -> None:
    seat = Bedside(tmp_path).seat
    asked = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=BatchId("b"), pool=tuple(PEERS), rounds=4)
    assert code(lambda: seat.advertise(asked)) == "WR-SECAGG-007"


def test_the_same_questions_get_the_same_answers(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    bedside.set_up()
    asked = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=bedside.batch, pool=SITES, rounds=4)
    assert bedside.seat.advertise(asked).envelope == bedside.adverts[ME]
    again = bedside.seat.deal(bedside.ask(Ask.DEAL, envelopes=bedside.adverts))
    assert again.envelope == bedside.deals[ME]


def test_shares_are_dealt_for_one_roster_only(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    bedside.set_up()
    fewer = {site: envelope for site, envelope in bedside.adverts.items() if site != PEERS[2]}
    again = bedside.seat.deal(bedside.ask(Ask.DEAL, envelopes=fewer))
    assert again.envelope == bedside.deals[ME], "it repeats what it said, whatever it is asked"


def test_what_was_never_set_up_is_not_taken_part_in(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    for ask in (Ask.DEAL, Ask.VOTE, Ask.RECOVER):
        asked = Instruction(ask=ask, run=RUN, batch=BatchId("b"), round=RoundId("r"))
        call = {Ask.DEAL: bedside.seat.deal, Ask.VOTE: bedside.seat.vote}.get(
            ask, bedside.seat.recover
        )
        assert code(lambda call=call, asked=asked: call(asked)) in ("WR-SITE-033", "WR-SITE-034")


def test_shares_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    bedside.set_up()
    blob = bedside.to_me[PEERS[0]]
    bedside.to_me[PEERS[0]] = blob[:-1] + bytes([blob[-1] ^ 1])
    assert code(lambda: bedside.give_shares(bedside.order())) == "WR-SECAGG-009"


async def test_a_new_set_up_destroys_the_old_keys(bedside: Bedside) -> None:
    order = bedside.order()
    bedside.set_up()
    assert await bedside.refused(order) == "WR-SITE-033"


# The survivor set


async def test_one_set_of_survivors_is_signed_and_repeated(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    first = bedside.seat.vote(bedside.vote_ask(order))
    assert bedside.seat.vote(bedside.vote_ask(order)).envelope.payload == first.envelope.payload
    other = bedside.vote_ask(order, THREE)
    assert code(lambda: bedside.seat.vote(other)) == "WR-SECAGG-014"
    assert {tuple(leaf.facts["survivors"]) for leaf in bedside.leaves("vote")} == {SITES}


async def test_one_set_of_survivors_across_a_restart(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    bedside.restart()
    assert code(lambda: bedside.seat.vote(bedside.vote_ask(order, THREE))) == "WR-SITE-034"
    with bedside.state.database.begin() as connection:
        round_ = order.manifest.round
        again = code(lambda: records.record_vote(connection, round_, THREE))
        assert again == "WR-SITE-027", "and were the keys still there, the record says no"
        records.record_vote(connection, round_, SITES)
        stranger = RoundId("another-round")
        assert code(lambda: records.record_vote(connection, stranger, SITES)) == "WR-SITE-026"
        assert code(lambda: records.record_recovery(connection, stranger)) == "WR-SITE-026"


async def test_the_vote_is_on_disk_before_it_leaves(
    bedside: Bedside, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = bedside.order()
    await bedside.answered(order)

    def fail(*_arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(records, "record_vote", fail)
    with pytest.raises(OSError, match="no space"):
        bedside.seat.vote(bedside.vote_ask(order))
    assert bedside.leaves("vote") == []


@pytest.mark.parametrize(
    ("survivors", "refused"),
    [
        (tuple(PEERS), "WR-SECAGG-013"),
        (SITES[:2], "WR-SITE-032"),
        ((ME, ME, PEERS[0]), "WR-SECAGG-013"),
        (tuple(sorted((ME, PEERS[0], SiteName("zz-else")))), "WR-SECAGG-013"),
        ((), "WR-SITE-032"),
    ],
    ids=["without me", "too few", "twice the same", "a stranger", "nobody"],
)
async def test_a_set_of_survivors_that_is_not_signed(
    bedside: Bedside, survivors: tuple[SiteName, ...], refused: str
) -> None:
    order = bedside.order()
    await bedside.answered(order)
    assert code(lambda: bedside.seat.vote(bedside.vote_ask(order, survivors))) == refused
    assert bedside.leaves("vote") == []


@pytest.mark.parametrize("stricter", ["study", "hospital"])
async def test_the_stricter_minimum_holds_for_the_survivors_too(
    tmp_path: Path, stricter: str
) -> None:
    """Four sites and one corrupt: the adversary statement alone would let three survivors do."""
    if stricter == "study":
        bedside = Bedside(tmp_path, cohort={"minimum_sites": 4})
    else:
        bedside = Bedside(tmp_path, hospital=policy(minimum_sites=4))
    await bedside.ready()
    order = bedside.order(minimum_survivors=4)
    await bedside.answered(order)
    assert code(lambda: bedside.seat.vote(bedside.vote_ask(order, THREE))) == "WR-SITE-032"
    bedside.seat.vote(bedside.vote_ask(order))


async def test_a_vote_on_a_round_that_was_not_answered(bedside: Bedside) -> None:
    order = bedside.order()
    assert code(lambda: bedside.seat.vote(bedside.vote_ask(order))) == "WR-SITE-034"
    await bedside.answered(order)
    other = bedside.ask(Ask.VOTE, round=RoundId("another"), survivors=SITES)
    assert code(lambda: bedside.seat.vote(other)) == "WR-SITE-034"


# The shares


async def test_shares_are_given_against_enough_votes_only(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    votes = bedside.votes(order)
    few = dict(list(votes.items())[:2])
    asked = bedside.recover_ask(order, votes)
    assert code(lambda: bedside.seat.recover(asked)) == "WR-SECAGG-014", "not before its own vote"
    bedside.seat.vote(bedside.vote_ask(order))
    assert code(lambda: bedside.seat.recover(bedside.recover_ask(order, few))) == "WR-SECAGG-015"
    assert bedside.leaves("shares") == []
    first = bedside.seat.recover(asked)
    assert bedside.seat.recover(asked).envelope.payload == first.envelope.payload


async def test_votes_of_another_round_or_set_open_nothing(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    votes = bedside.votes(order, tuple(sorted((ME, *PEERS[1:]))))
    assert code(lambda: bedside.seat.recover(bedside.recover_ask(order, votes))) == (
        "WR-SECAGG-015"
    )
    assert bedside.leaves("shares") == []


async def test_keys_of_a_round_are_forgotten_with_the_next_one(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    following = bedside.order(bedside.task("moments"), index=1, step=1)
    bedside.give_shares(following)
    await bedside.answered(following)
    late = bedside.recover_ask(order, bedside.votes(order))
    assert code(lambda: bedside.seat.recover(late)) == "WR-SITE-034"
