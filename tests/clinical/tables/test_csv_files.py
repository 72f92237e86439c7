"""CSV as a table: what is handed over, what is set aside, what stops."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from columns import CANARY, cells
from wardround.clinical import Reason
from wardround.clinical.tables import csv_table
from wardround.errors import WardroundError

HEADER = b"id,value\n"
BAD = {
    "missing": (None, "WR-DATA-010"),
    "empty": (b"", "WR-DATA-011"),
    "nothing but a byte order mark": (b"\xef\xbb\xbf", "WR-DATA-011"),
    "header only": (HEADER, "WR-DATA-011"),
    "utf-16": ("id,value\n1,2\n".encode("utf-16"), "WR-DATA-012"),
    "latin-1": (HEADER + "1,Zoë\n".encode("latin-1"), "WR-DATA-012"),
    "half a row": (HEADER + b"1,2\n" + CANARY.encode(), "WR-DATA-013"),
    "open quote": (HEADER + b'1,2\n"' + CANARY.encode() + b",3\n4,5\n", "WR-DATA-016"),
    "cut off in quotes": (HEADER + b'1,2\n3,"' + CANARY.encode(), "WR-DATA-013"),
    "NUL in the header": (b"id,val\0ue\n" + CANARY.encode() + b",1\n", "WR-DATA-012"),
    "no such column": (b"id,other\n" + CANARY.encode() + b",1\n", "WR-DATA-014"),
    "no header": (CANARY.encode() + b",1\n2,3\n", "WR-DATA-015"),
    "twice": (b"id,value,value\n1,2,3\n", "WR-DATA-015"),
    "too many bad rows": (HEADER + b"1,2\n" + CANARY.encode() + b",2,3\n", "WR-DATA-016"),
}


@pytest.mark.parametrize(("content", "code"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_name_and_shows_no_cell(
    content: bytes | None, code: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(WardroundError) as caught:
        cells(csv_table("labs", tmp_path, ["a.csv"]), ["id", "value"])
    assert caught.value.code == code
    assert "73519" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        (b"id,sex,value", True),
        (b"id,sex,2020", True),
        (b"p73519,M,1961-05-17", False),
        (b"p73519,M,17.5.1961", False),
        (b"p73519,M,5.4,120", False),
    ],
)
def test_a_first_record_never_becomes_column_names(
    first: bytes, is_header: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(first + b"\n" + first + b"\n")
    table = csv_table("labs", tmp_path, ["a.csv"])
    if is_header:
        assert [column.name for column in table.describe()] == first.decode().split(",")
        return
    with pytest.raises(WardroundError) as caught:
        table.describe()
    assert caught.value.code == "WR-DATA-015"
    assert "73519" not in str(caught.value)
    names = [f"c{at}" for at in range(first.count(b",") + 1)]
    named = csv_table("labs", tmp_path, ["a.csv"], header=names)
    assert [column.name for column in named.describe()] == names


def test_rows_that_are_no_rows_are_set_aside_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(HEADER + b'1,"a\nb"\n\n2\n3,c,d\n4,"x"y\n5,e\n')
    (tmp_path / "b.csv").write_bytes(b"value,id\nf,6\ng,7,8\n")
    table = csv_table("labs", tmp_path, ["a.csv", "b.csv"], maximum_unreadable_share=0.9)
    places = []
    for batch in table.batches(["id", "value"], 2):
        places += [table.where(int(place)) for place in batch.places]
        assert batch.first_row == batch.places[0]
    assert places == ["a.csv:2", "a.csv:8", "b.csv:2"]
    assert cells(table, ["id", "value"]) == [["1", "5", "6"], ["a\nb", "e", "f"]]
    assert [(entry.reason, entry.where) for entry in table.rejected] == [
        (Reason.WRONG_COLUMN_COUNT, "a.csv:5"),
        (Reason.WRONG_COLUMN_COUNT, "a.csv:6"),
        (Reason.UNREADABLE_LINE, "a.csv:7"),
        (Reason.WRONG_COLUMN_COUNT, "b.csv:3"),
    ]


def test_what_was_read_is_accounted_for(tmp_path: Path) -> None:
    content = HEADER + b"1, 5 \n2,n/a\n3,\n"
    (tmp_path / "a.csv").write_bytes(content)
    table = csv_table("labs", tmp_path, ["a.csv"], missing=["", "n/a"])
    with pytest.raises(RuntimeError):
        _ = table.read
    assert cells(table, ["value"]) == [["5", None, None]]
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (table.read.rows, table.read.digest, table.read.size_bytes) == (3, digest, len(content))
    assert [(file.name, file.lines) for file in table.read.files] == [("a.csv", 4)]


def test_a_csv_inside_a_zip_is_read_where_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.csv", HEADER + b"1,2\n")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        table = csv_table("labs", zipfile.Path(archive), ["in/a.csv"])
        assert cells(table, ["value"]) == [["2"]]


cell = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


@given(
    rows=st.lists(st.lists(cell, min_size=3, max_size=3), min_size=1, max_size=20),
    delimiter=st.sampled_from(",;\t|"),
    batch_rows=st.integers(1, 8),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_writer_quotes_is_read_back(
    rows: list[list[str]], delimiter: str, batch_rows: int, tmp_path: Path
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b", "c"], *rows])
    (tmp_path / "x.csv").write_bytes(buffer.getvalue().encode())
    table = csv_table("x", tmp_path, ["x.csv"], delimiter=delimiter)
    assert cells(table, ["c", "a"], batch_rows) == [
        [row[at].strip() or None for row in rows] for at in (2, 0)
    ]
    assert table.rejected == ()


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_no_file_makes_it_crash(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n" + content)
    table = csv_table("x", tmp_path, ["x.csv"], maximum_unreadable_share=1.0)
    try:
        for batch in table.batches(["a", "b"], 3):
            assert np.all(np.diff(batch.places) > 0)
    except WardroundError:
        return
    assert table.read.rows + len(table.rejected) > 0
