"""A hospital's yes to one study: its own signature over the study's canonical form.

The attacker is a coordinator that would like to approve, extend or widen a study on a hospital's
behalf, or to show an approval of another study or of another hospital. It lacks the hospital's
key, and every approval names the one study, by digest, that it holds for. Days are UTC dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.study.document import Study
from wardround.study.profiles import Profile, refuse_if_incomplete
from wardround.trust.canonical import canonical, parse_digest, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

PAYLOAD_TYPE = "application/vnd.wardround.approval+json"


@dataclass(frozen=True)
class Approval:
    """What a hospital signed: this study, under this profile, from one day to another."""

    study: Digest
    site: SiteName
    profile: Profile
    approved_on: date
    approved_until: date

    def to_payload(self) -> bytes:
        """The bytes that are signed."""
        return canonical(
            {
                "study": self.study,
                "site": self.site,
                "profile": self.profile.value,
                "approved_on": self.approved_on.isoformat(),
                "approved_until": self.approved_until.isoformat(),
            }
        )

    @staticmethod
    def from_payload(payload: bytes) -> Approval:
        """Read a verified payload; raises WR-STUDY-071 for anything but exactly that form."""
        try:
            match parse_json(payload):
                case {
                    "study": str(study),
                    "site": str(site),
                    "profile": str(profile),
                    "approved_on": str(approved_on),
                    "approved_until": str(approved_until),
                    **rest,
                } if not rest:
                    return Approval(
                        parse_digest(study),
                        SiteName(site),
                        Profile(profile),
                        date.fromisoformat(approved_on),
                        date.fromisoformat(approved_until),
                    )
        except (WardroundError, ValueError):
            pass
        raise WardroundError(
            "WR-STUDY-071",
            "A signed approval is malformed.",
            "Approve the study again with the version of Wardround that the others run.",
        )


def approve(
    study: Study, site: SiteName, key: SigningKey, today: date, *, until: date | None = None
) -> Envelope:
    """Sign a study for a hospital, until ``until`` (by default the study's own last day).

    Refuses a study that is a draft or has expired, whose profile promises what doesn't exist, or
    that doesn't name this hospital with this key (WR-STUDY-076), and a last day before today or
    after the study's own (WR-STUDY-075).
    """
    digest = study.digest  # refuses a draft
    refuse_if_incomplete(study)
    study.refuse_if_expired(today)
    if study.site_keys.get(site) != key.public:
        raise WardroundError(
            "WR-STUDY-076",
            f"The study doesn't list the site {site!r} with this hospital's signing key.",
            "Send the investigator the site's name and public key, and compare fingerprints.",
            path="sites",
        )
    end = study.expires if until is None else until
    if not today <= end <= study.expires:
        raise WardroundError(
            "WR-STUDY-075",
            "The approval's last day lies before today or after the study's.",
            f"Choose a day from {today.isoformat()} to {study.expires.isoformat()}.",
        )
    approval = Approval(digest, site, study.profile, today, end)
    return sign(PAYLOAD_TYPE, approval.to_payload(), key)


def check_approval(
    envelope: Envelope, study: Study, site: SiteName, site_key: VerifyKey, today: date
) -> Approval:
    """Return the approval if it holds today for this study at this site; raise otherwise.

    ``site_key`` is the key that the caller trusts for the site; the study must list the same one.
    """
    try:
        approval = Approval.from_payload(verify(envelope, PAYLOAD_TYPE, site_key))
    except WardroundError as error:
        if error.code == "WR-STUDY-071":
            raise
        raise WardroundError(
            "WR-STUDY-070",
            f"The approval of {site!r} doesn't carry that hospital's signature, or was altered.",
            "Ask the hospital's steward to approve the study again.",
        ) from error
    if approval.study != study.digest or approval.profile is not study.profile:
        raise WardroundError(
            "WR-STUDY-072",
            f"The approval of {site!r} is for another study, or for another version of this one.",
            "Every change needs every hospital's approval anew: ask for it.",
        )
    if approval.site != site or study.site_keys.get(site) != site_key:
        raise WardroundError(
            "WR-STUDY-073",
            f"The approval that came for {site!r} was given by another hospital.",
            "Every hospital approves for itself: ask its steward.",
        )
    if not approval.approved_on <= today <= min(approval.approved_until, study.expires):
        raise WardroundError(
            "WR-STUDY-074",
            f"The approval of {site!r} holds from {approval.approved_on.isoformat()} to "
            f"{approval.approved_until.isoformat()}, and not today.",
            "Ask the hospital's steward to approve the study again, or check the clock (UTC).",
        )
    return approval
