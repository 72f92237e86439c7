"""Reading FHIR: the fast and the careful way agree on everything, and memory stays where it is."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import requires
from hospital_forms import FIELDS, GRAPH, TODAY, Form, parse
from wardround.clinical import Mapping
from wardround.clinical.facts import REASONS, Extract
from wardround.clinical.fhir import Body, FileStream, StreamRead
from wardround.clinical.fields import FhirField
from wardround.clinical.sources.fhir import read_resources
from wardround.clinical.warehouse import Warehouse
from wardround.errors import WardroundError

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


CODES = ("29463-7", "718-7", "15074-8", "2160-0", "2951-2", "1-1")


class OneByOne:
    """A file's lines handed over one at a time, so that none goes the fast way."""

    def __init__(self, stream: FileStream) -> None:
        self._stream = stream
        self.name = stream.name
        self.refuse = stream.refuse
        self.where = stream.where

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        return iter(self._stream)

    @property
    def read(self) -> StreamRead:
        return self._stream.read


def told(extract: Extract) -> dict[str, Any]:
    """All that an extract says, in words that can be compared."""
    facts = {
        concept: [
            (
                extract.patients[patient],
                value,
                REASONS[code - 1].value if code else None,
                one.unit_names[unit] if unit >= 0 else None,
                None if np.isnan(day) else day,
                extract.where(place),
            )
            for patient, value, code, unit, day, place in zip(
                one.patients.tolist(),
                one.values.tolist(),
                one.reasons.tolist(),
                one.units.tolist(),
                one.days.tolist(),
                one.places.tolist(),
                strict=True,
            )
        ]
        for concept, one in extract.facts.items()
    }
    return {
        "facts": facts,
        "patients": list(extract.patients),
        "first": [extract.where(place) for place in extract.first_places.tolist()],
        "set_aside": extract.set_aside,
        "unreadable": extract.unreadable,
        "rows": extract.read.rows,
        "parts": extract.read.parts,
        "identifiers": extract.identifiers,
    }


def outcome(folder: Path, content: bytes, *, fast: bool) -> object:
    (folder / "all.ndjson").write_bytes(content)
    stream = FileStream("ehr", folder, ("all.ndjson",))
    try:
        return told(
            read_resources(
                stream if fast else OneByOne(stream),
                FIELDS,
                GRAPH,
                today=TODAY.toordinal(),
                patient_identifier="urn:mrn",
            )
        )
    except WardroundError as error:
        return error.code, error.path


def both(folder: Path, content: bytes) -> object:
    """What both ways make of a file, which must be the same."""
    fast, careful = (outcome(folder, content, fast=way) for way in (True, False))
    assert fast == careful
    return fast


def observation(code: str = "29463-7", value: object = 71.5, **more: object) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": "Patient/Zoë"},
        "effectiveDateTime": "2020-05-01T10:00:00+02:00",
        "valueQuantity": {"value": value, "unit": "kg", "system": UCUM, "code": "kg"},
    } | more


PATIENT = {
    "resourceType": "Patient",
    "id": "Zoë",
    "birthDate": "1950-01-01",
    "identifier": [{"system": "urn:mrn", "value": "77"}],
}
GOOD = json.dumps(observation()).encode()

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**64, 10**30, -(10**400), 1e308, 5e-324, 0.1, -0.0, "<", ""])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*CODES, LOINC, UCUM, "final", "Patient/1", "Patient/1/_history/2", "kg"])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "code", "system", "coding", "reference", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
PATHS = (
    ("resourceType",),
    ("status",),
    ("code",),
    ("code", "coding"),
    ("code", "coding", 0),
    ("code", "coding", 0, "system"),
    ("code", "coding", 0, "code"),
    ("subject",),
    ("subject", "reference"),
    ("valueQuantity",),
    ("valueQuantity", "value"),
    ("valueQuantity", "unit"),
    ("valueQuantity", "system"),
    ("valueQuantity", "code"),
    ("valueQuantity", "comparator"),
    ("valueInteger",),
    ("effectiveDateTime",),
    ("note",),
    ("id",),
    ("birthDate",),
    ("identifier",),
)


