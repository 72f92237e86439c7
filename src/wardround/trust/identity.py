"""The name in a certificate: a SPIFFE id that says which study, which role, which party.

``spiffe://<trust domain>/study/<study>/site/<name>`` for a hospital's agent, and
``.../coordinator/<name>`` for a coordinator. The name is granted with the enrolment token, so a
certificate of one study or hospital can't be used in another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wardround.errors import WardroundError
from wardround.ids import SiteName, StudyId

Role = Literal["site", "coordinator"]

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TEXT = re.compile(r"spiffe://([^/]*)/study/([^/]*)/(site|coordinator)/([^/]*)")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One party of one study under one coordinator; raises WR-TRUST-030 unless well-formed."""

    trust_domain: str
    study: StudyId
    role: Role
    name: str

    def __post_init__(self) -> None:
        if (
            not _TRUST_DOMAIN.fullmatch(self.trust_domain)
            or self.role not in ("site", "coordinator")
            or not _LABEL.fullmatch(self.study)
            or not _LABEL.fullmatch(self.name)
        ):
            raise _malformed()

    @classmethod
    def of_site(cls, trust_domain: str, study: StudyId, name: SiteName) -> SpiffeId:
        """The identity of the agent of hospital ``name`` in ``study``."""
        return cls(trust_domain, study, "site", name)

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """The identity written as ``text``; it has one spelling only."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise _malformed()
        trust_domain, study, role, name = match.groups()
        return cls(trust_domain, StudyId(study), "site" if role == "site" else "coordinator", name)

    @property
    def text(self) -> str:
        """The identity as a URI."""
        return f"spiffe://{self.trust_domain}/study/{self.study}/{self.role}/{self.name}"

    def __str__(self) -> str:
        return self.text


def _malformed() -> WardroundError:
    return WardroundError(
        "WR-TRUST-030",
        "The name of a study, of a site or of a coordinator is malformed.",
        "Use at most 63 lower-case letters, digits and inner hyphens, such as north-general.",
    )
