"""What a site hears whose contribution comes when the round has gone on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardround.coordinator import records
from wardround.errors import WardroundError
from wardround.federation.round import RoundPhase
from wardround.ids import RoundId, SiteName

if TYPE_CHECKING:
    from wardround.coordinator.exchange import Exchange


def require_in_time(exchange: Exchange, site: SiteName, round_: RoundId) -> None:
    """Tell a site that was asked, and comes when the round has gone on, that this is so.

    How long it took is learnt all the same, of a round that failed as well. Raises WR-ROUND-030
    where the round went on.
    """
    state = exchange.round_ahead
    if state is None or not round_.startswith(f"{exchange.run}.r."):
        return
    if state.round != round_:
        with exchange.state.database.begin() as connection:
            earlier = records.find_round(connection, round_)
        if earlier is None:
            return
        state = earlier
    if state.phase is RoundPhase.COLLECT or not state.was_late(site):
        return
    took = exchange.stopwatch.answered(site, round_, "packet")
    if took is not None:
        with exchange.state.database.begin(write=True) as connection:
            exchange.stopwatch.learn(connection, site, *took)
    if state.phase is RoundPhase.FAILED:
        return
    raise WardroundError(
        "WR-ROUND-030",
        f"The contribution to step {state.step} came when the round had gone on without it.",
        "Nothing is to be done: this hospital takes part in the next round.",
    )
