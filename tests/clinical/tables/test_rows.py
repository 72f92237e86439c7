"""Rows of damaged CSV: the damaged lines are set aside by name, and no other is lost or changed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from columns import CANARY, cells
from wardround.clinical import Reason, lines
from wardround.clinical.lines import LineReader
from wardround.clinical.tables import csv_table
from wardround.clinical.tables.rows import RowReader

BAD, SHORT, LONG = Reason.WRONG_ENCODING, Reason.WRONG_COLUMN_COUNT, Reason.UNREADABLE_LINE
HEADER = b"id,name,value\n"


def read(
    folder: Path, content: bytes, block_bytes: int = 1 << 20
) -> tuple[list[tuple[int, list[str]]], list[tuple[int, Reason]], RowReader]:
    """Each row and each line set aside, by line number."""
    (folder / "a.csv").write_bytes(content)
    with patch.object(lines, "_BUFFER_BYTES", block_bytes):
        rows = RowReader(LineReader(folder / "a.csv", "a.csv"), "utf-8", ",")
        found = list(rows)
    rejected = [(int(one.where.removeprefix("a.csv:")), one.reason) for one in rows.rejected]
    assert "73519" not in repr(rows.rejected)
    assert rows.rows == len(found) + len(rejected)
    assert rows.unreadable == len(rejected)
    return found, rejected, rows


@pytest.mark.parametrize(
    ("content", "used", "set_aside"),
    {
        "a byte": (b"1,Zo\xff,1\n2,b,2\n", [3], [(2, BAD)]),
        "NUL": (b"1,a\0,1\n2,b,2\n", [3], [(2, BAD)]),
        "in a cell of two lines": (b'1,"a\n\xff",1\n2,b,2\n', [4], [(2, BAD)]),
        "a quote that became a byte": (b'1,"a\xff,1\n2,b,2\n3,c,3\n', [3, 4], [(2, BAD)]),
        "stray": (b'1,"a"x,1\n2,b,2\n', [3], [(2, LONG)]),
        "unclosed to the end": (b'1,"a,1\n2,b,2\n3,c,3\n', [3, 4], [(2, LONG)]),
        "unclosed, no last line end": (b'1,"a,1\n2,b,2\n3,c,3', [3, 4], [(2, LONG)]),
        "then a quoted cell": (b'1,"a,1\n2,b,2\n3,"c",3\n', [3, 4], [(2, LONG)]),
        "then an empty one": (b'1,"a,1\n2,"",2\n3,"c",3\n', [3, 4], [(2, LONG)]),
        "then one of two lines": (b'1,"a,1\n2,"b\nb",2\n3,c,3\n', [3, 5], [(2, LONG)]),
        "then another": (b'1,"a,1\n2,b,2\n3,"c,3\n4,d,4\n', [3, 5], [(2, LONG), (4, LONG)]),
        "closed by a slip, no row": (
            b'1,"a,1\n2,b,2\n3,c",3,4,5\n',
            [3],
            [(2, LONG), (4, SHORT)],
        ),
        "closed by a slip, a row": (
            b'1,"a,1\n' + b"2,b,2\n" * 6 + b'3,c",3\n',
            [3, 4, 5, 6, 7, 8, 9],
            [(2, LONG)],
        ),
        "closed before a stray one": (b'1,"a\n2,b,2\n3,",c",3\n', [3, 4], [(2, LONG)]),
        "two lines, too few": (b'1,"a\nb"\n2,b,2\n', [4], [(2, SHORT)]),
        "valid": (b'1,"a\n\n2,b\n",1\n"2","""b""",2\n', [2, 6], []),
    }.values(),
)
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
def test_only_what_is_damaged_is_set_aside(
    content: bytes, used: list[int], set_aside: list[tuple[int, Reason]], block_bytes: int,
    tmp_path: Path,
) -> None:  # fmt: skip
    found, rejected, _ = read(tmp_path, HEADER + content, block_bytes)
    assert [line for line, _ in found] == used
    assert rejected == set_aside


PLAIN = st.text("ab\u00e9\u20ac 5.", min_size=1, max_size=4)
QUOTED = st.tuples(PLAIN, st.text('ab\u00e9,"', max_size=3)).map("".join) | st.just("")
LINES = st.tuples(PLAIN, PLAIN).map("\n".join)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


RECORD = st.lists(PLAIN | QUOTED.map(quoted), min_size=2, max_size=2)
LONG_RECORD = st.tuples(PLAIN, LINES.map(quoted)).map(list)
DAMAGES = ("byte", "nul", "more", "fewer", "stray", "open", "open")


def damaged(record: list[str], damage: str, at: int) -> bytes:
    """The record with a slip of one kind; its line number and those behind it stay."""
    whole = ",".join(["id", *record]).encode()
    at %= len(whole) + 1
    match damage:
        case "byte":
            return whole[:at] + b"\xff" + whole[at:]
        case "nul":
            return whole[:at] + b"\0" + whole[at:]
        case "more":
            return whole + b",x"
        case "fewer":
            return whole.rpartition(b",")[0] if b'"' not in whole else b"id"
        case "stray":
            return b'"id"' + whole
        case _:
            return b'id,"' + CANARY.encode() + whole.replace(b'"', b"")[2:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(
    records=st.lists(RECORD | LONG_RECORD, min_size=1, max_size=14),
    slips=st.dictionaries(
        st.integers(0, 13), st.tuples(st.sampled_from(DAMAGES), st.integers(0, 99)), max_size=5
    ),
    block_bytes=st.sampled_from([1, 16, 64, 1 << 20]),
)
@example(
    records=[["a", '"b"'], ['""', '""'], ["a", '"a\na"']], slips={0: ("open", 0)}, block_bytes=1
)
def test_all_that_is_undamaged_is_read_as_from_the_clean_file(
    records: list[list[str]],
    slips: dict[int, tuple[str, int]],
    block_bytes: int,
    tmp_path: Path,
) -> None:
    clean, spoilt = [HEADER], [HEADER]
    bad_lines, line = [], 2
    for number, record in enumerate(records):
        whole = ",".join(["id", *record]).encode()
        slip = slips.get(number)
        clean.append(whole + b"\n")
        if slip is None or b"\n" in whole:
            spoilt.append(whole + b"\n")
        else:
            spoilt.append(damaged(record, *slip) + b"\n")
            bad_lines.append(line)
        line += whole.count(b"\n") + 1
    whole, none, _ = read(tmp_path, b"".join(clean))
    assert not none
    assert len(whole) == len(records)
    found, rejected, _ = read(tmp_path, b"".join(spoilt), block_bytes)
    assert found == [(at, row) for at, row in whole if at not in bad_lines]
    assert [at for at, _ in rejected] == bad_lines


PIECES = (b'"', b'""', b",", b"\n", b"a", b"1,b,2\n", b'1,"b",2\n', b"\xff", b"\0")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=30),
    block_bytes=st.sampled_from([1, 9, 1 << 20]),
)
def test_every_line_is_in_a_row_or_named(
    pieces: list[bytes], block_bytes: int, tmp_path: Path
) -> None:
    content = HEADER + b"1,b,2\n" + b"".join(pieces) + b"\n"
    found, rejected, _ = read(tmp_path, content, block_bytes)
    covered = {line + more for line, row in found for more in range("".join(row).count("\n") + 1)}
    assert len(covered) >= len(found)
    reasons = dict(rejected)
    assert covered.isdisjoint(reasons)
    assert len(reasons) == len(rejected)
    for number, line in enumerate(content.splitlines(), 1):
        if line and number > 1 and number not in covered:
            named = max(at for at in reasons if at <= number)
            assert named == number or reasons[named] is not LONG  # a record of several lines


def test_most_lines_in_another_encoding_are_an_error_of_the_file(tmp_path: Path) -> None:
    names = ["Zo\u00eb", "M\u00fcller", "Bob", "Eve"]
    content = "id,name\n" + "".join(f"{n},{name}\n" for n, name in enumerate(names * 9))
    (tmp_path / "a.csv").write_bytes(content.encode("windows-1252"))
    with pytest.raises(Exception, match="WR-DATA-012") as caught:
        cells(csv_table("labs", tmp_path, ["a.csv"]), ["name"])
    assert "a.csv:2" in str(caught.value)
    table = csv_table("labs", tmp_path, ["a.csv"], maximum_unreadable_share=0.5)
    assert cells(table, ["name"]) == [["Bob", "Eve"] * 9]
    assert [one.reason for one in table.rejected] == [BAD] * 18


def test_quotations_without_an_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each line closes a quotation and opens another: the file could be one record."""
    (tmp_path / "a.csv").write_bytes(HEADER + b'"' + b'a","%s\n' % (b"b" * 100) * 60_000)
    rows = RowReader(LineReader(tmp_path / "a.csv", "a.csv"), "utf-8", ",")
    tracemalloc.start()
    try:
        assert list(rows) == []
        rows.rejected.clear()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.unreadable == 60_000
    assert peak < 40 * 2**20
