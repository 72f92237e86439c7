"""A FHIR Subscription (R4, rest-hook): the server knocks when something changed.

A knock is a hint and nothing more: whoever reads the source again asks the server as always. What
a notification says is not even read. The receiver listens on this machine only, and knows its
server by a secret that the server was told when the Subscription was created.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardround.clinical.fhir.address import (
    LOOPBACK,
    Base,
    identifier,
    parse,
    query,
    resource_type,
    wrong_settings,
)
from wardround.clinical.fhir.bundle import not_fhir
from wardround.clinical.fhir.exchange import Ask, Exchange
from wardround.clinical.fhir.stream import Resource
from wardround.trust.canonical import canonical

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOOK = "/fhir-hook"
_HEADER = "X-Wardround-Hook"
_SHORTEST_SECRET = 32
_HOST = "127.0.0.1"
_CREATE, _DELETE = "POST Subscription", "DELETE Subscription/{id}"


@dataclass(frozen=True, repr=False)
class Subscription:
    """What to be told about, and how.

    ``parameters`` narrow the resources of ``type``; ``endpoint`` is the receiver's address on this
    machine as the server reaches it; ``secret`` at least 32 letters and digits, new for each
    Subscription; ``end`` an instant after which the server forgets it.

    Raises:
        WardroundError: ``WR-DATA-069`` where the endpoint is not on this machine, or another part
            can't be used.
    """

    type: str
    endpoint: str
    secret: str
    parameters: tuple[tuple[str, str], ...] = ()
    end: str | None = None

    def __post_init__(self) -> None:
        resource_type(self.type)
        query(self.parameters)
        url = parse(self.endpoint)
        if url is None or url.host not in LOOPBACK:
            raise wrong_settings("Notifications are received on this machine only.")
        _check_secret(self.secret)


def subscribe(exchange: Exchange, subscription: Subscription) -> str:
    """Create the Subscription; return its id, for :func:`unsubscribe`.

    It asks for empty notifications: no payload type is stated, so no resource is sent.

    Raises:
        WardroundError: as :meth:`Exchange.ask`; ``-064`` where the server names no id.
    """
    criteria = subscription.type
    if subscription.parameters:
        base = Base("https://localhost").join("").copy_with(params=list(subscription.parameters))
        criteria += f"?{base.query.decode('ascii')}"
    body: Resource = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Read changed records again",
        "criteria": criteria,
        "channel": {
            "type": "rest-hook",
            "endpoint": subscription.endpoint,
            "header": [f"{_HEADER}: {subscription.secret}"],
        },
    }
    if subscription.end is not None:
        body["end"] = subscription.end
    answer = exchange.ask(
        Ask(
            _CREATE,
            exchange.base.join("Subscription"),
            method="POST",
            headers={"Content-Type": "application/fhir+json", "Prefer": "return=representation"},
            content=canonical(body),
            expected=(200, 201),
            read=(200, 201),
        )
    )
    if isinstance(answer.body, dict) and isinstance(answer.body.get("id"), str):
        return identifier(str(answer.body["id"]))
    # Servers may answer with the address alone: [base]/Subscription/ID/_history/VERSION.
    before, found, rest = answer.headers.get("location", "").rpartition("Subscription/")
    if not found or (before and not before.endswith("/")):
        raise not_fhir(_CREATE)
    return identifier(rest.partition("/")[0])


def unsubscribe(exchange: Exchange, name: str) -> None:
    """Delete a Subscription; one that is gone already is no error. Raises as ``Exchange.ask``."""
    url = exchange.base.join(f"Subscription/{identifier(name)}")
    expected = (200, 202, 204, 404, 410)
    exchange.ask(Ask(_DELETE, url, method="DELETE", expected=expected, read=()))


def receiver(secret: str, changed: Callable[[], None]) -> Starlette:
    """An application that calls ``changed`` for each notification that shows ``secret``.

    ``changed`` should only set a mark: it is called in the event loop, as often as the server
    likes. Everything else is answered 401 or 404, in the same way whatever was wrong.

    Raises:
        WardroundError: ``WR-DATA-069`` for a secret that is too short to be one.
    """
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    expected = _hashed(_check_secret(secret))

    async def notified(request: Request) -> Response:
        shown = _hashed(request.headers.get(_HEADER, ""))
        # Hashes have one length, so that the comparison tells nothing about the secret's.
        if not hmac.compare_digest(shown, expected) or not _is_local(request):
            return Response(status_code=401)
        changed()
        return Response(status_code=200)

    methods = ["POST", "PUT"]  # a server that sends the resource all the same updates with PUT
    paths = (HOOK, HOOK + "/{rest:path}")
    return Starlette(routes=[Route(path, notified, methods=methods) for path in paths])


def receiver_server(application: Starlette, port: int = 0) -> uvicorn.Server:
    """A server for the receiver that is ready to run, on this machine's own address only."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            application,
            host=_HOST,
            port=port,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=16,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
    )


def _is_local(request: Request) -> bool:
    """Whether caller and stated host are this machine: a web page elsewhere may know a port."""
    caller = request.client.host if request.client is not None else ""
    return caller in LOOPBACK and request.url.hostname in LOOPBACK


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _check_secret(secret: str) -> str:
    if len(secret) < _SHORTEST_SECRET or not secret.isascii() or not secret.isalnum():
        raise wrong_settings("The receiver's secret is at least 32 letters and digits.")
    return secret
