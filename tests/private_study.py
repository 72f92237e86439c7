"""A study with noise and one hospital's ledger for it, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studies import KEYS, document
from wardround.federation.messages import JournalHead, LedgerHead, Manifest
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.privacy.events import FRACTIONAL_BITS
from wardround.site import tables
from wardround.site.ledger import PrivacyLedger
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.study import HospitalPolicy, Study
from wardround.study.plan import Line, lines
from wardround.trust.canonical import JSON, digest
from wardround.trust.journal import EMPTY_ROOT

ME = SiteName("harbour")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRIVACY: dict[str, JSON] = {
    "epsilon": 1.5,
    "patients": 10_000,
    "rationale": "A test.",
    "statistics": {"noise_multiplier": 20.0},
    "training": {"noise_multiplier": 12.0, "steps": 3},
    "evaluation": {"noise_multiplier": 20.0},
}


def private(version: int = 1, **privacy: JSON) -> Study:
    """A study of the profile private; ``privacy`` replaces keys of its table."""
    return Study.parse(
        document(
            profile="private",
            version=version,
            model={"kind": "logistic", "algorithm": "dp-sgd"},
            privacy=PRIVACY | privacy,
        )
    )


def line(study: Study, purpose: str) -> Line:
    """The plan's line for a purpose."""
    return next(one for one in lines(study) if one.purpose.value == purpose)


def manifest(study: Study, number: int, kind: str = "private_gradient") -> Manifest:
    """A round's manifest, so far as the ledger reads it."""
    return Manifest(
        study=study.digest,
        study_id=study.id,
        run=RunId("run"),
        step=number,
        attempt=0,
        round=RoundId(f"round.{number}"),
        batch=BatchId("batch"),
        index=number,
        task=digest(b"task"),
        kind=kind,
        model=None,
        length=4,
        ring_bits=64,
        fractional_bits=FRACTIONAL_BITS,
        roster=study.site_names,
        setup=digest(b"setup"),
        corrupt=1,
        threshold=3,
        minimum_survivors=3,
        journal=JournalHead(size=0, root=EMPTY_ROOT.hex()),
    )


class Books:
    """A hospital's database and ledger, opened again and again over one folder."""

    def __init__(
        self,
        folder: Path,
        study: Study | None = None,
        site: SiteName = ME,
        hospital: HospitalPolicy | None = None,
    ) -> None:
        self.path = folder / "state.db"
        self.study = study or private()
        self.site = site
        self.hospital = hospital or HospitalPolicy()
        self.now = NOON
        self.rounds = 0
        self.open()

    def open(self) -> None:
        """As the agent does at its start; `verified` is another matter."""
        database = Database.file(self.path, tables.MIGRATIONS)
        self.state = JournalledDatabase(database, tables.journal, "test")
        self.ledger = PrivacyLedger(self.study, self.site, KEYS[self.site].public, self.hospital)

    def close(self) -> None:
        """End the agent."""
        self.state.close()

    def reopen(self, study: Study | None = None, hospital: HospitalPolicy | None = None) -> None:
        """Start again, perhaps with another study or policy."""
        self.close()
        self.study = study or self.study
        self.hospital = hospital or self.hospital
        self.open()

    def charge(self, purpose: str = "training") -> LedgerHead:
        """Charge an answer as the door does."""
        self.rounds += 1
        self.now += timedelta(minutes=1)
        asked = manifest(self.study, self.rounds)
        with self.state.database.begin() as connection:
            entry = self.ledger.propose(connection, line(self.study, purpose), asked, self.now)
        with self.state.transaction() as transaction:
            return self.ledger.charge(transaction, entry)

    def verify(self) -> LedgerHead:
        """The whole chain, checked."""
        with self.state.database.begin() as connection:
            return self.ledger.verify(connection)

    def admit(self) -> None:
        """What the agent asks before a run."""
        with self.state.database.begin() as connection:
            self.ledger.admit(connection, self.now)

    @contextmanager
    def sql(self) -> Iterator[object]:
        """A hand in the database, behind the ledger's back."""
        with self.state.database.begin(write=True) as connection:
            yield connection


def fails(_columns: object, _request: object, _array: object) -> NDArray[np.float64]:
    """A computation that fails, as if because of somebody's record."""
    raise ValueError("a value of a patient")
