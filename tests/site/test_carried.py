"""What a hospital keeps of an update until its turn comes, seen at its door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bedside import ME, RUN, Bedside
from scripted import Script, Told, finish
from turns import MODEL, step
from ward import SITES
from wardround.clinical.table import FeatureTable
from wardround.ids import RunId
from wardround.learning.registry import compute
from wardround.site.agent import Agent
from wardround.site.carried import Carried
from wardround.site.door import computable
from wardround.study.plan import headroom


class Overheard:
    """The values that a door has masked, round by round."""

    def __init__(self, bedside: Bedside) -> None:
        self.values: list[np.ndarray] = []
        self._bedside = bedside
        self._mask = bedside.seat.mask
        bedside.seat.mask = self._listen

    def _listen(self, manifest: object, name: object, ring: np.ndarray) -> None:
        task = self.task
        encoding = headroom(self._bedside.study, task, len(SITES)).encoding
        self.values.append(encoding.decode(ring[: task.elements].copy()))
        self._mask(manifest, name, ring)

    async def round(self, number: int, index: int, attempt: int = 0) -> np.ndarray:
        """What this hospital sends in a round, having been in the totals of all before."""
        self.task = step(self._bedside.study, [SITES] * (number - 1))
        order = self._bedside.order(self.task, index, number, attempt, length=self.task.elements)
        await self._bedside.answered(order)
        return self.values[-1]


def updates(
    bedside: Bedside,
    number: int,
    records: FeatureTable | None = None,
    left: np.ndarray | None = None,
) -> np.ndarray:
    """This hospital's whole update of a round, over all its patients or these, beside what is
    ``left`` of others."""
    task = step(bedside.study, [SITES] * (number - 1))
    limits = {"minimum_cell": 5, "minimum_cohort": 20}
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": limits,
    }
    columns = computable(bedside.study, records or bedside.papers.table)
    if left is None:
        return compute(columns, request, task.model)[:3]
    return compute(columns, {**request, "carried": 3}, np.concatenate([task.model, left]))[:3]


@pytest.fixture
async def bedside(tmp_path: Path) -> Bedside:
    disclosure = {"opened_numbers": 1000}
    return await Bedside(tmp_path, model=MODEL, disclosure=disclosure).ready()


async def test_what_is_not_sent_is_in_what_is_sent_next(bedside: Bedside) -> None:
    heard, sent, left = Overheard(bedside), [], None
    for number in range(1, 4):
        values = await heard.round(number, number - 1)
        left = updates(bedside, number, left=left) + (0 if left is None else left)
        turn = heard.task.turns.coordinates
        np.testing.assert_allclose(values[turn], left[turn], rtol=1e-9)
        assert np.count_nonzero(values[:3]) == 1
        left[turn] = 0.0
        sent.extend(turn)
    assert sorted(sent) == [0, 1, 2]


def test_in_another_run_nothing_of_this_one_is_sent(bedside: Bedside) -> None:
    carried, patients = Carried(bedside.study, ME), frozenset({b"patients"})
    first, second = step(bedside.study), step(bedside.study, [SITES])
    ones, zeros = np.ones(first.length), np.zeros(first.length)
    for run, sent in ((RUN, 1.0), (RunId("another"), 0.0)):
        carried.answer(RUN, first, patients, ones)
        values = carried.answer(run, second, patients, zeros)
        assert values[second.turns.coordinates] == sent


async def test_only_what_was_sent_counts_as_opened(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    assert bedside.spent() == heard.task.numbers == heard.task.length - 2


async def test_a_task_whose_round_failed_is_answered_the_same_again(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    first = await heard.round(2, 1)
    assert np.array_equal(await heard.round(2, 2, attempt=1), first)


async def test_after_a_withdrawal_nothing_of_before_is_sent(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    withdrawn = frozenset(f"{ME}-{number}" for number in range(10))
    bedside.exclude(*withdrawn)
    values = await heard.round(2, 1)
    turn = heard.task.turns.coordinates
    others = bedside.papers.table.excluding(withdrawn)
    np.testing.assert_allclose(values[turn], updates(bedside, 2, others)[turn], rtol=1e-9)


async def test_when_the_run_is_over_nothing_is_kept(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    script = Script(finish(bedside))
    papers, door, seat, state = bedside.papers, bedside.door, bedside.seat, bedside.state
    await Agent(papers, script, door, seat, state, lambda _said, _model: None, Told()).run()
    bedside.set_up()
    bedside.give_shares(bedside.order())
    values = await heard.round(2, 1)
    turn = heard.task.turns.coordinates
    np.testing.assert_allclose(values[turn], updates(bedside, 2)[turn], rtol=1e-9)


async def test_nothing_of_the_memory_is_ever_on_the_disk(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    await heard.round(2, 1)
    bedside.state.database.close()
    first = updates(bedside, 1)
    first[step(bedside.study).turns.coordinates] = 0.0
    stays = [updates(bedside, 1), updates(bedside, 2, left=first) + first]
    told = [float(one).hex().encode() for one in np.concatenate(stays)]
    told += [np.float64(one).tobytes() for one in np.concatenate(stays)]
    told += [repr(float(one))[:12].encode() for one in np.concatenate(stays)]
    steps = headroom(bedside.study, heard.task, len(SITES)).encoding.exact
    told += [one.tobytes() for one in steps.encode(np.concatenate(stays))]
    files = [path.read_bytes() for path in bedside.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not any(one in content for one in told for content in files)
