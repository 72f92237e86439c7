"""The checks of late cohorts: who was ready with what, what all signed, and what they dealt.

The attacker is as in `checks`. Packets, votes, the journal's order and the replay are checked with
those of all rounds; here is what only a stream has.
"""

from __future__ import annotations

from wardround.errors import WardroundError
from wardround.federation.messages import Manifest, ModelVersion, stream_run
from wardround.governance.case import Case, OpenedRound, OpenedStream, Unmet, require
from wardround.governance.evidence import CohortRecord
from wardround.ids import Digest, SiteName
from wardround.secagg import CohortManifest, Offer, adverts_digest, setup_digest
from wardround.secagg.cohort import (
    binding,
    check_cohort,
    late_batch,
    open_offer,
    require_signatures,
)
from wardround.secagg.setup import open_adverts, open_deals
from wardround.study.plan import headroom
from wardround.trust.canonical import digest


def check_streams(case: Case) -> str:
    """Every late cohort is one that the study allows, over contributions that went into no other.

    Returns how many there were; how stale contributions may have been is part of the study.
    """
    agreed = case.study.cohort.asynchronous
    if agreed is None:
        raise Unmet("The study has no asynchronous cohorts, and the file speaks of some.")
    for number, stream in enumerate(case.streams):
        require(
            stream.run == stream_run(case.evidence.run, number),
            "A stream is missing, or is of another run.",
        )
        _check_versions(case, stream)
        used: set[tuple[SiteName, Digest]] = set()
        named: set[Digest] = set()
        done = 0
        steps = [one.manifest.step for one in stream.rounds]
        require(steps == sorted(set(steps)), "The cohorts are not in order.")
        for record, one in zip(stream.cohorts, stream.rounds, strict=True):
            if done >= len(stream.versions):
                raise Unmet(f"{one.name} was formed before there was a new version of the model.")
            late = _check_signed(case, stream, record, one)
            _check_manifest(case, stream, one.manifest, stream.versions[done], late)
            _check_recorded(case, stream, record, one, late)
            fresh = set(late.ready.values())
            require(not named & fresh, f"A ready statement of {one.name} was used before.")
            named |= fresh
            for site in record.packets:
                base = _base(case, stream, record, site, done)
                behind = done - base.number
                require(
                    0 <= behind <= agreed.maximum_staleness,
                    f"{site} was ready with a contribution too stale for {one.name}.",
                )
                require(
                    (site, base.model) not in used,
                    f"{site} gave what it had given before into {one.name}.",
                )
                used.add((site, Digest(base.model)))
            done += one.completed
    cohorts = sum(len(stream.rounds) for stream in case.streams)
    return (
        f"{cohorts:,} late cohorts: each as the study allows, named by one manifest that all its "
        "hospitals signed before they dealt, over contributions that went into no other."
    )


def _check_versions(case: Case, stream: OpenedStream) -> None:
    """Numbered without a gap from the task's own model, and all of them shown."""
    for number, one in enumerate(stream.versions):
        about = (one.study, one.run, one.task, one.number)
        require(
            about == (case.study.digest, stream.run, stream.task.hash, number),
            "A version of the model is missing, or of another stream.",
        )
        case.recorded("version", run=stream.run, number=number, statement=one.digest)
    require(
        bool(stream.versions) and stream.versions[0].model == stream.task.model_digest,
        "A stream does not begin with the model of its task.",
    )
    known = sum(1 for _ in case.find("version", run=stream.run))
    require(known == len(stream.versions), "The evidence leaves out a version of the model.")
    require(
        len(stream.versions) in (len(stream.completed), len(stream.completed) + 1),
        "There is not one version of the model for each total of the stream.",
    )


