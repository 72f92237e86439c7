"""A coordinator's certificate authority: short-lived certificates for mutual TLS.

A certificate opens a connection and no more: what a hospital says counts only under its signing
key, which stands in the study, so a coordinator that misuses its authority can't mint a peer. The
attackers here are agents and strangers: they send requests for certificates of their making, and
must get at most the name that their enrolment token grants, for a key they prove to hold, for a
day. Everything is Ed25519 (RFC 8410).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from wardround.errors import WardroundError
from wardround.ids import Digest
from wardround.trust.canonical import digest
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey, VerifyKey, write_new

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=90)
AGENT_LIFETIME = timedelta(hours=24)
"""The longest life of an agent's certificate; it renews itself long before."""

_BACKDATED = timedelta(minutes=5)
"""Certificates begin a little early, for hospitals whose clocks are slow."""
_MAXIMUM_CSR_BYTES = 16 * 1024
_HOSTNAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}")
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""All that ``cryptography`` raises for certificates and requests that an attacker made up."""
_CERTIFICATE_FILE, _KEY_FILE = "ca.pem", "ca.key"


class CertificateAuthority:
    """The authority's own certificate and key. All times are aware ``datetime`` values."""

    def __init__(self, certificate: x509.Certificate, key: SigningKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: datetime) -> CertificateAuthority:
        """A fresh authority with a key of its own; ``name`` (up to 64 letters) is for people."""
        key = SigningKey.generate()
        subject = _common_name(name)
        public = key.to_cryptography().public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key.to_cryptography(), algorithm=None)
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path) -> CertificateAuthority:
        """Read what :meth:`save` wrote.

        Raises WR-TRUST-034 when the certificate can't be read or is not that of the key, and the
        codes of :meth:`SigningKey.load` for the key.
        """
        path = folder / _CERTIFICATE_FILE
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            public = certificate.public_key()
        except (OSError, *_UNREADABLE):
            raise _bad_authority(path) from None
        key = SigningKey.load(folder / _KEY_FILE)
        if public != key.to_cryptography().public_key():
            raise _bad_authority(path)
        return cls(certificate, key)

    def save(self, folder: Path) -> None:
        """Write ``ca.key`` (mode 0600) and ``ca.pem`` into ``folder``; never overwrites either."""
        self._key.save(folder / _KEY_FILE)
        write_new(folder / _CERTIFICATE_FILE, self.certificate_pem, mode=0o644)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's certificate, which every party may know."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def sha256(self) -> Digest:
        """The digest of the certificate's DER bytes, by which a study pins this authority."""
        return digest(self._certificate.public_bytes(Encoding.DER))

    def issue_server(
        self,
        holder: bytes | VerifyKey,
        names: Sequence[str],
        now: datetime,
        lifetime: timedelta = SERVER_LIFETIME,
    ) -> bytes:
        """A server certificate (PEM) for host names and IP addresses, good for nothing else.

        ``holder`` is a request in PEM or the server's own public key. Raises WR-TRUST-032 for a
        bad request, WR-TRUST-033 for a bad lifetime, WR-TRUST-035 for a bad name.
        """
        public = (
            Ed25519PublicKey.from_public_bytes(holder.raw)
            if isinstance(holder, VerifyKey)
            else _proven_key(holder)
        )
        return self._issue(
            public,
            _common_name("wardround coordinator"),
            x509.SubjectAlternativeName(_general_names(names)),
            ExtendedKeyUsageOID.SERVER_AUTH,
            now,
            _checked(lifetime, SERVER_LIFETIME),
        )

    def issue_agent(
        self,
        csr_pem: bytes,
        identity: SpiffeId,
        now: datetime,
        lifetime: timedelta = AGENT_LIFETIME,
    ) -> bytes:
        """A client certificate (PEM) that names ``identity`` and nothing that the request says.

        Only the public key is taken from ``csr_pem``, and only with proof that the requester
        holds its private half. Raises WR-TRUST-032 and WR-TRUST-033.
        """
        return self._issue(
            _proven_key(csr_pem),
            _common_name(identity.name),
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.text)]),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            now,
            _checked(lifetime, AGENT_LIFETIME),
        )

    def _issue(
        self,
        public: Ed25519PublicKey,
        subject: x509.Name,
        names: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
    ) -> bytes:
        begins = now - _BACKDATED
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            # From the beginning on, so that "24 hours" is what an auditor reads off it.
            .not_valid_after(begins + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._key.to_cryptography().public_key()
                ),
                critical=False,
            )
            .sign(self._key.to_cryptography(), algorithm=None)
        )
        return certificate.public_bytes(Encoding.PEM)


