"""The pages: generated ones are current, links lead somewhere, commands shown exist and work."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import requires
from commands import Command
from studies import document
from wardround.cli.tradeoff import shown as shown_plan
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.mapping import Mapping
from wardround.governance.summary import Summary
from wardround.secagg.adversary import MINIMUM_SITES, Adversary, default_corrupt
from wardround.secagg.graph import choose
from wardround.study import Study
from wardround.study.hospital import HospitalPolicy

ROOT = requires.ROOT
_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)

GENERATED = generate.reference()
COMMANDS = {path: generate.help_text(path) for path in generate.command_paths()}
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - GENERATED.keys())


def name(path: Path | tuple[str, ...]) -> str:
    return " ".join(path) if isinstance(path, tuple) else path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", GENERATED, ids=name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.exists(), "make docs"
    assert path.read_text(encoding="utf-8") == GENERATED[path], "make docs"


@pytest.mark.parametrize("path", [one for one in GENERATED if one.suffix == ".md"], ids=name)
def test_every_row_of_a_generated_table_is_one_whole_line(path: Path) -> None:
    text = re.sub(r"```.*?```", "", GENERATED[path], flags=re.S)
    blocks = [block.splitlines() for block in text.split("\n\n") if "\n|" in f"\n{block}"]
    assert blocks or path.name == "cli.md"
    for line in (line for block in blocks for line in block):
        assert line.startswith("|") and line.endswith("|"), line


def test_the_page_of_the_commands_lists_every_exit_code_that_one_of_them_names() -> None:
    named = set(re.findall(r"exit\s+code\s+is\s+(\d)", " ".join(COMMANDS.values())))
    listed = generate.commands_page().partition("Exit codes:")[2].partition("```")[0]
    assert "3" in named
    assert {code for code in named if not re.search(rf"\b{code} [a-z]", listed)} == set()


@pytest.mark.parametrize("path", COMMANDS, ids=name)
def test_every_command_and_option_says_what_it_does(path: tuple[str, ...]) -> None:
    usage, _, rest = COMMANDS[path].partition("\n\n")
    assert usage.startswith("Usage: wardround")
    assert re.match(r"  [A-Z].+", rest), "no help text"
    for line in rest.splitlines():
        # An option without help ends where its description would begin.
        assert not re.fullmatch(r"  (-\w, )?--[\w-]+( <\w+>)?", line), line


def links(path: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    yield from re.findall(r"\]\(([^)#\s]+)", text)


@pytest.mark.parametrize("path", [*PAGES, *GENERATED], ids=name)
def test_links_within_the_house_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if "://" not in link:
            assert (path.parent / link).exists(), link


def shown(path: Path) -> Iterator[str]:
    """The commands in a page's ``console`` blocks, a continued line as one."""
    for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:].removesuffix("&").strip()


def check_command(command: str) -> None:
    """Fail unless the command and each of its options exist."""
    words = shlex.split(command, comments=True)
    if words[:1] != ["wardround"]:
        return
    path = max(
        (path for path in COMMANDS if tuple(words[1 : 1 + len(path)]) == path), key=len, default=()
    )
    assert path or words[1:2] == ["--version"], f"no such command: {command}"
    for word in words[1 + len(path) :]:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word)}\b", COMMANDS[path]), f"{word} in: {command}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_shown_exist(path: Path) -> None:
    for command in shown(path):
        check_command(command)
    inline = re.findall(r"`(wardround [a-z][^`]*)`", path.read_text(encoding="utf-8"))
    for command in inline:
        check_command(command)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_make_targets_shown_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for line in re.findall(r"`make ([a-z -]+)`", path.read_text(encoding="utf-8")):
        assert set(line.split()) <= targets


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_error_codes_shown_exist(path: Path) -> None:
    raised = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    for code in re.findall(r"WR-[A-Z]+-\d{3}", path.read_text(encoding="utf-8")):
        assert f'"{code}"' in raised


def toml_blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return re.findall(r"```toml\n(.*?)```", text, flags=re.S)


@pytest.mark.parametrize("text", toml_blocks("write-a-mapping.md"))
def test_mappings_shown_are_valid(text: str) -> None:
    Mapping.parse(text.encode(), ConceptGraph.load())


LIMITS = ("set-a-hospitals-limits.md", "keep-the-privacy-ledger.md", "hospital-networks.md")


@pytest.mark.parametrize("text", [one for page in LIMITS for one in toml_blocks(page)])
def test_hospital_limits_shown_are_valid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hospital.toml"
    path.write_text(text)
    HospitalPolicy.load(path)


def test_studies_shown_are_valid() -> None:
    parts = [tomllib.loads(block) for block in toml_blocks("choose-a-ridge.md")]
    Study.parse(document(**parts[0]))
    Study.parse(document(**parts[1]))


def test_the_plan_shown_is_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "how-to" / "plan-privacy.md").read_text(encoding="utf-8")
    (shown_here,) = re.findall(r"```text\n(.*?)```", text, flags=re.S)
    console = Console(file=io.StringIO(), width=1000)
    console.print(shown_plan(generate.example_plan()), markup=False)
    printed = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert [line for line in shown_here.splitlines() if line not in printed] == []


def test_the_commands_that_plan_run(command: Command, tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "plan-privacy.md"
    path = tmp_path / "study.toml"
    command("study", "new", path)
    text = path.read_text().replace('profile = "secure-sum"', 'profile = "private"')
    asked = toml_blocks("plan-privacy.md")[0]
    path.write_text(text.replace('algorithm = "newton"', 'algorithm = "dp-sgd"') + asked)
    for line in shown(page):
        words = [
            str(tmp_path / word) if word.endswith((".toml", ".svg")) else word
            for word in shlex.split(line)[1:]
        ]
        assert command(*words).code == 0, line


def test_thresholds_shown_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "explanation" / "secure-sum.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, flags=re.M)
    assert rows
    for sites, *stated in ([int(cell) for cell in row] for row in rows):
        adversary = Adversary(sites, default_corrupt(sites))
        survivors = max(adversary.minimum_survivors, MINIMUM_SITES)
        assert stated == [adversary.corrupt, adversary.threshold, survivors, sites - survivors]


def test_the_sparse_graphs_shown_are_those_that_the_code_chooses() -> None:
    text = (ROOT / "docs" / "explanation" / "secure-sum.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+)" + r" \| (\d+)" * 6 + r" \|$", text, flags=re.M)
    assert len(rows) >= 4
    for row in rows:
        sites, corrupt, dropouts, *stated = (int(cell.replace(",", "")) for cell in row)
        rule = choose(Adversary(sites, corrupt), dropouts)
        found = [rule.degree, round(rule.neighbours), rule.share_threshold]
        assert stated == [*found, rule.adversary.threshold]


def test_the_summary_shown_has_the_form_of_the_code() -> None:
    text = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    shown_as_json = re.findall(r"```json\n(.*?)```", text, flags=re.S)
    Summary.model_validate_json(shown_as_json[0])
    assert json.loads(shown_as_json[0]).keys() == Summary.model_fields.keys()
