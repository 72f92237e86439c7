"""Evidence of a run whose hospitals trained at their own pace, and what its verification finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from ward import SITES, open_ward, until
from wardround.algorithms.plan import run_study
from wardround.coordinator.federate import federate
from wardround.coordinator.results import gather_evidence, publish
from wardround.federation.messages import ModelVersion
from wardround.governance import EvidenceFile, verify
from wardround.governance.artefact import encode_model, sign_model
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

STUDY = {
    "model": {
        "kind": "logistic",
        "algorithm": "fedavg",
        "fedavg": {"rounds": 4, "learning_rate": 0.5, "server": "fedadam"},
    },
    "cohort": {"asynchronous": {"sites": 3}},
    "adversary": {"corrupt_sites": 0},
}


class _Home:
    def __init__(self, folder: Path) -> None:
        self.results = folder


async def play(folder: Path, server: str = "fedadam") -> tuple[EvidenceFile, object]:
    fedavg = {**STUDY["model"]["fedavg"], "server": server}
    study = {**STUDY, "model": {**STUDY["model"], "fedavg": fedavg}}
    async with open_ward(folder, start=False, **study) as ward:
        for hospital in ward.hospitals.values():
            hospital._ending = lambda documents, _model: digest(
                Envelope.from_json(documents["signature"]).payload
            )
            await hospital.start()
        coordinator = ward.coordinator
        await coordinator.wait_for_sites(len(SITES), 10.0)
        exchange = coordinator.open_run()
        candidate = await asyncio.wait_for(run_study(await federate(coordinator)), 110)
        model = encode_model(candidate, ward.study, exchange.run)
        signature = orjson.loads(sign_model(model, coordinator.key).to_json())
        exchange.finish(
            {"description": model.description.decode(), "signature": signature}, model.weights
        )
        await until(lambda: len(exchange.witnesses) == len(SITES))
        evidence = gather_evidence(coordinator, candidate)
        published = publish(_Home(folder / "results"), coordinator, candidate, evidence)
        return evidence, published


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvidenceFile, object]:
    return asyncio.run(play(tmp_path_factory.mktemp("streamed")))


def failed(evidence: EvidenceFile) -> set[str]:
    return {check.name for check in verify(evidence).checks if not check.ok}


def test_a_streamed_run_verifies_and_says_what_of_the_stream_was_checked(finished) -> None:
    evidence, published = finished
    report = verify(EvidenceFile.load(published.evidence))
    assert report.ok and published.verified, [one for one in report.checks if not one.ok]
    (late,) = [check for check in report.checks if check.name == "Late cohorts"]
    assert late.detail.startswith("4 late cohorts")
    (replayed,) = [check for check in report.checks if check.name == "Replay"]
    assert str(len(evidence.rounds) + 4) in replayed.detail
    assert any("staleness" in line for line in report.not_checked)
    (stream,) = evidence.streams
    assert [len(one.packets) for one in stream.cohorts] == [3] * 4
    assert len(stream.versions) == 5
    assert "averages of whoever was ready" in published.report.read_text()


async def test_the_replay_weighs_what_is_stale_as_the_run_did(tmp_path: Path) -> None:
    """With ``fedasync`` the divisor follows from the ready statements, and from nothing summed."""
    evidence, published = await play(tmp_path, "fedasync")
    assert published.verified
    (stream,) = evidence.streams
    versions = [ModelVersion.from_payload(one.payload).model for one in stream.versions]
    stale = [
        site
        for number, one in enumerate(stream.cohorts)
        for site, ready in one.ready.items()
        if orjson.loads(ready.payload)["model"] != versions[number]
    ]
    assert stale, "four hospitals in cohorts of three: somebody waited"


Change = Callable[[dict], None]


def without(kind: str) -> Change:
    def change(cohort: dict) -> None:
        cohort[kind] = dict(list(cohort[kind].items())[1:])

    return change


def exchanged(kind: str) -> Change:
    def change(cohort: dict) -> None:
        (one, first), (two, second), *_ = cohort[kind].items()
        cohort[kind] |= {one: second, two: first}

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without("ready"), "Late cohorts"),
        (without("signatures"), "Late cohorts"),
        (without("deals"), "Late cohorts"),
        (exchanged("ready"), "Late cohorts"),
        (exchanged("adverts"), "Late cohorts"),
        (exchanged("signatures"), "Late cohorts"),
        (without("packets"), "Journal"),
        (without("votes"), "Journal"),
        (exchanged("packets"), "Packets"),
        (exchanged("votes"), "Survivor votes"),
        (lambda cohort: cohort.update(total=None), "Journal"),
        (lambda cohort: cohort.update(total=cohort["total"][::-1]), "Journal"),
    ],
)
def test_what_is_altered_in_a_cohort_is_found(finished, change: Change, found: str) -> None:
    evidence, _ = finished
    (stream,) = evidence.streams
    cohort = dict(stream.cohorts[1])
    change(cohort)
    cohorts = (stream.cohorts[0], type(stream.cohorts[1])(**cohort), *stream.cohorts[2:])
    altered = stream.model_copy(update={"cohorts": cohorts})
    assert found in failed(evidence.model_copy(update={"streams": (altered,)}))


def test_a_cohort_a_version_or_a_whole_stream_that_is_left_out_is_missed(finished) -> None:
    evidence, _ = finished
    (stream,) = evidence.streams

    def found(**changes: object) -> set[str]:
        altered = stream.model_copy(update=changes)
        return failed(evidence.model_copy(update={"streams": (altered,)}))

    assert {"Late cohorts", "Journal", "Replay"} <= found(cohorts=stream.cohorts[:-1])
    assert {"Late cohorts", "Replay"} <= found(versions=stream.versions[:-1])
    assert {"Late cohorts", "Replay"} <= found(versions=stream.versions[::-1])
    assert "Late cohorts" in found(cohorts=stream.cohorts[::-1])
    assert {"Journal", "Replay"} <= failed(evidence.model_copy(update={"streams": ()}))
