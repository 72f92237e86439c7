"""The site's part in drawing the study's groups, and the group that it keeps to ever after.

The attacker is the coordinator, with up to f of the other sites: it starts draws as it likes, shows
each site other commitments and reveals, and asks for set-ups among whomever it likes. What it must
not get is a second partition at this site, or a sum with members of another group: sums over
groups that overlap differ by a few hospitals. Where noise protects the patients and the study
redraws its groups, it must not get other ones than those that all hospitals drew.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from wardround.errors import WardroundError
from wardround.federation.messages import Instruction, malformed
from wardround.federation.packet import Status, StatusKind
from wardround.ids import SiteName
from wardround.secagg.draw import (
    MAXIMUM_DRAWS,
    RANDOM_BYTES,
    Acceptance,
    Reveal,
    commit,
    open_commitments,
    open_reveals,
    payloads_digest,
)
from wardround.secagg.partition import Partition, draw_partitions
from wardround.site import partitions
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey


class Grouping:
    """Commits, reveals, accepts, each once; then says who may be in a cohort with this site."""

    def __init__(
        self,
        study: Study,
        me: SiteName,
        key: SigningKey,
        state: JournalledDatabase,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._study = study
        self._me = me
        self._key = key
        self._state = state
        self._random_bytes = random_bytes

    def partition(self, number: int = 0) -> Partition | None:
        """Partition ``number`` of those that this site has accepted for the study."""
        if self._study.cohort.groups is None:
            return None
        with self._state.database.begin() as connection:
            accepted = partitions.accepted(connection, self._study.digest)
        return None if accepted is None else accepted.at(number)

    def whole(self, number: int) -> int:
        """How many sites this one may sum with in partition ``number``, itself included.

        They are the study's, or its group's. A group that is not drawn yet counts as the largest
        that there can be.
        """
        partition = self.partition(number)
        if partition is not None:
            return len(partition.group_of(self._me))
        return -(-len(self._study.sites) // self._study.totals_per_step)

    def require_together(self, sites: Iterable[SiteName], number: int) -> None:
        """Return if the study lets this site sum with those; raises WR-SITE-080.

        With groups: only with members of its own in partition ``number``, and not before there
        are any.
        """
        if self._study.cohort.groups is None:
            return
        partition = self.partition(number)
        if partition is None or not set(sites) <= set(partition.group_of(self._me)):
            raise other_group()

    def commit(self, ask: Instruction) -> Status:
        """Fresh random bytes for a draw, kept here, and the signed commitment to them."""
        draw = self._number(ask)
        with self._state.transaction() as transaction:
            connection = transaction.connection
            if partitions.accepted(connection, self._study.digest) is not None:
                raise _second_partition()
            newest = partitions.newest(connection, self._study.digest)
            if newest is not None and newest.draw > draw:
                raise _over()
            if newest is None or newest.draw < draw:
                random = self._random_bytes(RANDOM_BYTES)
                partitions.begin(connection, self._study.digest, draw, random)
            else:
                random = newest.random
            said = commit(self._study.digest, draw, self._me, random)
            envelope = said.sign(self._key)
            transaction.record("commitment", draw=draw, statement=digest(envelope.payload))
        return Status(StatusKind.COMMITMENT, envelope)

    def reveal(self, ask: Instruction) -> Status:
        """The bytes, against the commitments of all; from here on against no others."""
        study, draw = self._study, self._number(ask)
        commitments = open_commitments(ask.envelopes, study.digest, draw, study.site_keys)
        seen = payloads_digest(ask.envelopes)
        with self._state.transaction() as transaction:
            part = self._part(partitions.newest(transaction.connection, study.digest), draw)
            if commitments[self._me] != commit(study.digest, draw, self._me, part.random):
                raise _others("The commitments don't include this site's own.")
            if part.seen not in (None, seen):
                raise _others("This site has revealed against other commitments in this draw.")
            partitions.bind(transaction.connection, study.digest, draw, seen, commitments)
            said = Reveal(study.digest, draw, self._me, seen, part.random)
            envelope = said.sign(self._key)
            transaction.record("reveal", draw=draw, statement=digest(envelope.payload))
        return Status(StatusKind.REVEAL, envelope)

    def accept(self, ask: Instruction) -> Status:
        """Work the partition out from all reveals, write it down for good, and say so."""
        study, draw = self._study, self._number(ask)
        assert study.cohort.groups is not None
        with self._state.transaction() as transaction:
            connection = transaction.connection
            part = self._part(partitions.newest(connection, study.digest), draw)
            if part.seen is None:
                raise _others("This site has revealed nothing in this draw yet.")
            revealed = open_reveals(
                ask.envelopes, part.commitments, part.seen, study.digest, draw, study.site_keys
            )
            drawn = draw_partitions(
                study.digest,
                draw,
                part.seen,
                revealed,
                study.totals_per_step,
                redrawn=study.redraws_groups,
            )
            found = partitions.Accepted(
                draw,
                part.seen,
                payloads_digest(ask.envelopes),
                drawn.at(0),
                drawn.seed if drawn.redrawn else None,
            )
            before = partitions.accepted(connection, study.digest)
            if before not in (None, found):
                raise _second_partition()
            envelope = Acceptance(
                study.digest,
                draw,
                self._me,
                found.commitments,
                found.reveals,
                drawn.digest,
            ).sign(self._key)
            if before is None:
                partitions.accept(connection, study.digest, found)
                transaction.record(
                    "partition",
                    draw=draw,
                    partition=drawn.digest,
                    commitments=found.commitments,
                    reveals=found.reveals,
                    group=list(found.first.group_of(self._me)),
                )
        return Status(StatusKind.ACCEPTANCE, envelope)

    def _number(self, ask: Instruction) -> int:
        if self._study.cohort.groups is None:
            raise WardroundError(
                "WR-SITE-081",
                "The coordinator asks to draw groups, and the study has none.",
                "The agent refuses; tell the study's coordinator.",
            )
        if ask.draw is None:
            raise malformed("instruction")
        if ask.draw >= MAXIMUM_DRAWS:
            raise _over()
        return ask.draw

    @staticmethod
    def _part(newest: partitions.Part | None, draw: int) -> partitions.Part:
        if newest is None or newest.draw != draw:
            raise _over()
        return newest


def other_group() -> WardroundError:
    """The coordinator asks for a sum over other sites than this one's group."""
    return WardroundError(
        "WR-SITE-080",
        "The coordinator asks for a sum with sites outside this site's own group.",
        "The agent refuses; tell the study's coordinator.",
    )


def _over() -> WardroundError:
    return WardroundError(
        "WR-SITE-082",
        "The draw of groups that the coordinator asks about is over, or never began here.",
        f"The agent refuses. A study's groups are drawn at most {MAXIMUM_DRAWS} times, each with "
        "fresh commitments; after that the study needs a new version.",
    )


def _others(problem: str) -> WardroundError:
    return WardroundError(
        "WR-SITE-083",
        problem,
        "The agent refuses; the coordinator shows different sites different things, or has lost "
        "its memory.",
    )


def _second_partition() -> WardroundError:
    return WardroundError(
        "WR-SITE-084",
        "This site has accepted another partition of the study, and keeps to it.",
        "The agent refuses; a study's groups are drawn once. If the coordinator has lost them, "
        "its state must be restored from a backup.",
    )
