"""One-time enrolment tokens: a secret that a person carries from the coordinator to a hospital.

The coordinator keeps only the digest, so that who reads its database can't enrol. A token has 256
bits from the operating system's generator; guessing is hopeless and a plain hash needs no salt.
"""

from __future__ import annotations

import hmac
import secrets

from wardround.ids import Digest
from wardround.trust.canonical import digest

_PREFIX = "wr-enrol-"  # lets a scanner for leaked secrets recognise one


def new_token() -> str:
    """A fresh token, to be shown once."""
    return _PREFIX + secrets.token_urlsafe(32)


def token_digest(text: str) -> Digest:
    """What the coordinator stores of a token. Surrounding white space from pasting is ignored."""
    return digest(text.strip().encode())


def token_matches(text: str, stored: Digest) -> bool:
    """Whether ``text`` is the token whose digest is ``stored``, in constant time."""
    return hmac.compare_digest(token_digest(text), stored)
