"""SMART Backend Services: an access token for an agent that acts without a user.

The server says in ``.well-known/smart-configuration`` where tokens are issued; there the agent
shows a signed assertion (RFC 7523) and receives a token that is good for minutes. The assertion
names the address it is meant for, so a server that takes it elsewhere gains nothing.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from wardround.clinical.fhir.address import elsewhere, parse, resolve, wrong_settings
from wardround.clinical.fhir.answers import no_access
from wardround.clinical.fhir.assertion import ClientKey
from wardround.clinical.fhir.bundle import not_fhir
from wardround.clinical.fhir.exchange import Ask, Exchange
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_MAXIMUM_TOKEN = 16384
_SPARE_S = 30.0
_SHORTEST_S, _LONGEST_S = 60.0, 3600.0
_CONFIGURATION = "GET .well-known/smart-configuration"
_ISSUING = "POST token"


@dataclass(frozen=True, repr=False)
class Client:
    """How this agent is registered.

    ``token_url`` is needed only where tokens are issued by another server than the FHIR server.
    """

    client_id: str
    key: ClientKey
    scope: str = "system/*.read"
    token_url: str | None = None

    def __post_init__(self) -> None:
        if self.token_url is not None and not _is_https(self.token_url):
            raise wrong_settings("The token address must be https://HOST/PATH.")


class SmartBackend:
    """Access by tokens that are renewed when they end or are refused."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._endpoint: httpx.URL | None = None
        self._token: str | None = None
        self._ends_s = 0.0

    def header(self, exchange: Exchange) -> str | None:
        """``Bearer`` and a token that is still good.

        Raises:
            WardroundError: ``WR-DATA-062`` where no token is issued, ``-063`` where another
                server should issue it than the settings say, and as :meth:`Exchange.ask`.
        """
        if self._token is None or exchange.clock.monotonic() >= self._ends_s:
            self._token = self._issue(exchange)
        return f"Bearer {self._token}"

    def renew(self) -> bool:
        """Forget the token; true where there was one."""
        had, self._token = self._token is not None, None
        return had

    def _issue(self, exchange: Exchange) -> str:
        endpoint = self._endpoint or self._discover(exchange)
        asked_s = exchange.clock.monotonic()
        assertion = self._client.key.assertion(
            self._client.client_id,
            str(endpoint),
            int(exchange.clock.now().timestamp()),
            secrets.token_urlsafe(24),
        )
        form = {
            "grant_type": "client_credentials",
            "scope": self._client.scope,
            "client_assertion_type": _ASSERTION,
            "client_assertion": assertion,
        }
        try:
            answer = exchange.ask(
                Ask(
                    _ISSUING,
                    endpoint,
                    method="POST",
                    accept="application/json",
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                    content=urlencode(form).encode("ascii"),
                    token=False,
                )
            )
        except WardroundError as error:
            if error.code == "WR-DATA-061":  # OAuth says 400 for a client it doesn't accept
                raise no_access(_ISSUING, "The server issues no token to this client.") from None
            raise
        body = answer.body if isinstance(answer.body, dict) else {}
        token, kind = body.get("access_token"), body.get("token_type")
        if (
            not isinstance(token, str)
            or len(token) > _MAXIMUM_TOKEN
            or not _TOKEN.fullmatch(token)
            or not isinstance(kind, str)
            or kind.lower() != "bearer"
        ):
            raise not_fhir(_ISSUING)
        self._endpoint = endpoint
        self._ends_s = asked_s + _lifetime_s(body.get("expires_in")) - _SPARE_S
        return token

    def _discover(self, exchange: Exchange) -> httpx.URL:
        if self._client.token_url is not None:
            return httpx.URL(self._client.token_url)
        asked = exchange.base.join(".well-known/smart-configuration")
        answer = exchange.ask(Ask(_CONFIGURATION, asked, accept="application/json", token=False))
        if not isinstance(answer.body, dict):
            raise not_fhir(_CONFIGURATION)
        accepted = answer.body.get("token_endpoint_auth_signing_alg_values_supported")
        if isinstance(accepted, list) and self._client.key.algorithm not in accepted:
            raise no_access(
                _CONFIGURATION,
                f"The server does not accept signatures by {self._client.key.algorithm}.",
            )
        endpoint = resolve(answer.body.get("token_endpoint"), asked)
        if endpoint is None:
            raise not_fhir(_CONFIGURATION)
        if not exchange.base.shares_origin(endpoint):
            raise elsewhere(_CONFIGURATION)
        return endpoint


def _is_https(address: str) -> bool:
    url = parse(address)
    return url is not None and url.scheme == "https"


def _lifetime_s(stated: JSON) -> float:
    """How long a token is taken to be good; RFC 6749 section 5.1 lets the server say nothing."""
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        return _SHORTEST_S
    return min(max(float(stated), _SHORTEST_S), _LONGEST_S)
