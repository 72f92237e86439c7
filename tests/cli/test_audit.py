"""``wardround audit privacy``: attacks on a study, as a page and as a document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit

from commands import Command
from studies import document

PRIVACY = {
    "epsilon": 1.5,
    "patients": 3000,
    "rationale": "Public records.",
    "statistics": {"noise_multiplier": 12.0},
    "training": {"noise_multiplier": 20.0, "steps": 10},
    "evaluation": {"noise_multiplier": 12.0},
}
QUICK = ("--canaries", "1000", "--shadows", "4", "--targets", "2", "--patients", "60")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    plain = document(
        profile="private",
        data={"outcome": "angiographic_coronary_disease", "features": ["male", "age_years"]},
        model={"kind": "logistic", "algorithm": "dp-sgd"},
        privacy=PRIVACY,
    )
    plain["coordinator"]["url"] = ""  # a draft is enough
    path.write_text(tomlkit.dumps(plain))
    return path


def test_it_writes_a_page_and_says_what_was_found(
    command: Command, study: Path, tmp_path: Path
) -> None:
    page = tmp_path / "simulated.html"
    result = command("audit", "privacy", "--study", study, "--page", page, *QUICK)
    assert result.code == 0, result.err
    assert "simulated over" in result.out and "epsilon at least" in result.out
    assert "simulated privacy audit" in page.read_text()
    # The guesses are told before anything is run.
    assert result.err.splitlines()[0] == "Canaries: 1,000, of which 20 are guessed"


def test_as_json_it_says_the_same_over_a_table_of_one_s_own(
    command: Command, study: Path, tmp_path: Path
) -> None:
    table = tmp_path / "public.csv"
    rows = [f"{i % 2},{30 + i % 50},{i // 2 % 2}" for i in range(80)]
    table.write_text("\n".join(["male,age_years,angiographic_coronary_disease", *rows]))
    result = command(
        *("audit", "privacy", "--study", study, "--page", tmp_path / "p.html", "--json"),
        *("--data", table, "--guesses", "50", *QUICK),
    )
    found = json.loads(result.out)
    assert result.code == 0 and found["simulated"] is True
    assert found["data"] == {
        "source": "public.csv", "made_up": False, "patients": 80, "left_out": 0
    }  # fmt: skip
    assert found["canaries"]["guesses"] == 50
    assert found["canaries"]["epsilon_at_least"] <= found["claim"]["epsilon"]


def test_a_study_without_a_budget_is_refused(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(tomlkit.dumps(document()))
    result = command("audit", "privacy", "--study", path, "--page", tmp_path / "p.html")
    assert result.code == 1 and "WR-STUDY-112 (profile)" in result.err
    assert "'private'" in result.err  # adding [privacy] alone would be refused too
    assert not (tmp_path / "p.html").exists()
