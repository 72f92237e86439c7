"""The agent's loop under a coordinator that says what a test wants, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from bedside import ME, RUN, Bedside
from scripted import Script, Told, checkpoint, contribute, finish
from ward import SITES, code_of
from wardround.errors import WardroundError
from wardround.federation.messages import Ask, Instruction, Manifest, Witness
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.ids import Digest
from wardround.learning.specify import specify
from wardround.site.agent import Agent
from wardround.site.link import Asked
from wardround.trust.canonical import JSON, digest
from wardround.trust.keys import SigningKey


@pytest.fixture
def bedside(tmp_path: Path) -> Bedside:
    one = Bedside(tmp_path)
    one.set_up()
    return one


def agent(bedside: Bedside, script: Script, told: Told, ending: object = None) -> Agent:
    return Agent(
        bedside.papers,
        script,
        bedside.door,
        bedside.seat,
        bedside.state,
        ending or (lambda _documents, _model: None),
        told,
    )


async def play(bedside: Bedside, *asks: Instruction | Asked, blobs: object = None) -> Script:
    """Run the agent over the script; it ends with the coordinator's stop."""
    script = Script(*asks)
    script.blobs = dict(blobs or {})
    assert await code_of(agent(bedside, script, Told()).run()) == "WR-SITE-050"
    return script


async def answer(bedside: Bedside, ask: Instruction | Asked) -> Packet | Refusal | Status:
    """What the agent answers to one instruction, after its approval."""
    script = await play(bedside, ask)
    approval, item = script.heard
    assert isinstance(approval, Status) and approval.kind is StatusKind.APPROVAL
    return item


async def refused(bedside: Bedside, ask: Instruction | Asked) -> str:
    """The code of a refusal of which the outside hears nothing but `refused`."""
    before = (bedside.spent(), bedside.spooled())
    refusals = len(bedside.leaves("refused"))
    item = await answer(bedside, ask)
    assert isinstance(item, Refusal)
    assert (bedside.spent(), bedside.spooled()) == before
    return bedside.heard(item, refusals)


async def test_an_honest_round_is_answered_in_all_its_exchanges(bedside: Bedside) -> None:
    order = bedside.order()
    votes = bedside.votes(order)
    script = await play(
        bedside,
        contribute(bedside, order),
        bedside.vote_ask(order),
        bedside.recover_ask(order, votes),
    )
    _, packet, vote, shares = script.heard
    assert isinstance(packet, Packet)
    assert [one.kind for one in (vote, shares)] == [StatusKind.VOTE, StatusKind.SHARES]


async def test_a_manifest_that_the_studys_coordinator_did_not_sign(bedside: Bedside) -> None:
    order = bedside.order()
    for key in (bedside.keys.sites[ME], bedside.keys.sites[SITES[1]]):
        forged = contribute(bedside, order, manifest=order.manifest.sign(key))
        assert await refused(bedside, forged) == "WR-TRUST-022"
    envelope = order.manifest.sign(bedside.keys.coordinator)
    lie = order.manifest.model_copy(update={"threshold": 2}).to_payload()
    broken = contribute(bedside, order, manifest=replace(envelope, payload=lie))
    assert await refused(bedside, broken) == "WR-TRUST-023"
    assert bedside.worker.calls == []


async def test_no_manifest_at_all(bedside: Bedside) -> None:
    ask = contribute(bedside, bedside.order(), manifest=None)
    assert await refused(bedside, ask) == "WR-ROUND-001"


@pytest.mark.parametrize("lie", [{"round": "another"}, {"batch": "another"}, {"run": "another"}])
async def test_an_instruction_that_contradicts_its_manifest(
    bedside: Bedside, lie: dict[str, str]
) -> None:
    manifest: Manifest = bedside.order().manifest.model_copy(update=lie)
    order = bedside.order()
    ask = contribute(bedside, order, manifest=manifest.sign(bedside.keys.coordinator))
    assert await refused(bedside, ask) == "WR-SITE-014"


async def test_a_task_that_is_malformed(bedside: Bedside) -> None:
    order = bedside.order()
    wire = order.task.to_wire()
    for broken in ({}, {**wire, "surplus": 1}, {**wire, "length": "5"}, {**wire, "bound": "x"}):
        assert await refused(bedside, contribute(bedside, order, task=broken)) == "WR-STUDY-060"


async def test_another_model_than_the_task_names(bedside: Bedside) -> None:
    model = np.array([0.1, 0.2, 0.3])
    scales = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
    task = specify(bedside.study, "newton_logistic", scales, model)
    order = bedside.order(task)
    ask = contribute(bedside, order, model=task.model_digest, model_bytes=model.nbytes)
    for other in (model[::-1].tobytes(), model.tobytes()[:-1], model.tobytes() + b"x"):
        assert await refused(bedside, (ask, memoryview(other))) == "WR-STUDY-061"
    assert isinstance(await answer(bedside, (ask, memoryview(model.tobytes()))), Packet)


