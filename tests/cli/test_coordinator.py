"""``wardround coordinator``: its folder from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Command
from studies import document, toml
from wardround.errors import WardroundError


def test_the_journal_of_a_coordinator_is_printed(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "coordinator"
    made = command("coordinator", "init", folder, "--url", "https://localhost:8443/", "--json")
    keys = json.loads(made.out)
    plain = document()
    plain["coordinator"] |= {name: keys[name] for name in ("url", "signing_key", "ca")}
    study = tmp_path / "study.toml"
    study.write_text(toml(plain))
    assert command("coordinator", "invite", folder, study).code == 0
    printed = command("coordinator", "journal", folder)
    assert printed.code == 0
    assert printed.out.count("invited") == 4
    entries = json.loads(command("coordinator", "journal", folder, "--json").out)["entries"]
    assert {one["facts"]["site"] for one in entries} == {one["name"] for one in plain["sites"]}


def test_an_address_that_no_study_takes_makes_no_folder(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "coordinator"
    result = command("coordinator", "init", folder, "--url", "https://foo/bar")
    assert (result.code, result.out) == (1, "")
    assert "WR-COORD-007 (--url)" in result.err
    assert not folder.exists()


def test_a_service_manager_sees_that_starting_a_failed_run_again_changes_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "coordinator"
    assert command("coordinator", "init", folder, "--url", "https://localhost:8443").code == 0
    for code, left in (("WR-COORD-080", 3), ("WR-ROUND-004", 1)):

        async def ended(*_: object, code: str = code, **__: object) -> None:
            raise WardroundError(code, "It failed.", "Mend it.")

        monkeypatch.setattr("wardround.coordinator.serve.serve", ended)
        plain = command("coordinator", "serve", folder)
        assert (plain.code, code in plain.err) == (left, True)
        told = command("coordinator", "serve", folder, "--json")
        assert told.code == left and json.loads(told.out)["errors"][0]["code"] == code
