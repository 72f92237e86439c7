"""What a finished run leaves behind: model, evidence, report and summary."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import orjson
from sqlalchemy import Connection, Row, select

from wardround.algorithms.candidate import Candidate
from wardround.coordinator import streams
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.run_facts import run_facts
from wardround.coordinator.tables import checkpoints, journal, rounds, setups, statements, totals
from wardround.federation.messages import Manifest, ModelVersion, stream_run
from wardround.governance.artefact import encode_model, save_model, sign_model
from wardround.governance.evidence import (
    BatchRecord,
    CohortRecord,
    EvidenceFile,
    JournalRecord,
    ModelRecord,
    PartitionRecord,
    RoundRecord,
    StreamRecord,
)
from wardround.governance.files import write_whole
from wardround.governance.report import ReportData, report_data, save_report
from wardround.governance.summary import save_summary
from wardround.governance.verify import verify
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.store import Blobs
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import sync_folder

Said = dict[str, dict[str, dict[SiteName, Envelope]]]
"""Statements by scope, kind and site."""


@dataclass(frozen=True)
class Published:
    """Where the results lie, and whether the evidence verified."""

    folder: Path
    report: Path
    evidence: Path
    verified: bool


def publish(
    home: CoordinatorHome,
    coordinator: Coordinator,
    candidate: Candidate,
    evidence: EvidenceFile,
) -> Published:
    """Write the results of the finished run and verify the evidence as a stranger would.

    Writes nothing to the database, so that it may run beside the routes. The results appear under
    the run's name all at once; what a crash cut short is written again.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    final = home.results / exchange.run
    folder = home.results / f".{exchange.run}.partial"
    for leftover in (folder, final):
        shutil.rmtree(leftover, ignore_errors=True)
    signature = save_model(
        folder / "model", candidate, coordinator.study, exchange.run, coordinator.key
    )
    evidence.save(folder / "evidence.json")
    study = coordinator.study
    # As a reader of the report would, who has yet to say which study it should be.
    verification = verify(folder / "evidence.json", model=folder / "model")
    with coordinator.state.database.begin() as connection:
        facts = run_facts(connection, coordinator, evidence.journal.leaves)
    data = report_data(
        study,
        candidate,
        run=exchange.run,
        started=facts.started,
        finished=datetime.now(UTC),
        model=digest(signature.payload),
        rounds=facts.rounds,
        setups=facts.setups,
        other_traffic=facts.other_traffic,
        resumed=facts.resumed,
        verification=verification,
    )
    save_results(data, folder)
    sync_folder(folder)
    folder.rename(final)
    sync_folder(home.results)  # the run is called finished next, and then nobody writes them again
    return Published(final, final / "report.html", final / "evidence.json", verification.ok)


def save_results(data: ReportData, folder: Path) -> None:
    """Write the report for people (HTML) and for programs (JSON), and the summary."""
    write_whole(folder / "report.json", (data.model_dump_json(indent=2) + "\n").encode())
    save_report(data, folder / "report.html")
    save_summary(data, folder / "summary.json")


