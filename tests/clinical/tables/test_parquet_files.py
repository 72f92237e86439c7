"""Parquet as a table: several files, odd names, and files that are none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from columns import CANARY, ROWS, cells, expected, write_parquet
from wardround.clinical.tables import parquet_table
from wardround.clinical.tables.duck import open_duckdb
from wardround.errors import WardroundError


def test_several_files_are_one_table_and_no_name_is_a_pattern(tmp_path: Path) -> None:
    names = [write_parquet(tmp_path), "[ab]*?.parquet"]
    (tmp_path / names[0]).rename(tmp_path / "a'b.parquet")
    names[0] = "a'b.parquet"
    (tmp_path / names[1]).write_bytes((tmp_path / names[0]).read_bytes())
    (tmp_path / "b.parquet").write_bytes((tmp_path / names[0]).read_bytes())
    table = parquet_table("labs", tmp_path, names)
    assert cells(table, ["day"], 4) == [expected("day") * 2]
    assert [file.name for file in table.read.files] == names
    content = (tmp_path / names[0]).read_bytes()
    assert table.read.files[0].digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert table.read.size_bytes == 2 * len(content)
    assert table.where(len(ROWS) + 1) == f"{names[1]}:1"


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    name = write_parquet(tmp_path)
    whole = (tmp_path / name).read_bytes()
    codes = {}
    for what, content in {
        "cut": whole[: len(whole) // 2],
        "none": f"id,name\n1,{CANARY}\n".encode() * 20,
        "empty": b"",
        "damaged": whole[:40] + bytes(len(whole) - 200) + whole[-160:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WardroundError) as caught:
            cells(parquet_table("labs", tmp_path, [name]), ["name"])
        assert "73519" not in str(caught.value)
        assert caught.value.__cause__ is None
        codes[what] = caught.value.code
    (tmp_path / name).unlink()
    with pytest.raises(WardroundError) as caught:
        parquet_table("labs", tmp_path, [name]).describe()
    codes["missing"] = caught.value.code
    assert codes == {
        "cut": "WR-DATA-052",
        "none": "WR-DATA-052",
        "empty": "WR-DATA-011",
        "damaged": "WR-DATA-052",
        "missing": "WR-DATA-010",
    }


def test_a_column_that_vanished_and_a_file_that_changed(tmp_path: Path) -> None:
    table = parquet_table("labs", tmp_path, [write_parquet(tmp_path)])
    with pytest.raises(WardroundError) as caught:
        cells(table, ["gone"])
    assert caught.value.code == "WR-DATA-014"
    with pytest.raises(WardroundError) as caught:
        for _ in table.batches(["n"], 2):
            (tmp_path / "matrix.parquet").touch()
    assert caught.value.code == "WR-DATA-059"


def test_duckdb_fetches_nothing_and_spills_nothing() -> None:
    with open_duckdb() as connection:
        settings = dict(
            connection.execute(
                "SELECT name, value FROM duckdb_settings() WHERE name IN"
                " ('autoinstall_known_extensions', 'autoload_known_extensions', 'temp_directory')"
            ).fetchall()
        )
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": "",
    }
