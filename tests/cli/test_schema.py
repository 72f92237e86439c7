"""``wardround schema``: the published schemas, as files and programs want them."""

from __future__ import annotations

import json

import pytest

from commands import Command
from wardround.study import hospital_schema, policy_schema, study_schema


@pytest.mark.parametrize(
    ("name", "schema"),
    [("study", study_schema), ("policy", policy_schema), ("hospital", hospital_schema)],
)
def test_a_schema_is_one_json_document(command: Command, name: str, schema: object) -> None:
    assert callable(schema)
    for words in (["schema", name], ["schema", name, "--json"]):
        printed = command(*words)
        assert printed.code == 0
        assert printed.err == ""
        assert json.loads(printed.out) == schema()
