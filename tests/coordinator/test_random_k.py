"""A study that sends a share of each update, from the hospitals to the auditor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import requires
from bedside import ME, Bedside
from plain_federation import FEATURES, PlainFederation, spread, study
from recorded_run import RecordedRun
from studies import document, private
from ward import SITES, Ward, open_ward, plan, table, until
from wardround.algorithms.plan import run_study
from wardround.clinical.table import FeatureTable
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.governance import verify
from wardround.learning.error_feedback import tell
from wardround.learning.registry import compute
from wardround.learning.specify import check_task, specify
from wardround.simulation.inprocess import open_federation
from wardround.site.door import computable
from wardround.study import Study, Task
from wardround.study.plan import headroom
from wardround.study.task import Turns

TWO = ("radius_mean", "texture_mean")
SCALES = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}
FEDAVG = {"rounds": 12, "clipping_norm": 1.0, "compression": "random-k", "sent_share": 0.4}
MODEL = {"kind": "logistic", "algorithm": "fedavg", "fedavg": FEDAVG}
FIRST = SITES[0]


def sparse(**changes: object) -> Study:
    return study(TWO, algorithm="fedavg", fedavg={**FEDAVG, **changes}, ridge=1.0)


def step(agreed: Study, totals: list[tuple[str, ...]] | None = None) -> Task:
    """The task of the round after those whose ``totals`` were over these sites."""
    totals = totals or []
    choice = {**SCALES, "decay": 0.001, "round": len(totals) + 1}
    if totals:
        choice["included"] = tell(totals, agreed.site_names)
    return specify(agreed, "fedavg", choice, np.zeros(3))


# what is agreed


def test_the_signed_study_decides_whose_turn_it_is() -> None:
    agreed = sparse()
    asked = step(agreed, [agreed.site_names])
    assert asked.turns == Turns(3, 1, 2, agreed.digest)
    assert (asked.length, asked.numbers, asked.elements) == (6, 4, 4)
    check_task(agreed, asked)
    wire, model = asked.to_wire(), asked.model.tobytes()
    assert Task.from_wire(wire, model).hash == asked.hash
    for change in ({"seed": "sha256:" + "0" * 64}, {"sent": 2}, {"number": 1}):
        other = Task.from_wire({**wire, "turns": {**wire["turns"], **change}}, model)
        with pytest.raises(WardroundError, match="WR-LEARN-003"):
            check_task(agreed, other)
    del wire["turns"]
    with pytest.raises(WardroundError, match="WR-LEARN-003"):
        check_task(agreed, Task.from_wire(wire, model))


@pytest.mark.parametrize("included", ["", "f", "ff0", "zz", "FF", ["ff"], None])
def test_who_was_in_the_rounds_before_is_said_of_each(included: object) -> None:
    asked = step(sparse(), [SITES])
    parameters = {**asked.parameters, "included": included}
    with pytest.raises(WardroundError, match="WR-LEARN-001"):
        specify(sparse(), "fedavg", parameters, asked.model)


@pytest.mark.parametrize(
    "turns",
    [
        None,
        {},
        {"first": 0, "sent": 1},
        {"first": 7},
        {"sent": 0},
        {"sent": 4},
        {"sent": True},
        {"number": 0},
        {"number": 1.5},
        {"number": 1 << 21},
        {"seed": "sha256:0"},
        {"seed": None},
        {"surplus": 1},
    ],
)
def test_turns_that_make_no_sense_have_a_code(turns: dict[str, object] | None) -> None:
    asked = step(sparse())
    wire = asked.to_wire()
    wrong = turns if not turns else {**wire["turns"], **turns}
    with pytest.raises(WardroundError, match="WR-STUDY-060"):
        Task.from_wire({**wire, "turns": wrong}, asked.model.tobytes())


def test_turns_and_lanes_exclude_each_other() -> None:
    asked = step(sparse())
    with pytest.raises(WardroundError, match="WR-STUDY-060"):
        Task.from_wire(
            {**asked.to_wire(), "lanes": {"bits": 8, "first": 3, "norm": 1.0}},
            asked.model.tobytes(),
        )


def test_a_tenth_is_sent_where_the_study_does_not_say() -> None:
    agreed = study(algorithm="fedavg", fedavg={"rounds": 5, "compression": "random-k"})
    assert agreed.model.fedavg.share_sent == 0.1


@pytest.mark.parametrize("share", [0, 0.0009, 1.1, "a tenth"])
def test_a_share_is_a_share(share: object) -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-162"):
        sparse(sent_share=share)


@pytest.mark.parametrize("compression", ["none", "rotate16"])
def test_a_share_belongs_to_random_k(compression: str) -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-163"):
        sparse(compression=compression)


def test_under_noise_nothing_is_kept_as_it_would_be_in_sums_that_are_not_paid_for() -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-164"):
        Study.parse(private(model=MODEL))


def test_asynchronous_cohorts_have_no_turns() -> None:
    plain = document(model=MODEL)
    plain["cohort"] = {**plain.get("cohort", {}), "asynchronous": {}}
    with pytest.raises(WardroundError, match="WR-STUDY-164"):
        Study.parse(plain)


@pytest.mark.parametrize("server", ["fedadam", "fedyogi", "fedadagrad"])
def test_adaptive_steps_do_not_know_what_was_not_sent(server: str) -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-164"):
        sparse(server=server)


def test_statistics_and_evaluation_are_never_compressed() -> None:
    agreed = sparse()
    federation = PlainFederation(agreed, four())
    asyncio.run(run_study(federation))
    assert {one.kind for one in federation.tasks if one.turns is not None} == {"fedavg"}
    assert len({one.kind for one in federation.tasks if one.turns is None}) >= 4


# what comes of it


def four() -> dict[str, dict[str, np.ndarray]]:
    from recorded_run import columns

    return spread(columns(), (240, 160, 120, 80))


@pytest.fixture(scope="module")
def biopsies() -> dict[str, dict[str, np.ndarray]]:
    data = requires.package("sklearn.datasets").load_breast_cancer()
    columns = dict(zip(FEATURES, data.data[:, :10].T, strict=True))
    columns["malignant"] = 1.0 - data.target
    columns["_test"] = (np.random.default_rng(2026).random(569) < 0.3).astype(float)
    return spread(columns, (231, 162, 108, 68))


class Forgetful(PlainFederation):
    """Whose sites keep nothing from one round to the next."""

    def carry(self, name: str, task: Task, vector: np.ndarray) -> np.ndarray:
        self.carried[name].forget()
        return super().carry(name, task, vector)


def loss(federation: PlainFederation) -> float:
    """Per record, at the model that the last round started from."""
    asyncio.run(run_study(federation))
    records = sum(int((one["_test"] == 0).sum()) for one in federation.sites.values())
    told = [facts["log_likelihood"] for event, facts in federation.said if event == "fedavg"]
    return -told[-1] / records


def test_with_a_memory_it_goes_as_fast_as_uncompressed_and_without_far_slower(
    biopsies: dict[str, dict[str, np.ndarray]],
) -> None:
    fedavg = {"rounds": 40, "learning_rate": 0.03, "clipping_norm": 5.0}
    plain = study(algorithm="fedavg", fedavg=fedavg, ridge=1.0)
    tenth = study(algorithm="fedavg", fedavg={**fedavg, "compression": "random-k"}, ridge=1.0)
    exact = loss(PlainFederation(plain, biopsies))
    assert loss(PlainFederation(tenth, biopsies)) < 1.05 * exact
    assert loss(Forgetful(tenth, biopsies)) > 1.5 * exact


def test_a_hospital_that_is_missing_now_and_then_breaks_nothing(
    biopsies: dict[str, dict[str, np.ndarray]],
) -> None:
    fedavg = {"rounds": 40, "learning_rate": 0.03, "clipping_norm": 5.0}
    plain = study(algorithm="fedavg", fedavg=fedavg, ridge=1.0)
    tenth = study(algorithm="fedavg", fedavg={**fedavg, "compression": "random-k"}, ridge=1.0)

    def absent(step: int) -> tuple[str, ...]:
        return (sorted(biopsies)[step % 4],)

    exact = loss(PlainFederation(plain, biopsies, absent))
    assert loss(PlainFederation(tenth, biopsies, absent)) < 1.1 * exact


def test_it_has_settled_when_every_coordinate_has_had_its_turn() -> None:
    hardly = {"learning_rate": 1e-6, "rounds": 12}
    plain = PlainFederation(study(TWO, algorithm="fedavg", fedavg=hardly, tolerance=0.1), four())
    turns = PlainFederation(
        study(
            TWO,
            algorithm="fedavg",
            fedavg={**hardly, "compression": "random-k", "sent_share": 0.4},
            tolerance=0.1,
        ),
        four(),
    )
    for federation, rounds in ((plain, 1), (turns, 3)):
        asyncio.run(run_study(federation))
        assert sum(one.kind == "fedavg" for one in federation.tasks) == rounds


# what an auditor sees


def test_an_auditor_gets_the_same_model_bit_for_bit() -> None:
    run = RecordedRun(
        study=Study.parse(document(model=MODEL)), fails=frozenset({3}), absent_at={4: "harbour"}
    )
    report = verify(run.run())
    assert report.ok, report.failures


class Lying(RecordedRun):
    """A coordinator that tells the hospitals that one of them was not in a total."""

    async def sum(self, task: Task) -> Total:
        total = await super().sum(task)
        return replace(total, survivors=total.survivors[1:]) if task.turns else total


def test_an_auditor_finds_who_lied_about_who_was_in_a_total() -> None:
    run = Lying(study=Study.parse(document(model=MODEL)))
    report = verify(run.run())
    assert not report.ok
    assert "WR-GOV-021" in str(report.failures)


# through the door and over the line


async def test_masked_and_opened_by_a_coordinator(tmp_path: Path) -> None:
    """The whole way: door, masks, checksum, spool, total; and the bytes are what is promised."""
    tables = {site: table(site) for site in SITES}
    sealed = plan(model=MODEL, disclosure={"opened_numbers": 100_000})
    async with open_federation(sealed, tables, tmp_path) as federation:
        one = step(federation.study)
        total = await federation.sum(one)
        assert total.values.shape == (one.length,)
        assert np.count_nonzero(total.values[:3]) == one.turns.sent == 1
        manifest = federation.driver.exchange.manifest
        assert manifest.length == one.elements == one.length - 2
        journal = federation.coordinator.state.journal.entries()
        (opened,) = [entry.facts["opened"] for entry in journal if entry.kind == "total"]
        assert opened == one.numbers


async def total_of(ward: Ward, task: Task) -> Total:
    return await asyncio.wait_for(ward.driver.sum(task), 30)


def beside(ward: Ward) -> PlainFederation:
    """The same hospitals, whose encodings are summed in the clear."""
    sites = {
        site: computable(ward.study, one.custody.table) for site, one in ward.hospitals.items()
    }
    return PlainFederation(ward.study, sites)


async def test_a_hospital_that_dropped_out_of_a_round_goes_on_from_before_it(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, model=MODEL, cohort={"deadline_s": 1.0}) as ward:
        plain, totals = beside(ward), []
        plain.absent = lambda step: (FIRST,) if step == 1 else ()
        hospital, gate = ward.hospitals[FIRST], asyncio.Event()
        for number in range(4):
            held = number == 1
            hospital.line.before = lambda kind, held=held: (
                gate.wait() if held and kind == "packet" else None
            )
            task = step(ward.study, totals)
            total = await total_of(ward, task)
            assert (FIRST in total.survivors) != held
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)
            if held:
                gate.set()
                await until(lambda: "not-accepted" in [event for event, _ in hospital.events])
                await until(lambda: not ward.coordinator.exchange.stopwatch.absent(FIRST))


async def test_an_agent_that_restarts_has_lost_its_memory_and_nothing_else(
    tmp_path: Path,
) -> None:
    cohort = {"deadline_s": 5.0, "rounds_per_setup": 2}  # keys are lost with the memory
    async with open_ward(tmp_path, model=MODEL, cohort=cohort) as ward:
        plain, totals = beside(ward), []
        hospital = ward.hospitals[FIRST]
        for number in range(4):
            if number == 2:
                await hospital.kill()
                await hospital.start()
                plain.carried[FIRST].forget()
            task = step(ward.study, totals)
            total = await total_of(ward, task)
            assert total.survivors == SITES
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)


async def test_a_coordinator_that_restarts_changes_nothing(tmp_path: Path) -> None:
    async with open_ward(tmp_path, model=MODEL, cohort={"deadline_s": 5.0}) as ward:
        plain, totals = beside(ward), []
        for number in range(3):
            task = step(ward.study, totals)
            if number == 2:
                await ward.crash()
                driver = await ward.restart()
                for before in range(2):  # replayed from what was stored
                    await driver.sum(step(ward.study, totals[:before]))
            total = await total_of(ward, task)
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)


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


def updates(bedside: Bedside, number: int, records: FeatureTable | None = None) -> np.ndarray:
    """This hospital's whole update of a round, over all its patients or these."""
    task = step(bedside.study, [SITES] * (number - 1))
    limits = {"minimum_cell": 5, "minimum_cohort": 20}
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": limits,
    }
    columns = computable(bedside.study, records or bedside.papers.table)
    return compute(columns, request, task.model)[:3]


