"""``evidence.json``: everything that an auditor needs to check a finished run without a network.

Format ``wardround-evidence/1``, one JSON object, bytes in standard base64:

- ``study``: the study's canonical document, as the hospitals signed it;
- ``approvals``: every hospital's approval;
- ``partition``: in a study with groups, and in no other, how they were drawn: every hospital's
  commitment and reveal, and who signed that it accepted the outcome;
- ``batches``: per set-up of masking keys, the advertised keys and the headers of the deals;
- ``rounds``: per attempt at a total, the manifest, the task, the packet headers, the votes, and
  the total (little-endian elements of the ring, exactly as opened) if there was one;
- ``streams``: in a study whose hospitals train at their own pace, and in no other: per stream the
  task, every version of the model that was given out, and per late cohort who was ready, the
  cohort's manifest under all signatures, the advertised keys, the headers of the deals, and the
  same as of a round;
- ``journal``: the coordinator's leaves in order and its signed checkpoints;
- ``witnesses``: the hospitals' countersignatures of the finished journal and the model;
- ``model``: the description, the weights and the coordinator's signature over both.

Everything but ``format`` and ``level`` is signed, or is bound by a digest that is: the study by
the approvals, tasks by the manifests, totals by the journal. It contains no record and nothing
about a single hospital but its signatures, how many bytes it sent, and when it dropped out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from wardround.errors import WardroundError
from wardround.governance.files import Bytes, Signed, read_bounded, write_whole
from wardround.ids import BatchId, RunId, SiteName
from wardround.trust.canonical import canonical, parse_json

FORMAT: Final = "wardround-evidence/1"
MAXIMUM_BYTES = 512 << 20

_REMEDY = "Ask whoever ran the study for its evidence.json again."


class Part(BaseModel):
    """Base of every object in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class BatchRecord(Part):
    """One set-up: who advertised keys and who dealt shares. The sealed shares are not included."""

    adverts: dict[SiteName, Signed]
    deals: dict[SiteName, Signed]


class RoundRecord(Part):
    """One attempt at one total. ``model`` holds the bytes of the task's model, if it has one."""

    manifest: Signed
    task: dict[str, JsonValue]
    model: Bytes | None = None
    packets: dict[SiteName, Signed] = {}
    votes: dict[SiteName, Signed] = {}
    total: Bytes | None = None


class CohortRecord(Part):
    """One late cohort that came to masking: who was ready, what all signed, and its round."""

    ready: dict[SiteName, Signed]
    adverts: dict[SiteName, Signed]
    signatures: dict[SiteName, Signed]
    deals: dict[SiteName, Signed]
    manifest: Signed
    packets: dict[SiteName, Signed] = {}
    votes: dict[SiteName, Signed] = {}
    total: Bytes | None = None


class StreamRecord(Part):
    """One stream: its question, the bytes of its first model, all versions, and its cohorts."""

    run: Annotated[RunId, Field(max_length=96)]
    task: dict[str, JsonValue]
    model: Bytes
    versions: tuple[Signed, ...]
    cohorts: tuple[CohortRecord, ...]


class PartitionRecord(Part):
    """The draw that settled the study's groups: everything that they follow from."""

    draw: Annotated[int, Field(ge=0)]
    commitments: dict[SiteName, Signed]
    reveals: dict[SiteName, Signed]
    acceptances: dict[SiteName, Signed]


class JournalRecord(Part):
    """The coordinator's journal: leaves in order, and the checkpoints it signed."""

    leaves: tuple[Bytes, ...]
    checkpoints: tuple[Signed, ...]


class ModelRecord(Part):
    """The published model: ``model.json``, ``model.safetensors``, ``model.sig.json``."""

    description: Bytes
    weights: Bytes
    signature: Signed


class EvidenceFile(Part):
    """The whole file. Building it verifies nothing: see :func:`wardround.governance.verify`."""

    format: Literal["wardround-evidence/1"] = FORMAT
    level: Literal["E0"] = "E0"
    study: dict[str, JsonValue]
    run: Annotated[RunId, Field(max_length=96)]
    approvals: dict[SiteName, Signed]
    partition: PartitionRecord | None = None
    batches: dict[BatchId, BatchRecord]
    rounds: tuple[RoundRecord, ...]
    streams: tuple[StreamRecord, ...] = ()
    journal: JournalRecord
    witnesses: dict[SiteName, Signed]
    model: ModelRecord

    def save(self, path: Path) -> None:
        """Write the file in its canonical form, replacing an older one in one step."""
        document = self.model_dump(mode="json")
        if self.partition is None:
            del document["partition"]  # as it was before there were groups
        if not self.streams:
            del document["streams"]
        write_whole(path, canonical(document) + b"\n")

    @staticmethod
    def load(path: Path) -> EvidenceFile:
        """Read an untrusted file.

        Raises WR-GOV-001 when it can't be read, WR-GOV-002 when it isn't evidence, WR-GOV-003
        when it is evidence of a version that this program doesn't know.
        """
        data = read_bounded(
            path, MAXIMUM_BYTES, code="WR-GOV-001", what="evidence file", remedy=_REMEDY
        )
        value = parse_json(data, code="WR-GOV-002", what="evidence file", path=str(path))
        found = value.get("format") if isinstance(value, dict) else None
        known_family = isinstance(found, str) and found.startswith("wardround-evidence/")
        if known_family and found != FORMAT:
            raise WardroundError(
                "WR-GOV-003",
                "This evidence file is of another version of the format.",
                f"Verify it with the Wardround version that wrote it; this one reads {FORMAT}.",
                path=str(path),
            )
        if found != FORMAT:
            raise _not_evidence("format", path)
        try:
            return EvidenceFile.model_validate(value)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise _not_evidence(place or "the whole file", path) from None


def _not_evidence(place: str, path: Path) -> WardroundError:
    return WardroundError(
        "WR-GOV-002",
        f"The file is not a Wardround evidence file: {place[:120]} is missing or wrong.",
        _REMEDY,
        path=str(path),
    )
