"""Who may connect: one token, one certificate at a time, one study."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bedside import code
from ward import SITES, TODAY, plan
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.enrolment import Enrolment, Peer
from wardround.ids import SiteName, StudyId
from wardround.simulation.inprocess import Keys
from wardround.study import approve
from wardround.trust.authority import CertificateAuthority, make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

ME, OTHER = SITES[:2]
KEYS = Keys.generate(SITES)
STUDY = KEYS.seal(plan())
CSR = make_csr(SigningKey.generate())


class Register:
    """An enrolment over files, with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime.now(UTC)
        self.open()

    def open(self) -> None:
        self.coordinator = Coordinator(
            STUDY, KEYS.coordinator, KEYS.authority, self.folder, now=lambda: self.now
        )

    def restart(self) -> None:
        self.coordinator.close()
        self.open()

    @property
    def enrolment(self) -> Enrolment:
        return self.coordinator.enrolment

    def enrolled(self, site: SiteName = ME) -> Peer:
        pem = self.enrolment.enrol(site, self.enrolment.invite(site), CSR)
        return self.enrolment.identify(der(pem))

    def journal(self) -> list[str]:
        return [entry.kind for entry in self.coordinator.state.journal.entries()]


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    one = Register(tmp_path)
    yield one
    one.coordinator.close()


def refused(register: Register, certificate: bytes | None) -> str | None:
    return code(lambda: register.enrolment.identify(certificate))


def test_a_token_is_traded_for_a_certificate_of_a_day_in_its_own_name(register: Register) -> None:
    peer = register.enrolled()
    assert peer.site == ME
    assert timedelta(hours=23) < peer.expires - register.now <= timedelta(hours=24)
    assert register.journal() == ["invited", "enrolled"]


@pytest.mark.parametrize("between", [lambda one: None, Register.restart])
def test_a_token_works_once(register: Register, between: Callable[[Register], None]) -> None:
    token = register.enrolment.invite(ME)
    between(register)
    register.enrolment.enrol(ME, token, CSR)
    between(register)
    assert code(lambda: register.enrolment.enrol(ME, token, CSR)) == "WR-COORD-031"


def test_a_newer_invitation_voids_the_older(register: Register) -> None:
    old, new = register.enrolment.invite(ME), register.enrolment.invite(ME)
    assert code(lambda: register.enrolment.enrol(ME, old, CSR)) == "WR-COORD-031"
    register.enrolment.enrol(ME, new, CSR)


def test_a_token_is_for_one_site_and_a_wrong_one_spends_nothing(register: Register) -> None:
    token = register.enrolment.invite(ME)
    register.enrolment.invite(OTHER)
    for site, secret in ((OTHER, token), (ME, ""), (ME, token[:-1]), (SiteName("x"), token)):
        assert code(lambda s=site, t=secret: register.enrolment.enrol(s, t, CSR)) == (
            "WR-COORD-031"
        )
    assert code(lambda: register.enrolment.enrol(ME, token, b"no request")) == "WR-TRUST-032"
    register.enrolment.enrol(ME, token, CSR)


def test_nobody_is_invited_whom_the_study_does_not_name(register: Register) -> None:
    assert code(lambda: register.enrolment.invite(SiteName("elsewhere"))) == "WR-COORD-030"


def test_the_token_is_not_kept(register: Register) -> None:
    token = register.enrolment.invite(ME)
    register.coordinator.close()
    for path in register.folder.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()


# Which certificates count


def test_no_certificate(register: Register) -> None:
    assert refused(register, None) == "WR-COORD-032"


def issued(authority: CertificateAuthority, identity: SpiffeId) -> bytes:
    return der(authority.issue_agent(CSR, identity, datetime.now(UTC)))


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId.of_site("localhost", StudyId("another-study"), ME),
        SpiffeId.of_site("elsewhere.example.org", StudyId("breast-mass"), ME),
        SpiffeId.of_site("localhost", StudyId("breast-mass"), SiteName("elsewhere")),
    ],
    ids=["study", "coordinator", "site"],
)
def test_a_certificate_of_another(register: Register, identity: SpiffeId) -> None:
    register.enrolled()
    assert refused(register, issued(KEYS.authority, identity)) == "WR-COORD-033"


def test_a_certificate_that_was_not_given_out_here(register: Register) -> None:
    register.enrolled()
    stray = issued(KEYS.authority, register.enrolment.identity(ME))
    assert refused(register, stray) == "WR-COORD-034"


