"""What a hospital puts into its agent's hands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.split import test_mask
from wardround.clinical.table import FeatureTable
from wardround.ids import SiteName
from wardround.learning.records import TEST_COLUMN
from wardround.study import HospitalPolicy, Study
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey


@dataclass(frozen=True)
class Custody:
    """What the hospital has put into the agent's hands: papers, keys, records and limits.

    ``patient_key`` hashes patient ids for `records.patient_set`; it never leaves the hospital.
    """

    study: Study
    site: SiteName
    key: SigningKey
    approval: Envelope
    exclusions: Path
    hospital: HospitalPolicy
    table: FeatureTable
    patient_key: bytes = field(repr=False)
    spool: Path


def computable(study: Study, table: FeatureTable) -> dict[str, NDArray[np.float64]]:
    """The study's columns of a table, and which records are held out; nothing else."""
    names = (*study.data.features, study.data.outcome)
    columns = {name: np.ascontiguousarray(table.columns[name]) for name in names}
    held_out = test_mask(table.patient_ids, study.id, study.data.test_fraction)
    return {**columns, TEST_COLUMN: held_out.astype(np.float64)}
