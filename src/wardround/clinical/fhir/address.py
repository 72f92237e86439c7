"""The one address that a FHIR source may talk to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from wardround.errors import WardroundError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAXIMUM_ADDRESS = 8192
_PORTS = {"https": 443, "http": 80}
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")

_SHOWN = frozenset(
    {"code", "category", "status", "date", "_count", "_lastUpdated", "_type", "_since", "_sort"}
    | {"_elements", "_include", "_total", "_summary", "_outputFormat"}
)
"""Parameters whose values say what is asked, not about whom."""


@dataclass(frozen=True)
class Base:
    """A FHIR server's base address, such as ``https://ehr.hospital.example/fhir``.

    Raises:
        WardroundError: ``WR-DATA-069`` where it is not an ``https`` address, or ``http`` on this
            machine.
    """

    address: str

    def __post_init__(self) -> None:
        url = parse(self.address)
        if (
            url is None
            or url.query
            or url.fragment
            or not (url.scheme == "https" or (url.scheme == "http" and url.host in LOOPBACK))
            or _segments(url) is None
        ):
            raise wrong_settings("The base address must be https://HOST/PATH, without a query.")

    def join(self, path: str) -> httpx.URL:
        """The address of ``path`` below the base."""
        return httpx.URL(f"{self.address.rstrip('/')}/{path}")

    def follow(self, link: object, asked: httpx.URL, what: str) -> httpx.URL:
        """The address that a link in an answer means, which must lie below this base.

        Raises:
            WardroundError: ``WR-DATA-063`` where it leads anywhere else, or nowhere.
        """
        url = resolve(link, asked)
        if url is None or not self.contains(url):
            raise elsewhere(what)
        return url

    def contains(self, url: httpx.URL) -> bool:
        """Whether ``url`` is this base or lies below it, segment by segment.

        Another path of the same host may be another application, which must not get a token.
        """
        base, asked = _segments(httpx.URL(self.address)), _segments(url)
        return (
            self.shares_origin(url)
            and base is not None
            and asked is not None
            and asked[: len(base)] == base
        )

    def shares_origin(self, url: httpx.URL) -> bool:
        """Whether ``url`` has this base's scheme, host and port."""
        return origin(url) == origin(httpx.URL(self.address))


def _segments(url: httpx.URL) -> list[str] | None:
    """A path's segments, decoded; None where servers may read it in more than one way.

    Dots that climb, slashes in disguise (``%2e%2e``, ``%2f``, twice encoded too) and the
    parameters that some servers cut off (``..;x``) can make one path out of another.
    """
    raw = url.raw_path.decode("ascii").partition("?")[0]
    segments = []
    for part in raw.rstrip("/").split("/"):
        segment, last = unquote(part), part
        while segment != last:
            segment, last = unquote(segment), segment
        if segment.partition(";")[0] in (".", "..") or "/" in segment or "\\" in segment:
            return None
        segments.append(segment)
    return segments


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port; the default port is the same as none."""
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def parse(address: str) -> httpx.URL | None:
    """An absolute address without a user's name in it; None for anything else."""
    if len(address) > _MAXIMUM_ADDRESS or not address.isprintable() or " " in address:
        return None
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError):
        return None
    return None if url.userinfo or not url.host or "\\" in address else url


def resolve(link: object, asked: httpx.URL) -> httpx.URL | None:
    """The absolute address that ``link`` means in the answer to ``asked``."""
    if not isinstance(link, str) or not link or len(link) > _MAXIMUM_ADDRESS:
        return None
    try:
        return parse(str(asked.join(link)))
    except (httpx.InvalidURL, ValueError):
        return None


def resource_type(name: str) -> str:
    """Check the name of a resource type. Raises ``WR-DATA-069``."""
    if not _TYPE.fullmatch(name):
        raise wrong_settings("A resource type is a name such as Observation.")
    return name


def identifier(text: str) -> str:
    """Check a FHIR id, which is to be part of an address. Raises ``WR-DATA-069``."""
    if not _ID.fullmatch(text) or text in (".", ".."):
        raise wrong_settings("A FHIR id is letters, digits, '-' and '.', at most 64.")
    return text


def query(parameters: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Check search parameters. Raises ``WR-DATA-069``."""
    for name, value in parameters:
        if not _PARAMETER.fullmatch(name) or not value or not value.isprintable():
            raise wrong_settings("A search parameter has a name such as code, and a value.")
    return parameters


def in_words(path: str, parameters: tuple[tuple[str, str], ...]) -> str:
    """A request as provenance states it: values that may be a patient's are left out."""
    shown = (
        f"{name}={value if name.partition(':')[0] in _SHOWN else '…'}" for name, value in parameters
    )
    return f"{path}?{'&'.join(shown)}" if parameters else path


def wrong_settings(problem: str) -> WardroundError:
    """Return the error for a description of a server that can't be right."""
    return WardroundError(
        "WR-DATA-069", problem, "Mend the description of the FHIR server.", path="server"
    )


def elsewhere(what: str) -> WardroundError:
    """Return the error for an answer that sends the agent to another server."""
    return WardroundError(
        "WR-DATA-063",
        "The answer leads to an address outside the FHIR server.",
        "State the server's public base address exactly as its own links have it; "
        "nothing was sent to the other address.",
        path=what,
    )
