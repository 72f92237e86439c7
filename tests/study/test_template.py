import json
from datetime import date

import pytest

from wardround import WardroundError
from wardround.study import Study
from wardround.study.template import schema_text, template, write_new_study

TODAY = date(2026, 11, 20)


def test_the_template_is_a_valid_draft_that_needs_only_keys(tmp_path):
    study, schema = write_new_study(tmp_path, TODAY)
    draft = Study.draft(study)
    assert draft.is_draft
    assert draft.expires == date(2027, 11, 20)
    assert json.loads(schema.read_text())["$schema"].endswith("2020-12/schema")
    with pytest.raises(WardroundError) as refused:
        Study.load(study)
    lacking = {error.path for error in refused.value.errors}
    assert lacking == {
        "coordinator.url",
        "coordinator.signing_key",
        "coordinator.ca",
        *(f"sites[{number}].signing_key" for number in range(4)),
    }


def test_the_commented_table_of_the_template_is_valid_too(tmp_path):
    text = template(TODAY).replace('algorithm = "newton"', 'algorithm = "fedavg"')
    before, marker, after = text.partition("# [model.fedavg]")
    table, blank, rest = after.partition("\n\n")
    path = tmp_path / "study.toml"
    path.write_text(before + (marker + table).replace("# ", "") + blank + rest)
    assert Study.draft(path).model.fedavg.rounds == 20


def test_editors_find_the_schema_beside_the_study():
    lines = template(TODAY).splitlines()
    assert lines[0] == "#:schema ./study.schema.json"
    assert '"$schema" = "./study.schema.json"' in lines


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    with pytest.raises(WardroundError, match="WR-STUDY-054"):
        write_new_study(path, TODAY)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_another_schema_is_not_overwritten_and_nothing_is_left_behind(tmp_path):
    schema = tmp_path / "study.schema.json"
    schema.write_text("{}")
    with pytest.raises(WardroundError, match="WR-STUDY-054"):
        write_new_study(tmp_path, TODAY)
    assert list(tmp_path.iterdir()) == [schema]


def test_a_second_study_shares_the_schema(tmp_path):
    write_new_study(tmp_path, TODAY)
    second, schema = write_new_study(tmp_path / "other.toml", TODAY)
    assert second.exists()
    assert schema.read_text() == schema_text()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(WardroundError, match="WR-STUDY-055"):
        write_new_study(tmp_path / "missing" / "study.toml", TODAY)
