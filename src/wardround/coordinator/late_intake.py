"""What is done with a site's answers during a stream; from the packets on, as in any round."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wardround.coordinator.exchange import refused
from wardround.coordinator.intake import Intake, same_parties, sealed_blobs
from wardround.coordinator.records import Sent
from wardround.coordinator.streaming import Streaming
from wardround.federation.late import CohortPhase
from wardround.federation.messages import Refused
from wardround.ids import SiteName
from wardround.secagg import Deal, Offer, adverts_digest
from wardround.secagg.cohort import late_batch
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope


class LateIntake(Intake):
    """Takes in the signed statements of all sites of one stream."""

    def __init__(self, streaming: Streaming) -> None:
        super().__init__(streaming)
        self._streaming = streaming

    def _handlers(self) -> Mapping[str, Callable[[SiteName, Envelope, bytes], None]]:
        usual = super()._handlers()
        late = {
            "ready": self._on_ready,
            "cohort": self._on_cohort,
            "deal": self._on_deal,
            "refusal": self._on_refusal,
        }
        return {kind: usual[kind] for kind in ("packet", "vote", "shares", "audit")} | late

    def _on_ready(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        self._streaming.take_ready(site, Offer(envelope, Envelope.from_json(attachment)))

    def _on_cohort(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        self._streaming.take_signature(site, envelope)

    def _on_deal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        streaming = self._streaming
        deal = Deal.open(envelope, streaming.keys[site])
        same_parties(deal.site, site, deal.study, streaming.study.digest, deal.run, streaming.run)
        named = {name: digest(blob) for name, blob in sealed_blobs(attachment).items()}
        if named != dict(deal.sealed):
            raise refused("WR-COORD-024", "The sealed shares are not the ones that were signed.")
        for cohort in streaming.gathering.state.cohorts:
            late = cohort.manifest
            said = streaming.said(late.round, "advert")
            adverts = {name: one.envelope for name, one in said.items()}
            if deal.adverts == adverts_digest(adverts):
                # All that the others will look at: else each of them refuses, and not this site.
                same = deal.batch == late_batch(streaming.run)
                same = same and {*deal.sealed, site} == set(adverts)
                if not same or cohort.phase is CohortPhase.SIGN:
                    raise refused("WR-COORD-025", "The deal is for another roster.")
                streaming.take_deal(site, late, Sent(envelope, attachment))
                return
        raise refused("WR-COORD-021", "The statement belongs to no open round or set-up.")

    def _on_refusal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        streaming = self._streaming
        refusal = Refused.open(envelope, streaming.keys[site])
        said = (refusal.site, site, refusal.study, streaming.study.digest)
        same_parties(*said, refusal.run, streaming.run)
        if not streaming.take_refusal(site, refusal.scope, Sent(envelope, b"")):
            super()._on_refusal(site, envelope, attachment)