def _check_signed(
    case: Case, stream: OpenedStream, record: CohortRecord, one: OpenedRound
) -> CohortManifest:
    """The one manifest under all signatures; its ready statements, keys and deals are complete."""
    envelope = next(iter(record.signatures.values()), None)
    if envelope is None:
        raise Unmet(f"Nobody signed the manifest of {one.name}.")
    late = CohortManifest.from_payload(envelope.payload)
    if record.ready.keys() != record.adverts.keys():
        raise Unmet(f"A ready statement of {one.name} came without keys.")
    offers = {site: Offer(ready, record.adverts[site]) for site, ready in record.ready.items()}
    study, keys = case.study, case.keys
    check_cohort(late, offers, study.digest, stream.run, keys, study.late_terms)
    require_signatures(late, record.signatures, keys)
    adverts = open_adverts(record.adverts, keys)
    open_deals(record.deals, keys, adverts, adverts_digest(record.adverts))
    bound = binding(late.digest, setup_digest(record.adverts, record.deals))
    require(
        one.manifest.setup == bound and record.deals.keys() == record.adverts.keys(),
        f"The manifest of {one.name} is over another cohort or set-up.",
    )
    return late


def _check_manifest(
    case: Case, stream: OpenedStream, found: Manifest, newest: ModelVersion, late: CohortManifest
) -> None:
    """The coordinator's manifest says of the cohort what the cohort's own says, and no more."""
    study, task = case.study, stream.task
    encoding = headroom(study, task, len(late.cohort), len(study.sites)).encoding
    stated = (
        (found.study, found.study_id, found.run, found.task),
        (found.step, found.attempt, found.index, found.batch, found.round),
        (found.roster, found.corrupt, found.threshold, found.minimum_survivors),
        (found.kind, found.model, found.length, found.ring_bits, found.fractional_bits),
        (found.version,),
    )
    expected = (
        (study.digest, study.id, stream.run, late.task),
        (late.sequence, 0, 0, late_batch(stream.run), late.round),
        (late.cohort, late.corrupt, late.threshold, late.minimum_survivors),
        (task.kind, newest.model, task.length, task.ring_bits, encoding.fractional_bits),
        (newest.digest,),
    )
    require(
        stated == expected and late.task == task.hash,
        f"The manifest of cohort {found.step + 1} is not what study and cohort make it.",
    )


def _check_recorded(
    case: Case,
    stream: OpenedStream,
    record: CohortRecord,
    one: OpenedRound,
    late: CohortManifest,
) -> None:
    """Ready, gathered, signed by all, dealt by all, announced: in the journal in this order."""
    scope = one.manifest.round
    gathered = case.recorded("gathered", round=scope, cohort=late.digest).index
    order = {
        kind: [
            case.recorded(kind, scope=scope, site=site, statement=digest(said.payload)).index
            for site, said in envelopes.items()
        ]
        for kind, envelopes in (("cohort", record.signatures), ("deal", record.deals))
    }
    ready = [
        case.recorded("ready", run=stream.run, site=site, statement=digest(said.payload)).index
        for site, said in record.ready.items()
    ]
    announced = case.recorded("manifest", round=scope, manifest=one.digest).index
    require(
        max(ready)
        < gathered
        < min(order["cohort"])
        <= max(order["cohort"])
        < min(order["deal"])
        <= max(order["deal"])
        < announced,
        f"The statements of {one.name} are not in their order.",
    )


def _base(
    case: Case, stream: OpenedStream, record: CohortRecord, site: SiteName, newest: int
) -> ModelVersion:
    """The version that a site of a cohort trained from; the last one where two are the same."""
    if site not in record.ready:
        raise Unmet(f"{site} sent a packet and was not ready.")
    offer = Offer(record.ready[site], record.adverts[site])
    try:
        ready, _ = open_offer(offer, site, case.study.digest, stream.run, case.keys)
    except WardroundError as error:
        raise Unmet(f"{error.code}: {error.problem}") from error
    for version in reversed(stream.versions[: newest + 1]):
        if version.model == ready.model:
            return version
    raise Unmet(f"{site} trained from a model that was never given out.")
