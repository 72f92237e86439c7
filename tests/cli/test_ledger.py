"""``wardround site ledger``: both accounts, a forecast, and what is wrong with a ledger."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from commands import Command
from private_study import PRIVACY, line, manifest
from steward import ME, Steward
from ward import SITES, plan
from wardround.privacy.accountant import epsilon
from wardround.privacy.events import Skellam
from wardround.privacy.statement import short
from wardround.simulation.inprocess import Keys
from wardround.site import tables
from wardround.site.ledger import PrivacyLedger
from wardround.site.memory import open_memory
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study
from wardround.study.price import price

POLICY = 'accepted_profiles = ["private"]\nrequired_limits = []\n'


@pytest.fixture
def steward(tmp_path: Path) -> Steward:
    keys = Keys.generate(SITES)
    model = {"kind": "logistic", "algorithm": "dp-sgd"}
    study = keys.seal(plan(profile="private", model=model, privacy=PRIVACY))
    one = Steward(tmp_path, keys, study)
    (one.folder / "hospital.toml").write_text(POLICY, encoding="utf-8")
    one.ready()
    return one


def charge(steward: Steward, *purposes: str, at: datetime | None = None) -> None:
    """As the agent does; rounds are numbered on."""
    home = steward.home
    with closing(open_memory(home)) as database:
        state = JournalledDatabase(database, tables.journal, "test")
        book = PrivacyLedger(steward.study, ME, home.signing_key.public, home.hospital)
        for number, purpose in enumerate(purposes):
            asked = manifest(steward.study, number)
            with state.transaction() as transaction:
                one = line(steward.study, purpose)
                now = at or datetime.now(UTC)
                book.charge(transaction, book.propose(transaction.connection, one, asked, now))


def test_before_anything_was_charged_the_forecast_is_the_plan(
    steward: Steward, command: Command
) -> None:
    result = command("site", "ledger", steward.folder)
    assert result.code == 0
    assert "epsilon 0 of 1.5 spent at delta 1e-5" in result.out
    assert "6 more answers by the plan" in result.out
    assert not (steward.folder / "state.db").exists(), "looking makes no memory"


def test_what_was_charged_and_what_is_left(steward: Steward, command: Command) -> None:
    charge(steward, "statistics", "statistics", "training")
    answer = json.loads(command("site", "ledger", steward.folder, "--json").out)
    spent = epsilon([(Skellam(20.0), 2), (Skellam(12.0), 1)], 1e-5)
    assert answer["site"] == ME
    assert answer["entries"] == answer["population"]["answers"] == 3
    assert answer["study"]["spent"] == spent
    lines = {one["purpose"]: (one["charged"], one["left"]) for one in answer["study"]["lines"]}
    assert lines == {"statistics": (2, 1), "training": (1, 3), "evaluation": (0, 2)}
    population = answer["population"]
    assert population["spent"] + population["left"] == pytest.approx(population["budget"])
    assert population["more_studies"] >= 1
    assert answer["refused"] is None
    shown = command("site", "ledger", steward.folder)
    assert f"epsilon {short(spent)} of 1.5 spent" in shown.out
    assert "3 more answers by the plan (2 for training, 1 for evaluation)" in shown.out
    assert answer["head"] in shown.err


def test_a_plan_that_no_longer_fits_is_said(steward: Steward, command: Command) -> None:
    charge(steward, "training")
    tight = POLICY + "[privacy]\nepsilon = 0.5\n"
    (steward.folder / "hospital.toml").write_text(tight, encoding="utf-8")
    answer = json.loads(command("site", "ledger", steward.folder, "--json").out)
    assert answer["refused"] == "WR-SITE-100"
    shown = command("site", "ledger", steward.folder)
    assert shown.code == 0
    assert "No answer can be charged now. WR-SITE-100" in shown.out
    assert "no more studies like this one" in shown.out


def test_a_clock_that_runs_behind_is_said(steward: Steward, command: Command) -> None:
    charge(steward, "training", at=datetime.now(UTC) + timedelta(days=1))
    answer = json.loads(command("site", "ledger", steward.folder, "--json").out)
    assert answer["refused"] == "WR-SITE-095"


def test_an_altered_ledger_is_refused_with_what_it_says(steward: Steward, command: Command) -> None:
    charge(steward, "statistics", "training")
    with closing(open_memory(steward.home)) as database, database.begin() as connection:
        connection.execute(text("DELETE FROM ledger WHERE sequence = 1"))
    result = command("site", "ledger", steward.folder, "--json")
    assert result.code == 1
    (error,) = json.loads(result.out)["errors"]
    assert error["code"] == "WR-SITE-090"
    assert "1 answers were charged" in error["problem"]


def test_a_study_without_noise_charges_nothing(tmp_path: Path, command: Command) -> None:
    steward = Steward(tmp_path)
    steward.ready()
    result = command("site", "ledger", steward.folder)
    assert result.code == 0
    assert "adds no noise (secure-sum)" in result.out
    assert json.loads(command("site", "ledger", steward.folder, "--json").out)["study"] is None


def test_a_study_that_does_not_fit_any_more_is_not_approved(
    steward: Steward, command: Command
) -> None:
    charge(steward, "training", "training")
    again = steward.study.model_dump(mode="json", by_alias=True, exclude_none=True)
    again["version"] = 2
    again["privacy"]["epsilon"] = price(steward.study) * 1.01  # enough for it alone
    steward.study_path.write_bytes(Study.parse(again).canonical())
    words = ("site", "approve", steward.folder, steward.study_path, "--mapping", steward.mapping)
    before = steward.contents()
    result = command(*words, "--yes", "--json")
    assert result.code == 1
    (error,) = json.loads(result.out)["errors"]
    assert error["code"] == "WR-SITE-097"
    assert "Earlier versions spent" in error["problem"]
    assert steward.contents()["papers/study.json"] == before["papers/study.json"]
