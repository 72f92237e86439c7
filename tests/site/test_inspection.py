"""A proxy that opens TLS: refused unless hospital and operator both agreed, and then powerless."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from fault_proxy import InspectingProxy, Seen
from lines import LinesWard, open_lines, total_of
from steward import Steward
from ward import SITES, code_of
from wardround.ids import SiteName
from wardround.site.enrol import enrol
from wardround.site.home import Invitation
from wardround.trust.authority import make_csr
from wardround.trust.keys import SigningKey

ME, *OTHERS = SITES


@asynccontextmanager
async def inspected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, hospital: bool, operator: bool, **more: object
) -> AsyncIterator[tuple[LinesWard, InspectingProxy]]:
    """A ward all of whose lines lead through a proxy that opens them."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made: list[InspectingProxy] = []

    def prepare(ward: LinesWard) -> None:
        made.append(InspectingProxy(folder / "proxy", ward.tls / "ca.pem"))
        if hospital:
            ward.inspecting = dict.fromkeys(SITES, made[0].ca)
        if operator:
            ward.options = {"inspected": frozenset(SITES)}

    async with (
        open_lines(folder, prepare=prepare, start=False, **more) as ward,
        made[0] as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        yield ward, proxy
        for one in ward.hospitals.values():
            await one.kill()


async def begin(ward: LinesWard) -> None:
    for one in ward.hospitals.values():
        await one.start()
    await ward.coordinator.wait_for_sites(len(SITES), 10.0)
    ward.drive()


async def ending(ward: LinesWard, site: SiteName = ME) -> str | None:
    await ward.hospitals[site].start()
    task = ward.hospitals[site].task
    assert task is not None
    return await code_of(task)


async def test_a_hospital_that_did_not_agree_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=False, operator=True) as (ward, proxy):
        assert await ending(ward) == "WR-SITE-041"
        assert proxy.tunnels == 1 and proxy.seen == [], "it saw nothing"


async def test_an_operator_who_did_not_agree_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=True, operator=False) as (ward, _proxy):
        assert await ending(ward) == "WR-COORD-032"
        (entry,) = ward.entries("turned-away")
        assert entry.facts["code"] == "WR-COORD-032"


async def test_where_both_agreed_signatures_carry_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(
        tmp_path, monkeypatch, hospital=True, operator=True, cohort={"deadline_s": 20.0}
    ) as (ward, proxy):
        await begin(ward)
        assert (await total_of(ward)).survivors == SITES
        assert (await total_of(ward, "moments")).survivors == SITES
        assert len(proxy.seen) > 20 and ward.entries("turned-away") == []


async def test_what_it_repeats_is_refused_and_noted_and_the_round_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(
        tmp_path, monkeypatch, hospital=True, operator=True, cohort={"deadline_s": 20.0}
    ) as (ward, proxy):
        proxy.twice = True
        await begin(ward)
        assert (await total_of(ward)).survivors == SITES
        replays = [status for seen in proxy.seen for status in seen.replays]
        assert len(replays) > 20 and set(replays) == {409}
        assert {entry.facts["code"] for entry in ward.entries("turned-away")} == {"WR-TRUST-045"}


def altered_body(seen: Seen) -> Seen:
    body = seen.body[:-1] + bytes([seen.body[-1] ^ 1]) if seen.body else b"something"
    return replace(seen, body=body, fields={**seen.fields, "content-length": str(len(body))})


def with_something_added(seen: Seen) -> Seen:
    return replace(seen, target=f"{seen.target}&more=1")


def another_certificate(seen: Seen) -> Seen:
    return replace(seen, target=seen.target.replace("certificate=sha256:", "certificate=sha256:0"))


def without_signature(seen: Seen) -> Seen:
    fields = {name: value for name, value in seen.fields.items() if name != "signature"}
    return replace(seen, fields=fields)


def somebody_else(seen: Seen) -> Seen:
    fields = {**seen.fields}
    fields["signature-input"] = fields["signature-input"].replace(ME, OTHERS[0])
    return replace(seen, fields=fields)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (altered_body, "WR-TRUST-043"),
        (with_something_added, "WR-TRUST-042"),
        (another_certificate, "WR-COORD-034"),
        (without_signature, "WR-TRUST-040"),
        (somebody_else, "WR-COORD-034"),
    ],
)
async def test_what_it_alters_is_refused_and_noted(
    change: object, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=True, operator=True) as (ward, proxy):
        proxy.before = change
        assert await ending(ward) == code
        assert ward.entries("turned-away")[0].facts["code"] == code
        assert ward.coordinator.present() == ()


async def test_what_it_holds_back_and_sends_later_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reordered requests: each is good on its own, once, and only within the window."""
    async with inspected(
        tmp_path, monkeypatch, hospital=True, operator=True, cohort={"deadline_s": 20.0}
    ) as (ward, proxy):
        await begin(ward)
        await total_of(ward)
        target = f"localhost:{ward.lines[ME].port}"
        old = [seen for seen in proxy.seen if "/v1/answers" in seen.target]
        for seen in reversed(old):
            assert (await proxy.forward(target, seen)).status_code == 409
        assert (await total_of(ward, "moments")).survivors == SITES


# Enrolment: the token is seen by whoever opens the connection.


def steward_of(ward: LinesWard, folder: Path, proxy: InspectingProxy) -> Steward:
    """The first hospital's own folder, beside the ward."""
    steward = Steward(folder, ward.keys, ward.study)
    policy = steward.folder / "hospital.toml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(f'{text}[network]\ninspecting_proxy_ca = "{proxy.ca}"\n', encoding="utf-8")
    steward.approve()
    return steward


def invitation(ward: LinesWard, steward: Steward, *, inspected: bool = True) -> Invitation:
    token = ward.coordinator.enrolment.invite(ME)
    return replace(steward.invitation(ward.way(ME), token), inspected=inspected)


async def test_a_hospital_enrols_through_it_with_its_own_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=True, operator=True) as (ward, proxy):
        steward = steward_of(ward, tmp_path / "steward", proxy)
        await enrol(steward.home, invitation(ward, steward))
        assert steward.home.is_enrolled


async def test_a_token_that_it_saw_is_worth_nothing_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=True, operator=True) as (ward, proxy):
        steward = steward_of(ward, tmp_path / "steward", proxy)

        def take_it(seen: Seen) -> Seen:
            document = orjson.loads(seen.body)
            document["csr"] = make_csr(SigningKey.generate()).decode()  # the proxy's own key
            body = orjson.dumps(document)
            return replace(
                seen, body=body, fields={**seen.fields, "content-length": str(len(body))}
            )

        proxy.before = take_it
        sent = invitation(ward, steward)
        assert await code_of(enrol(steward.home, sent)) == "WR-COORD-061"
        proxy.before = lambda seen: seen
        await enrol(steward.home, sent)  # the token was not spent
        assert steward.home.is_enrolled


async def test_no_token_is_sent_through_it_unless_the_operator_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspected(tmp_path, monkeypatch, hospital=True, operator=True) as (ward, proxy):
        steward = steward_of(ward, tmp_path / "steward", proxy)
        sent = invitation(ward, steward, inspected=False)
        assert await code_of(enrol(steward.home, sent)) == "WR-SITE-041"
        assert proxy.seen == []
