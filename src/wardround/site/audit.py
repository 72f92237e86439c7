"""What a hospital says of its packet when a total was garbage: one word, from its own record.

The attacker is the coordinator, which asks about what it likes, as often as it likes. All it learns
is whether the header that it shows is the one that this site signed for that round, and whether the
masked bytes still lie here as they were signed: nothing that depends on a record, nor on a mask.
"""

from __future__ import annotations

from pathlib import Path

from wardround.errors import WardroundError
from wardround.federation.messages import Audit, AuditAnswer, Instruction, PacketHeader, malformed
from wardround.federation.packet import Status, StatusKind
from wardround.site import records
from wardround.site.custody import Custody
from wardround.site.spool import payload_digest
from wardround.store.journalled import JournalledDatabase
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope


def audit(custody: Custody, state: JournalledDatabase, ask: Instruction) -> Status:
    """The signed word about the packet that the coordinator shows as this site's; journalled.

    Works after a restart too: no keys are needed. Raises WR-ROUND-001 when nothing is shown.
    """
    shown = ask.envelopes.get(custody.site)
    if shown is None or ask.round is None or ask.manifest is None:
        raise malformed("instruction")
    said = Audit(
        study=custody.study.digest,
        run=ask.run,
        round=ask.round,
        site=custody.site,
        packet=digest(shown.payload),
        manifest=digest(ask.manifest.payload),
        answer=_answer(custody, state, ask, shown),
    )
    with state.transaction() as transaction:
        transaction.record("audit", round=said.round, packet=said.packet, answer=said.answer)
    return Status(StatusKind.AUDIT, said.sign(custody.key))


def _answer(
    custody: Custody, state: JournalledDatabase, ask: Instruction, shown: Envelope
) -> AuditAnswer:
    assert ask.round is not None and ask.manifest is not None
    with state.database.begin() as connection:
        row = records.packet_row(connection, ask.round)
    if row is None or row.run != ask.run:
        return AuditAnswer.NOT_MINE
    if Envelope.from_json(row.envelope).payload != shown.payload:
        return AuditAnswer.NOT_MINE
    try:
        header = PacketHeader.open(shown, custody.key.public)
    except WardroundError:
        return AuditAnswer.NOT_MINE
    if not row.manifest == header.manifest == digest(ask.manifest.payload):
        return AuditAnswer.OTHER_MANIFEST
    if payload_digest(Path(row.spooled)) != header.payload:
        return AuditAnswer.SPOOL_DIFFERS
    return AuditAnswer.AS_SIGNED
