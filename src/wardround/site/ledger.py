"""The hospital's privacy ledger: every answer of a study with noise, charged before it leaves.

The attacker is the coordinator, which asks again, restarts and proposes new versions of a study;
a careless operator, who restores yesterday's database; and time. An entry is written in the
transaction that also holds the packet's row and a journal leaf, and is on disk before anything is
sent; it is never taken back. Sending the same bytes again needs no new one.

What the arithmetic is stands in `accounts`, what an entry and the chain are in `entry`, and how
other hospitals keep this one from forgetting in `witness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select

from wardround.errors import WardroundError
from wardround.federation.messages import LedgerHead, Manifest
from wardround.ids import SiteName
from wardround.privacy.accountant import best_order, filter_budget, rdp
from wardround.privacy.accountant import epsilon as price
from wardround.site.accounts import (
    Accounts,
    Population,
    check_clock,
    check_line,
    check_population,
    check_study,
    check_version,
)
from wardround.site.entry import Ceiling, EventRecord, LedgerEntry, genesis, read_chain
from wardround.site.tables import journal as leaves
from wardround.site.tables import ledger
from wardround.store.journalled import Transaction
from wardround.study import HospitalPolicy, Study
from wardround.study.plan import Line, lines, require_privacy
from wardround.study.price import releases
from wardround.trust.journal import Entry
from wardround.trust.keys import VerifyKey

LEAF = "charge"
"""The kind of the journal leaf that every entry has beside it."""

_LAST = select(func.max(ledger.c.sequence))
_DIGEST = select(ledger.c.digest).where(ledger.c.sequence == bindparam("sequence"))
_ROWS = (
    select(ledger.c.sequence, ledger.c.digest, ledger.c.entry)
    .where(ledger.c.sequence >= bindparam("start"))
    .order_by(ledger.c.sequence)
)
_LEAVES = select(leaves.c.leaf).order_by(leaves.c.index)
_ADD = insert(ledger)


class PrivacyLedger:
    """The ledger of one hospital, on behalf of one study.

    ``key`` is the hospital's signing key, ``hospital`` its policy. The chain is over all studies
    of the folder, and so is the population's account.
    """

    def __init__(
        self, study: Study, site: SiteName, key: VerifyKey, hospital: HospitalPolicy
    ) -> None:
        self._study = study
        self._ceilings = hospital.privacy
        self._genesis = genesis(site, key)
        self._accounts = Accounts(self._genesis)
        self._whole: tuple[int, float] | None = None
        """The plan's epsilon with what earlier versions spent, by how many versions there were."""

    def verify(self, connection: Connection) -> LedgerHead:
        """Check the whole chain, and against the journal; its head. To be called at every start.

        Raises WR-SITE-090 where entries are missing at the end, WR-SITE-091 to -093 for a chain
        that was altered (see `read_chain`), WR-SITE-104 where the journal knows other entries.
        """
        accounts = Accounts(self._genesis)
        try:
            _read(connection, accounts)
            recorded = list(_recorded(connection))
            _compare(connection, accounts, recorded)
        except WardroundError as error:
            raise WardroundError(
                error.code,
                f"{error.problem} In what can be read, {accounts.words()}.",
                error.remedy,
            ) from error
        self._accounts = accounts
        return accounts.head

    def head(self, connection: Connection) -> LedgerHead:
        """The number of entries, and the digest of the last one."""
        return self._current(connection).head

    def words(self, connection: Connection) -> str:
        """What was spent, in a few words for an error."""
        return self._current(connection).words()

    def digest_at(self, connection: Connection, size: int) -> str | None:
        """The head's digest when there were ``size`` entries; None before there were as many."""
        if size == 0:
            return self._genesis.digest
        found: str | None = connection.scalar(_DIGEST, {"sequence": size - 1})
        return found

    def admit(self, connection: Connection, now: datetime) -> None:
        """Refuse, before a run, a study that can't be carried through with what is left.

        What the plan has left is compared with what is left of the population's account. Raises
        WR-SITE-095, -097 to -099 and -100.
        """
        accounts = self._current(connection)
        check_clock(accounts, now)
        study = self._study
        check_version(accounts, study)
        self._check_study(accounts)
        ceiling, account, budget = self._population(accounts)
        cost = self._ahead(accounts, ceiling.order)
        check_population(ceiling.population, account, budget, cost, whole=True)

    def check(self, connection: Connection, line: Line, now: datetime) -> None:
        """Refuse an answer that can't be charged under ``line``; raises WR-SITE-095 to -102."""
        accounts = self._current(connection)
        check_clock(accounts, now)
        check_version(accounts, self._study)
        check_line(accounts, self._study, line)
        self._check_study(accounts)
        ceiling, account, budget = self._population(accounts)
        check_population(ceiling.population, account, budget, _cost(line, ceiling.order))

    def propose(
        self, connection: Connection, line: Line, manifest: Manifest, now: datetime
    ) -> LedgerEntry:
        """The entry that answering ``manifest`` would be; its head goes into the packet's header.

        Nothing is written. Raises as `check`.
        """
        self.check(connection, line, now)
        accounts = self._accounts
        ceiling, _, _ = self._population(accounts)
        return LedgerEntry(
            sequence=accounts.head.size,
            previous=accounts.head.digest,
            at=now.isoformat(timespec="seconds"),
            study=self._study.digest,
            study_id=self._study.id,
            version=self._study.version,
            run=manifest.run,
            round=manifest.round,
            purpose=line.purpose.value,
            kind=manifest.kind,
            event=EventRecord.of(line.event),
            count=line.events_per_task,
            rdp=_rdp(line, ceiling.order),
            ceiling=ceiling,
        )

    def charge(self, transaction: Transaction, entry: LedgerEntry) -> LedgerHead:
        """Write a proposed entry, with its journal leaf, in the transaction that precedes sending.

        Its head is for this transaction: nothing here counts on it before it is committed.
        Raises WR-SITE-103 where something else was charged since it was proposed.
        """
        connection = transaction.connection
        if self._current(connection).head != LedgerHead(size=entry.sequence, digest=entry.previous):
            raise WardroundError(
                "WR-SITE-103",
                "Something else was charged to the privacy ledger in the meantime.",
                "The agent refuses and goes on. Make sure that only one agent uses this folder.",
            )
        head = entry.head
        connection.execute(
            _ADD,
            {"sequence": entry.sequence, "digest": head.digest, "entry": entry.to_payload()},
        )
        transaction.record(
            LEAF,
            sequence=entry.sequence,
            entry=head.digest,
            study=entry.study,
            round=entry.round,
            purpose=entry.purpose,
            at=entry.at,
        )
        return head

    def account(self, connection: Connection) -> Account:
        """What was spent and what is left of both accounts, and what the plan will come to."""
        accounts = self._current(connection)
        ceiling, population, budget = self._population(accounts)
        study = None if self._study.privacy is None else self._study_account(accounts)
        shown = PopulationAccount(
            ceiling=ceiling,
            answers=population.answers,
            spent=population.spent,
            budget=max(budget, 0.0),
            ahead=0.0 if study is None else self._ahead(accounts, ceiling.order),
            whole=0.0 if study is None else _whole(self._study, ceiling.order),
        )
        return Account(accounts.head, accounts.last, study, shown)

    def _study_account(self, accounts: Accounts) -> StudyAccount:
        study = self._study
        privacy = require_privacy(study)
        delta = privacy.delta_in_force
        version, earlier = accounts.version(study), accounts.earlier(study)
        return StudyAccount(
            epsilon=privacy.epsilon,
            delta=delta,
            spent=price((*version.events.items(), *earlier.items()), delta),
            earlier=price(earlier.items(), delta),
            whole=price((*releases(study), *earlier.items()), delta),
            lines=tuple((line, version.answers[line.purpose.value]) for line in lines(study)),
        )

    def _ahead(self, accounts: Accounts, order: int) -> float:
        """What all answers that the plan has left cost the population."""
        given = accounts.version(self._study).answers
        return sum(
            _cost(line, order) * max(line.releases + line.spare - given[line.purpose.value], 0)
            for line in lines(self._study)
        )

    def _check_study(self, accounts: Accounts) -> None:
        """The plan's price depends on nothing but what other versions have spent."""
        others = accounts.earlier(self._study).total()
        if self._whole is None or self._whole[0] != others:
            self._whole = others, check_study(accounts, self._study)

    def _population(self, accounts: Accounts) -> tuple[Ceiling, Population, float]:
        """The account's terms, what it was charged, and its budget at its order."""
        own = self._ceilings
        account = accounts.populations.get(own.population)
        if account is None:
            account = Population(best_order(own.epsilon, own.delta))
        ceiling = Ceiling(
            population=own.population, epsilon=own.epsilon, delta=own.delta, order=account.order
        )
        return ceiling, account, filter_budget(own.epsilon, own.delta, account.order)

    def _current(self, connection: Connection) -> Accounts:
        """The sums over the entries that the database has, in whatever transaction this is.

        Entries that were added since are read. Whatever is known here was committed once, as a
        proposed entry is taken in when it is seen the next time; so a database that lacks it was
        exchanged under the agent's feet: WR-SITE-105.
        """
        accounts = self._accounts
        known = accounts.head
        if self.digest_at(connection, known.size) != known.digest:
            raise WardroundError(
                "WR-SITE-105",
                f"The privacy ledger is not the one any more that this agent has read: of that, "
                f"{accounts.words()}.",
                "Stop the agent, restore state.db from the latest backup and tell the studies' "
                "coordinators.",
            )
        last = connection.scalar(_LAST)
        if last is not None and last >= known.size:
            _read(connection, accounts)
        return accounts


