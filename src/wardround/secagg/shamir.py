"""Shamir's secret sharing (Shamir 1979) of 32-byte secrets over a prime field.

The field is the integers modulo 2^256 + 297, the least prime above 2^256: it holds every 32-byte
secret as one element, and any t - 1 shares are independent of the secret. Share number i is the
value at x = i of a polynomial of degree t - 1 whose value at 0 is the secret.

Shares authenticate nothing. Who reconstructs compares the result with what the dealer published
(a public key, a commitment), as :mod:`wardround.secagg.recovery` does.

Python's integers don't run in constant time. The secrets here live for one round and are handled
once, at a site whose clock the attacker does not see to that precision; long-lived keys never
come here.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
"""A field element, big-endian: 257 bits."""

_WIDE = 64
"""Bytes drawn per coefficient: modulo the prime, within 2^-250 of uniform."""


def deal(
    secret: bytes,
    threshold: int,
    sites: int,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[bytes, ...]:
    """Shares 1 to ``sites`` of ``secret``, any ``threshold`` of which give it back.

    Raises ValueError for a secret of another length and unless 1 <= threshold <= sites.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= sites:
        raise ValueError("a secret has 32 bytes and a threshold lies between 1 and the sites")
    drawn = random_bytes(_WIDE * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[start : start + _WIDE], "big") % PRIME
        for start in range(0, len(drawn), _WIDE)
    ]
    coefficients.append(int.from_bytes(secret, "big"))
    return tuple(
        _evaluate(coefficients, x).to_bytes(SHARE_BYTES, "big") for x in range(1, sites + 1)
    )


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret from exactly threshold ``shares``, each under its number.

    None if what they give is no 32-byte secret, which happens only when a share is false.
    """
    numbers = tuple(sorted(shares))
    value = sum(
        weight * int.from_bytes(shares[number], "big")
        for number, weight in zip(numbers, _weights(numbers, 0), strict=True)
    )
    value %= PRIME
    return value.to_bytes(SECRET_BYTES, "big") if value < 2 ** (8 * SECRET_BYTES) else None


def agrees(shares: Mapping[int, bytes], number: int, share: bytes) -> bool:
    """Whether ``share`` under ``number`` lies on the polynomial through threshold ``shares``."""
    numbers = tuple(sorted(shares))
    weights = _weights(numbers, number)
    value = sum(
        weight * int.from_bytes(shares[one], "big")
        for one, weight in zip(numbers, weights, strict=True)
    )
    return value % PRIME == int.from_bytes(share, "big")


def is_share(data: bytes) -> bool:
    """Whether ``data`` is a field element in the form of a share."""
    return len(data) == SHARE_BYTES and int.from_bytes(data, "big") < PRIME


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    """The polynomial at ``x``, by Horner's rule; the highest coefficient comes first."""
    value = 0
    for coefficient in coefficients:
        value = (value * x + coefficient) % PRIME
    return value


@lru_cache(maxsize=1024)
def _weights(numbers: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Lagrange's weights for the value at ``at`` from the values at ``numbers``."""
    result = []
    for i in numbers:
        # Products of small numbers: cheaper unreduced than modulo the prime.
        above = math.prod(at - j for j in numbers if j != i)
        below = math.prod(i - j for j in numbers if j != i)
        result.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(result)
