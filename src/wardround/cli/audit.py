"""``wardround audit``: attack a study before anybody else does."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, say, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import RenderableType

    from wardround.governance.audit import PrivacyAudit

app = typer.Typer(help="Attack a study before anybody else does.", rich_markup_mode=None)


@app.callback()
def _noun() -> None:
    """Attack a study before anybody else does."""


@app.command()
def privacy(
    study: Annotated[Path, typer.Option("--study", help="The study document; a draft is enough.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A CSV of public records; made-up patients if not given."),
    ] = None,
    page: Annotated[Path, typer.Option(help="Where to write the page.")] = Path(
        "simulated-privacy-audit.html"
    ),
    patients: Annotated[
        int | None,
        typer.Option(help="How many patients to make up; as many as the study states, up to 2000."),
    ] = None,
    canaries: Annotated[
        int | None, typer.Option(help="How many canaries; chosen by the plan if not given.")
    ] = None,
    guesses: Annotated[
        int | None,
        typer.Option(help="How many coins to guess, fixed before the run; 2 % if not given."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the bound on epsilon.")] = 0.95,
    shadows: Annotated[int, typer.Option(min=4, help="How many shadow models.")] = 64,
    targets: Annotated[int, typer.Option(min=2, help="How many models to attack.")] = 16,
    sensitive: Annotated[
        str | None, typer.Option(help="The yes-or-no feature to infer; the first if not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Attack a private study in a simulation, and write what the attacks found as a page.

    Over public or made-up patients, on this machine: no hospital is asked and no budget is spent.
    Exit code 1 when more was learnt than the study claims.
    """
    import numpy as np

    from wardround.governance.audit import Settings, made_up, read_table, run_audit, save_audit
    from wardround.governance.audit.cohort import MINIMUM_PATIENTS
    from wardround.governance.audit.run import usual_settings
    from wardround.privacy.noisy_sums import NoisySums
    from wardround.study import Study
    from wardround.study.plan import carriers, require_privacy

    asked = Study.draft(study)
    usual, _ = usual_settings(asked)
    planted = usual if canaries is None else canaries
    settings = Settings(
        canaries=planted,
        guesses=max(planted // 50, 1) if guesses is None else guesses,
        confidence=confidence,
        shadows=shadows,
        targets=targets,
        sensitive=sensitive,
    )
    generator = np.random.default_rng(secrets.randbits(128))
    if data is None:
        stated = max(MINIMUM_PATIENTS, min(require_privacy(asked).patients, 2000))
        cohort = made_up(asked, stated if patients is None else patients, generator)
    else:
        cohort = read_table(data, asked, generator)
    audit = run_audit(
        asked,
        cohort,
        NoisySums(lambda: secrets.token_bytes(32), carriers(asked, len(asked.sites))),
        _coins,
        generator,
        settings,
        datetime.now(UTC),
        say,
    )
    save_audit(audit, page)
    emit(audit.to_json(), json, human=None if json else _table(audit))
    say(f"Written to {page}: open it in a browser.")
    if audit.exceeded:
        say("The bound lies above the claim: don't start this study. The page says what to do.")
        raise typer.Exit(1)


def _coins(count: int) -> NDArray[np.bool_]:
    import numpy as np

    bits = np.unpackbits(np.frombuffer(secrets.token_bytes((count + 7) // 8), dtype=np.uint8))
    return bits[:count].astype(np.bool_)


def _table(audit: PrivacyAudit) -> RenderableType:
    from wardround.privacy.statement import short

    plan, membership = audit.canaries.plan, audit.membership
    rows = [
        ("simulated over", f"{audit.patients} patients: {audit.source}"),
        ("claim", audit.statement.words()),
        (
            "canaries",
            f"{audit.canaries.correct} of {plan.guesses} guesses right: epsilon at least "
            f"{audit.canaries.epsilon:.2f}, claimed at most {audit.canaries.claim:.4g} "
            f"(delta {short(plan.delta)}, {100 * plan.confidence:g} % confident)",
        ),
        (
            "membership",
            f"{100 * membership.true_positives:.1f} % of members found at 1 % false alarms, "
            f"{100 * audit.allowed_true_positives:.1f} % allowed; area {membership.area:.3f}",
        ),
        (
            "records",
            f"{audit.division.exact} of {audit.division.patients} rebuilt within 1 %; median error "
            f"{audit.division.with_noise:.2g} ({audit.division.without_noise:.1g} without noise)",
        ),
    ]
    if audit.attribute is not None:
        found = audit.attribute.with_noise
        rows.append(
            (
                "attribute",
                f"{audit.attribute.feature}: right for {100 * found.members:.1f} % of members and "
                f"{100 * found.others:.1f} % of others",
            )
        )
    return table(("", ""), rows)