@st.composite
def resources(draw: st.DrawFn) -> str:
    base = draw(
        st.sampled_from(
            [PATIENT, {"resourceType": "Encounter"}, *(observation(code) for code in CODES)]
        )
    )
    resource = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(PATHS))
        holder: Any = resource
        for step in path[:-1]:
            try:
                holder = holder[step]
            except (KeyError, IndexError, TypeError):
                holder = None
        listed = isinstance(holder, list) and isinstance(path[-1], int) and len(holder) > path[-1]
        if isinstance(holder, dict) or listed:
            if listed or draw(st.booleans()) or path[-1] not in holder:
                holder[path[-1]] = draw(JSON_VALUES)
            elif isinstance(holder, dict):
                del holder[path[-1]]
    text = json.dumps(resource, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:  # the same key twice: the later counts
        text = text[:-1] + ', "status": "final", "valueQuantity": {"value": 3, "code": "g"}}'
    return text


LINES = st.one_of(
    resources(),
    resources(),
    resources(),
    st.sampled_from(
        [
            "",
            " ",
            "\r",
            "[]",
            "{}",
            "null",
            "{",
            '{"resourceType":"Observation"',
            '"n": 1}',
            '{"resourceType":"Observation","n":1e400}',
            '{"resourceType":"Observation","n":"\\ud800"}',
            '{"resourceType":"Observation","n":"\x01"}',
            '{"resourceType":"Observation"}{"resourceType":"Observation"}',
            '{"resourceType":"Observation","n":' + "[" * 1500 + "]" * 1500 + "}",
        ]
    ),
)


@example(lines=[json.dumps(PATIENT), "", "{}{}"], ends="\n", start="", last=True, damage=None)
@settings(max_examples=600, suppress_health_check=[*HealthCheck])
@given(
    lines=st.lists(LINES, min_size=1, max_size=8),
    ends=st.sampled_from(["\n", "\r\n", " \n"]),
    start=st.sampled_from(["", "", "\ufeff"]),
    last=st.booleans(),
    damage=st.none() | st.tuples(st.integers(0, 4000), st.binary(max_size=3)),
)
def test_the_fast_and_the_careful_way_agree(
    tmp_path: Path,
    lines: list[str],
    ends: str,
    start: str,
    last: bool,
    damage: tuple[int, bytes] | None,
) -> None:
    text = start + ends.join(lines) + (ends if last else "")
    content = text.encode("utf-8", "surrogatepass")
    if damage is not None:
        at, instead = damage
        content = content[:at] + instead + content[at + len(instead) :]
    both(tmp_path, content)


WHOLE = GOOD.decode()


@pytest.mark.parametrize(
    "text",
    [
        # two resources on a line, and a blank one to make up the number
        WHOLE + WHOLE + "\n\n",
        WHOLE + " " + WHOLE + "\n\n",
        WHOLE.replace("{", "{\n", 1) + "\n" + WHOLE + WHOLE + "\n",
        WHOLE + "\r" + WHOLE + "\n\r\n",
        WHOLE.replace("71.5", "9" * 400) + "\n",
        WHOLE.replace("71.5", "1e400") + "\n",
        WHOLE.replace("71.5", "18446744073709551617") + "\n",
        WHOLE.replace('"unit": "kg"', '"unit": 1e400') + "\n",
        WHOLE.replace('"unit"', '"comparator": null, "unit"') + "\n",
        WHOLE.replace('"unit"', '"comparator": "<", "unit"') + "\n",
        WHOLE.replace("}}", '}, "note": ' + "[" * 3000 + "]" * 3000 + "}") + "\n",
        WHOLE.replace('"unit"', '"value": 3, "unit"') + "\n",
        WHOLE.replace("final", "preliminary") + "\n" + WHOLE + "\n",
        WHOLE.replace("Patient/Zo", "Group/Zo") + "\n" + WHOLE + "\n",
        "\ufeff" + WHOLE + "\n",
        "\ufeff",
        "\n\n\n",
        WHOLE + "\n" + WHOLE[:-9],
        WHOLE + "\n" + WHOLE,
    ],
)
def test_what_might_mislead_the_fast_way(tmp_path: Path, text: str) -> None:
    both(tmp_path, text.encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("71.5", [(71.5, None)]),
        ("9" * 400, [(0.0, "unreadable_number")]),
        ("-1e400", [(0.0, "unreadable_number")]),
        ("1e400", [(0.0, "unreadable_number")]),
        ("1e-400", [(0.0, None)]),
        ("true", []),
        ("null", []),
    ],
)
def test_numbers_beyond_a_float(
    tmp_path: Path, value: str, expected: list[tuple[float, str | None]]
) -> None:
    found: Any = both(tmp_path, WHOLE.replace("71.5", value).encode() + b"\n")
    assert [(fact[1], fact[2]) for fact in found["facts"]["body_weight"]] == expected


