"""Whether everything is in the folder that an agent needs, found out before a record is read."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate

from wardround.errors import WardroundError
from wardround.site.home import SiteHome
from wardround.trust.authority import certificate_expiry, peer_identity


def refuse_unready(home: SiteHome) -> None:
    """Return if an agent can start here.

    Raises WR-SITE-004 to -006, -009, -064, -065 and -067, WR-TRUST-011 and -012 for keys that
    can't be used, and the codes of `load_exclusions`.
    """
    check_signing_key(home)
    home.patient_key()
    home.require_coordinator(home.study)
    check_certificate(home)
    home.exclusions()


def check_signing_key(home: SiteHome) -> None:
    """Another key than the study's can't sign for this hospital, nor read what it signed."""
    if home.study.site_keys.get(home.name) != home.signing_key.public:
        raise WardroundError(
            "WR-SITE-064",
            "The signing key in this folder is not the one that the approved study lists for "
            f"{home.name}.",
            "Restore keys/signing.key from your backup; `wardround site show` prints the key that "
            "is there, to be compared with the study.",
            path=str(home.keys / "signing.key"),
        )


def check_certificate(home: SiteHome) -> None:
    """The agent's certificate is the coordinator's, for this hospital and study, and holds."""
    path = home.certificate_path
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise WardroundError(
            "WR-SITE-005",
            "This agent has not been enrolled, or its papers can't be read.",
            "Enrol it with the invitation from the study's coordinator.",
            path=str(path),
        ) from error
    identity = peer_identity(pem)
    authority = load_pem_x509_certificate(home.ca_path.read_bytes())
    named = (identity.study, identity.role, identity.name)
    try:
        if named != (home.study.id, "site", home.name):
            raise ValueError("it names another party")
        load_pem_x509_certificate(pem).verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise WardroundError(
            "WR-SITE-067",
            "The agent's certificate is not from the study's coordinator, or not for this agent.",
            "Ask the study's coordinator for a new invitation and enrol again.",
            path=str(path),
        ) from error
    if certificate_expiry(pem) <= datetime.now(UTC):
        raise WardroundError(
            "WR-SITE-009",
            "The agent's certificate has expired: it was off for longer than a day.",
            "Ask the study's coordinator for a new invitation and enrol again.",
            path=str(path),
        )
