"""The hospital's own report: over the records that the study used, and no others."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from steward import Steward
from ward import TODAY
from wardround.governance.report import LocalReport
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.local import assess, fit_alone
from wardround.sandbox import ConfinedWorker, InlineWorker
from wardround.site import serve
from wardround.site.custody import computable
from wardround.site.local import Figures, write_local_report

WORKERS = {
    "inline": lambda: InlineWorker(serve.OWN_COMPUTATIONS),
    "confined": lambda: ConfinedWorker(serve.OWN_COMPUTATIONS, required=frozenset()),
}


async def report_of(steward: Steward, make: str = "inline", *excluded: str) -> LocalReport:
    """The report of a run after which these patients are excluded."""
    steward.approve()
    home = steward.home
    home.exclude(excluded, TODAY)
    table = home.read_records()
    columns = computable(steward.study, table)
    federated, _ = fit_alone(columns, variables_of(steward.study), rule_of(steward.study))
    worker = WORKERS[make]()
    limits = await worker.start()
    used = serve._without_excluded(home, table)
    await write_local_report(home, used, federated, worker, limits, Figures(10, 20))
    await worker.close()
    return LocalReport.load(home.reports / "local_report.json")


@pytest.mark.parametrize("make", WORKERS)
async def test_excluded_patients_are_counted_as_such_and_not_used(
    tmp_path: Path, make: str
) -> None:
    steward = Steward(tmp_path)
    excluded = [f"harbour-{number}" for number in range(0, 60, 3)]
    report = await report_of(steward, make, *excluded, "nobody")
    assert (report.records_used, report.records_total) == (40, 61)
    assert report.quarantine == {"excluded": 20, "unreadable_number": 1}
    assert report.n_train + report.n_test == 40

    left = computable(steward.study, steward.home.read_records().excluding(excluded))
    held_out = int(left["_test"].sum())
    assert (report.n_train, report.n_test) == (40 - held_out, held_out)
    variables = variables_of(steward.study)
    alone, _ = fit_alone(left, variables, rule_of(steward.study))
    assert report.alone.auroc == assess(left, variables, alone).auroc
    assert report.federated_here.records == held_out

    with (steward.home.reports / "quarantine.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["reason"] == "excluded" for row in rows) == 20
    assert not {row["where"] for row in rows if row["reason"] == "excluded"} & set(excluded)


async def test_too_few_records_for_a_fit_of_its_own_are_a_fact(tmp_path: Path) -> None:
    report = await report_of(
        Steward(tmp_path), "inline", *(f"harbour-{number}" for number in range(55))
    )
    assert report.alone is None and report.federated_here is not None
    assert report.records_used == 5


async def test_nobody_left_is_a_fact_too(tmp_path: Path) -> None:
    report = await report_of(
        Steward(tmp_path), "confined", *(f"harbour-{number}" for number in range(60))
    )
    assert (report.records_used, report.quarantine["excluded"]) == (0, 60)
    assert report.alone is None and report.federated_here is None


async def test_the_agents_process_does_not_compute_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit is the worker's: what a question looks like is all that this process knows of it."""
    asked: list[str] = []

    class Watched(InlineWorker):
        async def call(self, request: dict, array: object = None) -> np.ndarray:
            asked.append(request["ask"])
            return await super().call(request, array)

    monkeypatch.setitem(WORKERS, "inline", lambda: Watched(serve.OWN_COMPUTATIONS))
    await report_of(Steward(tmp_path))
    assert asked == ["figures", "fit", "figures"]
