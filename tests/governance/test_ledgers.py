"""Evidence in which a hospital's ledger went back, forked, or was hidden."""

from __future__ import annotations

import pytest

from private_study import manifest, private
from studies import KEYS
from wardround.federation.messages import LedgerHead, PacketHeader
from wardround.governance.case import Case, Unmet
from wardround.governance.evidence import EvidenceFile, RoundRecord
from wardround.governance.ledgers import check_ledgers
from wardround.ids import SiteName
from wardround.trust.canonical import digest, parse_json

STUDY = private()
SITES = STUDY.site_names


def head(size: int, what: str = "") -> LedgerHead:
    return LedgerHead(size=size, digest=digest(f"{what}{size}".encode()))


def run(*rounds: tuple[dict[str, LedgerHead], dict[str, LedgerHead | None]]) -> Case:
    """A run whose rounds are told by what the manifest showed and what was signed in answer."""
    records = []
    for step, (shown, answered) in enumerate(rounds):
        asked = manifest(STUDY, step).model_copy(update={"ledgers": shown})
        envelope = asked.sign(KEYS["coordinator"])
        packets = {
            SiteName(site): PacketHeader(
                study=asked.study,
                run=asked.run,
                step=step,
                round=asked.round,
                task=asked.task,
                manifest=digest(envelope.payload),
                site=site,
                payload=digest(b"payload"),
                size_bytes=1,
                part_bytes=1,
                ledger=ledger,
            ).sign(KEYS[site])
            for site, ledger in answered.items()
        }
        records.append(RoundRecord(manifest=envelope, task={}, packets=packets))
    study = parse_json(STUDY.canonical())
    return Case(EvidenceFile.model_construct(study=study, rounds=tuple(reversed(records))))


def every(size: int) -> dict[str, LedgerHead]:
    return {site: head(size) for site in SITES}


def test_ledgers_that_grew_with_every_answer() -> None:
    some = {site: head(2) for site in SITES[1:]}
    case = run(({}, every(1)), (every(1), some), (every(1) | some, every(7)))
    assert check_ledgers(case).startswith("11 answers, each charged")


def test_a_site_may_have_answered_in_earlier_runs_and_other_studies() -> None:
    check_ledgers(run((every(30), every(31)), (every(31), every(40))))


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ((({}, every(1)), (every(1), every(1))), "without charging"),
        ((({}, every(5)), (every(5), every(2))), "without charging"),
        ((({}, every(5)), ({}, every(6))), "does not show the ledger of harbour"),
        ((({}, every(5)), (every(4), every(6))), "does not show"),
        ((({}, every(5)), (every(5) | {"harbour": head(5, "x")}, every(6))), "of harbour"),
        ((({}, {"harbour": None}),), "names no ledger"),
        (((every(9), every(3)),), "without charging"),
    ],
)
def test_a_ledger_that_went_back_or_was_hidden(rounds: tuple, said: str) -> None:
    with pytest.raises(Unmet, match=said):
        check_ledgers(run(*rounds))
