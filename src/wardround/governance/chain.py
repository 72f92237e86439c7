"""The checks of what was written down: the journal, its witnesses, and the signed model.

The journal's tree is computed anew from its leaves, which is stronger than any consistency proof
between its checkpoints. A coordinator could still keep a second journal: it can't show it to a
hospital that has seen the first, since every vote signs a manifest and with it the checkpoint in
there.
"""

from __future__ import annotations

from wardround.federation.messages import JournalHead, Witness, draw_scope
from wardround.governance.artefact import Model, open_model
from wardround.governance.case import Case, Leaf, OpenedRound, require
from wardround.trust.canonical import digest
from wardround.trust.journal import verify_checkpoint


def check_journal(case: Case) -> str:
    """Leaves and checkpoints agree, and the journal holds this run: no more rounds, no fewer."""
    size = case.tree.size
    sizes, origins = [], set()
    for envelope in case.evidence.journal.checkpoints:
        checkpoint = verify_checkpoint(envelope, case.study.coordinator_key)
        _same_root(case, JournalHead(size=checkpoint.size, root=checkpoint.root.hex()))
        sizes.append(checkpoint.size)
        origins.add(checkpoint.origin)
    require(sizes == sorted(set(sizes)), "The checkpoints are not in order.")
    require(len(origins) == 1, "The checkpoints are of different journals.")
    heads = {one.manifest.journal.size for one in case.all_rounds} - {0}
    require(heads <= set(sizes), "A checkpoint that a manifest names is missing.")
    require(sizes[-1:] == [size], "No signed checkpoint covers the whole journal.")
    for site, envelope in case.evidence.approvals.items():
        # An agent that comes back may hand in the same approval again.
        given = case.find("approved", site=site, approval=digest(envelope.payload))
        require(any(given), f"The approval of {site} is not in the journal.")
    _partition_recorded(case)
    _setups_recorded(case)
    for one in case.all_rounds:
        _round_recorded(case, one)
    _nothing_left_out(case)
    return (
        f"{size:,} entries give the Merkle root of all {len(sizes)} checkpoints and hold every "
        "approval, set-up, manifest, packet, vote and total, and no other round of this run."
    )


def check_witnesses(case: Case) -> str:
    """Enough hospitals countersigned the finished journal and the model."""
    model = digest(case.evidence.model.signature.payload)
    last = max((_total_leaf(case, one).index for one in case.all_completed), default=-1)
    for site, envelope in case.evidence.witnesses.items():
        require(site in case.keys, f"{site} is no hospital of this study.")
        witness = Witness.open(envelope, case.keys[site])
        require(
            (witness.study, witness.run, witness.site)
            == (case.study.digest, case.evidence.run, site),
            f"What {site} countersigned is of another study, run or hospital.",
        )
        require(witness.model == model, f"{site} countersigned another model.")
        _same_root(case, witness.journal)
        require(
            last < witness.journal.size, f"{site} countersigned before the last total was opened."
        )
        case.recorded(
            "witness", scope=case.evidence.run, site=site, statement=digest(envelope.payload)
        )
    known = sum(1 for _ in case.find("witness", scope=case.evidence.run))
    require(known == len(case.evidence.witnesses), "The evidence leaves out a witness.")
    needed, found = case.study.adversary().threshold, len(case.evidence.witnesses)
    require(found >= needed, f"{found} hospitals countersigned the end of the run; {needed} must.")
    return f"{found} hospitals countersigned the finished journal and the model; {needed} must."


def check_model(case: Case) -> str:
    """The coordinator signed exactly this model, for this study and run."""
    model = opened_model(case)
    count = sum(array.size for array in model.arrays.values())
    return f"The coordinator signed these {count:,} weights and their description for this run."


def opened_model(case: Case) -> Model:
    """The model of the file, verified."""
    record = case.evidence.model
    model = open_model(
        record.weights, record.description, record.signature, case.study.coordinator_key
    )
    require(
        (model.statement.study, model.statement.run) == (case.study.digest, case.evidence.run),
        "The model was signed for another study or run.",
    )
    return model


def _same_root(case: Case, head: JournalHead) -> None:
    require(head.size <= case.tree.size, "A checkpoint covers more entries than there are.")
    require(
        case.tree.root(head.size).hex() == head.root,
        f"The first {head.size:,} entries of the journal do not have the root that was signed.",
    )


