"""Everything a hospital may send that is not what it was asked for: refused and journalled."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from puppets import Puppets
from ward import SITES, open_ward
from wardround.coordinator import audit
from wardround.coordinator.asks import instruction
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.intake import EACH, Intake
from wardround.coordinator.opening import Garbage
from wardround.errors import WardroundError
from wardround.federation.causes import Cause
from wardround.federation.messages import (
    Audit,
    AuditAnswer,
    PacketHeader,
    Refused,
    Statement,
    Witness,
    unframe,
)
from wardround.federation.round import RoundPhase
from wardround.federation.setup import SetupPhase
from wardround.ids import Digest, RoundId, RunId, SiteName
from wardround.secagg import Advert, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.messages import Message
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

FIRST, SECOND, LAST = SITES[0], SITES[1], SITES[3]
OTHER = digest(b"something else")


@pytest.fixture
async def puppets(tmp_path: Path) -> AsyncIterator[Puppets]:
    async with open_ward(tmp_path, start=False) as ward:
        yield Puppets(ward)


def prepared(puppets: Puppets, kind: str) -> tuple[Envelope, bytes]:
    """The statement of this kind that the first site is asked for now, not yet sent."""
    if kind == "advert":
        puppets.exchange.start_setup(SITES)
        return puppets.member(FIRST).advert(), b""
    if kind == "deal":
        puppets.advertise()
        puppets.deals[FIRST], puppets.sealed[FIRST] = puppets.members[FIRST].deal(puppets.adverts)
        return puppets.deals[FIRST], puppets.sealed_bytes(FIRST)
    puppets.ready()
    if kind == "packet":
        payload = puppets.masked(FIRST)
        return puppets.header(FIRST, payload).sign(puppets.key(FIRST)), payload
    puppets.packets()
    if kind == "vote":
        return puppets.vote_of(FIRST), b""
    puppets.votes()
    if kind == "shares":
        return puppets.shares_of(FIRST), b""
    for site in SITES:
        if puppets.exchange.round.state.phase is RoundPhase.RECOVER:
            puppets.say(site, "shares", puppets.shares_of(site))
    audit.begin(puppets.exchange, Garbage(("checksum",)))
    return puppets.audit_of(FIRST), b""


KINDS = ["advert", "deal", "packet", "vote", "shares", "audit"]
PARSE: dict[str, Callable[[bytes], object]] = {}


def altered(kind: str, envelope: Envelope, key: object, **changes: object) -> Envelope:
    """The statement with other facts, properly signed by whoever has the key."""
    classes: dict[str, type[Message]] = {
        "advert": Advert,
        "deal": Deal,
        "vote": SurvivorVote,
        "shares": RecoveryShares,
    }
    statements: dict[str, type[Statement]] = {"packet": PacketHeader, "audit": Audit}
    if kind in statements:
        statement = statements[kind].from_payload(envelope.payload)
        return statement.model_copy(update=changes).sign(key)
    message = classes[kind].from_wire(orjson.loads(envelope.payload))
    return replace(message, **changes).sign(key)


@pytest.mark.parametrize("kind", KINDS)
def test_the_statement_that_was_asked_for_is_accepted_and_may_be_repeated(
    puppets: Puppets, kind: str
) -> None:
    envelope, attachment = prepared(puppets, kind)
    assert puppets.refused(FIRST, kind, envelope, attachment) is None
    size = puppets.exchange.journal_head().size
    assert puppets.refused(FIRST, kind, envelope, attachment) is None
    assert puppets.exchange.journal_head().size == size, "a repetition is no event"
    (entry,) = [one for one in puppets.ward.entries(kind) if one.facts["site"] == FIRST]
    assert entry.facts["statement"] == digest(envelope.payload)


@pytest.mark.parametrize("kind", KINDS)
def test_another_site_cannot_send_it(puppets: Puppets, kind: str) -> None:
    envelope, attachment = prepared(puppets, kind)
    assert puppets.refused(SECOND, kind, envelope, attachment) == "WR-TRUST-022"


@pytest.mark.parametrize("kind", KINDS)
def test_another_site_cannot_sign_it(puppets: Puppets, kind: str) -> None:
    envelope, attachment = prepared(puppets, kind)
    forged = altered(kind, envelope, puppets.key(SECOND))
    assert puppets.refused(FIRST, kind, forged, attachment) == "WR-TRUST-022"
    assert puppets.refused(SECOND, kind, forged, attachment) == "WR-COORD-025"


@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_payload_breaks_the_signature(puppets: Puppets, kind: str) -> None:
    envelope, attachment = prepared(puppets, kind)
    payload = envelope.payload.replace(b'"site":"', b'"site": "')
    assert payload != envelope.payload
    broken = replace(envelope, payload=payload)
    assert puppets.refused(FIRST, kind, broken, attachment) == "WR-TRUST-023"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [{"study": OTHER}, {"run": RunId("another-run")}])
def test_one_of_another_study_or_run_is_refused(
    puppets: Puppets, kind: str, change: dict[str, object]
) -> None:
    envelope, attachment = prepared(puppets, kind)
    foreign = altered(kind, envelope, puppets.key(FIRST), **change)
    assert puppets.refused(FIRST, kind, foreign, attachment) == "WR-COORD-025"


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_is_not_taken_for_another_kind(puppets: Puppets, kind: str) -> None:
    envelope, attachment = prepared(puppets, kind)
    for other in {*KINDS, "refusal", "witness"} - {kind}:
        assert puppets.refused(FIRST, other, envelope, attachment) == "WR-TRUST-021"
    assert puppets.refused(FIRST, "gossip", envelope, attachment) == "WR-COORD-020"


OLD = {kind: "batch" if kind in ("advert", "deal") else "round" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_one_for_what_is_not_open_is_refused(puppets: Puppets, kind: str) -> None:
    envelope, attachment = prepared(puppets, kind)
    for scope in ("elsewhere", puppets.exchange.run):
        foreign = altered(kind, envelope, puppets.key(FIRST), **{OLD[kind]: scope})
        refused = puppets.refused(FIRST, kind, foreign, attachment)
        assert refused in ("WR-COORD-021", "WR-COORD-023", "WR-COORD-025")


def test_an_answer_before_anything_was_asked_is_refused(puppets: Puppets) -> None:
    vote = SurvivorVote(
        study=puppets.study.digest,
        run=puppets.exchange.run,
        batch=puppets.exchange.run,
        round=RoundId(puppets.exchange.run),
        index=0,
        manifest=OTHER,
        survivors=SITES,
        site=FIRST,
    ).sign(puppets.key(FIRST))
    assert puppets.refused(FIRST, "vote", vote) in ("WR-COORD-021", "WR-COORD-023")
    refusal = Refused(
        study=puppets.study.digest, run=puppets.exchange.run, scope=puppets.exchange.run, site=FIRST
    )
    assert puppets.refused(FIRST, "refusal", refusal.sign(puppets.key(FIRST))) in (
        "WR-COORD-021",
        "WR-COORD-023",
    )


# Duplicates that are not duplicates


def test_two_sites_that_share_a_key_cost_nobody_a_set_up(puppets: Puppets) -> None:
    """The attack: every honest hospital refuses a set-up in which a key is there twice, and would
    be left out of the next one for it."""
    puppets.exchange.start_setup(SITES)
    shared = secrets.token_bytes(32)
    first, second = (puppets.member(site, iter([shared])).advert() for site in (FIRST, SECOND))
    puppets.say(FIRST, "advert", first)
    assert puppets.refused(SECOND, "advert", second) == "WR-SECAGG-007"
    puppets.say(FIRST, "advert", first)
    puppets.say(SECOND, "advert", puppets.member(SECOND).advert())


def test_a_second_advert_with_other_keys_is_refused(puppets: Puppets) -> None:
    envelope, _ = prepared(puppets, "advert")
    puppets.say(FIRST, "advert", envelope)
    assert puppets.refused(FIRST, "advert", puppets.member(FIRST).advert()) == "WR-COORD-022"


def test_a_second_packet_over_other_bytes_is_refused(puppets: Puppets) -> None:
    envelope, payload = prepared(puppets, "packet")
    puppets.say(FIRST, "packet", envelope, payload)
    other = bytes(len(payload))
    second = puppets.header(FIRST, other).sign(puppets.key(FIRST))
    assert puppets.refused(FIRST, "packet", second, other) == "WR-COORD-022"
    assert puppets.exchange.spool.path(puppets.round, FIRST).read_bytes() == payload


def test_a_second_deal_of_other_shares_is_refused(puppets: Puppets) -> None:
    envelope, attachment = prepared(puppets, "deal")
    puppets.say(FIRST, "deal", envelope, attachment)
    fresh = {**puppets.sealed[FIRST], LAST: b"other shares"}
    sealed = {peer: digest(blob) for peer, blob in fresh.items()}
    second = altered("deal", envelope, puppets.key(FIRST), sealed=sealed)
    puppets.sealed[FIRST] = fresh
    assert puppets.refused(FIRST, "deal", second, puppets.sealed_bytes(FIRST)) == "WR-COORD-022"


# What comes beside a statement


@pytest.mark.parametrize(
    "attachment",
    [b"", b"\xff", b"[]", b"{}", b"null", b'{"lakeside": 5}', b'{"lakeside": "not base64!"}'],
)
def test_a_deal_with_malformed_shares_is_refused(puppets: Puppets, attachment: bytes) -> None:
    envelope, _ = prepared(puppets, "deal")
    assert puppets.refused(FIRST, "deal", envelope, attachment) == "WR-COORD-024"


def test_a_deal_with_other_shares_than_signed_is_refused(puppets: Puppets) -> None:
    envelope, _ = prepared(puppets, "deal")
    puppets.sealed[FIRST][LAST] = b"other shares"
    assert puppets.refused(FIRST, "deal", envelope, puppets.sealed_bytes(FIRST)) == "WR-COORD-024"


def test_a_deal_for_another_roster_is_refused(puppets: Puppets) -> None:
    envelope, attachment = prepared(puppets, "deal")
    foreign = altered("deal", envelope, puppets.key(FIRST), adverts=OTHER)
    assert puppets.refused(FIRST, "deal", foreign, attachment) == "WR-COORD-025"
    del puppets.sealed[FIRST][LAST]
    sealed = {peer: digest(blob) for peer, blob in puppets.sealed[FIRST].items()}
    fewer = altered("deal", envelope, puppets.key(FIRST), sealed=sealed)
    assert puppets.refused(FIRST, "deal", fewer, puppets.sealed_bytes(FIRST)) == "WR-COORD-025"


def test_an_advert_for_another_pool_or_number_of_rounds_is_refused(puppets: Puppets) -> None:
    envelope, _ = prepared(puppets, "advert")
    narrow = altered("advert", envelope, puppets.key(FIRST), pool=SITES[:3])
    assert puppets.refused(FIRST, "advert", narrow) == "WR-COORD-025"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"manifest": OTHER}, "WR-COORD-025"),
        ({"task": OTHER}, "WR-COORD-025"),
        ({"size_bytes": 8}, "WR-COORD-025"),
        ({"step": 7}, "WR-COORD-025"),
        ({"part_bytes": 8}, "WR-COORD-025"),
        ({"payload": OTHER}, "WR-COORD-026"),
    ],
)
def test_a_packet_that_answers_something_else_is_refused(
    puppets: Puppets, change: dict[str, object], code: str
) -> None:
    envelope, payload = prepared(puppets, "packet")
    foreign = altered("packet", envelope, puppets.key(FIRST), **change)
    assert puppets.refused(FIRST, "packet", foreign, payload) == code
    assert puppets.refused(FIRST, "packet", envelope, payload) is None, "the true one still counts"


def test_a_payload_of_another_size_is_refused(puppets: Puppets) -> None:
    envelope, payload = prepared(puppets, "packet")
    assert puppets.refused(FIRST, "packet", envelope, payload + b"x") == "WR-COORD-011"
    assert puppets.refused(FIRST, "packet", envelope) == "WR-COORD-026", "nothing has arrived"


@pytest.mark.parametrize("kind", ["vote", "shares"])
@pytest.mark.parametrize(
    "change", [{"manifest": OTHER}, {"index": 1}, {"batch": "other"}, {"survivors": SITES[:3]}]
)
def test_one_voice_about_something_else_is_refused_before_it_spoils_the_round(
    puppets: Puppets, kind: str, change: dict[str, object]
) -> None:
    """Members refuse a pile with one stray vote in it, so none may get into the pile."""
    envelope, _ = prepared(puppets, kind)
    if kind == "shares" and "survivors" in change:
        shares = RecoveryShares.from_wire(orjson.loads(envelope.payload))
        moved = {LAST: shares.self_mask_shares[LAST]}
        kept = {site: one for site, one in shares.self_mask_shares.items() if site != LAST}
        change = {**change, "masking_shares": moved, "self_mask_shares": kept}
    stray = altered(kind, envelope, puppets.key(FIRST), **change)
    assert puppets.refused(FIRST, kind, stray) == "WR-COORD-025"
    assert puppets.refused(FIRST, kind, envelope) is None


def test_an_audit_of_another_packet_is_refused(puppets: Puppets) -> None:
    envelope, _ = prepared(puppets, "audit")
    foreign = altered("audit", envelope, puppets.key(FIRST), packet=OTHER)
    assert puppets.refused(FIRST, "audit", foreign) == "WR-COORD-025"
    assert puppets.refused(FIRST, "audit", envelope) is None
    changed = altered("audit", envelope, puppets.key(FIRST), answer=AuditAnswer.NOT_MINE)
    assert puppets.refused(FIRST, "audit", changed) == "WR-COORD-022", "said once"


def test_an_audit_may_be_refused_even_by_who_refused_before(puppets: Puppets) -> None:
    """The same words again: were they taken for a repetition, the site would be asked for ever."""
    puppets.ready().packets()
    assert puppets.refused(LAST, "refusal", refusal(puppets, puppets.round, LAST)) is None
    for kind, of in (("vote", puppets.vote_of), ("shares", puppets.shares_of)):
        for site in SITES[:3]:
            puppets.say(site, kind, of(site))
    audit.begin(puppets.exchange, Garbage(("checksum",)))
    assert instruction(puppets.exchange, LAST, 0) is not None
    assert puppets.refused(LAST, "refusal", refusal(puppets, puppets.round, LAST)) is None
    assert instruction(puppets.exchange, LAST, 0) is None
    assert puppets.refused(LAST, "refusal", refusal(puppets, puppets.round, LAST)) is None


# Too late


def test_a_packet_after_the_survivors_are_settled_is_refused_and_leaves_nothing(
    puppets: Puppets,
) -> None:
    puppets.ready()
    for site in SITES[:3]:
        puppets.packet(site)
    puppets.exchange.deadline_passed()
    payload = puppets.masked(LAST)
    late = puppets.header(LAST, payload).sign(puppets.key(LAST))
    assert puppets.refused(LAST, "packet", late, payload) == "WR-ROUND-030"
    assert not puppets.exchange.spool.path(puppets.round, LAST).exists()


def test_who_sent_nothing_in_this_batch_yet_is_shown_again_what_was_dealt(
    puppets: Puppets,
) -> None:
    """It may have been away in the first round, and can't take part in the second without."""
    puppets.ready()
    for site in SITES[:3]:
        puppets.packet(site)
    puppets.exchange.deadline_passed()
    puppets.exchange.start_round(puppets.ward.task(), 1, 0)
    shown = {
        site: bool(unframe(instruction(puppets.exchange, site, 0))[0].get("envelopes"))
        for site in SITES
    }
    assert shown == {**dict.fromkeys(SITES[:3], False), LAST: True}


