"""Who comes in: certificate, signature, no replay, one agent a site.

The attacker is on the network, or is a proxy that ends TLS, or holds another site's papers. A
request counts only under the certificate's own key and for what was signed with it (RFC 9421).
Of a hospital behind a proxy that ends TLS, where the operator agreed to that, no certificate
arrives: the signature is then the only proof, and is checked before a body is read.
Whoever is turned away leaves a leaf in the journal (`refusals`).
"""

from __future__ import annotations

import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.enrolment import Peer
from wardround.coordinator.traffic import RELEASE, VISITOR
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.trust.replay import ReplayCache
from wardround.trust.requests import claimed_signer, verify_request, verify_signature

MAXIMUM_BODY_BYTES = 64 << 20
MOST_HELD_BYTES = 2 * MAXIMUM_BODY_BYTES
"""So much of one site's requests is in memory at a time, however many it opens at once."""


@dataclass(frozen=True)
class Visitor:
    """A request under a good certificate, whose signature has not been checked yet.

    With ``inspected`` a proxy took the certificate off: the signature was checked, but neither
    body nor time nor whether it is a replay.
    """

    peer: Peer
    request: Request
    reception: Reception
    inspected: bool = False

    def verify(
        self, *, body: bytes = b"", body_sha256: bytes | None = None, looks: bool = False
    ) -> None:
        """Check the signature over the request and its body (or the body's hash).

        Whoever only ``looks`` may be another program than the agent, and says nothing of it.
        """
        self.reception.verify(self, body, body_sha256)
        if not looks:
            self.reception.note_agent(self)


class Reception:
    """Admits the requests of enrolled agents."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._replays = ReplayCache(not_before=int(time.time()))
        self._held: Counter[SiteName] = Counter()

    async def admit(self, request: Request, *, looks: bool = False) -> tuple[Peer, bytes]:
        """Who asks, and the verified body; ``looks`` as in `Visitor.verify`."""
        visitor = self.visitor(request)
        site, mine = visitor.peer.site, 0

        def hold(size: int) -> None:
            nonlocal mine
            if self._held[site] + size > MOST_HELD_BYTES:
                raise WardroundError(
                    "WR-COORD-071",
                    f"{site} has more requests under way than the coordinator keeps in memory.",
                    "Nothing to do: an agent sends one at a time, and tries again. If it lasts, "
                    "somebody else uses its certificate.",
                )
            self._held[site] += size
            mine += size

        def release() -> None:
            self._held[site] -= mine

        request.scope[RELEASE] = release
        body = await read_body(request, MAXIMUM_BODY_BYTES, hold)
        visitor.verify(body=body, looks=looks)
        return visitor.peer, body

    def known(self, request: Request) -> Peer | WardroundError | None:
        """Who asks, or why it would be turned away; None for somebody who shows nothing.

        For questions that anybody may ask: nothing is noted, and no body is read.
        """
        certificate = _shown(request)
        try:
            if certificate is not None:
                return self._coordinator.enrolment.identify(certificate)
            if self._coordinator.inspected and claimed_signer(request.headers) is not None:
                return self._inspected(request).peer
        except WardroundError as error:
            return error
        return None

    def visitor(self, request: Request) -> Visitor:
        """Whose certificate the request bears; for bodies that are taken in piece by piece."""
        certificate = _shown(request)
        with self._coordinator.refusals.noted(None):
            if certificate is None and self._coordinator.inspected:
                visitor = self._inspected(request)
            else:
                peer = self._coordinator.enrolment.identify(certificate)
                visitor = Visitor(peer, request, self)
        request.scope[VISITOR] = visitor.peer.site
        return visitor

    def _inspected(self, request: Request) -> Visitor:
        """Whom a request's own signature proves; before its body is read, as anybody may send."""
        keyid = claimed_signer(request.headers) or ""
        named = request.query_params.get("certificate", "")
        peer = self._coordinator.enrolment.claimed(keyid, named)
        verify_signature(lambda _: peer.key, request.method, _target(request), request.headers)
        return Visitor(peer, request, self, inspected=True)

    def verify(self, visitor: Visitor, body: bytes, body_sha256: bytes | None) -> None:
        """See `Visitor.verify`."""
        request, peer = visitor.request, visitor.peer
        identity = self._coordinator.enrolment.identity(peer.site).text
        with self._coordinator.refusals.noted(peer.site):
            verify_request(
                lambda keyid: peer.key if keyid == identity else None,
                request.method,
                _target(request),
                request.headers,
                body,
                int(time.time()),
                self._replays,
                body_sha256=body_sha256,
            )
            if visitor.inspected:  # proved by now: a renewed certificate comes into force
                self._coordinator.enrolment.identify(peer.certificate)

    def note_agent(self, visitor: Visitor) -> None:
        """A site's agent is there; raises WR-COORD-037 where there are two of them."""
        site = visitor.peer.site
        with self._coordinator.refusals.noted(site):
            instance = visitor.request.query_params.get("instance", "")
            self._coordinator.heard_of(site, instance)


def _shown(request: Request) -> bytes | None:
    """The client certificate of the connection (DER)."""
    tls = request.scope.get("extensions", {}).get("tls", {})
    chain = tls.get("client_cert_chain") or []
    return ssl.PEM_cert_to_DER_cert(chain[0]) if chain else None


def _target(request: Request) -> str:
    """Path and query as they were sent and signed, before any decoding."""
    target: str = request.scope["raw_path"].decode("ascii")
    query = request.scope["query_string"].decode("ascii")
    return f"{target}?{query}" if query else target


async def read_body(
    request: Request, most_bytes: int, hold: Callable[[int], None] = lambda _size: None
) -> bytes:
    """A request's body; raises WR-COORD-013 as soon as it is larger than that.

    ``hold`` is told of each piece before it is kept, and may raise.
    """
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most_bytes:
            raise WardroundError(
                "WR-COORD-013",
                "A request body is larger than any message may be.",
                "Send large payloads in numbered parts.",
            )
        hold(len(piece))
        pieces.append(piece)
    return b"".join(pieces)
