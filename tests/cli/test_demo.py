"""`wardround demo`: what it refuses; the whole of it is run by the tutorial's test."""

from pathlib import Path

from commands import Command


def test_a_folder_without_the_heart_data_is_refused(command: Command, tmp_path: Path) -> None:
    nowhere, out = tmp_path / "nowhere", tmp_path / "out"
    done = command("demo", "--data", nowhere, "--out", out, "--json")
    assert done.code == 1
    assert "WR-SIM-004" in done.out + done.err
    assert not (out / "hospitals").exists()