def test_an_advert_after_the_roster_is_settled_is_refused(puppets: Puppets) -> None:
    puppets.exchange.start_setup(SITES)
    for site in SITES[:3]:
        puppets.say(site, "advert", puppets.member(site).advert())
    puppets.exchange.deadline_passed()
    assert puppets.refused(LAST, "advert", puppets.member(LAST).advert()) == "WR-COORD-023"


def test_a_statement_of_an_earlier_set_up_or_round_is_a_replay(puppets: Puppets) -> None:
    puppets.ready()
    advert, deal = puppets.adverts[FIRST], puppets.deals[FIRST]
    shares = puppets.sealed_bytes(FIRST)
    envelope, payload = puppets.header(FIRST, bytes(40)).sign(puppets.key(FIRST)), bytes(40)
    puppets.exchange.deadline_passed()
    assert puppets.exchange.round.state.phase is RoundPhase.FAILED
    puppets.advertise().deal()
    puppets.exchange.start_round(puppets.ward.task(), 0, 1)
    assert puppets.refused(FIRST, "packet", envelope, payload) == "WR-COORD-021"
    assert puppets.refused(FIRST, "advert", advert) in ("WR-COORD-021", "WR-COORD-025")
    assert puppets.refused(FIRST, "deal", deal, shares) in ("WR-COORD-021", "WR-COORD-025")


