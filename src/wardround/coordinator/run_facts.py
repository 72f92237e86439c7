"""What a coordinator's database says of a run for its report: rounds, set-ups, times and bytes.

All of it is read from what was committed, so it is the same whichever process writes the report,
and however often the coordinator was started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from sqlalchemy import Connection, Row, select

from wardround.coordinator import records, streams, traffic
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.counted import records_of
from wardround.coordinator.tables import rounds, runs, setups
from wardround.federation.messages import Manifest, group_of
from wardround.federation.round import RoundPhase
from wardround.federation.setup import SetupPhase
from wardround.governance.report import RoundFacts, SetupFacts, SiteTraffic
from wardround.ids import RunId, SiteName
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Entry


@dataclass(frozen=True)
class RunFacts:
    """When a run began and was gone on with, what was done in it, and what was moved.

    ``other_traffic`` is by scope what belongs to no round and to no set-up.
    """

    started: datetime
    resumed: tuple[datetime, ...]
    setups: tuple[SetupFacts, ...]
    rounds: tuple[RoundFacts, ...]
    other_traffic: dict[str, dict[str, SiteTraffic]]


def run_facts(
    connection: Connection, coordinator: Coordinator, leaves: Iterable[bytes]
) -> RunFacts:
    """The facts of the run that is open; ``leaves`` are those of the journal."""
    assert coordinator.exchange is not None
    run = coordinator.exchange.run
    started = connection.scalar(select(runs.c.started_at).where(runs.c.run == run))
    assert started is not None
    moved = {
        scope: {str(site): SiteTraffic(**vars(one)) for site, one in by_site.items()}
        for scope, by_site in traffic.load(connection, run).items()
    }
    made = _setups(connection, coordinator, moved)
    taken = _rounds(connection, coordinator, moved)
    shown = {one.batch for one in made} | {one.round for one in taken}
    return RunFacts(
        started=started.replace(tzinfo=UTC),
        resumed=_resumed(run, leaves),
        setups=made,
        rounds=taken,
        other_traffic={scope: one for scope, one in moved.items() if scope not in shown},
    )


def _resumed(run: RunId, leaves: Iterable[bytes]) -> tuple[datetime, ...]:
    """When a coordinator that had been away went on with the run, as the journal has it."""
    facts = (one.facts for one in map(Entry.from_leaf, leaves) if one.kind == "resumed")
    return tuple(datetime.fromisoformat(str(one["at"])) for one in facts if one["run"] == run)


def _setups(
    connection: Connection, coordinator: Coordinator, moved: Mapping[str, dict[str, SiteTraffic]]
) -> tuple[SetupFacts, ...]:
    query = select(setups).where(setups.c.run.in_(coordinator.runs))
    found = []
    for row in connection.execute(query.order_by(setups.c.started_at, setups.c.batch)):
        state = records.SETUP.validate_json(row.state)
        if row.started_at is None:  # by a version that kept no times
            continue
        found.append(
            SetupFacts(
                batch=row.batch,
                group=_group(row.run),
                started=row.started_at.replace(tzinfo=UTC),
                seconds=records.lasted_s(row.started_at, row.phase_at)
                if state.phase in (SetupPhase.READY, SetupPhase.FAILED)
                else 0.0,
                completed=state.phase is SetupPhase.READY,
                traffic=moved.get(row.batch, {}),
            )
        )
    return tuple(found)


def _rounds(
    connection: Connection, coordinator: Coordinator, moved: Mapping[str, dict[str, SiteTraffic]]
) -> tuple[RoundFacts, ...]:
    opened = coordinator.exchange
    assert opened is not None
    streamed = streams.runs(connection, opened.run)
    names = (*coordinator.runs, *streamed)
    in_time = (rounds.c.started_at,) if streamed else ()
    query = (
        select(rounds)
        .where(rounds.c.run.in_(names))
        .order_by(*in_time, rounds.c.step, rounds.c.run, rounds.c.attempt)
    )
    groups = coordinator.groups
    cohorts = {opened.run: opened.sites} if groups is None else groups.cohorts
    facts = []
    for row in connection.execute(query).all():
        # A late cohort is whoever was ready: nobody is left out of it.
        late = row.run in streamed
        facts.append(
            _round(connection, coordinator, row, None if late else cohorts[row.run], moved)
        )
    return tuple(facts)


def _round(
    connection: Connection,
    coordinator: Coordinator,
    row: Row[tuple[object, ...]],
    cohort: tuple[SiteName, ...] | None,
    moved: Mapping[str, dict[str, SiteTraffic]],
) -> RoundFacts:
    """A round's facts; ``cohort`` is whose totals are opened there, None for a late cohort."""
    state = records.ROUND.validate_json(row.state)
    manifest = Manifest.from_payload(Envelope.from_json(row.manifest).payload)
    done = state.phase is RoundPhase.DONE
    asked = state.roster if cohort is None else cohort
    counted = done and cohort is not None
    lasted_s = records.lasted_s(row.started_at, row.phase_at) if state.over else 0.0
    return RoundFacts(
        round=row.round,
        step=row.step,
        attempt=row.attempt,
        group=_group(row.run),
        kind=manifest.kind,
        started=row.started_at.replace(tzinfo=UTC),
        seconds=lasted_s or row.seconds or 0.0,
        completed=done,
        reason=state.reason or "",
        survivors=state.survivors,
        dropped=state.dropped,
        not_asked=tuple(sorted(set(asked) - set(state.roster))),
        records=records_of(connection, coordinator, row, manifest, len(asked)) if counted else None,
        opened_numbers=orjson.loads(row.task)["length"] if done else 0,
        bytes_in=len(state.packets) * manifest.payload_bytes,
        traffic=moved.get(row.round, {}),
        refused=()
        if coordinator.study.privacy is not None
        else tuple(sorted(state.refused - state.packets)),
    )


def _group(run: str) -> int | None:
    place = group_of(RunId(run))
    return None if place is None else place[1]
