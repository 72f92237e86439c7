"""What the door is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.federation.messages import Manifest
from wardround.ids import Digest
from wardround.site.late import Late
from wardround.study import Task


@dataclass(frozen=True)
class Order:
    """What the coordinator asks: a manifest that it signed, and the task that it names."""

    manifest: Manifest
    manifest_digest: Digest
    task: Task
    consistency: tuple[bytes, ...]
    """Merkle proof from the coordinator's journal as seen last to the one in the manifest."""
    late: Late | None = None
    """In a late cohort: what was computed before, from an older version of the model maybe."""

    @property
    def asked(self) -> Digest:
        """The hash by which the manifest must name the task: in a stream that of its question."""
        return self.task.hash if self.late is None else self.late.held.version.task

    @property
    def model(self) -> Digest | None:
        """The model that the manifest must name: in a stream the newest."""
        return self.task.model_digest if self.late is None else self.late.newest.model

    @property
    def version(self) -> Digest | None:
        """What the manifest must name as the newest version, from which staleness is counted."""
        return None if self.late is None else self.late.newest.digest