def gather_evidence(coordinator: Coordinator, candidate: Candidate) -> EvidenceFile:
    """Everything signed that led to the model, under a checkpoint of the whole journal.

    To be called where the routes are served: a request that were taken in, or turned away, between
    the checkpoint and the reading would leave a leaf that no checkpoint covers.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    encoded = encode_model(candidate, coordinator.study, exchange.run)
    exchange.save_checkpoint()
    runs = coordinator.runs
    with coordinator.state.database.begin() as connection:
        said = _said(connection)
        batches = connection.scalars(
            select(setups.c.batch).where(setups.c.run.in_(runs)).order_by(setups.c.batch)
        ).all()
        taken = connection.execute(
            select(rounds)
            .where(rounds.c.run.in_(runs))
            .order_by(rounds.c.step, rounds.c.run, rounds.c.attempt)
        ).all()
        opened = {
            row.round: row.total
            for row in connection.execute(select(totals).where(totals.c.run.in_(runs)))
        }
        leaves = connection.scalars(select(journal.c.leaf).order_by(journal.c.index)).all()
        streamed = _streams(connection, exchange.run, said, coordinator.blobs)
        signed = connection.scalars(
            select(checkpoints.c.envelope).order_by(checkpoints.c.size)
        ).all()
    return EvidenceFile(
        study=orjson.loads(coordinator.study.canonical()),
        run=exchange.run,
        approvals=coordinator.enrolment.approved,
        partition=_partition(coordinator),
        batches={
            BatchId(batch): BatchRecord(adverts=said[batch]["advert"], deals=said[batch]["deal"])
            for batch in batches
        },
        rounds=tuple(_round(row, said, opened, coordinator.blobs) for row in taken),
        streams=streamed,
        journal=JournalRecord(
            leaves=tuple(leaves),
            checkpoints=tuple(Envelope.from_json(one) for one in signed),
        ),
        witnesses=said[exchange.run]["witness"],
        model=ModelRecord(
            description=encoded.description,
            weights=encoded.weights,
            signature=sign_model(encoded, coordinator.key),
        ),
    )


def _round(
    row: Row[tuple[object, ...]], said: Said, opened: dict[str, Digest], blobs: Blobs
) -> RoundRecord:
    manifest = Envelope.from_json(row.manifest)
    model = Manifest.from_payload(manifest.payload).model
    total = opened.get(row.round)
    return RoundRecord(
        manifest=manifest,
        task=orjson.loads(row.task),
        model=None if model is None else blobs.get(model),
        packets=said[row.round]["packet"],
        votes=said[row.round]["vote"],
        total=None if total is None else blobs.get(total),
    )


def _streams(
    connection: Connection, run: RunId, said: Said, blobs: Blobs
) -> tuple[StreamRecord, ...]:
    """The streams of a run, in order, each with the cohorts that came to masking."""
    found: list[StreamRecord] = []
    for number in count():
        name = stream_run(run, number)
        versions = streams.load_versions(connection, name)
        if not versions:
            return tuple(found)
        taken = connection.execute(
            select(rounds).where(rounds.c.run == name).order_by(rounds.c.step)
        ).all()
        opened: dict[RoundId, Digest] = {
            row.round: row.total
            for row in connection.execute(select(totals).where(totals.c.run == name))
        }
        first = ModelVersion.from_payload(versions[0].payload)
        found.append(
            StreamRecord(
                run=name,
                task=orjson.loads(streams.load_question(connection, name)),
                model=blobs.get(first.model),
                versions=versions,
                cohorts=tuple(
                    CohortRecord(
                        ready=said[row.round]["ready"],
                        adverts=said[row.round]["advert"],
                        signatures=said[row.round]["cohort"],
                        deals=said[row.round]["deal"],
                        manifest=Envelope.from_json(row.manifest),
                        packets=said[row.round]["packet"],
                        votes=said[row.round]["vote"],
                        total=blobs.get(opened[row.round]) if row.round in opened else None,
                    )
                    for row in taken
                ),
            )
        )
    return tuple(found)


def _said(connection: Connection) -> Said:
    said: Said = defaultdict(lambda: defaultdict(dict))
    for row in connection.execute(select(statements)):
        said[row.scope][row.kind][SiteName(row.site)] = Envelope.from_json(row.envelope)
    return said


def _partition(coordinator: Coordinator) -> PartitionRecord | None:
    draw = None if coordinator.groups is None else coordinator.groups.drawing.draw
    if coordinator.groups is None or draw is None:
        return None
    said = coordinator.groups.drawing.said
    return PartitionRecord(
        draw=draw.number,
        commitments=said("commitment"),
        reveals=said("reveal"),
        acceptances=said("acceptance"),
    )
