"""Whether a run kept to the privacy budget that was signed, from its evidence alone."""

from __future__ import annotations

from collections import Counter

from wardround.governance.case import Case, require
from wardround.study.plan import line_of
from wardround.study.price import check_plan, statement_of


def check_budget(case: Case) -> str:
    """Every signed packet is paid for: its task has a line, and no site answered a line too often.

    Failed attempts count as well: a hospital charged itself before it knew how a round would end.
    """
    study = case.study
    check_plan(study)
    answers: Counter[tuple[str, str]] = Counter()
    for one in case.rounds:
        line = line_of(study, one.manifest.kind)
        for site in one.record.packets:
            answers[site, line.purpose] += 1
            require(
                answers[site, line.purpose] <= line.releases + line.spare,
                f"{site} answered {line.purpose.value} more often than the signed plan allows.",
            )
    return f"In this run no hospital gave more than the signed plan. {statement_of(study).words()}"
