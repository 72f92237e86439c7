"""Four artificial hospitals around real biopsies, for the demonstration and the tests.

The 569 patients and their ten cell-nucleus means are real: the Wisconsin Diagnostic Breast Cancer
data as scikit-learn ships them. Hospitals, identifiers, dates and ages are invented and marked so.

Each hospital keeps its records in another form: FHIR resources, an EHR's own SQL tables, a CSV file
and an OMOP extract, with units, labels and date formats of its own.

The recipe: each hospital in turn draws its patients without replacement, a patient's chance being
proportional to exp(tilt * z), where z is the standardised mean radius; so hospitals differ mildly,
as a referral centre differs from a screening clinic. Draws use ``random.Random``, whose sequence
Python keeps stable between versions, and weighted sampling by keys log(u) / w (Efraimidis and
Spirakis 2006, algorithm A). A few broken records are added to each hospital and must be set aside;
they are extra and marked, no real record is damaged.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from wardround.errors import WardroundError
from wardround.simulation.demo_csv import csv_sources, write_csv
from wardround.simulation.demo_designs import DESIGNS, FEATURES, OUTCOME, Biopsy, Design, Patient
from wardround.simulation.demo_fhir import fhir_sources, write_fhir
from wardround.simulation.demo_omop import omop_sources, write_omop
from wardround.simulation.demo_sql import sql_sources, write_sql
from wardround.simulation.records import DemoHospital, Form

__all__ = ["FEATURES", "OUTCOME", "DemoHospital", "Form", "write_demo_hospitals"]

_Write: TypeAlias = Callable[[Path, Design, Sequence[Patient]], list[str]]
_Sources: TypeAlias = Callable[[Design], list[str]]

_FORMS: Mapping[Form, tuple[_Write, _Sources]] = {
    Form.FHIR: (write_fhir, fhir_sources),
    Form.SQL: (write_sql, sql_sources),
    Form.CSV: (write_csv, csv_sources),
    Form.OMOP: (write_omop, omop_sources),
}
"""How to write each form, and how to map it."""


def write_demo_hospitals(folder: Path, seed: int = 2026) -> list[DemoHospital]:
    """Write the four hospitals below ``folder``, one folder each, and return them, largest first.

    Needs scikit-learn (the extra ``demo``). Values are written as exact decimals in each
    hospital's own units, so that reading them back gives the data set's numbers.

    Raises:
        FileExistsError: where a hospital's folder already exists; nothing is overwritten.
        WardroundError: ``WR-DATA-019`` where scikit-learn is missing.
    """
    draw = random.Random(seed)  # noqa: S311 - a reproducible recipe, not a secret
    remaining = _biopsies()
    hospitals = []
    for design in DESIGNS:
        drawn, remaining = _draw(draw, remaining, design.tilt, design.size)
        patients = [
            _invent(draw, f"{design.prefix}-{number:04d}", biopsy)
            for number, biopsy in enumerate(drawn, start=1)
        ]
        place = folder / design.name
        place.mkdir(parents=True)
        write, _ = _FORMS[design.form]
        broken = write(place, design, patients)
        mapping_path = place / "mapping.toml"
        mapping_path.write_text(_mapping(design), "utf-8")
        (place / "README.txt").write_text(_readme(design, broken), "utf-8")
        total = design.size + len(broken)
        hospitals.append(DemoHospital(design.name, design.form, place, mapping_path, total))
    return sorted(hospitals, key=lambda hospital: -hospital.records_total)


def _biopsies() -> list[Biopsy]:
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise WardroundError(
            "WR-DATA-019",
            "scikit-learn, which carries the demonstration's data, is not installed.",
            'Install it with: pip install "wardround[demo]"',
        ) from error
    data = load_breast_cancer()
    # scikit-learn calls the columns "mean radius" and codes malignant as 0.
    columns = [
        list(data.feature_names).index("mean " + feature.removesuffix("_mean").replace("_", " "))
        for feature in FEATURES
    ]
    return [
        Biopsy(
            {
                feature: Decimal(repr(float(row[column])))
                for feature, column in zip(FEATURES, columns, strict=True)
            },
            malignant=int(target) == 0,
        )
        for row, target in zip(data.data, data.target, strict=True)
    ]


def _draw(
    draw: random.Random, biopsies: Sequence[Biopsy], tilt: float, size: int
) -> tuple[list[Biopsy], list[Biopsy]]:
    """Draw ``size`` biopsies weighted by exp(tilt * z(radius)); return them and the others."""
    radii = [float(biopsy.features["radius_mean"]) for biopsy in biopsies]
    mean, spread = statistics.fmean(radii), statistics.pstdev(radii)
    # log(u) / w, largest first; 1 - random() lies in (0, 1], so that its logarithm exists.
    keys = [
        math.log(1.0 - draw.random()) / math.exp(tilt * (radius - mean) / spread)
        for radius in radii
    ]
    order = sorted(range(len(biopsies)), key=lambda index: -keys[index])
    return [biopsies[i] for i in order[:size]], [biopsies[i] for i in sorted(order[size:])]


def _invent(draw: random.Random, identifier: str, biopsy: Biopsy) -> Patient:
    """Invent dates; the age follows neither the diagnosis nor any feature."""
    sampled = date(2019, 1, 1) + timedelta(days=int(draw.random() * 5 * 365))
    age_days = int((25 + 60 * (draw.random() + draw.random()) / 2) * 365.25)
    return Patient(identifier, biopsy, sampled - timedelta(days=age_days), sampled)


def _mapping(design: Design) -> str:
    """Return the mapping that a steward of this hospital would have approved."""
    _, sources = _FORMS[design.form]
    lines = [
        f"# What the fields of {design.name} mean. Artificial hospital, see README.txt.",
        "version = 1",
        "",
        "# Ages are taken on the day of the biopsy.",
        'index_date = "specimen_date"',
        *sources(design),
    ]
    return "\n".join(lines) + "\n"


def _readme(design: Design, broken: Sequence[str]) -> str:
    reasons = "\n".join(f"  - {reason}" for reason in broken)
    cut = "One line of Observation.ndjson is cut off on purpose.\n"
    also = cut if design.form is Form.FHIR else ""
    return f"""{design.name}: AN ARTIFICIAL HOSPITAL ({design.form})

Real: {design.size} biopsies of the Wisconsin Diagnostic Breast Cancer data (Street, Wolberg and
Mangasarian 1993; 569 in all, spread over four artificial hospitals), that is the ten
cell-nucleus means and the diagnosis.

SYNTHETIC, invented by a seeded program: the hospital, all identifiers, birth dates, specimen
dates and ages. They follow neither diagnosis nor features and are never inputs of a model.
Columns of tables are marked synthetic, and so are OMOP's cdm_source and person_source_value; FHIR
resources carry the security label HTEST (test health data).
The data set states no unit of length: "um" and what is derived from it are labels of ours.

SYNTHETIC AND BROKEN, to be set aside, in {len(broken)} records whose identifier contains "broken":
{reasons}
{also}
mapping.toml says what each field means.
"""