@pytest.fixture
async def bedside(tmp_path: Path) -> Bedside:
    disclosure = {"opened_numbers": 1000}
    return await Bedside(tmp_path, model=MODEL, disclosure=disclosure).ready()


async def test_what_is_not_sent_is_in_what_is_sent_next(bedside: Bedside) -> None:
    heard, sent = Overheard(bedside), []
    for number in range(1, 4):
        values = await heard.round(number, number - 1)
        whole = sum(updates(bedside, one) for one in range(1, number + 1))
        turn = heard.task.turns.coordinates
        np.testing.assert_allclose(values[turn], whole[turn], rtol=1e-9)
        assert np.count_nonzero(values[:3]) == 1
        sent.extend(turn)
    assert sorted(sent) == [0, 1, 2]


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


async def test_nothing_of_the_memory_is_ever_on_the_disk(bedside: Bedside) -> None:
    heard = Overheard(bedside)
    await heard.round(1, 0)
    await heard.round(2, 1)
    bedside.state.database.close()
    stays = [updates(bedside, 1), updates(bedside, 1) + updates(bedside, 2)]
    told = [float(one).hex().encode() for one in np.concatenate(stays)]
    told += [np.float64(one).tobytes() for one in np.concatenate(stays)]
    told += [repr(float(one))[:12].encode() for one in np.concatenate(stays)]
    files = [path.read_bytes() for path in bedside.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not any(one in content for one in told for content in files)
