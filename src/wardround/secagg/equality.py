"""Revealing one Diffie-Hellman secret and proving that it is the right one.

The owner of an X25519 key a shows S = X25519(a, P) for one peer's key P, and that the same a lies
behind its own public key: Chaum and Pedersen's proof of equal discrete logarithms (CRYPTO 1992,
section 3.2), made non-interactive after Fiat and Shamir, over the prime-order group that
Curve25519 (RFC 7748) shares with edwards25519 (RFC 8032). Nothing else about a is told, so every
other secret of the same key stays one.

X25519 scalars are multiples of the cofactor 8. The proof is therefore about a/8 over the bases 8B
and 8P: all points lie in the group of prime order L, which the verifier checks.

Python's integers don't run in constant time; as in `shamir`, the key lives for one set-up and is
handled once, at a site whose clock the attacker does not see to that precision.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TypeAlias

from wardround.secagg.derive import is_sound

PROOF_BYTES = 128
"""Own public point, shared point, challenge and response, 32 bytes each."""

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # a square root of -1

_Point: TypeAlias = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)."""

_NEUTRAL: _Point = (0, 1, 1, 0)


def is_on_curve(public: bytes) -> bool:
    """Whether an X25519 public key is a point of the curve, as every honest one is.

    X25519 also takes points of the curve's twist. No proof can be given about those.
    """
    return _lift(public) is not None


def prove(
    secret: bytes | bytearray,
    peer: bytes,
    context: bytes,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """A proof of `PROOF_BYTES` that reveals X25519(``secret``, ``peer``), bound to ``context``.

    Raises ValueError unless ``peer`` is a sound key on the curve.
    """
    lifted = _lift(peer)
    if lifted is None or not is_sound(peer):
        raise ValueError("there is no proof about a key that is not on the curve")
    scalar = _clamp(secret) >> 3
    bases = _times(8, _BASE), _times(8, lifted)
    own, shared = (_times(scalar, base) for base in bases)
    nonce = int.from_bytes(random_bytes(64), "little") % _L
    commitments = tuple(_compress(_times(nonce, base)) for base in bases)
    points = _compress(own) + _compress(shared)
    challenge = _challenge(context, peer, points, *commitments)
    response = (nonce + challenge * scalar) % _L
    return points + challenge.to_bytes(32, "little") + response.to_bytes(32, "little")


def reveal(public: bytes, peer: bytes, context: bytes, proof: bytes) -> bytes | None:
    """The X25519 secret of ``public`` and ``peer`` that a ``proof`` shows; None if it fails."""
    lifted = _lift(peer)
    if lifted is None or not is_sound(peer) or len(proof) != PROOF_BYTES:
        return None
    own, shared = _decompress(proof[:32]), _decompress(proof[32:64])
    challenge, response = (int.from_bytes(proof[i : i + 32], "little") for i in (64, 96))
    if own is None or shared is None or challenge >= _L or response >= _L:
        return None
    if not (_has_prime_order(own) and _has_prime_order(shared)):
        return None
    if _u(own) != _number(public):
        return None
    commitments = []
    for base, point in ((_BASE, own), (lifted, shared)):
        # response * 8 * base - challenge * point, as the challenge comes from points alone.
        taken = _times(_L - challenge, point)
        commitments.append(_compress(_add(_times(response, _times(8, base)), taken)))
    if _challenge(context, peer, proof[:64], *commitments) != challenge:
        return None
    return _u(shared).to_bytes(32, "little")


def _challenge(context: bytes, *parts: bytes) -> int:
    state = hashlib.sha512()
    for part in (b"wardround secagg v1 equal logarithms", context, *parts):
        state.update(len(part).to_bytes(4, "big") + part)
    return int.from_bytes(state.digest(), "little") % _L


def _clamp(secret: bytes | bytearray) -> int:
    """RFC 7748, section 5."""
    number = int.from_bytes(secret, "little") & (2**255 - 1)
    return (number & ~7) | 2**254


def _number(public: bytes) -> int:
    return (int.from_bytes(public, "little") & (2**255 - 1)) % _P


def _u(point: _Point) -> int:
    """The Montgomery coordinate of an Edwards point: (1 + y) / (1 - y)."""
    _, y, z, _ = point
    return (z + y) * pow(z - y, -1, _P) % _P if (z - y) % _P else 0


def _lift(public: bytes) -> _Point | None:
    """The Edwards point with an even x and this Montgomery coordinate."""
    u = _number(public)
    if len(public) != 32 or u == _P - 1:
        return None
    return _with_y((u - 1) * pow(u + 1, -1, _P) % _P, odd=0)


def _with_y(y: int, odd: int) -> _Point | None:
    """RFC 8032, 5.1.3."""
    above, below = (y * y - 1) % _P, (_D * y * y + 1) % _P
    square = above * pow(below, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _ROOT % _P
    if x * x % _P != square or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _compress(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | ((x * inverse % _P & 1) << 255)).to_bytes(32, "little")


def _decompress(data: bytes) -> _Point | None:
    number = int.from_bytes(data, "little")
    y = number & (2**255 - 1)
    return None if y >= _P else _with_y(y, odd=number >> 255)


def _add(one: _Point, other: _Point) -> _Point:
    """RFC 8032, 5.1.4: complete, so it also doubles."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    result = _NEUTRAL
    for bit in f"{scalar:b}":
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


def _has_prime_order(point: _Point) -> bool:
    x, y, z, _ = _times(_L, point)
    return x == 0 and (y - z) % _P == 0


def _base() -> _Point:
    point = _with_y(4 * pow(5, -1, _P) % _P, odd=0)
    if point is None:
        raise AssertionError("edwards25519 has a base point")
    return point


_BASE = _base()
