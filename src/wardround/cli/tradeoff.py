"""The trade-off behind a proposed budget, as words and tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wardround.cli.studywords import grid
from wardround.privacy.statement import short
from wardround.study.plan import Purpose, lines, require_privacy
from wardround.study.planning import UNSURE, Design, Proposal, percent, training_patients
from wardround.study.price import statement_of
from wardround.trust.canonical import JSON

BAR = 24
"""The longest bar, in characters."""


def shown(proposal: Proposal) -> RenderableType:
    """The whole proposal, for a person."""
    return Group(
        grid(_facts(proposal)),
        *_titled("What epsilon is spent on", _budget(proposal)),
        *_titled("Ways to train that fit", _designs(proposal)),
        Text(),
        Text(proposal.reason),
        *_titled("What another epsilon would buy, trained the same way", _epsilons(proposal)),
    )


def facts(proposal: Proposal) -> dict[str, JSON]:
    """The same, for programs."""
    return {
        "statement": statement_of(proposal.study).to_json(),
        "shares": {purpose.value: share for purpose, share in proposal.shares.items()},
        "privacy": proposal.tables(),
        "chosen": _design(proposal.chosen),
        "compared": [_design(design) for design in proposal.designs],
        "epsilons": [
            {"epsilon": epsilon, "average_noise": noise} for epsilon, noise in proposal.epsilons
        ],
        "reason": proposal.reason,
        "mean_noise": proposal.mean_noise,
        "statistics_limit": proposal.unsure,
    }


def everybody(design: Design) -> str:
    """Who takes part in a step, in words."""
    if design.sampling_rate == 1:
        return "everybody"
    return f"{percent(design.sampling_rate)} of them"


def _facts(proposal: Proposal) -> list[tuple[str, str]]:
    study = proposal.study
    privacy, statement = require_privacy(study), statement_of(study)
    return [
        ("study", f"{study.id}, version {study.version}"),
        ("promise", statement.words()),
        (
            "patients",
            f"about {privacy.patients:,}, of whom {training_patients(study):,.0f} to train on",
        ),
        ("noise", statement.noise),
        ("statistics", _statistics(proposal)),
    ]


def _statistics(proposal: Proposal) -> str:
    """What noise does to the means by which features are standardised."""
    known = f"means are known to about {proposal.mean_noise:.2g} of a typical deviation"
    if not proposal.unsure:
        return known
    return (
        f"{known}: less than the model needs (about {UNSURE:g}), so this limits it and not the "
        "noise of training. Give --statistics a larger share, take fewer features or find more "
        "patients."
    )


def _budget(proposal: Proposal) -> Table:
    made = _table(("for", "share", "releases", "spare", "noise multiplier"), left=1)
    for line in lines(proposal.study):
        steps = "" if line.events_per_task == 1 else f" x {line.events_per_task} steps"
        made.add_row(
            line.purpose.value,
            percent(proposal.shares[line.purpose]),
            f"{line.releases}{steps}",
            f"{line.spare}",
            f"{line.event.noise_multiplier:g}",
            style="bold" if line.purpose is Purpose.TRAINING else None,
        )
    return made


def _designs(proposal: Proposal) -> Table:
    made = _table(
        (
            "",
            "in each step",
            "steps",
            "noise multiplier",
            "noise of a step",
            "left in the model",
            "",
        ),
        left=2,
    )
    made.columns[0].min_width = 2  # the arrow
    longest = max(design.average_noise for design in proposal.designs)
    for design in proposal.designs:
        chosen = design is proposal.chosen
        made.add_row(
            "->" if chosen else "",
            everybody(design),
            f"{design.steps}",
            f"{design.noise_multiplier:g}",
            "drowned" if design.drowned else percent(design.step_noise),
            percent(design.average_noise),
            bar(design.average_noise / longest, chosen=chosen),
            style="bold" if chosen else "dim" if design.drowned else None,
        )
    return made


def _epsilons(proposal: Proposal) -> Table:
    made = _table(("", "epsilon", "left in the model", ""), left=1)
    agreed = require_privacy(proposal.study).epsilon
    longest = max(noise for _, noise in proposal.epsilons)
    for epsilon, noise in proposal.epsilons:
        chosen = epsilon == agreed
        made.add_row(
            "->" if chosen else "",
            short(epsilon),
            percent(noise),
            bar(noise / longest, chosen=chosen),
            style="bold" if chosen else None,
        )
    return made


def bar(share: float, *, chosen: bool) -> Text:
    """A bar of so much of `BAR` characters, to half of one."""
    halves = max(1, round(2 * BAR * share))
    return Text("━" * (halves // 2) + "╸" * (halves % 2), "cyan" if chosen else "dim")


def _table(columns: Sequence[str], left: int) -> Table:
    """Columns of numbers, ranged right, but for the first ``left`` and a last one of bars."""
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        bars = number == len(columns) - 1 and not name
        words = number < left or bars
        # Where the terminal is narrow, the names of numbers are broken, so that no figure is cut.
        widest = max((len(word) for word in name.split()), default=0)
        made.add_column(
            name,
            justify="left" if words else "right",
            no_wrap=words,
            overflow="crop",
            min_width=None if bars else len(name) if words else widest,
        )
    return made


def _titled(title: str, table: Table) -> tuple[RenderableType, ...]:
    return Text(), Text(title, "bold"), table


def _design(design: Design) -> dict[str, JSON]:
    return {
        "sampling_rate": design.sampling_rate,
        "steps": design.steps,
        "noise_multiplier": design.noise_multiplier,
        "patients_per_step": design.patients_per_step,
        "passes": design.passes,
        "step_noise": design.step_noise,
        "average_noise": design.average_noise,
        "drowned": design.drowned,
    }
