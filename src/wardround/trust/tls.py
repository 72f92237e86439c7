"""TLS 1.3 contexts in which only the coordinator's own authority counts.

The attacker owns the network between hospital and coordinator and may hold a certificate from any
public authority, as a TLS-inspecting proxy does; none of them is trusted here. Such a proxy can
break the connection but not read or pose, unless a hospital chooses to trust it; for that case
every request is signed as well (:mod:`wardround.trust.requests`).
"""

from __future__ import annotations

import ssl
from pathlib import Path

from wardround.errors import WardroundError


def server_context(cert_path: Path, key_path: Path, ca_path: Path) -> ssl.SSLContext:
    """The coordinator's side; a client certificate, when given, must be from our authority.

    Giving one is optional only because an agent that enrols has none yet: for every other request
    the application demands it. Raises WR-TRUST-036 when a file can't be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, ca_path)
    context.verify_mode = ssl.CERT_OPTIONAL
    # A resumed session keeps the client's certificate of the first handshake without looking at
    # its expiry again; without tickets every connection proves itself anew.
    context.num_tickets = 0
    _present(context, cert_path, key_path)
    return context


def client_context(
    ca_path: Path,
    cert_path: Path | None = None,
    key_path: Path | None = None,
    *,
    inspecting_ca: Path | None = None,
) -> ssl.SSLContext:
    """The agent's side: the server must have its host name from our authority.

    Without ``cert_path`` and ``key_path`` no client certificate is shown. ``inspecting_ca`` is the
    authority of a proxy that the hospital lets open the connection. Raises WR-TRUST-036 when a
    file can't be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # demands a certificate and checks the name
    _harden(context, ca_path)
    if inspecting_ca is not None:
        let_open(context, inspecting_ca)
    if cert_path is not None and key_path is not None:
        _present(context, cert_path, key_path)
    return context


def let_open(context: ssl.SSLContext, inspecting_ca: Path) -> None:
    """Believe a proxy's authority as well; raises WR-TRUST-036 for a file without a certificate."""
    known = len(context.get_ca_certs())
    # Companies' own authorities are seldom made by the letter of RFC 5280.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=inspecting_ca)
    except (OSError, ssl.SSLError):
        raise _unloadable(inspecting_ca) from None
    if len(context.get_ca_certs()) == known:
        raise _unloadable(inspecting_ca)


def enrolment_context(ca_pem: str) -> ssl.SSLContext:
    """The side of an agent that has no papers yet: the authority comes from its invitation.

    ``ca_pem`` is one certificate, read before; no certificate of the agent's own is shown.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _be_strict(context)
    context.load_verify_locations(cadata=ca_pem)
    return context


def _be_strict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT


def _harden(context: ssl.SSLContext, ca_path: Path) -> None:
    _be_strict(context)
    try:
        context.load_verify_locations(cafile=ca_path)
    except (OSError, ssl.SSLError):
        raise _unloadable(ca_path) from None
    if not context.get_ca_certs():  # a file with no certificate in it loads without complaint
        raise _unloadable(ca_path)


def _present(context: ssl.SSLContext, cert_path: Path, key_path: Path) -> None:
    try:
        # An empty password, or OpenSSL would ask the terminal for an encrypted key's.
        context.load_cert_chain(cert_path, key_path, password=b"")
    except (OSError, ssl.SSLError):
        raise _unloadable(cert_path) from None


def _unloadable(path: Path) -> WardroundError:
    return WardroundError(
        "WR-TRUST-036",
        "A certificate or its key can't be loaded, or they don't belong together.",
        "Check that both files exist and are PEM, or enrol again.",
        path=str(path),
    )
