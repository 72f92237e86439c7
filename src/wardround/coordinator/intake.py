"""What is done with a site's answer: verified, compared with what was asked, kept.

The attacker is a site, or whoever stole its agent's key: it repeats, alters, forges, comes late
and answers what was not asked. Each is refused with its code, and journalled.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping

import orjson

from wardround.coordinator import ledgers, records
from wardround.coordinator.exchange import Exchange, refused
from wardround.coordinator.lateness import require_in_time
from wardround.coordinator.records import Sent
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES, Ask, Audit, PacketHeader, Refused, Witness
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup
from wardround.ids import BatchId, Digest, RoundId, SiteName
from wardround.secagg import Advert, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.messages import Choice
from wardround.secagg.setup import adverts_digest, check_adverts
from wardround.store.room import NO_ROOM
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

_NOBODYS_FAULT = ("WR-COORD-001", NO_ROOM)
"""What has nothing to do with the statement: its site sends it again, and it is journalled then."""

EACH = 64
"""So many refused statements of a site and code have a leaf each; then the 128th, the 256th …

A site may send as many as its line carries, and the journal is in the evidence that all keep.
"""

_GROUP_S = 0.005
"""How long a statement waits for others to share its transaction, unless the round moves on."""

_ENOUGH_SHARES = (RoundPhase.OPENING, RoundPhase.DONE)


class Intake:
    """Takes in the signed statements of all sites of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._group: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        exchange.on_dropped = self._drop
        self._refused: Counter[tuple[SiteName, str]] = Counter()
        self._published: tuple[str, dict[SiteName, frozenset[bytes]]] = ("", {})
        """The batch that is being set up, and whose keys are in it."""

    async def submit(
        self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes
    ) -> None:
        """Take a signed statement of ``site``; return once it is durable.

        What arrives within a moment of it is committed with it. Raises as `accept`.
        """
        self._take(site, kind, envelope, attachment)
        loop = asyncio.get_running_loop()
        if self._group is None:
            self._group = loop.create_future()
            self._timer = loop.call_later(_GROUP_S, self._commit, self._group)
        group = self._group
        if self._exchange.moves_on:
            self._commit(group)
        await asyncio.shield(group)

    def close(self, reason: WardroundError | None = None) -> None:
        """Commit nothing more; what was not committed is sent again by its sites.

        ``reason`` is what those hear that wait now.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._group is not None and not self._group.done():
            if reason is None:
                self._group.cancel()
            else:
                self._group.set_exception(reason)

    def _drop(self, why: Exception) -> None:
        """What was taken in is forgotten, whoever asked for it to be committed: say so."""
        group, self._group = self._group, None
        if self._timer is not None:
            self._timer.cancel()
        if group is not None and not group.done():
            group.set_exception(why)

    def _commit(self, group: asyncio.Future[None]) -> None:
        if group.done():
            return
        if self._group is group:
            self._group = None
        try:
            self._exchange.flush()
        except Exception as error:  # noqa: BLE001 (handed to everyone who waits for it)
            if not group.done():
                group.set_exception(error)
        else:
            group.set_result(None)

    def accept(self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes) -> None:
        """Take a signed statement of ``site`` and make it durable at once.

        The same statement twice is fine; another one in its place, one for a round that is not
        open, or one that does not verify is refused and journalled.
        """
        self._take(site, kind, envelope, attachment)
        self._exchange.flush()

    def _take(self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes) -> None:
        handler = self._handlers().get(kind)
        try:
            if handler is None:
                raise refused("WR-COORD-020", f"There is no statement of kind {kind[:20]!r}.")
            handler(site, envelope, attachment)
        except WardroundError as error:
            if error.code not in _NOBODYS_FAULT:
                self._note(site, digest(envelope.payload), error.code)
            raise

    def _note(self, site: SiteName, statement: Digest, code: str) -> None:
        """Journal a refused statement; of a flood its numbers 128, 256 and so on."""
        self._refused[site, code] += 1
        number = self._refused[site, code]
        if number > EACH and number & (number - 1):
            return
        facts = {} if number <= EACH else {"number": number}
        with self._exchange.state.transaction() as transaction:
            transaction.record("refused", site=site, statement=statement, code=code, **facts)

    def _handlers(self) -> Mapping[str, Callable[[SiteName, Envelope, bytes], None]]:
        return {
            "advert": self._on_advert,
            "choice": self._on_choice,
            "deal": self._on_deal,
            "packet": self._on_packet,
            "vote": self._on_vote,
            "shares": self._on_shares,
            "audit": self._on_audit,
            "refusal": self._on_refusal,
            "witness": self._on_witness,
            "ready": self._after_the_stream,
            "cohort": self._after_the_stream,
        }

    def _after_the_stream(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")

    def _repeated(self, scope: str, kind: str, site: SiteName, sent: Sent) -> bool:
        known = self._exchange.heard(scope, kind, site)
        if known is None:
            return False
        if known.envelope.payload != sent.envelope.payload or known.attachment != sent.attachment:
            raise refused("WR-COORD-022", "Another statement stands in this one's place already.")
        return True

    def _on_setup(
        self,
        kind: str,
        site: SiteName,
        batch: BatchId,
        sent: Sent,
        follow: Callable[[Setup], Setup],
    ) -> None:
        if self._repeated(batch, kind, site, sent):
            return
        old = self._exchange.setup_ahead
        if old is None or batch != old.batch or (new := follow(old)) is old:
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        self._exchange.keep(batch, kind, site, sent, new)

    def _on_round(
        self,
        kind: str,
        site: SiteName,
        round_: str,
        sent: Sent,
        follow: Callable[[Round], Round],
    ) -> None:
        if self._repeated(round_, kind, site, sent):
            return
        old = self._exchange.round_ahead
        if old is None or round_ != old.round or (new := follow(old)) is old:
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        self._exchange.keep(round_, kind, site, sent, new)

    def _on_advert(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        advert = Advert.open(envelope, exchange.keys[site])
        same_parties(
            advert.site, site, advert.study, exchange.study.digest, advert.run, exchange.run
        )
        check_adverts({site: advert})  # as all will: nobody can have the others refuse
        setup = exchange.setup_ahead
        # The sites of a large pool are not told again in every advert.
        pool = () if setup is None or setup.sparse else setup.pool
        asked = (setup.batch, pool, setup.rounds) if setup else None
        if asked != (advert.batch, advert.pool, advert.rounds):
            raise refused("WR-COORD-025", "The advert is for another set-up or pool.")
        sent = Sent(envelope, b"")
        if not self._repeated(advert.batch, "advert", site, sent):
            self._require_own_keys(site, advert)
        self._on_setup("advert", site, advert.batch, sent, lambda setup: setup.on_advert(site))

    def _require_own_keys(self, site: SiteName, advert: Advert) -> None:
        """Refuse keys that another site of the set-up has: all others would refuse the set-up.

        Raises WR-SECAGG-007 as they would.
        """
        if self._published[0] != advert.batch:
            said = self._exchange.said(advert.batch, "advert").items()
            opened = {
                one: Advert.open(sent.envelope, self._exchange.keys[one]) for one, sent in said
            }
            self._published = advert.batch, {one: _keys(known) for one, known in opened.items()}
        mine, others = _keys(advert), self._published[1]
        if any(mine & keys for one, keys in others.items() if one != site):
            raise WardroundError(
                "WR-SECAGG-007",
                f"A key that {site} advertises is already in use.",
                "Start a fresh set-up, in which every site advertises new keys once.",
                path=site,
            )
        others[site] = mine

    def _on_choice(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        choice = Choice.open(envelope, exchange.keys[site])
        same_parties(
            choice.site, site, choice.study, exchange.study.digest, choice.run, exchange.run
        )
        sent = Sent(envelope, b"")
        if self._repeated(choice.batch, "choice", site, sent):
            return
        setup = exchange.setup_ahead
        if setup is None or setup.batch != choice.batch or not setup.waits_for(site):
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        tree = exchange.wiring(choice.batch).tree
        degree = exchange.graph_rule(len(tree.sites)).degree
        if choice.adverts != tree.digest or not (
            tree.covers(choice.chosen) and len(choice.chosen) == degree
        ):
            raise refused("WR-COORD-025", "The choice is from other sites, or of another number.")
        self._on_setup("choice", site, choice.batch, sent, lambda setup: setup.on_choice(site))

    def _on_deal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        deal = Deal.open(envelope, exchange.keys[site])
        same_parties(deal.site, site, deal.study, exchange.study.digest, deal.run, exchange.run)
        named = {name: digest(blob) for name, blob in sealed_blobs(attachment).items()}
        if named != dict(deal.sealed):
            raise refused("WR-COORD-024", "The sealed shares are not the ones that were signed.")
        setup = exchange.setup_ahead
        if setup is not None and setup.sparse:
            wiring = exchange.wiring(deal.batch)
            chosen = wiring.chosen.get(site, ())
            if deal.adverts != wiring.tree.digest or set(deal.sealed) != set(chosen):
                raise refused("WR-COORD-025", "The deal is for others than were chosen.")
            sent = Sent(envelope, attachment)
            self._on_setup("deal", site, deal.batch, sent, lambda setup: setup.on_deal(site))
            return
        adverts = {name: one.envelope for name, one in exchange.said(deal.batch, "advert").items()}
        if deal.adverts != adverts_digest(adverts) or {*deal.sealed, site} != set(adverts):
            raise refused("WR-COORD-025", "The deal is for another roster.")
        sent = Sent(envelope, attachment)
        self._on_setup("deal", site, deal.batch, sent, lambda setup: setup.on_deal(site))

    def _on_packet(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        header = PacketHeader.open(envelope, exchange.keys[site])
        same_parties(
            header.site, site, header.study, exchange.study.digest, header.run, exchange.run
        )
        sent = Sent(envelope, b"")
        round_ = RoundId(header.round)
        require_in_time(exchange, site, round_)
        again = self._repeated(header.round, "packet", site, sent)
        if again and site not in exchange.lost:
            return
        exchange.check_open(site, round_)
        assert exchange.manifest is not None
        size = exchange.payload_bytes()
        answers = (header.manifest, header.task, header.step, header.size_bytes, header.part_bytes)
        manifest, task, step = (
            exchange.manifest_digest(),
            exchange.manifest.task,
            exchange.manifest.step,
        )
        if answers != (manifest, task, step, size, PART_BYTES):
            raise refused("WR-COORD-025", "The packet answers another manifest or task.")
        if exchange.study.privacy is not None and not again:
            with exchange.state.database.begin() as connection:
                charged = header.ledger and ledgers.grows(connection, site, header.ledger)
            if not charged:
                raise refused("WR-COORD-028", "The packet was not charged to the site's ledger.")
        if attachment:
            exchange.spool.put(round_, site, 0, attachment, size)
        arrived = exchange.spool.payload_digest(round_, site, size)
        if arrived != header.payload:
            if arrived is not None:  # whole, but wrong: let all of it be sent again
                exchange.spool.discard(round_, site)
            raise refused("WR-COORD-026", "The payload is not the one that was signed.")
        if again:
            exchange.found(site)
            return
        self._on_round("packet", site, header.round, sent, lambda one: one.on_packet(site))

    def _on_vote(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        vote = SurvivorVote.open(envelope, exchange.keys[site])
        same_parties(vote.site, site, vote.study, exchange.study.digest, vote.run, exchange.run)
        sent = Sent(envelope, b"")
        self._require_own_question(vote)
        self._on_round("vote", site, vote.round, sent, lambda one: one.on_vote(site))

    def _on_shares(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        shares = RecoveryShares.open(envelope, exchange.keys[site])
        same_parties(
            shares.site, site, shares.study, exchange.study.digest, shares.run, exchange.run
        )
        sent = Sent(envelope, b"")
        self._require_own_question(shares)
        now = exchange.round_ahead
        enough = now is not None and now.phase in _ENOUGH_SHARES
        if not self._repeated(shares.round, "shares", site, sent) and enough:
            return
        self._on_round("shares", site, shares.round, sent, lambda one: one.on_shares(site))

    def _on_audit(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        audit = Audit.open(envelope, exchange.keys[site])
        same_parties(audit.site, site, audit.study, exchange.study.digest, audit.run, exchange.run)
        packet = exchange.heard(audit.round, "packet", site)
        shown = (digest(packet.envelope.payload), exchange.manifest_digest()) if packet else None
        if (audit.packet, audit.manifest) != shown:
            raise refused("WR-COORD-025", "The statement is about another packet.")
        sent = Sent(envelope, b"")
        self._on_round("audit", site, audit.round, sent, lambda one: one.on_audit(site))

    def _require_own_question(self, said: SurvivorVote | RecoveryShares) -> None:
        """Refuse a voice about anything but the present round's manifest and survivors.

        The sites refuse a pile with one stray statement in it, so none may get into the pile.
        """
        exchange = self._exchange
        state = exchange.round_ahead
        if state is None or said.round != state.round:
            raise refused("WR-COORD-021", "The statement belongs to no open round or set-up.")
        asked = (state.batch, state.index, exchange.manifest_digest(), state.survivors)
        if (said.batch, said.index, said.manifest, said.survivors) != asked:
            raise refused("WR-COORD-025", "The statement is over another manifest or survivors.")

    def _require_own_ending(self, witness: Witness) -> None:
        """Refuse a countersignature of anything but the ending that is being offered.

        Evidence with one stray witness in it does not verify, so one site could spoil it for all.
        """
        ending = self._exchange.ending
        if ending is None or ending[0].ask is not Ask.FINISH:
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        documents = ending[0].documents
        signature = documents.get("signature")
        models: tuple[Digest | None, ...] = (None,)
        if isinstance(signature, dict):
            models = (digest(Envelope.from_json(signature).payload),)
        if witness.journal.model_dump() != documents["journal"] or witness.model not in models:
            raise refused("WR-COORD-025", "The statement is over another journal or model.")
        with self._exchange.state.database.begin() as connection:
            came = records.packets_of(connection, self._exchange.run, witness.site)
        for name, packet in witness.answered.items():
            if name not in came or came[name] not in (None, packet):
                raise refused("WR-COORD-025", "The statement is about rounds that were not.")

    def _on_refusal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        refusal = Refused.open(envelope, exchange.keys[site])
        same_parties(
            refusal.site, site, refusal.study, exchange.study.digest, refusal.run, exchange.run
        )
        sent = Sent(envelope, b"")
        setup, round_ = exchange.setup_ahead, exchange.round_ahead
        if exchange.known_refusal(refusal.scope, site) and not _audits(round_, refusal.scope):
            return  # an agent that was asked again says it anew, under another incident's number
        if _audits(round_, refusal.scope):
            # It may have refused in this round before: this one answers the audit.
            self._on_round("audit", site, refusal.scope, sent, lambda one: one.on_audit(site))
        elif setup is not None and refusal.scope == setup.batch:
            self._on_setup("refusal", site, setup.batch, sent, lambda one: one.on_lost(site))
        else:
            self._on_round("refusal", site, refusal.scope, sent, lambda one: one.on_refused(site))

    def _on_witness(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        exchange = self._exchange
        witness = Witness.open(envelope, exchange.keys[site])
        same_parties(
            witness.site, site, witness.study, exchange.study.digest, witness.run, exchange.run
        )
        known = exchange.heard(exchange.run, "witness", site)
        if known is not None and known.envelope.payload == envelope.payload:
            return
        self._require_own_ending(witness)
        if known is None:  # else both were started again, and it was shown a journal that has grown
            exchange.keep(exchange.run, "witness", site, Sent(envelope, b""))


def _keys(advert: Advert) -> frozenset[bytes]:
    return frozenset(
        (advert.sealing_key, *advert.masking_keys, *advert.self_mask_commitments),
    )


def _audits(round_: Round | None, scope: str) -> bool:
    return round_ is not None and (round_.phase, round_.round) == (RoundPhase.AUDIT, scope)


def sealed_blobs(attachment: bytes) -> dict[str, bytes]:
    """What comes beside a deal: base64 by site; anything else is refused."""
    try:
        blobs = orjson.loads(attachment)
        if isinstance(blobs, dict):
            return {name: b64decode(blob, validate=True) for name, blob in blobs.items()}
    except (ValueError, TypeError):
        pass
    raise refused("WR-COORD-024", "The sealed shares are not the ones that were signed.")


def same_parties(*pairs: str) -> None:
    """Refuse a statement that is of another site, study or run than it should be."""
    if any(one != other for one, other in zip(pairs[::2], pairs[1::2], strict=True)):
        raise refused("WR-COORD-025", "The statement is of another site, study or run.")
