"""``wardround privacy plan``: a budget for a study that says only epsilon, patients and why."""

from __future__ import annotations

import io
import json
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from commands import Command
from wardround.cli.tradeoff import everybody, shown
from wardround.privacy.statement import Statement
from wardround.study import Study
from wardround.study.document import read_document
from wardround.study.planning import SHARES, complete, propose
from wardround.study.price import check_plan, statement_of

ASKED = """
# Agreed on in March.
[privacy]
epsilon = 1.0    # the board's choice
patients = 700
rationale = "A patient risks little, and the study helps the next ones."

[privacy.training]
clipping_norm = 2.0   # about as long as a row
"""


@pytest.fixture
def study(command: Command, tmp_path: Path) -> Path:
    """The draft that `wardround study new` writes, made private."""
    path = tmp_path / "study.toml"
    command("study", "new", path)
    text = path.read_text().replace('profile = "secure-sum"', 'profile = "private"')
    path.write_text(text.replace('algorithm = "newton"', 'algorithm = "dp-sgd"') + ASKED)
    return path


def test_a_plan_is_shown_and_nothing_is_written(command: Command, study: Path) -> None:
    before = study.read_bytes()
    planned = command("privacy", "plan", study)
    assert planned.code == 0, planned.err
    for words in ("at delta 1e-5", "statistics", "monitoring", "noise of a step", "->", "━"):
        assert words in planned.out
    assert "--write" in planned.err
    assert study.read_bytes() == before


def test_the_proposal_is_written_beside_the_comments(command: Command, study: Path) -> None:
    planned = json.loads(command("privacy", "plan", study, "--write", "--json").out)
    text = study.read_text()
    for kept in ("# Agreed on in March.", "# the board's choice", "# about as long as a row"):
        assert kept in text
    written = tomllib.loads(text)["privacy"]
    assert written["training"]["clipping_norm"] == 2.0
    assert {name: written[name] for name in planned["privacy"]} == planned["privacy"]
    agreed = Study.draft(study)
    check_plan(agreed)
    assert Statement.from_json(planned["statement"]) == statement_of(agreed)
    assert command("study", "check", "--draft", study).code == 0
    # Planned again, it is the same plan.
    assert json.loads(command("privacy", "plan", study, "--json").out) == planned


def test_shares_steps_and_samples_are_options(command: Command, study: Path) -> None:
    options = ("--gate", 0, "--monitoring", 0, "--training", 0.8, "--statistics", 0.1)
    more = ("--evaluation", 0.1, "--steps", 40, "--sampling-rate", 0.25, "--write", "--json")
    planned = json.loads(command("privacy", "plan", study, *options, *more).out)
    assert set(planned["shares"]) == {"statistics", "training", "evaluation"}
    training = tomllib.loads(study.read_text())["privacy"]["training"]
    assert (training["steps"], training["sampling_rate"]) == (40, 0.25)
    wrong = command("privacy", "plan", study, "--training", 0.9)
    assert wrong.code == 1
    assert "WR-STUDY-121" in wrong.err
    assert "1.3" in wrong.err
    nothing = command("privacy", "plan", study, "--statistics", 0.6, "--evaluation", 0.25)
    assert "WR-STUDY-121" in nothing.err
    assert "WR-STUDY-004" not in nothing.err


def test_no_figure_is_cut_on_a_narrow_terminal(study: Path) -> None:
    asked = complete(read_document(study), SHARES)
    proposal = propose(Study.parse(asked, draft=True))
    screen = Console(width=80, file=io.StringIO())
    with screen.capture() as captured:
        screen.print(shown(proposal))
    text = captured.get()
    assert "…" not in text
    assert "->  everybody" in text
    for design in proposal.designs:
        assert f"{everybody(design)} " in text
        assert f" {design.steps} " in text


def test_what_the_plan_would_add_is_named_when_it_is_missing(command: Command, study: Path) -> None:
    told = command("study", "check", "--draft", study)
    assert "WR-STUDY-004 (privacy.statistics)" in told.err
    assert "`wardround privacy plan`" in told.err


def test_a_reservation_that_is_given_up_leaves_the_file(command: Command, study: Path) -> None:
    command("privacy", "plan", study, "--write")
    assert "[privacy.gate]" in study.read_text()
    command("privacy", "plan", study, "--gate", 0, "--write")
    assert "[privacy.gate]" not in study.read_text()
    check_plan(Study.draft(study))


def test_the_trade_off_is_drawn(command: Command, study: Path, tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    assert command("privacy", "plan", study, "--plot", picture).code == 0
    root = ElementTree.fromstring(picture.read_text())
    namespace = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{namespace}desc").text.startswith("epsilon 1 at delta 1e-5")
    rings = [one for one in root.iter(f"{namespace}circle") if one.get("class") == "ring"]
    assert len(rings) == 2
    width, height = (float(one) for one in root.get("viewBox").split()[2:])
    for circle in root.iter(f"{namespace}circle"):
        assert 0 < float(circle.get("cx")) < width
        assert 0 < float(circle.get("cy")) < height
    assert "http" not in picture.read_text().replace("http://www.w3.org/2000/svg", "")
    unwritable = command("privacy", "plan", study, "--plot", tmp_path / "none" / "plan.svg")
    assert unwritable.code == 1


def test_what_can_not_fit_is_refused_with_numbers(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("patients = 700", "patients = 20"))
    refused = command("privacy", "plan", study)
    assert (refused.code, refused.out) == (1, "")
    assert "WR-STUDY-122" in refused.err
    assert "of the longest mean gradient" in refused.err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("epsilon = 1.0 ", "epsilon = 0.0 "), "WR-STUDY-107"),
        (("patients = 700\n", ""), "WR-STUDY-004"),
        (("[privacy]", "[private]"), "WR-STUDY-003"),
        (('algorithm = "dp-sgd"', 'algorithm = "newton"'), "WR-STUDY-115"),
        (('profile = "private"', 'profile = "secure-sum"'), "WR-STUDY-114"),
        (("[privacy.training]", "[privacy]"), "WR-STUDY-002"),
    ],
)
def test_other_mistakes_keep_their_codes(
    command: Command, study: Path, change: tuple[str, str], code: str
) -> None:
    study.write_text(study.read_text().replace(*change))
    refused = command("privacy", "plan", study, "--write")
    assert refused.code == 1
    assert code in refused.err


def test_json_studies_are_planned_but_not_written(
    command: Command, study: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "study.json"
    plain.write_text(json.dumps(tomllib.loads(study.read_text()), default=str))
    assert command("privacy", "plan", plain).code == 0
    refused = command("privacy", "plan", plain, "--write")
    assert refused.code == 1
    assert "WR-CLI-060" in refused.err
