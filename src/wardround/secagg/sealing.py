"""Shares on their way from one site to another, through a coordinator that must not read them.

X25519 between the two sites' sealing keys of this batch, HKDF, AES-256-GCM. Each direction of
each pair in each batch has its own key and carries exactly one blob, so the nonce is zero. The
key and the authenticated data bind who sends to whom, the set-up, and the digest of all adverts:
a blob from another roster does not open.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg.derive import Batch, exchange, hkdf, label
from wardround.secagg.shamir import SHARE_BYTES, is_share

_NONCE = bytes(12)


@dataclass(frozen=True)
class Route:
    """One direction between two sites of a set-up."""

    batch: Batch
    adverts: Digest
    sender: SiteName
    receiver: SiteName

    def _cipher(self, shared: bytes) -> tuple[AESGCM, bytes]:
        info = label(self.batch, "sealed shares", self.adverts, self.sender, self.receiver)
        return AESGCM(hkdf(shared, info)), info

    def seal(self, private: X25519PrivateKey, public: bytes, shares: tuple[bytes, ...]) -> bytes:
        """``shares`` for the owner of ``public``; only once per route."""
        cipher, info = self._cipher(exchange(private, public))
        return cipher.encrypt(_NONCE, b"".join(shares), info)

    def unseal(
        self, private: X25519PrivateKey, public: bytes, blob: bytes, count: int
    ) -> tuple[bytes, ...]:
        """The ``count`` shares in ``blob``; raises WR-SECAGG-009 if it holds anything else."""
        return self.unseal_with(exchange(private, public), blob, count)

    def unseal_with(self, shared: bytes, blob: bytes, count: int) -> tuple[bytes, ...]:
        """As :meth:`unseal`, by the X25519 secret of the two sealing keys."""
        cipher, info = self._cipher(shared)
        try:
            plain = cipher.decrypt(_NONCE, blob, info)
        except InvalidTag:
            plain = b""
        shares = tuple(plain[i : i + SHARE_BYTES] for i in range(0, len(plain), SHARE_BYTES))
        if len(shares) != count or not all(is_share(share) for share in shares):
            raise WardroundError(
                "WR-SECAGG-009",
                f"The sealed shares from {self.sender} don't open, or hold no shares.",
                f"Repeat the set-up without {self.sender}, and ask there for the cause: "
                f"what was sent carries that site's signature.",
            )
        return shares
