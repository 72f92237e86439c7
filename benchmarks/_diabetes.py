"""Diabetes 130-US hospitals 1999-2008 as ten artificial hospitals, by a mapping like any other.

Strack, DeShazo, Gennings, Olmo, Ventura, Cios and Clore 2014 (UCI Machine Learning Repository,
CC BY 4.0): 101,766 inpatient encounters of 71,518 patients with diabetes. As in that paper each
patient counts once, with the first encounter, and who died or left for a hospice is left out,
since nobody of them can be readmitted: 69,984 remain there, 69,973 here (first by the
number of the encounter; the paper does not say how it took the first).

**The hospitals are artificial.** The file names none, so patients are divided at random among ten,
the k-th of which gets k shares of 55. A random third is kept for testing, before anything else.

What is written for each hospital are the file's own columns, but for the age, which is given in
decades: its middle is written. An unknown destination or way of admission counts as none of those
that the study asks for.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from wardround.clinical.graph import ConceptGraph
from wardround.clinical.harmonise import harmonise
from wardround.clinical.mapping import Mapping as FieldMapping
from wardround.clinical.table import FeatureTable
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.simulation.records import MappedField, source

HOSPITALS: Final = 10
HELD_OUT: Final = "reserved_for_testing"
OUTCOME: Final = "readmission_30_days"
FEATURES: Final = (
    "age_years",
    "male",
    "medications_in_stay",
    "diagnoses_in_stay",
    "stay_over_7_days",
    "discharged_home",
    "discharged_with_home_care",
    "discharged_to_facility",
    "admitted_by_emergency_department",
    "admitted_by_transfer",
    "inpatient_stay_past_year",
    "emergency_visit_past_year",
    "outpatient_visit_past_year",
    "metformin",
    "insulin_therapy",
    "glucose_lowering_drug",
)

_TESTED: Final = 3
"""One patient in so many is kept for testing."""

_DIED_OR_HOSPICE: Final = frozenset({"11", "13", "14", "19", "20", "21"})
_DESTINATIONS: Final = range(1, 31)
_SOURCES: Final = range(1, 27)
_NUMBERS: Final = {
    "age": ("age_years", "a"),
    "num_medications": ("medications_in_stay", "1"),
    "number_diagnoses": ("diagnoses_in_stay", "1"),
    "time_in_hospital": ("length_of_stay", "d"),
}
_CODES: Final = {
    "discharged_home": ("discharge_disposition_id", _DESTINATIONS, {1}),
    "discharged_with_home_care": ("discharge_disposition_id", _DESTINATIONS, {6, 8}),
    "discharged_to_facility": (
        "discharge_disposition_id",
        _DESTINATIONS,
        {2, 3, 4, 5, 15, 22, 23, 24, 27, 28, 29, 30},
    ),
    "admitted_by_emergency_department": ("admission_source_id", _SOURCES, {7}),
    "admitted_by_transfer": ("admission_source_id", _SOURCES, {4, 5, 6, 10, 22, 25, 26}),
    "inpatient_stay_past_year": ("number_inpatient", range(100), set(range(1, 100))),
    "emergency_visit_past_year": ("number_emergency", range(100), set(range(1, 100))),
    "outpatient_visit_past_year": ("number_outpatient", range(100), set(range(1, 100))),
}
"""Concept to column, its codes, and those that mean yes (the file's own list of codes)."""

_DOSES: Final = {"No": False, "Steady": True, "Up": True, "Down": True}
_WORDS: Final[Mapping[str, tuple[str, Mapping[str, bool]]]] = {
    "male": ("gender", {"Male": True, "Female": False}),
    "metformin": ("metformin", _DOSES),
    "insulin_therapy": ("insulin", _DOSES),
    "glucose_lowering_drug": ("diabetesMed", {"Yes": True, "No": False}),
    OUTCOME: ("readmitted", {"<30": True, ">30": False, "NO": False}),
    HELD_OUT: ("kept_for_testing", {"yes": True, "no": False}),
}


def data_file() -> Path:
    """Where the archive lies: below the shared test data, as for the tests."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    shared = Path(os.environ.get("WARDROUND_SHARED", beside))
    return shared / "data" / "diabetes130" / "dataset_diabetes.zip"


def diabetes_tables(archive: Path, folder: Path) -> dict[SiteName, FeatureTable]:
    """Each artificial hospital's harmonised patients.

    Raises WR-SIM-004 where the archive isn't there.
    """
    graph = ConceptGraph.load()
    tables = {}
    for name, place in _write(archive, folder).items():
        mapping = FieldMapping.load(place / "mapping.toml", graph)
        tables[name] = harmonise(mapping, place, graph, FEATURES, OUTCOME, extra=(HELD_OUT,))
    return tables


def _write(archive: Path, folder: Path) -> dict[SiteName, Path]:
    """One folder for each hospital: its patients as CSV, and the mapping that all of them share."""
    rows: list[list[dict[str, str]]] = [[] for _ in range(HOSPITALS)]
    for row in _first_encounters(archive):
        drawn = hashlib.sha256(row["patient_nbr"].encode()).digest()
        rows[_hospital(int.from_bytes(drawn[:4], "big"))].append(
            {
                **row,
                "age": str(int(row["age"].strip("[)").split("-")[0]) + 5),
                "kept_for_testing": "no" if int.from_bytes(drawn[4:8], "big") % _TESTED else "yes",
            }
        )
    places = {}
    for number, theirs in enumerate(rows, start=1):
        name = SiteName(f"artificial-{number:02}")
        place = places[name] = folder / name
        place.mkdir(parents=True)
        with (place / "stays.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(theirs[0]))
            table.writeheader()
            table.writerows(theirs)
        lines = source(
            _fields(), name="stays", kind="csv", files=["stays.csv"], patient="patient_nbr"
        )
        (place / "mapping.toml").write_text("\n".join(["version = 1", *lines, ""]), "utf-8")
    return places


def _first_encounters(archive: Path) -> Iterator[dict[str, str]]:
    """Each patient's first row, the dead and those in a hospice left out."""
    if not archive.is_file():
        raise WardroundError(
            "WR-SIM-004",
            "The diabetes data are not there.",
            "Give the archive of the UCI Machine Learning Repository's data set Diabetes 130-US "
            "hospitals.",
            path=str(archive),
        )
    first: dict[str, dict[str, str]] = {}
    with (
        zipfile.ZipFile(archive) as files,
        files.open("dataset_diabetes/diabetic_data.csv") as raw,
    ):
        for row in csv.DictReader(io.TextIOWrapper(raw, "ascii", newline="")):
            known = first.get(row["patient_nbr"])
            if known is None or int(row["encounter_id"]) < int(known["encounter_id"]):
                first[row["patient_nbr"]] = row
    for row in first.values():
        if row["discharge_disposition_id"] not in _DIED_OR_HOSPICE:
            yield row


def _hospital(drawn: int) -> int:
    """Which of the hospitals, from 0: the k-th gets k shares."""
    shares = HOSPITALS * (HOSPITALS + 1) // 2
    share = drawn % shares
    return next(k for k in range(HOSPITALS) if share < (k + 1) * (k + 2) // 2)


def _fields() -> Iterator[MappedField]:
    for column, (concept, unit) in _NUMBERS.items():
        yield {"concept": concept, "column": column, "unit": unit}
    for concept, (column, codes, yes) in _CODES.items():
        meanings = {str(code): code in yes for code in codes}
        yield {"concept": concept, "column": column, "value_map": meanings}
    for concept, (column, words) in _WORDS.items():
        yield {"concept": concept, "column": column, "value_map": words}