@dataclass(frozen=True)
class StudyAccount:
    """A study's account in epsilons at ``delta``: the ceiling, what was ``spent`` in all, what
    ``earlier`` versions spent of it, and what the ``whole`` plan will have come to with these.

    ``lines`` are the plan's lines, each with the answers that were charged.
    """

    epsilon: float
    delta: float
    spent: float
    earlier: float
    whole: float
    lines: tuple[tuple[Line, int], ...]


@dataclass(frozen=True)
class PopulationAccount:
    """A population's account in Rényi divergences at the ceiling's order.

    ``ahead`` is what the answers cost that the study's plan has left, ``whole`` what a plan like
    it costs from the beginning.
    """

    ceiling: Ceiling
    answers: int
    spent: float
    budget: float
    ahead: float
    whole: float

    @property
    def more_studies(self) -> int:
        """How many more studies like this one will fit when this one is over."""
        left = self.budget - self.spent - self.ahead
        return max(int(left / self.whole), 0) if self.whole > 0 else 0


@dataclass(frozen=True)
class Account:
    """Both accounts, and the head of the ledger that says so."""

    head: LedgerHead
    last: datetime | None
    study: StudyAccount | None
    population: PopulationAccount


def _rdp(line: Line, order: int) -> float:
    return float(rdp(line.event, (order,))[0])


