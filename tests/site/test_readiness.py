"""What an agent needs before it starts, each thing missing or wrong in turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steward import ME, Steward
from ward import code_of, plan
from wardround.clinical import Mapping
from wardround.errors import WardroundError
from wardround.site import serve
from wardround.site.home import SiteHome
from wardround.site.memory import open_memory
from wardround.site.readiness import refuse_unready
from wardround.trust.authority import CertificateAuthority, make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey


@pytest.fixture
def steward(tmp_path: Path) -> Steward:
    one = Steward(tmp_path)
    one.ready()
    return one


def code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except WardroundError as error:
        return error.code
    return None


def certificate(
    steward: Steward, name: str = ME, study: str = "breast-mass", days_ago: int = 0
) -> bytes:
    key = SigningKey.load(steward.home.agent_key_path)
    identity = SpiffeId.of_site("localhost", study, name)
    now = datetime.now(UTC) - timedelta(days=days_ago)
    return steward.keys.authority.issue_agent(make_csr(key), identity, now)


def write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def replace_signing_key(steward: Steward) -> None:
    path = steward.folder / "keys" / "signing.key"
    path.unlink()
    SigningKey.generate().save(path)


def foreign_certificate(steward: Steward) -> None:
    key = SigningKey.load(steward.home.agent_key_path)
    identity = SpiffeId.of_site("localhost", steward.study.id, ME)
    stranger = CertificateAuthority.create("somebody else", datetime.now(UTC))
    pem = stranger.issue_agent(make_csr(key), identity, datetime.now(UTC))
    steward.home.certificate_path.write_bytes(pem)


def foreign_authority(steward: Steward) -> None:
    pem = CertificateAuthority.create("somebody else", datetime.now(UTC)).certificate_pem
    steward.home.ca_path.write_bytes(pem)


HARMS: dict[str, tuple[str, Callable[[Steward], object]]] = {
    "no study": ("WR-SITE-004", lambda s: write(s.folder / "papers/study.json", None)),
    "no authority": ("WR-SITE-005", lambda s: write(s.home.ca_path, None)),
    "no certificate": ("WR-SITE-005", lambda s: write(s.home.certificate_path, None)),
    "another authority": ("WR-SITE-006", foreign_authority),
    "expired": (
        "WR-SITE-009",
        lambda s: write(s.home.certificate_path, certificate(s, days_ago=2)),
    ),
    "another key": ("WR-SITE-064", replace_signing_key),
    "an empty key": ("WR-TRUST-011", lambda s: write(s.folder / "keys/signing.key", b"")),
    "no key": ("WR-TRUST-011", lambda s: write(s.folder / "keys/signing.key", None)),
    "no key of the patients": (
        "WR-SITE-065",
        lambda s: write(s.folder / "keys/patients.key", None),
    ),
    "an empty one": ("WR-SITE-065", lambda s: write(s.folder / "keys/patients.key", b"")),
    "a short one": ("WR-SITE-065", lambda s: write(s.folder / "keys/patients.key", bytes(31))),
    "a long one": ("WR-SITE-065", lambda s: write(s.folder / "keys/patients.key", bytes(33))),
    "a foreign certificate": ("WR-SITE-067", foreign_certificate),
    "another's certificate": (
        "WR-SITE-067",
        lambda s: write(s.home.certificate_path, certificate(s, name="lakeside")),
    ),
    "another study's certificate": (
        "WR-SITE-067",
        lambda s: write(s.home.certificate_path, certificate(s, study="another")),
    ),
    "no list": ("WR-STUDY-080", lambda s: write(s.home.exclusions_path, None)),
    "a damaged list": ("WR-STUDY-081", lambda s: write(s.home.exclusions_path, b"{}")),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_an_agent_refuses_to_start_before_it_reads_a_record(
    steward: Steward, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, do = HARMS[harm]
    assert code(lambda: refuse_unready(steward.home)) is None
    do(steward)

    def read(_home: SiteHome) -> None:
        raise AssertionError("records were read")

    monkeypatch.setattr(SiteHome, "read_records", read)
    assert await code_of(serve.run(steward.home, lambda _event, **_facts: None)) == expected
    assert not (steward.folder / "state.db").exists()


def test_enrolled_for_another_study_than_the_approved_one(steward: Steward) -> None:
    """The same coordinator may run two studies; the papers of one don't serve the other."""
    steward.study = steward.keys.seal(plan(id="another-study"))
    steward.approve(())
    assert code(lambda: steward.home.require_coordinator(steward.study)) == "WR-SITE-006"
    assert not steward.home.is_enrolled


def test_custody_is_not_given_under_another_authority(steward: Steward) -> None:
    """The pin holds by itself, whoever calls."""
    table = steward.home.read_records()
    steward.home.custody(table)
    foreign_authority(steward)
    assert code(lambda: steward.home.custody(table)) == "WR-SITE-006"


def test_a_key_that_cannot_be_read_is_not_blamed_on_the_mapping(steward: Steward) -> None:
    (steward.folder / "keys" / "signing.key").write_bytes(b"")
    assert code(lambda: steward.home.mapping) == "WR-TRUST-011"


def test_a_mapping_that_was_changed_after_it_was_signed(steward: Steward) -> None:
    assert isinstance(steward.home.mapping, Mapping)
    text = steward.mapping.read_text(encoding="utf-8")
    steward.mapping.write_text(text.replace('"um"', '"mm"'), encoding="utf-8")
    assert code(lambda: steward.home.mapping) == "WR-SITE-007"


# What was answered


def test_a_memory_that_was_lost_is_not_replaced(steward: Steward) -> None:
    open_memory(steward.home).close()
    open_memory(steward.home).close()
    (steward.folder / "state.db").unlink()
    assert code(lambda: open_memory(steward.home)) == "WR-SITE-066"
    assert not (steward.folder / "state.db").exists()


@pytest.mark.parametrize("rest", ["state.db-wal", "state.db-shm"])
def test_what_is_left_of_a_memory_is_a_mark_too(steward: Steward, rest: str) -> None:
    (steward.folder / rest).write_bytes(b"")
    assert code(lambda: open_memory(steward.home)) == "WR-SITE-066"


def test_keys_that_are_restored_alone_bring_the_mark_along(tmp_path: Path) -> None:
    first = Steward(tmp_path / "first")
    first.ready()
    open_memory(first.home).close()
    second = SiteHome.create(tmp_path / "second", ME)
    for path in (first.folder / "keys").iterdir():
        (second.keys / path.name).unlink(missing_ok=True)
        os.link(path, second.keys / path.name)
    assert code(lambda: open_memory(second)) == "WR-SITE-066"


def test_a_memory_made_before_there_were_marks_gets_one(steward: Steward) -> None:
    open_memory(steward.home).close()
    (steward.folder / "keys" / "state.made").unlink()
    open_memory(steward.home).close()
    (steward.folder / "state.db").unlink()
    assert code(lambda: open_memory(steward.home)) == "WR-SITE-066"


async def test_an_agent_without_its_memory_does_not_start(steward: Steward) -> None:
    open_memory(steward.home).close()
    (steward.folder / "state.db").unlink()
    assert await code_of(serve.run(steward.home, lambda _event, **_facts: None)) == "WR-SITE-066"
