"""What each site is asked next during a stream, worked out from committed state alone."""

from __future__ import annotations

from base64 import b64decode

import orjson

from wardround.coordinator.asks import consistency, framed, round_instruction
from wardround.coordinator.streaming import Streaming
from wardround.federation.late import CohortPhase, LateCohort
from wardround.federation.messages import INLINE_BYTES, Ask, Instruction
from wardround.federation.round import RoundPhase
from wardround.federation.streaming import version_scope
from wardround.ids import SiteName
from wardround.secagg.cohort import late_batch
from wardround.trust.dsse import Envelope


def late_instruction(streaming: Streaming, site: SiteName, seen: int) -> bytes | None:
    """What ``site`` should do next as a framed message, or None for nothing; as `instruction`."""
    round_ = streaming.round
    if round_ is not None and (site in streaming.lost or round_.state.waits_for(site)):
        if round_.state.phase is RoundPhase.COLLECT or site in streaming.lost:
            return _contribute(streaming, site, seen)
        return round_instruction(streaming, round_.state, site, seen)
    for cohort in streaming.gathering.state.cohorts:
        if cohort.waits_for(site):
            return _form(streaming, cohort)
    return _train(streaming) if streaming.trains(site) else None


def late_asks(streaming: Streaming, site: SiteName) -> bool:
    """Whether there is a `late_instruction` for ``site``, without working it out."""
    round_ = streaming.round
    return (
        (round_ is not None and (site in streaming.lost or round_.state.waits_for(site)))
        or any(one.waits_for(site) for one in streaming.gathering.state.cohorts)
        or streaming.trains(site)
    )


def _train(streaming: Streaming) -> bytes:
    version = streaming.versions[-1]
    size = streaming.blobs.path(version.model).stat().st_size
    ask = Instruction(
        ask=Ask.TRAIN,
        run=streaming.run,
        batch=late_batch(streaming.run),
        round=version_scope(streaming.run, version.number),
        task=orjson.loads(streaming.wire),
        model=version.model,
        model_bytes=size,
        version=streaming.newest,
        sequence=streaming.gathering.state.sequence,
    )
    return framed(ask, streaming.blobs.get(version.model) if size <= INLINE_BYTES else b"")


def _form(streaming: Streaming, cohort: LateCohort) -> bytes:
    scope = cohort.manifest.round

    def said(kind: str) -> dict[SiteName, Envelope]:
        return {name: sent.envelope for name, sent in streaming.said(scope, kind).items()}

    signs = cohort.phase is CohortPhase.SIGN
    ask = Instruction(
        ask=Ask.SIGN if signs else Ask.SHARE,
        run=streaming.run,
        batch=late_batch(streaming.run),
        round=scope,
        cohort=cohort.manifest.to_payload() if signs else None,
        envelopes=said("ready" if signs else "cohort"),
        keys=said("advert") if signs else {},
    )
    return framed(ask)


def _contribute(streaming: Streaming, site: SiteName, seen: int) -> bytes:
    assert streaming.manifest is not None and streaming.manifest_envelope is not None
    manifest = streaming.manifest
    deals = streaming.said(manifest.round, "deal")
    sealed = {
        name: b64decode(orjson.loads(sent.attachment)[site])
        for name, sent in deals.items()
        if name != site
    }
    ask = Instruction(
        ask=Ask.CONTRIBUTE,
        run=streaming.run,
        round=manifest.round,
        batch=manifest.batch,
        manifest=streaming.manifest_envelope,
        envelopes={name: sent.envelope for name, sent in deals.items()},
        blobs=sealed,
        version=streaming.newest,
        consistency=consistency(streaming, seen, manifest.journal.size),
    )
    return framed(ask)