async def test_a_large_model_is_fetched_and_checked(bedside: Bedside) -> None:
    model = np.array([0.1, 0.2, 0.3])
    scales = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
    task = specify(bedside.study, "newton_logistic", scales, model)
    ask = contribute(
        bedside, bedside.order(task), model=task.model_digest, model_bytes=model.nbytes
    )
    wrong = {task.model_digest: bytes(model.nbytes)}
    assert isinstance((await play(bedside, ask, blobs=wrong)).heard[1], Refusal)
    right = {task.model_digest: model.tobytes()}
    assert isinstance((await play(bedside, ask, blobs=right)).heard[1], Packet)


async def test_the_same_round_asked_twice_gets_the_same_bytes(bedside: Bedside) -> None:
    order = bedside.order()
    ask = contribute(bedside, order)
    script = await play(bedside, ask, ask)
    _, first, second = script.heard
    assert isinstance(first, Packet) and isinstance(second, Packet)
    assert first.envelope == second.envelope
    assert bedside.spent() == order.task.length
    assert len(bedside.worker.calls) == 1


async def test_a_restarted_agent_repeats_its_packet_and_signs_nothing_new(
    bedside: Bedside,
) -> None:
    order = bedside.order()
    ask = contribute(bedside, order)
    first = await answer(bedside, ask)
    bedside.restart()
    second = await answer(bedside, ask)
    assert isinstance(first, Packet) and isinstance(second, Packet)
    assert second.envelope == first.envelope
    assert await refused(bedside, bedside.vote_ask(order)) == "WR-SITE-034"


async def test_a_packet_that_went_missing_is_refused_not_computed_anew(bedside: Bedside) -> None:
    order = bedside.order()
    packet = await answer(bedside, contribute(bedside, order))
    assert isinstance(packet, Packet)
    packet.payload.unlink()
    assert await refused(bedside, contribute(bedside, order)) == "WR-SITE-016"


async def test_instructions_out_of_order_are_refused(bedside: Bedside) -> None:
    order = bedside.order()
    assert await refused(bedside, bedside.vote_ask(order)) == "WR-SITE-034"
    assert await refused(bedside, bedside.recover_ask(order, {})) == "WR-SITE-034"
    deal = Instruction(ask=Ask.DEAL, run=RUN, batch="another", envelopes=bedside.adverts)
    assert await refused(bedside, deal) == "WR-SITE-033"


# The end of a run


async def test_a_finished_model_is_kept_and_countersigned(bedside: Bedside) -> None:
    kept: list[tuple[Mapping[str, JSON], bytes]] = []

    def keep(documents: Mapping[str, JSON], model: bytes) -> Digest:
        kept.append((documents, model))
        return digest(model)

    ending = (finish(bedside, description="x"), memoryview(b"model"))
    order = bedside.order()
    script = Script(contribute(bedside, order), ending)
    told = Told()
    await agent(bedside, script, told, keep).run()
    item = script.heard[-1]
    assert isinstance(item, Status) and item.kind is StatusKind.WITNESS
    witness = Witness.open(item.envelope, bedside.study.site_keys[ME])
    assert witness.journal == bedside.head and witness.model == digest(b"model")
    packet = script.heard[1]
    assert isinstance(packet, Packet)
    assert witness.answered == {order.manifest.round: packet.header.digest}
    assert kept[0][1] == b"model" and told.events[-1][0] == "finished"


@pytest.mark.parametrize("code", ["WR-COORD-036", "WR-COORD-025", "WR-COORD-001"])
async def test_an_agent_stays_until_its_countersignature_is_accepted(
    bedside: Bedside, code: str
) -> None:
    """A coordinator that is restarted just then needs it: without, the evidence does not verify."""
    script = Script(finish(bedside), finish(bedside))
    script.refuse = [code]
    await agent(bedside, script, Told()).run()
    first, second = (item for item in script.heard[1:] if isinstance(item, Status))
    assert first.kind is second.kind is StatusKind.WITNESS
    assert first.envelope.payload == second.envelope.payload
    # Said again without being asked where it may have been taken in already.
    assert len(script.polls) == (1 if code == "WR-COORD-036" else 2)


