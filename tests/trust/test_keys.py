import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.keys import SigningKey, VerifyKey

# RFC 8032 section 7.1: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def key_of(secret: str) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors(secret: str, public: str, message: str, signature: str) -> None:
    key = key_of(secret)
    assert key.public.raw.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    key.public.verify(bytes.fromhex(signature), bytes.fromhex(message))


@given(data=st.binary(max_size=64), position=st.integers(0, 511))
def test_every_flipped_bit_of_a_signature_is_found(data: bytes, position: int) -> None:
    key = key_of(RFC_8032[0][0])
    signature = bytearray(key.sign(data))
    signature[position // 8] ^= 1 << position % 8
    with pytest.raises(WardroundError, match="WR-TRUST-015"):
        key.public.verify(bytes(signature), data)
    with pytest.raises(WardroundError, match="WR-TRUST-015"):
        key.public.verify(key.sign(data), data + b"\0")


def test_a_signature_has_no_second_form() -> None:
    key = key_of(RFC_8032[0][0])
    signature = key.sign(b"x")
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(WardroundError, match="WR-TRUST-015"):
        key.public.verify(signature[:32] + s.to_bytes(32, "little"), b"x")


def test_text_and_fingerprint() -> None:
    public = key_of(RFC_8032[0][0]).public
    assert public.text == "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert VerifyKey.parse(public.text) == public
    assert hash(VerifyKey.parse(public.text)) == hash(public)
    # sha256 of the public key, computed with sha256sum
    assert public.fingerprint == "21fe 31df a154 a261 626b f854 046f d227"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "rsa:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp",  # stray bits in the last letter
        "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR",
        "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\n",
        "ed25519:é1qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-014"):
        VerifyKey.parse(text)


@pytest.mark.parametrize("sign_bit", [0, 1])
@pytest.mark.parametrize(
    "encoding",
    [  # as listed in libsodium's ge25519_has_small_order
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ],
)
def test_keys_of_small_order_and_second_encodings_are_refused(encoding: str, sign_bit: int) -> None:
    raw = bytearray.fromhex(encoding)
    raw[31] |= sign_bit << 7
    with pytest.raises(WardroundError, match="WR-TRUST-014"):
        VerifyKey(bytes(raw))


def test_save_and_load(tmp_path: Path) -> None:
    key = SigningKey.generate()
    path = tmp_path / "site.key"
    old = os.umask(0)
    try:
        key.save(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = SigningKey.load(path)
    assert loaded.public == key.public
    key.public.verify(loaded.sign(b"x"), b"x")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    first = SigningKey.generate()
    first.save(path)
    with pytest.raises(WardroundError, match="WR-TRUST-010"):
        SigningKey.generate().save(path)
    assert SigningKey.load(path).public == first.public


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "site.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WardroundError, match="WR-TRUST-010"):
        SigningKey.generate().save(tmp_path / "site.key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-013"):
        SigningKey.generate().save(tmp_path / "none" / "site.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.key"
    SigningKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(WardroundError, match="WR-TRUST-012"):
        SigningKey.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    with pytest.raises(WardroundError, match="WR-TRUST-011"):
        SigningKey.load(path)
    other = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n", other):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(WardroundError, match="WR-TRUST-011"):
            SigningKey.load(path)


def test_the_private_half_is_never_shown() -> None:
    key = key_of(RFC_8032[0][0])
    assert "9d61" not in repr(key) and "9d61" not in str(key)
    assert key.public.text in repr(key)