def test_blank_lines_are_not_counted_as_records(tmp_path: Path) -> None:
    found: Any = both(tmp_path, b"\n".join([GOOD, b"", b" \r", GOOD, b""]))
    assert found["rows"] == 2


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_where_blocks_end_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    lines = [json.dumps(observation(CODES[n % 6], 50 + n)) for n in range(60)]
    lines[7] = "broken"
    content = "\n".join(lines).encode()
    whole = both(tmp_path, content)
    monkeypatch.setattr("wardround.clinical.lines._BUFFER_BYTES", piece)
    assert both(tmp_path, content) == whole


def told_of(text: str, *resources: dict[str, Any]) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        lines = "".join(json.dumps(one) + "\n" for one in resources)
        (folder / "all.ndjson").write_text(lines, "utf-8")
        mapping = parse(
            'version = 1\n[[sources]]\nname = "ehr"\nkind = "fhir"\nfiles = ["all.ndjson"]\n'
            f"[[sources.fields]]\n{text}"
        )
        (source,) = mapping.sources
        return told(
            read_resources(
                FileStream("ehr", folder, ("all.ndjson",)),
                [one for one in source.fields if isinstance(one, FhirField)],
                GRAPH,
                today=TODAY.toordinal(),
            )
        )["facts"]

    return read


WEIGHT = 'concept = "body_weight"\nsystem = "http://loinc.org"\ncode = "29463-7"\n'


def test_a_truth_value_is_no_whole_number(tmp_path: Path) -> None:
    one = observation()
    del one["valueQuantity"]
    assert told_of(WEIGHT, one | {"valueInteger": True})(tmp_path) == {"body_weight": []}
    ((_, value, reason, unit, *_),) = told_of(WEIGHT, one | {"valueInteger": 71})(tmp_path)[
        "body_weight"
    ]
    assert (value, reason, unit) == (71.0, None, "1")
    ((*_, unit, _, _),) = told_of(WEIGHT + 'unit = "kg"', one | {"valueInteger": 71})(tmp_path)[
        "body_weight"
    ]
    assert unit is None  # so that the steward's own counts


def test_a_unit_of_another_system_is_not_replaced_by_the_stewards(tmp_path: Path) -> None:
    quantity = {"value": 150, "system": "http://local.example", "code": "lb"}
    found = told_of(WEIGHT + 'unit = "kg"', observation() | {"valueQuantity": quantity})(tmp_path)
    assert [fact[2] for fact in found["body_weight"]] == ["unknown_unit"]


def test_a_value_of_the_future_is_not_the_latest(tmp_path: Path) -> None:
    late = observation(effectiveDateTime="2031-01-01")
    found = told_of(WEIGHT + 'choose = "latest"', late, observation())(tmp_path)
    assert [fact[4] is None for fact in found["body_weight"]] == [True, False]


def test_two_identifiers_of_one_patient_are_none(tmp_path: Path) -> None:
    other = PATIENT | {"identifier": [{"system": "urn:mrn", "value": "78"}]}
    bare = PATIENT | {"identifier": []}

    def identifiers(*patients: dict[str, Any]) -> Any:
        lines = "".join(json.dumps(one) + "\n" for one in patients)
        found: Any = both(tmp_path, lines.encode())
        return found["identifiers"]

    assert identifiers(PATIENT, PATIENT, bare) == {"Zoë": "77"}
    assert identifiers(bare, PATIENT) == {"Zoë": "77"}
    assert identifiers(PATIENT, other) == {"Zoë": None}
    assert identifiers(bare) == {}


