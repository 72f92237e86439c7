"""A slow second implementation of the secure sum, written from the papers and for reading.

Python integers only, and of libraries SHA-256, HMAC and the bare AES block: X25519 is the ladder of
RFC 7748, HKDF that of RFC 5869, counter mode SP 800-38A, GCM SP 800-38D, the sharing Shamir 1979,
the masks Bonawitz et al. 2017. It imports nothing of Wardround, so that the two can't share a
mistake; whatever both compute from the same random bytes has to be the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SHARING_PRIME = 2**256 + 297
CURVE_PRIME = 2**255 - 19

Draw = Callable[[int], bytes]
Vector = list[int]
"""Elements of Z(2^32) or Z(2^64)."""


def stream(seed: str) -> Draw:
    """Bytes that follow from ``seed``: the same for whoever draws the same sizes in turn."""
    drawn = 0

    def draw(size: int) -> bytes:
        nonlocal drawn
        data = b""
        while len(data) < size:
            data += hashlib.sha256(f"{seed} {drawn}".encode()).digest()
            drawn += 1
        return data[:size]

    return draw


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869, sections 2.2 and 2.3, with no salt and one block of output."""
    pseudo_random_key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(pseudo_random_key, info + b"\x01", hashlib.sha256).digest()


def x25519(scalar: bytes, u: bytes) -> bytes:
    """RFC 7748, section 5."""
    clamped = bytearray(scalar)
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    k = int.from_bytes(clamped, "little")
    x1 = int.from_bytes(u, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % CURVE_PRIME, b * b % CURVE_PRIME
        e = aa - bb
        da, cb = (x3 - z3) * a % CURVE_PRIME, (x3 + z3) * b % CURVE_PRIME
        x3 = (da + cb) ** 2 % CURVE_PRIME
        z3 = x1 * (da - cb) ** 2 % CURVE_PRIME
        x2 = aa * bb % CURVE_PRIME
        z2 = e * (aa + 121665 * e) % CURVE_PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, CURVE_PRIME - 2, CURVE_PRIME) % CURVE_PRIME).to_bytes(32, "little")


def public_key(scalar: bytes) -> bytes:
    """RFC 7748, section 6.1: the base point is 9."""
    return x25519(scalar, (9).to_bytes(32, "little"))


def aes(key: bytes, blocks: bytes) -> bytes:
    """The bare block cipher on each block of 16 bytes."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


def expand(key: bytes, length: int, bits: int) -> Vector:
    """The first ``length`` elements of the vector a key stands for: AES of 0, 1, 2, …"""
    size = length * bits // 8
    counters = b"".join(i.to_bytes(16, "big") for i in range(-(-size // 16)))
    data = aes(key, counters)
    width = bits // 8
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, size, width)]


def gcm(key: bytes, nonce: bytes, plain: bytes, extra: bytes) -> bytes:
    """SP 800-38D, section 7.1, with a nonce of 96 bits: ciphertext, then tag."""
    counters = b"".join(nonce + i.to_bytes(4, "big") for i in range(1, 2 + -(-len(plain) // 16)))
    blocks = aes(key, counters)
    cipher = bytes(a ^ b for a, b in zip(plain, blocks[16:], strict=False))
    tag = _ghash(aes(key, bytes(16)), extra, cipher) ^ int.from_bytes(blocks[:16], "big")
    return cipher + tag.to_bytes(16, "big")


def gcm_open(key: bytes, nonce: bytes, sealed: bytes, extra: bytes) -> bytes:
    """The reverse; ValueError for a tag that is not the right one."""
    # Encrypting the ciphertext decrypts it; encrypting that again must give what was sent.
    plain = gcm(key, nonce, sealed[:-16], extra)[:-16]
    if gcm(key, nonce, plain, extra) != sealed:
        raise ValueError("a false tag")
    return plain


def _ghash(subkey: bytes, extra: bytes, cipher: bytes) -> int:
    h, value = int.from_bytes(subkey, "big"), 0
    padded = b"".join(part + bytes(-len(part) % 16) for part in (extra, cipher))
    lengths = (8 * len(extra)).to_bytes(8, "big") + (8 * len(cipher)).to_bytes(8, "big")
    data = padded + lengths
    for start in range(0, len(data), 16):
        value = _times(value ^ int.from_bytes(data[start : start + 16], "big"), h)
    return value


def _times(x: int, y: int) -> int:
    """SP 800-38D, section 6.3: the product of two blocks, the first bit the lowest power."""
    z, v = 0, y
    for i in reversed(range(128)):
        if x >> i & 1:
            z ^= v
        v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return z


def share_out(secret: bytes, threshold: int, sites: int, draw: Draw) -> list[int]:
    """Shamir 1979: the values at 1, 2, … of a polynomial whose value at 0 is the secret.

    Coefficients are drawn together, the highest power's first, 64 bytes each.
    """
    drawn = draw(64 * (threshold - 1))
    high = [int.from_bytes(drawn[64 * i :][:64], "big") for i in range(threshold - 1)]
    powers = [int.from_bytes(secret, "big"), *reversed(high)]
    return [
        sum(c * x**power for power, c in enumerate(powers)) % SHARING_PRIME
        for x in range(1, sites + 1)
    ]


def secret_of(shares: Mapping[int, int]) -> bytes:
    """Lagrange's value at 0 from any threshold of shares, each under its number."""
    value = 0
    for i, share in shares.items():
        term = share
        for j in shares:
            if j != i:
                term = term * j * pow(j - i, -1, SHARING_PRIME) % SHARING_PRIME
        value += term
    return (value % SHARING_PRIME).to_bytes(33, "big")[1:]


