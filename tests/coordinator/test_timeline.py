"""What a run waits for, from rows alone: rounds, set-ups, draws and endings moved by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies import document as study_document
from wardround.cli.timeline_picture import lines
from wardround.coordinator import timewords as words
from wardround.coordinator.connecting import Connecting, Wanted
from wardround.coordinator.own import own_document
from wardround.coordinator.rows import (
    DrawRow,
    Hindered,
    RoundRow,
    Rows,
    RunRow,
    SaidRow,
    SetupRow,
)
from wardround.coordinator.timeline import (
    Doing,
    Mark,
    Timeline,
    document,
    timeline,
)
from wardround.federation.causes import Cause, Hindrance, Incident
from wardround.federation.draw import Draw
from wardround.federation.messages import group_of, group_run
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.study import Study
from wardround.trust.keys import SigningKey

STUDY = Study.parse(study_document(cohort={"deadline_s": 60.0}))
A, B, C, D = SITES = STUDY.site_names
RUN = RunId("20260101T000000-00000000")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BATCH = BatchId(f"{RUN}.b.000000")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


SETUP = Setup(batch=BATCH, run=RUN, pool=SITES, rounds=4, minimum=3)
READY = replace(SETUP, phase=SetupPhase.READY, advertised=frozenset(SITES), dealt=frozenset(SITES))


def round_(step: int = 0, attempt: int = 0, run: RunId = RUN) -> Round:
    return Round(
        round=RoundId(f"{run}.r.{step:06d}.{attempt}"),
        run=run,
        step=step,
        attempt=attempt,
        batch=BATCH,
        index=0,
        roster=SITES,
        threshold=2,
        minimum=3,
        needed=2,
    )


def row(state: Round, started_s: float = 10.0, phase_s: float = 10.0) -> RoundRow:
    return RoundRow(state, "moments", at(started_s), at(phase_s))


def rows(**changes: object) -> Rows:
    plain = {
        "run": RunRow(RUN, "running", NOON),
        "setups": (SetupRow(READY, at(8)),),
        "enrolled": frozenset(SITES),
        "approved": frozenset(SITES),
        "heard": {site: at(29) for site in SITES},
        "alive_at": at(30),
    }
    return Rows(**{**plain, **changes})


def seen(now_s: float = 30.0, **changes: object) -> Timeline:
    return timeline(rows(**changes), STUDY, at(now_s))


def doings(found: Timeline) -> dict[SiteName, Doing]:
    return {lane.site: lane.doing for lane in found.lanes}


def said(kind: str, site: SiteName, scope: str, seconds: float, **told: object) -> SaidRow:
    return SaidRow(scope, kind, site, at(seconds), **told)


def test_a_round_waits_for_those_whose_packets_have_not_come() -> None:
    state = round_().on_packet(A).on_packet(B)
    state = state.on_refused(C)
    about = state.round
    found = seen(
        rounds=(row(state),),
        said=(
            said("packet", A, about, 12),
            said("packet", B, about, 13),
            said("refusal", C, about, 14, cause=Cause.DISK, incident="7KQ2-M9XA"),
        ),
    )
    (stage,) = found.stages
    assert (stage.phase, stage.waits_for, stage.since) == ("round.collect", (D,), at(10))
    assert (stage.deadline, stage.enough, stage.asked) == (at(70), 3, 3)
    assert doings(found) == {
        A: Doing.ANSWERED,
        B: Doing.ANSWERED,
        C: Doing.REFUSED,
        D: Doing.WAITED_FOR,
    }
    assert [found.lane(site).since for site in SITES] == [at(12), at(13), at(14), at(10)]
    refusal = found.lane(C).refusal
    assert refusal is not None and refusal.incident == "7KQ2-M9XA"
    assert found.lane(D).marks == (Mark.OPEN,) and found.lane(C).marks == (Mark.REFUSED,)
    told = words.refusal(found.lane(C))
    assert "step 1, attempt 1" in told and "7KQ2-M9XA" in told and "disk" in told


def test_the_sentences_name_who_is_missing_and_what_the_deadline_decides() -> None:
    enough = seen(rounds=(row(round_().on_packet(A).on_packet(B).on_packet(C)),))
    (stage,) = enough.stages
    assert words.waiting(enough, stage) == f"contribution of {D}, since 20 s; 40 s more at most"
    assert words.following(enough, stage).endswith(f"at its own deadline without {D}")
    few = seen(90, rounds=(row(round_().on_packet(A)),))
    (stage,) = few.stages
    assert words.waiting(few, stage).endswith("; the deadline passed 20 s ago")
    assert "as soon as 2 more have answered" in words.following(few, stage)
    assert "tried again with fresh keys" in words.following(few, stage)
    last = seen(rounds=(row(round_(attempt=STUDY.cohort.attempts - 1)),))
    assert words.following(last, last.stages[0]).endswith("at the deadline the run ends")


def test_how_long_an_answer_usually_takes_is_said_of_whoever_owes_it() -> None:
    times = {(D, "moments"): (3.0, 4.0, 5.0), (A, "moments"): (1.0, 1.0, 1.0)}
    found = seen(rounds=(row(round_().on_packet(A)),), times=times)
    assert found.lane(D).usual_s == 4.0 and found.lane(A).usual_s is None
    assert words.doing(found, found.lane(D), "round.collect").endswith("(usual: 4.0 s)")


def test_a_site_that_missed_the_packet_is_missing_in_the_vote() -> None:
    state = round_()
    for site in (A, B, C):
        state = state.on_packet(site)
    state = state.on_deadline().on_vote(A)
    found = seen(rounds=(row(state, phase_s=70),), now_s=71)
    assert found.stages[0].phase == "round.vote"
    assert found.stages[0].waits_for == (B, C)
    assert doings(found)[D] is Doing.MISSING and doings(found)[A] is Doing.ANSWERED
    assert found.lane(D).marks == (Mark.MISSING,)


def test_only_the_helpers_owe_a_share() -> None:
    state = round_()
    for site in SITES:
        state = state.on_packet(site)
    state = state.on_vote(A).on_vote(B)
    found = seen(rounds=(row(state),))
    assert found.stages[0].phase == "round.recover"
    assert found.stages[0].waits_for == (A, B)
    assert doings(found)[C] is Doing.NOT_ASKED


def test_a_restart_gives_everybody_the_whole_deadline_anew() -> None:
    run = RunRow(RUN, "running", NOON, resumed_at=at(50))
    found = seen(60, run=run, rounds=(row(round_()),))
    assert found.stages[0].since == at(10)
    assert found.stages[0].deadline == at(110)


@pytest.mark.parametrize(
    ("move", "phase", "waits", "missing"),
    [
        (lambda one: one.on_advert(A), "set-up.advertise", (B, C, D), ()),
        (
            lambda one: one.on_advert(A).on_advert(B).on_advert(C).on_deadline().on_deal(A),
            "set-up.deal",
            (B, C),
            (D,),
        ),
    ],
)
def test_a_set_up(
    move: object, phase: str, waits: tuple[SiteName, ...], missing: tuple[SiteName, ...]
) -> None:
    found = seen(setups=(SetupRow(move(SETUP), at(5)),))
    (stage,) = found.stages
    assert (stage.phase, stage.waits_for, tuple(stage.missing)) == (phase, waits, missing)
    assert stage.deadline == at(65)
    assert words.place(found, stage) == "set-up 1 of masking keys"
    assert doings(found)[A] is Doing.ANSWERED


def test_a_site_outside_the_pool_is_left_out_and_said_to_be_gone() -> None:
    heard = {site: at(29) for site in SITES if site != D}
    setup = replace(SETUP, pool=(A, B, C))
    found = seen(setups=(SetupRow(setup, at(5)),), heard=heard)
    lane = found.lane(D)
    assert (lane.doing, lane.connected) == (Doing.LEFT_OUT, False)
    assert words.doing(found, lane, "set-up.advertise") == "not in this cohort, not connected"


def test_before_any_run_it_waits_for_hospitals_to_enrol_approve_and_connect() -> None:
    found = seen(
        run=None,
        setups=(),
        enrolled=frozenset({A, B, C}),
        approved=frozenset({A, B}),
        heard={A: at(29), C: at(29), B: at(-100)},
    )
    assert found.state == "waiting" and found.run is None
    assert "3 enrolled, 2 approved, 1 connected" in words.waiting(found, found.stages[0])
    (stage,) = found.stages
    assert stage.waits_for == (B, C, D)
    told = {lane.site: words.doing(found, lane, stage.phase) for lane in found.lanes}
    assert told[A] == "connected"
    assert told[B].startswith("not heard of for 2 min")
    assert told[C] == "its approval is not here"
    assert told[D] == "has not enrolled with its invitation"


def test_between_rounds_it_is_the_coordinator_that_works() -> None:
    state = round_()
    for site in SITES:
        state = state.on_packet(site)
    for site in (A, B):
        state = state.on_vote(site)
    for site in (A, B):
        state = state.on_shares(site)
    found = seen(rounds=(row(state.on_opened(), phase_s=20),))
    assert found.stages[0].phase == "between" and found.stages[0].since == at(20)
    assert found.steps == 1
    assert words.waiting(found, found.stages[0]).startswith("the coordinator itself")


def test_at_the_end_it_waits_for_countersignatures() -> None:
    ending = RunRow(RUN, "running", NOON, ending_at=at(25))
    found = seen(run=ending, said=(said("witness", A, RUN, 26),))
    assert found.state == "ending"
    assert found.stages[0].waits_for == (B, C, D)
    over = replace(ending, state="failed", ended_at=at(27), reason="WR-ROUND-002: no")
    found = seen(run=over)
    assert found.stages[0].phase == "over" and found.stages[0].waits_for == ()
    assert "WR-ROUND-002" in words.waiting(found, found.stages[0])
    assert "failed after 27 s" in words.headline(found)
    assert words.doing(found, found.lane(A), "over") == "done"


EIGHT = tuple(SiteName(f"{site}-{half}") for half in ("a", "b") for site in SITES)
GROUPED = Study.parse(
    study_document(
        cohort={"groups": {"number": 2}, "deadline_s": 60.0},
        adversary={"corrupt_sites": 1},
        sites=[{"name": name, "signing_key": SigningKey.generate().public.text} for name in EIGHT],
    )
)


def test_groups_are_drawn_first_and_then_wait_each_for_its_own() -> None:
    names = GROUPED.site_names
    draw = Draw(number=0, sites=names).on_commitment(names[0])
    plain = {
        "enrolled": frozenset(names),
        "approved": frozenset(names),
        "heard": {site: at(29) for site in names},
    }
    drawing = timeline(rows(**plain, setups=(), draw=DrawRow(draw, at(3))), GROUPED, at(30))
    (stage,) = drawing.stages
    assert stage.phase == "draw.commit" and set(stage.waits_for) == set(names[1:])
    assert stage.deadline is None, "the draw waits for everybody"
    first, second = names[:4], names[4:]
    setups = tuple(
        SetupRow(
            replace(
                READY,
                batch=BatchId(f"{RUN}.g{number}.b.000000"),
                run=RunId(f"{RUN}.g{number}"),
                pool=group,
                advertised=frozenset(group),
            ),
            at(5),
        )
        for number, group in ((1, first), (2, second))
    )
    rounds = tuple(
        row(replace(round_(run=RunId(f"{RUN}.g{number}")), roster=group))
        for number, group in ((1, first), (2, second))
    )
    rounds = (rounds[0], replace(rounds[1], state=rounds[1].state.on_packet(second[0])))
    found = timeline(rows(**plain, setups=setups, rounds=rounds), GROUPED, at(30))
    assert [stage.group for stage in found.stages] == [1, 2]
    assert set(found.stages[0].waits_for) == set(first)
    assert set(found.stages[1].waits_for) == set(second[1:])
    assert found.lane(second[0]).doing is Doing.ANSWERED
    assert found.lane(first[0]).group == 1 and len(found.lane(first[0]).marks) == 1
    assert words.place(found, found.stages[1]).startswith("group 2: step 1")


def test_a_hospital_sees_its_own_lane_and_no_other_name() -> None:
    state = round_().on_packet(A).on_refused(C)
    about = state.round
    found = seen(rounds=(row(state),), said=(said("refusal", C, about, 14, incident="7KQ2-M9XA"),))
    whole, own = orjson.dumps(document(found)), orjson.dumps(own_document(found, A))
    assert all(site.encode() in whole for site in SITES) and b"7KQ2-M9XA" in whole
    assert A.encode() in own
    assert not any(site.encode() in own for site in (B, C, D))
    assert b"7KQ2-M9XA" not in own and b"waits_for" not in own and b"enough" not in own


def own(found: Timeline, site: SiteName) -> tuple[object, object, object, object]:
    """For what a hospital is told that the run waits, since when, in words, and what is next."""
    told = own_document(found, site)
    waiting = told["waiting"]
    return waiting["for"], waiting["since"], waiting["words"], told["next"]


def test_a_hospital_is_told_what_is_waited_for_since_when_and_what_comes_next() -> None:
    state = round_().on_packet(A).on_refused(C)
    found = seen(rounds=(row(state),))
    began = at(10).isoformat(timespec="milliseconds")
    limit = "since 20 s; 40 s more at most"
    usual = "they sign who answered"
    assert own(found, A) == ("others", began, f"contributions of other hospitals, {limit}", usual)
    kind, since, sentence, follows = own(found, D)
    assert (kind, since) == ("own-answer", began)
    assert sentence == f"this hospital's contribution, {limit}"
    assert follows.startswith(f"{usual}; else it goes on without this hospital")
    kind, _, _, follows = own(found, C)
    assert kind == "others" and follows.endswith("takes part again in a later round")


def test_a_hospital_whose_disk_is_full_is_told_so_and_nobody_else() -> None:
    full = Hindered(Hindrance(Cause.DISK, Incident("7KQ2-M9XA")), at(25))
    found = seen(rounds=(row(round_()),), hindered={A: full})
    kind, since, sentence, _ = own(found, A)
    assert (kind, since) == ("own-disk", at(25).isoformat(timespec="milliseconds"))
    assert sentence.startswith("room at this hospital: its disk is full, since 5.0 s")
    assert own(found, B)[0] == "own-answer"
    assert "disk" not in str(own_document(found, B))
    (line,) = [one for one in lines(found) if A in one and "incident" in one]
    assert f"{A} waits: its disk is full, since 5.0 s, incident 7KQ2-M9XA" in line
    gone = seen(200.0, rounds=(row(round_()),), hindered={A: full})
    assert gone.lane(A).hindered is None, "what a coordinator wrote that is away is old"


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"run": None, "approved": frozenset()}, "approval", "this hospital's approval"),
        ({"run": None, "enrolled": frozenset()}, "enrolment", "this hospital to enrol"),
        ({"run": None, "heard": {}}, "own-answer", "this hospital's agent to connect"),
        ({"run": None, "heard": {A: at(29)}}, "others", "other hospitals to connect"),
        ({"setups": (SetupRow(SETUP, at(8)),)}, "own-answer", "this hospital's keys, since 22 s"),
        ({}, "coordinator", "the coordinator, which adds up and thinks, since 22 s"),
        ({"run": RunRow(RUN, "finished", NOON, ended_at=at(20))}, "nothing", "nothing: the run"),
    ],
)
def test_whose_turn_it_is(changes: dict[str, object], kind: str, sentence: str) -> None:
    told, _, words_, follows = own(seen(**changes), A)
    assert told == kind and words_.startswith(sentence)
    assert bool(follows) == (kind != "nothing")


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["on_packet", "on_refused", "on_vote", "on_shares", "on_deadline", "on_waiting"]
        ),
        st.sampled_from(SITES),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens_it_waits_exactly_for_whom_the_round_waits(
    events: list[tuple[str, SiteName]],
) -> None:
    state = round_()
    for name, site in events:
        move = getattr(state, name)
        state = move() if name in ("on_deadline", "on_waiting") else move(site)
    found = seen(rounds=(row(state),))
    (stage,) = found.stages
    owed = {site for site in SITES if state.waits_for(site)}
    assert set(stage.waits_for) == (set() if state.over else owed)
    for lane in found.lanes:
        assert (lane.doing is Doing.WAITED_FOR) == (lane.site in stage.waits_for)
    assert words.waiting(found, stage)
    assert {lane.site for lane in found.lanes if lane.marks == (Mark.ANSWERED,)} == state.packets


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (252, "4 min 12 s"),
        (3 * 3600 + 300, "3 h 05 min"),
        (3 * 86400 + 7200, "3 d 2 h"),
    ],
)
def test_spans_are_said_as_people_do(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_a_run_name_says_which_group() -> None:
    assert group_of(group_run(RUN, 12)) == (0, 12)
    assert group_of(group_run(RUN, 3, partition=7)) == (7, 3)
    assert group_of(RUN) is None


def connecting(wanted: Wanted, since_s: float = 20.0, run: RunId | None = RUN) -> Connecting:
    """Two are connected of three that are needed, at 20 s; at 80 s it is over."""
    return Connecting(run, wanted, at(since_s), at(80), 3, frozenset({A, B}), (C, D))


@pytest.mark.parametrize(
    ("wanted", "next_"),
    [(Wanted.ENOUGH, "the run stops and can be continued"), (Wanted.SAME, "whoever is there")],
)
def test_hospitals_that_are_not_connected_are_named_before_a_set_up(
    wanted: Wanted, next_: str
) -> None:
    failed = replace(SETUP, phase=SetupPhase.FAILED)
    state = round_().on_packet(A).on_packet(B)
    state = replace(state, phase=RoundPhase.FAILED)
    for setups, rounds in (
        ((), ()),
        ((SetupRow(failed, at(20)),), ()),
        ((SetupRow(READY, at(8)),), (row(state, 10, 20),)),
    ):
        waits = (connecting(wanted),)
        found = seen(setups=setups, rounds=rounds, connecting=waits)
        (stage,) = found.stages
        assert (stage.phase, stage.waits_for) == (f"reconnect.{wanted.value}", (C, D))
        assert words.waiting(found, stage) == (
            f"hospitals to connect: {C}, {D} (2 of 3 that are needed), since 10 s; "
            "50 s more at most"
        )
        assert words.following(found, stage).endswith(next_)
        assert doings(found) == {
            **dict.fromkeys((A, B), Doing.ANSWERED),
            **dict.fromkeys((C, D), Doing.WAITED_FOR),
        }
        assert words.doing(found, found.lane(A), stage.phase) == "connected"
        there, away = own_document(found, A), own_document(found, C)
        assert there["waiting"]["for"] == "others" and away["waiting"]["for"] == "own-answer"
        assert there["waiting"]["words"].startswith("other hospitals to connect, since 10 s")
        assert away["waiting"]["words"].startswith("this hospital's agent to connect, since 10 s")
        for other in (B, C, D):
            assert other not in repr(there)


@pytest.mark.parametrize(
    "changes",
    [
        {"setups": (SetupRow(SETUP, at(21)),)},
        {"setups": (SetupRow(READY, at(21)),)},
        {"rounds": (row(round_(), 21, 21),)},
        {"run": RunRow(RUN, "running", NOON, resumed_at=at(21))},
        {"run": RunRow(RUN, "running", NOON, ending_at=at(21))},
        {"run": RunRow(RUN, "failed", NOON, ended_at=at(21))},
    ],
)
def test_a_wait_for_connections_that_a_newer_row_has_ended_is_not_told(
    changes: dict[str, object],
) -> None:
    found = seen(**changes, connecting=(connecting(Wanted.ENOUGH),))
    assert found.stages == seen(**changes).stages


def test_a_group_that_waits_for_connections_says_so_beside_those_that_go_on() -> None:
    sites, (one, two) = GROUPED.site_names, (group_run(RUN, 1), group_run(RUN, 2))
    first = replace(SETUP, run=one, batch=BatchId(f"{one}.b.000000"), pool=sites[:3])
    away = sites[-1]
    waits = Connecting(two, Wanted.ENOUGH, at(20), at(80), 3, frozenset(sites[3:-1]), (away,))
    everybody = {"enrolled": frozenset(sites), "approved": frozenset(sites)}
    found = timeline(
        rows(**everybody, setups=(SetupRow(first, at(9)),), connecting=(waits,)), GROUPED, at(30)
    )
    assert [(stage.group, stage.phase) for stage in found.stages] == [
        (1, "set-up.advertise"),
        (2, "reconnect.enough"),
    ]
    assert (found.lane(away).group, found.lane(away).doing) == (2, Doing.WAITED_FOR)
