"""Every key and commitment of a secure sum, each from its own labelled derivation.

HKDF-SHA256 (RFC 5869) over X25519 (RFC 7748). The label holds the version, the purpose and all
that the value is for, each part with its length, so that no two purposes, rounds, manifests or
pairs of sites can ever meet in one key. A mask key therefore fits one manifest only: sites that
were shown different manifests hold masks that don't cancel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.ids import BatchId, Digest, RunId, SiteName

_VERSION = "wardround secagg v1"
# The u coordinates of the points of small order on the curve and its twist.
_SMALL_ORDER_U = frozenset(
    {
        0,
        1,
        2**255 - 20,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


@dataclass(frozen=True)
class Batch:
    """The set-up that a key belongs to."""

    study: Digest
    run: RunId
    batch: BatchId


def hkdf(secret: bytes, info: bytes) -> bytes:
    """32 bytes from a high-entropy ``secret``, without salt."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def private_key(secret: bytes | bytearray) -> X25519PrivateKey:
    """An X25519 private key from its 32 bytes."""
    return X25519PrivateKey.from_private_bytes(secret)


def public_key(secret: bytes | bytearray) -> bytes:
    """The X25519 public key that belongs to a private one."""
    return private_key(secret).public_key().public_bytes_raw()


def exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """The X25519 shared secret; raises ValueError unless :func:`is_sound` (``public``)."""
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def is_sound(public: bytes) -> bool:
    """Whether ``public`` can yield a secret: not so the points of small order (RFC 7748, 6.1).

    A second spelling of a key, which X25519 would take for the first, is none either: one key,
    one text, so that a key that is already in use is known again.
    """
    u = int.from_bytes(public, "little")
    return u < 2**255 - 19 and u not in _SMALL_ORDER_U


def self_mask_key(
    secret: bytes, batch: Batch, index: int, manifest: Digest, site: SiteName
) -> bytes:
    """The key of the mask that ``site`` alone adds in round ``index``."""
    return hkdf(secret, label(batch, "self mask", str(index), manifest, site))


def pair_mask_key(
    shared: bytes,
    batch: Batch,
    index: int,
    manifest: Digest,
    sites: dict[SiteName, bytes],
) -> bytes:
    """The key of the mask that two sites share in round ``index``.

    ``shared`` is their X25519 secret and ``sites`` their two names with their masking keys, in
    any order: the one that sorts first adds the mask and the other one subtracts it.
    """
    (one, one_key), (other, other_key) = sorted(sites.items())
    info = label(batch, "pair mask", str(index), manifest, one, one_key, other, other_key)
    return hkdf(shared, info)


def self_mask_commitment(secret: bytes, batch: Batch, index: int, site: SiteName) -> bytes:
    """What a site publishes of its self-mask secret; 256 random bits need no blinding."""
    info = label(batch, "self mask commitment", str(index), site, secret)
    return hashlib.sha256(info).digest()


def label(batch: Batch, purpose: str, *parts: str | bytes) -> bytes:
    """An injective encoding of a purpose and what it is for."""
    encoded = (
        part if isinstance(part, bytes) else part.encode()
        for part in (_VERSION, purpose, batch.study, batch.run, batch.batch, *parts)
    )
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
