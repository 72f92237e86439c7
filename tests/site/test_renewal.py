"""Certificates of seconds, renewed while rounds run: nothing is lost on either side."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from fault_proxy import InspectingProxy
from lines import LinesWard, open_lines, total_of
from ward import SITES, Hospital, stranger_authority, until
from wardround.coordinator.home import CoordinatorHome, ServerTerms
from wardround.coordinator.server import keep_server_certificate
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.site.papers import Papers, keep_renewed, under_renewal
from wardround.trust.authority import certificate_digest, certificate_expiry, make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

BACKDATED = timedelta(minutes=5)
LIFE = timedelta(seconds=8)
"""What is left of a certificate when it is issued."""


def papers_of(ward: LinesWard, site: SiteName) -> Papers:
    hospital = ward.hospitals[site]
    authority = ward.keys.authority.certificate_pem
    return Papers(ward.tls / f"{site}.pem", hospital.agent_key, authority, ward.study.id, site)


@asynccontextmanager
async def renewing(ward: LinesWard) -> AsyncIterator[dict[SiteName, list[str]]]:
    """Every agent renews by itself, as a running one does; what it says of it."""
    said: dict[SiteName, list[str]] = {site: [] for site in ward.hospitals}

    async def keep(site: SiteName, hospital: Hospital) -> None:
        assert hospital.agent is not None
        link, papers = hospital.agent.link, papers_of(ward, site)
        async with asyncio.TaskGroup() as changing:

            def change_over() -> None:
                ward._clients.pop(site, None)
                hospital.certificate = papers.certificate.read_bytes()
                named = certificate_digest(hospital.certificate) if ward.inspecting else None
                changing.create_task(link.use(hospital.client(), named))

            await keep_renewed(
                papers, link, lambda event, **_: said[site].append(event), change_over
            )

    tasks = [asyncio.create_task(keep(*one)) for one in ward.hospitals.items()]
    try:
        yield said
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in outcomes), outcomes


def short_lived(ward: LinesWard) -> None:
    ward.options["agent_lifetime"] = BACKDATED + LIFE


async def rounds_until(ward: LinesWard, done: object) -> int:
    """Rounds without a pause until ``done()``; each is over everybody."""
    kinds = iter(["outcome_counts"])
    count = 0
    while not done():
        total = await total_of(ward, next(kinds, "moments"))
        assert total.survivors == SITES
        count += 1
        assert count < 500
    return count


async def test_agents_renew_under_load_and_no_round_is_lost(tmp_path: Path) -> None:
    async with (
        open_lines(tmp_path, prepare=short_lived, cohort={"deadline_s": 20.0}) as ward,
        renewing(ward) as said,
    ):
        first = {site: one.certificate for site, one in ward.hospitals.items()}
        ended = max(certificate_expiry(pem) for pem in first.values())
        await rounds_until(
            ward,
            lambda: datetime.now(UTC) > ended and all(len(one) >= 2 for one in said.values()),
        )
        assert {event for one in said.values() for event in one} == {"renewed"}
        assert not any(event == "round-failed" for event, _ in ward.said)
        assert len(ward.entries("replaced")) >= len(SITES)


@pytest.mark.slow
async def test_a_line_that_breaks_during_renewal_costs_nothing(tmp_path: Path) -> None:
    async with (
        open_lines(tmp_path, prepare=short_lived, cohort={"deadline_s": 20.0}) as ward,
        renewing(ward) as said,
    ):
        for site, hospital in ward.hospitals.items():

            def after(kind: str, site: SiteName = site) -> None:
                if kind == "renew":  # answered by the coordinator, and the line goes
                    ward.lines[site].cut()

            hospital.line.after = after
        await rounds_until(ward, lambda: all(len(one) >= 2 for one in said.values()))
        assert {event for one in said.values() for event in one} == {"renewed"}


@pytest.mark.slow
async def test_agents_renew_through_a_proxy_that_opens_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxies: list[InspectingProxy] = []

    def prepare(ward: LinesWard) -> None:
        short_lived(ward)
        proxies.append(InspectingProxy(tmp_path / "proxy", ward.tls / "ca.pem"))
        ward.inspecting = dict.fromkeys(SITES, proxies[0].ca)
        ward.options["inspected"] = frozenset(SITES)

    async with (
        open_lines(tmp_path, prepare=prepare, start=False, cohort={"deadline_s": 20.0}) as ward,
        proxies[0] as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        for one in ward.hospitals.values():
            await one.start()
        await ward.coordinator.wait_for_sites(len(SITES), 10.0)
        ward.drive()
        async with renewing(ward) as said:
            await rounds_until(ward, lambda: all(len(one) >= 2 for one in said.values()))
            assert {event for one in said.values() for event in one} == {"renewed"}
        assert len(ward.entries("replaced")) >= len(SITES)
        for one in ward.hospitals.values():
            await one.kill()


# Alone


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=10)  # each look takes a while
        return self.now


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    key = SigningKey.generate()
    authority = stranger_authority()
    identity = SpiffeId.of_site("localhost", "breast-mass", SITES[0])
    path = tmp_path / "agent.pem"
    path.write_bytes(authority.issue_agent(make_csr(key), identity, datetime.now(UTC)))
    made = Papers(path, key, authority.certificate_pem, "breast-mass", SITES[0])
    made.require_fitting(path.read_bytes())
    return made


async def renewed_with(papers: Papers, answers: list[object]) -> list[str]:
    """What the agent says while it asks for a new certificate and gets these answers in turn."""
    said: list[str] = []
    done = asyncio.Event()

    async def renew(_csr: bytes) -> bytes:
        answer = answers.pop(0)
        if not answers:
            done.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    link = SimpleNamespace(renew=renew)

    async def no_time(_seconds: float) -> None:
        await asyncio.sleep(0)

    work = keep_renewed(
        papers, link, lambda event, **_: said.append(event), lambda: None, Clock(), no_time
    )
    task = asyncio.create_task(work)
    await asyncio.wait_for(done.wait(), 10)
    await until(lambda: said)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return said


@pytest.mark.parametrize("lie", ["authority", "key", "name"])
async def test_a_certificate_that_does_not_fit_replaces_nothing(papers: Papers, lie: str) -> None:
    """Whoever ends TLS may answer anything; the agent would be locked out of the study."""
    kept = papers.certificate.read_bytes()
    authority = stranger_authority()
    site = SITES[1] if lie == "name" else SITES[0]
    key = SigningKey.generate() if lie == "key" else papers.key
    identity = SpiffeId.of_site("localhost", "breast-mass", site)
    false = authority.issue_agent(make_csr(key), identity, datetime.now(UTC))
    assert await renewed_with(papers, [false]) == ["trouble"]
    assert papers.certificate.read_bytes() == kept


async def test_an_older_certificate_replaces_nothing(papers: Papers) -> None:
    """The attack: whoever opens the line has seen it before. The agent would go on under a
    certificate that the coordinator has replaced, and be turned away for good."""
    kept = papers.certificate.read_bytes()
    identity = SpiffeId.of_site("localhost", "breast-mass", SITES[0])
    earlier = datetime.now(UTC) - timedelta(hours=12)
    authority = stranger_authority()
    papers = replace(papers, authority=authority.certificate_pem)
    older = authority.issue_agent(make_csr(papers.key), identity, earlier)
    papers.require_fitting(older)
    assert await renewed_with(papers, [older]) == ["trouble"]
    assert papers.certificate.read_bytes() == kept


async def test_a_refusal_is_asked_about_again_before_the_certificate_ends(papers: Papers) -> None:
    kept = papers.certificate.read_bytes()
    refused = WardroundError("WR-COORD-001", "Not now.", "Later.")
    said = await renewed_with(papers, [refused, refused, kept])
    assert said[:2] == ["trouble", "trouble"]


class Papered:
    """An agent's renewal alone, over a clock of its own; what it says, and what it shows."""

    def __init__(self, papers: Papers) -> None:
        self.authority = stranger_authority()
        self.papers = replace(papers, authority=self.authority.certificate_pem)
        self.now = datetime.now(UTC)
        self.said: list[tuple[str, dict[str, object]]] = []
        self.shown = papers.certificate.read_bytes()
        """What the link shows: the certificate at the last change-over."""
        self.asked = 0
        self.changes: list[int] = []
        """How many certificates had been asked for at each change-over."""
        self.stubborn = 0
        """How often changing over fails."""
        self.link = SimpleNamespace(renew=self.renew)

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def renew(self, _csr: bytes) -> bytes:
        self.asked += 1
        identity = SpiffeId.of_site("localhost", "breast-mass", SITES[0])
        return self.authority.issue_agent(make_csr(self.papers.key), identity, self.now)

    def change_over(self) -> None:
        if self.stubborn:
            self.stubborn -= 1
            raise OSError("no such luck")
        self.shown = self.papers.certificate.read_bytes()
        self.changes.append(self.asked)

    @asynccontextmanager
    async def going(self, attempt_s: float = 60.0) -> AsyncIterator[None]:
        def say(event: str, **facts: object) -> None:
            self.said.append((event, facts))

        clock = self.clock, self.sleep, attempt_s
        task = asyncio.create_task(
            keep_renewed(self.papers, self.link, say, self.change_over, *clock)
        )
        try:
            yield
        finally:
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError), outcome

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.said]


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_more)