def _whole(study: Study, order: int) -> float:
    """What the whole plan costs."""
    return sum(_rdp(line, order) * line.events for line in lines(study))


def _cost(line: Line, order: int) -> float:
    """What one answer under ``line`` costs."""
    return _rdp(line, order) * line.events_per_task


def _read(connection: Connection, accounts: Accounts) -> None:
    """Take in all entries beyond what ``accounts`` holds."""
    rows = connection.execute(_ROWS, {"start": accounts.head.size})
    for entry in read_chain(accounts.head, (tuple(row) for row in rows)):
        accounts.add(entry)


def _recorded(connection: Connection) -> Iterator[tuple[int, str]]:
    """Sequence and digest of each charge in the journal."""
    ending = f'"kind":"{LEAF}"}}'.encode()
    for leaf in connection.scalars(_LEAVES):
        if leaf.endswith(ending):
            facts = Entry.from_leaf(leaf).facts
            yield int(str(facts["sequence"])), str(facts["entry"])


def _compare(connection: Connection, accounts: Accounts, recorded: list[tuple[int, str]]) -> None:
    """The journal holds exactly the ledger's entries: one copy can't be mended to hide another."""
    rows = connection.execute(_ROWS, {"start": 0})
    kept = [(sequence, digest) for sequence, digest, _ in rows]
    if len(kept) < len(recorded) and kept == recorded[: len(kept)]:
        raise WardroundError(
            "WR-SITE-090",
            f"The privacy ledger ends after {len(kept)} entries, and the journal beside it has "
            f"{len(recorded)}: it was cut short.",
            "The agent answers no private study any more. Restore state.db from the latest backup "
            "and tell the studies' coordinators.",
        )
    if kept != recorded:
        raise WardroundError(
            "WR-SITE-104",
            "The privacy ledger and the journal beside it have different entries.",
            "The agent answers no private study any more. Restore state.db from the latest backup "
            "and tell the studies' coordinators.",
        )
    assert accounts.head.size == len(kept)