def digest(data: bytes) -> str:
    """How Wardround writes a SHA-256."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def plain_json(value: object) -> bytes:
    """RFC 8785 for objects of ASCII text and small numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Names:
    """What every key of one set-up is derived for."""

    study: str
    run: str
    batch: str

    def label(self, purpose: str, *parts: str | bytes) -> bytes:
        """Each part after its length in four bytes."""
        every = ("wardround secagg v1", purpose, self.study, self.run, self.batch, *parts)
        data = [part if isinstance(part, bytes) else part.encode() for part in every]
        return b"".join(len(part).to_bytes(4, "big") + part for part in data)

    def self_mask_key(self, secret: bytes, index: int, manifest: str, site: str) -> bytes:
        """The key of the mask that only ``site`` adds."""
        return hkdf(secret, self.label("self mask", str(index), manifest, site))

    def pair_mask_key(
        self,
        private: bytes,
        index: int,
        manifest: str,
        mine: tuple[str, bytes],
        peer: tuple[str, bytes],
    ) -> bytes:
        """The key of the mask of two sites (name and public key), from the private key of one."""
        (one, one_key), (other, other_key) = sorted((mine, peer))
        info = self.label("pair mask", str(index), manifest, one, one_key, other, other_key)
        return hkdf(x25519(private, peer[1]), info)

    def commitment(self, secret: bytes, index: int, site: str) -> bytes:
        """What a site publishes of a self-mask secret."""
        return hashlib.sha256(self.label("self mask commitment", str(index), site, secret)).digest()

    def route(
        self, private: bytes, peer: bytes, seen: str, sender: str, receiver: str
    ) -> tuple[bytes, bytes]:
        """The key of sealed shares on their way, and what is authenticated with them."""
        info = self.label("sealed shares", seen, sender, receiver)
        return hkdf(x25519(private, peer), info), info


