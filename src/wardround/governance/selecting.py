"""The check of whom a study asked that does not ask everybody: by the agreed rule, in turns.

How fast each hospital was is the coordinator's word, and so is who was there; neither is in the
file beyond the order of speeds. What follows from them is worked out anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from wardround.federation.selection import due
from wardround.governance.case import Case, Leaf, OpenedRound, require
from wardround.ids import SiteName


def check_selection(case: Case) -> str:
    """Each set-up is among the fastest and whoever's turn it was, or among some of the last ones.

    A set-up in which somebody dropped out is begun again among the others, without a new choice;
    and a step that was not opened may be repeated over those whose answers an attempt at it had.
    """
    cohort = case.study.cohort
    wanted = (cohort.target_sites or 0) + cohort.over_selection
    begun = sorted(
        ((case.recorded("manifest", round=one.manifest.round).index, one) for one in case.rounds),
        key=lambda pair: pair[0],
    )
    before: frozenset[SiteName] = frozenset()
    chosen = 0
    for setup in case.find("setup", run=case.evidence.run):
        pool = _sites(setup, "pool")
        why = list(case.find("selection", batch=setup.facts["batch"]))
        if why:
            require(len(why) == 1, "The journal holds two choices for one set-up.")
            order, turns = _sites(why[0], "fastest_first"), _sites(why[0], "turns")
            recent = [one.manifest.roster for index, one in begun if index < why[0].index]
            owed = due(order, recent, cohort.ask_every) & set(order[wanted:])
            require(
                list(turns) == sorted(owed) and list(pool) == sorted({*order[:wanted], *turns}),
                f"Set-up {setup.facts['batch']} asks others than the fastest and those whose turn "
                "it was.",
            )
            chosen += 1
        else:
            earlier = [one for index, one in begun if index < setup.index]
            require(
                set(pool) <= before or frozenset(pool) in _repeatable(earlier),
                f"Set-up {setup.facts['batch']} asks hospitals that nothing says were chosen.",
            )
        before = frozenset(pool)
    choices = "1 choice" if chosen == 1 else f"{chosen} choices"
    return (
        f"{choices}, each of the {wanted} fastest that were there and whoever had gone unasked for "
        f"{cohort.ask_every - 1} rounds, by the order of speeds that the coordinator wrote down."
    )


def _repeatable(begun: Sequence[OpenedRound]) -> set[frozenset[SiteName]]:
    """Whose answers the attempts had at the step of the last of these rounds, where that failed."""
    if not begun or begun[-1].completed:
        return set()
    step = begun[-1].manifest.step
    return {frozenset(one.record.packets) for one in begun if one.manifest.step == step}


def _sites(leaf: Leaf, fact: str) -> tuple[SiteName, ...]:
    found = leaf.facts.get(fact)
    require(isinstance(found, list), f"The journal's entry '{leaf.kind}' is damaged.")
    return tuple(SiteName(str(one)) for one in found) if isinstance(found, list) else ()
