"""Who may connect: one-time tokens, certificates of a day, and the hospitals' approvals.

A token grants one site's name once. A certificate opens connections and nothing else; what a
hospital says counts under its own signing key, which stands in the study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select, update

from wardround.coordinator.tables import approvals, enrolments
from wardround.errors import WardroundError
from wardround.federation.messages import Enrolling
from wardround.ids import SiteName
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study, check_approval
from wardround.trust.authority import AGENT_LIFETIME, CertificateAuthority, peer_identity
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import VerifyKey
from wardround.trust.tokens import new_token, token_digest, token_matches


@dataclass(frozen=True)
class Peer:
    """A site as its certificate proves it."""

    site: SiteName
    certificate: bytes
    """DER."""
    key: VerifyKey
    """The certificate's key, which also signs every request."""
    expires: datetime


class Enrolment:
    """The register of a study's sites at its coordinator."""

    def __init__(
        self,
        study: Study,
        authority: CertificateAuthority,
        state: JournalledDatabase,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        lifetime: timedelta = AGENT_LIFETIME,
        inspected: frozenset[SiteName] = frozenset(),
    ) -> None:
        self._lifetime = lifetime
        self._inspected = inspected
        self._study = study
        self._authority = authority
        self._state = state
        self._now = now
        self._current: dict[SiteName, bytes] = {}
        self._replacements: dict[SiteName, bytes] = {}
        self._peers: dict[bytes, Peer] = {}
        self._approved: dict[SiteName, Envelope] = {}
        with state.database.begin() as connection:
            for row in connection.execute(select(enrolments)):
                if row.certificate is not None:
                    self._current[row.site] = row.certificate
                if row.replacement is not None:
                    self._replacements[row.site] = row.replacement
            for row in connection.execute(select(approvals)):
                self._approved[row.site] = Envelope.from_json(row.envelope)

    def invite(self, site: SiteName) -> str:
        """A fresh one-time token for ``site``; an older one, used or not, is void."""
        if site not in self._study.site_keys:
            raise WardroundError(
                "WR-COORD-030",
                f"The study names no site {site!r}.",
                "Use a name from the study's [[sites]].",
            )
        token = new_token()
        with self._state.transaction() as transaction:
            known = transaction.connection.scalar(
                select(enrolments.c.site).where(enrolments.c.site == site)
            )
            row = {"token_digest": token_digest(token)}
            if known is None:
                transaction.connection.execute(insert(enrolments).values(site=site, **row))
            else:
                transaction.connection.execute(
                    update(enrolments).where(enrolments.c.site == site).values(**row)
                )
            transaction.record("invited", site=site)
        return token

    def enrol(self, site: SiteName, token: str, csr: bytes, proof: Envelope | None = None) -> bytes:
        """Trade a token for a certificate (PEM); the token is spent in the same transaction.

        A site behind a proxy that opens TLS, and so sees the token, also proves with its signing
        key that the request is its own; raises WR-COORD-061 where it doesn't.
        """
        if site in self._inspected:
            self._check_proof(site, csr, proof)
        with self._state.transaction() as transaction:
            row = transaction.connection.execute(
                select(enrolments).where(enrolments.c.site == site)
            ).first()
            if (
                row is None
                or row.token_digest is None
                or not token_matches(token, row.token_digest)
            ):
                raise WardroundError(
                    "WR-COORD-031",
                    "The enrolment token is unknown, or was used already.",
                    "Ask the study's coordinator for a new invitation; if you never used the "
                    "old one, somebody else did: say so.",
                )
            certificate = self._issue(site, csr)
            transaction.connection.execute(
                update(enrolments)
                .where(enrolments.c.site == site)
                .values(
                    token_digest=None,
                    certificate=_der(certificate),
                    replacement=None,
                    enrolled_at=self._now(),
                )
            )
            transaction.record("enrolled", site=site, certificate=digest(_der(certificate)))
        self._current[site] = _der(certificate)
        self._replacements.pop(site, None)
        return certificate

    def _check_proof(self, site: SiteName, csr: bytes, proof: Envelope | None) -> None:
        try:
            if proof is None:
                raise ValueError
            said = Enrolling.open(proof, self._study.site_keys[site])
            if (said.study, said.site, said.request) != (self._study.id, site, digest(csr)):
                raise ValueError
        except (KeyError, ValueError, WardroundError):
            raise WardroundError(
                "WR-COORD-061",
                f"{site} enrols through a proxy that opens TLS, and the request is not signed with "
                "the signing key that the study lists for it.",
                "Enrol with `wardround site enrol` in the folder that holds the hospital's key; if "
                "nobody there did, somebody on the way has seen the invitation's token.",
            ) from None

    def renew(self, peer: Peer, csr: bytes) -> bytes:
        """A new certificate (PEM) for a site that holds the current one.

        The current one counts until the new one is first used: the answer may be lost on its way,
        and the agent needs a moment to change over.
        """
        certificate = self._issue(peer.site, csr)
        with self._state.transaction() as transaction:
            transaction.connection.execute(
                update(enrolments)
                .where(enrolments.c.site == peer.site)
                .values(replacement=_der(certificate))
            )
            transaction.record("renewed", site=peer.site, certificate=digest(_der(certificate)))
        self._replacements[peer.site] = _der(certificate)
        return certificate

    def _change_over(self, peer: Peer) -> None:
        """The renewed certificate is in use: the older one is void."""
        with self._state.transaction() as transaction:
            transaction.connection.execute(
                update(enrolments)
                .where(enrolments.c.site == peer.site)
                .values(certificate=peer.certificate, replacement=None)
            )
            transaction.record("replaced", site=peer.site, by=digest(peer.certificate))
        self._current[peer.site] = self._replacements.pop(peer.site)

    def identify(self, certificate: bytes | None) -> Peer:
        """Whose certificate (DER) this is, if it is one that this study uses now.

        The TLS layer has checked the chain. A certificate of another study, an expired one, and
        one that has been replaced are refused.
        """
        if certificate is None:
            raise WardroundError(
                "WR-COORD-032",
                "The request came without a client certificate.",
                "Enrol first. A proxy that inspects TLS must let this host pass untouched, unless "
                "hospital and operator both agreed to it: `wardround explain WR-COORD-032`.",
            )
        peer = self._peers.get(certificate)
        if peer is None:
            peer = self._peers[certificate] = self._parse(certificate)
        expired = peer.expires < self._now()
        if self._replacements.get(peer.site) == certificate and not expired:
            self._change_over(peer)
        if self._current.get(peer.site) != certificate or expired:
            self._peers.pop(certificate)
            raise _not_current(peer.site)
        return peer

    def claimed(self, keyid: str, certificate: str) -> Peer:
        """Whom a request without a client certificate names, for a site behind inspection.

        ``keyid`` is the name in its signature, ``certificate`` the digest of the one it is signed
        under. Nothing is proved yet, and nothing changes: once the signature is verified,
        :meth:`identify` is asked. Raises WR-COORD-032 and 034 as that does.
        """
        site = next((one for one in self._inspected if self.identity(one).text == keyid), None)
        if site is None:
            return self.identify(None)
        for known in (self._current.get(site), self._replacements.get(site)):
            if known is not None and digest(known) == certificate:
                peer = self._parse(known)
                if peer.expires >= self._now():
                    return peer
        raise _not_current(site)

    def _parse(self, certificate: bytes) -> Peer:
        identity = peer_identity(certificate)
        site = SiteName(identity.name)
        if identity != self.identity(site) or site not in self._study.site_keys:
            raise WardroundError(
                "WR-COORD-033",
                "The client certificate is of another study, another coordinator or no site.",
                "Enrol the agent for this study.",
            )
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key()
        assert isinstance(key, Ed25519PublicKey)
        expires = parsed.not_valid_after_utc
        return Peer(site, certificate, VerifyKey(key.public_bytes_raw()), expires)

    def identity(self, site: SiteName) -> SpiffeId:
        """The name that a site's certificate must carry."""
        return SpiffeId.of_site(trust_domain(self._study), self._study.id, site)

    def approve(self, peer: Peer, envelope: Envelope) -> None:
        """Keep a hospital's approval; it counts because of its signature, not because it came."""
        key = self._study.site_keys[peer.site]
        check_approval(envelope, self._study, peer.site, key, self._now().date())
        if self._approved.get(peer.site) == envelope:
            return
        with self._state.transaction() as transaction:
            connection = transaction.connection
            connection.execute(approvals.delete().where(approvals.c.site == peer.site))
            connection.execute(
                insert(approvals).values(site=peer.site, envelope=envelope.to_json())
            )
            transaction.record("approved", site=peer.site, approval=digest(envelope.payload))
        self._approved[peer.site] = envelope

    @property
    def approved(self) -> dict[SiteName, Envelope]:
        """The approvals at hand."""
        return dict(self._approved)

    def _issue(self, site: SiteName, csr: bytes) -> bytes:
        identity = self.identity(site)
        return self._authority.issue_agent(csr, identity, self._now(), self._lifetime)


def _not_current(site: SiteName) -> WardroundError:
    return WardroundError(
        "WR-COORD-034",
        f"The certificate of {site} has expired or was replaced by a newer one.",
        "If the agent was restored from a copy or runs twice, stop one of the two; "
        "otherwise ask for a new invitation and enrol again.",
    )


def trust_domain(study: Study) -> str:
    """The coordinator's host name, under which its certificates name sites."""
    host = urlsplit(study.coordinator.url).hostname or "localhost"
    return host.replace(":", "-")  # an IPv6 address: names have no colons


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
