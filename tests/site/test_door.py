"""The door, step by step: what makes each refuse, and that nothing left when it did."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

import turns
from bedside import ME, PEERS, Bedside, code
from private_federation import whole_windows
from studies import policy as compliance
from studies import private
from ward import SITES, TODAY, plan, policy
from wardround.clinical.quality import Check, Finding, Level
from wardround.errors import WardroundError
from wardround.federation.messages import JournalHead
from wardround.ids import SiteName
from wardround.learning.agreed import variables_of
from wardround.site import opened, tables
from wardround.site.halt import lift
from wardround.site.order import Order
from wardround.site.patients import Patients
from wardround.study import HospitalPolicy, Profile, Task, approve, sign_exclusions
from wardround.study.approval import PAYLOAD_TYPE, Approval
from wardround.trust.canonical import digest
from wardround.trust.dsse import sign

OTHER = digest(b"something else")


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def bedside(tmp_path: Path) -> Bedside:
    return await Bedside(tmp_path).ready()


async def test_an_honest_order_is_answered_once_charged_once_and_journalled(
    bedside: Bedside,
) -> None:
    order = bedside.order()
    packet = await bedside.answered(order)
    assert bedside.spent() == order.task.length
    (leaf,) = bedside.leaves("packet")
    assert leaf.facts["manifest"] == order.manifest_digest
    assert leaf.facts["opened"] == order.task.length
    assert packet.payload.stat().st_mode & 0o777 == 0o600
    masked = np.frombuffer(packet.payload.read_bytes(), np.uint64)
    assert (masked > 2**40).all(), "counts of sixty patients would be small numbers"


# is the study approved and unexpired


async def test_an_approval_that_ended_yesterday(tmp_path: Path) -> None:
    def until_today(_bedside, papers):
        return replace(papers, approval=approve(papers.study, ME, papers.key, TODAY, until=TODAY))

    bedside = await Bedside(tmp_path, until_today, tomorrow).ready()
    assert await bedside.refused(bedside.order()) == "WR-STUDY-074"


async def test_an_approval_of_another_version_of_the_study(tmp_path: Path) -> None:
    def of_another(bedside, papers):
        study = bedside.keys.seal(plan(version=2))
        return replace(papers, approval=approve(study, ME, papers.key, TODAY))

    bedside = await Bedside(tmp_path, of_another).ready()
    assert await bedside.refused(bedside.order()) == "WR-STUDY-072"


async def test_an_approval_by_somebody_else(tmp_path: Path) -> None:
    bedside = await Bedside(tmp_path).ready()
    peer = PEERS[0]
    foreign = approve(bedside.study, peer, bedside.keys.sites[peer], TODAY)
    bedside.papers = replace(bedside.papers, approval=foreign)
    bedside.restart()
    bedside.set_up()
    assert await bedside.refused(bedside.order()) == "WR-STUDY-070"


async def test_an_approval_that_was_altered(tmp_path: Path) -> None:
    def widened(_bedside, papers):
        envelope = papers.approval
        payload = envelope.payload.replace(b'"approved_until":"202', b'"approved_until":"203')
        return replace(papers, approval=replace(envelope, payload=payload))

    bedside = await Bedside(tmp_path, widened).ready()
    assert await bedside.refused(bedside.order()) == "WR-STUDY-070"


# does policy allow this task


async def test_a_profile_that_the_hospital_does_not_accept(tmp_path: Path) -> None:
    bedside = await Bedside(tmp_path, hospital=HospitalPolicy()).ready()
    assert await bedside.refused(bedside.order()) == "WR-POLICY-050"


async def test_a_kind_of_task_that_the_hospital_does_not_allow(tmp_path: Path) -> None:
    only = policy(allowed_tasks=("moments",))
    bedside = await Bedside(tmp_path, hospital=only).ready()
    assert await bedside.refused(bedside.order()) == "WR-SITE-010"
    assert bedside.worker.calls == []


async def test_a_task_that_is_not_in_the_studys_plan(bedside: Bedside) -> None:
    task = bedside.task()
    for kind in ("newton_linear", "fedavg", "every_record"):
        stranger = Task(kind, task.parameters, task.length, task.bound, task.ring_bits)
        code = await bedside.refused(bedside.order(stranger))
        assert code.startswith("WR-LEARN-00")
    assert bedside.worker.calls == []


async def test_a_task_with_altered_parameters(bedside: Bedside) -> None:
    task = bedside.task()
    variables = task.parameters["variables"]
    for change in (
        {"features": ["radius_mean", "age_years"]},
        {"outcome": "radius_mean"},
        {"ranges": [[0.0, 1.0], [0.0, 1.0]]},
    ):
        altered = {**task.parameters, "variables": {**variables, **change}}
        stranger = Task(task.kind, altered, task.length, task.bound, task.ring_bits)
        assert (await bedside.refused(bedside.order(stranger))).startswith("WR-LEARN-00")
    assert bedside.worker.calls == []


@pytest.mark.parametrize("change", [{"length": 4}, {"bound": 2.0**40}, {"ring_bits": 32}])
async def test_a_task_of_another_form(bedside: Bedside, change: dict[str, object]) -> None:
    task = bedside.task()
    form = {"length": task.length, "bound": task.bound, "ring_bits": task.ring_bits, **change}
    stranger = Task(task.kind, task.parameters, **form)
    assert await bedside.refused(bedside.order(stranger)) == "WR-LEARN-003"


@pytest.mark.parametrize(
    "lie",
    [
        {"study": OTHER},
        {"study_id": "another-study"},
        {"task": OTHER},
        {"kind": "moments"},
        {"model": OTHER},
        {"length": 4},
        {"ring_bits": 32},
        {"fractional_bits": 3},
        {"fractional_bits": 0},
        {"corrupt": 0},
        {"corrupt": 2},
        {"threshold": 2},
        {"threshold": 4},
        {"minimum_survivors": 2},
        {"minimum_survivors": 0},
        {"roster": SITES[:3]},
        {"roster": (*SITES, "somebody-else")},
    ],
    ids=str,
)
async def test_a_manifest_that_the_study_does_not_give_rise_to(
    bedside: Bedside, lie: dict[str, object]
) -> None:
    manifest = bedside.order().manifest.model_copy(update=lie)
    order = replace(bedside.order(), manifest=manifest, manifest_digest=manifest.digest)
    assert await bedside.refused(order) == "WR-SITE-011"
    assert bedside.worker.calls == [], "nothing is computed for it"


async def test_a_manifest_below_the_hospitals_own_minimum(tmp_path: Path) -> None:
    careful = policy(minimum_sites=4)
    bedside = await Bedside(tmp_path, hospital=careful).ready()
    assert await bedside.refused(bedside.order()) == "WR-SITE-011"
    await bedside.answered(bedside.order(minimum_survivors=4))


@pytest.mark.parametrize("lie", [{"roster": (*SITES[:3], "zz-else")}, {"setup": OTHER}], ids=str)
async def test_a_manifest_over_another_set_up_or_roster(
    bedside: Bedside, lie: dict[str, object]
) -> None:
    assert await bedside.refused(bedside.order(**lie)) == "WR-SITE-031"


async def test_a_journal_that_was_rolled_back(bedside: Bedside) -> None:
    bedside.grow(5)
    await bedside.answered(bedside.order())
    bedside.coordinator.truncate(3)
    code = await bedside.refused(bedside.order(bedside.task("moments"), index=1, step=1))
    assert code.startswith("WR-TRUST-05")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_journal_that_was_forked(bedside: Bedside, restarted: bool) -> None:
    bedside.grow(5)
    await bedside.answered(bedside.order())
    if restarted:
        bedside.restart()
        bedside.set_up()
        bedside.give_shares(bedside.order(bedside.task("moments")))
    bedside.grow(2)
    size, proof = bedside.head.size, bedside.proof()
    forks = [
        (JournalHead(size=size, root="ab" * 32), proof),
        (JournalHead(size=size - 2, root="ab" * 32), ()),
        (bedside.head, ()),
        (bedside.head, (bytes(32), *proof[1:])),
    ]
    for head, shown in forks:
        order = bedside.order(bedside.task("moments"), index=1, step=1, journal=head)
        code = await bedside.refused(replace(order, consistency=shown))
        assert code.startswith("WR-TRUST-05")
    await bedside.answered(bedside.order(bedside.task("moments"), index=1, step=1))


async def test_masking_keys_that_are_bound_to_another_manifest(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    second = bedside.order(bedside.task("moments"), index=0, step=1)
    assert await bedside.refused(second) == "WR-SITE-025"


# are the records good enough


async def test_a_check_that_blocks(tmp_path: Path) -> None:
    block = Finding(Check.ONE_CLASS, Level.BLOCK, "malignant", "One class only.", "Widen it.", {})

    def found(_bedside, papers):
        return replace(papers, findings=(block,))

    bedside = await Bedside(tmp_path, found).ready()
    assert await bedside.refused(bedside.order()) == "WR-DATA-074"
    assert bedside.worker.calls == [], "nothing was computed"


async def test_a_check_that_the_steward_lets_pass(tmp_path: Path) -> None:
    warned = Finding(
        Check.ONE_CLASS, Level.WARN, "malignant", "One class only.", "Widen it.", {}, "Let pass"
    )
    bedside = await Bedside(tmp_path, lambda _, one: replace(one, findings=(warned,))).ready()
    assert await bedside.answered(bedside.order())


async def test_an_override_that_ended_while_the_agent_runs(tmp_path: Path) -> None:
    warned = Finding(
        Check.ONE_CLASS, Level.WARN, "malignant", "One class only.", "Widen it.", {}, "Let pass"
    )

    def until_today(_bedside, papers):
        return replace(papers, findings=(warned,), let_pass_until=TODAY)

    bedside = await Bedside(tmp_path, until_today, tomorrow).ready()
    assert await bedside.refused(bedside.order()) == "WR-SITE-018"


# which patients consent


async def test_no_exclusion_list(bedside: Bedside) -> None:
    bedside.papers.exclusions.unlink()
    assert await bedside.refused(bedside.order()) == "WR-STUDY-080"
    assert bedside.worker.records == [], "no record was touched"


async def test_an_altered_exclusion_list(bedside: Bedside) -> None:
    data = bedside.papers.exclusions.read_bytes()
    for broken in (b"", data[:-3], data.replace(b'"sig":"', b'"sig":"AAAA'), b"[]"):
        bedside.papers.exclusions.write_bytes(broken)
        assert await bedside.refused(bedside.order()) == "WR-STUDY-081"
    assert bedside.worker.records == []


async def test_an_exclusion_list_signed_by_somebody_else(bedside: Bedside) -> None:
    key = bedside.keys.coordinator
    envelope = sign_exclusions(bedside.study.id, ME, (), key, TODAY)
    bedside.papers.exclusions.write_bytes(envelope.to_json())
    assert await bedside.refused(bedside.order()) == "WR-STUDY-081"


async def test_an_exclusion_list_of_another_study(bedside: Bedside) -> None:
    envelope = sign_exclusions("another-study", ME, (), bedside.papers.key, TODAY)
    bedside.papers.exclusions.write_bytes(envelope.to_json())
    assert await bedside.refused(bedside.order()) == "WR-STUDY-083"


async def test_an_excluded_patient_counts_out_from_the_next_answer_on(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    bedside.exclude(f"{ME}-3", f"{ME}-7")
    await bedside.answered(bedside.order(bedside.task("moments"), index=1, step=1))
    assert bedside.worker.records == [60, 58]


async def test_a_cohort_that_is_too_small(bedside: Bedside) -> None:
    bedside.exclude(*(f"{ME}-{number}" for number in range(41)))
    assert await bedside.refused(bedside.order()) == "WR-PRIVACY-001"
    assert bedside.worker.calls == []


async def test_the_hospitals_own_minimum_cohort_is_the_one_that_counts(tmp_path: Path) -> None:
    careful = policy(minimum_cohort=61)
    bedside = await Bedside(tmp_path, hospital=careful).ready()
    assert await bedside.refused(bedside.order()) == "WR-PRIVACY-001"


async def test_a_step_that_is_bound_to_another_task(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    second = bedside.order(bedside.task("moments"), index=1, step=0, attempt=1)
    assert await bedside.refused(second) == "WR-SITE-021"


async def test_a_task_after_recovery(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    bedside.seat.recover(bedside.recover_ask(order, bedside.votes(order)))
    assert await bedside.refused(bedside.order(index=1, attempt=1)) == "WR-SITE-022"


async def test_a_task_after_recovery_and_a_restart(bedside: Bedside) -> None:
    order = bedside.order()
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    bedside.seat.recover(bedside.recover_ask(order, bedside.votes(order)))
    bedside.restart()
    bedside.set_up()
    bedside.give_shares(bedside.order())
    assert await bedside.refused(bedside.order(attempt=1)) == "WR-SITE-022"


async def recovered(bedside: Bedside, survivors: tuple[SiteName, ...] = SITES) -> Order:
    """A round for which this site gave its shares."""
    order = bedside.order()
    await bedside.answered(order)
    mine = bedside.seat.vote(bedside.vote_ask(order, survivors)).envelope
    votes = {ME: mine, **bedside.votes(order, survivors)}
    bedside.seat.recover(bedside.recover_ask(order, votes, survivors))
    return order


ALL_OF_THEM = {"attempt": 1, "minimum_survivors": len(SITES)}
CARRIES_ON = {"model": turns.MODEL, "data": {"outcome": "malignant", "features": [*turns.TWO]}}


async def test_a_task_after_recovery_over_all_of_the_same_sites(bedside: Bedside) -> None:
    """Nothing can come of it but the total that may have been opened already."""
    first = await recovered(bedside)
    bedside.restart()
    bedside.set_up()
    again = bedside.order(**ALL_OF_THEM)
    bedside.give_shares(again)
    assert (await bedside.answered(again)).header.task == first.manifest.task
    spent = bedside.spent()
    fewer = bedside.vote_ask(again, SITES[:3])
    assert code(lambda: bedside.seat.vote(fewer)) == "WR-SITE-032"
    bedside.seat.vote(bedside.vote_ask(again))
    bedside.seat.recover(bedside.recover_ask(again, bedside.votes(again)))
    assert bedside.spent() == spent == 2 * first.task.numbers, "and it is charged once more"
    assert await bedside.refused(bedside.order(index=1, attempt=2)) == "WR-SITE-022"


async def test_a_task_after_recovery_over_one_more_site(bedside: Bedside) -> None:
    """The difference would be what that one gave."""
    await recovered(bedside, SITES[:3])
    assert await bedside.refused(bedside.order(index=1, **ALL_OF_THEM)) == "WR-SITE-022"


async def test_a_task_after_recovery_over_the_same_sites_and_other_patients(
    bedside: Bedside,
) -> None:
    await recovered(bedside)
    bedside.exclude(*bedside.papers.table.patient_ids[:7])
    assert await bedside.refused(bedside.order(index=1, **ALL_OF_THEM)) == "WR-SITE-023"


@pytest.mark.parametrize("least", [3, 4])
@pytest.mark.parametrize("unknown", ["survivors", "content"])
async def test_a_task_that_was_closed_before_this_was_kept(
    bedside: Bedside, unknown: str, least: int
) -> None:
    await recovered(bedside)
    with bedside.state.database.begin() as connection:
        connection.execute(update(tables.tasks).values({unknown: None}))
    again = bedside.order(index=1, attempt=1, minimum_survivors=least)
    assert await bedside.refused(again) == "WR-SITE-022"


def correct(bedside: Bedside) -> None:
    """One patient's outcome is another one in the hospital's records from the next start on."""
    table, outcome = bedside.papers.table, bedside.study.data.outcome
    values = table.columns[outcome].copy()
    values[0] = 1.0 - values[0]
    columns = {**table.columns, outcome: values}
    bedside.papers = replace(bedside.papers, table=replace(table, columns=columns))
    bedside.restart()
    bedside.set_up()


@pytest.mark.parametrize("closed", [True, False])
async def test_a_task_again_after_a_correction_of_the_records(
    bedside: Bedside, closed: bool
) -> None:
    """The difference between the two totals would be what was corrected.

    Others' shares may have opened the first one, whether this site was asked for its own or not.
    """
    await (recovered(bedside) if closed else bedside.answered(bedside.order()))
    correct(bedside)
    again = bedside.order(**ALL_OF_THEM)
    bedside.give_shares(again)
    assert await bedside.refused(again) == "WR-SITE-023"
    correct(bedside)  # the values that were answered from are back
    again = bedside.order(**ALL_OF_THEM)
    bedside.give_shares(again)
    await bedside.answered(again)


async def test_a_task_after_recovery_of_which_something_was_carried_on(tmp_path: Path) -> None:
    """A hospital that has lost its memory would answer otherwise, and the difference is that."""
    bedside = await Bedside(tmp_path, **CARRIES_ON).ready()
    task = turns.step(bedside.study)
    order = bedside.order(task)
    await bedside.answered(order)
    bedside.seat.vote(bedside.vote_ask(order))
    bedside.seat.recover(bedside.recover_ask(order, bedside.votes(order)))
    assert await bedside.refused(bedside.order(task, index=1, **ALL_OF_THEM)) == "WR-SITE-022"


async def test_a_task_whose_round_failed_may_be_answered_again(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    order = bedside.order(index=1, attempt=1)
    await bedside.answered(order)
    assert bedside.spent() == 2 * order.task.length, "and is charged again"


async def test_the_same_task_over_another_set_of_patients(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    bedside.exclude(*(f"{ME}-{number}" for number in range(10)))
    assert await bedside.refused(bedside.order(index=1, attempt=1)) == "WR-SITE-023"


@pytest.mark.parametrize("fewer", [1, 4])
async def test_the_same_question_over_nearly_the_same_patients(
    bedside: Bedside, fewer: int
) -> None:
    await bedside.answered(bedside.order())
    bedside.exclude(*(f"{ME}-{number}" for number in range(fewer)))
    again = bedside.order(index=1, step=1)
    assert await bedside.refused(again) == "WR-SITE-024"
    assert len(bedside.worker.calls) == 1


async def test_moving_a_parameter_a_little_does_not_make_another_question(
    bedside: Bedside,
) -> None:
    variables = variables_of(bedside.study)
    ends = list(zip(variables.low, variables.high, strict=True))

    def histogram(share: float) -> Task:
        edges = [[low, low + share * (high - low), high] for low, high in ends]
        return bedside.task("histogram", edges=edges)

    await bedside.answered(bedside.order(histogram(0.5)))
    bedside.exclude(f"{ME}-0")
    nearly = bedside.order(histogram(0.5 + 1e-9), index=1, step=1)
    assert await bedside.refused(nearly) == "WR-SITE-024"


async def test_the_same_question_in_another_run_and_after_a_restart(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    bedside.restart()
    bedside.set_up()
    bedside.give_shares(bedside.order())
    bedside.exclude(f"{ME}-0")
    order = bedside.order(step=1)
    assert await bedside.refused(order) == "WR-SITE-024"


async def test_the_same_question_over_the_same_or_clearly_other_patients(
    bedside: Bedside,
) -> None:
    await bedside.answered(bedside.order())
    await bedside.answered(bedside.order(index=1, step=1))
    bedside.exclude(*(f"{ME}-{number}" for number in range(5)))
    await bedside.answered(bedside.order(index=2, step=2))


async def test_sets_of_patients_differ_by_five_even_where_small_cells_are_allowed(
    tmp_path: Path,
) -> None:
    bold = policy(minimum_cell=3)
    disclosure = {"opened_numbers": 1000, "minimum_cell": 3}
    bedside = await Bedside(tmp_path, hospital=bold, disclosure=disclosure).ready()
    await bedside.answered(bedside.order())
    bedside.exclude(*(f"{ME}-{number}" for number in range(4)))
    assert await bedside.refused(bedside.order(index=1, step=1)) == "WR-SITE-024"


# is there budget


async def test_a_budget_that_is_used_up(tmp_path: Path) -> None:
    bedside = await Bedside(tmp_path, disclosure={"opened_numbers": 9}).ready()
    await bedside.answered(bedside.order())
    assert await bedside.refused(bedside.order(index=1, step=1)) == "WR-SITE-020"
    assert len(bedside.worker.calls) == 1


async def test_the_hospitals_own_budget_is_the_one_that_counts(tmp_path: Path) -> None:
    mean = policy(opened_numbers=4)
    bedside = await Bedside(tmp_path, hospital=mean).ready()
    assert await bedside.refused(bedside.order()) == "WR-SITE-020"


async def test_a_budget_survives_a_restart(tmp_path: Path) -> None:
    bedside = await Bedside(tmp_path, disclosure={"opened_numbers": 9}).ready()
    await bedside.answered(bedside.order())
    bedside.restart()
    bedside.set_up()
    bedside.give_shares(bedside.order())
    assert await bedside.refused(bedside.order(step=1)) == "WR-SITE-020"


# compute in the sandbox -> bound -> encode -> noise


async def test_a_computation_that_fails(bedside: Bedside) -> None:
    def fail() -> np.ndarray:
        raise WardroundError("WR-SANDBOX-006", "The computation failed.", "Report it.")

    bedside.worker.instead = fail
    assert await bedside.refused(bedside.order()) == "WR-SANDBOX-006"


@pytest.mark.parametrize("shape", [(4,), (6,), (5, 1), (0,)])
async def test_a_result_of_another_shape(bedside: Bedside, shape: tuple[int, ...]) -> None:
    bedside.worker.instead = lambda: np.zeros(shape)
    assert await bedside.refused(bedside.order()) == "WR-SITE-012"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
async def test_a_value_out_of_bound(bedside: Bedside, value: float) -> None:
    bedside.worker.instead = lambda: np.array([1.0, 2.0, value, 4.0, 0.0])
    assert await bedside.refused(bedside.order()) == "WR-SECAGG-005"


async def test_an_answer_without_noise_is_remembered_by_the_studys_name(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    later = bedside.keys.seal(plan(profile="private", version=2, **_noise()))
    with bedside.state.database.begin() as connection, pytest.raises(WardroundError) as refused:
        opened.refuse_after_exact(connection, later)
    assert refused.value.code == "WR-SITE-110"


async def test_a_profile_with_protections_that_do_not_exist(tmp_path: Path) -> None:
    both = policy(accepted_profiles=(Profile.SECURE_SUM, Profile.CLINICAL))
    bedside = Bedside(tmp_path, hospital=both)
    _become(bedside, Profile.CLINICAL, policy=compliance())
    bedside.set_up()
    order = bedside.order(bedside.task("private_moments"))
    assert await bedside.refused(order) == "WR-STUDY-050"
    assert bedside.worker.calls == []


async def test_noise_is_never_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault by which a private task is answered without it stops at the door."""

    async def exact(self: Patients, task: Task, patients: int) -> np.ndarray:
        return np.zeros(task.length)

    monkeypatch.setattr("wardround.site.patients.Patients.answer", exact)
    both = policy(accepted_profiles=(Profile.SECURE_SUM, Profile.PRIVATE))
    bedside = Bedside(tmp_path, hospital=both)
    _become(bedside, Profile.PRIVATE)
    bedside.set_up()
    order = bedside.order(bedside.task("private_moments"))
    bedside.give_shares(order)
    assert await bedside.refused(order) == "WR-SITE-013"