# Refusals and witnesses


def refusal(puppets: Puppets, scope: str, site: SiteName = FIRST, **told: str) -> Envelope:
    run = puppets.exchange.run
    said = Refused(study=puppets.study.digest, run=run, scope=scope, site=site, **told)
    return said.sign(puppets.key(site))


def test_what_a_refusal_lets_be_known_is_journalled_and_told(puppets: Puppets) -> None:
    heard: list[tuple[str, dict[str, str]]] = []
    puppets.exchange.on_refusal = lambda site, told: heard.append((site, told))
    puppets.ready()
    told = {"cause": Cause.KEYS_LOST, "incident": "7KQ2-M9XA"}
    assert puppets.refused(FIRST, "refusal", refusal(puppets, puppets.round, **told)) is None
    (leaf,) = puppets.ward.entries("refusal")
    assert told.items() <= leaf.facts.items()
    assert heard == [(FIRST, told)]


def test_a_refusal_said_again_under_another_number_changes_nothing(puppets: Puppets) -> None:
    puppets.ready()
    for incident in ("7KQ2-M9XA", "0000-0000"):
        again = refusal(puppets, puppets.round, incident=incident)
        assert puppets.refused(FIRST, "refusal", again) is None
    (leaf,) = puppets.ward.entries("refusal")
    assert leaf.facts["incident"] == "7KQ2-M9XA"


