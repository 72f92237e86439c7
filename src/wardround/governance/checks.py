"""The checks of a run's rounds, from the study to the numbering of its steps.

The attacker is whoever hands over the evidence, the coordinator included: it holds the
coordinator's key but none of the hospitals'. Each check returns a sentence on what it saw, or
raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from wardround.federation.messages import PacketHeader
from wardround.governance.case import Case, OpenedRound, Unmet, require
from wardround.governance.evidence import BatchRecord
from wardround.ids import BatchId, Digest, RunId, SiteName
from wardround.secagg import (
    Advert,
    Deal,
    SurvivorVote,
    adverts_digest,
    open_adverts,
    open_deals,
    require_votes,
    setup_digest,
)
from wardround.secagg.sparse import Choices, plant
from wardround.secagg.sparse import setup_digest as sparse_setup_digest
from wardround.study.approval import check_approval
from wardround.study.plan import headroom
from wardround.trust.canonical import parse_json
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey


def check_approvals(case: Case) -> str:
    """Every hospital that took part had approved this study when it ran, with its own key."""
    begun, ended = run_times(case)
    needed = {site for one in case.all_rounds for site in one.manifest.roster}
    missing = sorted(needed - case.evidence.approvals.keys())
    require(not missing, f"No approval by {', '.join(missing)}.")
    for site, envelope in case.evidence.approvals.items():
        require(site in case.keys, f"{site} is no hospital of this study.")
        for moment in (begun, ended):
            check_approval(envelope, case.study, site, case.keys[site], moment.date())
    count, total = len(case.evidence.approvals), len(case.keys)
    return (
        f"{count} of {total} hospitals approved this study with their own keys; "
        "every approval held on the days of the run."
    )


def run_times(case: Case) -> tuple[datetime, datetime]:
    """When the run began and ended (UTC), as the journal has it."""
    run = case.evidence.run
    begun = case.recorded("run", run=run, study=case.study.digest)
    ended = case.recorded("ended", run=run)
    times = []
    for leaf, key in ((begun, "started"), (ended, "finished")):
        text = leaf.facts.get(key)
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            raise Unmet(f"The journal does not say when the run {key}.") from None
        require(moment.tzinfo is not None, "A time in the journal lacks its zone.")
        times.append(moment.astimezone(UTC))
    require(times[0] <= times[1], "The run ended before it began.")
    return times[0], times[1]


def check_setups(case: Case) -> str:
    """Every advertised key and sealed share is signed by its hospital and named in a manifest."""
    used: dict[BatchId, list[OpenedRound]] = {}
    for one in case.rounds:
        used.setdefault(BatchId(one.manifest.batch), []).append(one)
    for batch, rounds in used.items():
        require(batch in case.evidence.batches, f"The set-up of {rounds[0].name} is missing.")
        indices = [one.manifest.index for one in rounds]
        require(len(set(indices)) == len(indices), f"Keys of {batch} served twice.")
    for batch, record in case.evidence.batches.items():
        adverts = open_adverts(record.adverts, case.keys)
        for advert in adverts.values():
            require(
                (advert.study, advert.batch) == (case.study.digest, batch)
                and set(advert.pool) <= set(case.cohorts.get(advert.run, ())),
                f"Set-up {batch} is of another study or run, or not of one cohort.",
            )
        if batch in used:
            _check_used(case, record, adverts, used[batch])
        else:  # given up before a round: somebody dropped out of it
            for site, envelope in record.deals.items():
                require(site in case.keys, f"{site} is no hospital of this study.")
                Deal.open(envelope, case.keys[site])
    return (
        f"{_count(len(used), 'set-up')}: every advertised key and sealed share is signed by its "
        "hospital and named in the manifests; no key served twice."
    )


def _check_used(
    case: Case,
    record: BatchRecord,
    adverts: Mapping[SiteName, Advert],
    rounds: Sequence[OpenedRound],
) -> None:
    named = _named_setup(case, record, adverts)
    runs = {advert.run for advert in adverts.values()}
    for one in rounds:
        require(
            one.manifest.setup == named
            and set(one.manifest.roster) == set(adverts)
            and runs == {one.manifest.run},
            f"The manifest of {one.name} names another set-up or roster.",
        )
        require(
            all(one.manifest.index < advert.rounds for advert in adverts.values()),
            f"{one.name} lies beyond its set-up.",
        )


def _named_setup(case: Case, record: BatchRecord, adverts: Mapping[SiteName, Advert]) -> Digest:
    """The digest of a set-up whose every deal is to the right sites, over the right keys."""
    if all(advert.pool for advert in adverts.values()):
        open_deals(record.deals, case.keys, adverts, adverts_digest(record.adverts))
        return setup_digest(record.adverts, record.deals)
    tree, _ = plant(record.adverts)
    dealt, _ = plant(record.deals)
    runs = {advert.run for advert in adverts.values()}
    whole = max(len(case.cohorts.get(run, ())) for run in runs)
    degree = case.study.graph_rule(len(tree.sites), whole).degree
    require(record.deals.keys() == adverts.keys(), "A site advertised keys and dealt no shares.")
    chosen: dict[SiteName, tuple[SiteName, ...]] = {}
    for site, envelope in record.deals.items():
        require(tree.covers([site]), f"{site} dealt shares and had advertised no keys.")
        deal = Deal.open(envelope, case.keys[site])
        require(
            (deal.site, deal.batch, deal.adverts) == (site, adverts[site].batch, tree.digest)
            and len(deal.sealed) == degree
            and tree.covers(deal.sealed),
            f"{site} dealt shares for another cohort, or to another number than the rule says.",
        )
        chosen[site] = tuple(deal.sealed)
    return sparse_setup_digest(tree, dealt, Choices.among(tree.sites, chosen))


def check_manifests(case: Case) -> str:
    """The coordinator's manifests keep to the study, the adversary statement and the task."""
    study = case.study
    require(bool(case.rounds), "There are no rounds.")
    for one in case.rounds:
        manifest = one.manifest
        about = f"The manifest of {one.name}"
        identity = (manifest.study, manifest.study_id)
        cohort = case.cohorts_at(manifest.step).get(one.run)
        require(
            identity == (study.digest, study.id) and cohort is not None,
            f"{about} is of another study or run.",
        )
        roster = manifest.roster
        require(
            list(roster) == sorted(set(roster)) and set(roster) <= set(cohort or ()),
            f"{about} lists others than the hospitals of the study, or of its group.",
        )
        whole = len(cohort or ())
        adversary = study.adversary(len(roster), whole)
        least = {study.minimum_survivors(len(roster), whole)}
        if manifest.attempt > 0:  # some may answer it again over the same sites alone: over all
            least.add(len(roster))
        require(
            (manifest.corrupt, manifest.threshold) == (adversary.corrupt, adversary.threshold)
            and manifest.minimum_survivors in least,
            f"{about} does not have the thresholds that follow from the adversary statement.",
        )
        task = case.tasks.get(manifest.task)
        if task is None:
            raise Unmet(f"The task of {one.name} is not the one its manifest names.")
        encoding = headroom(study, task, len(roster), whole).encoding
        stated = (
            manifest.kind,
            manifest.model,
            manifest.length,
            manifest.ring_bits,
            manifest.fractional_bits,
        )
        require(
            stated
            == (
                task.kind,
                task.model_digest,
                task.elements,
                task.ring_bits,
                encoding.fractional_bits,
            ),
            f"{about} describes its task wrongly.",
        )
    return (
        f"{_count(len(case.rounds), 'manifest')} signed by the coordinator; rosters, thresholds "
        "and encodings are those of the study."
    )


