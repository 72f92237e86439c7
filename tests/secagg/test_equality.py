"""Revealing one shared secret: against X25519 and Ed25519 of an independent implementation."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.secagg import derive, equality

KEY = st.binary(min_size=32, max_size=32)
LOW_ORDER = (bytes(32), b"\1" + bytes(31), (2**255 - 20).to_bytes(32, "little"))


def keys(secret: bytes, peer: bytes) -> tuple[bytes, bytes, bytes]:
    """Both public keys, and the secret between them by the library."""
    public, theirs = derive.public_key(secret), derive.public_key(peer)
    return public, theirs, derive.exchange(derive.private_key(secret), theirs)


@settings(max_examples=15, deadline=None)
@given(KEY, KEY, st.binary(max_size=20))
def test_what_is_revealed_is_what_x25519_gives(secret: bytes, peer: bytes, context: bytes) -> None:
    public, theirs, shared = keys(secret, peer)
    proof = equality.prove(secret, theirs, context)
    assert len(proof) == equality.PROOF_BYTES
    assert equality.reveal(public, theirs, context, proof) == shared
    assert equality.reveal(public, theirs, context + b"x", proof) is None
    assert equality.reveal(theirs, public, context, proof) is None or secret == peer
    for byte in range(0, 128, 31):
        false = bytearray(proof)
        false[byte] ^= 1
        assert equality.reveal(public, theirs, context, bytes(false)) is None


def test_the_curve_is_edwards25519() -> None:
    """The library's own public keys are multiples of the same base point."""
    for number in range(3):
        seed = bytes([number]) * 32
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        point = equality._decompress(public)
        assert point is not None and equality._has_prime_order(point)
        assert equality._compress(point) == public
    nine = equality._lift((9).to_bytes(32, "little"))
    assert (
        nine is not None
        and equality._compress(nine)[:31] == equality._compress(equality._BASE)[:31]
    )


@settings(max_examples=15, deadline=None)
@given(KEY, KEY, KEY)
def test_no_other_secret_can_be_shown(secret: bytes, peer: bytes, other: bytes) -> None:
    public, theirs, shared = keys(secret, peer)
    proof = equality.prove(other, theirs, b"")
    shown = equality.reveal(public, theirs, b"", proof)
    assert shown is None or shown == shared  # the same scalar once clamped


def torsion() -> equality._Point:
    """A point of order 8: what is left of some point once the prime order is taken out."""
    y = 2
    while True:
        point = equality._with_y(y, odd=0)
        if point is not None:
            rest = equality._times(equality._L, point)
            if equality._compress(equality._times(4, rest)) != equality._compress(
                equality._NEUTRAL
            ):
                return rest
        y += 1


def test_a_shared_point_with_a_part_of_small_order_is_refused() -> None:
    """Without the check of the order, one try in eight would prove a secret that is none."""
    secret, peer = secrets.token_bytes(32), secrets.token_bytes(32)
    public, theirs, _ = keys(secret, peer)
    small = torsion()
    for place in (0, 32):
        for context in range(16):
            proof = equality.prove(secret, theirs, bytes([context]))
            point = equality._decompress(proof[place : place + 32])
            assert point is not None
            shifted = equality._compress(equality._add(point, small))
            false = proof[:place] + shifted + proof[place + 32 :]
            assert equality.reveal(public, theirs, bytes([context]), false) is None


def grind(secret: bytes, theirs: bytes, small: equality._Point) -> bytes:
    """A proof for the shared point plus ``small``, made by whoever knows the secret."""
    lifted = equality._lift(theirs)
    assert lifted is not None
    scalar = equality._clamp(secret) >> 3
    bases = equality._times(8, equality._BASE), equality._times(8, lifted)
    own = equality._times(scalar, bases[0])
    shared = equality._add(equality._times(scalar, bases[1]), small)
    points = equality._compress(own) + equality._compress(shared)
    while True:
        nonce = int.from_bytes(secrets.token_bytes(64), "little") % equality._L
        sent = [equality._compress(equality._times(nonce, base)) for base in bases]
        challenge = equality._challenge(b"", theirs, points, *sent)
        if (equality._L - challenge) % 8 == 0:  # then the small part vanishes
            response = (nonce + challenge * scalar) % equality._L
            return points + challenge.to_bytes(32, "little") + response.to_bytes(32, "little")


def test_a_false_point_that_would_pass_the_equations_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, peer = secrets.token_bytes(32), secrets.token_bytes(32)
    public, theirs, shared = keys(secret, peer)
    false = grind(secret, theirs, torsion())
    assert equality.reveal(public, theirs, b"", false) is None
    monkeypatch.setattr(equality, "_has_prime_order", lambda _point: True)
    shown = equality.reveal(public, theirs, b"", false)
    assert shown is not None and shown != shared, "so the check is what stops it"


def test_junk_proves_nothing() -> None:
    public, theirs, _ = keys(b"a" * 32, b"b" * 32)
    good = equality.prove(b"a" * 32, theirs, b"")
    for proof in (b"", good[:-1], good + b"x", bytes(128), b"\xff" * 128, good[:96] + b"\xff" * 32):
        assert equality.reveal(public, theirs, b"", proof) is None


def test_keys_on_the_twist_or_of_small_order_have_no_proof() -> None:
    twist = next(
        one
        for number in range(2, 50)
        if not equality.is_on_curve(one := number.to_bytes(32, "little"))
    )
    for peer in (twist, *LOW_ORDER):
        with pytest.raises(ValueError, match="curve"):
            equality.prove(b"a" * 32, peer, b"")
        assert equality.reveal(derive.public_key(b"a" * 32), peer, b"", bytes(128)) is None


@settings(max_examples=50, deadline=None)
@given(KEY)
def test_every_honest_key_is_on_the_curve(secret: bytes) -> None:
    assert equality.is_on_curve(derive.public_key(secret))