def test_a_refusal_takes_a_site_out_of_what_it_refuses(puppets: Puppets) -> None:
    puppets.ready()
    assert puppets.refused(FIRST, "refusal", refusal(puppets, puppets.round)) is None
    assert FIRST in puppets.exchange.round.state.refused
    assert instruction(puppets.exchange, FIRST, 0) is None, "it is asked nothing more"
    for site in SITES[1:]:
        puppets.packet(site)
    assert puppets.exchange.round.state.phase is RoundPhase.VOTE


def test_a_refused_set_up_is_repeated_without_the_site(puppets: Puppets) -> None:
    puppets.advertise()
    batch = puppets.exchange.setup.state.batch
    assert puppets.refused(FIRST, "refusal", refusal(puppets, batch)) is None
    assert puppets.exchange.setup.state.phase is SetupPhase.FAILED
    assert puppets.exchange.setup.state.willing == SITES[1:]


def test_a_refusal_of_nothing_that_is_open_is_refused(puppets: Puppets) -> None:
    puppets.ready()
    for scope in ("elsewhere", puppets.exchange.run):
        code = puppets.refused(FIRST, "refusal", refusal(puppets, scope))
        assert code in ("WR-COORD-021", "WR-COORD-023")


def witness(puppets: Puppets, **changes: object) -> Envelope:
    said: dict[str, object] = {
        "study": puppets.study.digest,
        "run": puppets.exchange.run,
        "site": FIRST,
        "journal": puppets.exchange.journal_head(),
        "model": None,
    }
    statement: Statement = Witness(**{**said, **changes})
    return statement.sign(puppets.key(FIRST))


