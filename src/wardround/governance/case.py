"""An evidence file under examination: its parts, opened and verified the first time they are used.

Every property raises when what it stands for does not hold, and raises again whenever it is
asked, so a check that builds on a broken part fails with it and none is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from wardround.errors import WardroundError
from wardround.federation.messages import Manifest, ModelVersion, group_of, group_run
from wardround.governance.evidence import CohortRecord, EvidenceFile, RoundRecord
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg import Partitions, SurvivorVote, draw_partitions
from wardround.secagg.draw import open_commitments, open_reveals, payloads_digest
from wardround.study import Study, Task
from wardround.trust.canonical import JSON, canonical, digest, parse_json
from wardround.trust.journal import Entry
from wardround.trust.keys import VerifyKey
from wardround.trust.merkle import MerkleTree, leaf_hash

_REMEDY = "Ask whoever ran the study for its evidence.json again."


class Unmet(Exception):
    """A check that does not hold; the text says what was found instead."""


def require(condition: bool, otherwise: str) -> None:
    """Fail the running check unless ``condition``."""
    if not condition:
        raise Unmet(otherwise)


@dataclass(frozen=True)
class OpenedRound:
    """A round whose manifest carries the coordinator's signature."""

    record: RoundRecord
    manifest: Manifest
    digest: Digest
    late: bool = False
    """Whether it is over a late cohort, of a stream."""

    @property
    def name(self) -> str:
        """For sentences; counted from one."""
        if self.late:
            return f"cohort {self.manifest.step + 1}"
        place = group_of(self.manifest.run)
        where = "" if place is None else f"group {place[1]}, "
        return f"{where}step {self.manifest.step + 1}, attempt {self.manifest.attempt + 1}"

    @property
    def run(self) -> RunId:
        """The run, or the run of a group, that it belongs to."""
        return RunId(self.manifest.run)

    @property
    def completed(self) -> bool:
        """Whether a total was opened."""
        return self.record.total is not None

    @cached_property
    def survivors(self) -> tuple[SiteName, ...]:
        """The set that the first vote names; whether the others agree is a check of its own."""
        for envelope in self.record.votes.values():
            vote = SurvivorVote.from_wire(parse_json(envelope.payload))
            return vote.survivors
        return ()


@dataclass(frozen=True)
class OpenedStream:
    """A stream whose versions and manifests carry the coordinator's signature.

    ``cohorts`` are the file's records, ``rounds`` the same in their order, as rounds.
    """

    run: RunId
    task: Task
    versions: tuple[ModelVersion, ...]
    cohorts: tuple[CohortRecord, ...]
    rounds: tuple[OpenedRound, ...]

    @property
    def completed(self) -> tuple[OpenedRound, ...]:
        """The cohorts that opened a total."""
        return tuple(one for one in self.rounds if one.completed)


@dataclass(frozen=True)
class Leaf:
    """An entry of the journal and its place."""

    index: int
    kind: str
    facts: Mapping[str, JSON]