async def test_a_full_disk_at_renewal_is_waited_out(
    papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, old = Papered(papers), papers.certificate.read_bytes()
    with monkeypatch.context() as disk:
        full(disk)
        async with agent.going():
            await until(lambda: len(agent.events) > 1)
            disk.undo()
            await until(lambda: "renewed" in agent.events)
    assert agent.events[:2] == ["trouble", "trouble"]
    assert agent.shown == agent.papers.certificate.read_bytes() != old
    first = agent.said[0][1]
    assert first["code"] == "WR-SITE-215"
    assert "WR-STORE-004" in str(first["problem"]) and "counts for 1" in str(first["problem"])


async def test_a_change_over_that_fails_is_tried_again_with_the_same_certificate(
    papers: Papers,
) -> None:
    """The coordinator takes the newest alone: another one that could not be written, and an agent
    that is killed then, would be locked out."""
    agent = Papered(papers)
    agent.stubborn = 1
    async with agent.going():
        await until(lambda: "renewed" in agent.events)
        assert agent.events[:2] == ["trouble", "renewed"] and agent.changes[0] == 1
        assert agent.shown == agent.papers.certificate.read_bytes()
        await until(lambda: agent.events.count("renewed") >= 3)
    assert "trouble" not in agent.events[1:]


async def test_a_coordinator_that_is_away_is_said_with_the_time_that_is_left(
    papers: Papers,
) -> None:
    agent = Papered(papers)
    away, renew = asyncio.Event(), agent.renew

    async def silent(csr: bytes) -> bytes:
        await away.wait()
        return await renew(csr)

    agent.link.renew = silent
    async with agent.going(attempt_s=0.001):
        await until(lambda: len(agent.events) > 1)
        away.set()
        agent.link.renew = renew
        await until(lambda: "renewed" in agent.events)
    problem = str(agent.said[0][1]["problem"])
    assert "does not answer" in problem and "min more" in problem


async def test_when_it_has_ended_that_is_said(papers: Papers) -> None:
    agent = Papered(papers)

    async def never(_csr: bytes) -> bytes:
        raise WardroundError("WR-COORD-034", "Replaced.", "Enrol again.")

    agent.link.renew = never
    async with agent.going():
        await until(lambda: "has ended" in str(agent.said[-1:]))
    troubles = [str(facts["problem"]) for _, facts in agent.said]
    assert all("WR-COORD-034" in one for one in troubles)
    assert "11 h" in troubles[0]


async def test_a_renewal_that_ends_ends_the_agent() -> None:
    """Else it goes on, until its certificate ends in the middle of a round."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def broken() -> None:
        raise KeyError("a thing that nobody foresaw")

    with pytest.raises(WardroundError) as caught:
        await under_renewal(work(), broken())
    assert caught.value.code == "WR-SITE-216" and "KeyError" in caught.value.problem
    assert "foresaw" not in str(caught.value) and ended == ["work"]


async def test_what_the_work_says_counts_and_the_renewal_ends_with_it() -> None:
    ended: list[str] = []

    async def renewal() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("renewal")

    async def work(error: Exception | None) -> None:
        await asyncio.sleep(0)
        if error is not None:
            raise error

    await under_renewal(work(None), renewal())
    with pytest.raises(WardroundError, match="stopped"):
        await under_renewal(work(WardroundError("WR-SITE-050", "It stopped.", "Ask.")), renewal())
    assert ended == ["renewal", "renewal"]


# The coordinator's own certificate


async def test_the_coordinators_certificate_is_made_anew_without_a_connection_lost(
    tmp_path: Path,
) -> None:
    async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        home = CoordinatorHome.create(tmp_path / "home", "https://localhost:8443")
        home.keys.joinpath("ca.key").unlink()
        home.keys.joinpath("ca.pem").unlink()
        ward.keys.authority.save(home.keys)
        del home.__dict__["authority"]
        terms = ServerTerms(BACKDATED + LIFE, margin=LIFE - timedelta(seconds=1))
        said: list[str] = []
        context = ward.context
        renewal = asyncio.create_task(
            keep_server_certificate(home, context, lambda what, _: said.append(what), terms, 0.2)
        )
        await asyncio.sleep(0)
        (home.keys / "server.pem").unlink()
        opened = {site: line.seen for site, line in ward.lines.items()}
        await rounds_until(ward, lambda: len(said) >= 2)
        assert {site: line.seen for site, line in ward.lines.items()} == opened, "none broke"
        assert set(said) == {"renewed"}
        for line in ward.lines.values():
            line.cut()  # new connections meet the newest certificate
        before = len(said)
        await rounds_until(ward, lambda: len(said) > before)
        renewal.cancel()


async def test_a_renewal_that_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    home = CoordinatorHome.create(tmp_path / "home", "https://localhost:8443")
    key = (home.keys / "server.key").read_bytes()
    said: list[tuple[str, dict[str, object]]] = []
    context = SimpleNamespace(load_cert_chain=lambda *_: None)
    task = asyncio.create_task(
        keep_server_certificate(home, context, lambda *one: said.append(one), None, 0.01)
    )
    await asyncio.sleep(0)  # it has seen what is in use
    (home.keys / "server.pem").unlink()
    (home.keys / "server.key").unlink()
    await until(lambda: said)
    event, facts = said[0]
    assert (event, facts["code"]) == ("trouble", "WR-COORD-085")
    assert float(str(facts["hours_left"])) > 24
    (home.keys / "server.key").write_bytes(key)
    (home.keys / "server.key").chmod(0o600)
    await until(lambda: said[-1][0] == "renewed")
    task.cancel()


@pytest.mark.parametrize("error", [OSError("not now"), RuntimeError("nobody foresaw it")])
async def test_a_server_certificate_that_was_made_is_taken_in_later(
    tmp_path: Path, error: Exception
) -> None:
    """It lies there, good for long: nobody would make another one."""
    home = CoordinatorHome.create(tmp_path / "home", "https://localhost:8443")
    said: list[str] = []
    failures = [error]

    def load(*_: object) -> None:
        if failures:
            raise failures.pop()

    context = SimpleNamespace(load_cert_chain=load)
    task = asyncio.create_task(
        keep_server_certificate(home, context, lambda what, _: said.append(what), None, 0.01)
    )
    await asyncio.sleep(0)
    (home.keys / "server.pem").unlink()
    await until(lambda: "renewed" in said)
    assert said[:2] == ["trouble", "renewed"]
    task.cancel()
