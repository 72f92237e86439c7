"""Whatever is altered, left out or invented in an evidence file, a check finds it."""

import copy
import dataclasses
import json

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import ValidationError

from recorded_run import DAY, RUN, RecordedRun, finished
from studies import KEYS, document
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest
from wardround.governance import EvidenceFile, Trust, save_model, verify
from wardround.governance.findings import VerificationReport
from wardround.study import Study
from wardround.study.approval import Approval
from wardround.trust.dsse import sign


def failed(report: VerificationReport) -> set[str]:
    return {check.name for check in report.failures}


@pytest.fixture(scope="module")
def evidence():
    return finished()[1]


@pytest.fixture(scope="module")
def study():
    return finished()[0].study


def test_an_honest_run_passes_every_check(evidence):
    report = verify(evidence)
    assert report.ok, report.failures
    assert [check.name for check in report.checks] == [
        "Study",
        "Manifests",
        "Approvals",
        "Set-up",
        "Packets",
        "Survivor votes",
        "Numbering",
        "Journal",
        "Witnesses",
        "Model",
        "Replay",
    ]


def test_a_run_of_a_linear_model_passes_as_well():
    study = Study.parse(
        document(
            data={"outcome": "texture_mean", "features": ["radius_mean"]},
            model={"kind": "linear"},
        )
    )
    report = verify(RecordedRun(study=study).run())
    assert report.ok, report.failures


def test_a_set_up_that_was_given_up_is_no_fault():
    class Unlucky(RecordedRun):
        """harbour advertises keys and is never heard of again, the first time."""

        def set_up(self):
            super().set_up()
            if len(self.batches) == 1:
                record = self.batches[self.batch]
                deals = {site: one for site, one in record.deals.items() if site != "harbour"}
                self.batches[self.batch] = record.model_copy(update={"deals": deals})
                self.set_up()

    report = verify(Unlucky().run())
    assert report.ok, report.failures


def test_an_approval_handed_in_twice_is_no_fault():
    class Eager(RecordedRun):
        def record(self, kind, **facts):
            super().record(kind, **facts)
            if kind == "approved" and facts["site"] == "harbour":
                super().record(kind, **facts)

    assert verify(Eager().run()).ok


def test_the_file_survives_a_round_trip(evidence, tmp_path):
    path = tmp_path / "evidence.json"
    evidence.save(path)
    assert EvidenceFile.load(path) == evidence
    assert verify(path).ok


def test_what_cannot_be_checked_is_always_said(evidence, study):
    without = verify(evidence).not_checked
    known = verify(evidence, Trust(study=study.digest)).not_checked
    assert any("true and complete" in line for line in known)
    assert len(without) == len(known) + 1
    assert study.digest in without[0]


def test_trust_is_compared(evidence, study):
    key = study.coordinator_key
    for good in (Trust(study=study.digest), Trust(None, key.text), Trust(None, key.fingerprint)):
        assert verify(evidence, good).ok
    other = KEYS["harbour"].public
    for bad in (Trust(study="sha256:" + "0" * 64), Trust(None, other.text)):
        assert failed(verify(evidence, bad)) == {"Study"}


def test_verify_works_inside_a_running_event_loop(evidence):
    import asyncio

    async def inside():
        return verify(evidence)

    assert asyncio.run(inside()).ok


# Whoever hands over the file


def altered(value):
    """Another value of the same type."""
    match value:
        case str():
            middle = len(value) // 2
            letter = "B" if value[middle : middle + 1] == "A" else "A"
            return value[:middle] + letter + value[middle + 1 :]
        case bool():
            return not value
        case int() | float():
            return value + 1
    return "AAAA"


