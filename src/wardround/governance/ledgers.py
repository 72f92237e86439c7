"""Whether the hospitals' privacy ledgers only grew during a run, from its evidence alone.

A ledger that is turned back spends the same budget twice. Its head stands in every packet's header,
under the hospital's signature, and in the next manifest, under the coordinator's; so where one was
turned back, or hidden from the others, the evidence shows it.
"""

from __future__ import annotations

from wardround.federation.messages import LedgerHead, PacketHeader
from wardround.governance.case import Case, OpenedRound, require
from wardround.ids import SiteName


def check_ledgers(case: Case) -> str:
    """Every answer was charged after the one before, and every manifest showed what was heard."""
    last: dict[SiteName, LedgerHead] = {}
    charges = 0
    for one in sorted(case.rounds, key=lambda one: (one.manifest.step, one.manifest.attempt)):
        for site, head in last.items():
            if site in one.manifest.roster:
                require(
                    one.manifest.ledgers.get(site) == head,
                    f"The manifest of {one.name} does not show the ledger of {site} as that signed "
                    "it last.",
                )
        for site, head in _charged(case, one).items():
            before = one.manifest.ledgers.get(site)
            require(
                before is None or head.size > before.size,
                f"{site} answered in {one.name} without charging its ledger.",
            )
            last[site] = head
            charges += 1
    return (
        f"{charges:,} answers, each charged to its hospital's ledger under that hospital's "
        "signature; every ledger only grew, and all hospitals were shown it."
    )


def _charged(case: Case, one: OpenedRound) -> dict[SiteName, LedgerHead]:
    """The heads in a round's packet headers."""
    heads = {}
    for site, envelope in one.record.packets.items():
        require(site in case.keys, f"{site} is no hospital of this study.")
        head = PacketHeader.open(envelope, case.keys[site]).ledger
        require(head is not None, f"The packet of {site} in {one.name} names no ledger.")
        assert head is not None
        heads[site] = head
    return heads
