"""Verifying a finished study offline, from its evidence file alone.

The attacker is whoever hands the file over, the coordinator included. What the auditor brings is
the root of all trust: the study's digest, or the coordinator's key, learnt from a hospital or on
paper. From the study follow the keys of all hospitals; from their signatures everything else.
Without it, the verification shows that the file is consistent in itself, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardround.errors import WardroundError
from wardround.governance import chain, checks
from wardround.governance.artefact import load_model
from wardround.governance.budget import check_budget
from wardround.governance.case import Case, Unmet, require
from wardround.governance.evidence import EvidenceFile
from wardround.governance.findings import Check, VerificationReport
from wardround.governance.grouping import check_groups
from wardround.governance.ledgers import check_ledgers
from wardround.governance.replay import check_replay
from wardround.governance.selecting import check_selection
from wardround.governance.streams import check_streams
from wardround.ids import Digest

CHECKS: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("Manifests", checks.check_manifests),
    ("Approvals", checks.check_approvals),
    ("Set-up", checks.check_setups),
    ("Packets", checks.check_packets),
    ("Survivor votes", checks.check_votes),
    ("Numbering", checks.check_numbering),
    ("Journal", chain.check_journal),
    ("Witnesses", chain.check_witnesses),
    ("Model", chain.check_model),
    ("Replay", check_replay),
)


@dataclass(frozen=True)
class Trust:
    """What the auditor knows from elsewhere; each part may be None.

    ``coordinator`` is the coordinator's key (``ed25519:…``) or its fingerprint.
    """

    study: Digest | None = None
    coordinator: str | None = None

    @property
    def given(self) -> bool:
        """Whether anything was brought along."""
        return self.study is not None or self.coordinator is not None


NOTHING_GIVEN = Trust()


def verify(
    evidence: Path | EvidenceFile, trust: Trust = NOTHING_GIVEN, *, model: Path | None = None
) -> VerificationReport:
    """Make every check and report them all; a failed check does not end the verification.

    ``model`` is a model folder that should hold exactly the model of the evidence.

    Raises only when there is nothing to check: WR-GOV-001, -002 or -003 for a file that can't be
    read or isn't evidence.
    """
    file = evidence if isinstance(evidence, EvidenceFile) else EvidenceFile.load(evidence)
    case = Case(file)
    made = [_make("Study", lambda one: _check_study(one, trust), case)]
    made += [_make(name, check, case) for name, check in _checks(case)]
    if model is not None:
        made.append(_make("Model folder", lambda one: _check_folder(one, model), case))
    return VerificationReport(
        checks=tuple(made), not_checked=_not_checked(case, trust, made[0].ok), level=file.level
    )


def _checks(case: Case) -> list[tuple[str, Callable[[Case], str]]]:
    """All checks; a file of a study with more to keep to gets one more for each of these."""
    checks = list(CHECKS)
    if case.evidence.study.get("profile") != "secure-sum":
        checks[4:4] = [("Privacy budget", check_budget), ("Ledgers", check_ledgers)]
    cohort = case.evidence.study.get("cohort")
    if case.evidence.streams or (isinstance(cohort, dict) and "asynchronous" in cohort):
        checks.insert(3, ("Late cohorts", check_streams))
    if isinstance(cohort, dict) and cohort.get("selection") == "adaptive":
        checks.insert(3, ("Selection", check_selection))
    if case.evidence.partition is not None or (isinstance(cohort, dict) and "groups" in cohort):
        checks.insert(2, ("Groups", check_groups))
    return checks


def _make(name: str, check: Callable[[Case], str], case: Case) -> Check:
    try:
        return Check(name=name, ok=True, detail=check(case))
    except Unmet as unmet:
        return Check(name=name, ok=False, detail=str(unmet))
    except WardroundError as error:
        return Check(name=name, ok=False, detail=f"{error.code}: {error.problem}")
    except Exception as error:  # noqa: BLE001 - hostile totals may upset any arithmetic
        detail = f"The check could not be completed ({type(error).__name__})."
        return Check(name=name, ok=False, detail=detail)


def _check_study(case: Case, trust: Trust) -> str:
    study = case.study
    if trust.study is not None:
        require(study.digest == trust.study, f"This is another study: {study.digest}.")
    if trust.coordinator is not None:
        key = study.coordinator_key
        same = trust.coordinator == key.text or (
            trust.coordinator.replace(" ", "").lower() == key.fingerprint.replace(" ", "")
        )
        require(same, f"The study names another coordinator: {key.fingerprint}.")
    known = ", the one that was asked for" if trust.given else ""
    return f"{study.id}, version {study.version}, is {study.digest}{known}."


def _check_folder(case: Case, folder: Path) -> str:
    found = load_model(folder, case.study.coordinator_key)
    require(
        found.statement == chain.opened_model(case).statement,
        "The folder holds another model than the evidence.",
    )
    return "The folder holds the model of the evidence, signed by the coordinator."


def _not_checked(case: Case, trust: Trust, study_holds: bool) -> tuple[str, ...]:
    lines = []
    if not trust.given:
        what = case.study.digest if study_holds else "its digest"
        lines.append(f"That this is the study you mean: compare {what} with one that you trust.")
    lines += [
        "That the hospitals' records were true and complete: signatures show who said what.",
        "That each masked packet held an honestly computed contribution, or that the totals are "
        "the sums of the packets: the packets are not in the file.",
        "That the hospitals' keys belong to the hospitals: their fingerprints are compared by "
        "voice or on paper.",
        "That clocks were right: times are the coordinator's, in a journal that the hospitals "
        "countersigned.",
        "That no more hospitals than the adversary statement allows worked together.",
        "How many numbers earlier runs of the study opened: the limit is checked for this run, and "
        "by each hospital for all of them.",
    ]
    if study_holds and case.study.privacy is not None:
        lines += [
            "That each hospital added the noise that it owes: only its own agent sees the sum "
            "before the noise is in it.",
            "What earlier runs of the study cost: each hospital's ledger counts them all, and its "
            "head stands in the manifests.",
        ]
    if study_holds and case.study.cohort.adaptive:
        lines.append(
            "Who was there, and how fast each hospital was: the coordinator chose by it, and the "
            "journal has its word for it."
        )
    if case.evidence.streams:
        lines.append(
            "That each hospital scaled its contribution to a late cohort by its staleness: it does "
            "so before it masks."
        )
    if study_holds:
        try:
            lines += _other_runs(case) + _unopened(case)
        except (Unmet, WardroundError):
            pass  # the check of the rounds has said so already
    return tuple(line.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") for line in lines)


def _other_runs(case: Case) -> list[str]:
    """Runs whose totals stand in the same journal and not in this file.

    That one was garbage is what the coordinator says of it, who opened it.
    """
    opened = (*case.find("total"), *case.find("garbage"))
    rounds = {str(leaf.facts.get("round")) for leaf in opened}
    runs = {name.partition(".")[0] for name in rounds} - {case.evidence.run}
    if not runs:
        return []
    others = "another run" if len(runs) == 1 else f"{len(runs)} other runs"
    return [
        f"What {others} of this study opened, of which the journal tells: sums over "
        "cohorts that differ by one hospital subtract to that hospital's numbers. Ask for their "
        "evidence."
    ]


def _unopened(case: Case) -> list[str]:
    """Rounds in which the coordinator had what it takes to open a total that it does not show."""
    count = sum(
        not one.completed and len(one.record.votes) >= one.manifest.threshold
        for one in case.all_rounds
    )
    if not count:
        return []
    return [
        f"Whether {count} attempts that count as failed were opened after all: enough hospitals "
        "had signed their survivors."
    ]
