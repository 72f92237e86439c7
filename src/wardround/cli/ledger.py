"""``wardround site ledger``: what a hospital's patients have spent, and what is left of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, say, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wardround.errors import WardroundError
    from wardround.site.home import SiteHome
    from wardround.site.ledger import Account, PopulationAccount, StudyAccount
    from wardround.study import Study
    from wardround.study.plan import Line
    from wardround.trust.canonical import JSON


def ledger(
    folder: Annotated[Path, typer.Argument(help="The agent's folder.")], json: Json = False
) -> None:
    """Check the privacy ledger; print what was spent, what is left, and a forecast."""
    from datetime import UTC, datetime

    from wardround.errors import WardroundError
    from wardround.site.home import SiteHome
    from wardround.site.ledger import PrivacyLedger
    from wardround.site.memory import read_memory

    home = SiteHome(folder)
    study = home.study
    book = PrivacyLedger(study, home.name, home.signing_key.public, home.hospital)
    refused = None
    with closing(read_memory(home)) as database, database.begin() as connection:
        book.verify(connection)
        account = book.account(connection)
        try:
            if study.privacy is not None:
                book.admit(connection, datetime.now(UTC))
        except WardroundError as error:
            refused = error
    if json:
        emit(_document(home, study, account, refused), json=True)
        return
    emit(None, human=_shown(study, account, refused))
    last = "" if account.last is None else f", the last one of {account.last:%Y-%m-%d %H:%M} (UTC)"
    say(f"{account.head.size} entries{last}; head {account.head.digest}")


def _document(
    home: SiteHome, study: Study, account: Account, refused: WardroundError | None
) -> dict[str, JSON]:
    population = account.population
    ceiling = population.ceiling
    return {
        "site": home.name,
        "entries": account.head.size,
        "head": account.head.digest,
        "last": None if account.last is None else account.last.isoformat(),
        "study": None if account.study is None else _study_document(study, account.study),
        "population": {
            "name": ceiling.population,
            "epsilon": ceiling.epsilon,
            "delta": ceiling.delta,
            "order": ceiling.order,
            "answers": population.answers,
            "spent": population.spent,
            "left": max(population.budget - population.spent, 0.0),
            "budget": population.budget,
            "plan_left": population.ahead,
            "more_studies": population.more_studies,
        },
        "refused": None if refused is None else refused.code,
    }


def _study_document(study: Study, account: StudyAccount) -> dict[str, JSON]:
    from wardround.site.accounts import noise_of

    return {
        "id": study.id,
        "version": study.version,
        "epsilon": account.epsilon,
        "delta": account.delta,
        "spent": account.spent,
        "earlier_versions": account.earlier,
        "whole_plan": account.whole,
        "lines": [
            {
                "purpose": line.purpose.value,
                "noise": noise_of(line.event),
                "charged": given,
                "planned": line.releases,
                "spare": line.spare,
                "left": max(line.releases + line.spare - given, 0),
            }
            for line, given in account.lines
        ],
    }


def _shown(study: Study, account: Account, refused: WardroundError | None) -> RenderableType:
    from rich.console import Group

    parts: list[RenderableType] = []
    if account.study is None:
        parts.append(
            f"{study.id} adds no noise ({study.profile.value}): nothing is charged for it."
        )
    else:
        parts += _study_shown(study, account.study)
    parts += _population_shown(account.population, account.study is not None)
    if refused is not None:
        parts += ["", f"No answer can be charged now. {refused}"]
    return Group(*parts)


def _study_shown(study: Study, account: StudyAccount) -> list[RenderableType]:
    from wardround.privacy.statement import short
    from wardround.site.accounts import noise_of

    delta = short(account.delta)
    head = (
        f"{study.id}, version {study.version}: epsilon {short(account.spent)} of "
        f"{short(account.epsilon)} spent at delta {delta}"
    )
    if account.earlier:
        head += f", {short(account.earlier)} of it by earlier versions"
    rows = [
        (
            line.purpose.value,
            short(noise_of(line.event)),
            given,
            f"{line.releases} + {line.spare} spare",
            max(line.releases + line.spare - given, 0),
        )
        for line, given in account.lines
    ]
    columns = ("for", "noise", "answers charged", "planned", "left")
    forecast = (
        f"Forecast: {_pace(account.lines)}; with every spare answer used, the plan ends at epsilon "
        f"{short(account.whole)}."
    )
    return [head, "", table(columns, rows), "", forecast]


def _pace(lines: tuple[tuple[Line, int], ...]) -> str:
    """How many answers are to come if no round fails."""
    left = {line.purpose.value: max(line.releases - given, 0) for line, given in lines}
    total = sum(left.values())
    if not total:
        return "the plan's answers are all given"
    each = ", ".join(f"{count} for {name}" for name, count in left.items() if count)
    return f"{total} more {'answer' if total == 1 else 'answers'} by the plan ({each})"


def _population_shown(account: PopulationAccount, planned: bool) -> list[RenderableType]:
    from wardround.privacy.statement import short

    ceiling = account.ceiling
    head = (
        f"All studies on {ceiling.population!r} together: at most epsilon {short(ceiling.epsilon)} "
        f"at delta {short(ceiling.delta)}"
    )
    used = account.spent / account.budget if account.budget else 1.0
    after = (account.spent + account.ahead) / account.budget if account.budget else 1.0
    rows = [
        ("spent", f"{used:.1%}", f"by {account.answers} answers"),
        ("left", f"{max(1 - used, 0.0):.1%}", ""),
    ]
    if planned:
        rows.append(("spent when the plan is over", f"{after:.1%}", "every spare answer included"))
    more = account.more_studies
    closing_words = f"Counted as Rényi divergence of order {ceiling.order}"
    if planned:
        closing_words += (
            f"; {more or 'no'} more {'study' if more == 1 else 'studies'} like this one would fit "
            "after it"
        )
    return ["", head, "", table(("", "", ""), rows), "", f"{closing_words}."]