def test_a_witness_is_kept_across_a_restart(puppets: Puppets) -> None:
    puppets.exchange.finish({}, b"")
    signed = witness(puppets)
    assert puppets.refused(FIRST, "witness", signed) is None
    assert puppets.refused(FIRST, "witness", signed) is None
    assert puppets.refused(FIRST, "witness", witness(puppets, model=OTHER)) == "WR-COORD-025"
    puppets.ward.coordinator.close()
    puppets.ward.open_coordinator()
    assert puppets.ward.drive().exchange.witnesses == {FIRST}


def test_a_site_that_was_started_again_countersigns_a_journal_that_has_grown(
    puppets: Puppets,
) -> None:
    """Its first countersignature stays: one for each site is in the evidence."""
    puppets.exchange.finish({}, b"")
    first = witness(puppets)
    assert puppets.refused(FIRST, "witness", first) is None
    puppets.ward.coordinator.close()
    puppets.ward.open_coordinator()
    again = Puppets(puppets.ward)
    again.exchange.finish({}, b"")
    assert instruction(again.exchange, FIRST, 0) is not None, "offered to whoever asks"
    later = witness(again)
    assert later.payload != first.payload
    assert again.refused(FIRST, "witness", later) is None
    (kept,) = again.exchange.said(again.exchange.run, "witness").values()
    assert kept.envelope.payload == first.payload