def make_csr(key: SigningKey) -> bytes:
    """A certificate request (PKCS 10, PEM) for ``key``. It asks for no name: the token has it."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key.to_cryptography(), algorithm=None)
        .public_bytes(Encoding.PEM)
    )


def peer_identity(certificate: bytes) -> SpiffeId:
    """Whom a client certificate (PEM or DER) names.

    Says nothing of who issued it or whether it has expired; the TLS handshake did. Raises
    WR-TRUST-031 unless it is an agent's certificate with exactly one name, a SPIFFE id.
    """
    try:
        if certificate.startswith(b"-----"):
            parsed = x509.load_pem_x509_certificate(certificate)
        else:
            parsed = x509.load_der_x509_certificate(certificate)
        extensions = parsed.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usages = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except _UNREADABLE:
        raise _no_identity() from None
    match names:
        case [x509.UniformResourceIdentifier() as name] if usages == [
            ExtendedKeyUsageOID.CLIENT_AUTH
        ]:
            return SpiffeId.parse(name.value)
        case _:
            raise _no_identity()


def certificate_digest(certificate_pem: bytes) -> Digest:
    """The digest of a certificate's DER bytes, to compare with the one that a study pins."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except _UNREADABLE:
        raise _no_identity() from None
    return digest(certificate.public_bytes(Encoding.DER))


def certificate_expiry(certificate_pem: bytes) -> datetime:
    """When a certificate ends (UTC), for an agent that renews in time."""
    try:
        return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc
    except _UNREADABLE:
        raise _no_identity() from None


def _proven_key(csr_pem: bytes) -> Ed25519PublicKey:
    """The public key of a request whose own signature proves possession of the private key."""
    try:
        if len(csr_pem) > _MAXIMUM_CSR_BYTES:
            raise _bad_request()
        request = x509.load_pem_x509_csr(csr_pem)
        public = request.public_key()
        if (
            not isinstance(public, Ed25519PublicKey)
            or request.signature_algorithm_oid != SignatureAlgorithmOID.ED25519
        ):
            raise _bad_request()
        VerifyKey(public.public_bytes_raw())  # under a weak key possession proves nothing
        if not request.is_signature_valid:
            raise _bad_request()
    except (*_UNREADABLE, WardroundError):
        raise _bad_request() from None
    return public


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    result: list[x509.GeneralName] = []
    for name in names:
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if not _HOSTNAME.fullmatch(name):
                raise _bad_name(name) from None
            result.append(x509.DNSName(name))
    if not result:
        raise _bad_name("")
    return result


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    if not 1 <= len(name) <= 64:  # the bound of X.520
        raise _bad_name(name)
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _checked(lifetime: timedelta, longest: timedelta) -> timedelta:
    if not _BACKDATED < lifetime <= longest:
        raise WardroundError(
            "WR-TRUST-033",
            f"A certificate's lifetime must be over 5 minutes and at most {longest}.",
            "Ask for a shorter one; it is renewed without anybody's help.",
        )
    return lifetime


def _bad_request() -> WardroundError:
    return WardroundError(
        "WR-TRUST-032",
        "A certificate request is malformed, is not for an Ed25519 key, or does not prove that "
        "its sender holds that key.",
        "Run the enrolment again; the request is made by the agent itself.",
    )


def _no_identity() -> WardroundError:
    return WardroundError(
        "WR-TRUST-031",
        "A certificate can't be read or does not name exactly one party of a study.",
        "Use the certificate that this study's coordinator issued to this agent.",
    )


def _bad_authority(path: Path) -> WardroundError:
    return WardroundError(
        "WR-TRUST-034",
        "The certificate authority's certificate can't be read or is not that of its key.",
        "Restore ca.pem and ca.key together from your backup.",
        path=str(path),
    )


def _bad_name(name: str) -> WardroundError:
    return WardroundError(
        "WR-TRUST-035",
        f"A certificate can't be made for the name {name!r}.",
        "Give at least one host name in lower case or an IP address; for an authority, up to 64 "
        "letters.",
    )
