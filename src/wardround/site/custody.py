"""What a hospital puts into its agent's hands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quality import Finding
from wardround.clinical.split import folds, test_mask
from wardround.clinical.table import FeatureTable
from wardround.ids import SiteName
from wardround.learning.records import FOLD_COLUMN, TEST_COLUMN
from wardround.study import HospitalPolicy, Study
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey


@dataclass(frozen=True)
class Custody:
    """What the hospital has put into the agent's hands: papers, keys, records and limits.

    ``findings`` are what the quality checks found in the records; a block that stands closes the
    door, and so does the end (``let_pass_until``) of an override. ``patient_key`` hashes patient
    ids for `records.patient_set`; it never leaves the hospital.
    """

    study: Study
    site: SiteName
    key: SigningKey
    approval: Envelope
    exclusions: Path
    hospital: HospitalPolicy
    table: FeatureTable
    findings: tuple[Finding, ...] = field(default=(), kw_only=True)
    let_pass_until: date | None = field(default=None, kw_only=True)
    patient_key: bytes = field(repr=False)
    spool: Path


def computable(study: Study, table: FeatureTable) -> dict[str, NDArray[np.float64]]:
    """The study's columns of a table, which records are held out, and their folds if any."""
    names = (*study.data.features, study.data.outcome)
    columns = {name: np.ascontiguousarray(table.columns[name]) for name in names}
    if study.data.held_out is not None:
        columns[TEST_COLUMN] = np.ascontiguousarray(table.columns[study.data.held_out])
    else:
        held_out = test_mask(table.patient_ids, study.id, study.data.test_fraction)
        columns[TEST_COLUMN] = held_out.astype(np.float64)
    if study.model.folds is not None:
        places = folds(table.patient_ids, study.id, study.model.folds)
        columns[FOLD_COLUMN] = places.astype(np.float64)
    return columns
