"""The signed statement by which an agent without a user proves who it is.

A JSON Web Token (RFC 7519) in the one form that SMART Backend Services asks for: RFC 7523
section 3 claims, signed with RS384 or ES384 (RFC 7518 sections 3.3 and 3.4).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wardround.clinical.fhir.transport import unusable_secret
from wardround.trust.canonical import JSON

LIFETIME_S = 240
"""SMART allows five minutes; a minute is left for clocks that differ."""

_COORDINATE_BYTES = 48
_MAXIMUM_KEY_BYTES = 65536
_RSA = ("n", "e", "d", "p", "q", "dp", "dq", "qi")


@dataclass(frozen=True, repr=False)
class ClientKey:
    """The private key registered with the server's authority, and the name it has there."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    kid: str

    @staticmethod
    def load(path: Path, kid: str | None = None) -> ClientKey:
        """Read a key as JWK (RFC 7517) or PEM; ``kid`` is needed where the file states none.

        Raises:
            WardroundError: ``WR-DATA-068`` where the file holds no RSA key of at least 2048 bits
                and no P-384 key, or no key id is known.
        """
        try:
            text = path.read_bytes()[:_MAXIMUM_KEY_BYTES]
            if text.lstrip().startswith(b"{"):
                jwk: JSON = orjson.loads(text)
                kid = kid or _text(jwk, "kid")
                key: object = _from_jwk(jwk)
            else:
                key = load_pem_private_key(text, password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
            raise unusable_secret(path) from None
        fits = (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
        )
        if not fits or not kid:
            raise unusable_secret(path)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return ClientKey(key, kid)

    @property
    def algorithm(self) -> str:
        """``RS384`` or ``ES384``."""
        return "RS384" if isinstance(self.key, rsa.RSAPrivateKey) else "ES384"

    def public_jwk(self) -> dict[str, str]:
        """The public key as JWK: what the server's operator registers for this agent."""
        public = self.key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            named = {"kty": "RSA", "n": _octets(numbers.n), "e": _octets(numbers.e)}
        else:
            point = public.public_numbers()
            named = {"kty": "EC", "crv": "P-384"} | {
                name: _octets(value, _COORDINATE_BYTES)
                for name, value in (("x", point.x), ("y", point.y))
            }
        return named | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def assertion(self, client_id: str, audience: str, now_s: int, jti: str) -> str:
        """The statement that ``client_id`` asks ``audience`` (the token endpoint), good once.

        ``now_s`` is the time of day in seconds since 1970, ``jti`` a text never used before.
        """
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
            "jti": jti,
        }
        signed = f"{_encode(orjson.dumps(header))}.{_encode(orjson.dumps(claims))}"
        return f"{signed}.{_encode(self._sign(signed.encode('ascii')))}"

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), SHA384())
        # RFC 7518 section 3.4: the two numbers side by side, not the DER that libraries return.
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(SHA384())))
        return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)


def _from_jwk(jwk: JSON) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """A private key from its JWK; ValueError where it is none of the two kinds."""
    if _text(jwk, "kty") == "RSA":
        n, e, d, p, q, dp, dq, qi = (_number(jwk, name) for name in _RSA)
        public = rsa.RSAPublicNumbers(e, n)
        return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()
    if _text(jwk, "kty") == "EC" and _text(jwk, "crv") == "P-384":
        point = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP384R1())
        return ec.EllipticCurvePrivateNumbers(_number(jwk, "d"), point).private_key()
    raise ValueError("another kind of key")


def _text(jwk: JSON, name: str) -> str:
    value = jwk.get(name) if isinstance(jwk, dict) else None
    return value if isinstance(value, str) else ""


def _number(jwk: JSON, name: str) -> int:
    text = _text(jwk, name)
    if not text:
        raise ValueError("a part of the key is missing")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
    return int.from_bytes(decoded)


def _octets(value: int, size: int = 0) -> str:
    """A number as RFC 7518 has it: of a stated size, or of as few bytes as it needs."""
    return _encode(value.to_bytes(size or (value.bit_length() + 7) // 8))


def _encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
