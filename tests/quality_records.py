"""Harmonised records for tests of the quality checks: made up, and the four heart hospitals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import requires
from wardround.clinical import Concept, ConceptType, FeatureTable, Quarantine, Reason, SetAside
from wardround.clinical.profile import FieldKind, FieldProfile, count_in_bins
from wardround.clinical.quality import (
    Check,
    ConceptMaterial,
    Federation,
    Finding,
    Level,
    Material,
    Thresholds,
    check,
)
from wardround.clinical.quality.page import ProfileRow

TODAY = date(2026, 11, 25)
NUMBER, BOOLEAN, DATE = ConceptType.NUMERIC, ConceptType.BOOLEAN, ConceptType.DATE


def concept(
    name: str,
    kind: ConceptType = NUMBER,
    plausible: tuple[float, float] | None = None,
    unit: str | None = "1",
) -> Concept:
    span = (0.0, 1.0) if kind is BOOLEAN else plausible
    return Concept(name, name.replace("_", " "), "", "test", name, unit, kind, span)


def facts(
    about: Concept, written: ArrayLike, set_aside: Mapping[Reason, int] | None = None, **more: Any
) -> ConceptMaterial:
    """What harmonisation makes of numbers as written; NaN where a patient has none."""
    raw = np.asarray(written, dtype=np.float64)
    low, high = about.plausible or (-np.inf, np.inf)
    missing = np.isnan(raw)
    inside = (raw >= low) & (raw <= high)
    aside = dict(set_aside or {})
    if outside := int((~missing & ~inside).sum()):
        aside[Reason.OUTSIDE_PLAUSIBLE_RANGE] = outside
    found = int((~missing).sum()) + sum((set_aside or {}).values())
    given = {
        "found": found,
        "missing": len(raw) + sum((set_aside or {}).values()) - found,
        "raw": raw[~missing] if about.type is NUMBER else np.empty(0),
    }
    return ConceptMaterial(
        about, set_aside=aside, values=np.where(inside, raw, np.nan), **(given | more)
    )


def material(
    outcome: ArrayLike,
    *features: ConceptMaterial,
    others: tuple[ConceptMaterial, ...] = (),
    federation: Federation | None = None,
    quarantine: tuple[SetAside, ...] = (),
    **roles: str,
) -> Material:
    """A study on ``features`` and a yes-or-no outcome, with its complete cases as the table."""
    columns = (*features, facts(concept("outcome", BOOLEAN), outcome), *others)
    concepts = {column.concept.id: column for column in columns}
    complete = np.isfinite(np.vstack([c.values for c in columns])).all(axis=0)
    used = np.flatnonzero(complete)
    dropped = [SetAside(Reason.MISSING_VALUE, "made:up")] * (len(complete) - len(used))
    table = FeatureTable(
        tuple(f"patient-{n}" for n in used),
        {name: column.values[complete] for name, column in concepts.items()},
        (),
        Quarantine((*quarantine, *dropped)),
    )
    names = tuple(column.concept.id for column in features)
    return Material(
        table, concepts, names, "outcome", TODAY.toordinal(), federation=federation, **roles
    )


def fired(records: Material, wanted: Check, thresholds: Thresholds | None = None) -> list[Finding]:
    """The findings of one check that warn or block."""
    return [
        one
        for one in check(records, thresholds)
        if one.check is wanted and one.level in (Level.WARN, Level.BLOCK)
    ]


def day(text: str) -> float:
    return float(date.fromisoformat(text).toordinal())


HEART = {
    "age_years": (0, NUMBER, (0.0, 120.0), "a"),
    "male": (1, BOOLEAN, None, None),
    "resting_pressure": (3, NUMBER, (30.0, 300.0), "mm[Hg]"),
    "cholesterol": (4, NUMBER, (20.0, 1500.0), "mg/dL"),
    "high_glucose": (5, BOOLEAN, None, None),
    "maximum_rate": (7, NUMBER, (20.0, 250.0), "/min"),
    "exercise_angina": (8, BOOLEAN, None, None),
    "st_depression": (9, NUMBER, (-10.0, 20.0), "mm"),
}
"""The columns of the UCI files that the literature uses, apart from the two with several codes."""

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


def heart_rows(hospital: str) -> NDArray[np.float64]:
    """A hospital's 14 columns, NaN where it writes ``?``."""
    path = requires.shared(f"data/heart/processed.{hospital}.data")
    return np.genfromtxt(path, delimiter=",", missing_values="?", filling_values=np.nan)


def heart(
    hospital: str, *, without: tuple[str, ...] = (), federation: Federation | None = None
) -> Material:
    """A hospital's records for a study of heart disease on the features of :data:`HEART`."""
    rows = heart_rows(hospital)
    features = [
        facts(concept(name, kind, span, unit), rows[:, column])
        for name, (column, kind, span, unit) in HEART.items()
        if name not in without
    ]
    return material((rows[:, 13] > 0).astype(float), *features, federation=federation, sex="male")


def heart_profile(hospital: str) -> list[ProfileRow]:
    """Each column of the UCI file as the steward sees it, with the mapping of :data:`HEART`."""
    columns = np.genfromtxt(
        requires.shared(f"data/heart/processed.{hospital}.data"), delimiter=",", dtype=str
    ).T
    mapped = {column: (name, kind, unit) for name, (column, kind, _, unit) in HEART.items()}
    mapped[13] = ("outcome", BOOLEAN, None)
    return [
        _row(texts, UCI[place], *mapped.get(place, (None, None, None)))
        for place, texts in enumerate(columns)
    ]


UCI = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
)


def _row(
    texts: NDArray[np.str_],
    field: str,
    name: str | None,
    kind: ConceptType | None,
    unit: str | None,
) -> ProfileRow:
    filled = texts[texts != "?"]
    numbers = filled.astype(float)
    found, counts = np.unique(filled, return_counts=True)
    order = np.argsort(-counts)
    continuous = len(found) > 8
    discrete = FieldKind.CATEGORY if len(found) else FieldKind.EMPTY
    profile = FieldProfile(
        source="heart clinic",
        field=field,
        description=None,
        declared="",
        codes=(),
        kind=FieldKind.NUMBER if continuous else discrete,
        rows=len(texts),
        missing=len(texts) - len(filled),
        distinct=len(found),
        units={unit: len(filled)} if unit else {},
        quantiles=tuple(np.quantile(numbers, np.linspace(0, 1, 21))) if continuous else (),
        bins=count_in_bins(numbers) if continuous else (),
        zeros=int((numbers == 0).sum()),
        categories={} if continuous else {str(found[k]): int(counts[k]) for k in order},
        date_formats=(),
        samples=tuple(str(text) for text in filled[:5]),
    )
    if name is None:
        return ProfileRow(profile)
    path, after = [f'column "{field}"'], []
    if kind is NUMBER:
        low, high = HEART[name][2] or (-np.inf, np.inf)
        path += [f"{unit}, {len(filled)} values", f"kept within {low:g} to {high:g} {unit}"]
        after = [f"{x:g} {unit}" if low <= x <= high else "set aside" for x in numbers[:5]]
    else:
        path += ["1 and above to yes, 0 to no"]
        after = ["yes" if x > 0 else "no" for x in numbers[:5]]
    shown = name.replace("_", " ").capitalize()
    return ProfileRow(profile, name, shown, unit, tuple(path), tuple(after))
