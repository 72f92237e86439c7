"""FHIR R4 resources from files and live servers, each source as one stream of resources.

Files hold lines or Bundles; a server is searched page by page or exports in bulk. Whatever a
server does, it gets no token for another address, no more memory than a page, and no more time
than stated; nothing that it sends is saved here.
"""

from wardround.clinical.fhir.assertion import ClientKey
from wardround.clinical.fhir.exchange import Access, Clock, Limits, NoAccess
from wardround.clinical.fhir.export import Export, ExportStream
from wardround.clinical.fhir.files import FileStream
from wardround.clinical.fhir.schedule import due
from wardround.clinical.fhir.search import Search, SearchStream
from wardround.clinical.fhir.server import FhirServer, SystemClock
from wardround.clinical.fhir.smart import Client, SmartBackend
from wardround.clinical.fhir.stream import Body, Resource, ResourceStream, StreamRead
from wardround.clinical.fhir.subscription import Subscription, receiver, receiver_server
from wardround.clinical.fhir.transport import FhirTransport, proxy_for, tls_context

__all__ = [
    "Access",
    "Body",
    "Client",
    "ClientKey",
    "Clock",
    "Export",
    "ExportStream",
    "FhirServer",
    "FhirTransport",
    "FileStream",
    "Limits",
    "NoAccess",
    "Resource",
    "ResourceStream",
    "Search",
    "SearchStream",
    "SmartBackend",
    "StreamRead",
    "Subscription",
    "SystemClock",
    "due",
    "proxy_for",
    "receiver",
    "receiver_server",
    "tls_context",
]