class Case:
    """One evidence file, and what follows from it."""

    def __init__(self, evidence: EvidenceFile) -> None:
        self.evidence = evidence

    @cached_property
    def study(self) -> Study:
        """The study document; it must be in exactly its canonical form."""
        study = Study.parse(self.evidence.study)
        require(
            study.canonical() == canonical(self.evidence.study),
            "The study document is not in its canonical form.",
        )
        return study

    @cached_property
    def keys(self) -> Mapping[SiteName, VerifyKey]:
        """The hospitals' keys, as all of them signed."""
        return self.study.site_keys

    @cached_property
    def partitions(self) -> Partitions | None:
        """The study's groups, drawn anew from what every hospital revealed; None without groups."""
        study, record = self.study, self.evidence.partition
        if (study.cohort.groups is None) != (record is None):
            raise WardroundError(
                "WR-GOV-022",
                "The evidence says nothing of how the study's groups were drawn, or speaks of "
                "groups in a study without.",
                _REMEDY,
            )
        if record is None:
            return None
        commitments = open_commitments(record.commitments, study.digest, record.draw, self.keys)
        seen = payloads_digest(record.commitments)
        revealed = open_reveals(
            record.reveals, commitments, seen, study.digest, record.draw, self.keys
        )
        return draw_partitions(
            study.digest,
            record.draw,
            seen,
            revealed,
            study.totals_per_step,
            redrawn=study.redraws_groups,
        )

    @cached_property
    def cohorts(self) -> Mapping[RunId, tuple[SiteName, ...]]:
        """Under which names the run's rounds go, and which hospitals may be in each: a run's own
        and all of them, or one for each group, of every partition that the run came to."""
        steps = [one.manifest.step for one in self.rounds]
        numbers = sorted({self.study.partition_number(step) for step in (0, *steps)})
        return {run: sites for number in numbers for run, sites in self._cohorts(number).items()}

    def cohorts_at(self, step: int) -> Mapping[RunId, tuple[SiteName, ...]]:
        """Those in which a step is summed."""
        return self._cohorts(self.study.partition_number(step))

    def _cohorts(self, number: int) -> Mapping[RunId, tuple[SiteName, ...]]:
        run = self.evidence.run
        if self.partitions is None:
            return {run: self.study.site_names}
        groups = enumerate(self.partitions.at(number).groups, 1)
        return {group_run(run, group, number): sites for group, sites in groups}

    @cached_property
    def rounds(self) -> tuple[OpenedRound, ...]:
        """Every attempt, its manifest verified, in the file's order."""
        opened = []
        for record in self.evidence.rounds:
            manifest = Manifest.open(record.manifest, self.study.coordinator_key)
            opened.append(OpenedRound(record, manifest, digest(record.manifest.payload)))
        return tuple(opened)

    @cached_property
    def streams(self) -> tuple[OpenedStream, ...]:
        """Every stream, its versions and manifests verified, in the file's order."""
        key, opened = self.study.coordinator_key, []
        for stream in self.evidence.streams:
            rounds = []
            for one in stream.cohorts:
                manifest = Manifest.open(one.manifest, key)
                record = RoundRecord(
                    manifest=one.manifest,
                    task=stream.task,
                    packets=one.packets,
                    votes=one.votes,
                    total=one.total,
                )
                rounds.append(
                    OpenedRound(record, manifest, digest(one.manifest.payload), late=True)
                )
            task = Task.from_wire(stream.task, stream.model)
            versions = tuple(ModelVersion.open(one, key) for one in stream.versions)
            opened.append(OpenedStream(stream.run, task, versions, stream.cohorts, tuple(rounds)))
        return tuple(opened)

    @property
    def all_rounds(self) -> tuple[OpenedRound, ...]:
        """The rounds over everyone, and those over late cohorts."""
        return (*self.rounds, *(one for stream in self.streams for one in stream.rounds))

    @property
    def completed(self) -> tuple[OpenedRound, ...]:
        """The rounds over everyone that opened a total."""
        return tuple(one for one in self.rounds if one.completed)

    @property
    def all_completed(self) -> tuple[OpenedRound, ...]:
        """Every round that opened a total, those over late cohorts too."""
        return tuple(one for one in self.all_rounds if one.completed)

    def opened_by(self, one: OpenedRound) -> int:
        """How many numbers a round's total says.

        Of a compressed sum the manifest tells how many ring elements it takes; a late cohort's is
        never compressed, and its task stands in the stream's own record.
        """
        task = self.tasks.get(Digest(one.manifest.task))
        return one.manifest.length if task is None else task.numbers

    @cached_property
    def tasks(self) -> Mapping[Digest, Task]:
        """The tasks of all rounds by their hash, each with the model that it names, and the
        questions of all streams."""
        built = [Task.from_wire(r.task, r.model) for r in self.evidence.rounds]
        return {task.hash: task for task in (*built, *(one.task for one in self.streams))}

    @cached_property
    def tree(self) -> MerkleTree:
        """The journal's tree, computed anew from its leaves."""
        tree = MerkleTree()
        for leaf in self.evidence.journal.leaves:
            tree.append(leaf_hash(leaf))
        return tree

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The journal's entries."""
        entries = (Entry.from_leaf(data) for data in self.evidence.journal.leaves)
        return tuple(Leaf(i, entry.kind, entry.facts) for i, entry in enumerate(entries))

    def recorded(self, kind: str, **facts: JSON) -> Leaf:
        """The one entry of that kind with (at least) these facts; fails when there is not one."""
        found = list(self.find(kind, **facts))
        if len(found) != 1:
            said = ", ".join(f"{key} {value}" for key, value in facts.items())
            raise Unmet(f"The journal holds {len(found)} entries '{kind}' with {said}, not one.")
        return found[0]

    def find(self, kind: str, **facts: JSON) -> Iterator[Leaf]:
        """All entries of that kind with (at least) these facts, in order."""
        about = facts.get("scope", facts.get("round"))
        for leaf in self._filed.get((kind, about if isinstance(about, str) else None), ()):
            if all(leaf.facts.get(key) == value for key, value in facts.items()):
                yield leaf

    @cached_property
    def _filed(self) -> Mapping[tuple[str, str | None], list[Leaf]]:
        """Entries by kind, and again by kind and what they are about: a long run has many."""
        filed: dict[tuple[str, str | None], list[Leaf]] = {}
        for leaf in self.leaves:
            about = leaf.facts.get("scope", leaf.facts.get("round"))
            filed.setdefault((leaf.kind, None), []).append(leaf)
            if isinstance(about, str):
                filed.setdefault((leaf.kind, about), []).append(leaf)
        return filed
