"""What a site has answered, as rows: the memory that a lying coordinator must not outlast."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from wardround.errors import WardroundError
from wardround.federation.messages import JournalHead, Manifest, PacketHeader
from wardround.federation.packet import Packet
from wardround.ids import Digest, RoundId, RunId, SiteName
from wardround.privacy.disclosure import differs_enough
from wardround.site.tables import heads, packets, patient_sets, questions, tasks
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

LEAST_DIFFERENCE = 5
"""Sets of patients over which one question is answered are the same, or differ by so many."""

_HASH_BYTES = 16

# What every answer runs is built once: building a statement costs more than running it.
_TASK = select(tasks).where(tasks.c.run == bindparam("run"), tasks.c.step == bindparam("step"))
_EARLIER = (
    select(patient_sets.c.members)
    .join(questions, questions.c.patients == patient_sets.c.digest)
    .where(questions.c.question == bindparam("question"))
)
_BOUND = select(packets.c.manifest).where(
    packets.c.batch == bindparam("batch"), packets.c.index == bindparam("index")
)
_PACKET = select(packets).where(packets.c.round == bindparam("round"))
_KEEP_SET = insert(patient_sets).on_conflict_do_nothing()
_KEEP_QUESTION = insert(questions).on_conflict_do_nothing()
_KEEP_TASK = insert(tasks).on_conflict_do_nothing()
_KEEP_PACKET = insert(packets)
_VOTE = (
    update(packets)
    .where(packets.c.round == bindparam("b_round"))
    .values(survivors=bindparam("survivors"))
)
_RECOVERED = (
    update(tasks)
    .where(tasks.c.run == bindparam("b_run"), tasks.c.step == bindparam("b_step"))
    .values(recovered=True, survivors=bindparam("survivors"))
)
_HEAD = select(heads).where(heads.c.coordinator == bindparam("coordinator"))
_KEEP_HEAD = insert(heads)
_KEEP_HEAD = _KEEP_HEAD.on_conflict_do_update(
    index_elements=["coordinator"],
    set_={"size": _KEEP_HEAD.excluded.size, "root": _KEEP_HEAD.excluded.root},
)


def patient_set(ids: Iterable[str], key: bytes) -> frozenset[bytes]:
    """Keyed hashes of patient ids: sets can be compared later without keeping any id."""
    return frozenset(hmac.digest(key, one.encode(), hashlib.sha256)[:_HASH_BYTES] for one in ids)


def set_digest(patients: frozenset[bytes]) -> Digest:
    """A name for a set of patients."""
    return digest(b"".join(sorted(patients)))


def content_digest(columns: Mapping[str, NDArray[np.float64]], key: bytes) -> Digest:
    """A keyed digest of records, each column of shape ``(patients,)``: equal only for equal values.

    Keyed, since whoever reads the database could else try out a value that has few possibilities.
    """
    found = hmac.new(key, b"wardround records\0", hashlib.sha256)
    for name, values in sorted(columns.items()):
        found.update(f"{len(name)} {name} {values.dtype.str} {values.size}\0".encode())
        found.update(np.ascontiguousarray(values).data)
    return Digest(f"sha256:{found.hexdigest()}")


def check_task(
    connection: Connection,
    manifest: Manifest,
    patients: frozenset[bytes],
    content: Digest | None,
    *,
    repeatable: bool,
) -> None:
    """One total per task: the same task over the same records, and after recovery the same sites.

    ``content`` is the digest of the records. It is held to also where no shares were given here:
    those of others may have opened what was answered before, and the difference between two totals
    would be what was corrected meanwhile.

    Once shares were given, a task that is ``repeatable`` (the answer is the same again) is answered
    only where nothing can come out but the total that may have been opened: over the survivors for
    whom the shares were, and over all of them. What was closed before survivors and digests were
    kept stays closed.
    """
    row = check_same_task(connection, manifest)
    if row is None:
        return
    if row.patients != set_digest(patients):
        raise _never("WR-SITE-023", "This task was answered over another set of patients.")
    if row.content not in (None, content):
        raise _never("WR-SITE-023", "This task was answered from records that have changed since.")
    known = row.content is not None
    if row.recovered and not (repeatable and known and _admits_only(manifest, row.survivors)):
        raise _never(
            "WR-SITE-022",
            "Recovery shares were given for this task; it is closed for any other set of sites.",
        )


def _admits_only(manifest: Manifest, survivors: object) -> bool:
    """Whether these, as `record_vote` writes them, are all of a roster none of whom may be missing.

    None, where nobody's survival was ever written down, is no set of survivors.
    """
    whole = manifest.minimum_survivors == len(manifest.roster)
    return whole and survivors is not None and survivors == _written(manifest.roster)


def check_same_task(connection: Connection, manifest: Manifest) -> Row[tuple[object, ...]] | None:
    """A step is bound to its first task for ever; what is known of it, if it was answered before.

    In a study with noise that is all: an answer given again has fresh noise and is paid for anew,
    over whoever consents by then, even if the first may have been opened.
    """
    row = connection.execute(_TASK, {"run": manifest.run, "step": manifest.step}).first()
    if row is not None and row.task != manifest.task:
        raise _never("WR-SITE-021", "This step was bound to another task before.")
    return row


def check_patients(
    connection: Connection, question: Digest, patients: frozenset[bytes], least: int
) -> None:
    """A question is answered again only over the same patients, or over clearly other ones.

    Two totals over sets that differ by a few patients differ by what those few contributed.
    """
    rows = connection.scalars(_EARLIER, {"question": question})
    earlier = [_members(row) for row in rows]
    if not differs_enough(earlier, patients, least):
        raise _never(
            "WR-SITE-024",
            f"The same question was answered over a set of patients that differs by fewer than "
            f"{least}.",
        )


def bind(
    connection: Connection,
    manifest: Manifest,
    packet: Packet,
    question: Digest,
    patients: frozenset[bytes],
    content: Digest | None,
) -> None:
    """Remember what is about to be answered; part of the transaction that precedes sending."""
    name = set_digest(patients)
    connection.execute(_KEEP_SET, {"digest": name, "members": b"".join(sorted(patients))})
    connection.execute(_KEEP_QUESTION, {"question": question, "patients": name})
    step = {"run": manifest.run, "step": manifest.step}
    bound = {"task": manifest.task, "patients": name, "content": content, "recovered": False}
    connection.execute(_KEEP_TASK, {**step, **bound})
    connection.execute(
        _KEEP_PACKET,
        {
            "round": manifest.round,
            **step,
            "batch": manifest.batch,
            "index": manifest.index,
            "manifest": packet.header.manifest,
            "envelope": packet.envelope.to_json(),
            "spooled": str(packet.payload),
        },
    )


def check_index(connection: Connection, manifest: Manifest, manifest_digest: Digest) -> None:
    """A round's keys are bound to the first manifest that their owner signs."""
    place = {"batch": manifest.batch, "index": manifest.index}
    row = connection.execute(_BOUND, place).first()
    if row is not None and row.manifest != manifest_digest:
        raise _never("WR-SITE-025", "These masking keys are bound to another manifest.")


