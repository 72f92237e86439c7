"""A view is checked whole before it runs, and one resource's failure is its own."""

import json
from decimal import Decimal

import pytest

from wardround.clinical.views import View, ViewColumn
from wardround.errors import WardroundError, WardroundErrors

ID = {"name": "id", "path": "id"}
PATIENT = {"resourceType": "Patient", "id": "secret-1", "name": [{"given": ["a", "b"]}]}


def view(*select: object, **more: object) -> View:
    return View.parse({"resource": "Patient", "select": list(select), **more})


def code_and_place(document: object) -> tuple[str, str | None]:
    with pytest.raises(WardroundError) as caught:
        View.parse(document)  # type: ignore[arg-type]
    return caught.value.code, caught.value.path


def of(*select: object, **more: object) -> dict[str, object]:
    return {"resource": "Patient", "select": list(select), **more}


def test_columns_have_name_type_and_collection_in_order() -> None:
    made = view(
        {"column": [{**ID, "type": "http://hl7.org/fhir/StructureDefinition/id"}]},
        {"forEach": "name", "column": [{"name": "given", "path": "given", "collection": True}]},
    )
    assert made.resource_type == "Patient"
    assert made.columns == (ViewColumn("id", "id", False), ViewColumn("given", None, True))
    assert made.rows(PATIENT) == [("secret-1", ("a", "b"))]
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "view"),
        (of({"column": [ID]}, resource="patient"), "resource"),
        (of({"column": [ID]}, resource=5), "resource"),
        (of({"column": [ID]}, resourceType="Patient"), "resourceType"),
        (of({"column": [ID]}, wehre=[]), "view"),
        (of({"column": [ID]}, where={"path": "true"}), "where"),
        (of({"column": [ID]}, where=[{"path": 1}]), "where[0].path"),
        (of({"column": [ID]}, where=["active"]), "where[0]"),
        (of({"column": [ID], "foreach": "name"}), "select[0]"),
        (of({"column": [ID], "forEach": "name", "forEachOrNull": "name"}), "select[0]"),
        (of({"column": [ID], "repeat": "item"}), "select[0].repeat"),
        (of({"column": [ID], "repeat": []}), "select[0].repeat"),
        (of({"column": [ID], "repeat": [1]}), "select[0].repeat[0]"),
        (of({"column": [ID, ID]}), "select[0].column[1].name"),
        (of({"column": [ID]}, {"column": [ID]}), "select[1].column[0].name"),
        (of({"column": [{"name": "1a", "path": "id"}]}), "select[0].column[0].name"),
        (of({"column": [{"name": "a-b", "path": "id"}]}), "select[0].column[0].name"),
        (of({"column": [{"name": "a"}]}), "select[0].column[0].path"),
        (of({"column": [{**ID, "type": "text"}]}), "select[0].column[0].type"),
        (of({"column": [{**ID, "collection": 1}]}), "select[0].column[0].collection"),
        (
            of({"unionAll": [{"column": [ID]}, {"column": [{**ID, "name": "x"}]}]}),
            "select[0].unionAll[1]",
        ),
        (of({"column": [ID]}, constant=[{"name": "a"}]), "constant[0]"),
        (of({"column": [ID]}, constant=[{"name": "a", "valueInteger": "1"}]), "constant[0]"),
        (of({"column": [ID]}, constant=[{"name": "a", "valueInteger": True}]), "constant[0]"),
        (of({"column": [ID]}, constant=[{"name": "a", "valuePositiveInt": 0}]), "constant[0]"),
        (of({"column": [ID]}, constant=[{"name": "a", "valueDate": "2020-02-30"}]), "constant[0]"),
        (
            of({"column": [ID]}, constant=[{"name": "a", "valueCode": "a", "valueId": "b"}]),
            "constant[0]",
        ),
    ],
)  # fmt: skip
def test_an_invalid_view_is_refused_at_its_place(document: object, place: str) -> None:
    assert code_and_place(document) == ("WR-DATA-030", place)


def test_nesting_without_end_is_refused() -> None:
    select: dict[str, object] = {"column": [ID]}
    for _ in range(900):
        select = {"select": [select]}
    assert code_and_place(of(select))[0] == "WR-DATA-030"
    for path in ("(" * 5000, "-" * 5000, "a" + ".b" * 5000, "a[" * 900, "1" + "+1-1" * 400):
        assert code_and_place(of({"column": [{**ID, "path": path}]}))[0] == "WR-DATA-031"


def test_a_long_list_of_codes_is_no_deep_nesting() -> None:
    path = " or ".join(f"id = 'c{number}'" for number in range(800))
    assert view({"column": [{"name": "listed", "path": path}]}).rows(PATIENT) == [(False,)]


def test_all_problems_are_reported_together() -> None:
    document = of({"column": [{"name": "a", "path": "%x"}, {"name": "b", "path": "f()"}]})
    with pytest.raises(WardroundErrors) as caught:
        View.parse(document)
    assert [error.code for error in caught.value.errors] == ["WR-DATA-033", "WR-DATA-032"]


def test_metadata_and_comments_on_primitives_are_allowed() -> None:
    made = view(
        {"column": [ID]}, url="http://x.example", name="v", _name={"id": "1"}, status="draft"
    )
    assert made.rows(PATIENT) == [("secret-1",)]