def peak_bytes(folder: Path, repeat: int) -> int:
    """The most memory that reading a file of other resources takes at once."""
    unmapped = json.dumps(observation("1-1", note="x" * 200)) + "\n"
    encounter = json.dumps({"resourceType": "Encounter", "id": "e", "text": "y" * 300}) + "\n"
    with (folder / "all.ndjson").open("w") as file:
        file.write(json.dumps(PATIENT) + "\n")
        for _ in range(repeat):
            file.write((unmapped + encounter) * 500)
    tracemalloc.start()
    try:
        read_resources(
            FileStream("ehr", folder, ("all.ndjson",)), FIELDS, GRAPH, today=TODAY.toordinal()
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_resources_that_nothing_maps(tmp_path: Path) -> None:
    small, large = peak_bytes(tmp_path, 20), peak_bytes(tmp_path, 200)
    assert large < small * 1.2


@pytest.mark.parametrize(
    ("kind", "status", "counts"),
    [
        *(("MedicationRequest", one, 1) for one in ("active", "on-hold", "completed", "stopped")),
        *(
            ("MedicationRequest", one, 0)
            for one in ("cancelled", "draft", "entered-in-error", "not-done")
        ),
        ("Procedure", "completed", 1),
        *(("Procedure", one, 0) for one in ("not-done", "stopped", "entered-in-error")),
    ],
)
def test_what_was_taken_until_it_was_stopped_was_taken(
    tmp_path: Path, kind: str, status: str, counts: int
) -> None:
    assert len(there(tmp_path, kind, status=status)) == counts


def test_an_order_not_to_give_a_drug_is_no_use_of_it(tmp_path: Path) -> None:
    assert there(tmp_path, "MedicationRequest", status="active", doNotPerform=True) == []
    assert len(there(tmp_path, "MedicationRequest", status="active", doNotPerform=False)) == 1


def there(folder: Path, kind: str, **more: object) -> Any:
    """The facts of one resource that says that something is there."""
    element = "medication" if kind == "MedicationRequest" else "code"
    concept = "metformin" if kind == "MedicationRequest" else "hypertension"
    code = {"coding": [{"system": "urn:codes", "code": "860975"}]}
    one = {
        "resourceType": kind,
        "id": "1",
        "subject": {"reference": "Patient/1"},
        "medicationCodeableConcept" if kind == "MedicationRequest" else "code": code,
    }
    field = f'element = "{kind}.{element}"\nsystem = "urn:codes"\ncode = "860975"\n'
    return told_of(f'concept = "{concept}"\n{field}', one | more)(folder)[concept]


def test_the_diagnoses_of_a_real_export_are_read(tmp_path: Path) -> None:
    folder = requires.shared("data/fhir_bulk10")
    mapping = parse(
        """version = 1
[[sources]]
name = "ehr"
kind = "fhir"
files = ["Patient.000.ndjson", "Condition.000.ndjson"]
[[sources.fields]]
concept = "hypertension"
element = "Condition.code"
system = "http://snomed.info/sct"
code = "59621000"
absent = false
[[sources.fields]]
concept = "birth_date"
element = "Patient.birthDate"
[[sources.fields]]
concept = "sex"
element = "Patient.gender"
coding = "fhir"
"""
    )
    table = Form(mapping, folder).table(("hypertension", "birth_date", "sex"))
    patients = [
        json.loads(line) for line in (folder / "Patient.000.ndjson").read_text().splitlines()
    ]
    conditions = [
        json.loads(line) for line in (folder / "Condition.000.ndjson").read_text().splitlines()
    ]
    diagnosed = {
        one["subject"]["reference"]
        for one in conditions
        if one["code"]["coding"][0]["code"] == "59621000"
    }
    assert table.patient_ids == tuple(sorted(one["id"] for one in patients))
    assert table.columns["hypertension"].sum() == len(diagnosed) > 0
    expected = {one["id"]: float(one["gender"] == "male") for one in patients}
    assert table.columns["sex"].tolist() == [expected[one] for one in table.patient_ids]


def test_a_plain_block_remembers_where_each_patient_first_occurs(tmp_path: Path) -> None:
    def plain(patient: str, code: str, value: float) -> str:
        quantity = {"value": value, "system": "http://unitsofmeasure.org", "code": "kg"}
        return json.dumps(
            {
                "resourceType": "Observation",
                "status": "final",
                "code": {"coding": [{"system": "s", "code": code}]},
                "subject": {"reference": f"Patient/{patient}"},
                "valueQuantity": quantity,
            }
        )

    lines = [
        plain("a", "weight", 70.0),
        plain("a", "other", 1.0),
        plain("b", "other", 1.0),
        plain("a", "ideal", 65.0),
        plain("b", "weight", 80.0),
    ]
    (tmp_path / "o.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = 'version = 1\n[[sources]]\nname = "ehr"\nkind = "fhir"\nfiles = ["o.ndjson"]\n'
    for concept, code in (("body_weight", "weight"), ("body_height", "ideal")):
        text += f'[[sources.fields]]\nconcept = "{concept}"\nsystem = "s"\ncode = "{code}"\n'
    mapping = Mapping.parse(text.encode(), GRAPH)
    warehouse = Warehouse(mapping, tmp_path, GRAPH, {"body_weight", "body_height"})
    warehouse.refresh()
    linked = warehouse.link()
    assert linked.patients == ("a", "b")
    assert [linked.first_seen(number) for number in (0, 1)] == ["o.ndjson:1", "o.ndjson:5"]
