"""SMART Backend Services: assertions that others verify, tokens that are renewed and kept."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from starlette.responses import JSONResponse, Response

import requires
from fhir_server import FakeClock, FhirServerDouble, InProcess, outcome, patients, unpadded
from wardround.clinical.fhir import Client, ClientKey, FhirServer, Search, SmartBackend
from wardround.errors import WardroundError

BASE = "https://ehr.example/fhir"
KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
    "RS384": rsa.generate_private_key(65537, 2048),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
}


def pem(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def number(value: int, size: int = 0) -> str:
    data = value.to_bytes(size or (value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        inner, public = key.private_numbers(), key.private_numbers().public_numbers
        values = {"n": public.n, "e": public.e, "d": inner.d, "p": inner.p, "q": inner.q}
        values |= {"dp": inner.dmp1, "dq": inner.dmq1, "qi": inner.iqmp}
        return {"kty": "RSA", "kid": "k1"} | {name: number(v) for name, v in values.items()}
    numbers = key.private_numbers()
    values = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y}
    values |= {"d": numbers.private_value}
    made = {name: number(value, 48) for name, value in values.items()}
    return {"kty": "EC", "crv": "P-384", "kid": "k1"} | made


class Hospital:
    def __init__(self, algorithm: str = "ES384", *, token_life_s: int = 300, **client: Any) -> None:
        key = KEYS[algorithm]
        self.clock = FakeClock()
        self.server = FhirServerDouble(
            BASE,
            patients(25),
            keys={"k1": key.public_key()},
            token_life_s=token_life_s,
            page_size=10,
            now=self.clock.now,
        )
        self.access = SmartBackend(
            Client(**{"client_id": "wardround", "key": ClientKey(key, "k1")} | client)
        )
        transport = InProcess(self.server.app())
        self.client = FhirServer(BASE, transport, self.access, clock=self.clock)

    def read(self) -> int:
        return len(list(self.client.search("ehr", Search("Patient"))))

    def asked(self, path: str) -> int:
        return sum(path in asked for _, asked, _ in self.server.requests)

    def code(self) -> str:
        with pytest.raises(WardroundError) as refused:
            self.read()
        assert "Muster" not in str(refused.value)
        return refused.value.code


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_server_that_verifies_the_assertion_lets_the_agent_in(algorithm: str) -> None:
    hospital = Hospital(algorithm)
    assert hospital.read() == 25
    assert hospital.read() == 25
    assert hospital.asked("/token") == hospital.asked("/.well-known/") == 1


@pytest.mark.parametrize("algorithm", KEYS)
def test_openssl_verifies_the_assertion(tmp_path: Path, algorithm: str) -> None:
    openssl = requires.system("openssl")
    key = KEYS[algorithm]
    made = ClientKey(key, "k1").assertion("me", "https://auth.example/token", 1000, "once")
    signed, _, signature = made.rpartition(".")
    header, claims = (json.loads(unpadded(part)) for part in signed.split("."))
    assert header == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
    expected = {"iss": "me", "sub": "me", "aud": "https://auth.example/token", "jti": "once"}
    assert claims == expected | {"iat": 1000, "exp": 1240}

    raw = unpadded(signature)
    if algorithm == "ES384":
        assert len(raw) == 96
        raw = der(raw[:48], raw[48:])
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name, content in (("key", public), ("signature", raw), ("text", signed.encode())):
        (tmp_path / name).write_bytes(content)
    command = [openssl, "dgst", "-sha384", "-verify", "key", "-signature", "signature", "text"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def der(r: bytes, s: bytes) -> bytes:
    """SEQUENCE of two INTEGERs, by hand."""
    parts = b""
    for half in (r, s):
        half = half.lstrip(b"\0")
        half = (b"\0" if half[0] & 0x80 else b"") + half
        parts += bytes((2, len(half))) + half
    return bytes((0x30, len(parts))) + parts


def test_an_rsa_signature_is_the_one_that_openssl_makes(tmp_path: Path) -> None:
    openssl = requires.system("openssl")
    key = KEYS["RS384"]
    (tmp_path / "k.jwk").write_text(json.dumps(jwk(key)))
    (tmp_path / "k.pem").write_bytes(pem(key))
    made = ClientKey.load(tmp_path / "k.jwk").assertion("me", "aud", 0, "x")
    signed, _, signature = made.rpartition(".")
    command = [openssl, "dgst", "-sha384", "-sign", "k.pem"]
    theirs = subprocess.run(
        command, cwd=tmp_path, input=signed.encode(), check=True, capture_output=True
    )
    assert unpadded(signature) == theirs.stdout  # PKCS 1 v1.5 is deterministic


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_key_is_read_from_jwk_and_pem(tmp_path: Path, algorithm: str) -> None:
    key = KEYS[algorithm]
    (tmp_path / "key.json").write_text(json.dumps(jwk(key), indent=1))
    (tmp_path / "key.pem").write_bytes(pem(key))
    for loaded in (
        ClientKey.load(tmp_path / "key.json"),
        ClientKey.load(tmp_path / "key.pem", kid="k1"),
    ):
        assert (loaded.algorithm, loaded.kid) == (algorithm, "k1")
        assert loaded.key.private_numbers() == key.private_numbers()
        assert "k1" not in repr(loaded)


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_is_registered_is_the_public_half_and_nothing_else(algorithm: str) -> None:
    shown = ClientKey(KEYS[algorithm], "k1").public_jwk()
    whole = jwk(KEYS[algorithm])
    public = {"kty", "kid", "crv", "x", "y", "n", "e"} & set(whole)
    assert shown == {name: whole[name] for name in public} | {"alg": algorithm, "use": "sig"}


BAD_KEYS = {
    "absent kid": pem(KEYS["ES384"]),
    "small": pem(rsa.generate_private_key(65537, 1024)),
    "P-256": pem(ec.generate_private_key(ec.SECP256R1())),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
    "public": json.dumps({k: v for k, v in jwk(KEYS["ES384"]).items() if k != "d"}).encode(),
    "wrong curve": json.dumps(jwk(KEYS["ES384"]) | {"crv": "P-256"}).encode(),
    "off curve": json.dumps(jwk(KEYS["ES384"]) | {"x": "AAAA"}).encode(),
    "no base64": json.dumps(jwk(KEYS["ES384"]) | {"d": "+++/=="}).encode(),
    "number": json.dumps(jwk(KEYS["RS384"]) | {"n": 7}).encode(),
    "wrong primes": json.dumps(jwk(KEYS["RS384"]) | {"p": "AQAB"}).encode(),
    "cut": json.dumps(jwk(KEYS["RS384"])).encode()[:-5],
    "empty": b"",
    "list": b"[]",
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_can_not_be_used_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "key").write_bytes(BAD_KEYS[name])
    kid = None if name == "absent kid" else "k1"
    with pytest.raises(WardroundError, match="WR-DATA-068"):
        ClientKey.load(tmp_path / "key", kid)
    with pytest.raises(WardroundError, match="WR-DATA-068"):
        ClientKey.load(tmp_path / "absent", kid)


def test_a_token_is_renewed_before_it_ends() -> None:
    hospital = Hospital(token_life_s=120)
    hospital.read()
    hospital.clock.sleep(80)
    hospital.read()
    assert hospital.asked("/token") == 1
    hospital.clock.sleep(15)
    hospital.read()
    assert hospital.asked("/token") == 2


def test_a_refused_token_is_renewed_once() -> None:
    hospital = Hospital()
    stream = iter(hospital.client.search("ehr", Search("Patient")))
    next(stream)
    hospital.server.revoke()
    assert len(list(stream)) == 24
    assert hospital.asked("/token") == 2
    hospital.server.faults += [("/Patient", outcome(401, "expired"))] * 2
    assert hospital.code() == "WR-DATA-062"


@pytest.mark.parametrize(
    "client",
    [{"client_id": "somebody"}, {"key": ClientKey(ec.generate_private_key(ec.SECP384R1()), "k1")}],
)
def test_who_is_not_registered_gets_no_token(client: dict[str, Any]) -> None:
    assert Hospital(**client).code() == "WR-DATA-062"


def test_a_clock_that_is_wrong_gets_no_token() -> None:
    hospital = Hospital()
    hospital.server.now = lambda: hospital.clock.at.replace(year=2027)
    assert hospital.code() == "WR-DATA-062"


CONFIGURATION = "smart-configuration"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (JSONResponse({"token_endpoint": "https://evil.example/token"}), "WR-DATA-063"),
        (JSONResponse({"token_endpoint": "http://ehr.example/token"}), "WR-DATA-063"),
        (JSONResponse({"token_endpoint": 7}), "WR-DATA-064"),
        (JSONResponse({}), "WR-DATA-064"),
        (JSONResponse([]), "WR-DATA-064"),
        (Response("<html>Muster", media_type="text/html"), "WR-DATA-064"),
        (outcome(404, "not-found"), "WR-DATA-061"),
        (
            JSONResponse(
                {
                    "token_endpoint": f"{BASE}/token",
                    "token_endpoint_auth_signing_alg_values_supported": ["RS384"],
                }
            ),
            "WR-DATA-062",
        ),
    ],
)
def test_a_configuration_that_misleads_is_refused(answer: Response, code: str) -> None:
    hospital = Hospital()
    hospital.server.faults.append((CONFIGURATION, answer))
    assert hospital.code() == code
    assert hospital.asked("/token") == 0


@pytest.mark.parametrize(
    "body",
    [
        {"access_token": "a\r\nX-Evil: 1", "token_type": "bearer"},
        {"access_token": "ä", "token_type": "bearer"},
        {"access_token": "", "token_type": "bearer"},
        {"access_token": "x" * 100_000, "token_type": "bearer"},
        {"access_token": "x", "token_type": "mac"},
        {"access_token": "x"},
        {"access_token": 7, "token_type": "bearer"},
        [],
    ],
)
def test_an_answer_without_a_usable_token_is_refused(body: Any) -> None:
    hospital = Hospital()
    hospital.server.faults.append(("/token", JSONResponse(body)))
    assert hospital.code() == "WR-DATA-064"


@pytest.mark.parametrize("expires_in", [None, "soon", -5, 0, 1e30, True])
def test_any_stated_lifetime_is_survived(expires_in: Any) -> None:
    hospital = Hospital()
    hospital.server.tokens.add("good")
    body = {"access_token": "good", "token_type": "Bearer", "expires_in": expires_in}
    hospital.server.faults.append(("/token", JSONResponse(body)))
    assert hospital.read() == 25
    hospital.clock.sleep(3600)
    assert hospital.read() == 25
    assert hospital.asked("/token") == 2


def test_the_token_goes_with_requests_for_records_only() -> None:
    hospital = Hospital()
    hospital.client.check()
    hospital.read()
    for _, path, headers in hospital.server.requests:
        shown = "authorization" in headers
        assert shown == ("token" not in path and "well-known" not in path), path


def test_tokens_may_be_issued_elsewhere_if_the_hospital_says_so() -> None:
    with pytest.raises(WardroundError, match="WR-DATA-069"):
        Client("me", ClientKey(KEYS["ES384"], "k1"), token_url="http://auth.example/token")
    hospital = Hospital(token_url=f"{BASE}/token")
    assert hospital.read() == 25
    assert hospital.asked(CONFIGURATION) == 0