async def test_a_computation_that_fails_under_noise_halts_the_study_across_restarts(
    tmp_path: Path,
) -> None:
    """A service manager starts the agent again; the coordinator must not get to ask again."""
    both = policy(accepted_profiles=(Profile.SECURE_SUM, Profile.PRIVATE))
    bedside = Bedside(tmp_path, hospital=both)
    _become(bedside, Profile.PRIVATE)
    bedside.set_up()
    windows = whole_windows(bedside.study)
    order = bedside.order(bedside.task("private_moments", windows=windows))
    bedside.give_shares(order)

    def fails() -> np.ndarray:
        raise ValueError("a value of a patient")

    bedside.worker.instead = fails
    await bedside.door.answer(order)
    assert bedside.door.stopped is not None and bedside.door.stopped.code == "WR-SITE-111"
    assert "a value" not in bedside.door.stopped.problem
    with pytest.raises(WardroundError, match="WR-SITE-112"):
        bedside.restart()
    with bedside.state.database.begin(write=True) as connection:
        lift(connection, bedside.study)
    bedside.restart()


def _noise() -> dict[str, object]:
    return {key: private()[key] for key in ("model", "privacy")}


def _become(bedside: Bedside, profile: Profile, **more: object) -> None:
    """A study of another profile, with an approval that nobody's tool might sign."""
    study = bedside.keys.seal(plan(profile=profile.value, **_noise(), **more))
    approval = Approval(study.digest, ME, profile, TODAY, study.expires)
    key = bedside.keys.sites[ME]
    bedside.study = study
    envelope = sign(PAYLOAD_TYPE, approval.to_payload(), key)
    bedside.papers = replace(bedside.papers, study=study, approval=envelope)
    bedside.restart()


