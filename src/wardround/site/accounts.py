"""What a hospital's ledger adds up to, and whether one more answer fits: arithmetic, no database.

Two accounts are kept, and both ceilings are in force.

*The study's.* The signed plan is a multiset of events that was priced as a whole, so a study stays
within its epsilon as long as every answer is taken from a line of the plan that has answers left:
whatever part of a multiset is used, and in whatever order, costs at most what the whole costs.
What earlier versions of a study were charged is added to the present plan, so that a new version
is no fresh budget.

*The patient population's.* Studies come one after another, chosen by people who have seen what
earlier ones found. Rényi divergence of one order, fixed in advance, still adds up then: as long as
the sum stays at most what (epsilon, delta) allows at that order, the guarantee holds over all
studies together (Feldman and Zrnic 2021, "Individual privacy accounting via a Rényi filter",
theorem 4.5 with the same bound for everybody).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wardround.errors import WardroundError
from wardround.federation.messages import LedgerHead
from wardround.ids import Digest, StudyId
from wardround.privacy.accountant import epsilon as price
from wardround.privacy.events import DiscreteLaplace, Event
from wardround.privacy.statement import short
from wardround.site.entry import LedgerEntry
from wardround.study import Study
from wardround.study.plan import Line, lines
from wardround.study.price import releases

TOLERANCE = timedelta(minutes=5)
"""By so much a clock may be put right backwards; more, and time is no argument any more."""


@dataclass
class Version:
    """What one version of a study has been charged at this hospital."""

    number: int
    answers: Counter[str] = field(default_factory=Counter)
    """By the plan's purposes."""
    events: Counter[Event] = field(default_factory=Counter)
    noise: dict[str, float] = field(default_factory=dict)
    """The most noise of an answer, by purpose."""


@dataclass
class Population:
    """What a population's account has been charged, at its order of Rényi divergence."""

    order: int
    spent: float = 0.0
    answers: int = 0


class Accounts:
    """The sums over a ledger's entries; `add` takes them in, in their order."""

    def __init__(self, first: LedgerHead) -> None:
        self.head = first
        self.last: datetime | None = None
        self.studies: dict[StudyId, dict[Digest, Version]] = {}
        self.populations: dict[str, Population] = {}

    def add(self, entry: LedgerEntry) -> None:
        """Take in the next entry of the chain."""
        self.head = entry.head
        self.last = entry.time if self.last is None else max(self.last, entry.time)
        versions = self.studies.setdefault(StudyId(entry.study_id), {})
        version = versions.setdefault(entry.study, Version(entry.version))
        version.answers[entry.purpose] += 1
        version.events[entry.event.event] += entry.count
        most = version.noise.get(entry.purpose, 0.0)
        version.noise[entry.purpose] = max(most, entry.event.noise)
        ceiling = entry.ceiling
        account = self.populations.setdefault(ceiling.population, Population(ceiling.order))
        account.spent += entry.cost
        account.answers += 1

    def version(self, study: Study) -> Version:
        """What this version of the study has been charged."""
        return self.studies.get(study.id, {}).get(study.digest, Version(study.version))

    def earlier(self, study: Study) -> Counter[Event]:
        """What other versions of the study have been charged."""
        total: Counter[Event] = Counter()
        for digest, version in self.studies.get(study.id, {}).items():
            if digest != study.digest:
                total.update(version.events)
        return total

    def words(self) -> str:
        """What was spent, in a few words for an error."""
        answers = {
            name: sum(one.answers.total() for one in versions.values())
            for name, versions in self.studies.items()
        }
        if not answers:
            return "nothing was charged"
        each = ", ".join(f"{count} of {name}" for name, count in sorted(answers.items()))
        return f"{sum(answers.values())} answers were charged ({each})"


def check_clock(accounts: Accounts, now: datetime) -> None:
    """Refuse to go on with a clock that runs behind what was charged already: WR-SITE-095."""
    last = accounts.last
    if last is not None and last > now + TOLERANCE:
        raise WardroundError(
            "WR-SITE-095",
            f"The clock says {now:%Y-%m-%d %H:%M} (UTC), and an answer was charged at "
            f"{last:%Y-%m-%d %H:%M}: it was set back. Until then {accounts.words()}.",
            "Put the clock right; while it is wrong, no approval's last day means anything.",
        )


