"""Who said what, and proof that nothing was changed or forgotten since.

Keys and signed envelopes, canonical bytes to sign, the certificate authority of a coordinator,
mutual TLS, signed HTTP requests, and the Merkle journal. Everything here is pure apart from
reading and writing key files; clocks come in as arguments.
"""

from wardround.trust.canonical import JSON, canonical, digest, digest_json, parse_digest, parse_json
from wardround.trust.dsse import Envelope, Signature
from wardround.trust.keys import SigningKey, VerifyKey

__all__ = [
    "JSON",
    "Envelope",
    "Signature",
    "SigningKey",
    "VerifyKey",
    "canonical",
    "digest",
    "digest_json",
    "parse_digest",
    "parse_json",
]
