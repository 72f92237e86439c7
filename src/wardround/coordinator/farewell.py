"""The end of a run, told to every hospital: when it comes, and again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import orjson

from wardround.coordinator.connecting import names
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Say
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.records import Run
from wardround.coordinator.results import Published
from wardround.errors import WardroundError
from wardround.governance.artefact import DESCRIPTION, SIGNATURE, WEIGHTS, load_model
from wardround.governance.verify import verify
from wardround.ids import RunId, SiteName

FAREWELL_S = 15.0
"""How long to wait for the hospitals to check and countersign the finished model."""

RETURN_S = 30.0
"""By then an agent has tried again that lost the coordinator: twice its longest pause."""

RUN_FAILED = "WR-COORD-080"


async def countersigned(coordinator: Coordinator, expected: int, needed: int) -> None:
    """Wait a while until the hospitals have countersigned; for ``needed``, a round's deadline.

    Without those the evidence does not verify, and after a restart hospitals may take longer to
    come back than replaying the run takes.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (count := len(exchange.witnesses)) < expected:
        patience = FAREWELL_S if count >= needed else coordinator.study.cohort.deadline_s
        left = started + patience - loop.time()
        if left <= 0:
            return
        await exchange.changed.wait_for(left)


async def see_off(
    coordinator: Coordinator, sites: Collection[SiteName], for_s: float, *, all_sign: bool = False
) -> None:
    """Wait until these hospitals know that the run is over, for so many seconds at most.

    With ``all_sign`` for as long as it takes, while a countersignature is missing.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    while not exchange.departed.issuperset(sites):
        left = until - loop.time()
        if left <= 0:
            if not all_sign or exchange.witnesses.issuperset(sites):
                return
            left = for_s
        await exchange.changed.wait_for(left)


async def stay(coordinator: Coordinator, say: Say, *, once: bool) -> None:
    """Stay up for hospitals that may not know of the run's end, and say for whom and how long.

    An agent whose answer was lost with an earlier process tries again within `RETURN_S`, though it
    has countersigned; else it would ask for ever. With ``once`` that is all; without, a
    countersignature that is missing is waited for.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    sites = coordinator.study.site_names
    unsigned = [site for site in sites if site not in exchange.witnesses]
    away = [site for site in sites if site not in exchange.departed]
    if not away:
        return
    if once or not unsigned:
        say("stays", {"for": names(unsigned or away), "at_most_s": RETURN_S})
    else:
        say("stays", {"for": names(unsigned), "until": "they have countersigned"})
    await see_off(coordinator, sites, RETURN_S, all_sign=not once)


def tell_again(home: CoordinatorHome, coordinator: Coordinator, run: Run) -> Published:
    """Serve the end of a run that has ended to hospitals that were away, and give its results.

    Raises WR-COORD-080 for one that failed, which the hospitals are told from then on, and
    WR-COORD-081 where the results of a finished one are gone.
    """
    exchange = coordinator.reopen(run.run)
    if run.state != "finished":
        exchange.stop(run.reason or "")
        raise WardroundError(
            RUN_FAILED,
            f"The run {run.run} failed: {run.reason}",
            "Nothing is repeated by itself. When its cause is mended, start another run with "
            "`wardround coordinator serve --new-run`.",
        )
    folder = home.results / run.run
    model = folder / "model"
    try:
        load_model(model, coordinator.key.public)
        description, signature, weights = (
            (model / name).read_bytes() for name in (DESCRIPTION, SIGNATURE, WEIGHTS)
        )
    except (OSError, WardroundError) as error:
        raise WardroundError(
            "WR-COORD-081",
            f"The run {run.run} has finished, and its published model is gone or damaged.",
            "Restore the folder from a backup, so that hospitals that were away can have the "
            "model. Another run begins with `wardround coordinator serve --new-run`.",
            path=str(model),
        ) from error
    exchange.finish(
        {"description": description.decode(), "signature": orjson.loads(signature)}, weights
    )
    evidence = folder / "evidence.json"
    verified = evidence.exists() and verify(evidence, model=model).ok
    return Published(folder, folder / "report.html", evidence, verified)


def require_no_other(run: Run | None) -> None:
    """Refuse to begin another run beside one that has not ended; raises WR-COORD-082."""
    if run is not None and run.state == "running":
        raise going_on(run.run)


def going_on(run: RunId) -> WardroundError:
    """The refusal of another run while this one goes on."""
    return WardroundError(
        "WR-COORD-082",
        f"The run {run} has not ended, so no other one begins.",
        "Start `wardround coordinator serve` without --new-run: it goes on with that run.",
    )
