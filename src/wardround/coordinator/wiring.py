"""What the coordinator works out for the set-up of a large cohort: the trees and the graph.

All of it follows from the sites' signed statements. In small cohorts everybody deals to everybody
and there is nothing to work out.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping

import orjson

from wardround.coordinator.records import Sent
from wardround.federation.messages import Placed, TreeHead
from wardround.ids import Digest, SiteName
from wardround.secagg.graph import Graph
from wardround.secagg.messages import Choice
from wardround.secagg.sparse import Choices, Proved, Tree, plant, setup_digest
from wardround.trust.canonical import parse_json


class Wiring:
    """One batch's adverts and, as they come in, choices and deals."""

    def __init__(
        self,
        adverts: Mapping[SiteName, Sent],
        choices: Mapping[SiteName, Sent],
        deals: Mapping[SiteName, Sent],
    ) -> None:
        self.tree, self._adverts = plant({site: one.envelope for site, one in adverts.items()})
        self.chosen = {site: _choice(sent).chosen for site, sent in choices.items()}
        self._deals = deals
        self._dealt: tuple[Tree, dict[SiteName, Proved]] | None = None

    @property
    def _roster(self) -> tuple[Tree, dict[SiteName, Proved]]:
        if self._dealt is None:
            self._dealt = plant({site: one.envelope for site, one in self._deals.items()})
        return self._dealt

    def setup_digest(self) -> Digest:
        """One digest for every advert, choice and deal."""
        return setup_digest(self.tree, self._roster[0], self.choices())

    def choices(self) -> Choices:
        """Whom each site of the roster chose."""
        chosen = {site: self.chosen[site] for site in self._roster[0].sites}
        return Choices.among(self.tree.sites, chosen)

    def graph(self, share_threshold: int) -> Graph:
        """Who holds whose shares, and masks with whom."""
        roster = self._roster[0].sites
        chosen = {site: frozenset(self.chosen[site]) for site in roster}
        return Graph(roster, share_threshold, chosen)

    def to_choose(self, site: SiteName) -> tuple[TreeHead, dict[SiteName, Placed]]:
        """What ``site`` needs in order to choose: all that advertised, and its own place."""
        return _head(self.tree), {site: _placed(self._adverts[site])}

    def to_deal(self, site: SiteName) -> dict[SiteName, Placed]:
        """The adverts of those that ``site`` chose."""
        return {one: _placed(self._adverts[one]) for one in self.chosen[site]}

    def to_accept(
        self, site: SiteName
    ) -> tuple[TreeHead, dict[SiteName, Placed], dict[SiteName, Placed], dict[SiteName, bytes]]:
        """The roster; the deals of ``site`` and of all that chose it; their adverts; the shares."""
        roster, deals = self._roster
        choosers = [one for one in roster.sites if site in self.chosen[one]]
        unseen = [one for one in choosers if one not in self.chosen[site]]
        return (
            _head(roster),
            {one: _placed(deals[one]) for one in (*choosers, site)},
            {one: _placed(self._adverts[one]) for one in unseen},
            {one: b64decode(orjson.loads(self._deals[one].attachment)[site]) for one in choosers},
        )


def _choice(sent: Sent) -> Choice:
    payload = sent.envelope.payload
    return Choice.from_wire(parse_json(payload, code="WR-SECAGG-006", what="message"))


def _head(tree: Tree) -> TreeHead:
    return TreeHead(sites=tree.sites, root=tree.root.hex())


def _placed(proved: Proved) -> Placed:
    return Placed(envelope=proved.envelope, proof=tuple(step.hex() for step in proved.proof))
