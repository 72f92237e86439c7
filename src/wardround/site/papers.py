"""The agent's certificate: whether one fits, and renewing it long before it ends.

A certificate comes from the coordinator, or from whoever stands where TLS ends, so nothing of it
is believed: it takes the old one's place only if the study's authority issued it to this agent's
key and name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
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
from wardround.store.room import no_room, wants_room
from wardround.trust.authority import certificate_expiry, make_csr, peer_identity
from wardround.trust.keys import SigningKey

LONGEST_SLEEP_S = 60.0
"""How long to go without a look at the clock: a machine that was suspended has lost time."""

ATTEMPT_S = 120.0
"""How long to ask for a certificate before it is said that none comes."""

_SHORTEST_WAIT, _LONGEST_RETRY = timedelta(seconds=1), timedelta(minutes=10)
_EXPIRED_RETRY = timedelta(minutes=1)

_PASSES = (WardroundError, OSError, ValueError)
"""What may be gone at the next attempt: a refusal, a full disk, a file that somebody damaged."""


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

    def expires(self) -> datetime:
        """When the present certificate ends."""
        return certificate_expiry(self.certificate.read_bytes())


async def keep_renewed(
    papers: Papers,
    link: Link,
    say: Say,
    change_over: Callable[[], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    attempt_s: float = ATTEMPT_S,
) -> None:
    """Renew whenever half of what was left is over, for ever; the work goes on meanwhile.

    ``change_over`` is called when a new certificate has been written, to have the link use it; it
    may raise, and is called again later. Whatever may pass is said with the time that is left
    (WR-SITE-215) and tried again; anything else is raised.
    """
    in_use = papers.expires()
    due = now() + _soon(in_use - now())
    while True:
        await _until(due, now, sleep)
        try:
            # One that was written and is not used yet is not replaced: the coordinator takes the
            # newest alone, and an agent that is killed here would be left with another one.
            if papers.expires() <= in_use:
                async with asyncio.timeout(attempt_s):
                    certificate = await link.renew(make_csr(papers.key))
                papers.require_newer(certificate)
                write_whole(papers.certificate, certificate)
            change_over()
            in_use = papers.expires()
        except _PASSES as error:
            left = in_use - now()
            say("trouble", **told(not_renewed(error, left)))  # half of its life is left for it
            due = now() + (min(_soon(left), _LONGEST_RETRY) if left > _NONE else _EXPIRED_RETRY)
            continue
        say("renewed")
        due = now() + _soon(in_use - now())


async def under_renewal(
    work: Coroutine[None, None, None], renewal: Coroutine[None, None, None]
) -> None:
    """Do ``work`` while ``renewal`` goes on beside it, which never ends by itself.

    Raises what ``work`` raises, and WR-SITE-216 as soon as the renewal has ended all the same: the
    agent would else go on until the day when its certificate ends, in the middle of a round.
    """
    tasks = working, renewing = asyncio.create_task(work), asyncio.create_task(renewal)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _renewal_ended(renewing.exception())
        working.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def not_renewed(error: Exception, left: timedelta) -> WardroundError:
    """Why a certificate was not renewed, and how long the present one still counts."""
    if wants_room(error):
        error = no_room()
    match error:
        case WardroundError():
            why = f"{error.code}: {error.problem}"
        case TimeoutError():
            why = "the coordinator does not answer."
        case OSError(strerror=str(reason)):
            why = f"{reason}."
        case _:
            why = f"{type(error).__name__}."
    minutes = round(left.total_seconds()) // 60
    counts = f"The present one counts for {minutes // 60} h {minutes % 60:02d} min more."
    return WardroundError(
        "WR-SITE-215",
        f"The agent's certificate was not renewed: {why} "
        + (counts if left > _NONE else "The present one has ended."),
        "The agent tries again by itself, and nothing is lost while the present one counts. "
        "Put right what is named here before it ends.",
    )


_NONE = timedelta(0)


def _renewal_ended(error: BaseException | None) -> WardroundError:
    """The kind of what ended it alone, as nobody foresaw it and its text may be about anything."""
    return WardroundError(
        "WR-SITE-216",
        f"The renewal of the agent's certificate has ended by itself ({type(error).__name__}).",
        "Nothing is lost: start the agent again. Report it: a renewal should never end.",
    )


def _soon(left: timedelta) -> timedelta:
    return max(left / 2, _SHORTEST_WAIT)


async def _until(
    due: datetime, now: Callable[[], datetime], sleep: Callable[[float], Awaitable[None]]
) -> None:
    while (left := (due - now()).total_seconds()) > 0:
        await sleep(min(left, LONGEST_SLEEP_S))