def check_packets(case: Case) -> str:
    """Every packet header is signed by a member of the roster and answers its manifest."""
    headers = 0
    for one in case.all_rounds:
        manifest = one.manifest
        for site, envelope in one.record.packets.items():
            header = PacketHeader.open(envelope, _key(case, site, one))
            bound = (header.study, header.run, header.step, header.round, header.task)
            require(
                header.site == site
                and header.manifest == one.digest
                and bound
                == (manifest.study, manifest.run, manifest.step, manifest.round, manifest.task),
                f"The packet of {site} in {one.name} answers another manifest.",
            )
            require(
                header.size_bytes == manifest.payload_bytes,
                f"The packet of {site} in {one.name} is of another length.",
            )
            headers += 1
        if one.completed:
            missing = sorted(set(one.survivors) - one.record.packets.keys())
            require(not missing, f"{one.name}: no packet of {', '.join(missing)}.")
    return f"{_count(headers, 'packet header')} signed by roster members, each for its manifest."


def check_votes(case: Case) -> str:
    """Every total was opened over one set that enough of its members had signed."""
    for one in case.all_rounds:
        manifest = one.manifest
        if not one.completed:
            for site, envelope in one.record.votes.items():
                vote = SurvivorVote.open(envelope, _key(case, site, one))
                require(
                    vote.site == site and vote.manifest == one.digest,
                    f"The vote of {site} in {one.name} is about another round.",
                )
            continue
        agreed = _first_vote(one)
        require(
            (agreed.study, agreed.run, agreed.batch, agreed.round, agreed.index, agreed.manifest)
            == (
                manifest.study,
                manifest.run,
                manifest.batch,
                manifest.round,
                manifest.index,
                one.digest,
            ),
            f"The votes of {one.name} are about another round.",
        )
        require(
            set(agreed.survivors) <= set(manifest.roster)
            and len(agreed.survivors) >= manifest.minimum_survivors,
            f"{one.name} was opened over too few hospitals, or over others than its roster.",
        )
        require_votes(one.record.votes, case.keys, agreed, manifest.threshold)
    return (
        f"{_count(len(case.all_completed), 'total')}, each opened over one set of survivors that "
        "enough of them had signed."
    )


