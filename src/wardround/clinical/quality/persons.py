"""The same patient counted twice: as the same record again, or under another identifier."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material
from wardround.clinical.quality.thresholds import Thresholds
from wardround.clinical.quarantine import Reason

CONTINUOUS = 10
"""From so many distinct values on, two equal ones mean something."""

MINIMUM_CONTINUOUS = 2
"""With fewer such features, different patients are equal by chance."""

NEAR = 0.05
"""Values this close, in standard deviations of their feature, are taken for the same."""

_NEIGHBOURS = 32
"""How far along a group of equal birth date and sex pairs are compared: groups are sorted by
their values, so that near-identical patients are neighbours."""


def duplicate_rows(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Different identifiers with exactly the same features and outcome; repeated rows of one."""
    repeated = material.table.quarantine.summary().get(Reason.DUPLICATE_RECORD, 0)
    rows = _rows(material, material.outcome)
    equal = 0
    if rows is not None:
        equal = len(rows) - len(np.unique(rows, axis=0))
    if not equal and not repeated:
        return
    patients = 0 if rows is None else len(rows)
    share = equal / patients if patients else 0.0
    words = ["{equal} of {patients} patients ({share}) repeat exactly another patient's values."]
    again = ["Rows set aside since their patient has one already: {repeated}."]
    yield Finding(
        Check.DUPLICATE_ROWS,
        Level.BLOCK if share > thresholds.duplicates_block else Level.WARN,
        None,
        " ".join([*(words if equal else ()), *(again if repeated else ())]),
        "Check that the export lists each patient once, and no file is read twice.",
        {"equal": equal, "patients": patients, "share": share, "repeated": repeated},
    )


def two_identifiers(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Patients of the same birth date and sex with nearly the same values: probably one person."""
    pairs, patients = _close_pairs(material)
    if not pairs:
        return
    share = pairs / patients
    yield Finding(
        Check.TWO_IDENTIFIERS,
        Level.BLOCK if share > thresholds.duplicates_block else Level.WARN,
        None,
        "Pairs with the same birth date"
        + (" and sex" if material.sex else "")
        + " and nearly the same values: {pairs} among {patients} patients, each probably one "
        "person under two identifiers.",
        "Have the identifiers linked in the source, or exclude the second one of each.",
        {"pairs": pairs, "patients": patients, "share": share},
    )


def comparable(material: Material) -> str | None:
    """Why patients can't be compared, if they can't."""
    if _rows(material) is None:
        return "too few features vary enough to tell two patients apart"
    return None


def rows_to_check(material: Material) -> str | None:
    """Why there is nothing to say about duplicate rows, if there isn't."""
    if material.table.quarantine.summary().get(Reason.DUPLICATE_RECORD):
        return None
    return comparable(material)


def dated(material: Material) -> str | None:
    """Why persons can't be told apart by birth date, if they can't."""
    if material.birth_date is None:
        return "no birth date is mapped"
    return comparable(material)


def _rows(material: Material, *also: str) -> NDArray[np.float64] | None:
    """Features of the complete cases (and ``also``), if enough can tell two patients apart."""
    if not material.features:
        return None
    complete = material.complete()
    names = dict.fromkeys((*material.features, *also))
    rows = np.column_stack([material.concepts[name].values[complete] for name in names])
    varied = sum(len(np.unique(column)) >= CONTINUOUS for column in rows.T)
    return rows if varied >= MINIMUM_CONTINUOUS else None


def _close_pairs(material: Material) -> tuple[int, int]:
    birth, rows = material.values(material.birth_date), _rows(material)
    if birth is None or rows is None:
        return 0, 0
    complete = material.complete()
    sex = material.values(material.sex)
    key = np.column_stack(
        [
            birth[complete],
            np.zeros(len(rows)) if sex is None else np.nan_to_num(sex[complete], nan=-1),
        ]
    )
    known = np.isfinite(key[:, 0])
    key, rows = key[known], rows[known]
    largest = np.abs(rows).max(axis=0, initial=0.0)
    rows = rows / np.where(largest > 0, largest, 1.0)  # squares neither over- nor underflow
    spread = rows.std(axis=0) if len(rows) else np.ones(rows.shape[1])
    scaled = rows / np.where(spread > 0, spread, 1.0)
    order = np.lexsort((*scaled.T, key[:, 1], key[:, 0]))
    key, scaled = key[order], scaled[order]
    pairs = 0
    for step in range(1, min(_NEIGHBOURS, len(rows) - 1) + 1):
        together = np.flatnonzero((key[step:] == key[:-step]).all(axis=1))
        if not together.size:
            break
        apart = np.abs(scaled[together + step] - scaled[together]).max(axis=1)
        pairs += int((apart <= NEAR).sum())
    return pairs, int(complete.sum())