async def test_a_finished_model_that_is_not_the_studys_ends_the_run_loudly(
    bedside: Bedside,
) -> None:
    def mistrust(_documents: Mapping[str, JSON], _model: bytes) -> Digest:
        raise WardroundError("WR-GOV-003", "It is not signed.", "Ask.")

    script = Script(finish(bedside))
    assert await code_of(agent(bedside, script, Told(), mistrust).run()) == "WR-GOV-003"
    assert len(script.heard) == 1, "only the approval: nothing is countersigned"
    assert bedside.codes() == ["WR-GOV-003"]


@pytest.mark.parametrize("head", [None, {}, {"size": 1}, {"size": -1, "root": "ab" * 32}, "x"])
async def test_an_ending_without_a_journal_head(bedside: Bedside, head: JSON) -> None:
    script = Script(finish(bedside, journal=head))
    assert await code_of(agent(bedside, script, Told()).run()) == "WR-ROUND-001"


async def test_an_ending_under_another_journal_than_the_rounds(bedside: Bedside) -> None:
    bedside.grow(5)
    order = bedside.order()
    forked = {"size": bedside.head.size, "root": "ab" * 32}
    signed = checkpoint(bedside.head.size, forked["root"], bedside.keys.coordinator)
    script = Script(contribute(bedside, order), finish(bedside, journal=forked, checkpoint=signed))
    code = await code_of(agent(bedside, script, Told()).run())
    assert code is not None and code.startswith("WR-TRUST-05")
    assert bedside.leaves("witness") == []


@pytest.mark.parametrize("forged", ["none", "stranger", "older", "nonsense"])
async def test_whoever_opens_the_line_cannot_make_a_hospital_countersign_its_journal(
    bedside: Bedside, forged: str
) -> None:
    """The attack: anybody can append leaves to a Merkle tree of which it sees the proofs. The head
    would extend what was shown before, be witnessed, and shut the real coordinator out for good."""
    bedside.grow(5)
    order = bedside.order()
    seen = bedside.head
    older = checkpoint(seen.size, seen.root, bedside.keys.coordinator)
    bedside.grow(3)  # leaves that the coordinator never wrote
    shown = {
        "none": None,
        "stranger": checkpoint(bedside.head.size, bedside.head.root, SigningKey.generate()),
        "older": older,
        "nonsense": {"payload": "x"},
    }[forged]
    proof = tuple(
        one.hex() for one in bedside.coordinator.prove_consistency(seen.size, bedside.head.size)
    )
    ending = finish(bedside, checkpoint=shown).model_copy(update={"consistency": proof})
    script = Script(contribute(bedside, order), ending)
    assert await code_of(agent(bedside, script, Told()).run()) == "WR-SITE-201"
    assert bedside.leaves("witness") == [] and bedside.door.seen == seen


# Statements that are not accepted


@pytest.mark.parametrize("code", ["WR-COORD-023", "WR-COORD-036", "WR-COORD-011", "WR-COORD-001"])
async def test_a_setback_makes_the_agent_ask_again(bedside: Bedside, code: str) -> None:
    order = bedside.order()
    script = Script(contribute(bedside, order), contribute(bedside, order))
    script.refuse = [code]
    told = Told()
    assert await code_of(agent(bedside, script, told).run()) == "WR-SITE-050"
    said = {"code": code, "problem": "It is refused.", "remedy": "Look."}
    assert ("not-accepted", said) in told.events
    assert [type(one) for one in script.heard[1:]] == [Packet, Packet]


async def test_a_countersignature_for_a_run_that_is_not_open_yet_is_sent_again(
    bedside: Bedside,
) -> None:
    """The coordinator was restarted; if it took the first one before, it asks for none again."""
    script = Script(finish(bedside))
    script.refuse = ["WR-COORD-036"]
    await agent(bedside, script, Told()).run()
    first, second = script.heard[1:]
    assert isinstance(first, Status) and first.kind is StatusKind.WITNESS and second == first


async def test_the_end_is_in_the_journal_once_it_is_known_to_be_over(bedside: Bedside) -> None:
    script = Script(finish(bedside))
    script.refuse = ["WR-COORD-034"]
    assert await code_of(agent(bedside, script, Told()).run()) == "WR-COORD-034"
    assert bedside.leaves("ended") == []
    script = Script(finish(bedside))
    script.bytes_out = 17
    await agent(bedside, script, Told()).run()
    (leaf,) = bedside.leaves("ended")
    assert (leaf.facts["run"], leaf.facts["bytes_out"]) == (RUN, 17)


async def test_an_agent_whose_run_is_over_does_not_wait_for_a_coordinator_for_ever(
    bedside: Bedside,
) -> None:
    class Nobody(Script):
        async def send(self, item: object, seen: int) -> None:
            await asyncio.Event().wait()

    assert await code_of(agent(bedside, Nobody(), Told()).run(0.01)) == "WR-SITE-210"


