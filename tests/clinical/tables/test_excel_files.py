"""Workbooks as tables: sheets, kinds of cells, and files that are no workbook."""

from __future__ import annotations

import builtins
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import requires
from columns import CANARY, ROWS, cells, write_excel
from wardround.clinical.tables import ColumnKind, excel_table
from wardround.errors import WardroundError


def write(path: Path, rows: list[list[Any]]) -> Path:
    workbook = requires.package("openpyxl").Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
    return path


def test_a_sheet_is_found_by_name(tmp_path: Path) -> None:
    requires.package("python_calamine")
    path = write_excel(tmp_path / "labs.xlsx", ["One", "Two"])
    table = excel_table("labs", path, sheet="Two")
    assert len(cells(table, ["id"])[0]) == len(ROWS)
    for sheet in (None, "Three"):
        with pytest.raises(WardroundError) as caught:
            excel_table("labs", path, sheet=sheet).describe()
        assert caught.value.code == "WR-DATA-051"


def test_a_column_is_of_a_kind_only_where_all_its_cells_are(tmp_path: Path) -> None:
    requires.package("python_calamine")
    path = write(
        tmp_path / "labs.xlsx",
        [
            ["Report of 2026", None, None, None],
            ["mrn", "value", "taken", "mixed"],
            [1001.0, 5.5, datetime(2020, 5, 1, 8, 30), 1],
            [1002, "n/a", datetime(2020, 5, 2), "<5"],
            [None, None, None, None],
            [1003, 7, None, True],
        ],
    )
    table = excel_table("labs", path, header_row=2, missing=["", "n/a"])
    kinds = {c.name: (c.kind, c.declared) for c in table.describe()}
    assert kinds == {
        "mrn": (ColumnKind.NUMBER, "number"),
        "value": (ColumnKind.NUMBER, "number"),
        "taken": (ColumnKind.DATE, "date"),
        "mixed": (ColumnKind.TEXT, "mixed"),
    }
    assert cells(table, ["mrn", "value", "taken", "mixed"], text=["mrn"]) == [
        ["1001", "1002", None, "1003"],
        [5.5, None, None, 7.0],
        [737546, 737547, None, None],
        ["1", "<5", None, "true"],
    ]
    assert [list(b.places) for b in table.batches(["mrn"])] == [[3, 4, 5, 6]]


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    requires.package("python_calamine")
    path = tmp_path / "labs.xlsx"
    whole = write_excel(path).read_bytes()
    for content, code in {
        whole[: len(whole) // 2]: "WR-DATA-051",
        f"id,name\n1,{CANARY}".encode(): "WR-DATA-051",
        b"": "WR-DATA-011",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000): "WR-DATA-051",
    }.items():
        path.write_bytes(content)
        with pytest.raises(WardroundError) as caught:
            cells(excel_table("labs", path), ["name"])
        assert caught.value.code == code
        assert "73519" not in str(caught.value)
    path.unlink()
    with pytest.raises(WardroundError) as caught:
        excel_table("labs", path).describe()
    assert caught.value.code == "WR-DATA-010"
    for rows in ([], [["id", "name"]]):
        with pytest.raises(WardroundError) as caught:
            cells(excel_table("labs", write(path, rows)), [])
        assert caught.value.code == "WR-DATA-011"
    for column in ("gone", "twice"):
        with pytest.raises(WardroundError) as caught:
            cells(excel_table("labs", write(path, [["twice", "twice"], [1, 2]])), [column])
        assert caught.value.code in ("WR-DATA-014", "WR-DATA-015")


def compound_file(stream: str) -> bytes:
    """An OLE compound file ([MS-CFB]) with one stream of 4,096 zeros, as Excel encrypts into."""
    end, free, fat = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)
    chain = [fat, end, *range(3, 10), end]
    table = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        text = f"{name}\0".encode("utf-16-le")
        return (
            text.ljust(64, b"\0")
            + struct.pack("<HBBIII", len(text), kind, 1, free, free, child)
            + bytes(36)
            + struct.pack("<IQ", start, size)
        )

    directory = entry("Root Entry", 5, 1, end, 0) + entry(stream, 2, free, 2, 4096)
    empty = (bytes(66) + b"\0\1" + struct.pack("<3I", free, free, free)).ljust(128, b"\0")
    return header + table + directory + empty * 2 + bytes(4096)


def test_an_encrypted_workbook_is_called_that(tmp_path: Path) -> None:
    requires.package("python_calamine")
    path = tmp_path / "labs.xlsx"
    path.write_bytes(compound_file("EncryptedPackage"))
    with pytest.raises(WardroundError) as caught:
        excel_table("labs", path).describe()
    assert caught.value.code == "WR-DATA-051"
    assert "password" in caught.value.problem


def test_a_missing_package_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_excel(tmp_path / "labs.xlsx")
    real = builtins.__import__

    def fail(name: str, *more: Any, **named: Any) -> Any:
        if name == "python_calamine":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(WardroundError) as caught:
        excel_table("labs", path).describe()
    assert caught.value.code == "WR-DATA-050"
    assert 'pip install "wardround[excel]"' in caught.value.remedy