def test_a_witness_of_another_run_is_refused(puppets: Puppets) -> None:
    assert puppets.refused(FIRST, "witness", witness(puppets, run="other")) == "WR-COORD-025"
    assert puppets.refused(FIRST, "witness", witness(puppets, study=OTHER)) == "WR-COORD-025"


def test_a_witness_of_anything_but_the_ending_cannot_spoil_the_evidence(puppets: Puppets) -> None:
    assert puppets.refused(FIRST, "witness", witness(puppets)) == "WR-COORD-023"
    signature = refusal(puppets, "any")  # any envelope will do
    puppets.exchange.finish({"signature": orjson.loads(signature.to_json())}, b"")
    head, model = puppets.exchange.journal_head(), digest(signature.payload)
    stray = witness(puppets, journal=head, model=OTHER)
    assert puppets.refused(FIRST, "witness", stray) == "WR-COORD-025"
    later = witness(puppets, model=model)
    assert puppets.exchange.journal_head() != head, "the refusal was journalled"
    assert puppets.refused(FIRST, "witness", later) == "WR-COORD-025"
    good = witness(puppets, journal=head, model=model)
    assert puppets.refused(FIRST, "witness", good) is None


def test_a_witness_of_rounds_that_were_not_cannot_spoil_the_evidence(puppets: Puppets) -> None:
    """An honest coordinator refuses it. One that is not would have to refuse every honest hospital
    that answered a round which it hides, and then too few are left to countersign."""
    puppets.ready()
    payload = puppets.masked(FIRST)
    header = puppets.header(FIRST, payload).sign(puppets.key(FIRST))
    puppets.say(FIRST, "packet", header, payload)
    name, mine = puppets.round, digest(header.payload)
    puppets.exchange.finish({}, b"")
    head = puppets.exchange.journal_head()

    def said(answered: dict[str, Digest]) -> str | None:
        signed = witness(puppets, journal=head, answered=answered)
        return puppets.refused(FIRST, "witness", signed)

    assert said({name: mine, f"{puppets.exchange.run}.r.000999.0": OTHER}) == "WR-COORD-025"
    assert said({name: OTHER}) == "WR-COORD-025"
    assert said({name: mine}) is None


