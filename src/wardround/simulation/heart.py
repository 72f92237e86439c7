"""The four real hospitals of the UCI heart-disease data, for the demonstration and a benchmark.

Janosi, Steinbrunn, Pfisterer and Detrano 1988 (UCI Machine Learning Repository, CC BY 4.0):
patients referred for coronary angiography in Cleveland, Budapest, Zurich with Basel, and Long
Beach. The files are read as they are: no header, no patient number, ``?`` for what is missing.
What their columns mean is said by a mapping for each hospital, as for any other source.

Three columns are hardly ever filled outside Cleveland (slope, vessels, thallium scan) and one is a
trap: Zurich and Basel wrote 0 where cholesterol was not measured, for all 123 patients. A
cholesterol of 0 is no cholesterol, so the study leaves that column out too rather than take the
zeros for values (as comparisons in the literature do) or lose a hospital.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wardround.clinical import ConceptGraph
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.simulation.records import DemoHospital, Form, MappedField, source

HEADER: Final = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg",
    "thalach", "exang", "oldpeak", "slope", "ca", "thal", "num",
)  # fmt: skip
"""The fourteen columns, by the names of the data set's own description."""

FEATURES: Final = (
    "age_years",
    "male",
    "chest_pain_atypical",
    "chest_pain_non_anginal",
    "chest_pain_asymptomatic",
    "resting_systolic_pressure",
    "fasting_blood_sugar_high",
    "resting_ecg_st_t",
    "resting_ecg_hypertrophy",
    "maximum_heart_rate",
    "exercise_angina",
    "st_depression",
)
OUTCOME: Final = "angiographic_coronary_disease"

RIDGES: Final = (0.0001, 0.000774, 0.00599, 0.0464, 0.359, 2.78, 21.5, 167.0, 1290.0, 10000.0)
"""The grid of ridges: scikit-learn's default for this model (LogisticRegressionCV, ten values of
1/C evenly from 1e-4 to 1e4 in logarithms), to three digits. So are the five folds."""

FOLDS: Final = 5


@dataclass(frozen=True)
class _Hospital:
    """``decimals``: it writes the code 1 as 1.0."""

    name: SiteName
    file: str
    place: str
    decimals: bool = False


HOSPITALS: Final = (
    _Hospital(SiteName("cleveland"), "processed.cleveland.data", "Cleveland Clinic", True),
    _Hospital(
        SiteName("budapest"), "processed.hungarian.data", "Institute of Cardiology, Budapest"
    ),
    _Hospital(
        SiteName("switzerland"),
        "processed.switzerland.data",
        "University Hospitals of Zurich and Basel",
    ),
    _Hospital(SiteName("long-beach"), "processed.va.data", "V.A. Medical Center, Long Beach"),
)

_CODED: Final = {
    "sex": "sex",
    "cp": "chest_pain",
    "fbs": "fasting_blood_sugar_high",
    "restecg": "resting_ecg",
    "exang": "exercise_angina",
    "num": OUTCOME,
}
_MEASURED: Final = {
    "age": ("age_years", "a"),
    "trestbps": ("resting_systolic_pressure", "mm[Hg]"),
    "thalach": ("maximum_heart_rate", "/min"),
    "oldpeak": ("st_depression", "mm"),
}


def write_heart_hospitals(data: Path, folder: Path) -> list[DemoHospital]:
    """Copy the four files of ``data`` below ``folder``, one folder and mapping each.

    Raises:
        WardroundError: ``WR-SIM-004`` where ``data`` lacks one of the files.
    """
    missing = [one.file for one in HOSPITALS if not (data / one.file).is_file()]
    if missing:
        raise WardroundError(
            "WR-SIM-004",
            f"The heart-disease data are not there: no {', '.join(missing)}.",
            "Give the folder with the four processed.*.data files of the UCI Machine Learning "
            "Repository's heart-disease data set.",
            path=str(data),
        )
    hospitals = []
    for one in HOSPITALS:
        place = folder / one.name
        place.mkdir(parents=True)
        shutil.copyfile(data / one.file, place / one.file)
        mapping = place / "mapping.toml"
        mapping.write_text(_mapping(one), "utf-8")
        (place / "README.txt").write_text(_readme(one), "utf-8")
        with (place / one.file).open("rb") as lines:
            total = sum(1 for line in lines if line.strip())
        hospitals.append(DemoHospital(one.name, Form.CSV, place, mapping, total))
    return hospitals


def _mapping(hospital: _Hospital) -> str:
    lines = [
        f"# What the columns of {hospital.file} mean ({hospital.place}).",
        "# The file names no patient: each row is one. chol, slope, ca and thal are not read.",
        "version = 1",
        *source(
            _fields(hospital),
            name="angiography",
            kind="csv",
            files=[hospital.file],
            header=HEADER,
            missing=["?", ""],
            rows_are_patients=True,
        ),
    ]
    return "\n".join(lines) + "\n"


def _fields(hospital: _Hospital) -> Iterator[MappedField]:
    for column, (concept, unit) in _MEASURED.items():
        yield {"concept": concept, "column": column, "unit": unit}
    for column, concept in _CODED.items():
        if hospital.decimals:
            yield {"concept": concept, "column": column, "value_map": _with_decimals(concept)}
        else:
            yield {"concept": concept, "column": column, "coding": "uci"}


def _with_decimals(concept: str) -> dict[str, bool | str]:
    """The UCI coding with 1.0 for 1, as Cleveland writes it (but for the outcome)."""
    graph = ConceptGraph.load()
    coding = next(one for one in graph.value_maps(concept) if one.coding == "uci")
    return {
        written if concept == OUTCOME else f"{written}.0": value
        for written, value in coding.values.items()
    }


def _readme(hospital: _Hospital) -> str:
    return f"""{hospital.name}: {hospital.place}

REAL PATIENTS, public data: {hospital.file} of the heart-disease data in the UCI Machine Learning
Repository (Janosi, Steinbrunn, Pfisterer, Detrano 1988; CC BY 4.0), copied byte for byte.

mapping.toml says what each column means. Not read: slope, ca and thal, which are hardly ever
filled outside Cleveland, and chol, which Zurich and Basel wrote as 0 for every patient.
"""
