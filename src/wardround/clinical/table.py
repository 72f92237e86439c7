"""The one table that a study computes on: patients by concepts, complete cases, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.provenance import ColumnProvenance
from wardround.clinical.quarantine import Quarantine, Reason, SetAside


@dataclass(frozen=True, eq=False, repr=False)
class FeatureTable:
    """Harmonised records of one hospital, sorted by patient identifier.

    ``columns`` maps each concept to values of shape ``(len(patient_ids),)`` in the concept's
    unit; booleans are 0 and 1, dates proleptic Gregorian ordinals. Never printed with values.
    """

    patient_ids: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float64]]
    provenance: tuple[ColumnProvenance, ...]
    quarantine: Quarantine

    def __len__(self) -> int:
        return len(self.patient_ids)

    def __repr__(self) -> str:
        return f"FeatureTable({self.usage}, {len(self.columns)} columns)"

    @property
    def records_total(self) -> int:
        """M in *N used of M*: records that are used or were set aside."""
        return len(self.patient_ids) + self.quarantine.records

    @property
    def usage(self) -> str:
        """*N used of M*, as every report says it."""
        return f"{len(self.patient_ids)} used of {self.records_total}"

    def matrix(self, concepts: Sequence[str]) -> NDArray[np.float64]:
        """Return the columns of ``concepts`` side by side, shape ``(patients, len(concepts))``."""
        if not concepts:
            return np.empty((len(self), 0))
        return np.column_stack([self.columns[concept] for concept in concepts])

    def excluding(self, patients: Collection[str]) -> FeatureTable:
        """Return the table without ``patients``, who are counted as excluded by the steward."""
        refused = frozenset(patients)
        keep = np.array([patient not in refused for patient in self.patient_ids], dtype=np.bool_)
        dropped = len(self) - int(keep.sum())
        return replace(
            self,
            patient_ids=tuple(p for p in self.patient_ids if p not in refused),
            columns={concept: values[keep] for concept, values in self.columns.items()},
            quarantine=self.quarantine.with_entries(
                [SetAside(Reason.EXCLUDED, where="exclusion list")] * dropped
            ),
        )
