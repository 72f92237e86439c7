"""A hospital that deals or sends false shares: what is written down, and who is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ward import SITES, Ward, code_of, open_ward, until
from wardround.ids import SiteName
from wardround.secagg import Member, RecoveryShares, shamir

FIRST, REST = SITES[0], SITES[1:]
QUICK = {"deadline_s": 5.0, "attempts": 2}


@pytest.fixture
def deals_falsely(monkeypatch: pytest.MonkeyPatch) -> Callable[[SiteName], None]:
    """The hospital's shares open, and are of other secrets than it advertised."""
    honest, deal = Member.deal, shamir.deal

    def make(culprit: SiteName) -> None:
        def dealing(self: Member, adverts: object) -> object:
            if self._me == culprit:
                with monkeypatch.context() as patch:
                    patch.setattr(
                        shamir, "deal", lambda _secret, *rest: deal(bytes([7]) * 32, *rest)
                    )
                    return honest(self, adverts)
            return honest(self, adverts)

        monkeypatch.setattr(Member, "deal", dealing)

    return make


def sends(monkeypatch: pytest.MonkeyPatch, liar: SiteName, about: tuple[SiteName, ...]) -> None:
    """The hospital changes its shares of some dealers' secrets."""
    honest = Member.recover

    def recovering(self: Member, *arguments: object) -> RecoveryShares:
        given = honest(self, *arguments)
        if self._me != liar:
            return given
        changed = {
            site: bytes(1) + share[1:31] + b"no" if site in about else share
            for site, share in given.self_mask_shares.items()
        }
        return replace(given, self_mask_shares=changed)

    monkeypatch.setattr(Member, "recover", recovering)


def pools(ward: Ward) -> list[list[str]]:
    return [entry.facts["pool"] for entry in ward.entries("setup")]


async def test_a_dealer_of_false_shares_is_named_and_left_out_from_then_on(
    tmp_path: Path, deals_falsely: Callable[[SiteName], None]
) -> None:
    deals_falsely(FIRST)
    async with open_ward(tmp_path, cohort=QUICK) as ward:
        assert await code_of(asyncio.wait_for(ward.driver.sum(ward.task()), 30)) == "WR-ROUND-002"
        bad = [entry.facts for entry in ward.entries("bad-shares")]
        assert [(one["code"], one["dealer"]) for one in bad] == [("WR-SECAGG-017", FIRST)] * len(
            bad
        )
        assert bad[-1]["helpers"] == list(SITES), "everybody was asked before it was convicted"
        (culprit,) = ward.entries("culprit")
        assert (culprit.facts["site"], culprit.facts["study"]) == (FIRST, ward.study.digest)
        assert pools(ward) == [list(SITES), list(REST)]
        refused = {code for site in REST for code in ward.hospitals[site].refusals()}
        assert refused <= {"WR-SITE-022"}, "the step is lost: a task is answered only once"
        assert ward.entries("total") == []
        total = await asyncio.wait_for(ward.driver.sum(ward.task("moments")), 30)
        assert total.survivors == REST
        assert ward.drive()._without_culprits(SITES) == REST, "the next run's driver knows, too"


@pytest.mark.parametrize(
    ("about", "convicted"), [((SITES[2],), []), (SITES[1:3], [FIRST])], ids=["one", "two"]
)
async def test_a_helper_that_changes_shares_costs_no_round_and_is_left_out_where_it_is_certain(
    about: tuple[SiteName, ...],
    convicted: list[SiteName],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one corrupt site of four, one dealer may have dealt a false share; two may not."""
    sends(monkeypatch, FIRST, about)
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        last, gate = ward.hospitals[SITES[3]], asyncio.Event()
        last.line.before = lambda kind: gate.wait() if kind == "vote" else None
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: ward.entries("bad-shares") != [])
        gate.set()  # the three first to vote don't open it: the fourth has to help
        assert (await asyncio.wait_for(work, 30)).survivors == SITES
        (bad,) = ward.entries("bad-shares")
        assert (bad.facts["dealer"], len(bad.facts["helpers"])) == (about[0], 3)
        (found,) = ward.entries("suspects")
        assert found.facts["helpers"] == {FIRST: list(about)}
        assert [entry.facts["site"] for entry in ward.entries("culprit")] == convicted
        total = await asyncio.wait_for(ward.driver.sum(ward.task("moments")), 30)
        assert total.survivors == (REST if convicted else SITES)
