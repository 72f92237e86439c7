"""After a total that is garbage: whose packet explains it, without opening anybody's contribution.

Every survivor is shown the header that stands under its name and says one word about it; the
coordinator hashes its own copies of the payloads anew. A site that lies about its packet is not
found by this, and one that masked or encoded something wrong before it signed can't be: telling
which would take a look at single contributions, which nobody ever gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from wardround.coordinator import records
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.opening import Garbage
from wardround.errors import WardroundError
from wardround.federation.messages import Audit, AuditAnswer, PacketHeader
from wardround.federation.round import Round, RoundPhase
from wardround.ids import RoundId, SiteName

_ALTERED_HERE = "The coordinator's own copy of the packet of {sites} is not what was signed."
_EXPLAINS = {
    AuditAnswer.NOT_MINE.value: "According to {sites}, what stands under that name was not signed.",
    AuditAnswer.OTHER_MANIFEST.value: "According to {sites}, the round has another manifest there.",
}
_MAY_EXPLAIN = {
    AuditAnswer.SPOOL_DIFFERS.value: "At {sites}, what was spooled has changed since it was "
    "signed, although what was sent is as signed: memory or a disk may fail there.",
    "refused": "{sites} refused to say anything about the packet.",
    "no answer": "{sites} did not answer the audit in time.",
}
_NOT_EXPLAINED = (
    "Every {other}packet is as its hospital signed it, so a hospital masked or encoded something "
    "wrong before it signed, or the coordinator's machine adds wrongly. Which one it was can't be "
    "told without opening a single contribution, and that is never done."
)


def begin(exchange: Exchange, garbage: Garbage) -> None:
    """Ask the survivors about their packets. The total is gone already."""
    assert exchange.round is not None
    with exchange.state.transaction() as transaction:
        now = exchange.round
        transaction.record("garbage", round=now.state.round, failed=list(garbage.failed))
        new = now.state.on_garbage()
        exchange.round = records.replace_round(transaction.connection, now, new)
    exchange.changed.notify()


def answered(exchange: Exchange) -> bool:
    """Whether nobody is waited for any more."""
    assert exchange.round is not None
    state = exchange.round.state
    return not any(state.waits_for(site) for site in state.survivors)


async def conclude(exchange: Exchange) -> None:
    """End the round with what the audit found."""
    assert exchange.round is not None
    altered = await asyncio.to_thread(_altered_here, exchange, exchange.round.state)
    exchange.flush()
    now = exchange.round
    answers = _answers(exchange, now.state)
    with exchange.state.transaction() as transaction:
        transaction.record(
            "audited", round=now.state.round, answers=answers, altered_here=list(altered)
        )
        new = now.state.on_verdict(explain(answers, altered))
        exchange.round = records.replace_round(transaction.connection, now, new)
    exchange.changed.notify()


def stop_at_garbage(exchange: Exchange, step: int) -> None:
    """Raise WR-ROUND-010 if what ``step`` opened was garbage: the hospitals answer it only once."""
    latest = exchange.round
    if latest is None or latest.state.step != step or latest.state.phase is not RoundPhase.GARBAGE:
        return
    assert exchange.manifest is not None
    exchange.spool.drop(latest.state.round)  # also where a crash came between verdict and this
    exchange.spool.clear()
    raise WardroundError(
        "WR-ROUND-010",
        f"What step {step} ({exchange.manifest.kind}) opened is no sum of honest contributions; it "
        f"was wiped and not used. {latest.state.reason}",
        "The run ends here, since the hospitals answer a task only once. Mend what is named, then "
        "start a new run.",
    )


def explain(answers: Mapping[str, str], altered: tuple[SiteName, ...]) -> str:
    """Sentences that name who explains the garbage, or say that nobody can be named for it."""
    given: dict[str, list[str]] = {}
    for site, answer in sorted(answers.items()):
        given.setdefault(answer, []).append(site)
    said = [_ALTERED_HERE.format(sites=", ".join(altered))] if altered else []
    for meanings in (_EXPLAINS, _MAY_EXPLAIN):
        said += [
            meaning.format(sites=", ".join(given[answer]))
            for answer, meaning in meanings.items()
            if answer in given
        ]
    if not altered and not _EXPLAINS.keys() & given.keys():
        said.append(_NOT_EXPLAINED.format(other="other " if said else ""))
    return " ".join(said)


def _answers(exchange: Exchange, state: Round) -> dict[str, str]:
    answers = exchange.said(state.round, "audit")
    found: dict[str, str] = {}
    for site in state.survivors:
        if site not in answers:
            found[site] = "no answer"
        elif answers[site].envelope.payload_type != Audit.payload_type():
            found[site] = "refused"
        else:
            found[site] = Audit.from_payload(answers[site].envelope.payload).answer.value
    return found


def _altered_here(exchange: Exchange, state: Round) -> tuple[SiteName, ...]:
    """The sites whose payload, read afresh, is not what they signed."""
    altered = []
    for site, sent in sorted(exchange.said(state.round, "packet").items()):
        header = PacketHeader.from_payload(sent.envelope.payload)
        found = exchange.spool.digest_on_disk(RoundId(state.round), site, header.size_bytes)
        if site in state.survivors and found != header.payload:
            altered.append(site)
    return tuple(altered)
