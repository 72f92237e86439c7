"""FHIRPath text into tokens (FHIRPath N1, section "Lexical elements")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wardround.clinical.views.failures import PathProblem, syntax

# Far more than any view needs; what is longer was not written by a person.
MAXIMUM_LENGTH = 20_000


class Kind(StrEnum):
    """What a token is."""

    TEMPORAL = "temporal"
    NUMBER = "number"
    STRING = "string"
    NAME = "name"
    QUOTED_NAME = "quoted"
    CONSTANT = "constant"
    VARIABLE = "variable"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is what it means (a string without its quotes), ``at`` where it begins."""

    kind: Kind
    text: str
    at: int


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+ | //[^\r\n]* | /\*.*?\*/)
  | (?P<temporal>@(?:T[0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?
      | [0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?
        (?:T(?:[0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?)?))
  | (?P<number>[0-9]+(?:\.[0-9]+)?)
  | '(?P<string>(?:[^'\\]|\\.)*)'
  | %(?P<constant>[A-Za-z_][A-Za-z0-9_-]* | `[^`\\]*` | '[^'\\]*')
  | (?P<variable>\$[a-z]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | `(?P<quoted>(?:[^`\\]|\\.)*)`
  | (?P<symbol><=|>=|!=|!~|[.,()\[\]{}=~<>|+\-*/&])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"'": "'", '"': '"', "`": "`", "\\": "\\", "/": "/"} | {
    "r": "\r",
    "n": "\n",
    "t": "\t",
    "f": "\f",
}


def tokens(text: str) -> list[Token]:
    """Return the tokens of ``text`` and an end mark.

    Raises:
        PathProblem: ``WR-DATA-031`` at the first character that begins no token.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise syntax("it is longer than any path should be", MAXIMUM_LENGTH)
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise syntax("this character has no meaning here", at)
        if match.lastgroup != "space":
            found.append(_token(Kind(match.lastgroup), match[match.lastgroup], at))
        at = match.end()
    return [*found, Token(Kind.END, "", len(text))]


def _token(kind: Kind, text: str, at: int) -> Token:
    if kind in (Kind.STRING, Kind.QUOTED_NAME):
        return Token(kind, _ESCAPE.sub(lambda escape: _unescape(escape, at), text), at)
    if kind is Kind.CONSTANT:
        return Token(kind, text.strip("`'"), at)
    return Token(kind, text, at)


def _unescape(escape: re.Match[str], at: int) -> str:
    problem: PathProblem = syntax("a backslash is followed by something it can't escape", at)
    if escape[1]:
        code = int(escape[1], 16)
        if 0xD800 <= code < 0xE000:
            raise problem
        return chr(code)
    if escape[2] not in _ESCAPED:
        raise problem
    return _ESCAPED[escape[2]]
