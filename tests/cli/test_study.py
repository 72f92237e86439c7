"""``wardround study``: writing, checking and reading a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from commands import Command
from studies import KEYS, altered, clinical, document, privacy, private, toml
from wardround.cli.studywords import details, grid, summary
from wardround.study import Study
from wardround.study.price import statement_of
from wardround.trust.keys import SigningKey


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A complete study in a file."""
    path = tmp_path / "study.toml"
    path.write_text(toml(document()))
    return path


def test_new_writes_a_draft_that_checks(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    made = command("study", "new", path)
    assert made.code == 0
    assert made.out.splitlines() == [str(path), str(tmp_path / "study.schema.json")]
    assert f"wardround study check --draft {path}" in made.err
    checked = command("study", "check", "--draft", path)
    assert checked.code == 0
    assert "secure-sum" in checked.out
    assert "No differential privacy" in checked.out


def test_new_never_overwrites(command: Command, tmp_path: Path) -> None:
    assert command("study", "new", tmp_path).code == 0
    before = (tmp_path / "study.toml").read_bytes()
    again = command("study", "new", tmp_path)
    assert (again.code, again.out) == (1, "")
    assert "WR-STUDY-054" in again.err
    assert (tmp_path / "study.toml").read_bytes() == before


def test_new_says_as_json_what_it_wrote(command: Command, tmp_path: Path) -> None:
    made = json.loads(command("study", "new", tmp_path, "--json").out)
    assert made == {
        "study": str(tmp_path / "study.toml"),
        "schema": str(tmp_path / "study.schema.json"),
    }


def test_check_names_every_mistake(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(toml(document(version=0, model={"kind": "cox"})))
    checked = command("study", "check", path)
    assert (checked.code, checked.out) == (1, "")
    assert "WR-STUDY-007 (version)" in checked.err
    assert "WR-STUDY-031 (model.kind)" in checked.err


def test_check_without_draft_names_missing_keys(command: Command, tmp_path: Path) -> None:
    command("study", "new", tmp_path)
    checked = command("study", "check", tmp_path / "study.toml")
    assert checked.code == 1
    assert "sites[3].signing_key" in checked.err


def test_check_refuses_what_can_not_be_kept(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(clinical(expires="2020-01-01")))
    checked = command("study", "check", path, "--json")
    assert checked.code == 1
    found = [error["code"] for error in json.loads(checked.out)["errors"]]
    assert found == ["WR-STUDY-050", "WR-STUDY-052"]


def test_check_refuses_noise_that_is_too_little_for_its_epsilon(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(private(privacy=privacy(epsilon=0.1))))
    checked = command("study", "check", path, "--json")
    assert checked.code == 1
    (error,) = json.loads(checked.out)["errors"]
    assert error["code"] == "WR-STUDY-120"
    assert "0.1" in error["problem"]


def test_a_private_study_is_shown_with_its_statement_and_budget(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(private()))
    shown = command("study", "show", path)
    assert shown.code == 0
    statement = statement_of(Study.load(path)).words()
    assert statement in " ".join(shown.out.split())
    assert "training: 10 times, noise 20" in shown.out
    assert privacy()["rationale"] in " ".join(shown.out.split())
    facts = json.loads(command("study", "show", path, "--json").out)
    assert facts["privacy"]["epsilon"] <= 1.0


def test_check_tells_programs_what_follows(command: Command, study: Path) -> None:
    facts = json.loads(command("study", "check", study, "--json").out)
    assert facts["digest"] == Study.load(study).digest
    assert facts["adversary"] == {
        "sites": 4,
        "corrupt_sites": 1,
        "threshold": 3,
        "minimum_survivors": 3,
    }
    assert facts["study"]["id"] == "breast-mass"
    assert "$schema" not in facts["study"]


def test_show_has_all_that_a_steward_signs(command: Command, study: Path) -> None:
    shown = command("study", "show", study)
    assert shown.code == 0
    flat = " ".join(shown.out.split())
    for key in KEYS.values():
        assert key.public.fingerprint in flat
    for words in ("Which masses are malignant?", "Research on public data.", "2027-12-31"):
        assert words in flat
    assert "No differential privacy" in flat


def test_nothing_is_cut_in_a_narrow_terminal(study: Path) -> None:
    read = Study.load(study)
    terminal = Console(width=80)
    with terminal.capture() as captured:
        terminal.print(grid(summary(read) + details(read)))
    assert "\N{HORIZONTAL ELLIPSIS}" not in captured.get()
    unbroken = "".join(captured.get().split())
    assert read.digest in unbroken
    for key in KEYS.values():
        assert "".join(key.public.fingerprint.split()) in unbroken


def test_show_says_who_chooses_the_ridge_and_the_test_set(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    asked = {
        "data": document()["data"]
        | {"also_required": ["reserved_for_testing"], "held_out": "reserved_for_testing"},
        "model": {"kind": "logistic", "ridge": [0.1, 1, 10], "folds": 5},
        "disclosure": {"opened_numbers": 5000, "minimum_cell": 0},
    }
    path.write_text(toml(document(**asked)))
    flat = " ".join(command("study", "show", path).out.split())
    assert "ridge by 5-fold cross-validation of 0.1, 1, 10" in flat
    assert "patients of whom reserved_for_testing is true" in flat
    assert "NOBODY is kept out for small groups" in flat
    assert "no cell is held back" in flat
    assert "stays out" not in flat


def test_show_prints_exactly_what_is_signed(command: Command, study: Path) -> None:
    shown = command("study", "show", study, "--canonical")
    assert shown.out.encode() == Study.load(study).canonical()


def test_a_draft_has_nothing_to_sign(command: Command, tmp_path: Path) -> None:
    command("study", "new", tmp_path)
    path = tmp_path / "study.toml"
    assert command("study", "show", path).code == 0
    refused = command("study", "show", path, "--canonical")
    assert refused.code == 1
    assert "WR-STUDY-051" in refused.err


def test_markup_in_a_study_is_only_text(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(toml(altered(["title"], "[red]Trial[/red] [/]")))
    assert "[red]Trial[/red] [/]" in command("study", "show", path).out


def test_a_study_that_is_not_there_is_an_error(command: Command, tmp_path: Path) -> None:
    for verb in ("check", "show"):
        refused = command("study", verb, tmp_path / "study.toml")
        assert refused.code == 1
        assert "WR-STUDY-001" in refused.err


def test_show_says_that_each_group_masks_by_itself(command: Command, tmp_path: Path) -> None:
    names = [
        {"name": f"site-{n}", "signing_key": SigningKey.generate().public.text} for n in range(8)
    ]
    path = tmp_path / "study.toml"
    plain = document(sites=names, adversary={"corrupt_sites": 1}, cohort={"minimum_sites": 3})
    path.write_text(toml(plain) + "[cohort.groups]\nnumber = 2\n")
    shown = command("study", "show", path)
    assert shown.code == 0, shown.err
    assert "masks in each group, 4 sites" in " ".join(shown.out.split())
