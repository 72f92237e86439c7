"""Instructions with parts altered, to a real agent: each is answered, or refused for a reason.

Manifests are altered and then signed by the coordinator, and what a corrupt site says is altered
and then signed by that site, so that the checks behind the signatures are reached as well.
``WR-SITE-052`` is the agent's word for an exception that nobody foresaw; none may be left.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from lying_coordinator import FOUR, RUN, LyingCoordinator, lying
from memory import folder_in_memory
from mutation import altered
from wardround.errors import WardroundError
from wardround.federation.messages import Ask, Instruction
from wardround.federation.packet import Packet
from wardround.study import Task
from wardround.trust.canonical import JSON, canonical
from wardround.trust.dsse import sign

CORRUPT, ONE, TWO, THREE = FOUR
VALUES: tuple[JSON, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1,
        3,
        2**31,
        2**53 - 1,
        0.5,
        "",
        "a",
        "harbour",
        "AAAA",
        "sha256:" + "a" * 64,
    ),
    *([], {}, [[]], ["harbour"], ["harbour"] * 3, {"harbour": "AAAA"}, {"payload": ""}, "\ud7ff"),
)


async def instructions(liar: LyingCoordinator) -> list[Instruction]:
    """What an agent may be asked in the middle of a round, as an honest coordinator would."""
    setup, task = await liar.set_up(), liar.task("moments")
    first, second = (liar.manifest(setup, task, index, step=index) for index in range(2))
    for site in (TWO, THREE):
        await liar.contribute(site, setup, task, first)
    assert isinstance(await liar.contribute(ONE, setup, task, first), Packet)
    votes = await liar.votes(first, liar.sites, [TWO, THREE])
    contribute = liar.ask(
        Ask.CONTRIBUTE,
        setup.batch,
        round=second.round,
        manifest=second.sign(liar.keys.coordinator),
        task=task.to_wire(),
        envelopes=setup.deals,
        blobs=setup.sealed_to(ONE),
    )
    shared = {"round": first.round, "survivors": liar.sites}
    return [
        liar.ask(Ask.ADVERTISE, setup.batch, pool=setup.pool, rounds=4),
        liar.ask(Ask.DEAL, setup.batch, envelopes=setup.adverts),
        liar.ask(Ask.VOTE, setup.batch, **shared),
        liar.ask(Ask.RECOVER, setup.batch, **shared, envelopes=votes),
        contribute,
        liar.ask(Ask.CONTRIBUTE, setup.batch, round=first.round),
        Instruction(ask=Ask.VOTE, run=RUN),
    ]


def lied(liar: LyingCoordinator, ask: Instruction, drawn: random.Random) -> Instruction:
    """The instruction with something in it that its signer never should have signed."""
    if ask.manifest is not None and drawn.random() < 0.8:
        manifest = json.loads(ask.manifest.payload)
        manifest["round"] = f"round.{drawn.randrange(2**32)}"  # else the packet is sent again
        manifest["index"] = drawn.randrange(1, 4)
        task: JSON = dict(ask.task)
        if drawn.random() < 0.5:
            manifest = altered(manifest, VALUES, drawn)
        else:
            task = altered(task, VALUES, drawn)
            with suppress(WardroundError):  # a task that exists gets a manifest that fits
                manifest["task"] = Task.from_wire(task, None).hash
        envelope = sign(ask.manifest.payload_type, canonical(manifest), liar.keys.coordinator)
        changes: dict[str, object] = {"manifest": envelope, "task": task}
        if isinstance(manifest, dict) and isinstance(manifest.get("round"), str):
            changes["round"] = manifest["round"]
        return ask.model_copy(update=changes)
    if CORRUPT in ask.envelopes:
        theirs = ask.envelopes[CORRUPT]
        plain = altered(json.loads(theirs.payload), VALUES, drawn)
        envelope = sign(theirs.payload_type, canonical(plain), liar.keys.sites[CORRUPT])
        return ask.model_copy(update={"envelopes": {**ask.envelopes, CORRUPT: envelope}})
    return ask


async def feed(folder: Path, count: int, seed: int) -> Counter[str]:
    """Ask one agent altered things; gives how often each code was the answer."""
    drawn, heard = random.Random(seed), Counter[str]()
    async with lying(folder, disclosure={"opened_numbers": 10**8}) as liar:
        fresh = {site: one.snapshot() for site, one in liar.honest.items()}
        asks: list[Instruction] = []
        for number in range(count):
            if number % 40 == 0:  # in the meantime it may have been led to forget its keys
                for site, old in fresh.items():
                    await liar.honest[site].roll_back(old)
                asks = await instructions(liar)
            changed: JSON = None
            try:
                ask = drawn.choice(asks)
                if drawn.random() < 0.6:
                    ask = lied(liar, ask, drawn)
                    changed = ask.model_dump(mode="json", exclude_defaults=True)
                else:
                    plain = ask.model_dump(mode="json", exclude_defaults=True)
                    changed = altered(plain, VALUES, drawn)
                assert isinstance(changed, dict)
                ask = Instruction.parse(changed)
            except WardroundError:
                heard["unparsed"] += 1
                continue
            if ask.ask in (Ask.FINISH, Ask.STOP):
                continue
            answer = await liar.honest[ONE].ask(ask)
            heard[answer if isinstance(answer, str) else "answered"] += 1
            assert answer != "WR-SITE-052", changed
    return heard


async def test_no_instruction_upsets_an_agent() -> None:
    with folder_in_memory() as folder:
        heard = await feed(Path(folder), 240, seed=0)
    assert heard["answered"] > 5 and len(heard) > 6, heard


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, 5))
async def test_no_instruction_of_many_upsets_an_agent(seed: int) -> None:
    with folder_in_memory() as folder:
        await feed(Path(folder), 4000, seed)
