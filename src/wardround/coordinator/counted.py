"""How many records an opened total says it is over."""

from __future__ import annotations

import numpy as np
import orjson
from sqlalchemy import Connection, Row

from wardround.coordinator import records
from wardround.coordinator.coordinator import Coordinator
from wardround.federation.messages import Manifest
from wardround.learning.contribution import from_total
from wardround.learning.registry import KINDS
from wardround.secagg.encoding import RingArray
from wardround.study import Task
from wardround.study.plan import headroom


def records_of(
    connection: Connection,
    coordinator: Coordinator,
    row: Row[tuple[object, ...]],
    manifest: Manifest,
    cohort: int,
) -> int | None:
    """The number that stands in the total of a finished round, or None where there is none.

    Under differential privacy totals hold no such number. ``cohort`` is how many sites the run, or
    its group, has.
    """
    study, kind = coordinator.study, KINDS.get(manifest.kind)
    opened = records.load_total(connection, manifest.run, manifest.step)
    if study.privacy is not None or kind is None or opened is None:
        return None
    model = None if manifest.model is None else coordinator.blobs.get(manifest.model)
    task = Task.from_wire(orjson.loads(row.task), model)
    data = coordinator.blobs.get(opened.total)
    ring: RingArray = (
        np.frombuffer(data, np.uint64) if task.ring_bits == 64 else np.frombuffer(data, np.uint32)
    )
    values = headroom(study, task, len(manifest.roster), cohort).encoding.decode(ring)
    weights = None if task.model is None else task.model.astype(np.float64, copy=False)
    totals, _ = from_total(kind.parse(task.parameters, weights), values)
    found = getattr(totals, "records", None)
    return found if isinstance(found, int) else None
