"""The tables of ``study.toml``, each key with its bounds, its reason and its error code."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg.adversary import MAXIMUM_SITES
from wardround.study.rules import Closed, Rule
from wardround.trust.canonical import parse_digest
from wardround.trust.keys import VerifyKey

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
DRAFT = "draft"
"""The validation context's key under which a study may still lack addresses and keys."""


def _readable(text: str) -> str:
    """Refuse control and text-direction characters: a steward signs what a steward reads."""
    shown = all(character.isprintable() or character in "\n\t\u00a0" for character in text)
    if not text.strip() or not shown:
        raise ValueError
    return text


def _may_lack(text: str, info: ValidationInfo) -> bool:
    return text == "" and bool((info.context or {}).get(DRAFT))


def _public_key(text: str, info: ValidationInfo) -> str:
    if not _may_lack(text, info):
        try:
            VerifyKey.parse(text)
        except WardroundError as error:
            raise ValueError from error
    return text


def _digest(text: str, info: ValidationInfo) -> Digest:
    if not _may_lack(text, info):
        try:
            return parse_digest(text)
        except WardroundError as error:
            raise ValueError from error
    return Digest(text)


def https_origin(text: str) -> str:
    """Scheme, host and port of an HTTPS address and nothing else; raises ``ValueError``."""
    parts = urlsplit(text)
    port = parts.port  # raises ValueError beyond 65535
    surplus = parts.username or parts.password or parts.query or parts.fragment
    printable = all("!" <= character <= "~" for character in text)
    if parts.scheme != "https" or not parts.hostname or port == 0 or surplus or not printable:
        raise ValueError
    if parts.path not in ("", "/"):
        raise ValueError
    return text.rstrip("/")


def none_or_three(count: int) -> int:
    """A smallest cell: below three it would protect nobody, so then there is none."""
    if count in (1, 2):
        raise ValueError
    return count


def _https(text: str, info: ValidationInfo) -> str:
    return text if _may_lack(text, info) else https_origin(text)


Words: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=4000),
    AfterValidator(_readable),
    Rule(
        "WR-STUDY-011",
        "be readable text of 1 to 4000 characters",
        "Say it in plain words; control and text-direction characters aren't allowed.",
    ),
]
PublicKey: TypeAlias = Annotated[
    str,
    Field(max_length=100),
    AfterValidator(_public_key),
    Rule(
        "WR-STUDY-016",
        'be a public signing key, "ed25519:" and 43 characters',
        "Ask its owner for the key that the set-up printed, and compare its fingerprint by voice.",
    ),
]


class Coordinator(Closed):
    """Who runs the rounds. It can't approve, extend or widen anything."""

    name: Words
    """The institution that runs the coordinator."""

    url: Annotated[
        str,
        AfterValidator(_https),
        Rule(
            "WR-STUDY-015",
            'be an address such as "https://coordinator.example.org:8443"',
            "Hospitals connect over HTTPS only: scheme, host and port, nothing after them.",
        ),
    ] = ""
    """Where the hospitals' agents connect to."""

    signing_key: PublicKey = ""
    """The key that signs the manifests of rounds."""

    ca: Annotated[
        str,
        AfterValidator(_digest),
        Rule(
            "WR-STUDY-017",
            'be the digest of a certificate, "sha256:" and 64 hexadecimal digits',
            "`wardround coordinator init` prints it.",
        ),
    ] = ""
    """The SHA-256 of the certificate authority's certificate (DER)."""


class Site(Closed):
    """A hospital that takes part."""

    name: Annotated[
        SiteName,
        Field(pattern=NAME_PATTERN),
        Rule(
            "WR-STUDY-018",
            "be a short name of lower-case letters, digits and hyphens",
            'Write, for example, "north-general".',
        ),
    ]
    """The hospital's short name, used in certificates and reports."""

    signing_key: PublicKey = ""
    """The hospital's own key; it was made there and never leaves it."""

    @property
    def key(self) -> VerifyKey:
        """The signing key, ready to verify with (not in a draft that lacks it)."""
        return VerifyKey.parse(self.signing_key)


class AdversaryStatement(Closed):
    """Against whom the sums are protected, besides a coordinator that may do anything."""

    corrupt_sites: Annotated[
        int | None,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-022",
            "be a number of sites, 0 or more",
            "Leave it out for the usual assumption: fewer than a third, none of three.",
        ),
    ] = None
    """How many hospitals may collude with the coordinator; every threshold follows from it."""


class Data(Closed):
    """What is asked of the records, in concepts of the concept graph."""

    outcome: Annotated[
        str,
        Field(min_length=1, max_length=100),
        Rule("WR-STUDY-027", "be the id of a concept", 'Write, for example, "malignant".'),
    ]
    """The concept that is predicted."""

    features: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(min_length=1, max_length=1000),
        Rule(
            "WR-STUDY-028",
            "be a list of 1 to 1000 concept ids",
            'Write, for example, features = ["radius_mean", "texture_mean"].',
        ),
    ]
    """The concepts it is predicted from, in the model's order."""

    also_required: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(max_length=100),
        Rule(
            "WR-STUDY-049",
            "be a list of concept ids",
            'Write, for example, also_required = ["age_years"], or leave it out.',
        ),
    ] = ()
    """Concepts that a patient must have a usable value for, though the model doesn't use them."""

    test_fraction: Annotated[
        float,
        Field(ge=0.05, le=0.5),
        Rule(
            "WR-STUDY-030",
            "be a number from 0.05 to 0.5",
            "0.3 is usual: that share of patients is only ever used to test the model.",
        ),
    ] = 0.3
    """The share of patients that is kept for testing, chosen by a hash of their identifier."""

    held_out: Annotated[
        str | None,
        Field(min_length=1, max_length=100),
        Rule(
            "WR-STUDY-056",
            "be the id of a yes-or-no concept",
            'Write, for example, held_out = "reserved_for_testing", or leave it out.',
        ),
    ] = None
    """A yes-or-no concept that says who is kept for testing, where that was settled before; then
    nothing is drawn by ``test_fraction``. It must stand in ``also_required``."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Every concept that a patient must have a value for: features, outcome, and the rest."""
        return tuple(dict.fromkeys((*self.features, self.outcome, *self.also_required)))


class Disclosure(Closed):
    """How little the opened figures may say; a hospital's own policy may be tighter."""

    minimum_cell: Annotated[
        int,
        Field(ge=0, le=1000),
        AfterValidator(none_or_three),
        Rule(
            "WR-STUDY-042",
            "be 0 or a whole number from 3 to 1000",
            "5 is usual, 0 only for records that are public anyway.",
        ),
    ] = 5
    """A hospital with fewer patients with, or without, the outcome in either part stays out. 0, for
    public records, switches this off at hospitals that have 0 as well."""

    minimum_cohort: Annotated[
        int,
        Field(ge=5, le=1_000_000),
        Rule("WR-STUDY-043", "be a whole number from 5 to 1000000", "20 is usual."),
    ] = 20
    """A hospital with fewer training patients stays out."""

    opened_numbers: Annotated[
        int,
        Field(ge=1, le=1_000_000_000),
        Rule(
            "WR-STUDY-044",
            "be a whole number from 1 to 1000000000",
            "5000 is ample for a regression on ten features.",
        ),
    ]
    """How many numbers the whole study may open; a hospital answers nothing beyond."""
