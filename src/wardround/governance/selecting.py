"""The check of whom a study asked that does not ask everybody: by the agreed rule, in turns.

How fast each hospital was is the coordinator's word, and so is who was there; neither is in the
file beyond the order of speeds. What follows from them is worked out anew.
"""

from __future__ import annotations

from wardround.federation.selection import due
from wardround.governance.case import Case, Leaf, require
from wardround.ids import SiteName


def check_selection(case: Case) -> str:
    """Each set-up is among the fastest and whoever's turn it was, or among some of the last ones.

    A set-up in which somebody dropped out is begun again among the others, without a new choice;
    and a round that was not opened may be repeated over those whose answers it had.
    """
    cohort = case.study.cohort
    wanted = (cohort.target_sites or 0) + cohort.over_selection
    rosters = sorted(
        (case.recorded("manifest", round=one.manifest.round).index, one.manifest.roster)
        for one in case.rounds
    )
    repeatable = {frozenset(one.record.packets) for one in case.rounds if not one.completed}
    before: frozenset[SiteName] = frozenset()
    chosen = 0
    for setup in case.find("setup", run=case.evidence.run):
        pool = _sites(setup, "pool")
        why = list(case.find("selection", batch=setup.facts["batch"]))
        if why:
            require(len(why) == 1, "The journal holds two choices for one set-up.")
            order, turns = _sites(why[0], "fastest_first"), _sites(why[0], "turns")
            recent = [roster for index, roster in rosters if index < why[0].index]
            owed = due(order, recent, cohort.ask_every) & set(order[wanted:])
            require(
                list(turns) == sorted(owed) and list(pool) == sorted({*order[:wanted], *turns}),
                f"Set-up {setup.facts['batch']} asks others than the fastest and those whose turn "
                "it was.",
            )
            chosen += 1
        else:
            require(
                set(pool) <= before or frozenset(pool) in repeatable,
                f"Set-up {setup.facts['batch']} asks hospitals that nothing says were chosen.",
            )
        before = frozenset(pool)
    choices = "1 choice" if chosen == 1 else f"{chosen} choices"
    return (
        f"{choices}, each of the {wanted} fastest that were there and whoever had gone unasked for "
        f"{cohort.ask_every - 1} rounds, by the order of speeds that the coordinator wrote down."
    )


def _sites(leaf: Leaf, fact: str) -> tuple[SiteName, ...]:
    found = leaf.facts.get(fact)
    require(isinstance(found, list), f"The journal's entry '{leaf.kind}' is damaged.")
    return tuple(SiteName(str(one)) for one in found) if isinstance(found, list) else ()
