"""Published vectors, through what masks and seals, and through the reference that both answer to.

AES-256-CTR is in ``test_expand``, HKDF case 3 and X25519's section 6.1 in ``test_derive``, Ed25519
in ``trust/test_keys``, SHA-256 of the empty text in ``trust/test_canonical``.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg import reference
from wardround.secagg import derive, shamir
from wardround.trust.canonical import digest

# RFC 7748, section 5.2: scalar, u, result.
RFC_7748 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
# McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, cases 13, 14 and 16:
# key, nonce, plain text, authenticated data, ciphertext, tag.
GCM = [
    ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        "feffe9928665731c6d6a8f9467308308" * 2,
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize(("scalar", "u", "result"), RFC_7748)
def test_x25519_as_rfc_7748_section_5_2_has_it(scalar: str, u: str, result: str) -> None:
    private, public = bytes.fromhex(scalar), bytes.fromhex(u)
    assert derive.exchange(derive.private_key(private), public).hex() == result
    assert reference.x25519(private, public).hex() == result


def test_x25519_a_thousand_times_as_rfc_7748_section_5_2_has_it() -> None:
    k = u = (9).to_bytes(32, "little")
    for count in range(1000):
        k, u = derive.exchange(derive.private_key(k), u), k
        if count == 0:
            once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
            assert k.hex() == reference.x25519(u, u).hex() == once
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_hkdf_as_rfc_5869_appendix_a_3_has_it() -> None:
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert reference.hkdf(b"\x0b" * 22, b"").hex() == expected


@pytest.mark.parametrize(("key", "nonce", "plain", "extra", "cipher", "tag"), GCM)
def test_aes_256_gcm_as_its_authors_have_it(
    key: str, nonce: str, plain: str, extra: str, cipher: str, tag: str
) -> None:
    given = [bytes.fromhex(one) for one in (key, nonce, plain, extra)]
    assert reference.gcm(*given).hex() == cipher + tag
    assert AESGCM(given[0]).encrypt(given[1], given[2], given[3] or None).hex() == cipher + tag


def test_aes_256_as_fips_197_appendix_c_3_has_it() -> None:
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert reference.aes(bytes(range(32)), block).hex() == "8ea2b7ca516745bfeafc49904b496089"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
    ids=["one block", "two blocks", "a million"],
)
def test_sha_256_as_the_examples_of_fips_180_have_it(message: bytes, expected: str) -> None:
    assert digest(message) == f"sha256:{expected}"
    assert hashlib.sha256(message).hexdigest() == expected


def test_a_sharing_beyond_the_prime_worked_out_by_hand() -> None:
    """Secret 2^256 - 1, slope 2^256, p = 2^256 + 297.

    At 1: 2^257 - 1 - p = 2^256 - 298. At 2: 3 * 2^256 - 1 - 2p = 2^256 - 595.
    The line's value at 0 is 2 * (2^256 - 298) - (2^256 - 595) = 2^256 - 1.
    """
    secret, slope = b"\xff" * 32, (2**256).to_bytes(64, "big")
    shares = shamir.deal(secret, 2, 2, lambda _size: slope)
    assert [int.from_bytes(share, "big") for share in shares] == [2**256 - 298, 2**256 - 595]
    assert shamir.combine(dict(enumerate(shares, 1))) == secret
    assert reference.share_out(secret, 2, 2, lambda _size: slope) == [2**256 - 298, 2**256 - 595]
