"""What real extracts hold can be mapped: codes lead to concepts, and their units convert."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter

import requires
from wardround.clinical import ConceptGraph, ConceptType
from wardround.clinical.omop_units import OMOP_UNITS
from wardround.clinical.units import find_unit

GRAPH = ConceptGraph.load()


def test_measurements_of_an_omop_extract_convert() -> None:
    """Synthea in OMOP CDM 5.4: 10,040 measurements, found by concept id or by source code."""
    folder = requires.shared("data/omop_synthea27nj")
    (archive,) = folder.glob("*.zip")
    known: Counter[str] = Counter()
    total = 0
    with zipfile.ZipFile(archive) as bundle:
        (name,) = (
            n for n in bundle.namelist() if n.endswith("MEASUREMENT.csv") and "MACOS" not in n
        )
        for row in csv.DictReader(io.TextIOWrapper(bundle.open(name), "utf-8")):
            total += 1
            found = GRAPH.with_code("omop", row["measurement_concept_id"])
            assert found == GRAPH.with_code("loinc", row["measurement_source_value"]) or not found
            for concept in found:
                known[concept.id] += 1
                if concept.type is ConceptType.NUMERIC and row["value_as_number"]:
                    assert GRAPH.find_route(concept.id, {concept.id: row["unit_source_value"]}), (
                        concept.id,
                        row["unit_source_value"],
                    )
    assert known.total() > 0.75 * total
    assert {"systolic_blood_pressure", "creatinine", "hba1c", "total_cholesterol"} <= known.keys()


def test_conditions_and_medications_of_a_fhir_export_are_known() -> None:
    folder = requires.shared("data/fhir_bulk10")
    found: set[str] = set()
    for file, element in (
        ("Condition.000.ndjson", "code"),
        ("MedicationRequest.000.ndjson", "medicationCodeableConcept"),
        ("Procedure.000.ndjson", "code"),
    ):
        for line in (folder / file).read_text().splitlines():
            for coding in json.loads(line).get(element, {}).get("coding", ()):
                system = "rxnorm" if "rxnorm" in coding["system"] else "snomed"
                found.update(c.id for c in GRAPH.with_code(system, coding["code"]))
    wanted = {"diabetes_type_2", "essential_hypertension", "ischaemic_heart_disease", "anaemia",
              "sepsis", "covid_19", "metformin", "ace_inhibitor", "statin", "taxane", "dialysis",
              "kidney_transplant", "coronary_intervention"}  # fmt: skip
    assert wanted <= found


def test_units_of_an_omop_extract_are_those_of_their_spelling() -> None:
    """Both columns of each measurement: the number of the unit, and what the source wrote."""
    folder = requires.shared("data/omop_synthea27nj")
    (archive,) = folder.glob("*.zip")
    compared = 0
    with zipfile.ZipFile(archive) as bundle:
        (name,) = (
            n for n in bundle.namelist() if n.endswith("MEASUREMENT.csv") and "MACOS" not in n
        )
        for row in csv.DictReader(io.TextIOWrapper(bundle.open(name), "utf-8")):
            number, written = int(row["unit_concept_id"]), row["unit_source_value"]
            if number == 0 or written == "pH":
                continue
            stated, spelt = find_unit(OMOP_UNITS[number]), find_unit(written)
            assert stated is not None
            assert spelt is not None
            assert (stated.factor, stated.kinds) == (spelt.factor, spelt.kinds), number
            compared += 1
    assert compared > 5000
    assert all(find_unit(code) for code in OMOP_UNITS.values())


UNCONVERTIBLE = {
    # OHDSI's list also approves a mass without its volume, and a few plain mistakes.
    ("vldl_cholesterol", "mg"), ("non_hdl_cholesterol", "mg"), ("urine_albumin", "mg"),
    ("urine_albumin", "mg/g"), ("uric_acid", "[iU]/L"), ("mchc", "pg"), ("body_weight", "[lbf_av]"),
    ("lymphocyte_share", "10*3/uL"),
}  # fmt: skip


def test_units_that_ohdsi_approves_for_a_measurement_convert() -> None:
    """The data quality dashboard's list of plausible units of 181 measurements."""
    table = requires.shared("data/ohdsi_dqd/dqd_concept.csv")
    refused = set()
    converted = 0
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for concept in GRAPH.with_code("omop", row["conceptId"]):
                for number in filter(None, row["plausibleUnitConceptIds"].split(",")):
                    unit = OMOP_UNITS.get(int(number), "[lbf_av]")
                    if int(number) <= 0 or concept.unit is None:
                        continue
                    if GRAPH.find_path(unit, concept.unit, concept.id):
                        converted += 1
                    else:
                        refused.add((concept.id, unit))
    assert refused == UNCONVERTIBLE
    assert converted > 200