def check_version(accounts: Accounts, study: Study) -> None:
    """Refuse a text of the study in place of another of the same or a later version.

    Raises WR-SITE-098 where it has less noise than was charged for the same purpose, WR-SITE-099
    otherwise. A higher version is another matter: the hospital approved it anew, and what came
    before counts as part of it (`check_study`).
    """
    for digest, other in accounts.studies.get(study.id, {}).items():
        if digest == study.digest or other.number < study.version:
            continue
        for line in lines(study):
            charged, asked = other.noise.get(line.purpose.value, 0.0), noise_of(line.event)
            if asked < charged:
                raise WardroundError(
                    "WR-SITE-098",
                    f"Version {study.version} of {study.id} has noise of {asked:g} for "
                    f"{line.purpose.value}, and answers with noise of {charged:g} were charged "
                    f"under version {other.number}: {accounts.words()}.",
                    "Less noise needs a higher version, approved anew, whose epsilon includes what "
                    "was spent.",
                )
        raise WardroundError(
            "WR-SITE-099",
            f"Another text of {study.id}, its version {other.number}, has been charged here; this "
            f"one says version {study.version}: {accounts.words()}.",
            "Every change of a study needs a higher version, approved anew by every hospital.",
        )


def check_line(accounts: Accounts, study: Study, line: Line) -> None:
    """Refuse what the plan doesn't have (WR-SITE-102), or has no answers left for (WR-SITE-096)."""
    if line not in lines(study):
        raise WardroundError(
            "WR-SITE-102",
            "An answer was to be charged under a line that the signed study's plan does not have.",
            "The agent refuses. Report it: the plan follows from the study alone.",
        )
    given = accounts.version(study).answers[line.purpose.value]
    if given >= line.releases + line.spare:
        raise WardroundError(
            "WR-SITE-096",
            f"The study's budget for {line.purpose.value} is spent: {given} answers were charged, "
            f"and the plan has {line.releases} and {line.spare} spare ones.",
            "The hospital answers no more of it. A higher version of the study, approved anew, may "
            "plan more, within an epsilon that includes what was spent.",
        )


def check_study(accounts: Accounts, study: Study) -> float:
    """The epsilon of the whole plan with all that earlier versions were charged.

    Raises WR-SITE-097 where it is more than the study's epsilon.
    """
    assert study.privacy is not None
    delta = study.privacy.delta_in_force
    earlier = accounts.earlier(study)
    epsilon = price((*releases(study), *earlier.items()), delta)
    if epsilon > study.privacy.epsilon:
        spent = price(earlier.items(), delta)
        before = f" Earlier versions spent {spent:.4g} of it." if earlier else ""
        raise WardroundError(
            "WR-SITE-097",
            f"The study's plan comes to epsilon {epsilon:.4g} at delta "
            f"{short(delta)}, and the study allows {study.privacy.epsilon:g}."
            f"{before}",
            "Plan fewer or noisier releases, or agree on a higher epsilon, in a new version of the "
            "study; `wardround privacy plan` shows what fits.",
        )
    return epsilon


def check_population(
    name: str, account: Population, budget: float, cost: float, *, whole: bool = False
) -> None:
    """Refuse what doesn't fit into what is left of a population's account: WR-SITE-100.

    ``cost`` and ``budget`` are Rényi divergences at the account's order.
    """
    if account.spent + cost > budget:
        left = max(budget - account.spent, 0.0)
        what = "All that the study may still release" if whole else "The answer"
        share = f"{account.spent / budget:.1%}" if budget > 0 else "all"
        budget = max(budget, 0.0)  # below 0 where the ceiling is too low for the account's order
        raise WardroundError(
            "WR-SITE-100",
            f"{what} costs the patients of {name!r} {cost:.4g}, and {left:.4g} of {budget:.4g} is "
            f"left: {account.answers} answers have spent {share} (Rényi divergence of order "
            f"{account.order}).",
            "The hospital takes part in no more than that. The steward alone may raise the ceiling "
            "in hospital.toml, which loosens what these patients were promised.",
        )


def noise_of(event: Event) -> float:
    """How noisy an event is: its noise multiplier, or its scale."""
    return event.scale if isinstance(event, DiscreteLaplace) else event.noise_multiplier
