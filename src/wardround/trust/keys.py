"""Ed25519 keys (RFC 8032): a hospital's name is, in the end, the key it signs with.

The attacker owns the network and the coordinator and offers keys, files and signatures of its
making. What it can't do is sign for a key whose private half stayed at the hospital; so a private
key is written once, readable by its owner only, never overwritten, and never printed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wardround.errors import WardroundError

_PREFIX = "ed25519:"
_P = 2**255 - 19
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the eight points of small order. Under such a "key" signatures verify for
# messages that nobody signed, so its owner could disown any of them, and OpenSSL doesn't check.
# (Chalkias, Garillot, Nikolaenko 2020, "Taming the many EdDSAs", section 2.)
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public half: 32 bytes, written ``ed25519:<base64url without padding>``."""

    raw: bytes
    _key: Ed25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        # A y beyond the field is a second spelling of the same key: one key, one text.
        if len(self.raw) != 32 or y >= _P or y in _SMALL_ORDER_Y:
            raise _malformed_key()
        object.__setattr__(self, "_key", Ed25519PublicKey.from_public_bytes(self.raw))

    @classmethod
    def parse(cls, text: str) -> VerifyKey:
        """The key written as ``text``; raises WR-TRUST-014 for any but the one right spelling."""
        if not text.startswith(_PREFIX) or not text.isascii():
            raise _malformed_key()
        encoded = text.removeprefix(_PREFIX)
        try:
            raw = base64.b64decode(encoded + "=", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _malformed_key() from None
        key = cls(raw)
        if key.text != text:
            raise _malformed_key()
        return key

    @property
    def text(self) -> str:
        """The one spelling of this key; also its key id in envelopes."""
        return _PREFIX + base64.urlsafe_b64encode(self.raw).rstrip(b"=").decode()

    @property
    def fingerprint(self) -> str:
        """128 bits of SHA-256 in eight groups of four, to be compared by voice or on paper.

        To pass for another key, an attacker must find a second preimage of all 128 bits.
        """
        half = hashlib.sha256(self.raw).hexdigest()[:32]
        return " ".join(half[i : i + 4] for i in range(0, 32, 4))

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if this key signed ``data``; raise WR-TRUST-015 otherwise."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            raise WardroundError(
                "WR-TRUST-015",
                "A signature does not match the signed data and the signer's key.",
                "Compare the key's fingerprint with its owner's; if it is right, the data were "
                "altered on the way.",
            ) from None


class SigningKey:
    """The private half. It has no text form, and ``repr`` shows the public half only."""

    __slots__ = ("_key", "public")

    public: VerifyKey

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = VerifyKey(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.text})"

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key that :meth:`save` wrote.

        Raises WR-TRUST-011 when the file can't be read or holds no Ed25519 key in PKCS8 PEM, and
        WR-TRUST-012 when others than its owner may read or write it.
        """
        try:
            # The mode is taken from the open file, so that the file can't change in between.
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                pem = file.read(64 * 1024)
        except OSError as error:
            raise _unreadable(path) from error
        if mode & 0o077:
            raise WardroundError(
                "WR-TRUST-012",
                "A private key can be read or written by others than its owner.",
                f"Run 'chmod 600 {path}'; if others had access to this machine, make a new key.",
                path=str(path),
            )
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _unreadable(path) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise _unreadable(path)
        return cls(key)

    def save(self, path: Path) -> None:
        """Write PKCS8 PEM, mode 0600, durably; raises WR-TRUST-010 when ``path`` exists."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_new(path, pem, mode=0o600)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of ``data``."""
        return self._key.sign(data)

    def to_cryptography(self) -> Ed25519PrivateKey:
        """The key as ``cryptography`` has it, for signing certificates and requests for them."""
        return self._key


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Create ``path`` with ``mode`` from its first moment, durably, and never overwrite it.

    Raises WR-TRUST-010 when something, even a dangling link, is already there, and WR-TRUST-013
    when the file can't be written; a half-written file is removed.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise WardroundError(
            "WR-TRUST-010",
            "There is already a file where a key or certificate is to be written.",
            "Keep it: a lost signing key can't be replaced without a new study document. "
            "Choose another place for the new one.",
            path=str(path),
        ) from None
    except OSError as error:
        raise _unwritable(path) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path) from error


def sync_folder(folder: Path) -> None:
    """Make a new file's name durable: fsync of the file alone doesn't promise that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _malformed_key() -> WardroundError:
    return WardroundError(
        "WR-TRUST-014",
        "A public key is not 'ed25519:' and 43 letters of base64url that name a sound key.",
        "Copy the key again from its owner and compare fingerprints.",
    )


def _unreadable(path: Path) -> WardroundError:
    return WardroundError(
        "WR-TRUST-011",
        "A private key can't be read, or is no Ed25519 key in PKCS8 PEM.",
        "Check the path and who may read it, or restore the file from your backup.",
        path=str(path),
    )


def _unwritable(path: Path) -> WardroundError:
    return WardroundError(
        "WR-TRUST-013",
        "A key or certificate can't be written here.",
        "Check that the folder exists, that you may write to it, and that the disk has room.",
        path=str(path),
    )