class Site:
    """One site of one set-up, drawing what a site draws, in the order in which it draws it."""

    def __init__(self, names: Names, pool: Sequence[str], me: str, rounds: int, draw: Draw) -> None:
        self.names, self.pool, self.me, self.rounds, self._draw = names, pool, me, rounds, draw
        self.sealing = draw(32)
        self.secrets = [(draw(32), draw(32)) for _ in range(rounds)]
        self.sealing_public = public_key(self.sealing)
        self.masking_public = [public_key(masking) for masking, _ in self.secrets]

    def advert(self) -> bytes:
        """The payload that it signs."""

        def text(data: bytes) -> str:
            return base64.b64encode(data).decode()

        commitments = [
            self.names.commitment(secret, index, self.me)
            for index, (_, secret) in enumerate(self.secrets)
        ]
        return plain_json(
            {
                "study": self.names.study,
                "run": self.names.run,
                "batch": self.names.batch,
                "pool": sorted(self.pool),
                "rounds": self.rounds,
                "site": self.me,
                "sealing_key": text(self.sealing_public),
                "masking_keys": [text(key) for key in self.masking_public],
                "self_mask_commitments": [text(one) for one in commitments],
            }
        )

    def deal(
        self, sealing_keys: Mapping[str, bytes], threshold: int, seen: str
    ) -> dict[str, bytes]:
        """The sealed shares of all its secrets, for each peer of the roster."""
        roster = sorted(sealing_keys)
        dealt = [
            share_out(secret, threshold, len(roster), self._draw)
            for pair in self.secrets
            for secret in pair
        ]
        sealed = {}
        for number, peer in enumerate(roster):
            if peer != self.me:
                plain = b"".join(shares[number].to_bytes(33, "big") for shares in dealt)
                key, extra = self.names.route(self.sealing, sealing_keys[peer], seen, self.me, peer)
                sealed[peer] = gcm(key, bytes(12), plain, extra)
        return sealed

    def opened(self, sender: str, sealing_key: bytes, sealed: bytes, seen: str) -> list[int]:
        """The shares in a blob from ``sender``: masking, self-mask, of each round in turn."""
        key, extra = self.names.route(self.sealing, sealing_key, seen, sender, self.me)
        plain = gcm_open(key, bytes(12), sealed, extra)
        return [int.from_bytes(plain[i : i + 33], "big") for i in range(0, len(plain), 33)]

    def mask(
        self,
        index: int,
        manifest: str,
        values: Sequence[int],
        masking_keys: Mapping[str, bytes],
        bits: int,
    ) -> Vector:
        """Bonawitz et al. 2017, figure 4, round 2: x + PRG(b) + sum over v of ±PRG(s_uv)."""
        private, secret = self.secrets[index]
        masks = [(1, self.names.self_mask_key(secret, index, manifest, self.me))]
        mine = (self.me, masking_keys[self.me])
        for peer, key in masking_keys.items():
            if peer != self.me:
                pair = self.names.pair_mask_key(private, index, manifest, mine, (peer, key))
                masks.append((1 if self.me < peer else -1, pair))
        return combined(values, masks, bits)


def combined(values: Sequence[int], masks: Iterable[tuple[int, bytes]], bits: int) -> Vector:
    """``values`` with the vector of every key added (1) or taken away (-1), modulo the ring."""
    total = list(values)
    for sign, key in masks:
        for place, word in enumerate(expand(key, len(total), bits)):
            total[place] = (total[place] + sign * word) % 2**bits
    return total


def recovered_total(
    names: Names,
    index: int,
    manifest: str,
    masked: Mapping[str, Sequence[int]],
    masking_keys: Mapping[str, bytes],
    self_mask_shares: Mapping[str, Mapping[int, int]],
    masking_shares: Mapping[str, Mapping[int, int]],
    bits: int,
) -> Vector:
    """Figure 4, round 4: the survivors' sum less their own masks and those with who dropped."""
    total = [sum(column) % 2**bits for column in zip(*masked.values(), strict=True)]
    masks = [
        (-1, names.self_mask_key(secret_of(self_mask_shares[site]), index, manifest, site))
        for site in masked
    ]
    for gone in masking_keys.keys() - masked.keys():
        private = secret_of(masking_shares[gone])
        for site in masked:
            pair = names.pair_mask_key(
                private, index, manifest, (gone, masking_keys[gone]), (site, masking_keys[site])
            )
            masks.append((-1 if site < gone else 1, pair))
    return combined(total, masks, bits)
