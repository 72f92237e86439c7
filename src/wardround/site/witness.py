"""How hospitals keep each other's ledgers from being turned back.

A database that is restored from yesterday's backup is sound in itself; only others can know that
there was more. So each packet's header carries the head of its hospital's ledger, under the
hospital's signature; each manifest names the last head that the coordinator has heard of from
every hospital of the roster; and whoever answers a manifest has looked at it. A hospital looks for
its own head in its own chain, and compares each other's with what it remembers.

What a coordinator can do that withholds or invents heads: one that leaves out a head which a
manifest had before, or shows an older one, is refused by every hospital that answered that
manifest. Nor can it keep heads to itself from the start: whoever votes for the survivors of a round
knows that each of them was charged for it, and asks the next manifest for a head that is longer by
one. Only the charge for a round that came to no vote can be lost unseen, where coordinator and disk
fail the same hospital at once. One that invents heads stops its own studies: what is remembered is
kept for each coordinator apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from wardround.errors import WardroundError
from wardround.federation.messages import LedgerHead, LedgerReport, Manifest, PacketHeader
from wardround.ids import SiteName
from wardround.site.ledger import PrivacyLedger
from wardround.site.tables import witnessed
from wardround.study import Study
from wardround.trust.canonical import digest

_REMEMBERED = select(witnessed).where(
    witnessed.c.coordinator == bindparam("coordinator"), witnessed.c.site == bindparam("site")
)
_UNSEEN = ""
"""In place of the digest of a head that has to be there, and that no manifest has shown yet."""

_KEEP = insert(witnessed)
_KEEP = _KEEP.on_conflict_do_update(
    index_elements=["coordinator", "site"],
    set_={"size": _KEEP.excluded.size, "digest": _KEEP.excluded.digest},
)


@dataclass(frozen=True)
class Witnesses:
    """One hospital's part: it witnesses the others' ledgers, and has its own witnessed."""

    study: Study
    site: SiteName
    ledger: PrivacyLedger = field(repr=False)

    def check(self, connection: Connection, manifest: Manifest) -> None:
        """Refuse a manifest after which somebody's ledger would be shorter than it was.

        Raises WR-SITE-094 where this hospital's own ledger lacks what is witnessed, WR-SITE-101
        where another's went back, forked or was left out, and WR-SITE-106 where the manifest names
        others than its roster.
        """
        heads = manifest.ledgers
        if not heads.keys() <= set(manifest.roster):
            raise WardroundError(
                "WR-SITE-106",
                "The manifest has a ledger's head of a hospital that isn't in its roster.",
                "The agent refuses; tell the study's coordinator.",
            )
        if self.site in heads:
            self._require_own(connection, heads[self.site], "the study's manifest")
        for site in manifest.roster:
            known = self._remembered(connection, site)
            if known is not None and not _extends(heads.get(site), known):
                shown = heads.get(site)
                size, _ = known
                what = f"{shown.size} entries" if shown else "none at all"
                raise WardroundError(
                    "WR-SITE-101",
                    f"The ledger of {site} had {size} entries by what this hospital saw "
                    f"last, and the coordinator now shows {what}, or others.",
                    f"The agent refuses. Ask {site} and the study's coordinator which of them was "
                    "restored from a backup.",
                )

    def remember(self, connection: Connection, manifest: Manifest) -> None:
        """Keep what an answered manifest shows; part of the transaction that precedes sending."""
        for site, head in manifest.ledgers.items():
            connection.execute(_KEEP, {**self._place(site), **head.model_dump()})

    def expect(
        self, connection: Connection, manifest: Manifest, survivors: Iterable[SiteName]
    ) -> None:
        """Every survivor of a round was charged for it; part of the transaction before a vote."""
        for site in survivors:
            shown, known = manifest.ledgers.get(site), self._remembered(connection, site)
            size = 1 + (shown.size if shown else 0)
            if known is None or known[0] < size:
                connection.execute(_KEEP, {**self._place(site), "size": size, "digest": _UNSEEN})

    def check_report(self, connection: Connection, report: LedgerReport) -> None:
        """Refuse to start with a ledger that is older than what the coordinator has of it.

        Counts what this hospital itself has signed, and the coordinator's last manifest that names
        it, with the hospitals that answered it. Raises WR-SITE-094, and the codes of a signature
        that doesn't hold.
        """
        if report.header is not None:
            key = self.study.site_keys[self.site]
            header = PacketHeader.open(report.header, key)
            if header.ledger is not None:
                self._require_own(connection, header.ledger, "a packet that it signed")
        if report.manifest is None:
            return
        manifest = Manifest.open(report.manifest, self.study.coordinator_key)
        head = manifest.ledgers.get(self.site)
        if head is None or manifest.study_id != self.study.id:
            return
        name = digest(report.manifest.payload)
        others = 0
        for site, envelope in report.packets.items():
            if site in self.study.site_keys and site != self.site:
                answer = PacketHeader.open(envelope, self.study.site_keys[site])
                others += answer.manifest == name
        self._require_own(connection, head, f"a manifest that {others} other hospitals answered")

    def _require_own(self, connection: Connection, head: LedgerHead, where: str) -> None:
        if self.ledger.digest_at(connection, head.size) == head.digest:
            return
        own = self.ledger.head(connection).size
        raise WardroundError(
            "WR-SITE-094",
            f"This hospital's privacy ledger is not the one that was witnessed: it has {own} "
            f"entries, in which {self.ledger.words(connection)}; {where} has it with {head.size} "
            "entries, or with others.",
            "Restore the latest state.db: an older one would spend the same budget twice. Without "
            "it this hospital needs a new folder and key, in a new version of the study.",
        )

    def _remembered(self, connection: Connection, site: SiteName) -> tuple[int, str] | None:
        """Size and digest of the last head, the digest `_UNSEEN` if only the size is known."""
        row = connection.execute(_REMEMBERED, self._place(site)).first()
        return None if row is None else (row.size, row.digest)

    def _place(self, site: SiteName) -> dict[str, str]:
        return {
            "coordinator": self.study.coordinator.signing_key,
            "site": self.study.site_keys[site].text,
        }


def _extends(head: LedgerHead | None, known: tuple[int, str]) -> bool:
    """Whether a head may follow another; that longer ones do is for their owner to check."""
    size, seen = known
    return head is not None and (
        head.size > size or (head.size == size and seen in (head.digest, _UNSEEN))
    )
