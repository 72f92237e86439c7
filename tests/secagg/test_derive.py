"""Derivations: published vectors, and that no two purposes share a key."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.ids import BatchId, Digest, RunId, SiteName
from wardround.secagg import derive
from wardround.trust.canonical import digest

BATCH = derive.Batch(digest(b"s"), RunId("r"), BatchId("b"))
P = 2**255 - 19


def test_x25519_as_rfc_7748_section_6_1_has_it() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice_public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    bob_public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert derive.public_key(alice).hex() == alice_public
    assert derive.public_key(bob).hex() == bob_public
    for private, public in ((alice, bob_public), (bob, alice_public)):
        key = derive.private_key(private)
        assert derive.exchange(key, bytes.fromhex(public)).hex() == shared


def test_hkdf_as_rfc_5869_case_3_has_it() -> None:
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert derive.hkdf(b"\x0b" * 22, b"").hex() == expected


@pytest.mark.parametrize(
    "u",
    [
        0,
        1,
        P - 1,
        P,
        P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    ],
)
@pytest.mark.parametrize("high_bit", [0, 2**255])
def test_points_of_small_order_are_known_by_every_spelling(u: int, high_bit: int) -> None:
    public = (u + high_bit).to_bytes(32, "little")
    assert not derive.is_sound(public)
    with pytest.raises(ValueError, match=r"[Ee]rror"):
        derive.exchange(derive.private_key(bytes(range(32))), public)


@given(st.binary(min_size=32, max_size=32))
def test_ordinary_keys_are_sound(secret: bytes) -> None:
    assert derive.is_sound(derive.public_key(secret))


@given(st.binary(min_size=32, max_size=32))
def test_a_key_has_one_spelling(secret: bytes) -> None:
    """X25519 masks the highest bit and reduces what is left: a copied key would look new."""
    public = derive.public_key(secret)
    other = (int.from_bytes(public, "little") + 2**255).to_bytes(32, "little")
    mine = derive.private_key(bytes(range(32)))
    assert derive.exchange(mine, public) == derive.exchange(mine, other)
    assert not derive.is_sound(other)
    beyond = (P + 9).to_bytes(32, "little")
    assert derive.exchange(mine, beyond) == derive.exchange(mine, (9).to_bytes(32, "little"))
    assert not derive.is_sound(beyond)


def test_any_change_of_what_a_key_is_for_changes_the_key() -> None:
    one, other, third = SiteName("a"), SiteName("b"), SiteName("c")
    pair = {one: b"1" * 32, other: b"2" * 32}
    batches = [
        BATCH,
        derive.Batch(digest(b"t"), RunId("r"), BatchId("b")),
        derive.Batch(digest(b"s"), RunId("rb"), BatchId("")),
        derive.Batch(digest(b"s"), RunId("r"), BatchId("c")),
    ]
    manifests = [digest(b"m"), digest(b"n")]
    secret = bytes(32)
    keys: list[bytes] = []
    for batch, index, manifest in itertools.product(batches, (0, 1, 11), manifests):
        keys += [derive.self_mask_key(secret, batch, index, manifest, s) for s in (one, other)]
        for sites in (pair, {one: b"2" * 32, other: b"1" * 32}, {one: b"1" * 32, third: b"2" * 32}):
            keys.append(derive.pair_mask_key(secret, batch, index, manifest, sites))
    for batch, index in itertools.product(batches, (0, 1, 11)):
        keys += [derive.self_mask_commitment(secret, batch, index, s) for s in (one, other)]
    assert len(set(keys)) == len(keys)
    turned = {other: b"2" * 32, one: b"1" * 32}
    manifest = Digest(manifests[0])
    assert derive.pair_mask_key(secret, BATCH, 0, manifest, pair) == derive.pair_mask_key(
        secret, BATCH, 0, manifest, turned
    )


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_labels_are_injective(one: list[str], other: list[str]) -> None:
    assert (derive.label(BATCH, "p", *one) == derive.label(BATCH, "p", *other)) == (one == other)