async def test_a_countersignature_that_was_not_taken_is_given_again(bedside: Bedside) -> None:
    """The journal has grown since, say: the run can't end without another one."""
    script = Script(finish(bedside), finish(bedside))
    script.refuse = ["WR-COORD-025"]
    await agent(bedside, script, Told()).run()
    assert [one.kind for one in script.heard[1:]] == [StatusKind.WITNESS, StatusKind.WITNESS]


@pytest.mark.parametrize("code", ["WR-COORD-034", "WR-COORD-033", "WR-TRUST-042"])
async def test_an_agent_that_is_not_let_in_stops(bedside: Bedside, code: str) -> None:
    script = Script(contribute(bedside, bedside.order()))
    script.refuse = [code]
    assert await code_of(agent(bedside, script, Told()).run()) == code


async def test_a_stopped_run_says_why_and_no_more_than_that(bedside: Bedside) -> None:
    script = Script(Instruction(ask=Ask.STOP, run=RUN, reason="\x1b[2J\n" + "x" * 5000))
    with pytest.raises(WardroundError) as caught:
        await agent(bedside, script, Told()).run()
    assert caught.value.code == "WR-SITE-050" and len(caught.value.problem) < 400
    assert caught.value.problem.isprintable()


async def test_what_the_agent_tells_its_operator_is_not_what_the_coordinator_hears(
    bedside: Bedside,
) -> None:
    bedside.papers.exclusions.unlink()
    script = Script(contribute(bedside, bedside.order()))
    told = Told()
    await code_of(agent(bedside, script, told).run())
    (refusal,) = script.heard[1:]
    assert isinstance(refusal, Refusal)
    assert set(orjson.loads(refusal.envelope.payload)) == {
        "study",
        "run",
        "scope",
        "site",
        "answer",
        "incident",
    }
    assert bedside.codes() == ["WR-STUDY-080"]
    (facts,) = [facts for event, facts in told.events if event == "refused"]
    assert facts["incident"] == refusal.refused.incident
    assert facts["code"] == "WR-STUDY-080" and facts["what"] == "outcome_counts"
    assert "list of excluded patients" in str(facts["problem"]) and facts["remedy"]


# Whatever is sent, the agent goes on


async def test_an_index_beyond_all_rounds_does_not_hang_the_agent(bedside: Bedside) -> None:
    first, far = bedside.order(), bedside.order(attempt=1, index=2**52)
    script = await play(bedside, contribute(bedside, first), contribute(bedside, far))
    assert isinstance(script.heard[1], Packet) and isinstance(script.heard[2], Refusal)


async def test_an_unforeseen_exception_is_refused_without_its_text(
    bedside: Bedside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ask: Instruction) -> Status:
        raise KeyError("patient 4711")

    monkeypatch.setattr(bedside.seat, "vote", fail)
    order, told = bedside.order(), Told()
    script = Script(bedside.vote_ask(order), contribute(bedside, order))
    assert await code_of(agent(bedside, script, told).run()) == "WR-SITE-050"
    assert isinstance(script.heard[1], Refusal) and isinstance(script.heard[2], Packet)
    assert bedside.codes()[-1] == "WR-SITE-052"
    assert "4711" not in repr(told.events)


async def test_an_unforeseen_exception_at_the_end_ends_the_agent_without_its_text(
    bedside: Bedside,
) -> None:
    def fail(_documents: object, _model: object) -> None:
        raise ValueError("patient 4711")

    with pytest.raises(WardroundError, match="WR-SITE-052") as raised:
        await agent(bedside, Script(finish(bedside)), Told(), fail).run()
    assert "4711" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__context__ is None


async def test_a_senseless_instruction_is_asked_for_again(bedside: Bedside) -> None:
    class Garbled(Script):
        async def next(self, seen: int) -> Asked | None:
            if len(self.polls) < 1:
                self.polls.append(seen)
                raise WardroundError("WR-ROUND-001", "An instruction is malformed.", "Look.")
            return await super().next(seen)

    told = Told()
    script = Garbled(contribute(bedside, bedside.order()))
    assert await code_of(agent(bedside, script, told).run()) == "WR-SITE-050"
    assert isinstance(script.heard[1], Packet)
    assert ("trouble", "WR-ROUND-001") in [
        (event, facts.get("code")) for event, facts in told.events
    ]


async def test_a_head_that_was_countersigned_survives_a_restart(bedside: Bedside) -> None:
    bedside.grow(3)
    script = Script(finish(bedside))
    await agent(bedside, script, Told()).run()
    bedside.restart()
    assert bedside.door.seen == bedside.head


def test_papers_do_not_show_the_key_of_the_patients(bedside: Bedside) -> None:
    assert repr(bedside.papers.patient_key) not in repr(bedside.papers)
