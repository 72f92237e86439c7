"""What each site is asked next, worked out from the committed state of an exchange.

Asking twice is harmless, and a restart changes nothing. Instructions carry no authority: sites
act on what the signed parts in them prove.
"""

from __future__ import annotations

from base64 import b64decode

import orjson

from wardround.coordinator.exchange import Exchange
from wardround.federation.messages import (
    INLINE_BYTES,
    Ask,
    Instruction,
    JournalHead,
    Placed,
    TreeHead,
    frame,
)
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import SiteName
from wardround.trust.dsse import Envelope


def instruction(exchange: Exchange, site: SiteName, seen: int) -> bytes | None:
    """What ``site`` should do next as a framed message, or None for nothing.

    ``seen`` is the size of the journal that the site saw last; the instruction proves that
    the journal it is shown now is an extension of that one.
    """
    exchange.stopwatch.heard(site)
    if exchange.ending is not None:
        return _ending(exchange, site, seen)
    if exchange.round is not None and (
        site in exchange.lost or exchange.round.state.waits_for(site)
    ):
        return round_instruction(exchange, exchange.round.state, site, seen)
    if exchange.setup is not None and exchange.setup.state.waits_for(site):
        return _setup_instruction(exchange, exchange.setup.state, site)
    return None


def asks(exchange: Exchange, site: SiteName) -> bool:
    """Whether there is an `instruction` for ``site``, without working it out."""
    if exchange.ending is not None:
        return True
    return site in exchange.lost or any(
        one is not None and one.state.waits_for(site) for one in (exchange.round, exchange.setup)
    )


def _setup_instruction(exchange: Exchange, setup: Setup, site: SiteName) -> bytes:
    exchange.stopwatch.ask(site, setup.batch, setup.awaits)
    if setup.phase is SetupPhase.ADVERTISE:
        ask = Instruction(
            ask=Ask.ADVERTISE,
            run=exchange.run,
            batch=setup.batch,
            pool=setup.pool,
            partition=exchange.partition,
            rounds=setup.rounds,
        )
    elif setup.phase is SetupPhase.CHOOSE:
        tree, placed = exchange.wiring(setup.batch).to_choose(site)
        ask = Instruction(
            ask=Ask.CHOOSE, run=exchange.run, batch=setup.batch, tree=tree, placed=placed
        )
    elif setup.sparse:
        placed = exchange.wiring(setup.batch).to_deal(site)
        ask = Instruction(ask=Ask.DEAL, run=exchange.run, batch=setup.batch, placed=placed)
    else:
        adverts = exchange.said(setup.batch, "advert")
        ask = Instruction(
            ask=Ask.DEAL,
            run=exchange.run,
            batch=setup.batch,
            envelopes={name: sent.envelope for name, sent in adverts.items()},
        )
    return framed(ask)


def round_instruction(exchange: Exchange, round_: Round, site: SiteName, seen: int) -> bytes:
    """What a round needs next from a site that it waits for."""
    if round_.phase is RoundPhase.COLLECT or site in exchange.lost:
        return _contribute(exchange, round_, site, seen)
    if round_.phase is RoundPhase.AUDIT:
        return _audit(exchange, round_, site)
    asks_vote = round_.asks_vote_of(site)
    votes = {} if asks_vote else exchange.said(round_.round, "vote")
    # The same for every site: made once for each number of votes, not once for each site.
    key = (round_.round, len(votes))
    if key not in exchange.prepared:
        ask = Instruction(
            ask=Ask.VOTE if asks_vote else Ask.RECOVER,
            run=exchange.run,
            round=round_.round,
            batch=round_.batch,
            survivors=round_.survivors,
            envelopes={name: sent.envelope for name, sent in votes.items()},
        )
        exchange.prepared[key] = framed(ask)
    return exchange.prepared[key]


def _audit(exchange: Exchange, round_: Round, site: SiteName) -> bytes:
    """Show a site the header that stands under its name, and nobody else's."""
    packet = exchange.said(round_.round, "packet")[site]
    ask = Instruction(
        ask=Ask.AUDIT,
        run=exchange.run,
        round=round_.round,
        batch=round_.batch,
        manifest=exchange.manifest_envelope,
        envelopes={site: packet.envelope},
    )
    return framed(ask)


def _contribute(exchange: Exchange, round_: Round, site: SiteName, seen: int) -> bytes:
    assert exchange.manifest is not None and exchange.manifest_envelope is not None
    envelopes: dict[SiteName, Envelope] = {}
    blobs: dict[SiteName, bytes] = {}
    tree: TreeHead | None = None
    deals: dict[SiteName, Placed] = {}
    adverts: dict[SiteName, Placed] = {}
    choices: dict[SiteName, bytes] = {}
    assert exchange.setup is not None
    exchange.stopwatch.ask(site, round_.round, exchange.manifest.kind)
    first = exchange.is_first(site)
    if first and exchange.setup.state.sparse:
        wiring = exchange.wiring(round_.batch)
        tree, deals, adverts, blobs = wiring.to_accept(site)
        choices = wiring.choices().bits
    elif first:
        for name, sent in exchange.said(round_.batch, "deal").items():
            envelopes[name] = sent.envelope
            if name != site:
                blobs[name] = b64decode(orjson.loads(sent.attachment)[site])
    body, size = b"", 0
    if exchange.manifest.model is not None:
        size = exchange.blobs.path(exchange.manifest.model).stat().st_size
        if size <= INLINE_BYTES:
            body = exchange.blobs.get(exchange.manifest.model)
    ask = Instruction(
        ask=Ask.CONTRIBUTE,
        run=exchange.run,
        round=round_.round,
        batch=round_.batch,
        manifest=exchange.manifest_envelope,
        task=orjson.loads(exchange.task),
        model=exchange.manifest.model,
        model_bytes=size,
        envelopes=envelopes,
        blobs=blobs,
        tree=tree,
        placed=deals,
        adverts=adverts,
        choices=choices,
        consistency=consistency(exchange, seen, exchange.manifest.journal.size),
    )
    return framed(ask, body)


def _ending(exchange: Exchange, site: SiteName, seen: int) -> bytes:
    """The end of the run, for whoever asks: an agent that has countersigned asks no more.

    If it does, it died before it knew that its countersignature is here, and was started again.
    """
    assert exchange.ending is not None
    ask, body = exchange.ending
    if ask.ask is Ask.STOP:
        exchange.take_leave(site)
        return framed(ask)
    size = JournalHead.model_validate(ask.documents["journal"]).size
    proof = consistency(exchange, seen, size)
    return framed(ask.model_copy(update={"consistency": proof}), body)


def consistency(exchange: Exchange, seen: int, size: int) -> tuple[str, ...]:
    """The proof that a journal of that size is an extension of the one that a site saw last."""
    if not 0 < seen < size:
        return ()
    proof = exchange.state.journal.prove_consistency(seen, size)
    return tuple(step.hex() for step in proof)


def framed(instruction: Instruction, body: bytes = b"") -> bytes:
    """An instruction as it is sent."""
    return frame(instruction.model_dump(mode="json", exclude_defaults=True), body)
