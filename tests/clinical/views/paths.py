"""One FHIRPath expression, evaluated by a view of one column."""

from collections.abc import Mapping

from wardround.clinical.views import View


def view_of(path: str, type_name: str | None = None, **more: object) -> View:
    column = {"name": "found", "path": path, "collection": True}
    if type_name is not None:
        column["type"] = type_name
    return View.parse({"resource": "Patient", "select": [{"column": [column]}], **more})


def evaluate(
    path: str,
    resource: Mapping[str, object] | None = None,
    type_name: str | None = None,
    **more: object,
) -> list[object]:
    """All that a path finds in a Patient."""
    patient = {"resourceType": "Patient", **(resource or {})}
    [(found,)] = view_of(path, type_name, **more).rows(patient)
    assert isinstance(found, tuple)
    return list(found)
