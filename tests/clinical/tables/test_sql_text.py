"""Queries that are one SELECT and those that are not; addresses and their secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical.tables.kinds import kind_of
from wardround.clinical.tables.sql_postgres import _libpq_uri
from wardround.clinical.tables.sql_text import single_select
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.tables.table import ColumnKind
from wardround.errors import WardroundError


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  select a from b;  ",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT ';' AS a, \"b;c\" FROM t -- ; not here\n/* nor; here */",
        "SELECT $tag$ it's; $tag$",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT E'it\\'s; fine'",
    ],
)
def test_one_select_is_taken(query: str) -> None:
    assert single_select(query, "q").sql.startswith("(")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "SELECT 1;;",
        "SELECT 1; -- SELECT",
        "SELECT 'a",
        "SELECT 1 /* open",
        "SELECT 1) AS x, (SELECT 2",
        "SELECT 1)",
        "-- SELECT\nUPDATE t SET a = 1",
        "PRAGMA query_only = OFF",
        "COPY t TO PROGRAM 'x'",
        "SELECTED FROM t",
        "SELECT 1\0",
        "SELECT 1 AS aE'\\'; DROP TABLE t --'",
        "SELECT a$x$; DROP TABLE t $x$",
    ],
)
def test_anything_else_is_refused(query: str) -> None:
    with pytest.raises(WardroundError) as caught:
        single_select(query, "q")
    assert caught.value.code == "WR-DATA-055"


@given(st.text(st.sampled_from("SELECT ;'\"-/*$()\n\\aE"), max_size=40))
def test_what_is_taken_has_no_bare_semicolon_and_balanced_parentheses(tail: str) -> None:
    try:
        sql = single_select(f"SELECT {tail}", "q").query
    except WardroundError:
        return
    # A character at a time, as an independent reading of the same rules.
    depth, at, quote = 0, 0, ""
    while at < len(sql):
        two = sql[at : at + 2]
        within = at > 0 and (sql[at - 1].isalnum() or sql[at - 1] in "_$")
        if quote:
            if quote == "E'" and two[:1] == "\\":
                at += 1
            elif sql[at] == quote[-1]:
                quote = ""
        elif two == "--":
            at = (sql + "\n").index("\n", at)
        elif two == "/*":
            at = sql.index("*/", at + 2) + 1
        elif not within and (tag := re.match(r"\$([A-Za-z_][A-Za-z0-9_]*)?\$", sql[at:])):
            at = sql.index(tag[0], at + len(tag[0])) + len(tag[0]) - 1
        elif not within and two == "E'":
            quote, at = "E'", at + 1
        elif sql[at] in "'\"":
            quote = sql[at]
        else:
            depth += {"(": 1, ")": -1}.get(sql[at], 0)
            assert sql[at] != ";"
            assert depth >= 0
        at += 1
    assert depth == 0


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:secret@db/ehr",
        "postgresql://u:${WARDROUND_A}b@db/ehr",
        "postgresql://u@db/ehr?password=secret",
        "postgresql://u@db/ehr?sslpassword=secret",
        "no url secret",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(WardroundError) as caught:
        DatabaseUrl(text)
    assert caught.value.code == "WR-DATA-057"
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_secret_may_hold_any_character(secret: str) -> None:
    url = DatabaseUrl("postgresql://${WARDROUND_U}:${WARDROUND_P}@db:5433/ehr?sslmode=verify-full")
    expanded = url.expand({"WARDROUND_U": "reader", "WARDROUND_P": secret})
    assert (expanded.username, str(expanded.password)) == ("reader", secret)
    assert (expanded.host, expanded.port, expanded.database) == ("db", 5433, "ehr")
    assert repr(url) == "DatabaseUrl('postgresql://db:5433/ehr')"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://reader:${AWS_SECRET_ACCESS_KEY}@elsewhere.example/ehr",
        "postgresql://${HOME}@elsewhere.example/ehr",
        "postgresql://reader@${HOME}.elsewhere.example/ehr",
        "postgresql://reader@elsewhere.example/${HOME}",
        "postgresql://reader@elsewhere.example/ehr?application_name=${HOME}",
        "postgresql://reader:%24%7BHOME%7D@elsewhere.example/ehr",
        "postgresql://reader@elsewhere.example/ehr?a=x&a=${WARDROUND_A}${wardround_b}",
    ],
)
def test_an_address_may_read_only_variables_that_are_meant_for_it(text: str) -> None:
    with pytest.raises(WardroundError) as caught:
        DatabaseUrl(text)
    assert caught.value.code == "WR-DATA-085"
    assert "WARDROUND_" in caught.value.remedy


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("INTEGER", "number"),
        ("int4", "number"),
        ("bigint", "number"),
        ("UINTEGER", "number"),
        ("DECIMAL(10,2)", "number"),
        ("double precision", "number"),
        ("NUMBER(9)", "number"),
        ("BOOLEAN", "boolean"),
        ("DATE", "date"),
        ("timestamp without time zone", "date"),
        ("DATETIME2", "date"),
        ("interval", "text"),
        ("point", "text"),
        ("time", "text"),
        ("integer[]", "text"),
        ("VARCHAR(20)", "text"),
        ("", "text"),
    ],
)
def test_declared_types_have_kinds(declared: str, kind: str) -> None:
    assert kind_of(declared) is ColumnKind(kind)


@pytest.mark.parametrize(
    ("address", "mode"),
    [
        ("postgresql://r@db.hospital/ehr", "sslmode=verify-full"),
        ("postgresql://r@db.hospital/ehr?sslmode=require", "sslmode=require"),
        ("postgresql://r@127.0.0.1/ehr", None),
        ("postgresql://r@localhost/ehr", None),
    ],
)
def test_a_session_to_another_machine_is_encrypted_and_checked(
    address: str, mode: str | None
) -> None:
    said = _libpq_uri(DatabaseUrl(address).expand({}))
    assert ("sslmode" in said) == (mode is not None)
    assert mode is None or mode in said


def test_a_comment_that_some_databases_execute_is_refused() -> None:
    with pytest.raises(WardroundError, match="WR-DATA-055"):
        single_select("SELECT 1 /*! INTO OUTFILE '/tmp/x' */", "q")