@pytest.mark.parametrize(
    ("type_name", "value", "cell"),
    [
        ("boolean", True, True),
        ("integer", 3, 3),
        ("positiveInt", 3, 3),
        ("decimal", 0.1, Decimal("0.1")),
        ("decimal", 3, Decimal(3)),
        ("decimal", Decimal("1.10"), Decimal("1.10")),
        ("string", "x", "x"),
        ("date", "1970", "1970"),
        ("Period", {"start": "1970"}, {"start": "1970"}),
        (None, 0.1, Decimal("0.1")),
        (None, False, False),
    ],
)
def test_a_cell_has_its_columns_type(type_name: str | None, value: object, cell: object) -> None:
    column = {"name": "x", "path": "x"} | ({"type": type_name} if type_name else {})
    [(found,)] = view({"column": [column]}).rows({**PATIENT, "x": value})
    assert (found, type(found)) == (cell, type(cell))


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("boolean", "true"), ("boolean", 1), ("integer", True), ("integer", 1.0), ("integer", "1"),
        ("decimal", "1"), ("decimal", True), ("decimal", float("nan")), ("string", 1),
        ("string", {"a": "secret-2"}), ("date", 1970),
    ],
)  # fmt: skip
def test_another_type_fails_without_showing_the_value(type_name: str, value: object) -> None:
    made = view({"column": [ID, {"name": "x", "path": "x", "type": type_name}]})
    with pytest.raises(WardroundError) as caught:
        made.rows({**PATIENT, "x": value})
    assert (caught.value.code, caught.value.path) == ("WR-DATA-036", "select[0].column[1].path")
    assert "secret" not in str(caught.value)
    assert made.rows(PATIENT) == [("secret-1", None)]


def test_the_null_row_is_null_and_first() -> None:
    made = view(
        {
            "forEachOrNull": "contact",
            "column": [
                {"name": "literal", "path": "'x'"},
                {"name": "index", "path": "%rowIndex"},
            ],
            "select": [{"forEach": "telecom", "column": [{"name": "value", "path": "value"}]}],
        }
    )
    assert made.rows(PATIENT) == [(None, 0, None)]


@pytest.mark.parametrize(
    "select",
    [
        {"repeat": ["$this"], "column": [ID]},
        {"repeat": ["'a' | 'b'"], "column": [ID]},
        {"repeat": ["%resource"], "column": [ID]},
        {"forEach": "name" + ".select(%resource.name | 1 | 2 | 3 | 4)" * 12, "column": [ID]},
        {"column": [{**ID, "path": "'ab'" + ".select($this & $this)" * 40}]},
        {"column": [{**ID, "path": "'ab'" + ".replace('', 'abcdefghij')" * 40}]},
    ],
)
def test_what_would_never_end_fails_soon(select: dict[str, object]) -> None:
    many = {**PATIENT, "name": [{"given": [str(n)]} for n in range(10)]}
    made = view(select)
    with pytest.raises(WardroundError) as caught:
        made.rows(many)
    assert caught.value.code == "WR-DATA-037"


def test_a_number_that_overflows_is_no_result() -> None:
    for number in ("2", "2.5"):
        path = number + ".select($this * $this)" * 40 + ".toString()"
        assert view({"column": [{**ID, "path": path}]}).rows(PATIENT) == [(None,)]


def test_rows_that_multiply_fail_before_they_fill_the_memory() -> None:
    selects = [
        {"forEach": "item", "column": [{"name": f"c{number}", "path": "$this"}]}
        for number in range(8)
    ]
    with pytest.raises(WardroundError) as caught:
        view(*selects).rows({**PATIENT, "item": list(range(50))})
    assert caught.value.code == "WR-DATA-037"


def test_a_large_resource_is_no_endless_one() -> None:
    names = [{"family": f"f{number}", "given": ["a", f"g{number}"]} for number in range(3000)]
    path = "(name.given | name.family.where($this != 'f0')).count()"
    [(found,)] = view({"column": [{**ID, "path": path}]}).rows({**PATIENT, "name": names})
    assert found == 1 + 3000 + 2999


def test_a_deep_resource_fails_alone_or_is_read() -> None:
    deep: dict[str, object] = {"id": "0"}
    for number in range(5000):
        deep = {"id": str(number), "item": [deep]}
    made = view({"repeat": ["item"], "column": [ID]})
    assert len(made.rows({**PATIENT, "item": [deep]})) == 5001
    with pytest.raises(WardroundError) as caught:
        other = json.loads(json.dumps(PATIENT))
        twin = view({"column": [{**ID, "path": "item[0] = item[1]"}]})
        again: dict[str, object] = {"id": "0"}
        for number in range(5000):
            again = {"id": str(number), "item": [again]}
        twin.rows({**other, "item": [deep, again]})
    assert caught.value.code == "WR-DATA-037"


def test_a_view_is_loaded_from_its_file(tmp_path) -> None:
    path = tmp_path / "view.json"
    path.write_text(json.dumps(of({"column": [ID]})), encoding="utf-8")
    assert View.load(path).rows(PATIENT) == [("secret-1",)]
    path.write_text('{"resource": "secret', encoding="utf-8")
    with pytest.raises(WardroundError) as caught:
        View.load(path)
    assert (caught.value.code, caught.value.path) == ("WR-DATA-038", "view.json")
    assert "secret" not in str(caught.value)
    with pytest.raises(WardroundError, match="WR-DATA-010"):
        View.load(tmp_path / "absent.json")
