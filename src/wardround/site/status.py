"""How an agent is doing, from its own folder: for the steward, and nobody outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from sqlalchemy import Connection, bindparam, func, select

from wardround.errors import WardroundError
from wardround.site import tables
from wardround.site.home import SiteHome
from wardround.site.ledger import PrivacyLedger
from wardround.site.pulse import Life
from wardround.store.reading import reading
from wardround.trust.journal import Entry

REFUSALS = 5
"""So many of the latest refusals are shown; the journal has all."""

_LATEST = (
    select(tables.journal.c.leaf)
    .where(func.instr(tables.journal.c.leaf, bindparam("needle")) > 0)
    .order_by(tables.journal.c.index.desc())
    .limit(bindparam("most"))
)


@dataclass(frozen=True)
class Answered:
    """What was asked last and answered with a packet."""

    asks: str
    round: str
    at: str | None


@dataclass(frozen=True)
class RefusedHere:
    """A refusal with its reason, which only this hospital knows."""

    scope: str
    code: str
    at: str | None
    incident: str | None
    """What the coordinator's operator has on his screen for the same event."""


@dataclass(frozen=True)
class Allowance:
    """What the study has spent of its epsilon here; ``entries`` are those of the whole ledger."""

    entries: int
    spent: float
    epsilon: float


@dataclass(frozen=True)
class SiteStatus:
    """All of it. ``renews`` is about when the certificate is renewed: at half of its life."""

    site: str
    study: str | None
    url: str
    life: Life
    answers: int
    answered: Answered | None
    refusals: tuple[RefusedHere, ...]
    expires: datetime | None
    renews: datetime | None
    allowance: Allowance | None
    ledger_code: str | None
    """The code with which the ledger refuses, if it does."""


def status(home: SiteHome, now: datetime) -> SiteStatus:
    """How the agent of this folder is doing; it may be running meanwhile."""
    expires, renews = _certificate(home)
    path = home.folder / "state.db"
    answers, answered = 0, None
    refusals: tuple[RefusedHere, ...] = ()
    allowance, ledger_code = None, None
    if path.exists():
        with reading(path, tables.MIGRATIONS) as connection:
            answers = connection.scalar(select(func.count()).select_from(tables.packets)) or 0
            answered = next(_answers(connection), None)
            refusals = tuple(_refusals(connection))
            try:
                allowance = _allowance(home, connection)
            except WardroundError as error:
                ledger_code = error.code
    return SiteStatus(
        site=home.name,
        study=f"{home.study.id} v{home.study.version}" if home.has_study else None,
        url=home.url,
        life=Life.load(home.folder, now),
        answers=answers,
        answered=answered,
        refusals=refusals,
        expires=expires,
        renews=renews,
        allowance=allowance,
        ledger_code=ledger_code,
    )


def _certificate(home: SiteHome) -> tuple[datetime | None, datetime | None]:
    with suppress(OSError, ValueError):
        found = x509.load_pem_x509_certificate(home.certificate_path.read_bytes())
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        return ends, begins + (ends - begins) / 2
    return None, None


def _answers(connection: Connection) -> Iterator[Answered]:
    for facts in _entries(connection, "packet", 1):
        yield Answered(str(facts["asks"]), str(facts["round"]), _text(facts.get("at")))


def _refusals(connection: Connection) -> Iterator[RefusedHere]:
    for facts in _entries(connection, "refused", REFUSALS):
        number, at = _text(facts.get("incident")), _text(facts.get("at"))
        yield RefusedHere(str(facts["scope"]), str(facts["code"]), at, number)


def _entries(connection: Connection, kind: str, most: int) -> Iterator[dict[str, object]]:
    """The facts of the latest entries of a kind, the last one first."""
    needle = f',"kind":"{kind}"}}'.encode()  # canonical: it ends the leaf
    for leaf in connection.scalars(_LATEST, {"needle": needle, "most": most}):
        yield dict(Entry.from_leaf(leaf).facts)


def _allowance(home: SiteHome, connection: Connection) -> Allowance | None:
    """The ledger in a line, in a study with noise; `wardround site ledger` has all of it."""
    if not home.has_study or home.study.privacy is None:
        return None
    book = PrivacyLedger(home.study, home.name, home.signing_key.public, home.hospital)
    book.verify(connection)
    account = book.account(connection)
    if account.study is None:
        return None
    return Allowance(account.head.size, account.study.spent, account.study.epsilon)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