def _partition_recorded(case: Case) -> None:
    """One partition, settled before the first manifest, and nothing left out of how it came."""
    record, drawn = case.evidence.partition, case.partitions
    settled = list(case.find("partition"))
    if record is None or drawn is None:
        require(not settled, "The journal knows of groups, and the study has none.")
        return
    require(len(settled) == 1, f"The journal holds {len(settled)} partitions, not one.")
    require(
        settled[0].facts == {"draw": record.draw, "partition": drawn.digest},
        "The journal holds another partition than what was revealed gives.",
    )
    first = min((leaf.index for leaf in case.find("manifest")), default=settled[0].index)
    require(settled[0].index <= first, "The groups were settled after the first round.")
    scope = draw_scope(record.draw)
    for kind, envelopes in (
        ("commitment", record.commitments),
        ("reveal", record.reveals),
        ("acceptance", record.acceptances),
    ):
        for site, envelope in envelopes.items():
            case.recorded(kind, scope=scope, site=site, statement=digest(envelope.payload))
    committed = max(leaf.index for leaf in case.find("commitment", scope=scope))
    revealed = [leaf.index for leaf in case.find("reveal", scope=scope)]
    require(committed < min(revealed), "A hospital revealed before all had committed themselves.")


def _setups_recorded(case: Case) -> None:
    for batch, record in case.evidence.batches.items():
        for kind, envelopes in (("advert", record.adverts), ("deal", record.deals)):
            for site, envelope in envelopes.items():
                case.recorded(kind, scope=batch, site=site, statement=digest(envelope.payload))


def _round_recorded(case: Case, one: OpenedRound) -> None:
    """A round's statements are in the journal in the only order that makes sense."""
    manifest, scope = one.manifest, one.manifest.round
    announced = case.recorded("manifest", round=scope, manifest=one.digest, task=manifest.task)
    _same_root(case, manifest.journal)
    require(
        manifest.journal.size <= announced.index,
        f"The manifest of {one.name} names a checkpoint from after itself.",
    )
    statements: dict[str, list[Leaf]] = {"packet": [], "vote": []}
    for kind, envelopes in (("packet", one.record.packets), ("vote", one.record.votes)):
        for site, envelope in envelopes.items():
            leaf = case.recorded(kind, scope=scope, site=site, statement=digest(envelope.payload))
            statements[kind].append(leaf)
        known = sum(1 for _ in case.find(kind, scope=scope))
        require(known == len(envelopes), f"The evidence leaves out a {kind} of {one.name}.")
    order = [
        announced.index,
        *(leaf.index for leaf in (*statements["packet"], *statements["vote"])),
    ]
    require(order[0] == min(order), f"Answers to {one.name} are older than its manifest.")
    require(
        not list(case.find("garbage", round=scope)),
        f"What {one.name} opened was garbage, and the run should have stopped there.",
    )
    if one.completed:
        total = _total_leaf(case, one)
        votes = sorted(leaf.index for leaf in statements["vote"])
        require(
            len(votes) >= manifest.threshold and votes[manifest.threshold - 1] < total.index,
            f"{one.name} was opened before enough hospitals had signed the survivors.",
        )
    else:
        require(
            not list(case.find("total", round=scope)),
            f"The evidence leaves out the total of {one.name}.",
        )


def _total_leaf(case: Case, one: OpenedRound) -> Leaf:
    data = one.record.total or b""
    require(
        len(data) == one.manifest.length * one.manifest.ring_bits // 8,
        f"The total of {one.name} is of another length.",
    )
    return case.recorded(
        "total",
        round=one.manifest.round,
        total=digest(data),
        opened=case.opened_by(one),
    )


def _nothing_left_out(case: Case) -> None:
    """Between this run's first entry and its last, no manifest but those of the evidence."""
    begun = case.recorded("run", run=case.evidence.run, study=case.study.digest)
    ended = case.recorded("ended", run=case.evidence.run)
    shown = {one.digest for one in case.all_rounds}
    for leaf in case.find("manifest"):
        if begun.index < leaf.index < ended.index:
            require(
                leaf.facts.get("manifest") in shown, "The evidence leaves out a round of this run."
            )
        else:
            require(leaf.facts.get("manifest") not in shown, "A round lies outside its own run.")
