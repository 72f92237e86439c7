"""What must hold when a run is over, whoever died on the way."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.disk import Loss
from faults.trial import COORDINATOR, POLICY, SITES, Trial
from wardround.coordinator import tables as coordinator_tables
from wardround.governance.artefact import load_model
from wardround.governance.verify import Trust, verify
from wardround.site import tables as site_tables
from wardround.site.ledger import PrivacyLedger
from wardround.store import Database
from wardround.store.leaves import SqlLeafStore
from wardround.trust.journal import Entry, Journal

RESULTS = {"evidence.json", "report.html", "report.json", "summary.json", "model"}


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the digest of every step's total, and each site's answers."""

    totals: dict[int, str]
    answers: dict[str, int]


def examine(trial: Trial) -> Outcome:
    """Check everything that may not depend on who died when; raises AssertionError."""
    totals = _coordinator(trial)
    answers = {site: _site(trial, site) for site in SITES}
    return Outcome(totals, answers)


def _coordinator(trial: Trial) -> dict[int, str]:
    folder, study = trial.folder / COORDINATOR, trial.cast.study
    with _sql(folder) as sql:
        runs = sql.execute("SELECT run, state FROM runs").fetchall()
        assert [state for _, state in runs] == ["finished"], runs
        (run, _) = runs[0]
        totals = dict(sql.execute("SELECT step, total FROM totals").fetchall())
        opened = [name for (name,) in sql.execute("SELECT round FROM totals")]
        rounds = sql.execute("SELECT step, state FROM rounds").fetchall()
    assert sorted(totals) == list(range(len(totals)))
    done = Counter(step for step, state in rounds if b'"phase":"done"' in state)
    assert done == dict.fromkeys(totals, 1), "one round for each total"
    entries = _entries(folder, coordinator_tables.journal)
    journalled = [one.facts["round"] for one in entries if one.kind == "total"]
    assert sorted(map(str, journalled)) == sorted(opened), "journalled exactly once"
    results = folder / "results" / run
    assert {path.name for path in results.iterdir()} == RESULTS
    assert [path.name for path in results.parent.iterdir()] == [run]
    trust = Trust(study=study.digest, coordinator=study.coordinator.signing_key)
    report = verify(results / "evidence.json", trust, model=results / "model")
    assert report.ok, [one for one in report.checks if not one.ok]
    _outlasts_the_power(trial, COORDINATOR, results)
    return totals


def _site(trial: Trial, site: str) -> int:
    folder, study = trial.folder / site, trial.cast.study
    entries = _entries(folder, site_tables.journal)
    leaves = Counter(one.kind for one in entries)
    with _sql(folder) as sql:
        answered = sql.execute("SELECT round, step FROM packets").fetchall()
        bound = [step for (step,) in sql.execute("SELECT step FROM tasks")]
    assert leaves["packet"] == len(answered)
    assert {step for _, step in answered} == set(bound)
    with closing(Database.file(folder / "state.db", site_tables.MIGRATIONS)) as database:
        key = trial.cast.keys.sites[site].public
        with database.begin() as connection:
            head = PrivacyLedger(study, site, key, POLICY).verify(connection)
    assert head.size == (len(answered) if study.privacy is not None else 0), "each answer charged"
    with _sql(trial.folder / COORDINATOR) as sql:
        taken = sql.execute(
            "SELECT scope FROM statements WHERE kind = 'packet' AND site = ?", (site,)
        ).fetchall()
    assert {name for (name,) in taken} <= {name for name, _ in answered}, "nothing from nowhere"
    load_model(folder / "reports" / "model", study.coordinator_key)
    _outlasts_the_power(trial, site, folder / "reports")
    return len(answered)


def _outlasts_the_power(trial: Trial, name: str, place: Path) -> None:
    """What is called finished is on the disk, so that the power may go."""
    image = trial.parties[name].disk.image(Loss.NAMES)
    for path in place.rglob("*"):
        assert path in image, f"{path} is not durable"
        assert image[path] == (path.read_bytes() if path.is_file() else None), (
            f"{path} is not whole"
        )


def _entries(folder: Path, leaves: object) -> list[Entry]:
    with closing(Database.file(folder / "state.db", _migrations(leaves))) as database:
        return list(Journal(SqlLeafStore(database, leaves), "test").entries())


def _migrations(leaves: object) -> tuple[object, ...]:
    mine = leaves is site_tables.journal
    return site_tables.MIGRATIONS if mine else coordinator_tables.MIGRATIONS


@contextmanager
def _sql(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        yield connection
