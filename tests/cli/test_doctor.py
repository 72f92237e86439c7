"""``wardround doctor``: each thing that can be wrong is found, and said with a remedy."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shlex
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import requires
from commands import Command
from fault_proxy import InspectingProxy, TunnelProxy
from lines import LinesWard, open_lines
from steward import ME, Steward
from studies import document, toml
from ward import SITES, stranger_authority
from wardround.checkup import Check, Result, SkippedError, State, Warned, examine, passed
from wardround.coordinator import doctor as coordinator_doctor
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.serve import serve
from wardround.errors import WardroundError
from wardround.federation.messages import Present
from wardround.ids import SiteName
from wardround.sandbox.limits import HostLimits
from wardround.site import doctor as site_doctor
from wardround.site import tables
from wardround.site.enrol import enrol
from wardround.site.memory import open_memory
from wardround.site.serve import run as take_part
from wardround.store.journalled import JournalledDatabase
from wardround.trust.authority import make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

EVERYTHING = HostLimits(frozenset())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies of this machine; the sandbox has tests of its own."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("wardround.site.doctor.probe", lambda *_: EVERYTHING)


def by_name(results: tuple[Result, ...]) -> dict[str, Result]:
    return {f"{one.area}: {one.name}": one for one in results}


def site_results(steward: Steward) -> dict[str, Result]:
    return by_name(examine(site_doctor.checks(steward.home)))


# How checks are counted


def test_a_skipped_check_of_security_is_not_a_pass() -> None:
    def skipped() -> str:
        raise SkippedError("nobody is there")

    well = Check("area", "well", lambda: "good", security=True)
    assert passed(examine([well, Check("area", "speed", skipped)]))
    assert not passed(examine([well, Check("area", "keys", skipped, security=True)]))


def test_a_warning_passes_and_what_is_wrong_does_not() -> None:
    error = WardroundError("WR-CLI-114", "Little.", "Make room.")

    def wrong() -> str:
        raise error

    warned, bad = examine([Check("a", "b", lambda: Warned(error)), Check("a", "c", wrong)])
    assert (warned.state, warned.passed) == (State.WARNING, True)
    assert (bad.state, bad.passed, bad.code, bad.remedy) == (
        State.WRONG,
        False,
        "WR-CLI-114",
        "Make room.",
    )


def test_a_check_that_fails_by_itself_is_wrong_and_quotes_nothing() -> None:
    def upset() -> str:
        raise ValueError("patient 4711")

    (result,) = examine([Check("a", "b", upset)])
    assert (result.state, result.code) == (State.WRONG, "WR-CLI-111")
    assert "4711" not in repr(result)


# A hospital


@asynccontextmanager
async def enrolled(folder: Path) -> AsyncIterator[tuple[LinesWard, Steward]]:
    """A hospital that is ready, and its coordinator at work."""
    async with open_lines(folder / "ward", start=False) as ward:
        steward = Steward(folder / "steward", ward.keys, ward.study)
        steward.approve()
        token = ward.coordinator.enrolment.invite(ME)
        await enrol(steward.home, steward.invitation(ward.address(ward._port), token))
        yield ward, steward


async def test_a_hospital_in_order_is_well(tmp_path: Path, command: Command) -> None:
    async with enrolled(tmp_path) as (_ward, steward):
        before = steward.contents()
        printed = await asyncio.to_thread(command, "doctor", steward.folder, "--json")
        assert printed.code == 0, printed.out
        answer = json.loads(printed.out)
        states = {f"{one['area']}: {one['name']}": one["state"] for one in answer["checks"]}
        assert answer["well"] and answer["kind"] == "site"
        assert set(states.values()) <= {"well", "warning", "skipped"}
        for name in ("coordinator", "credentials", "clocks", "versions", "name", "proxy"):
            assert states[f"network: {name}"] == "well"
        assert {one["state"] for one in answer["checks"] if one["security"]} == {"well"}
        assert steward.contents() == before, "nothing was changed"
        shown = await asyncio.to_thread(command, "doctor", steward.folder)
        assert shown.code == 0 and "✓" in shown.out and "accepted as harbour" in shown.out
        assert "checks are well" in shown.err


async def test_it_may_be_asked_while_the_agent_and_its_memory_are_at_work(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (_ward, steward):
        with closing(open_memory(steward.home)) as database:
            state = JournalledDatabase(database, tables.journal, "here")
            with steward.home.alone(), state.transaction() as transaction:
                transaction.record("refused", run="run", scope="round", code="WR-STUDY-080")
            with steward.home.alone():
                found = await asyncio.to_thread(site_results, steward)
        assert found["memory: agent"].found == "running"
        assert found["memory: database"].state is State.WELL
        assert "1 entries, 1 of them refusals" in found["memory: journal"].found
        assert found["memory: ledger"].state is State.WELL


def old_certificate(steward: Steward, age: timedelta) -> None:
    key = SigningKey.load(steward.home.agent_key_path)
    identity = SpiffeId.of_site("localhost", steward.study.id, ME)
    issued = datetime.now(UTC) - age
    pem = steward.keys.authority.issue_agent(make_csr(key), identity, issued)
    steward.home.certificate_path.write_bytes(pem)


def remembered(steward: Steward) -> Path:
    open_memory(steward.home).close()
    return steward.folder / "state.db"


def of_another_version(steward: Steward, version: int) -> None:
    with closing(sqlite3.connect(remembered(steward))) as line:
        line.execute("UPDATE schema_version SET version = ?", (version,))
        line.commit()


def junk_memory(steward: Steward) -> None:
    path = remembered(steward)
    for beside in path.parent.glob("state.db-*"):
        beside.unlink()
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8192))


HARMS: list[tuple[str, Callable[[Steward], object], str, str]] = [
    (
        "a key others can read",
        lambda one: (one.folder / "keys" / "signing.key").chmod(0o644),
        "keys: permissions",
        "WR-CLI-120",
    ),
    (
        "an open folder",
        lambda one: (one.folder / "keys").chmod(0o755),
        "keys: permissions",
        "WR-CLI-120",
    ),
    (
        "another signing key",
        lambda one: (
            (one.folder / "keys" / "signing.key").unlink(),
            SigningKey.generate().save(one.folder / "keys" / "signing.key"),
        ),
        "keys: signing key",
        "WR-SITE-064",
    ),
    (
        "another authority",
        lambda one: (one.folder / "keys" / "ca.pem").write_bytes(
            stranger_authority().certificate_pem
        ),
        "keys: authority",
        "WR-SITE-006",
    ),
    (
        "a certificate that ended",
        lambda one: old_certificate(one, timedelta(days=2)),
        "keys: certificate",
        "WR-SITE-009",
    ),
    (
        "no approval",
        lambda one: (one.folder / "papers" / "approval.json").unlink(),
        "papers: approval",
        "WR-SITE-004",
    ),
    (
        "a mapping that nobody signed",
        lambda one: one.mapping.write_text(one.mapping.read_text().replace('"um"', '"mm"')),
        "papers: mapping",
        "WR-SITE-007",
    ),
    (
        "no list of exclusions",
        lambda one: (one.folder / "papers" / "exclusions.json").unlink(),
        "papers: excluded patients",
        "WR-STUDY-080",
    ),
    (
        "a policy that can't be read",
        lambda one: (one.folder / "hospital.toml").write_text("accepted_profiles = 3\n"),
        "papers: hospital's limits",
        "WR-POLICY-035",
    ),
    (
        "a memory that is gone",
        lambda one: remembered(one).unlink(),
        "memory: database",
        "WR-SITE-066",
    ),
    ("a memory that is damaged", junk_memory, "memory: database", "WR-CLI-118"),
    (
        "a memory of a newer version",
        lambda one: of_another_version(one, 999),
        "memory: database",
        "WR-STORE-002",
    ),
]


@pytest.mark.parametrize(
    ("harm", "check", "code"),
    [one[1:] for one in HARMS],
    ids=[one[0] for one in HARMS],
)
def test_what_is_wrong_in_a_folder_is_found(
    harm: Callable[[Steward], object], check: str, code: str, tmp_path: Path
) -> None:
    steward = Steward(tmp_path)
    steward.ready()
    assert site_results(steward)[check].state is State.WELL
    harm(steward)
    found = site_results(steward)[check]
    assert (found.state, found.code) == (State.WRONG, code)
    assert found.remedy and not found.passed


@pytest.mark.parametrize("name", ["agent", "an odd name? 50% #1"])
def test_a_hospitals_folder_may_be_given_by_a_relative_name(
    name: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every page writes it: sound memory is not called damaged for how it was asked for."""
    steward = Steward(tmp_path)
    steward.ready()
    remembered(steward)
    steward.folder.rename(steward.folder.with_name(name))
    monkeypatch.chdir(steward.folder.parent)
    relative, absolute = (
        {
            (one["area"], one["name"]): (one["state"], one["code"])
            for one in json.loads(command("doctor", folder, "--json").out)["checks"]
        }
        for folder in (name, Path(name).absolute())
    )
    for one in ("database", "journal", "ledger"):
        assert relative["memory", one] == ("well", None)
    assert relative == absolute


