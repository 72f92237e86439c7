"""Who said what, and proof that nothing was changed or forgotten since.

Keys and signed envelopes, canonical bytes to sign, the certificate authority of a coordinator,
mutual TLS, signed HTTP requests, and the Merkle journal. Everything here is pure apart from
reading and writing key files; clocks come in as arguments. ``authority`` and ``tls`` are imported
by their own names: X.509 takes longer to load than all the rest, and most callers don't need it.
"""

from wardround.trust.canonical import JSON, canonical, digest, digest_json, parse_digest, parse_json
from wardround.trust.dsse import Envelope, Signature
from wardround.trust.identity import SpiffeId
from wardround.trust.journal import (
    Checkpoint,
    Entry,
    Journal,
    LeafStore,
    MemoryLeafStore,
    sign_checkpoint,
    verify_checkpoint,
)
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.merkle import MerkleTree, leaf_hash, verify_consistency, verify_inclusion
from wardround.trust.replay import ReplayCache
from wardround.trust.requests import sign_request, verify_request
from wardround.trust.tokens import new_token, token_digest, token_matches

__all__ = [
    "JSON",
    "Checkpoint",
    "Entry",
    "Envelope",
    "Journal",
    "LeafStore",
    "MemoryLeafStore",
    "MerkleTree",
    "ReplayCache",
    "Signature",
    "SigningKey",
    "SpiffeId",
    "VerifyKey",
    "canonical",
    "digest",
    "digest_json",
    "leaf_hash",
    "new_token",
    "parse_digest",
    "parse_json",
    "sign_checkpoint",
    "sign_request",
    "token_digest",
    "token_matches",
    "verify_checkpoint",
    "verify_consistency",
    "verify_inclusion",
    "verify_request",
]
