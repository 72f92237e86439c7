from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.ids import SiteName, StudyId
from wardround.trust.authority import (
    CertificateAuthority,
    certificate_digest,
    certificate_expiry,
    make_csr,
    peer_identity,
)
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AUTHORITY = CertificateAuthority.create("test study", NOW)
LAKESIDE = SpiffeId.of_site("example.org", StudyId("wdbc"), SiteName("lakeside"))
KEY = SigningKey.generate()
AGENT_PEM = AUTHORITY.issue_agent(make_csr(KEY), LAKESIDE, NOW)
AGENT_DER = x509.load_pem_x509_certificate(AGENT_PEM).public_bytes(Encoding.DER)


def test_an_agent_gets_the_name_of_its_token_for_a_day() -> None:
    certificate = x509.load_pem_x509_certificate(AGENT_PEM)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == timedelta(hours=24)
    assert certificate.not_valid_before_utc <= NOW - timedelta(minutes=5)
    assert certificate_expiry(AGENT_PEM) == certificate.not_valid_after_utc
    assert peer_identity(AGENT_PEM) == peer_identity(AGENT_DER) == LAKESIDE
    authority = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem)
    certificate.verify_directly_issued_by(authority)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_nothing_a_request_asks_for_is_granted() -> None:
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "st-anna")]))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier("spiffe://example.org/study/wdbc/site/st-anna"),
                    x509.DNSName("coordinator.example.org"),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY.to_cryptography(), algorithm=None)
        .public_bytes(Encoding.PEM)
    )
    issued = AUTHORITY.issue_agent(greedy, LAKESIDE, NOW)
    assert peer_identity(issued) == LAKESIDE
    assert b"st-anna" not in x509.load_pem_x509_certificate(issued).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "lifetime",
    [timedelta(hours=24, seconds=1), timedelta(0), timedelta(minutes=5), timedelta(days=-1)],
)
def test_lifetimes_out_of_bounds_are_refused(lifetime: timedelta) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-033"):
        AUTHORITY.issue_agent(make_csr(KEY), LAKESIDE, NOW, lifetime)


def swapped_key_csr() -> bytes:
    """A request for somebody else's key, signed with one's own."""
    der = x509.load_pem_x509_csr(make_csr(KEY)).public_bytes(Encoding.DER)
    der = der.replace(KEY.public.raw, SigningKey.generate().public.raw)
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)


def other_algorithm_csr() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "csr",
    [b"", b"-----BEGIN CERTIFICATE REQUEST-----", AGENT_PEM, swapped_key_csr(),
     other_algorithm_csr(), make_csr(KEY) + b" " * 20_000],
)  # fmt: skip
def test_bad_requests_are_refused(csr: bytes) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-032"):
        AUTHORITY.issue_agent(csr, LAKESIDE, NOW)


@given(st.data())
def test_no_altered_request_is_certified_under_another_key(data: st.DataObject) -> None:
    der = bytearray(x509.load_pem_x509_csr(make_csr(KEY)).public_bytes(Encoding.DER))
    position = data.draw(st.integers(0, len(der) - 1))
    der[position] ^= data.draw(st.integers(1, 255))
    try:
        pem = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    except ValueError:
        return
    with pytest.raises(WardroundError, match="WR-TRUST-032"):
        AUTHORITY.issue_agent(pem, LAKESIDE, NOW)


def test_a_server_gets_its_names() -> None:
    names = ["coordinator.example.org", "localhost", "127.0.0.1", "::1"]
    for holder in (KEY.public, make_csr(KEY)):
        pem = AUTHORITY.issue_server(holder, names, NOW)
        certificate = x509.load_pem_x509_certificate(pem)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert [str(one.value) for one in alternative.value] == names
        with pytest.raises(WardroundError, match="WR-TRUST-031"):
            peer_identity(pem)


@pytest.mark.parametrize(
    "names", [[], [""], ["Big.example"], ["a b"], ["*.org"], ["x\n"], ["ü.de"]]
)
def test_bad_server_names_are_refused(names: list[str]) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-035"):
        AUTHORITY.issue_server(KEY.public, names, NOW)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_bad_authority_names_are_refused(name: str) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-035"):
        CertificateAuthority.create(name, NOW)


def certificate_naming(*names: x509.GeneralName) -> bytes:
    """What an authority other than ours might issue."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakeside")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.to_cryptography().public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(KEY.to_cryptography(), algorithm=None)
        .public_bytes(Encoding.DER)
    )


def test_only_exactly_one_identity_counts() -> None:
    good = x509.UniformResourceIdentifier(LAKESIDE.text)
    assert peer_identity(certificate_naming(good)) == LAKESIDE
    for names in ([good, good], [good, x509.DNSName("example.org")], [x509.DNSName("a.org")]):
        with pytest.raises(WardroundError, match="WR-TRUST-031"):
            peer_identity(certificate_naming(*names))
    with pytest.raises(WardroundError, match="WR-TRUST-030"):
        peer_identity(certificate_naming(x509.UniformResourceIdentifier("spiffe://x/y")))
    for other in (AUTHORITY.certificate_pem, b"", b"\x30\x82", b"-----BEGIN CERTIFICATE-----"):
        with pytest.raises(WardroundError, match="WR-TRUST-031"):
            peer_identity(other)


@given(st.data())
def test_a_mangled_certificate_is_read_or_refused_with_a_code(data: st.DataObject) -> None:
    der = bytearray(AGENT_DER)
    position = data.draw(st.integers(0, len(der) - 1))
    der[position] ^= data.draw(st.integers(1, 255))
    try:
        peer_identity(bytes(der))
    except WardroundError as error:
        assert error.code in ("WR-TRUST-030", "WR-TRUST-031")


def test_save_and_load(tmp_path: Path) -> None:
    AUTHORITY.save(tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    loaded = CertificateAuthority.load(tmp_path)
    assert loaded.sha256 == AUTHORITY.sha256 == certificate_digest(AUTHORITY.certificate_pem)
    assert peer_identity(loaded.issue_agent(make_csr(KEY), LAKESIDE, NOW)) == LAKESIDE
    with pytest.raises(WardroundError, match="WR-TRUST-010"):
        AUTHORITY.save(tmp_path)


def test_an_authority_with_another_key_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-034"):
        CertificateAuthority.load(tmp_path)
    CertificateAuthority.create("other", NOW).save(tmp_path)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    with pytest.raises(WardroundError, match="WR-TRUST-034"):
        CertificateAuthority.load(tmp_path)
    (tmp_path / "ca.pem").write_bytes(b"nonsense")
    with pytest.raises(WardroundError, match="WR-TRUST-034"):
        CertificateAuthority.load(tmp_path)
