"""Enrolling: all of the agent's papers are replaced, or none."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from steward import ME, Steward
from ward import SITES, HttpsWard, code_of, plan
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.simulation.inprocess import Keys
from wardround.site import enrol as trade
from wardround.site.enrol import enrol
from wardround.trust.authority import make_csr, peer_identity
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[HttpsWard]:
    """A coordinator that serves."""
    keys = Keys.generate(SITES)
    opened = HttpsWard(tmp_path / "ward", keys.seal(plan()), keys)
    opened.open_coordinator()
    await opened.serve()
    yield opened
    await opened.close()


@pytest.fixture
def steward(tmp_path: Path, ward: HttpsWard) -> Steward:
    return Steward(tmp_path, ward.keys, ward.study)


def token(ward: HttpsWard) -> str:
    return ward.coordinator.enrolment.invite(ME)


async def test_an_enrolment_brings_a_pair_that_belongs_together(
    ward: HttpsWard, steward: Steward
) -> None:
    await enrol(steward.home, steward.invitation(ward.url, token(ward)))
    home = steward.home
    assert peer_identity(home.certificate_path.read_bytes()).name == ME
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(home.certificate_path, home.agent_key_path)
    assert home.agent_key_path.stat().st_mode & 0o777 == 0o600
    assert home.ca_path.read_bytes() == ward.keys.authority.certificate_pem
    assert home.url == ward.url


async def test_a_second_invitation_replaces_all_of_it(ward: HttpsWard, steward: Steward) -> None:
    steward.ready("https://localhost:1")
    await enrol(steward.home, steward.invitation(ward.url, token(ward)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(steward.home.certificate_path, steward.home.agent_key_path)
    assert steward.home.url == ward.url


async def test_a_token_tried_twice_leaves_the_agent_as_it_was(
    ward: HttpsWard, steward: Steward
) -> None:
    invitation = steward.invitation(ward.url, token(ward))
    await enrol(steward.home, invitation)
    before = steward.contents()
    assert await code_of(enrol(steward.home, invitation)) == "WR-COORD-031"
    assert steward.contents() == before


async def test_a_coordinator_that_is_away_leaves_the_agent_as_it_was(steward: Steward) -> None:
    steward.ready()
    before = steward.contents()
    with pytest.raises(WardroundError) as caught:
        await enrol(steward.home, steward.invitation("https://localhost:9"))
    assert caught.value.code == "WR-SITE-061"
    assert "tries again" not in caught.value.remedy
    assert steward.contents() == before


async def test_an_invitation_by_another_authority_does_not_replace_the_approved_one(
    ward: HttpsWard, steward: Steward
) -> None:
    steward.ready()
    before = steward.contents()
    foreign = replace(
        steward.invitation(ward.url, token(ward)),
        ca=Keys.generate((ME,)).authority.certificate_pem.decode(),
    )
    assert await code_of(enrol(steward.home, foreign)) == "WR-SITE-060"
    other = replace(steward.invitation(ward.url, token(ward)), study="another-study")
    assert await code_of(enrol(steward.home, other)) == "WR-SITE-060"
    assert steward.contents() == before


@pytest.mark.parametrize("ca", ["", "pem", "-----BEGIN CERTIFICATE-----\nAA\n", "é"])
async def test_an_invitation_without_an_authority_is_none(steward: Steward, ca: str) -> None:
    before = steward.contents()
    invitation = replace(steward.invitation(), ca=ca)
    assert await code_of(enrol(steward.home, invitation)) == "WR-SITE-003"
    assert steward.contents() == before


async def test_another_hospitals_invitation(steward: Steward) -> None:
    invitation = replace(steward.invitation(), site=SiteName("lakeside"))
    assert await code_of(enrol(steward.home, invitation)) == "WR-SITE-008"


async def test_nobody_enrols_under_a_running_agent(ward: HttpsWard, steward: Steward) -> None:
    once = token(ward)
    with steward.home.alone():
        invitation = steward.invitation(ward.url, once)
        assert await code_of(enrol(steward.home, invitation)) == "WR-SITE-053"
    await enrol(steward.home, steward.invitation(ward.url, once))  # the token was not spent


@pytest.mark.parametrize("lie", ["key", "name", "study", "authority", "junk"])
async def test_a_certificate_that_does_not_fit_replaces_nothing(
    steward: Steward, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    steward.ready()
    before = steward.contents()

    async def answer(_client: object, _site: str, _token: str, csr: bytes, _proof: object) -> bytes:
        if lie == "junk":
            return b"-----BEGIN CERTIFICATE-----\n"
        keys = Keys.generate((ME,)) if lie == "authority" else steward.keys
        identity = SpiffeId.of_site(
            "localhost",
            "another" if lie == "study" else steward.study.id,
            "lakeside" if lie == "name" else ME,
        )
        request = make_csr(SigningKey.generate()) if lie == "key" else csr
        return keys.authority.issue_agent(request, identity, datetime.now(UTC))

    monkeypatch.setattr(trade, "trade_token", answer)
    code = await code_of(enrol(steward.home, steward.invitation()))
    assert code in ("WR-ROUND-001", "WR-TRUST-031")
    assert steward.contents() == before
