"""From sources to the feature table: FHIR lines, database rows, a whole hospital.

The FHIR file is made up in the form that Synthea and US Core give Observations: category, codings
with display, subject, encounter, dates and a UCUM quantity, about 700 bytes. The peer is orjson
parsing every line of it and doing nothing else, in the same run and the same process. Memory is
what the process holds at most while it reads a file twice as long.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import orjson

from benchmarks._sql_rows import FIGURE, sql_rows_per_s
from benchmarks.report import Cell, Report
from wardround.clinical import ConceptGraph, FeatureTable, Mapping, harmonise

RESOURCES = 200_000
PATIENTS = 100_000
FEATURES = 30
REPEATS = 3
GRAPH = ConceptGraph.load()

_LABS = (
    ("sodium", "2951-2", "mmol/L", 140.0),
    ("potassium", "2823-3", "mmol/L", 4.2),
    ("hemoglobin", "718-7", "g/dL", 13.5),
    ("platelets", "777-3", "10*3/uL", 250.0),
)


def run() -> Report:
    """FHIR against orjson, SQL against a plain cursor, and 100k patients x 30 features."""
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fhir = _fhir(folder)
        sql_rows = sql_rows_per_s()
        seconds, matrix = _harmonise(folder)
    rows.append({"what": "FHIR lines to a feature table", **fhir})
    rows += [dict(row) for row in sql_rows]
    rows.append(
        {"what": f"{PATIENTS:,} patients x {FEATURES} features from CSV", "s": seconds, **matrix}
    )
    figures: dict[str, float] = {
        "fhir_resources_per_s": fhir["per_s"],
        "ratio_to_orjson": fhir["ratio_to_orjson"],
        "memory_mb_per_million_resources": fhir["mb_per_million"],
        "sql_rows_per_s": next(
            float(str(row["rows_per_s"])) for row in sql_rows if row["way"] == FIGURE
        ),
        "harmonise_100k_s": seconds,
    }
    notes = [
        "Aims: fhir_resources_per_s 100,000, ratio_to_orjson at most 2.5, sql_rows_per_s "
        "1,000,000, harmonise_100k_s at most 20.",
    ]
    return Report(rows, figures, notes)


def _fhir(folder: Path) -> dict[str, float]:
    path = folder / "Observation.ndjson"
    _write_observations(path, RESOURCES)
    lines = path.read_bytes().splitlines()
    plain, ours = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for line in lines:
            orjson.loads(line)
        plain.append(time.perf_counter() - started)
        started = time.perf_counter()
        table = _table(folder, path.name)
        ours.append(time.perf_counter() - started)
    assert len(table) == RESOURCES // len(_LABS), "every patient is complete"
    once, twice = (_peak_mb(folder, copies) for copies in (1, 5))
    return {
        "per_s": RESOURCES / median(ours),
        "ratio_to_orjson": median(ours) / median(plain),
        "mb_per_million": (twice - once) / (4 * RESOURCES) * 1e6,
    }


def _table(folder: Path, file: str) -> FeatureTable:
    fields = "".join(
        f'[[sources.fields]]\nconcept = "{concept}"\nsystem = "http://loinc.org"\ncode = "{code}"\n'
        for concept, code, _, _ in _LABS
    )
    text = f'version = 1\n[[sources]]\nname = "ehr"\nkind = "fhir"\nfiles = ["{file}"]\n{fields}'
    mapping = Mapping.parse(text.encode(), GRAPH)
    names = [concept for concept, *_ in _LABS]
    return harmonise(mapping, folder, GRAPH, names[1:], names[0], extra=())


def _write_observations(path: Path, count: int) -> None:
    noise = np.random.default_rng(5).normal(1.0, 0.05, count)
    with path.open("wb") as file:
        for number in range(count):
            patient, lab = divmod(number, len(_LABS))
            _, code, unit, typical = _LABS[lab]
            file.write(
                orjson.dumps(_observation(number, patient, code, unit, typical * noise[number]))
            )
            file.write(b"\n")


def _observation(number: int, patient: int, code: str, unit: str, value: float) -> object:
    quantity = {
        "value": round(float(value), 2),
        "unit": unit,
        "system": "http://unitsofmeasure.org",
        "code": unit,
    }
    coding = {"system": "http://loinc.org", "code": code, "display": "A laboratory value"}
    category = {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "laboratory",
        "display": "Laboratory",
    }
    return {
        "resourceType": "Observation",
        "id": f"{number:08d}-aaaa-bbbb-cccc-dddddddddddd",
        "meta": {"profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-lab"]},
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [coding], "text": "A laboratory value"},
        "subject": {"reference": f"Patient/{patient:08d}-1111-2222-3333-444444444444"},
        "encounter": {"reference": f"Encounter/{number:08d}-5555-6666-7777-888888888888"},
        "effectiveDateTime": "2021-03-09T10:00:00-05:00",
        "issued": "2021-03-09T10:00:00.000-05:00",
        "valueQuantity": quantity,
    }


def _peak_mb(folder: Path, copies: int) -> float:
    """The peak memory of a process that reads the file ``copies`` times over, in MB.

    The same patients again and again: the feature table stays, only the file grows.
    """
    script = (
        "import sys; from pathlib import Path; from benchmarks.ingest import read_copies; "
        "read_copies(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(copies)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def read_copies(folder: Path, copies: int) -> None:
    """Read unmapped copies beside the mapped file, and print the peak in MB."""
    path = folder / "Observation.ndjson"
    many = folder / f"many-{copies}.ndjson"
    with many.open("wb") as file:
        file.write(path.read_bytes())
        other = path.read_bytes().replace(b'"http://loinc.org"', b'"http://other.example"')
        for _ in range(copies - 1):
            file.write(other)
    _table(folder, many.name)
    many.unlink()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _harmonise(folder: Path) -> tuple[float, dict[str, Cell]]:
    numeric = [c for c in GRAPH.concepts if c.unit is not None and c.plausible is not None]
    chosen = numeric[:FEATURES]
    rng = np.random.default_rng(6)
    columns = [
        np.char.mod("%.2f", rng.uniform(*(c.plausible or (0.0, 1.0)), PATIENTS)) for c in chosen
    ]
    ids = np.char.mod("p%06d", np.arange(PATIENTS))
    lines = [",".join(row) for row in np.column_stack([ids, *columns]).tolist()]
    header = ",".join(["id", *(c.id for c in chosen)])
    (folder / "wide.csv").write_text("\n".join([header, *lines]) + "\n")
    fields = "".join(
        f'[[sources.fields]]\nconcept = "{c.id}"\ncolumn = "{c.id}"\nunit = "{c.unit}"\n'
        for c in chosen
    )
    text = (
        'version = 1\n[[sources]]\nname = "wide"\nkind = "csv"\nfiles = ["wide.csv"]\n'
        f'patient = "id"\n{fields}'
    )
    mapping = Mapping.parse(text.encode(), GRAPH)
    names = [c.id for c in chosen]
    started = time.perf_counter()
    table = harmonise(mapping, folder, GRAPH, names[1:], names[0], extra=())
    seconds = time.perf_counter() - started
    return seconds, {"used": table.usage}
