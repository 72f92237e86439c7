"""Sealed shares open for their receiver, from their sender, in their set-up, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from wardround.errors import WardroundError
from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg import derive, shamir
from wardround.secagg.sealing import Route
from wardround.trust.canonical import digest

ONE, OTHER = (derive.private_key(bytes([seed]) * 32) for seed in (1, 2))
ONE_PUBLIC, OTHER_PUBLIC = (derive.public_key(bytes([seed]) * 32) for seed in (1, 2))
BATCH = derive.Batch(digest(b"study"), RunId("run"), BatchId("batch"))
ROUTE = Route(BATCH, digest(b"adverts"), SiteName("one"), SiteName("other"))
SHARES = shamir.deal(bytes(range(32)), 2, 4)


def test_shares_open_for_whom_they_are_meant() -> None:
    blob = ROUTE.seal(ONE, OTHER_PUBLIC, SHARES)
    assert ROUTE.unseal(OTHER, ONE_PUBLIC, blob, 4) == SHARES
    assert len(blob) == 4 * shamir.SHARE_BYTES + 16


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, adverts=digest(b"other adverts")),
        lambda r: replace(r, sender=SiteName("another")),
        lambda r: replace(r, receiver=SiteName("another")),
        lambda r: replace(r, sender=r.receiver, receiver=r.sender),
        lambda r: replace(r, batch=replace(BATCH, study=digest(b"other"))),
        lambda r: replace(r, batch=replace(BATCH, run=RunId("other"))),
        lambda r: replace(r, batch=replace(BATCH, batch=BatchId("other"))),
    ],
    ids=["adverts", "sender", "receiver", "direction", "study", "run", "batch"],
)
def test_shares_open_on_no_other_route(change: Callable[[Route], Route]) -> None:
    blob = ROUTE.seal(ONE, OTHER_PUBLIC, SHARES)
    with pytest.raises(WardroundError, match="WR-SECAGG-009"):
        change(ROUTE).unseal(OTHER, ONE_PUBLIC, blob, 4)


@pytest.mark.parametrize(
    "shares", [SHARES[:3], (), (*SHARES[:3], b"\xff" * 33), (*SHARES[:3], SHARES[3][1:])]
)
def test_what_is_no_set_of_shares_is_refused_though_it_opens(shares: tuple[bytes, ...]) -> None:
    blob = ROUTE.seal(ONE, OTHER_PUBLIC, shares)
    with pytest.raises(WardroundError, match=r"WR-SECAGG-009.* one "):
        ROUTE.unseal(OTHER, ONE_PUBLIC, blob, 4)
