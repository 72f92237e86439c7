"""A steward's query: one statement, a SELECT, and nothing hidden behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wardround.clinical.tables.duck import quoted
from wardround.errors import WardroundError

# What can hide a semicolon or a keyword: comments and quoted text, by the rules of standard SQL,
# PostgreSQL's dollar quotes and escape strings, and MySQL's back quotes.
_HIDDEN = re.compile(
    r"""
    --[^\n]* | /\*.*?\*/
    | (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
    | "(?:[^"]|"")*" | `(?:[^`]|``)*`
    | (?<![\w$])\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST_WORD = re.compile(r"\s*\(*\s*(SELECT|WITH|VALUES)\b", re.IGNORECASE)
_UNCLOSED = re.compile(r"""['"`]|/\*|\*/|\$\w*\$""")


@dataclass(frozen=True)
class TableSource:
    """A table or view of the database."""

    table: str
    schema: str | None = None

    @property
    def sql(self) -> str:
        """What stands after FROM."""
        return ".".join(quoted(part) for part in (self.schema, self.table) if part is not None)


@dataclass(frozen=True)
class QuerySource:
    """The result of a query; build it with :func:`single_select`."""

    query: str

    @property
    def sql(self) -> str:
        """What stands after FROM; the line end closes a comment at the query's end."""
        return f"({self.query}\n) AS wardround_query"


def single_select(query: str, name: str) -> QuerySource:
    """Return a query that is one SELECT.

    This catches mistakes early and in plain words. That nothing is written is enforced by the
    database itself, in a read-only session: a SELECT may call a function that writes.

    Raises:
        WardroundError: ``WR-DATA-055`` for anything else.
    """
    text = query.strip()
    if "/*!" in text:  # MySQL runs what stands in such a comment
        raise _refused("It holds a comment that some databases execute.", name)
    bare = _HIDDEN.sub(" ", text)
    body = bare.rstrip()
    if body.endswith(";"):
        if not text.endswith(";"):
            raise _refused("It ends in a comment after its semicolon.", name)
        text, body = text[:-1], body[:-1]
    if ";" in body:
        raise _refused("It holds more than one statement.", name)
    if _UNCLOSED.search(body):
        raise _refused("A quotation mark or a comment in it is not closed.", name)
    if "\0" in text or body.count("(") != body.count(")"):
        raise _refused("Its parentheses don't match.", name)
    depth = 0
    for mark in re.findall(r"[()]", body):
        depth += 1 if mark == "(" else -1
        if depth < 0:
            raise _refused("Its parentheses don't match.", name)
    if _FIRST_WORD.match(body) is None:
        raise _refused("It does not begin with SELECT or WITH.", name)
    return QuerySource(text)


def _refused(problem: str, name: str) -> WardroundError:
    return WardroundError(
        "WR-DATA-055",
        f"The query is not a single SELECT. {problem}",
        "Write one SELECT statement; what it reads may be as complex as you like.",
        path=name,
    )
