"""Who is summed with whom in a study, who is asked, and how long anybody is waited for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES
from wardround.study.rules import Closed, Rule


class Groups(Closed):
    """Sums over random groups of hospitals, one total a group, instead of one sum over all."""

    number: Annotated[
        int,
        Field(ge=2, le=MAXIMUM_SITES // MINIMUM_SITES),
        Rule(
            "WR-STUDY-090",
            f"be a whole number from 2 to {MAXIMUM_SITES // MINIMUM_SITES}",
            "Leave the table [cohort.groups] out for one sum over all hospitals.",
        ),
    ]
    """How many groups; their sizes differ by one at most."""

    tolerated_dropouts: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-091",
            "be a number of sites, 0 or more",
            "1 is usual: with 0, one hospital that is missing stops the study.",
        ),
    ] = 1
    """How many members of each group may be missing before a step fails."""

    draw: Annotated[
        Literal["commit-reveal/1"],
        Rule(
            "WR-STUDY-092",
            'be "commit-reveal/1"',
            "Leave it out: there is one way to draw the groups yet.",
        ),
    ] = "commit-reveal/1"
    """How the groups are drawn; signed, so that a later version's other way changes nothing."""

    redraw_steps: Annotated[
        int | None,
        Field(ge=1),
        Rule(
            "WR-STUDY-170",
            "be a whole number of steps, 1 or more",
            "Leave it out for one partition for good; 1 makes other groups at every step.",
        ),
    ] = None
    """With noise: after how many steps the groups are others. Left out, they stay as drawn."""


class Asynchronous(Closed):
    """Each hospital trains at its own pace; whoever is ready forms a short sum of ``sites``."""

    sites: Annotated[
        int | None,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-150",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            "Leave it out for a quarter of the hospitals, or as many as the adversary statement "
            "asks for.",
        ),
    ] = None
    """K: how many ready hospitals form a cohort. Left out, the greater of 3 and a quarter of all,
    raised to the least in which all corrupt hospitals may meet."""

    tolerated_dropouts: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-151",
            "be a number of sites, 0 or more",
            "0 is usual: a cohort that fails costs no training, only new keys.",
        ),
    ] = 0
    """How many of a cohort's hospitals may be lost after the keys were dealt."""

    maximum_staleness: Annotated[
        int,
        Field(ge=0, le=1000),
        Rule("WR-STUDY-152", "be a whole number from 0 to 1000", "10 is usual."),
    ] = 10
    """A contribution trained from a model this many versions back is still used; from an older
    one it is thrown away, and the hospital starts anew from the current model."""

    sum_deadline_s: Annotated[
        float,
        Field(ge=1, le=86_400),
        Rule(
            "WR-STUDY-153",
            "be a number of seconds from 1 to 86400 (a day)",
            "60 is usual: those who are ready have only to exchange keys and send.",
        ),
    ] = 60.0
    """Seconds for each exchange of a cohort's sum, in which nobody trains any more."""


class Cohort(Closed):
    """How many hospitals make a round, and how long it waits for them."""

    minimum_sites: Annotated[
        int,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-023",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            f"A sum over fewer than {MINIMUM_SITES} hospitals shows each what the others sent.",
        ),
    ] = MINIMUM_SITES
    """A total over fewer hospitals is never opened (the adversary statement may ask for more)."""

    deadline_s: Annotated[
        float,
        Field(ge=1, le=604_800),
        Rule(
            "WR-STUDY-024",
            "be a number of seconds from 1 to 604800 (a week)",
            "600 is usual; slow lines or large models need more.",
        ),
    ] = 600.0
    """Seconds after which a round goes on without those who haven't answered, whoever they are.

    Sooner, a round goes on when the ``target_sites`` are there and nobody else is within the time
    that it usually takes (one and a half times its 90th percentile)."""

    deadline_floor_s: Annotated[
        float,
        Field(ge=0.1, le=604_800),
        Rule(
            "WR-STUDY-140",
            "be a number of seconds from 0.1 to 604800 (a week)",
            "30 is usual; as long as deadline_s, and no deadline adapts to anybody's speed.",
        ),
    ] = 30.0
    """The least that a site's own deadline comes to, however fast it was (at most deadline_s)."""

    target_sites: Annotated[
        int | None,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-141",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            "Leave it out to wait for every hospital that is asked.",
        ),
    ] = None
    """How many contributions are wanted in a round; left out, those of all that are asked."""

    selection: Annotated[
        Literal["all", "adaptive"],
        Rule(
            "WR-STUDY-142",
            'be "all" or "adaptive"',
            "Leave it out to ask every hospital that is there in every round.",
        ),
    ] = "all"
    """Who is asked: ``all`` that are there, or (``adaptive``) as many as are wanted and
    over-selected, the fastest first, and each whose turn it is (``ask_every``)."""

    over_selection: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-143",
            "be a number of sites, 0 or more",
            "1 or 2 are usual: each is asked for a contribution that may not be needed.",
        ),
    ] = 0
    """How many more than ``target_sites`` are asked under ``selection = "adaptive"``."""

    ask_every: Annotated[
        int,
        Field(ge=1, le=1000),
        Rule(
            "WR-STUDY-144",
            "be a whole number of rounds from 1 to 1000",
            "8 is usual: a slow hospital's patients count in every eighth round at least.",
        ),
    ] = 8
    """Under ``selection = "adaptive"`` every hospital that is there is asked, and waited for up to
    its own deadline, at least once in so many rounds."""

    attempts: Annotated[
        int,
        Field(ge=1, le=10),
        Rule(
            "WR-STUDY-025",
            "be a whole number from 1 to 10",
            "3 is usual: a step that failed so often needs a person.",
        ),
    ] = 3
    """How often a failed round is tried anew."""

    rounds_per_setup: Annotated[
        int,
        Field(ge=1, le=64),
        Rule(
            "WR-STUDY-026",
            "be a whole number from 1 to 64",
            "16 is usual: more saves key exchanges, fewer lets a lost site come back sooner.",
        ),
    ] = 16
    """Rounds for which masking keys are agreed at once."""

    groups: Groups | None = None
    """Visibility ``groups``; left out, each step opens one sum over all hospitals."""

    asynchronous: Asynchronous | None = None
    """Federated averaging over whoever is ready; left out, each round waits for all."""

    @property
    def adaptive(self) -> bool:
        """Whether some are asked and others not."""
        return self.selection == "adaptive"
