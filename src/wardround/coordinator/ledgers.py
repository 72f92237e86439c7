"""What the coordinator has heard of the hospitals' privacy ledgers, to show it to all of them.

It has no authority: every head is one that its hospital signed, and sites compare what they are
shown with what they remember (see ``site.witness``).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, insert, select, update

from wardround.coordinator.tables import ledgers, rounds, statements
from wardround.federation.messages import LedgerHead, LedgerReport, PacketHeader
from wardround.ids import RoundId, SiteName
from wardround.trust.dsse import Envelope

_HEAD = select(ledgers).where(ledgers.c.site == bindparam("site"))
_HEADS = select(ledgers.c.site, ledgers.c.size, ledgers.c.digest)
_ADD = insert(ledgers)
_CHANGE = (
    update(ledgers)
    .where(ledgers.c.site == bindparam("b_site"))
    .values(size=bindparam("size"), digest=bindparam("digest"), header=bindparam("header"))
)
_NAMED = (
    update(ledgers).where(ledgers.c.site == bindparam("b_site")).values(round=bindparam("round"))
)


def save(connection: Connection, site: SiteName, envelope: Envelope) -> None:
    """Keep the head in a packet's header that was taken in; nothing for one without a head."""
    head = PacketHeader.from_payload(envelope.payload).ledger
    if head is None:
        return
    row = {**head.model_dump(), "header": envelope.to_json()}
    if not connection.execute(_CHANGE, {"b_site": site, **row}).rowcount:
        connection.execute(_ADD, {"site": site, **row})


def grows(connection: Connection, site: SiteName, head: LedgerHead) -> bool:
    """Whether a site's head comes after what was heard of it last."""
    row = connection.execute(_HEAD, {"site": site}).first()
    return row is None or head.size > row.size


def heads(connection: Connection, roster: Iterable[SiteName]) -> dict[SiteName, LedgerHead]:
    """What a manifest over this roster shows."""
    known = {
        row.site: LedgerHead(size=row.size, digest=row.digest) for row in connection.execute(_HEADS)
    }
    return {site: known[site] for site in roster if site in known}


def named(connection: Connection, sites: Iterable[SiteName], round_: RoundId) -> None:
    """Remember in which round's manifest these sites' heads were shown last."""
    for site in sites:
        connection.execute(_NAMED, {"b_site": site, "round": round_})


def report(connection: Connection, site: SiteName) -> LedgerReport:
    """What a site is told at its start: its own last header, and who saw its head where."""
    row = connection.execute(_HEAD, {"site": site}).first()
    if row is None:
        return LedgerReport()
    header = Envelope.from_json(row.header)
    if row.round is None:
        return LedgerReport(header=header)
    manifest = connection.scalar(select(rounds.c.manifest).where(rounds.c.round == row.round))
    answers = connection.execute(
        select(statements.c.site, statements.c.envelope).where(
            statements.c.scope == row.round, statements.c.kind == "packet"
        )
    )
    return LedgerReport(
        header=header,
        manifest=None if manifest is None else Envelope.from_json(manifest),
        packets={SiteName(one.site): Envelope.from_json(one.envelope) for one in answers},
    )
