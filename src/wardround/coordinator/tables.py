"""What a coordinator keeps."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
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

enrolments = Table(
    "enrolments",
    metadata,
    Column("site", String, primary_key=True),
    Column("token_digest", String, nullable=True),
    Column("certificate", LargeBinary, nullable=True),
    Column("replacement", LargeBinary, nullable=True),
    Column("enrolled_at", DateTime(timezone=True), nullable=True),
)
"""One row per site of the study; the token's digest is removed when the token is used.

A renewed certificate is the ``replacement`` until its first use, which makes the older one void."""

approvals = Table(
    "approvals",
    metadata,
    Column("site", String, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run", String, primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=True),
    Column("model", String, nullable=True),
    Column("resumed_at", DateTime(timezone=True), nullable=True),
    Column("ending_at", DateTime(timezone=True), nullable=True),
    Column("ended_at", DateTime(timezone=True), nullable=True),
)
"""``resumed_at`` is when a restarted coordinator went on with it last, ``ending_at`` when the sites
were first told of its end, ``ended_at`` when all was done."""

setups = Table(
    "setups",
    metadata,
    Column("batch", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=True),
    Column("phase_at", DateTime(timezone=True), nullable=True),
)
"""``phase_at``, here and below, is since when it stands in the phase that its state says."""

rounds = Table(
    "rounds",
    metadata,
    Column("round", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("task", LargeBinary, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("seconds", Float, nullable=True),
    Column("phase_at", DateTime(timezone=True), nullable=True),
    UniqueConstraint("run", "step", "attempt"),
)
"""A round that is over lasted from ``started_at`` to ``phase_at``; ``seconds`` is how long one took
that an earlier version opened, which has no ``phase_at``."""

draws = Table(
    "draws",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("phase_at", DateTime(timezone=True), nullable=True),
)
"""The draws of the study's partition; the last one is the one that counts."""

statements = Table(
    "statements",
    metadata,
    Column("scope", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("site", String, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("attachment", LargeBinary, nullable=False),
    Column("at", DateTime(timezone=True), nullable=True),
)
"""Everything signed that a site has sent, by batch, round, run or draw (``scope``), exactly once,
and when it came in."""

totals = Table(
    "totals",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("task", String, nullable=False),
    Column("round", String, nullable=False),
    Column("total", String, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", Integer, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
)

ledgers = Table(
    "ledgers",
    metadata,
    Column("site", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("digest", String, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("round", String, nullable=True),
)
"""The head of each hospital's privacy ledger as heard of last, with the packet header that says so,
and the round whose manifest showed it to the others last."""

gatherings = Table(
    "gatherings",
    metadata,
    Column("run", String, primary_key=True),
    Column("task", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
"""Each stream's question, and its late cohorts: who is ready, and what becomes of each cohort until
it can mask."""

offers = Table(
    "offers",
    metadata,
    Column("ready", String, primary_key=True),
    Column("run", String, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("advert", LargeBinary, nullable=False),
)
"""Ready statements that wait, by their digest, each with the advert that it names. Those that a
manifest names are `statements` of its cohort."""

versions = Table(
    "versions",
    metadata,
    Column("run", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
)
"""The models that a stream gave out, in order, each signed by this coordinator."""

answer_times = Table(
    "answer_times",
    metadata,
    Column("site", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("seconds", LargeBinary, nullable=False),
)
"""How long each site's last answers of a kind took, as a JSON list. It stays here: the time that a
hospital computes may say how many records it has."""

traffic = Table(
    "traffic",
    metadata,
    Column("round", String, primary_key=True),
    Column("site", String, primary_key=True),
    Column("bytes_in", Integer, nullable=False),
    Column("bytes_out", Integer, nullable=False),
)
"""Bytes of bodies that came from a hospital and went to it, by what was under way (``round``): a
round, a late cohort, a set-up, or else a run, a group's run or a stream."""

journal = leaf_table(metadata)


def create(connection: Connection) -> None:
    """Version 1 of the schema."""
    metadata.create_all(connection)


def add_draws(connection: Connection) -> None:
    """Version 2: draws, which a database made since has already."""
    metadata.create_all(connection, [draws])


def add_ledgers(connection: Connection) -> None:
    """Version 3: what was heard of privacy ledgers."""
    metadata.create_all(connection, [ledgers])


def add_times(connection: Connection) -> None:
    """Since when what is; unknown (null) for what was written before."""
    add_columns(
        connection,
        (runs, ("resumed_at", "ending_at", "ended_at")),
        (setups, ("started_at", "phase_at")),
        (rounds, ("phase_at",)),
        (draws, ("phase_at",)),
        (statements, ("at",)),
    )


def add_pace(connection: Connection) -> None:
    """Version 5: how long answers took."""
    metadata.create_all(connection, [answer_times])


def add_traffic(connection: Connection) -> None:
    """Version 6: bytes that were moved."""
    metadata.create_all(connection, [traffic])


def add_stream(connection: Connection) -> None:
    """Version 7: late cohorts."""
    metadata.create_all(connection, [gatherings, offers, versions])


MIGRATIONS = (create, add_draws, add_ledgers, add_times, add_pace, add_traffic, add_stream)
