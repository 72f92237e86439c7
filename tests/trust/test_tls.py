import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wardround.errors import WardroundError
from wardround.ids import SiteName, StudyId
from wardround.trust.authority import CertificateAuthority, make_csr, peer_identity
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context

NOW = datetime.now(UTC)
IDENTITY = SpiffeId.of_site("example.org", StudyId("wdbc"), SiteName("lakeside"))


@dataclass
class Party:
    cert: Path
    key: Path


class World:
    """One authority with its files, a server and an agent under it."""

    def __init__(self, folder: Path, now: datetime = NOW) -> None:
        folder.mkdir()
        self.folder = folder
        self.now = now
        self.authority = CertificateAuthority.create(folder.name, now)
        self.authority.save(folder)
        self.ca = folder / "ca.pem"

    def server(self, *names: str) -> Party:
        key = SigningKey.generate()
        return self._write("server", key, self.authority.issue_server(key.public, names, self.now))

    def agent(self) -> Party:
        key = SigningKey.generate()
        return self._write(
            "agent", key, self.authority.issue_agent(make_csr(key), IDENTITY, self.now)
        )

    def _write(self, name: str, key: SigningKey, pem: bytes) -> Party:
        party = Party(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        party.cert.write_bytes(pem)
        key.save(party.key)
        return party


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection through memory; raises what either end raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(up, down, server_side=True)
    here = client.wrap_bio(down, up, server_hostname=name)
    for _ in range(4):
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    there.write(b"hello")  # under TLS 1.3 a client may believe it is connected before it is
    assert here.read(5) == b"hello"
    return there, here


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "ours")


def contexts(world: World) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, agent = world.server("localhost", "127.0.0.1"), world.agent()
    return (
        server_context(server.cert, server.key, world.ca),
        client_context(world.ca, agent.cert, agent.key),
    )


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_agent_and_coordinator_meet(world: World, name: str) -> None:
    there, here = handshake(*contexts(world), name)
    der = there.getpeercert(binary_form=True)
    assert der is not None and peer_identity(der) == IDENTITY
    assert here.version() == "TLSv1.3"


def test_an_agent_that_enrols_shows_no_certificate(world: World) -> None:
    server, _ = contexts(world)
    there, _ = handshake(server, client_context(world.ca))
    assert there.getpeercert(binary_form=True) is None


def test_a_server_with_another_name_is_refused(world: World) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(*contexts(world), "elsewhere.example.org")


def test_a_server_of_another_authority_is_refused(world: World, tmp_path: Path) -> None:
    server, _ = contexts(World(tmp_path / "theirs"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(world.ca))


def test_an_agent_of_another_authority_is_refused(world: World, tmp_path: Path) -> None:
    server, _ = contexts(world)
    agent = World(tmp_path / "theirs").agent()
    with pytest.raises(ssl.SSLError):
        handshake(server, client_context(world.ca, agent.cert, agent.key))


def test_another_authority_of_the_same_name_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    server, _ = contexts(World(tmp_path / "x" / "ours"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(world.ca))


def test_an_expired_agent_is_refused(world: World) -> None:
    server, _ = contexts(world)
    world.now = NOW - timedelta(hours=25)
    (world.folder / "agent.key").unlink()
    agent = world.agent()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        handshake(server, client_context(world.ca, agent.cert, agent.key))


def test_an_agent_cannot_pose_as_a_server(world: World) -> None:
    agent = world.agent()
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(server_context(agent.cert, agent.key, world.ca), client_context(world.ca))


def test_a_server_cannot_pose_as_an_agent(world: World) -> None:
    server = world.server("localhost")
    with pytest.raises(ssl.SSLError):
        handshake(
            server_context(server.cert, server.key, world.ca),
            client_context(world.ca, server.cert, server.key),
        )


def test_older_versions_are_refused(world: World) -> None:
    server, client = contexts(world)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(server, client)


def test_no_session_is_resumed(world: World) -> None:
    server, client = contexts(world)
    _, here = handshake(server, client)
    assert here.session is None or not here.session.has_ticket


def test_files_that_cannot_be_loaded_have_a_code(world: World, tmp_path: Path) -> None:
    server, agent = world.server("localhost"), world.agent()
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for make in (
        lambda: server_context(server.cert, agent.key, world.ca),
        lambda: server_context(server.cert, tmp_path / "none", world.ca),
        lambda: server_context(server.cert, server.key, tmp_path / "none"),
        lambda: client_context(empty),
        lambda: client_context(world.ca, empty, agent.key),
    ):
        with pytest.raises(WardroundError, match="WR-TRUST-036"):
            make()
