"""A study that compresses its updates, from the hospitals to the auditor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plain_federation import PlainFederation, spread, study
from recorded_run import RecordedRun, columns
from studies import document, private
from ward import SITES, plan, table
from wardround.algorithms.plan import run_study
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.governance import verify
from wardround.governance.case import Case, OpenedRound
from wardround.governance.replay import ReplayFederation
from wardround.learning.specify import check_task, specify
from wardround.secagg.adversary import MAXIMUM_SITES
from wardround.secagg.quantised import LEAST_STEPS, steps_each_way
from wardround.simulation.inprocess import open_federation
from wardround.study import Study, Task
from wardround.study.task import Lanes

FEATURES = ("radius_mean", "texture_mean")
SCALES = {"centre": [14.0, 19.0], "scale": [3.5, 4.0]}


def compressed(compression: str, **more: object) -> Study:
    fedavg = {"rounds": 12, "batch_size": 16, "clipping_norm": 1.0, **more}
    return study(
        FEATURES, algorithm="fedavg", fedavg={**fedavg, "compression": compression}, ridge=1.0
    )


def task(agreed: Study, expected: int = 600) -> Task:
    choice = {**SCALES, "decay": 0.001, "round": 1}
    if agreed.model.fedavg.compression != "none":
        choice["expected"] = expected
    return specify(agreed, "fedavg", choice, np.zeros(3))


@pytest.fixture(scope="module")
def sites() -> dict[str, dict[str, np.ndarray]]:
    return spread(columns(), (240, 160, 120, 80))


def test_the_signed_study_decides_and_a_site_refuses_anything_else() -> None:
    for compression, bits in (("rotate16", 16), ("rotate8", 8)):
        agreed = compressed(compression)
        asked = task(agreed)
        assert asked.lanes == Lanes(bits, 3, 1.0)
        check_task(agreed, asked)
        with pytest.raises(WardroundError, match=r"WR-LEARN-00[13]"):
            check_task(compressed("none"), asked)
        wire = asked.to_wire()
        assert Task.from_wire(wire, asked.model.tobytes()).hash == asked.hash
        del wire["lanes"]
        with pytest.raises(WardroundError, match="WR-LEARN-003"):
            check_task(agreed, Task.from_wire(wire, asked.model.tobytes()))
    plain = task(compressed("none"))
    assert plain.lanes is None and "lanes" not in plain.to_wire()
    assert "compression" not in plain.parameters["training"]


@pytest.mark.parametrize(
    "lanes",
    [
        None,
        {},
        {"bits": 7, "first": 3, "norm": 1.0},
        {"bits": 8, "first": 0, "norm": 1.0},
        {"bits": 8, "first": 7, "norm": 1.0},
        {"bits": 8, "first": 3, "norm": 0},
        {"bits": 8, "first": 3, "norm": "1"},
        {"bits": True, "first": 3, "norm": 1.0},
        {"bits": 8, "first": 3, "norm": 1.0, "surplus": 1},
    ],
)
def test_lanes_that_make_no_sense_have_a_code(lanes: object) -> None:
    asked = task(compressed("rotate8"))
    with pytest.raises(WardroundError, match="WR-STUDY-060"):
        Task.from_wire({**asked.to_wire(), "lanes": lanes}, asked.model.tobytes())


async def test_the_average_is_the_exact_one_but_for_a_small_error(sites: object) -> None:
    exact = await asked(compressed("none"), sites)
    errors = {}
    for compression in ("rotate16", "rotate8"):
        found = await asked(compressed(compression), sites)
        assert (found.records, found.outgrown) == (exact.records, False)
        assert found.log_likelihood == exact.log_likelihood
        errors[compression] = np.linalg.norm(found.update - exact.update)
    assert 0 < errors["rotate16"] < 0.002 < errors["rotate8"] < 0.5


async def asked(agreed: Study, sites: object, expected: int | None = None) -> object:
    from wardround.learning.local_sgd import FedAvg

    records = sum(int((one["_test"] == 0).sum()) for one in sites.values())
    one = task(agreed, expected or records)
    total = await PlainFederation(agreed, sites).sum(one)
    computation = FedAvg.parse(one.parameters, one.model)
    return computation.read(total.values[:-1] * computation.units)


async def test_more_records_than_the_lanes_have_room_for_are_found_out(sites: object) -> None:
    assert (await asked(compressed("rotate16"), sites, 10)).outgrown
    assert not (await asked(compressed("rotate16"), sites, 10_000)).outgrown


@pytest.mark.parametrize("compression", ["rotate16", "rotate8"])
async def test_training_ends_near_where_it_ends_without(sites: object, compression: str) -> None:
    exact = await run_study(PlainFederation(compressed("none"), sites))
    federation = PlainFederation(compressed(compression), sites)
    found = await run_study(federation)
    auroc = [one.evaluation["held_out"]["auroc"] for one in (exact, found)]
    assert auroc[1] == pytest.approx(auroc[0], abs=0.02)
    assert sum(one.kind == "fedavg" for one in federation.tasks) == 12


async def test_a_hospital_that_was_missing_when_records_were_counted_may_come_back(
    sites: object,
) -> None:
    counted = 2  # counts and moments are asked first
    agreed = compressed("rotate16")
    federation = PlainFederation(
        agreed, sites, lambda step: ("lakeside",) if step < counted else ()
    )
    await run_study(federation)
    expected = [one.parameters["expected"] for one in federation.tasks if one.kind == "fedavg"]
    assert len(expected) == 13, "the first is asked again"
    assert expected[0] < expected[1] and set(expected[1:]) == {expected[1]}


@pytest.mark.parametrize("compression", ["rotate16", "rotate8"])
def test_an_auditor_gets_the_same_model_bit_for_bit(compression: str) -> None:
    fedavg = {"rounds": 3, "clipping_norm": 1.0, "compression": compression}
    agreed = Study.parse(
        document(model={"kind": "logistic", "algorithm": "fedavg", "fedavg": fedavg})
    )
    run = RecordedRun(study=agreed, fails=frozenset({3}), absent_at={4: "harbour"})
    report = verify(run.run())
    assert report.ok, report.failures


class Unclipped(PlainFederation):
    """One hospital sends its update many times as long as it may be, within all bounds."""

    async def sum(self, task: Task) -> Total:
        total = await super().sum(task)
        if task.kind != "fedavg":
            return total
        values = total.values.copy()
        values[:3] += 10 * values[-2] / int(task.parameters.get("expected", 1))
        return replace(total, values=values)


@pytest.mark.parametrize("compression", ["none", "rotate16", "rotate8"])
async def test_an_update_that_is_not_clipped_ends_the_run(sites: object, compression: str) -> None:
    """The attack: of packed elements every bit pattern can be honest, and of others each element
    may be as large as all records together. But the mean of clipped updates is not that long."""
    with pytest.raises(WardroundError, match="WR-LEARN-015"):
        await run_study(Unclipped(compressed(compression), sites))


def test_the_exact_values_beside_a_compressed_update_keep_their_bounds() -> None:
    """The attack: a hospital sends a number of records that nobody can have."""
    fedavg = {"rounds": 1, "clipping_norm": 1.0, "compression": "rotate16"}
    agreed = Study.parse(
        document(model={"kind": "logistic", "algorithm": "fedavg", "fedavg": fedavg})
    )
    case = Case(RecordedRun(study=agreed).run())
    (one,) = [one for one in case.completed if one.manifest.kind == "fedavg"]
    task, whole = case.tasks[one.manifest.task], len(agreed.sites)
    federation = ReplayFederation(agreed, [], case.cohorts)

    def altered(place: int) -> OpenedRound:
        ring = np.frombuffer(one.record.total, "<u8").copy()
        ring[place] = (1 << 63) - 1
        return replace(one, record=one.record.model_copy(update={"total": ring.tobytes()}))

    for place in (-3, -2, -1):
        with pytest.raises(WardroundError, match="larger than the bound"):
            federation.total(task, altered(place), 0, whole)
    federation.total(task, altered(0), 0, whole)  # of these nobody can tell one by one


async def test_masked_and_opened_by_a_coordinator(tmp_path: Path) -> None:
    """The whole way: door, masks, checksum, spool, total; and the bytes are what is promised."""
    fedavg = {"rounds": 2, "clipping_norm": 1.0, "compression": "rotate16"}
    sealed = plan(
        model={"kind": "logistic", "algorithm": "fedavg", "fedavg": fedavg},
        disclosure={"opened_numbers": 100_000},
    )
    tables = {site: table(site) for site in SITES}
    async with open_federation(sealed, tables, tmp_path) as federation:
        agreed = federation.study
        one = task(agreed, 1000)
        total = await federation.sum(one)
        assert total.values.shape == (one.length,)
        assert total.values[-2] == round(total.values[-2]) > 0
        manifest = federation.driver.exchange.manifest
        assert manifest.length == one.elements < one.length


def model(compression: str) -> dict[str, object]:
    fedavg = {"rounds": 5, "compression": compression}
    return {"kind": "logistic", "algorithm": "fedavg", "fedavg": fedavg}


def test_there_are_no_others() -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-160"):
        Study.parse(document(model=model("zip")))


def test_under_noise_there_is_none_as_nobody_counts_what_it_costs() -> None:
    with pytest.raises(WardroundError, match="WR-STUDY-161"):
        Study.parse(private(model=model("rotate16")))


def test_asynchronous_cohorts_have_none_yet() -> None:
    plain = document(model=model("rotate8"))
    plain["cohort"] = {**plain.get("cohort", {}), "asynchronous": {}}
    with pytest.raises(WardroundError, match="WR-STUDY-161"):
        Study.parse(plain)


def test_lanes_of_8_bits_have_room_for_every_study_there_can_be() -> None:
    assert steps_each_way(8, MAXIMUM_SITES) >= LEAST_STEPS