def check_numbering(case: Case) -> str:
    """One total per step (and group), nothing missing, and no more numbers than agreed."""
    attempts: dict[tuple[int, RunId], list[OpenedRound]] = {}
    for one in case.rounds:
        attempts.setdefault((one.manifest.step, one.run), []).append(one)
    steps = len({step for step, _ in attempts})
    expected = {(step, cohort) for step in range(steps) for cohort in case.cohorts_at(step)}
    require(attempts.keys() == expected, "A step is missing, in one group or in all.")
    tasks: dict[int, set[Digest]] = {}
    for (step, _), rounds in attempts.items():
        where = rounds[0].name.partition(", attempt")[0].capitalize()
        numbers = [one.manifest.attempt for one in rounds]
        require(numbers == list(range(len(rounds))), f"{where}: an attempt is missing.")
        require(
            [one.completed for one in rounds] == [False] * (len(rounds) - 1) + [True],
            f"{where} does not end in exactly one total.",
        )
        asked = tasks.setdefault(step, set())
        asked.update(Digest(one.manifest.task) for one in rounds)
        require(len(asked) == 1, f"{where} asked for different things.")
    opened = sum(case.opened_by(one) for one in case.all_completed)
    limit = case.study.disclosure.opened_numbers
    require(opened <= limit, f"{opened:,} numbers were opened; the study allows {limit:,}.")
    each = "one total each" if case.partitions is None else "one total per group and step"
    return (
        f"Steps 1 to {steps} are complete, {each}; {opened:,} numbers opened, of at most {limit:,}."
        + _repeated(sum(_over_all_again(case, one) for one in case.completed))
    )


def _over_all_again(case: Case, one: OpenedRound) -> bool:
    """Whether a total was opened by an attempt that hospitals may have answered a second time.

    With noise each answer has its own, and its own charge in the hospital's ledger.
    """
    manifest = one.manifest
    whole = manifest.minimum_survivors == len(manifest.roster)
    return case.study.privacy is None and manifest.attempt > 0 and whole


def _repeated(steps: int) -> str:
    """An earlier attempt may have been opened by a coordinator that called it failed."""
    if not steps:
        return ""
    times = "Once" if steps == 1 else f"{steps:,} times"
    return (
        f" {times} a step was repeated over all of its hospitals: the same total over the same "
        "hospitals may have been open before."
    )


def _first_vote(one: OpenedRound) -> SurvivorVote:
    envelope: Envelope | None = next(iter(one.record.votes.values()), None)
    if envelope is None:
        raise Unmet(f"Nobody voted in {one.name}, yet it has a total.")
    return SurvivorVote.from_wire(parse_json(envelope.payload))


def _key(case: Case, site: SiteName, one: OpenedRound) -> VerifyKey:
    on_roster = site in one.manifest.roster and site in case.keys
    require(on_roster, f"{site} is not on the roster of {one.name}.")
    return case.keys[site]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