def test_an_expired_certificate(register: Register) -> None:
    peer = register.enrolled()
    register.now += timedelta(hours=25)
    assert refused(register, peer.certificate) == "WR-COORD-034"


def test_an_enrolment_anew_voids_what_somebody_else_got(register: Register) -> None:
    peer = register.enrolled()
    renewed = der(register.enrolment.renew(peer, CSR))
    register.enrolled()
    assert refused(register, peer.certificate) == "WR-COORD-034"
    assert refused(register, renewed) == "WR-COORD-034"


@pytest.mark.parametrize("between", [lambda one: None, Register.restart])
def test_a_renewed_certificate_voids_the_older_with_its_first_use(
    register: Register, between: Callable[[Register], None]
) -> None:
    peer = register.enrolled()
    renewed = der(register.enrolment.renew(peer, CSR))
    between(register)
    assert refused(register, peer.certificate) is None, "the answer may have been lost"
    between(register)
    assert register.enrolment.identify(renewed).site == ME
    between(register)
    assert refused(register, peer.certificate) == "WR-COORD-034"
    assert refused(register, renewed) is None
    assert [kind for kind in register.journal() if kind != "enrolled"] == [
        "invited",
        "renewed",
        "replaced",
    ]


def test_a_renewal_may_be_asked_for_again(register: Register) -> None:
    peer = register.enrolled()
    lost = der(register.enrolment.renew(peer, CSR))
    second = der(register.enrolment.renew(peer, CSR))
    assert refused(register, lost) == "WR-COORD-034"
    assert refused(register, second) is None


# Approvals


def test_an_approval_is_kept_and_counts_by_its_signature(register: Register) -> None:
    peer = register.enrolled()
    envelope = approve(STUDY, ME, KEYS.sites[ME], TODAY)
    register.coordinator.approve(peer, envelope)
    register.coordinator.approve(peer, envelope)
    assert register.journal().count("approved") == 1
    register.restart()
    assert register.enrolment.approved == {ME: envelope}


def test_an_approval_that_is_not_the_hospitals_own_for_this_study(register: Register) -> None:
    peer = register.enrolled()
    good = approve(STUDY, ME, KEYS.sites[ME], TODAY)
    others = {
        "WR-STUDY-070": approve(STUDY, OTHER, KEYS.sites[OTHER], TODAY),
        "WR-STUDY-072": approve(KEYS.seal(plan(version=2)), ME, KEYS.sites[ME], TODAY),
    }
    for expected, envelope in others.items():
        assert code(lambda e=envelope: register.coordinator.approve(peer, e)) == expected
    altered = replace(good, payload=good.payload.replace(b"secure-sum", b"clinical"))
    assert code(lambda: register.coordinator.approve(peer, altered)) == "WR-STUDY-070"
    register.now += timedelta(days=4000)
    assert code(lambda: register.coordinator.approve(peer, good)) == "WR-STUDY-074"
    assert register.enrolment.approved == {}


def test_without_an_approval_there_is_no_run_to_take_part_in(register: Register) -> None:
    peer = register.enrolled()
    register.coordinator.open_run()
    assert code(lambda: register.coordinator.exchange_for(peer)) == "WR-COORD-035"


def test_without_a_run_an_agent_waits(register: Register) -> None:
    peer = register.enrolled()
    register.coordinator.approve(peer, approve(STUDY, ME, KEYS.sites[ME], TODAY))
    assert code(lambda: register.coordinator.exchange_for(peer)) == "WR-COORD-036"
    assert register.coordinator.state_name == "waiting"


def test_a_coordinator_that_the_study_does_not_name(tmp_path: Path) -> None:
    stranger = SigningKey.generate()
    opened = code(lambda: Coordinator(STUDY, stranger, KEYS.authority, tmp_path))
    assert opened == "WR-COORD-002"
    assert list(tmp_path.iterdir()) == []


# Twins


def test_a_second_agent_is_held_off_while_the_first_is_there(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("wardround.coordinator.coordinator.time.monotonic", lambda: clock[0])
    coordinator = register.coordinator
    coordinator.heard_of(ME, "first")
    assert code(lambda: coordinator.heard_of(ME, "second")) == "WR-COORD-037"
    coordinator.heard_of(OTHER, "second")
    with coordinator.waiting(ME, "first"):
        clock[0] += 30
        assert code(lambda: coordinator.heard_of(ME, "second")) == "WR-COORD-037"
    coordinator.heard_of(ME, "second")
    assert code(lambda: coordinator.heard_of(ME, "first")) == "WR-COORD-037"
