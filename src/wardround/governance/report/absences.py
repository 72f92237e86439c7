"""Who was missing from which totals, and how many records those totals are over.

Only what is public: names and rounds, and the numbers of records that opened totals hold anyway
(none in a private study).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from wardround.governance.report.data import AbsenceFacts, RoundFacts


def absences(sites: Iterable[str], rounds: Sequence[RoundFacts]) -> tuple[AbsenceFacts, ...]:
    """One line for each hospital that is not in every total of its cohort; steps from 0."""
    opened = [one for one in rounds if one.completed]
    lines = []
    for site in sites:
        asked = [one for one in opened if site in (*one.survivors, *one.dropped)]
        missing = sorted({one.step for one in asked if site in one.dropped})
        not_asked = sorted({one.step for one in opened if site in one.not_asked})
        if missing or not_asked:
            present = {one.step for one in asked if site in one.survivors}
            lines.append(
                AbsenceFacts(
                    site=site,
                    present=len(present),
                    missing=tuple(missing),
                    not_asked=tuple(not_asked),
                )
            )
    return tuple(lines)


def steps(numbers: Iterable[int]) -> str:
    """Steps, given from 0, as people count them, with runs drawn together: ``2, 5 to 9``."""
    runs: list[str] = []
    for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        found = [number + 1 for _, number in run]
        first, last = found[0], found[-1]
        runs.append(f"{first}" if first == last else f"{first} to {last}")
    return ", ".join(runs)


def effect(rounds: Sequence[RoundFacts]) -> list[str]:
    """What missing hospitals did to the patients represented, a line for each kind of total.

    Kinds whose totals hold no number of records, and those that nobody was missing from, are left
    out, as is what can't be told: how many there would have been with everybody.
    """
    lines = []
    kinds = dict.fromkeys(one.kind for one in rounds)
    for kind in kinds:
        known = [
            one
            for one in rounds
            if one.completed and one.kind == kind and one.group is None and one.records
        ]
        if not any(one.dropped or one.not_asked for one in known):
            continue
        counts = [one.records or 0 for one in known]
        most, mean = max(counts), sum(counts) / len(counts)
        share = f"{mean / most:.1%} of the most"
        lines.append(
            f"{kind.replace('_', ' ').capitalize()}: totals over {min(counts):,} to {most:,} "
            f"records, {mean:,.0f} on average ({share} that any had)."
        )
    return lines