def places(value, path=()):
    """The path of every part, but of the members of a list only the first and the last."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list) and value:
        inner = [(0, value[0]), (len(value) - 1, value[-1])]
    else:
        return
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def kinds_of_places(plain):
    """One path for each kind of place, whichever site, round or batch it is about."""
    chosen = {}
    for path in places(plain):
        kind = tuple(
            "*" if isinstance(key, int) or "." in key or key in KEYS else key for key in path
        )
        chosen.setdefault(kind, path)
    return list(chosen.values())


def survives(plain) -> bool:
    try:
        return verify(EvidenceFile.model_validate(plain)).ok
    except (ValidationError, WardroundError):
        return False


@pytest.fixture(scope="module")
def plain():
    """A short run of three hospitals, as the JSON that is in the file."""
    study = Study.parse(
        document(
            sites=document()["sites"][:3],
            data={"outcome": "texture_mean", "features": ["radius_mean"]},
            model={"kind": "linear"},
        )
    )
    return RecordedRun(study=study, per_setup=16).run().model_dump(mode="json")


def test_every_altered_field_is_found(plain):
    unseen = []
    for path in kinds_of_places(plain):
        value = at(plain, path)
        if isinstance(value, dict | list):
            continue
        mutant = copy.deepcopy(plain)
        at(mutant, path[:-1])[path[-1]] = altered(value)
        if survives(mutant):
            unseen.append(path)
    assert unseen == []


def test_every_part_left_out_is_found(plain):
    unseen = []
    # Constants (`load` wants the first), and what a run without late cohorts has nothing of.
    harmless = {("format",), ("level",), ("streams",)}
    for path in kinds_of_places(plain):
        if path in harmless or at(plain, path) is None:
            continue
        mutant = copy.deepcopy(plain)
        del at(mutant, path[:-1])[path[-1]]
        if survives(mutant):
            unseen.append(path)
    assert unseen == []


def test_a_round_that_comes_twice_is_found(evidence):
    twice = evidence.model_copy(update={"rounds": (*evidence.rounds, evidence.rounds[-1])})
    assert {"Set-up", "Numbering"} <= failed(verify(twice))


@hypothesis.settings(
    max_examples=30, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(data=st.data())
def test_nothing_in_a_file_leads_to_a_traceback(plain, tmp_path, data):
    path = data.draw(st.sampled_from(kinds_of_places(plain)))
    value = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["harbour", "payload", "x"]), inner, max_size=2)
            ),
            max_leaves=4,
        )
    )
    mutant = copy.deepcopy(plain)
    at(mutant, path[:-1])[path[-1]] = value
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps(mutant))
    try:
        report = verify(file)
    except WardroundError as error:
        assert error.code in {"WR-GOV-001", "WR-GOV-002", "WR-GOV-003"}
    else:
        assert not report.ok or value == at(plain, path)


# A coordinator that signs whatever it likes


def test_another_model_under_a_good_signature_is_found():
    run = RecordedRun()
    run.run()
    forged = dataclasses.replace(
        run.candidate,
        model={**run.candidate.model, "coefficients": run.candidate.model["coefficients"] + 0.25},
    )
    assert failed(verify(RecordedRun.finish(_again(), forged))) == {"Replay"}


class Hiding(RecordedRun):
    """A coordinator that opened one more round than it ever wrote down; one hospital says so."""

    def answered(self, site):
        told = super().answered(site)
        return told | {f"{RUN}.r.000999.0": f"sha256:{'ab' * 32}"} if site == "harbour" else told


class Swapping(RecordedRun):
    """One hospital signed another packet than the one that is shown under its name."""

    def answered(self, site):
        told = super().answered(site)
        return told | {next(iter(told)): f"sha256:{'ab' * 32}"} if site == "harbour" else told


@pytest.mark.parametrize("kind", [Hiding, Swapping])
def test_a_round_that_the_coordinator_never_wrote_down_is_told_by_who_answered(kind):
    """The attack: a step that the algorithm does not take, near one that it does, without one of
    the hospitals. All that the coordinator itself shows is in order."""
    assert failed(verify(kind().run())) == {"Witnesses"}


def test_an_answer_that_came_too_late_is_no_fault():
    class Late(RecordedRun):
        def answered(self, site):
            told = super().answered(site)
            names = {Manifest.from_payload(one.manifest.payload).round for one in self.rounds}
            return told | dict.fromkeys(names - told.keys(), f"sha256:{'ab' * 32}")

    report = verify(Late(absent_at={4: "harbour"}).run())
    assert report.ok, report.failures


def test_what_hospitals_answered_in_other_runs_is_said():
    report = verify(RecordedRun(elsewhere=17).run())
    assert report.ok
    assert any("17 answers" in line for line in report.not_checked)


def test_other_figures_in_the_description_are_found():
    run = _again()
    evaluation = json.loads(json.dumps(run.candidate.evaluation))
    evaluation["held_out"]["auroc"] = 0.999
    forged = dataclasses.replace(run.candidate, evaluation=evaluation)
    assert failed(verify(run.finish(forged))) == {"Replay"}


def _again() -> RecordedRun:
    """A run whose algorithm is through and whose end is still open."""
    from wardround.algorithms.plan import run_study
    from wardround.governance.replay import without_waiting

    run = RecordedRun()
    run.candidate = without_waiting(run_study(run))
    return run


def test_lower_thresholds_are_found():
    class Lax(RecordedRun):
        def manifest(self, task, step, attempt):
            lax = super().manifest(task, step, attempt)
            return lax.model_copy(update={"threshold": 2, "minimum_survivors": 2})

    assert "Manifests" in failed(verify(Lax().run()))


def test_a_total_over_too_few_hospitals_is_found():
    class Eager(RecordedRun):
        async def sum(self, task):
            step, self.step = self.step, self.step + 1
            few = self.names[:2] if step == 3 else self.names
            return self.attempt(task, step, 0, few)

        def manifest(self, task, step, attempt):
            lax = super().manifest(task, step, attempt)
            return lax.model_copy(update={"minimum_survivors": 2})

    found = failed(verify(Eager().run()))
    assert {"Manifests", "Survivor votes"} <= found


def test_a_total_over_fewer_hospitals_than_its_own_manifest_promised_is_found():
    """Enough for the adversary statement and enough votes, but the study asked for all four."""

    class Hasty(RecordedRun):
        def opens(self, manifest, survivors):
            return True

    study = Study.parse(document(cohort={"minimum_sites": 4}))
    assert study.adversary().threshold == 3
    assert verify(Hasty(study=study).run()).ok
    report = verify(Hasty(study=study, absent_at={3: "harbour"}).run())
    assert failed(report) == {"Survivor votes"}
    assert "too few hospitals" in report.failures[0].detail


def test_too_few_countersignatures_are_found():
    """Each of them is genuine and in the journal: only their number falls short of three."""
    assert verify(RecordedRun(witnessing=3).run()).ok
    report = verify(RecordedRun(witnessing=2).run())
    assert failed(report) == {"Witnesses"}
    assert "3 must" in report.failures[0].detail


def test_a_coordinator_that_asked_for_other_steps_than_the_studys_is_found():
    class Curious(RecordedRun):
        """Counts the outcomes a second time, which no algorithm of the study does."""

        async def sum(self, task):
            if self.step == 1:
                await super().sum(self.first)
            self.first = task
            return await super().sum(task)

    report = verify(Curious().run())
    assert failed(report) == {"Replay"}
    assert "WR-GOV-021" in report.failures[0].detail


def test_a_hidden_attempt_is_found(evidence):
    kept = tuple(one for one in evidence.rounds if one.total is not None)
    assert len(kept) == len(evidence.rounds) - 1
    found = failed(verify(evidence.model_copy(update={"rounds": kept})))
    assert {"Numbering", "Journal"} <= found


def test_a_second_total_for_a_step_is_found():
    class Twice(RecordedRun):
        async def sum(self, task):
            step, self.step = self.step, self.step + 1
            self.attempt(task, step, 0, self.names)
            return self.attempt(task, step, 1, self.names[:3])

    assert "Numbering" in failed(verify(Twice().run()))


def test_keys_used_for_two_rounds_are_found():
    class Frugal(RecordedRun):
        def manifest(self, task, step, attempt):
            return super().manifest(task, step, attempt).model_copy(update={"index": 0})

    assert "Set-up" in failed(verify(Frugal().run()))


def test_more_numbers_than_agreed_are_found():
    study = Study.parse(document(disclosure={"opened_numbers": 100}))
    assert "Numbering" in failed(verify(RecordedRun(study=study).run()))


def test_an_approval_that_had_run_out_is_found(evidence, study):
    from datetime import timedelta

    old = Approval(
        study.digest,
        "harbour",
        study.profile,
        DAY - timedelta(days=9),
        DAY - timedelta(days=1),
    )
    envelope = sign("application/vnd.wardround.approval+json", old.to_payload(), KEYS["harbour"])
    approvals = {**evidence.approvals, "harbour": envelope}
    report = verify(evidence.model_copy(update={"approvals": approvals}))
    assert {"Approvals", "Journal"} <= failed(report)


def test_a_rewritten_journal_is_found(evidence):
    """The coordinator signs a new history; the hospitals' countersignatures don't fit it."""
    from wardround.governance import JournalRecord
    from wardround.trust.journal import Journal, MemoryLeafStore, sign_checkpoint

    store = MemoryLeafStore()
    for leaf in evidence.journal.leaves:
        store.append(leaf.replace(b"09:14:00", b"07:14:00"))
    journal = Journal(store, "wardround/test")
    record = JournalRecord(
        leaves=tuple(store.leaves(0, store.size())),
        checkpoints=(sign_checkpoint(journal.checkpoint(), KEYS["coordinator"]),),
    )
    found = failed(verify(evidence.model_copy(update={"journal": record})))
    assert {"Journal", "Witnesses"} <= found


def test_votes_without_a_total_are_pointed_out(evidence):
    class Forgetful(RecordedRun):
        """Loses a total after the votes."""

        async def sum(self, task):
            step, self.step = self.step, self.step + 1
            if step == 1:
                self.attempt(task, step, 0, self.names)
                self.rounds[-1] = self.rounds[-1].model_copy(update={"total": None})
                return self.attempt(task, step, 1, self.names)
            return self.attempt(task, step, 0, self.names)

        def record(self, kind, **facts):
            if kind == "total" and facts["round"] == f"{RUN}.r.000001.0":
                return
            super().record(kind, **facts)

    report = verify(Forgetful().run())
    assert report.ok, report.failures
    assert "opened after all" in report.not_checked[-1]


def test_other_runs_in_the_journal_are_pointed_out(evidence):
    """Each run verifies by itself; two over different cohorts can be subtracted."""

    class Second(RecordedRun):
        def record(self, kind, **facts):
            if kind == "run":
                earlier = {"round": "run-0.r.000000.0", "total": "sha256:0", "opened": 5}
                super().record("total", **earlier)
                super().record("total", **earlier | {"round": "run-0.r.000001.0"})
            super().record(kind, **facts)

    report = verify(Second().run())
    assert report.ok, report.failures
    assert any("What another run" in line for line in report.not_checked)
    assert not any("another run" in line for line in verify(evidence).not_checked)


def test_garbage_that_an_earlier_run_opened_is_pointed_out():
    """Its coordinator says that it was garbage; it had what it takes to open a total."""

    class Second(RecordedRun):
        def record(self, kind, **facts):
            if kind == "run":
                super().record("garbage", round="run-0.r.000000.0", failed=["checksum"])
            super().record(kind, **facts)

    report = verify(Second().run())
    assert report.ok, report.failures
    assert any("What another run" in line for line in report.not_checked)


def test_a_run_that_went_on_after_garbage_is_found():
    class Stubborn(RecordedRun):
        def record(self, kind, **facts):
            if kind == "total" and facts["round"] == f"{RUN}.r.000001.0":
                super().record("garbage", round=facts["round"], failed=["bounds"])
            super().record(kind, **facts)

    assert failed(verify(Stubborn().run())) == {"Journal"}


def test_a_total_that_honest_contributions_cannot_make_is_found(evidence):
    largest = (1 << 63) - 1
    record = evidence.rounds[-1]
    total = largest.to_bytes(8, "little") + record.total[8:]
    rounds = (*evidence.rounds[:-1], record.model_copy(update={"total": total}))
    report = verify(evidence.model_copy(update={"rounds": rounds}))
    (replay,) = [one for one in report.failures if one.name == "Replay"]
    assert "larger than the bound" in replay.detail


def test_a_model_folder_is_compared(evidence, tmp_path):
    run = finished()[0]
    save_model(tmp_path / "good", run.candidate, run.study, RUN, KEYS["coordinator"])
    assert verify(evidence, model=tmp_path / "good").ok
    other = dataclasses.replace(run.candidate, description={**run.candidate.description, "x": 1})
    save_model(tmp_path / "other", other, run.study, RUN, KEYS["coordinator"])
    assert failed(verify(evidence, model=tmp_path / "other")) == {"Model folder"}


# Files that are no evidence


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "WR-GOV-001"),
        (b"", "WR-GOV-001"),
        (b"{", "WR-GOV-002"),
        (b"[]", "WR-GOV-002"),
        (b"\xff\xfe{}", "WR-GOV-002"),
        (b'{"format": "wardround-evidence/1", "format": "x"}', "WR-GOV-002"),
        (b'{"format": "wardround-evidence/1"}', "WR-GOV-002"),
        (b'{"format": 1}', "WR-GOV-002"),
        (b'{"format": "wardround-evidence/9"}', "WR-GOV-003"),
        (b"[" * 100_000, "WR-GOV-002"),
    ],
)
def test_what_is_no_evidence_has_a_code(tmp_path, content, code):
    path = tmp_path / "evidence.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WardroundError) as raised:
        verify(path)
    assert raised.value.code == code


def test_a_truncated_file_has_a_code(evidence, tmp_path):
    path = tmp_path / "evidence.json"
    evidence.save(path)
    data = path.read_bytes()
    for end in (1, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:end])
        with pytest.raises(WardroundError, match="WR-GOV-002"):
            verify(path)


class Repeating(RecordedRun):
    """Every step's round names all of the roster as the least number of survivors."""

    def __init__(self, *steps: int, attempt: int, **rest) -> None:
        super().__init__(fails=set(steps), **rest)
        self.whole = attempt

    def manifest(self, task, step, attempt):
        manifest = super().manifest(task, step, attempt)
        if step in self.fails and attempt == self.whole:
            return manifest.model_copy(update={"minimum_survivors": len(self.names)})
        return manifest


def test_an_attempt_after_the_first_may_be_over_everybody_or_nobody():
    assert verify(Repeating(2, attempt=1).run()).ok
    assert failed(verify(Repeating(2, attempt=0).run())) == {"Manifests"}
