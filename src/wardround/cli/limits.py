"""``wardround site limits``: what this host can hold a computation to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wardround.cli.console import Json, emit, say, suggest, table
from wardround.sandbox import BASE_LIMITS, describe, probe, require
from wardround.study.hospital import HospitalPolicy


def limits(
    policy: Annotated[
        Path | None,
        typer.Option(help="A hospital.toml: fail if the host lacks what it requires."),
    ] = None,
    json: Json = False,
) -> None:
    """Print what this host enforces on a computation, found by trying it in a short-lived process.

    Exit code 1 when a limit is missing that the hospital's policy requires.
    """
    required = (
        BASE_LIMITS if policy is None else frozenset(HospitalPolicy.load(policy).required_limits)
    )
    host = probe()
    rows = describe(host)
    emit(
        {**host.to_json(), "required": sorted(required)},
        json,
        human=table(
            ("limit", "here", "required", "what it means"),
            [
                (
                    row.limit.value,
                    "yes" if row.enforced else "no",
                    "yes" if row.limit in required else "",
                    row.meaning if row.enforced else f"{row.meaning}; not here: {row.reason}",
                )
                for row in rows
            ],
        ),
    )
    if policy is not None:
        require(host, required)
        say("This host enforces all that the policy requires.")
    elif required - host.enforced:
        say("Some limits of the default policy are missing here; an agent with it would refuse.")
        suggest("wardround explain WR-SANDBOX-001")
    else:
        say("This host enforces all that the default policy requires.")
