"""Random-k with error feedback: what a study may say of it, and how well it trains."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import requires
from plain_federation import FEATURES, PlainFederation, spread, study
from recorded_run import columns
from studies import document, private
from turns import MODEL, SCALES, TWO, sparse, step
from ward import SITES
from wardround.algorithms.plan import run_study
from wardround.errors import WardroundError
from wardround.learning.registry import compute
from wardround.learning.specify import check_task, specify
from wardround.study import Study, Task
from wardround.study.task import Turns

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


def test_a_site_trains_on_from_what_it_has_not_sent() -> None:
    """Beside a memory of n * e it computes what it would from the model plus e."""
    agreed, records = sparse(clipping_norm=0.75), four()["st-anna"]
    n = int((records["_test"] == 0).sum())
    federation = PlainFederation(agreed, {})
    moved = np.array([0.25, -0.5, 0.125])
    task, there = step(agreed), specify(agreed, "fedavg", step(agreed).parameters, moved)
    request = {**federation.request(task), "carried": 3}
    left = moved * n  # in lanes, whose unit is 1 for a norm of 0.75
    found = compute(records, request, np.concatenate([task.model, left]))
    expected = compute(records, federation.request(there), there.model)
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-12)
    here = compute(records, federation.request(task), task.model)
    assert np.array_equal(found[3:], here[3:]), "the likelihood is that of the model sent out"


@pytest.mark.parametrize(
    ("kind", "carried", "numbers"),
    [
        ("fedavg", 2, 6),
        ("fedavg", 4, 6),
        ("fedavg", 6, 6),
        ("fedavg", 0, 6),
        ("fedavg", True, 6),
        ("fedavg", 2, 5),
        ("outcome_counts", 3, 3),
    ],
)
def test_nothing_else_is_carried_beside_a_model(kind: str, carried: object, numbers: int) -> None:
    agreed = sparse()
    task = step(agreed) if kind == "fedavg" else specify(agreed, kind, {})
    request = {**PlainFederation(agreed, {}).request(task), "carried": carried}
    with pytest.raises(WardroundError, match=r"WR-LEARN-00[14]"):
        compute(four()["st-anna"], request, np.zeros(numbers))


def test_nothing_is_carried_where_everything_is_sent() -> None:
    agreed = study(TWO, algorithm="fedavg", fedavg={"rounds": 3})
    choice = {**SCALES, "decay": 0.001, "round": 1}
    task = specify(agreed, "fedavg", choice, np.zeros(3))
    request = {**PlainFederation(agreed, {}).request(task), "carried": 3}
    with pytest.raises(WardroundError, match="WR-LEARN-001"):
        compute(four()["st-anna"], request, np.zeros(6))


# what comes of it


def four() -> dict[str, dict[str, np.ndarray]]:
    return spread(columns(), (240, 160, 120, 80))


def test_statistics_and_evaluation_are_never_compressed() -> None:
    agreed = sparse()
    federation = PlainFederation(agreed, four())
    asyncio.run(run_study(federation))
    assert {one.kind for one in federation.tasks if one.turns is not None} == {"fedavg"}
    assert len({one.kind for one in federation.tasks if one.turns is None}) >= 4


@pytest.fixture(scope="module")
def biopsies() -> dict[str, dict[str, np.ndarray]]:
    data = requires.package("sklearn.datasets").load_breast_cancer()
    columns = dict(zip(FEATURES, data.data[:, :10].T, strict=True))
    columns["malignant"] = 1.0 - data.target
    columns["_test"] = (np.random.default_rng(2026).random(569) < 0.3).astype(float)
    return spread(columns, (231, 162, 108, 68))


class Forgetful(PlainFederation):
    """Whose sites keep nothing from one round to the next."""

    def computed(self, name: str, task: Task) -> np.ndarray:
        self.carried[name].forget()
        return super().computed(name, task)


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
    assert loss(PlainFederation(tenth, biopsies)) < 1.15 * exact
    assert loss(Forgetful(tenth, biopsies)) > 1.8 * exact


def test_long_local_training_does_not_overshoot_when_its_turn_comes(
    biopsies: dict[str, dict[str, np.ndarray]],
) -> None:
    """From the model alone each round would make the whole move again, and all arrive at once."""
    fedavg = {"rounds": 20, "learning_rate": 0.5, "local_epochs": 5, "batch_size": 8}
    plain = study(algorithm="fedavg", fedavg=fedavg, ridge=1.0)
    tenth = study(algorithm="fedavg", fedavg={**fedavg, "compression": "random-k"}, ridge=1.0)
    assert loss(PlainFederation(tenth, biopsies)) < 1.1 * loss(PlainFederation(plain, biopsies))


def test_a_hospital_that_is_missing_now_and_then_breaks_nothing(
    biopsies: dict[str, dict[str, np.ndarray]],
) -> None:
    fedavg = {"rounds": 40, "learning_rate": 0.03, "clipping_norm": 5.0}
    plain = study(algorithm="fedavg", fedavg=fedavg, ridge=1.0)
    tenth = study(algorithm="fedavg", fedavg={**fedavg, "compression": "random-k"}, ridge=1.0)

    def absent(step: int) -> tuple[str, ...]:
        return (sorted(biopsies)[step % 4],)

    exact = loss(PlainFederation(plain, biopsies, absent))
    assert loss(PlainFederation(tenth, biopsies, absent)) < 1.2 * exact


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