def test_what_can_not_be_read_any_more_is_skipped_and_does_not_pass(tmp_path: Path) -> None:
    steward = Steward(tmp_path)
    steward.ready()
    junk_memory(steward)
    found = site_results(steward)
    for name in ("memory: journal", "memory: ledger"):
        assert found[name].state is State.SKIPPED and not found[name].passed


def test_a_certificate_and_an_older_database_are_warned_of_in_time(tmp_path: Path) -> None:
    steward = Steward(tmp_path)
    steward.ready()
    old_certificate(steward, timedelta(hours=23, minutes=30))
    of_another_version(steward, 1)
    found = site_results(steward)
    assert (found["keys: certificate"].state, found["keys: certificate"].code) == (
        State.WARNING,
        "WR-CLI-121",
    )
    assert found["memory: database"].code == "WR-CLI-119"
    with closing(sqlite3.connect(steward.folder / "state.db")) as line:
        assert line.execute("SELECT version FROM schema_version").fetchone() == (1,), "untouched"


def test_a_folder_without_a_study_is_not_well_and_says_what_is_missing(
    tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "agent"
    command("site", "init", folder, "--name", ME)
    result = command("doctor", folder)
    assert result.code == 1
    assert "skipped: no study has been approved" in result.out
    assert "security: not passed" in result.out and "which is not a pass" in result.err


def test_limits_that_do_not_hold_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steward = Steward(tmp_path)
    (steward.folder / "hospital.toml").write_text(
        'accepted_profiles = ["secure-sum"]\nrequired_limits = ["network"]\n', encoding="utf-8"
    )
    steward.ready()
    found = site_results(steward)["this machine: limits"]
    assert (found.state, found.code) == (State.WRONG, "WR-SANDBOX-001")
    assert "network" in found.found


# The machine


@pytest.mark.parametrize(
    ("free", "state"), [(10 << 20, State.WRONG), (500 << 20, State.WARNING), (9 << 30, State.WELL)]
)
def test_a_full_disk_is_seen(
    free: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    steward = Steward(tmp_path)
    assert site_results(steward)["this machine: disk"].state is state


@pytest.fixture
def no_room() -> Iterator[Callable[[], None]]:
    """Call it, and no file of this process grows beyond 8 bytes until the test ends.

    What SQLite then says of the files beside its database is what it says on a full disk.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_alone_is_no_damage(tmp_path: Path, no_room: Callable[[], None]) -> None:
    """Nobody shall go for an older backup, and forget what was answered, since a disk is full."""
    steward = Steward(tmp_path)
    steward.ready()
    remembered(steward)
    no_room()
    found = site_results(steward)
    for name in ("database", "journal", "ledger"):
        one = found[f"memory: {name}"]
        assert one.state is State.SKIPPED and not one.passed
    assert "the disk takes no more" in found["memory: database"].found
    assert found["this machine: durability"].code == "WR-CLI-115"


async def test_a_start_that_a_full_disk_ends_does_not_say_that_it_waits(
    coordinator: Path, tmp_path: Path, no_room: Callable[[], None]
) -> None:
    steward = Steward(tmp_path)
    steward.ready()
    remembered(steward)
    no_room()
    home = CoordinatorHome(coordinator)
    for started in (
        serve(home, lambda _event, _facts: None, wait_s=0, once=True),
        take_part(steward.home, lambda _event, /, **_facts: None),
    ):
        with pytest.raises(WardroundError) as ended:
            await started
        assert ended.value.code == "WR-STORE-004"
        assert "what ended with this, start again" in ended.value.remedy


def test_slow_and_failing_syncs_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steward = Steward(tmp_path)
    ticks = iter(range(10_000))
    monkeypatch.setattr("wardround.store.host.time.perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr("wardround.store.host._file_system", lambda _folder: "nfs4")
    slow = site_results(steward)["this machine: durability"]
    assert (slow.state, slow.code) == (State.WARNING, "WR-CLI-117")
    monkeypatch.setattr("wardround.store.host._file_system", lambda _folder: "tmpfs")
    assert site_results(steward)["this machine: durability"].code == "WR-CLI-116"

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wardround.store.host.os.fsync", full)
    failing = site_results(steward)["this machine: durability"]
    assert (failing.state, failing.code) == (State.WRONG, "WR-CLI-115")
    assert "No space left" in failing.found
    assert list(steward.folder.glob(".doctor-*")) == []


# The network


def network(found: dict[str, Result]) -> dict[str, tuple[State, str | None]]:
    return {
        name.removeprefix("network: "): (one.state, one.code)
        for name, one in found.items()
        if name.startswith("network")
    }


async def test_a_coordinator_that_is_away(tmp_path: Path) -> None:
    steward = Steward(tmp_path)
    steward.ready("https://localhost:1")
    found = await asyncio.to_thread(site_results, steward)
    seen = network(found)
    assert seen["name"] == (State.WELL, None)
    assert seen["coordinator"] == (State.WRONG, "WR-SITE-040")
    for name in ("clocks", "credentials", "versions"):  # one cause, told once
        assert seen[name] == (State.SKIPPED, None)
    for name in ("clocks", "credentials"):  # which guard security, and did not pass
        assert not found[f"network: {name}"].passed
    assert "WR-SITE-040" in found["network: credentials"].found


async def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    steward = Steward(tmp_path)
    steward.ready("https://coordinator.invalid:8443")
    found = await asyncio.to_thread(site_results, steward)
    seen = network(found)
    assert {name for name, (state, _) in seen.items() if state is State.WRONG} == {"name"}
    assert seen["name"] == (State.WRONG, "WR-SITE-176")
    assert not found["network: coordinator"].passed, "nobody has looked who would answer"


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(-400, State.WRONG), (60, State.WARNING), (5, State.WELL), (400, State.WRONG)],
)
async def test_a_clock_that_differs(
    ahead: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Skewed(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=ahead)

    async with enrolled(tmp_path) as (_ward, steward):
        monkeypatch.setattr("wardround.site.sounding.datetime", Skewed)
        found = (await asyncio.to_thread(site_results, steward))["network: clocks"]
        assert found.state is state
        if state is not State.WELL:
            assert found.code == "WR-SITE-178" and " s " in found.found


async def test_a_proxy_that_opens_tls_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with enrolled(tmp_path) as (ward, steward):
        proxy = InspectingProxy(tmp_path / "proxy", ward.tls / "ca.pem")
        async with proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://name:secret@localhost:{proxy.port}")
            found = await asyncio.to_thread(site_results, steward)
            result = found["network: coordinator"]
            assert (result.state, result.code) == (State.WRONG, "WR-SITE-041")
            assert "The hospital's proxy" in result.found
            assert found["network: proxy"].found == f"http://localhost:{proxy.port}"
            assert proxy.seen == []


async def test_an_agreed_one_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agreed(ward: LinesWard) -> None:
        ward.options["inspected"] = frozenset(SITES)

    async with open_lines(tmp_path / "ward", start=False, prepare=agreed) as ward:
        steward = Steward(tmp_path / "steward", ward.keys, ward.study)
        proxy = InspectingProxy(tmp_path / "proxy", ward.tls / "ca.pem")
        async with proxy:
            policy = steward.folder / "hospital.toml"
            more = f'[network]\ninspecting_proxy_ca = "{proxy.ca}"\n'
            policy.write_text(policy.read_text() + more)
            steward.approve()
            monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
            sent = steward.invitation(
                ward.address(ward._port), ward.coordinator.enrolment.invite(ME)
            )
            await enrol(steward.home, replace(sent, inspected=True))
            found = await asyncio.to_thread(site_results, steward)
            assert found["network: credentials"].state is State.WELL
            assert "by its own signature" in found["network: coordinator"].found
            assert found["network: coordinator"].state is State.WELL


@pytest.mark.parametrize("lie", ["none", "stranger", "another question", "nonsense"])
async def test_a_proxy_that_answers_by_itself_is_not_taken_for_the_coordinator(
    lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: it has a certificate for every name, and knows what a coordinator answers."""
    async with enrolled(tmp_path) as (ward, steward):
        policy = steward.folder / "hospital.toml"
        ca = tmp_path / "ca.pem"
        ca.write_bytes(stranger_authority().certificate_pem)
        policy.write_text(policy.read_text() + f'[network]\ninspecting_proxy_ca = "{ca}"\n')
        steward.approve()
        honest = type(ward.coordinator).present_to

        def false(coordinator: Coordinator, site: SiteName, nonce: str) -> object:
            match lie:
                case "none":
                    return SimpleNamespace(to_dict=lambda: None)
                case "stranger":
                    said = Present.from_payload(honest(coordinator, site, nonce).payload)
                    return said.sign(ward.keys.sites[site])
                case "another question":
                    return honest(coordinator, site, "A" * 22)
            return SimpleNamespace(to_dict=lambda: {"payload": 1})

        monkeypatch.setattr(type(ward.coordinator), "present_to", false)
        result = (await asyncio.to_thread(site_results, steward))["network: coordinator"]
        assert (result.state, result.code) == (State.WRONG, "WR-SITE-202")


async def test_a_proxy_that_asks_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with enrolled(tmp_path) as (_ward, steward), TunnelProxy("ward:round") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        found = await asyncio.to_thread(site_results, steward)
        seen = network(found)
        assert {name for name, (state, _) in seen.items() if state is State.WRONG} == {"proxy"}
        assert seen["proxy"] == (State.WRONG, "WR-SITE-170")
        assert not found["network: coordinator"].passed
        monkeypatch.setenv("HTTPS_PROXY", f"http://ward:round@localhost:{proxy.port}")
        found = await asyncio.to_thread(site_results, steward)
        assert network(found)["credentials"] == (State.WELL, None)


async def test_an_agent_that_the_coordinator_does_not_know(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (ward, steward):
        token = ward.coordinator.enrolment.invite(ME)
        request = make_csr(SigningKey.generate())
        ward.coordinator.enrolment.enrol(ME, token, request)  # enrolled again, elsewhere
        found = (await asyncio.to_thread(site_results, steward))["network: credentials"]
        assert (found.state, found.code) == (State.WRONG, "WR-SITE-179")
        assert "WR-COORD-034" in found.found


# A coordinator


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def coordinator(tmp_path: Path, command: Command) -> Path:
    folder = tmp_path / "coordinator"
    url = f"https://localhost:{free_port()}"
    keys = json.loads(command("coordinator", "init", folder, "--url", url, "--json").out)
    plain = document()
    plain["coordinator"] |= {name: keys[name] for name in ("url", "signing_key", "ca")}
    study = tmp_path / "study.toml"
    study.write_text(toml(plain))
    assert command("coordinator", "invite", folder, study).code == 0
    return folder


def coordinator_results(folder: Path) -> dict[str, Result]:
    return by_name(examine(coordinator_doctor.checks(CoordinatorHome(folder))))


def test_a_coordinator_in_order_is_well(coordinator: Path, command: Command) -> None:
    printed = command("doctor", coordinator, "--json")
    assert printed.code == 0, printed.out
    answer = json.loads(printed.out)
    assert answer["kind"] == "coordinator" and answer["well"]
    codes = {one["name"]: one["code"] for one in answer["checks"] if one["state"] == "warning"}
    assert {**codes, "clock": None} == {
        "clock": None,
        "enrolled": "WR-COORD-064",
        "approvals": "WR-COORD-065",
    }
    shown = command("doctor", coordinator)
    assert "wardround explain WR-COORD-065" in shown.out and "to be looked at" in shown.err


def test_a_coordinators_folder_may_be_given_by_a_relative_name(
    coordinator: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(coordinator.parent)
    printed = command("doctor", coordinator.name, "--json")
    assert printed.code == 0, printed.out
    shown = command("doctor", coordinator.name)
    assert shown.code == 0 and "whole, schema version" in shown.out


COORDINATOR_HARMS: list[tuple[str, Callable[[Path], object], str, str]] = [
    (
        "a key others can read",
        lambda at: (at / "keys" / "ca.key").chmod(0o640),
        "keys: permissions",
        "WR-CLI-120",
    ),
    (
        "another authority's certificate",
        lambda at: (at / "keys" / "ca.pem").write_bytes(stranger_authority().certificate_pem),
        "keys: authority",
        "WR-TRUST-034",
    ),
    (
        "no server certificate",
        lambda at: (at / "keys" / "server.pem").unlink(),
        "keys: server certificate",
        "WR-COORD-062",
    ),
    (
        "another address",
        lambda at: (at / "coordinator.toml").write_text('url = "https://elsewhere:8443"\n'),
        "keys: server certificate",
        "WR-COORD-062",
    ),
    (
        "another address than the study's",
        lambda at: (at / "coordinator.toml").write_text('url = "https://elsewhere:8443"\n'),
        "study: study",
        "WR-COORD-002",
    ),
    (
        "a hospital that the study does not name",
        lambda at: (at / "coordinator.toml").write_text(
            (at / "coordinator.toml").read_text() + 'inspected = ["nobody"]\n'
        ),
        "study: inspected lines",
        "WR-COORD-066",
    ),
    (
        "a memory that is gone",
        lambda at: (at / "state.db").unlink(),
        "memory: database",
        "WR-COORD-041",
    ),
    (
        "a name that nobody knows",
        lambda at: (at / "coordinator.toml").write_text('url = "https://nobody.invalid:8443"\n'),
        "network: name",
        "WR-COORD-067",
    ),
]


@pytest.mark.parametrize(
    ("harm", "check", "code"),
    [one[1:] for one in COORDINATOR_HARMS],
    ids=[one[0] for one in COORDINATOR_HARMS],
)
def test_what_is_wrong_with_a_coordinator_is_found(
    harm: Callable[[Path], object], check: str, code: str, coordinator: Path
) -> None:
    assert coordinator_results(coordinator)[check].state is State.WELL
    harm(coordinator)
    found = coordinator_results(coordinator)[check]
    assert (found.state, found.code) == (State.WRONG, code)


def test_a_port_that_somebody_else_holds(coordinator: Path) -> None:
    home = CoordinatorHome(coordinator)
    with socket.create_server(("127.0.0.1", home.port)):
        results = coordinator_results(coordinator)
    found, service = results["network: port"], results["network: service"]
    assert (found.state, found.code) == (State.WRONG, "WR-COORD-008")
    assert (service.state, service.code) == (State.WRONG, "WR-COORD-068")
    assert "nobody answers" in coordinator_results(coordinator)["network: service"].found


def test_an_address_that_cannot_be_tried_is_not_taken_for_quiet(coordinator: Path) -> None:
    (coordinator / "coordinator.toml").write_text('url = "https://nobody.invalid:8443"\n')
    found = coordinator_results(coordinator)["network: service"]
    assert found.state is State.SKIPPED and not found.passed


async def test_a_coordinator_at_work_is_asked_at_its_own_address(coordinator: Path) -> None:
    home = CoordinatorHome(coordinator)
    listening = asyncio.Event()
    task = asyncio.create_task(
        serve(home, lambda event, _: event == "listening" and listening.set(), wait_s=60, once=True)
    )
    await asyncio.wait_for(listening.wait(), 20)
    found = await asyncio.to_thread(coordinator_results, coordinator)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert found["network: port"].found.endswith("held by this coordinator")
    assert found["network: service"].found == f"answers at {home.url}: waiting"


def test_a_folder_of_neither_has_a_code(tmp_path: Path, command: Command) -> None:
    result = command("doctor", tmp_path, "--json")
    assert result.code == 1
    assert json.loads(result.out)["errors"][0]["code"] == "WR-CLI-110"


async def test_the_commands_of_its_page_run(tmp_path: Path, command: Command) -> None:
    """And what the page says of them is so."""
    page = (requires.ROOT / "docs" / "how-to" / "find-out-what-is-wrong.md").read_text("utf-8")
    lines = re.findall(r"^\$ wardround (.+)$", page, flags=re.M)
    assert len(lines) >= 3
    async with enrolled(tmp_path) as (_ward, steward):
        folder = tmp_path / "served"
        url = f"https://localhost:{free_port()}"
        command("coordinator", "init", folder, "--url", url)
        places = {"agent": (steward.folder, 0), "coordinator": (folder, 1)}  # it has no study yet
        for line in lines:
            words = shlex.split(line)
            place, code = places[words[1]]
            result = await asyncio.to_thread(command, words[0], place, *words[2:])
            assert result.code == code, line
            if "--json" in words:
                answer = json.loads(result.out)
                assert answer["well"] is True
                for key in answer["checks"][0]:
                    assert f"`{key}`" in page
    for state in State:
        assert f"`{state.value}`" in page
