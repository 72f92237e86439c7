"""Hospitals moved by hand: they say what a test wants said, under their real keys."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterator

import numpy as np
import orjson

from ward import Ward
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.intake import Intake
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES, Audit, AuditAnswer, PacketHeader
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import LANES, Checksum, Member
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey


class Puppets:
    """All sites of a ward whose agents don't run; each method speaks for one or for all."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward
        self.study = ward.study
        self.exchange: Exchange = ward.drive().exchange
        self.members: dict[SiteName, Member] = {}
        self.adverts: dict[SiteName, Envelope] = {}
        self.deals: dict[SiteName, Envelope] = {}
        self.sealed: dict[SiteName, dict[SiteName, bytes]] = {}

    def key(self, site: SiteName) -> SigningKey:
        return self.ward.keys.sites[site]

    @property
    def sites(self) -> tuple[SiteName, ...]:
        return tuple(sorted(self.ward.keys.sites))

    def say(self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes = b"") -> None:
        Intake(self.exchange).accept(site, kind, envelope, attachment)

    def refused(
        self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes = b""
    ) -> str | None:
        """The code with which it is refused; the refusal must be in the journal."""
        before = len(self.ward.entries("refused"))
        try:
            self.say(site, kind, envelope, attachment)
        except WardroundError as error:
            (entry,) = self.ward.entries("refused")[before:]
            assert entry.facts == {
                "site": site,
                "statement": digest(envelope.payload),
                "code": error.code,
            }
            return error.code
        assert len(self.ward.entries("refused")) == before
        return None

    def member(self, site: SiteName, drawn: Iterator[bytes] | None = None) -> Member:
        """A site's part in the set-up; the first of its secrets may be ``drawn`` by a test."""
        setup = self.exchange.setup.state
        return Member(
            self.study.digest,
            self.exchange.run,
            setup.batch,
            setup.pool,
            site,
            self.key(site),
            self.study.site_keys,
            self.study.adversary,
            setup.rounds,
            random_bytes=lambda size: next(drawn or iter(()), secrets.token_bytes(size)),
        )

    def advertise(self) -> Puppets:
        self.exchange.start_setup(self.sites)
        self.members = {site: self.member(site) for site in self.sites}
        self.adverts = {site: one.advert() for site, one in self.members.items()}
        for site, envelope in self.adverts.items():
            self.say(site, "advert", envelope)
        return self

    def deal(self) -> Puppets:
        for site, member in self.members.items():
            self.deals[site], self.sealed[site] = member.deal(self.adverts)
            self.say(site, "deal", self.deals[site], self.sealed_bytes(site))
        return self

    def sealed_bytes(self, site: SiteName) -> bytes:
        blobs = {peer: b64encode(blob).decode() for peer, blob in self.sealed[site].items()}
        return orjson.dumps(blobs)

    def ready(self) -> Puppets:
        """A set-up that is complete, and a round that collects."""
        self.advertise().deal()
        for site, member in self.members.items():
            given = {peer: blobs[site] for peer, blobs in self.sealed.items() if peer != site}
            member.accept(self.deals, given)
        self.exchange.start_round(self.ward.task(), 0, 0)
        return self

    @property
    def manifest(self) -> Digest:
        return digest(self.exchange.manifest_envelope.payload)

    @property
    def round(self) -> RoundId:
        return self.exchange.round.state.round

    def masked(self, site: SiteName) -> bytes:
        """The contribution 1, 2, 3, … with its lanes, under the site's mask."""
        manifest = self.exchange.manifest
        ring = np.arange(1, manifest.length + LANES + 1, dtype=np.uint64)
        Checksum(manifest.study, manifest.run, manifest.step, manifest.task).seal(ring)
        self.members[site].mask(
            self.exchange.manifest.index, self.manifest, ring, round_id=self.round
        )
        return ring.tobytes()

    def header(self, site: SiteName, payload: bytes, **changes: object) -> PacketHeader:
        parts = [payload[at : at + PART_BYTES] for at in range(0, len(payload), PART_BYTES)]
        hashes = b"".join(hashlib.sha256(part).digest() for part in parts)
        manifest = self.exchange.manifest
        return PacketHeader(
            **{
                "study": self.study.digest,
                "run": self.exchange.run,
                "step": manifest.step,
                "round": manifest.round,
                "task": manifest.task,
                "manifest": self.manifest,
                "site": site,
                "payload": digest(hashes),
                "size_bytes": len(payload),
                "part_bytes": PART_BYTES,
                **changes,
            }
        )

    def packet(self, site: SiteName) -> Puppets:
        payload = self.masked(site)
        self.say(site, "packet", self.header(site, payload).sign(self.key(site)), payload)
        return self

    def packets(self) -> Puppets:
        for site in self.sites:
            self.packet(site)
        return self

    def vote_of(self, site: SiteName) -> Envelope:
        state = self.exchange.round.state
        vote = self.members[site].vote(state.index, self.manifest, state.survivors)
        return vote.sign(self.key(site))

    def votes(self) -> Puppets:
        for site in self.exchange.round.state.survivors:
            self.say(site, "vote", self.vote_of(site))
        return self

    def shares_of(self, site: SiteName) -> Envelope:
        state = self.exchange.round.state
        votes = {
            peer: sent.envelope for peer, sent in self.exchange.said(self.round, "vote").items()
        }
        shares = self.members[site].recover(state.index, self.manifest, state.survivors, votes)
        return shares.sign(self.key(site))

    def audit_of(self, site: SiteName, answer: AuditAnswer = AuditAnswer.AS_SIGNED) -> Envelope:
        packet = self.exchange.said(self.round, "packet")[site].envelope
        said = Audit(
            study=self.study.digest,
            run=self.exchange.run,
            round=self.round,
            site=site,
            packet=digest(packet.payload),
            manifest=self.manifest,
            answer=answer,
        )
        return said.sign(self.key(site))
