"""What must hold when a run is over, whoever died on the way."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from faults.disk import Loss
from faults.trial import COORDINATOR, POLICY, Trial
from wardround.coordinator import tables as coordinator_tables
from wardround.governance.artefact import load_model
from wardround.governance.report import LocalReport
from wardround.governance.verify import Trust, verify
from wardround.secagg import RingArray
from wardround.site import tables as site_tables
from wardround.site.ledger import PrivacyLedger
from wardround.store import Blobs, Database
from wardround.store.leaves import SqlLeafStore
from wardround.trust.canonical import digest
from wardround.trust.journal import Entry, Journal

RESULTS = {"evidence.json", "report.html", "report.json", "summary.json", "model"}


Chain = str
"""What a run's name ends in, of a stream for instance; without the number of a group."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the digests of its totals, and each site's answers.

    Who is with whom is drawn anew in each run, so groups' totals are added up before. Totals are
    in order: a late cohort that failed leaves a gap in the numbers.
    """

    totals: dict[tuple[Chain, int], str]
    answers: dict[str, int]


def examine(trial: Trial) -> Outcome:
    """Check everything that may not depend on who died when; raises AssertionError."""
    totals = _coordinator(trial)
    answers = {site: _site(trial, site) for site in trial.cast.sites}
    return Outcome(totals, answers)


def _coordinator(trial: Trial) -> dict[tuple[Chain, int], str]:
    folder, study = trial.folder / COORDINATOR, trial.cast.study
    with _sql(folder) as sql:
        runs = sql.execute("SELECT run, state FROM runs").fetchall()
        assert [state for _, state in runs] == ["finished"], runs
        (run, _) = runs[0]
        found = sql.execute("SELECT run, step, round, total FROM totals").fetchall()
        rounds = sql.execute("SELECT run, step, state FROM rounds").fetchall()
        wide = dict(sql.execute("SELECT round, task FROM rounds").fetchall())
    done = Counter((chain, step) for chain, step, state in rounds if b'"phase":"done"' in state)
    assert done == dict.fromkeys(((chain, step) for chain, step, _, _ in found), 1), "one a total"
    entries = _entries(folder, coordinator_tables.journal)
    journalled = [one.facts["round"] for one in entries if one.kind == "total"]
    assert sorted(map(str, journalled)) == sorted(one[2] for one in found), "journalled once"
    results = folder / "results" / run
    assert {path.name for path in results.iterdir()} == RESULTS
    assert [path.name for path in results.parent.iterdir()] == [run]
    trust = Trust(study=study.digest, coordinator=study.coordinator.signing_key)
    report = verify(results / "evidence.json", trust, model=results / "model")
    assert report.ok, [one for one in report.checks if not one.ok]
    _outlasts_the_power(trial, COORDINATOR, results)
    blobs = Blobs(folder / "blobs")
    steps: dict[tuple[Chain, int], list[RingArray]] = {}
    for chain, step, round_, total in found:
        bits = orjson.loads(wide[round_])["ring_bits"]
        ring = np.frombuffer(blobs.get(total), np.uint64 if bits == 64 else np.uint32)
        steps.setdefault((_GROUP.sub("", chain.removeprefix(run)), step), []).append(ring)
    own = sorted(step for chain, step in steps if not chain)
    assert own == list(range(len(own))), "no step of the run itself is missing"
    places: Counter[Chain] = Counter()
    totals = {}
    for chain, step in sorted(steps):
        whole = np.sum(steps[chain, step], axis=0, dtype=steps[chain, step][0].dtype)
        totals[chain, places[chain]] = digest(whole.tobytes())
        places[chain] += 1
    return totals


_GROUP = re.compile(r"(\.p\d+)?\.g\d+$")


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
    kept = load_model(folder / "reports" / "model", study.coordinator_key)
    assert LocalReport.load(folder / "reports" / "local_report.json").name == site
    done = [one.facts["run"] for one in entries if one.kind == "reported"]
    assert done == [kept.statement.run], "the run's own report, once"
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
