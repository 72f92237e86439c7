"""One question to the coordinator, beside the agent: how far the line reaches, what is waited for.

The link's own, like `line` and `way`. It asks over exactly the connection that an agent would use,
and says nothing that comes from inside the hospital.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import urlsplit

import httpx
import orjson
from cryptography import x509

from wardround.errors import WardroundError
from wardround.federation.messages import Present
from wardround.ids import Digest, SiteName
from wardround.site.link import Patience, https_client, refusal_of, unreachable
from wardround.site.say import printable
from wardround.site.way import proxy_for, reach, shown
from wardround.trust.canonical import JSON
from wardround.trust.dsse import Envelope
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.requests import sign_request

PATIENCE = Patience(wait_s=0.0, answer_s=10.0, connect_s=10.0)
_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, so that a wrong clock can be told by how much it is."""


@dataclass(frozen=True)
class Sounding:
    """How far it reached. What wasn't reached is None."""

    host: str
    proxy: str | None
    """The proxy on the way, without its password."""
    addresses: tuple[str, ...]
    """Of the proxy if there is one, else of the coordinator; empty where the name is unknown."""
    problem: WardroundError | None
    """Why there is no good answer."""
    stranger: str | None
    """Who signed for whoever answered, if it was not the study's coordinator."""
    ahead_s: float | None
    """How far this machine's clock is ahead of the coordinator's."""
    health: Mapping[str, object] | None
    took_s: float
    nonce: str = ""

    def proves_itself(self, study: Digest, site: SiteName, coordinator: VerifyKey) -> bool:
        """Whether the answer is under the coordinator's own signature, and to this question."""
        said = (self.health or {}).get("present")
        try:
            present = Present.open(Envelope.from_json(cast("dict[str, JSON]", said)), coordinator)
        except (WardroundError, TypeError):
            return False
        return (present.study, present.site, present.nonce) == (study, site, self.nonce)


async def sound(
    url: str,
    context: ssl.SSLContext,
    signed_by: tuple[SigningKey, SpiffeId, str] | None = None,
) -> Sounding:
    """Ask the coordinator at ``url`` how it is.

    ``signed_by`` (the agent's key and name, and the digest of its certificate) signs the question,
    for a line on which no client certificate arrives; the answer is then asked for under the
    coordinator's own signature (`Sounding.proves_itself`). Raises WR-SITE-173 for an unusable
    proxy.
    """
    proxy = proxy_for(url)
    at = urlsplit(url if proxy is None else proxy)
    addresses = await _addresses(at.hostname or "", at.port or 443)
    health, problem, stranger, ahead = None, None, None, None
    nonce = secrets.token_urlsafe(16)
    begun = time.monotonic()
    try:
        answer = await _ask(url, context, signed_by, nonce)
        ahead = _ahead(answer)
        if answer.is_success:
            health = _document(answer)
        else:
            problem = refusal_of(answer)
    except WardroundError as error:
        problem = error
        if error.code == "WR-SITE-041":
            stranger = await _stranger(url, proxy)
        elif error.code == "WR-SITE-172":
            ahead = await _ahead_without_dates(url, context)
    took = time.monotonic() - begun
    return Sounding(
        urlsplit(url).hostname or "",
        None if proxy is None else shown(proxy),
        addresses,
        problem,
        stranger,
        ahead,
        health,
        took,
        nonce,
    )


async def own_lane(
    url: str, context: ssl.SSLContext, key: SigningKey, identity: SpiffeId, certificate: str | None
) -> Mapping[str, object]:
    """What the latest run waits for, as the coordinator tells this hospital of its own part in it.

    ``certificate`` is the digest to name where a proxy takes the certificate off. Raises what keeps
    the line from reaching the coordinator, what that refuses with, and WR-SITE-217 for an answer
    that makes no sense.
    """
    target = "/v1/runs/latest/timeline" + (f"?certificate={certificate}" if certificate else "")
    answer = await _get(url, context, target, (key, identity))
    if not answer.is_success:
        raise refusal_of(answer)
    found = _document(answer)
    if found is None or not isinstance(found.get("waiting"), dict):
        raise WardroundError(
            "WR-SITE-217",
            "The coordinator does not say what the run waits for.",
            "It may run an older version of Wardround; ask its operator.",
        )
    return found


async def _addresses(host: str, port: int) -> tuple[str, ...]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


async def _ask(
    url: str,
    context: ssl.SSLContext,
    signed_by: tuple[SigningKey, SpiffeId, str] | None,
    nonce: str = "",
) -> httpx.Response:
    target: str = "/v1/health"
    signer: tuple[SigningKey, SpiffeId] | None = None
    if signed_by is not None:
        signer, certificate = signed_by[:2], signed_by[2]
        target = f"{target}?certificate={certificate}&nonce={nonce}"
    return await _get(url, context, target, signer)


async def _get(
    url: str,
    context: ssl.SSLContext,
    target: str,
    signer: tuple[SigningKey, SpiffeId] | None,
) -> httpx.Response:
    headers: dict[str, str] = {}
    if signer is not None:
        key, identity = signer
        headers = sign_request(key, identity.text, "GET", target, b"", int(time.time()))
    async with https_client(url, context, patience=PATIENCE) as client:
        try:
            return await client.get(target, headers=headers)
        except (httpx.TransportError, ssl.SSLError) as error:
            raise unreachable(error) from error


def _ahead(answer: httpx.Response) -> float | None:
    """The difference of the clocks, to the second that a Date field (RFC 9110) has."""
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return None
    return (datetime.now(UTC) - theirs.replace(tzinfo=UTC)).total_seconds()


async def _ahead_without_dates(url: str, context: ssl.SSLContext) -> float | None:
    """The same from a coordinator whose certificate is right but for its dates."""
    context.verify_flags |= _NO_CHECK_TIME
    try:
        return _ahead(await _ask(url, context, None))
    except WardroundError:
        return None


async def _stranger(url: str, proxy: str | None) -> str | None:
    """The issuer of whatever certificate is shown there. Nothing is asked, and nothing believed."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE  # to name the stranger, not to talk to it
    try:
        async with asyncio.timeout(PATIENCE.connect_s):
            line = await reach(httpx.URL(url), anybody, _Shown, proxy)
    except (httpx.ProxyError, OSError):  # a timeout is one
        return None
    if line.certificate is None:
        return None
    shown_there = x509.load_der_x509_certificate(line.certificate)
    return printable(shown_there.issuer.rfc4514_string())[:200]


class _Shown(asyncio.Protocol):
    """Looks at the certificate, and hangs up without a word."""

    certificate: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        self.certificate = tls.getpeercert(binary_form=True)
        transport.close()


def _document(answer: httpx.Response) -> Mapping[str, object] | None:
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
