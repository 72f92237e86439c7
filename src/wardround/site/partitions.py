"""A site's draws and the groups that it has accepted as rows: a restart must not undo them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Connection, insert, select, update

from wardround.ids import Digest, SiteName
from wardround.secagg.draw import Commitment
from wardround.secagg.partition import Partition, Partitions
from wardround.site.tables import draws, partitions


@dataclass(frozen=True)
class Part:
    """This site's part in one draw; ``seen`` and ``commitments`` once it has revealed."""

    draw: int
    random: bytes = field(repr=False)
    seen: Digest | None
    commitments: Mapping[SiteName, Commitment]


@dataclass(frozen=True)
class Accepted:
    """What was drawn, and the digests of the commitments and reveals that it follows from.

    ``first`` is the study's partition; where groups are redrawn, the others follow from ``seed``.
    """

    draw: int
    commitments: Digest
    reveals: Digest
    first: Partition
    seed: bytes | None = None

    def at(self, number: int) -> Partition:
        """Partition ``number``, from 0."""
        if not number or self.seed is None:
            return self.first
        sites = tuple(sorted(site for group in self.first.groups for site in group))
        return Partitions(sites, len(self.first.groups), self.seed, redrawn=True).at(number)


def newest(connection: Connection, study: Digest) -> Part | None:
    """The last draw that this site committed itself in."""
    row = connection.execute(
        select(draws).where(draws.c.study == study).order_by(draws.c.draw.desc()).limit(1)
    ).first()
    if row is None:
        return None
    said = orjson.loads(row.commitments or b"{}")
    commitments = {SiteName(site): Commitment.from_wire(one) for site, one in said.items()}
    return Part(row.draw, row.random, row.seen, commitments)


def begin(connection: Connection, study: Digest, draw: int, random: bytes) -> None:
    """Keep the random bytes of a draw, before anything is said about them."""
    connection.execute(insert(draws).values(study=study, draw=draw, random=random))


def bind(
    connection: Connection,
    study: Digest,
    draw: int,
    seen: Digest,
    commitments: Mapping[SiteName, Commitment],
) -> None:
    """Keep the one set of commitments against which this site reveals."""
    said = orjson.dumps({site: one.to_wire() for site, one in commitments.items()})
    connection.execute(
        update(draws)
        .where(draws.c.study == study, draws.c.draw == draw)
        .values(seen=seen, commitments=said)
    )


def accepted(connection: Connection, study: Digest) -> Accepted | None:
    """What this site has accepted for the study."""
    row = connection.execute(select(partitions).where(partitions.c.study == study)).first()
    if row is None:
        return None
    groups = tuple(tuple(group) for group in orjson.loads(row.groups))
    return Accepted(row.draw, row.commitments, row.reveals, Partition(groups), row.seed)


def accept(connection: Connection, study: Digest, found: Accepted) -> None:
    """Keep what was drawn; the primary key admits one outcome."""
    connection.execute(
        insert(partitions).values(
            study=study,
            draw=found.draw,
            commitments=found.commitments,
            reveals=found.reveals,
            groups=orjson.dumps(found.first.groups),
            seed=found.seed,
        )
    )
