"""A live FHIR R4 server as a source: search, export and notifications behind one address."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import httpx

from wardround.clinical.fhir.address import Base
from wardround.clinical.fhir.bundle import not_fhir
from wardround.clinical.fhir.exchange import Access, Ask, Clock, Exchange, Limits, NoAccess
from wardround.clinical.fhir.export import Export, ExportStream
from wardround.clinical.fhir.search import Search, SearchStream, count
from wardround.clinical.fhir.subscription import Subscription, subscribe, unsubscribe
from wardround.errors import WardroundError

_METADATA = "GET metadata"


class SystemClock:
    """Time as this machine has it."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class FhirServer:
    """A server at ``base``, reached over ``transport``; one request is under way at a time.

    ``access`` says who asks (:class:`SmartBackend`, or nobody in particular). Two threads that
    read one server need two of these, with a transport each.

    Raises:
        WardroundError: ``WR-DATA-069`` for an address that can't be right.
    """

    def __init__(
        self,
        base: str,
        transport: httpx.BaseTransport,
        access: Access | None = None,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._exchange = Exchange(
            Base(base),
            transport,
            access or NoAccess(),
            clock or SystemClock(),
            limits or Limits(),
        )

    def check(self) -> None:
        """Make sure that the server speaks FHIR R4 in JSON.

        Raises:
            WardroundError: ``WR-DATA-066`` where it speaks another version, or as
                :meth:`Exchange.ask` where it can't be asked.
        """
        answer = self._exchange.ask(Ask(_METADATA, self._exchange.base.join("metadata")))
        statement = answer.body
        if (
            not isinstance(statement, dict)
            or statement.get("resourceType") != "CapabilityStatement"
        ):
            raise not_fhir(_METADATA)
        version = statement.get("fhirVersion")
        if not isinstance(version, str) or not version.startswith("4.0."):
            raise WardroundError(
                "WR-DATA-066",
                "The server does not speak FHIR R4 (version 4.0).",
                "Use the server's R4 base address; many serve several versions side by side.",
                path=_METADATA,
            )

    def search(self, name: str, search: Search) -> SearchStream:
        """The resources that ``search`` finds, as the source ``name``; asked when iterated over."""
        return SearchStream(name, self._exchange, search)

    def count(self, search: Search) -> int | None:
        """How many resources ``search`` would find; None where the server doesn't count."""
        return count(self._exchange, search)

    def export(self, name: str, export: Export) -> ExportStream:
        """The resources of an export, as the source ``name``; started when iterated over."""
        return ExportStream(name, self._exchange, export)

    def subscribe(self, subscription: Subscription) -> str:
        """Ask to be notified; see :func:`wardround.clinical.fhir.subscription.subscribe`."""
        return subscribe(self._exchange, subscription)

    def unsubscribe(self, name: str) -> None:
        """End a Subscription by its id."""
        unsubscribe(self._exchange, name)
