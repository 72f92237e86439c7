"""Real sockets: TLS with a hospital's own authority, proxies, and servers that hold on for ever."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.responses import StreamingResponse

from fhir_server import FakeClock, FhirServerDouble, ndjson, patients
from wardround.clinical.fhir import (
    Client,
    ClientKey,
    Export,
    FhirServer,
    FhirTransport,
    Limits,
    Search,
    SmartBackend,
    proxy_for,
    tls_context,
)
from wardround.errors import WardroundError


class Authority:
    """A hospital's own certificate authority, writing PEM files into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Hospital {name}")])
        self.path = folder / f"{name}.pem"
        usage = x509.BasicConstraints(ca=True, path_length=0)
        self._write(self.path, self._signed(self._name, self._key.public_key(), usage))

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(certificate, self._signed(subject, key.public_key(), names))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def revoked(self) -> Path:
        """An empty list of revoked certificates."""
        now = datetime.now(UTC)
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now)
            .next_update(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / "revoked.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextmanager
def serving(app: Starlette, server: socket.socket, context: ssl.SSLContext) -> Iterator[None]:
    """The application over uvicorn and TLS, in a thread."""
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ssl_context_factory=lambda _config, _default: context,
        timeout_graceful_shutdown=1,
    )
    one = uvicorn.Server(config)
    thread = threading.Thread(target=one.run, kwargs={"sockets": [server]})
    thread.start()
    try:
        yield
    finally:
        one.should_exit = True
        thread.join()


def server_side(authority: Authority, address: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", address))
    return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_server_with_tls_tokens_and_client_certificates_is_read(authority: Authority) -> None:
    context = server_side(authority)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    key = ec.generate_private_key(ec.SECP384R1())
    with listening() as server:
        base = f"https://127.0.0.1:{server.getsockname()[1]}/fhir"
        double = FhirServerDouble(base, patients(250), keys={"k1": key.public_key()}, busy_polls=0)
        with serving(double.app(), server, context):
            transport = FhirTransport(tls_context(authority.path, *authority.issue("agent")))
            access = SmartBackend(Client("wardround", ClientKey(key, "k1")))
            client = FhirServer(base, transport, access)
            client.check()
            assert len(list(client.search("ehr", Search("Observation")))) == 250
            assert len(list(client.export("ehr", Export(types=("Patient",))))) == 250
            assert double.jobs == {}
            transport.close()

            nameless = FhirServer(
                base, FhirTransport(tls_context(authority.path)), limits=Limits(attempts=1)
            )
            with pytest.raises(WardroundError, match="WR-DATA-060"):
                nameless.check()


@pytest.mark.parametrize(
    ("other_authority", "address"), [(True, "127.0.0.1"), (False, "127.0.0.2")]
)
def test_a_server_that_can_not_prove_itself_is_not_spoken_to(
    authority: Authority, other_authority: bool, address: str
) -> None:
    trusted = Authority(authority.folder, "other") if other_authority else authority
    with listening() as server:
        base = f"https://127.0.0.1:{server.getsockname()[1]}/fhir"
        double = FhirServerDouble(base, [])
        with serving(double.app(), server, server_side(authority, address)):
            transport = FhirTransport(tls_context(trusted.path))
            client = FhirServer(base, transport, limits=Limits(attempts=1))
            with pytest.raises(WardroundError, match="WR-DATA-060"):
                client.check()
            assert double.requests == []


def test_lines_arrive_before_the_file_ends_and_nothing_is_written(authority: Authority) -> None:
    line = bytes(ndjson(patients(1)).body)
    more = threading.Event()
    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            mode, flags = arguments[1], arguments[2]
            if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & 3:
                opened.append(str(arguments[0]))

    async def body() -> Any:
        yield line * 500
        # The rest comes only once the reader has shown that it has the beginning.
        await asyncio.to_thread(more.wait)
        yield line

    with listening() as server:
        base = f"https://127.0.0.1:{server.getsockname()[1]}/fhir"
        double = FhirServerDouble(base, patients(1), busy_polls=0)
        double.edit_manifest = lambda manifest: [one.pop("count") for one in manifest["output"]]
        answer = StreamingResponse(body(), media_type="application/fhir+ndjson")
        double.faults.append((r"Patient\.ndjson", answer))
        with serving(double.app(), server, server_side(authority)):
            client = FhirServer(base, FhirTransport(tls_context(authority.path)))
            sys.addaudithook(watch)
            stream = iter(client.export("ehr", Export(types=("Patient",))))
            next(stream)
            more.set()
            assert len(list(stream)) == 2 * 501 - 1
            watching = False
    assert opened == []


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"
ROGUES: dict[str, tuple[bytes, bytes]] = {
    "silence": (b"", b""),
    "a header without an end": (HEAD + b"X-Slow: ", b"a"),
    "a body without an end": (HEAD + b"Content-Length: 1000000\r\n\r\n{", b" "),
    "a chunk without an end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "interim answers without an end": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@contextmanager
def rogue(first: bytes, then: bytes, step_s: float = 0.02) -> Iterator[int]:
    """A server that never comes to an end; yields its port."""
    over = threading.Event()

    def serve(server: socket.socket) -> None:
        while not over.is_set():
            try:
                caller, _ = server.accept()
            except TimeoutError:
                continue
            with caller:
                try:
                    caller.recv(65536)
                    caller.sendall(first)
                    while not over.wait(step_s):
                        caller.sendall(then)
                except OSError:
                    continue

    with listening() as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("name", ROGUES)
@pytest.mark.timeout(20)
def test_a_server_can_not_hold_the_agent(name: str) -> None:
    with rogue(*ROGUES[name]) as port:
        base = f"http://127.0.0.1:{port}/fhir"
        transport = FhirTransport(ssl.create_default_context())
        client = FhirServer(base, transport, limits=Limits(attempts=1, answer_s=0.4))
        with pytest.raises(WardroundError, match="WR-DATA-060"):
            client.check()


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xfe nonsense\r\n\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"X: " + b"a" * 300_000,
        b"",
    ],
)
@pytest.mark.timeout(20)
def test_a_broken_answer_is_refused(answer: bytes) -> None:
    with listening() as server:

        def once() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(65536)
                caller.sendall(answer)
                caller.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    caller.recv(65536)

        thread = threading.Thread(target=once)
        thread.start()
        base = f"http://127.0.0.1:{server.getsockname()[1]}/fhir"
        transport = FhirTransport(ssl.create_default_context())
        with pytest.raises(WardroundError, match="WR-DATA-060"):
            FhirServer(base, transport, limits=Limits(attempts=1)).check()
        transport.close()
        thread.join()