def packet_row(connection: Connection, round_: RoundId) -> Row[tuple[object, ...]] | None:
    """What was answered in a round."""
    return connection.execute(_PACKET, {"round": round_}).first()


def answered(
    connection: Connection, study: Digest, run: RunId
) -> tuple[dict[RoundId, Digest], int]:
    """The packets that were signed for a study: those of ``run`` by round, and how many others.

    A run's groups and streams have their rounds under names that begin with its own.
    """
    mine: dict[RoundId, Digest] = {}
    elsewhere = 0
    for row in connection.execute(select(packets.c.round, packets.c.run, packets.c.envelope)):
        payload = Envelope.from_json(row.envelope).payload
        if PacketHeader.from_payload(payload).study != study:
            continue
        if row.run == run or row.run.startswith(f"{run}."):
            mine[row.round] = digest(payload)
        else:
            elsewhere += 1
    return mine, elsewhere


def record_vote(connection: Connection, round_: RoundId, survivors: tuple[SiteName, ...]) -> None:
    """One survivor set per round, written before the signature leaves."""
    row = packet_row(connection, round_)
    text = _written(survivors)
    if row is None:
        raise _never("WR-SITE-026", "This round was not answered here.")
    if row.survivors is not None and row.survivors != text:
        raise _never("WR-SITE-027", "Another survivor set was signed for this round.")
    connection.execute(_VOTE, {"b_round": round_, "survivors": text})


def record_recovery(connection: Connection, round_: RoundId) -> None:
    """From here on the task is closed, but for the survivors voted for: it may have been opened."""
    row = packet_row(connection, round_)
    if row is None or row.survivors is None:
        raise _never("WR-SITE-026", "This round was not answered here.")
    over = {"b_run": row.run, "b_step": row.step, "survivors": row.survivors}
    connection.execute(_RECOVERED, over)


def last_head(connection: Connection, coordinator: str) -> JournalHead | None:
    """The coordinator's journal as this site saw it last."""
    row = connection.execute(_HEAD, {"coordinator": coordinator}).first()
    return None if row is None else JournalHead(size=row.size, root=row.root)


def save_head(connection: Connection, coordinator: str, head: JournalHead) -> None:
    """Remember the coordinator's journal."""
    connection.execute(
        _KEEP_HEAD, {"coordinator": coordinator, "size": head.size, "root": head.root}
    )


def _written(sites: tuple[SiteName, ...]) -> str:
    return orjson.dumps(sorted(sites)).decode()


def _members(data: bytes) -> frozenset[bytes]:
    return frozenset(
        data[start : start + _HASH_BYTES] for start in range(0, len(data), _HASH_BYTES)
    )


def _never(code: str, problem: str) -> WardroundError:
    return WardroundError(
        code, problem, "The agent refuses; the hospital's journal has the particulars."
    )