# protect -> sign -> write the journal


async def test_a_seat_without_keys(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    bedside.set_up()
    order = bedside.order()
    bedside.restart()
    assert await bedside.refused(order) == "WR-SITE-033"


async def test_a_seat_that_holds_no_shares(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    bedside.set_up()
    assert await bedside.refused(bedside.order()) == "WR-SECAGG-010"


async def test_a_round_whose_keys_were_used_for_an_answer_that_failed(
    bedside: Bedside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the mask and the journal the power goes: the mask is never used a second time."""

    def fail(*_arguments: object) -> None:
        raise WardroundError("WR-STORE-001", "The disk is full.", "Make room.")

    with monkeypatch.context() as broken:
        broken.setattr(opened, "charge", fail)
        before = bedside.door.answer(bedside.order())
        refusal = await before
    assert bedside.heard(refusal, 0) == "WR-STORE-001"
    assert bedside.spent() == 0 and bedside.leaves("packet") == []
    assert bedside.door.already_sent(bedside.order().manifest.round) is None
    answer = await bedside.door.answer(bedside.order())
    assert bedside.heard(answer, 1) == "WR-SECAGG-011"
    await bedside.answered(bedside.order(index=1, attempt=1))


async def test_a_spool_that_cannot_be_written(bedside: Bedside) -> None:
    bedside.papers.spool.rmdir()
    answer = await bedside.door.answer(bedside.order())
    assert bedside.heard(answer, 0) == "WR-SITE-015"
    assert bedside.spent() == 0


# what was sent before


async def test_the_same_packet_is_sent_again_byte_for_byte_and_free(bedside: Bedside) -> None:
    order = bedside.order()
    packet = await bedside.answered(order)
    payload = packet.payload.read_bytes()
    bedside.restart()
    again = bedside.door.already_sent(order.manifest.round)
    assert again is not None
    assert (again.header, again.envelope) == (packet.header, packet.envelope)
    assert again.payload.read_bytes() == payload
    assert bedside.spent() == order.task.length
    assert bedside.worker.calls == []


@pytest.mark.parametrize("harm", ["gone", "shorter", "altered"])
async def test_a_spooled_packet_that_is_gone_or_altered_is_not_sent(
    bedside: Bedside, harm: str
) -> None:
    order = bedside.order()
    packet = await bedside.answered(order)
    payload = packet.payload.read_bytes()
    if harm == "gone":
        packet.payload.unlink()
    else:
        packet.payload.write_bytes(payload[:-1] if harm == "shorter" else payload[::-1])
    with pytest.raises(WardroundError) as caught:
        bedside.door.already_sent(order.manifest.round)
    assert caught.value.code == "WR-SITE-016"


async def test_no_patients_identifier_is_kept(bedside: Bedside) -> None:
    await bedside.answered(bedside.order())
    bedside.exclude(*(f"{ME}-{number}" for number in range(50)))
    await bedside.refused(bedside.order(index=1, step=1))
    bedside.state.close()
    for path in bedside.folder.rglob("*"):
        if path.is_file() and path.name != "exclusions.json":
            assert f"{ME}-1".encode() not in path.read_bytes(), path.name
