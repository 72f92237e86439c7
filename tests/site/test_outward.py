"""What of a refusal's reason may be said outside: little, and nothing that asks the records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wardround.site
from bedside import Bedside
from private_federation import whole_windows
from private_study import private
from scripted import Script, Told, contribute
from studies import document
from studies import private as private_plan
from ward import policy
from wardround.errors import WardroundError
from wardround.federation.causes import Cause, Hindrance
from wardround.federation.messages import Instruction, LedgerReport
from wardround.federation.packet import Refusal
from wardround.site.agent import Agent
from wardround.site.outward import ALWAYS, BEFORE_THE_RECORDS, cause_of, hindrance
from wardround.store.room import no_room
from wardround.study import Profile, Study

OPEN = Study.parse(document())

ABOUT_RECORDS = (
    "WR-PRIVACY",  # cohorts and cells
    "WR-DATA",
    "WR-LEARN",
    "WR-SANDBOX-003",  # how long, or how much memory, a computation over the records took
    "WR-SANDBOX-004",
    "WR-SANDBOX-005",
    "WR-SANDBOX-006",
    "WR-SANDBOX-007",
    "WR-SANDBOX-011",
    "WR-SECAGG-005",  # a value out of bounds
    "WR-SITE-012",
    "WR-SITE-018",  # a check of the records blocks
    "WR-SITE-02",  # the budget; the same question over other patients
    "WR-SITE-052",
    "WR-SITE-09",  # the ledger
    "WR-SITE-10",
    "WR-STUDY-08",  # the list of excluded patients
)


def error(code: str) -> WardroundError:
    return WardroundError(code, "A sentence.", "Another.")


@pytest.mark.parametrize("listed", [ALWAYS, BEFORE_THE_RECORDS], ids=["always", "before"])
def test_no_code_that_depends_on_records_has_a_cause(listed: dict[str, Cause]) -> None:
    harmless = {"WR-SITE-025", "WR-SITE-027"}  # manifest and survivor set: no patient in either
    for code in listed.keys() - harmless:
        assert not code.startswith(ABOUT_RECORDS), code


def test_once_the_records_were_looked_at_only_the_host_is_named() -> None:
    for code, cause in BEFORE_THE_RECORDS.items():
        assert cause_of(error(code), OPEN, looked=False) is cause
        told = cause_of(error(code), OPEN, looked=True)
        assert told in (None, Cause.DISK, Cause.SANDBOX)
        assert told == ALWAYS.get(code)


def test_a_private_study_names_nothing() -> None:
    study = private()
    for code in BEFORE_THE_RECORDS:
        assert cause_of(error(code), study, looked=False) is None
        assert cause_of(error(code), study, looked=True) is None


def test_a_code_that_nobody_thought_of_is_just_refused() -> None:
    assert cause_of(error("WR-SITE-999"), OPEN, looked=False) is None


def test_every_code_on_the_list_exists() -> None:
    source = "".join(
        file.read_text() for file in Path(wardround.site.__file__).parents[1].rglob("*.py")
    )
    for code in BEFORE_THE_RECORDS:
        assert len(re.findall(f'"{code}"', source)) > 1, code  # here, and where it is raised


def test_an_ended_approval_is_named_and_too_few_patients_are_not(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    expired = error("WR-STUDY-074")
    said = bedside.door.refuse("run", "round", expired).refused
    assert said.cause is Cause.APPROVAL
    few = error("WR-PRIVACY-001")
    assert bedside.door.refuse("run", "round", few, looked=True).refused.cause is None
    numbers = [leaf.facts["incident"] for leaf in bedside.leaves("refused")]
    assert numbers[0] == said.incident and len(set(numbers)) == 2


class PrivateScript(Script):
    """The other end of a line in a study with noise."""

    async def ledger_report(self) -> LedgerReport:
        return LedgerReport()


def full() -> None:
    raise no_room()


def private_bedside(tmp_path: Path) -> Bedside:
    both = policy(accepted_profiles=(Profile.SECURE_SUM, Profile.PRIVATE))
    noise = {key: private_plan()[key] for key in ("model", "privacy")}
    bedside = Bedside(tmp_path, hospital=both, profile="private", **noise)
    bedside.set_up()
    return bedside


def private_ask(bedside: Bedside) -> Instruction:
    windows = whole_windows(bedside.study)
    return contribute(bedside, bedside.order(bedside.task("private_moments", windows=windows)))


def agent(bedside: Bedside, script: Script, told: Told) -> Agent:
    nothing = bedside.seat, bedside.state, lambda _documents, _model: None
    return Agent(bedside.papers, script, bedside.door, *nothing, told)


async def said_while_full(bedside: Bedside, *asks: Instruction) -> list[str]:
    """What is said beside the polls, and that the hospital's log has the same number."""
    told, script = Told(), PrivateScript(*asks)
    with pytest.raises(WardroundError, match="WR-SITE-050"):
        await agent(bedside, script, told).run()
    inside = {facts.get("incident") for event, facts in told.events if event == "trouble"}
    said = [one for one in script.hindrances if one is not None]
    assert inside == ({one.incident for one in said} or {None})
    return [one.cause.value for one in said]


def asked(folder: Path, *, noise: bool) -> tuple[Bedside, Instruction]:
    """A hospital, and the question that it is asked."""
    if noise:
        bedside = private_bedside(folder)
        return bedside, private_ask(bedside)
    bedside = Bedside(folder)
    bedside.set_up()
    return bedside, contribute(bedside, bedside.order())


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "private"])
async def test_a_disk_that_is_full_before_anything_was_computed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: bool
) -> None:
    bedside, ask = asked(tmp_path, noise=noise)
    monkeypatch.setattr("wardround.site.spool.room", lambda *_: full())
    assert await said_while_full(bedside, ask, ask) == ["disk", "disk"]


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "private"])
async def test_in_a_private_study_nothing_is_said_of_a_disk_that_is_full_after_the_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: bool
) -> None:
    """When it came to it, and whether, may depend on the records."""
    bedside, ask = asked(tmp_path, noise=noise)
    monkeypatch.setattr("wardround.site.spool.write", lambda *_: full())
    assert await said_while_full(bedside, ask) == ([] if noise else ["disk"])


async def test_a_private_computation_that_finds_no_room_halts_and_says_nothing(
    tmp_path: Path,
) -> None:
    """It would be asked for again and again, and the waiting would be an answer."""
    bedside = private_bedside(tmp_path)
    bedside.worker.instead = full
    script = PrivateScript(private_ask(bedside))
    with pytest.raises(WardroundError, match="WR-SITE-111"):
        await agent(bedside, script, Told()).run()
    assert script.hindrances == [None]
    assert all(not isinstance(one, Refusal) for one in script.heard)


@given(st.text() | st.from_regex(r"[a-z]+\.[0-9A-Z-]{9}", fullmatch=True))
def test_only_the_word_of_the_list_and_a_number_are_taken(text: str) -> None:
    said = Hindrance.parse(text)
    assert said is None or (said.text == text and said.cause is Cause.DISK)


def test_what_is_said_is_taken() -> None:
    said = hindrance(OPEN, computed=True)
    assert said is not None and Hindrance.parse(said.text) == said