def test_a_stopped_run_has_no_witnesses(puppets: Puppets) -> None:
    puppets.exchange.stop("the test is over")
    assert puppets.refused(FIRST, "witness", witness(puppets)) == "WR-COORD-023"


# What is kept, and for how long


def test_a_flood_of_bad_statements_does_not_fill_the_journal(puppets: Puppets) -> None:
    """The attack: each is refused, and a leaf a time would be in everybody's evidence for good."""
    puppets.exchange.start_setup(SITES)
    intake, before = Intake(puppets.exchange), len(puppets.ward.entries("refused"))
    strange = puppets.member(FIRST).advert()
    for _ in range(600):
        with pytest.raises(WardroundError, match="WR-COORD-020"):
            intake.accept(FIRST, "gossip", strange, b"")
    found = puppets.ward.entries("refused")[before:]
    assert [one.facts.get("number") for one in found] == [None] * EACH + [128, 256, 512]
    with pytest.raises(WardroundError, match="WR-COORD-020"):
        intake.accept(SECOND, "gossip", strange, b"")
    assert puppets.ward.entries("refused")[-1].facts["site"] == SECOND


def test_a_batch_that_is_over_takes_no_memory(puppets: Puppets) -> None:
    for _ in range(3):
        puppets.advertise().deal()
    first = f"{puppets.exchange.run}.b.000000"
    assert puppets.exchange.said(first, "deal") == {}


async def test_what_somebody_elses_commit_dropped_is_never_acknowledged(puppets: Puppets) -> None:
    """The driver commits what waits for its group, and another coordinator was faster."""
    exchange = puppets.exchange
    exchange.start_setup(SITES)
    first, second = (puppets.member(site).advert() for site in (FIRST, SECOND))
    twin = Exchange(
        puppets.study,
        puppets.ward.keys.coordinator,
        exchange.state,
        exchange.blobs,
        exchange.spool,
        exchange.run,
    )
    Intake(twin).accept(SECOND, "advert", second, b"")
    intake = Intake(exchange)
    waiting = asyncio.create_task(intake.submit(FIRST, "advert", first, b""))
    await asyncio.sleep(0)
    with pytest.raises(WardroundError, match="WR-COORD-001"):
        exchange.deadline_passed()
    with pytest.raises(WardroundError, match="WR-COORD-001"):
        await waiting
    batch = exchange.setup.state.batch
    assert exchange.said(batch, "advert").keys() == {SECOND}
    await intake.submit(FIRST, "advert", first, b"")
    assert exchange.said(batch, "advert").keys() == {FIRST, SECOND}


def test_unknown_blobs_are_not_served(puppets: Puppets) -> None:
    puppets.ready()
    with pytest.raises(WardroundError) as caught:
        puppets.exchange.models.read_part(Digest(OTHER), 0)
    assert caught.value.code == "WR-COORD-027"


@pytest.mark.parametrize("key", [bytes(32), (1).to_bytes(32, "little")])
def test_an_advert_that_would_make_the_others_refuse_is_not_taken(
    puppets: Puppets, key: bytes
) -> None:
    """Else one hospital has the honest ones leave, and the set-up goes on among its friends."""
    puppets.exchange.start_setup(puppets.sites)
    site = puppets.sites[0]
    advert = Advert.open(puppets.member(site).advert(), puppets.study.site_keys[site])
    unsound = replace(advert, sealing_key=key).sign(puppets.key(site))
    assert puppets.refused(site, "advert", unsound) == "WR-SECAGG-007"
    assert puppets.exchange.setup.state.waits_for(site)
