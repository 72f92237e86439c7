"""What a site keeps, and must never lose or take back."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from wardround.store.columns import add_columns
from wardround.store.leaves import leaf_table

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("task", String, nullable=False),
    Column("patients", String, nullable=False),
    Column("recovered", Boolean, nullable=False, default=False),
    Column("survivors", String, nullable=True),
    Column("content", String, nullable=True),
)
"""Each step is bound to its first task, its first set of patients and the ``content`` of their
records; once recovery shares have been given for it, it is answered again over the same
``survivors`` alone."""

packets = Table(
    "packets",
    metadata,
    Column("round", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("batch", String, nullable=False),
    Column("index", Integer, nullable=False),
    Column("manifest", String, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("spooled", String, nullable=False),
    Column("survivors", String, nullable=True),
)
"""One row per round answered: the manifest it is bound to and the one survivor set signed."""

cohorts = Table(
    "cohorts",
    metadata,
    Column("ready", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("manifest", String, nullable=False),
    Column("task", String, nullable=False),
    Column("model", String, nullable=False),
    Column("masked", Boolean, nullable=False, default=False),
    Column("survivors", String, nullable=True),
    UniqueConstraint("run", "sequence"),
)
"""One row per late cohort that was signed: the ready statement it used up, whether the masked
contribution left, and the one survivor set signed."""

charges = Table(
    "charges",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String, nullable=False),
    Column("round", String, nullable=False),
    Column("numbers", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
"""Numbers given out, charged before they leave and never refunded."""

patient_sets = Table(
    "patient_sets",
    metadata,
    Column("digest", String, primary_key=True),
    Column("members", LargeBinary, nullable=False),
)
"""Sets of patients over which something was computed, as keyed hashes of 16 bytes."""

questions = Table(
    "questions",
    metadata,
    Column("question", String, primary_key=True),
    Column("patients", String, primary_key=True),
)
"""Which question was answered over which set of patients, in whatever run."""

heads = Table(
    "heads",
    metadata,
    Column("coordinator", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("root", String, nullable=False),
)
"""The coordinator's journal as this site saw it last."""

draws = Table(
    "draws",
    metadata,
    Column("study", String, primary_key=True),
    Column("draw", Integer, primary_key=True),
    Column("random", LargeBinary, nullable=False),
    Column("seen", String, nullable=True),
    Column("commitments", LargeBinary, nullable=True),
)
"""This site's part in each draw of a study's partition: its random bytes, and from the moment that
it reveals them the one set of commitments against which it did."""

partitions = Table(
    "partitions",
    metadata,
    Column("study", String, primary_key=True),
    Column("draw", Integer, nullable=False),
    Column("commitments", String, nullable=False),
    Column("reveals", String, nullable=False),
    Column("groups", LargeBinary, nullable=False),
    Column("seed", LargeBinary, nullable=True),
)
"""The groups that this site has accepted for a study, and what they follow from: one partition, or
in a study that redraws its groups the first, and the seed of the others."""

exact = Table(
    "exact",
    metadata,
    Column("study_id", String, primary_key=True),
    Column("study", String, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
"""Which studies were answered without noise, by their names that outlast every version."""

halts = Table(
    "halts",
    metadata,
    Column("study", String, primary_key=True),
    Column("why", String, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
"""Studies with noise in which a computation failed: the steward signs before they go on."""

ledger = Table(
    "ledger",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("digest", String, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)
"""The privacy ledger: a chain of entries over all studies of this hospital, in canonical JSON."""

witnessed = Table(
    "witnessed",
    metadata,
    Column("coordinator", String, primary_key=True),
    Column("site", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("digest", String, nullable=False),
)
"""The heads of other hospitals' ledgers as this site has seen them last; coordinator and site are
public keys."""

journal = leaf_table(metadata)


def create(connection: Connection) -> None:
    """Version 1 of the schema."""
    metadata.create_all(connection)


def add_partitions(connection: Connection) -> None:
    """Version 2: draws and partitions, which a database made since has already."""
    metadata.create_all(connection, [draws, partitions])


def add_cohorts(connection: Connection) -> None:
    """Version 3: late cohorts; a new database has the table from version 1 on."""
    cohorts.create(connection, checkfirst=True)


def add_ledger(connection: Connection) -> None:
    """Version 4: the privacy ledger, and what is remembered of others'."""
    metadata.create_all(connection, [ledger, witnessed])


def add_exact(connection: Connection) -> None:
    """Version 5: which studies were answered without noise."""
    exact.create(connection, checkfirst=True)


def add_halts(connection: Connection) -> None:
    """Version 6: studies that are at a halt."""
    halts.create(connection, checkfirst=True)


def add_seeds(connection: Connection) -> None:
    """Version 7: what the groups follow from that are redrawn."""
    add_columns(connection, (partitions, ("seed",)))


def add_survivors(connection: Connection) -> None:
    """Version 8: over whom shares were given; what was closed before is closed for ever."""
    add_columns(connection, (tasks, ("survivors",)))


def add_content(connection: Connection) -> None:
    """Version 9: a keyed digest of what was computed on."""
    add_columns(connection, (tasks, ("content",)))


MIGRATIONS = (
    create,
    add_partitions,
    add_cohorts,
    add_ledger,
    add_exact,
    add_halts,
    add_seeds,
    add_survivors,
    add_content,
)
