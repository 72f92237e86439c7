"""Files damaged at random: an error with a code or a table, never a crash, never a cell shown."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import requires
from columns import cells, sqlite_url, write_excel, write_parquet, write_sqlite
from wardround.clinical.tables import Table, excel_table, parquet_table, sql_table
from wardround.errors import WardroundError


def parquet(folder: Path) -> tuple[Path, Callable[[], Table]]:
    name = write_parquet(folder)
    return folder / name, lambda: parquet_table("labs", folder, [name])


def excel(folder: Path) -> tuple[Path, Callable[[], Table]]:
    requires.package("python_calamine")
    path = write_excel(folder / "labs.xlsx")
    return path, lambda: excel_table("labs", path)


def sqlite(folder: Path) -> tuple[Path, Callable[[], Table]]:
    path = write_sqlite(folder / "ehr.db")
    return path, lambda: sql_table(sqlite_url(path), table="matrix")


def damaged(whole: bytes, drawn: random.Random) -> bytes:
    """Change, remove or insert a few bytes, half of them near the end, where formats index."""
    content = bytearray(whole)
    for _ in range(drawn.randint(1, 8)):
        at = drawn.randrange(len(content))
        if drawn.random() < 0.5:
            at = max(0, len(content) - 1 - drawn.randrange(2000))
        match drawn.randrange(3):
            case 0:
                content[at] = drawn.randrange(256)
            case 1:
                del content[at : at + drawn.randint(1, 4)]
            case _:
                content[at:at] = drawn.randbytes(drawn.randint(1, 4))
    return bytes(content)


@pytest.mark.parametrize("write", [parquet, excel, sqlite])
@pytest.mark.parametrize(
    "files",
    [40, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_a_damaged_file_is_refused_or_read(
    write: Callable[[Path], tuple[Path, Callable[[], Table]]], files: int, tmp_path: Path
) -> None:
    path, table = write(tmp_path)
    whole = path.read_bytes()
    refused = 0
    drawn = random.Random(files)
    for _ in range(files):
        path.write_bytes(damaged(whole, drawn))
        try:
            cells(table(), ["name", "value", "day"])
        except WardroundError as error:
            assert error.code.startswith("WR-DATA-0")
            assert "73519" not in str(error)
            refused += 1
    assert refused > files / 2


def test_a_damaged_name_inside_an_sqlite_file(tmp_path: Path) -> None:
    """Once an error of SQLite's that quoted the name could not even be decoded."""
    path = write_sqlite(tmp_path / "ehr.db")
    content = path.read_bytes()
    at = content.index(b"CREATE TABLE matrix")
    path.write_bytes(content[:at] + b"CREATE \x80ABLE" + content[at + 12 :])
    with pytest.raises(WardroundError) as caught:
        sql_table(sqlite_url(path), table="matrix").describe()
    assert caught.value.code in ("WR-DATA-053", "WR-DATA-056")
