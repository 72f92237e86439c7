"""What a hospital lets studies learn about its patients: the table ``[privacy]`` of hospital.toml.

Each study has a ceiling, and all studies on the same patients together have one more. The steward
says which patients those are; a hospital that runs several agents over the same patients shares
the ceiling out among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from wardround.errors import WardroundError
from wardround.privacy.accountant import best_order, filter_budget, rdp
from wardround.privacy.statement import short
from wardround.study.price import releases
from wardround.study.rules import Closed, Rule
from wardround.study.sections import NAME_PATTERN

if TYPE_CHECKING:
    from wardround.study.document import Study


class PopulationPrivacy(Closed):
    """Ceilings on epsilon: of one study, and of all studies on one population together."""

    population: Annotated[
        str,
        Field(pattern=NAME_PATTERN),
        Rule(
            "WR-POLICY-060",
            "be a short name of lower-case letters, digits and hyphens",
            'Write, for example, population = "cardiology". What was spent stays with the name.',
        ),
    ] = "patients"
    """Whose account it is. Another name opens another account: for other patients only."""

    epsilon: Annotated[
        float,
        Field(gt=0, le=100),
        Rule("WR-POLICY-061", "be a number above 0 and at most 100", "6 is the default."),
    ] = 6.0
    """The privacy loss of one of these patients over all studies, ever."""

    delta: Annotated[
        float,
        Field(gt=0, le=0.01),
        Rule(
            "WR-POLICY-062",
            "be a number above 0 and at most 0.01",
            "1e-6 is the default; clearly less than one in the number of patients.",
        ),
    ] = 1e-6
    """The probability with which that may fail."""

    maximum_study_epsilon: Annotated[
        float,
        Field(gt=0, le=100),
        Rule(
            "WR-POLICY-063",
            "be a number above 0 and at most 100",
            "1.5 is the default, and what the compliance policy allows at most.",
        ),
    ] = 1.5
    """A study with a higher epsilon is refused."""

    maximum_study_delta: Annotated[
        float,
        Field(gt=0, le=0.01),
        Rule("WR-POLICY-064", "be a number above 0 and at most 0.01", "1e-3 is the default."),
    ] = 1e-3
    """A study with a higher delta is refused: epsilon says nothing without it."""


def refusals(study: Study, ceilings: PopulationPrivacy) -> Iterator[WardroundError]:
    """Why a hospital with these ceilings can't take part, whatever was spent before.

    WR-POLICY-065 and -066 for a study with a higher epsilon or delta, WR-POLICY-067 for a plan that
    doesn't fit under the population's ceiling even if nothing was spent.
    """
    privacy = study.privacy
    if privacy is None:
        return
    if privacy.epsilon > ceilings.maximum_study_epsilon:
        yield WardroundError(
            "WR-POLICY-065",
            f"The study's epsilon is {privacy.epsilon:g}; this hospital allows a study "
            f"{ceilings.maximum_study_epsilon:g}.",
            "Lower it in a new version of the study, or have the steward raise "
            "maximum_study_epsilon in hospital.toml.",
            path="privacy.epsilon",
        )
    if privacy.delta_in_force > ceilings.maximum_study_delta:
        yield WardroundError(
            "WR-POLICY-066",
            f"The study's delta is {short(privacy.delta_in_force)}; this hospital allows a study "
            f"{short(ceilings.maximum_study_delta)}.",
            "Lower it in a new version of the study, or have the steward raise "
            "maximum_study_delta in hospital.toml.",
            path="privacy.delta",
        )
    order = best_order(ceilings.epsilon, ceilings.delta)
    budget = filter_budget(ceilings.epsilon, ceilings.delta, order)
    cost = sum(float(rdp(event, (order,))[0]) * count for event, count in releases(study))
    if cost > budget:
        yield WardroundError(
            "WR-POLICY-067",
            f"The study's plan costs the patients of {ceilings.population!r} {cost:.4g}, and all "
            f"studies together may cost them {max(budget, 0.0):.4g} (Rényi divergence of order "
            f"{order}, for epsilon {short(ceilings.epsilon)} at delta {short(ceilings.delta)}).",
            "Plan fewer or noisier releases, or have the steward raise epsilon under [privacy] in "
            "hospital.toml, which loosens what these patients are promised.",
            path="privacy",
        )