def test_a_server_that_is_not_there_is_tried_a_few_times() -> None:
    with listening() as server:
        base = f"http://127.0.0.1:{server.getsockname()[1]}/fhir"
    clock = FakeClock()
    transport = FhirTransport(ssl.create_default_context())
    with pytest.raises(WardroundError, match="WR-DATA-060"):
        FhirServer(base, transport, clock=clock, limits=Limits(attempts=3)).check()
    assert clock.slept == [1.0, 2.0]


def test_a_proxy_carries_the_connection_and_sees_neither_token_nor_records(
    authority: Authority,
) -> None:
    seen = bytearray()
    key = ec.generate_private_key(ec.SECP384R1())
    with listening() as server, listening() as proxy:
        base = f"https://127.0.0.1:{server.getsockname()[1]}/fhir"
        thread = threading.Thread(target=relay, args=(proxy, server.getsockname(), seen))
        double = FhirServerDouble(base, patients(3), keys={"k1": key.public_key()})
        with serving(double.app(), server, server_side(authority)):
            thread.start()
            address = f"http://user:word@127.0.0.1:{proxy.getsockname()[1]}"
            transport = FhirTransport(tls_context(authority.path), address)
            access = SmartBackend(Client("wardround", ClientKey(key, "k1")))
            found = list(FhirServer(base, transport, access).search("ehr", Search("Patient")))
            transport.close()
            thread.join()
    assert len(found) == 3
    assert seen.startswith(b"CONNECT 127.0.0.1:")
    assert b"Basic dXNlcjp3b3Jk" in seen
    assert all(word not in seen for word in (b"Bearer", b"token-", b"Patient", b"resourceType"))


def relay(proxy: socket.socket, target: tuple[str, int], seen: bytearray) -> None:
    """A proxy for one connection."""
    caller, _ = proxy.accept()
    with caller, socket.create_connection(target) as server:
        seen += caller.recv(65536)
        caller.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")

        def pump(source: socket.socket, to: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    seen.extend(data)
                    to.sendall(data)
                to.shutdown(socket.SHUT_WR)
            except OSError:
                return

        back = threading.Thread(target=pump, args=(server, caller))
        back.start()
        pump(caller, server)
        back.join()


def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https://ehr.example/fhir") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_for("https://ehr.example/fhir") == "http://proxy.example:3128"
    assert proxy_for("https://127.0.0.1/fhir") is None
    monkeypatch.setenv("NO_PROXY", "other.example,.example")
    assert proxy_for("https://ehr.example/fhir") is None
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxy_for("https://ehr.example/fhir") == "http://proxy.example:3128"


def unusable_files(authority: Authority) -> dict[str, Callable[[], object]]:
    certificate, key = authority.issue("agent")
    (authority.folder / "empty").write_bytes(b"")
    other = authority.issue("other")[1]
    return {
        "absent CA": lambda: tls_context(authority.folder / "absent"),
        "no certificate as CA": lambda: tls_context(authority.revoked()),
        "empty CA": lambda: tls_context(authority.folder / "empty"),
        "a key as CA": lambda: tls_context(key),
        "another key": lambda: tls_context(authority.path, certificate, other),
        "absent key": lambda: tls_context(authority.path, certificate, authority.folder / "no"),
        "no key": lambda: tls_context(authority.path, certificate),
    }


def test_files_that_can_not_be_used_are_refused(authority: Authority) -> None:
    for name, load in unusable_files(authority).items():
        with pytest.raises(WardroundError, match="WR-DATA-068"):
            load()
            pytest.fail(name)


def test_no_version_before_tls_1_2_and_no_server_without_a_name_is_accepted() -> None:
    context = tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
