"""The agent's certificate: whether one fits, and renewing it long before it ends.

A certificate comes from the coordinator, or from whoever stands where TLS ends, so nothing of it
is believed: it takes the old one's place only if the study's authority issued it to this agent's
key and name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate

from wardround.errors import WardroundError
from wardround.federation.messages import malformed
from wardround.governance.files import write_whole
from wardround.ids import SiteName
from wardround.site.link import Link
from wardround.site.say import Say, told
from wardround.trust.authority import certificate_expiry, make_csr, peer_identity
from wardround.trust.keys import SigningKey

LONGEST_SLEEP_S = 60.0
"""How long to go without a look at the clock: a machine that was suspended has lost time."""

_SHORTEST_WAIT, _LONGEST_RETRY = timedelta(seconds=1), timedelta(minutes=10)


@dataclass(frozen=True)
class Papers:
    """What an agent shows of itself: where its certificate lies, and what one must be."""

    certificate: Path
    key: SigningKey
    authority: bytes
    """The coordinator's, PEM."""
    study: str
    site: SiteName

    def require_fitting(self, certificate: bytes) -> None:
        """Raise WR-ROUND-001 unless this (PEM) is for this agent, from its authority."""
        identity = peer_identity(certificate)
        issued = load_pem_x509_certificate(certificate)
        try:
            issued.verify_directly_issued_by(load_pem_x509_certificate(self.authority))
        except (ValueError, TypeError, InvalidSignature) as error:
            raise malformed("certificate") from error
        mine = self.key.to_cryptography().public_key()
        named = (identity.study, identity.role, identity.name)
        if issued.public_key() != mine or named != (self.study, "site", self.site):
            raise malformed("certificate")

    def require_newer(self, certificate: bytes) -> None:
        """Raise WR-ROUND-001 unless this (PEM) fits and ends later than the present one.

        The key stays the same, so whoever opens the line has seen older ones that fit as well.
        """
        self.require_fitting(certificate)
        if certificate_expiry(certificate) <= certificate_expiry(self.certificate.read_bytes()):
            raise malformed("certificate")

    def left(self, now: datetime) -> timedelta:
        """How long the present certificate still counts."""
        return certificate_expiry(self.certificate.read_bytes()) - now


async def keep_renewed(
    papers: Papers,
    link: Link,
    say: Say,
    change_over: Callable[[], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Renew whenever half of what was left is over, for ever; the work goes on meanwhile.

    ``change_over`` is called when a new certificate has been written, to have the link use it.
    """
    due = now() + _soon(papers.left(now()))
    while True:
        await _until(due, now, sleep)
        try:
            certificate = await link.renew(make_csr(papers.key))
            papers.require_newer(certificate)
        except WardroundError as error:
            say("trouble", **told(error))  # half of its life is left to try again
            due = now() + min(_soon(papers.left(now())), _LONGEST_RETRY)
            continue
        write_whole(papers.certificate, certificate)
        say("renewed")
        change_over()
        due = now() + _soon(papers.left(now()))


def _soon(left: timedelta) -> timedelta:
    return max(left / 2, _SHORTEST_WAIT)


async def _until(
    due: datetime, now: Callable[[], datetime], sleep: Callable[[float], Awaitable[None]]
) -> None:
    while (left := (due - now()).total_seconds()) > 0:
        await sleep(min(left, LONGEST_SLEEP_S))
