"""Documents that people write: every bound on a key has a code, a reason and a remedy of its own.

A document is read strictly (unknown keys, missing keys and wrong types are errors), all problems
are reported together, and nothing of the parser's own wording reaches the reader.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails
from pydantic_core.core_schema import custom_error_schema

from wardround.errors import WardroundError, WardroundErrors
from wardround.trust.canonical import JSON, parse_json

MAXIMUM_BYTES = 1 << 20
JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUND = "wardround_bound"

_PLANNED = frozenset({"privacy.statistics", "privacy.training", "privacy.evaluation"})
"""Tables of a study that nobody has to write by hand."""


@dataclass(frozen=True)
class Rule:
    """What one key must be, as the last item of its ``Annotated`` type.

    ``must`` completes the sentence "KEY must ...". A value that breaks any bound or type to its
    left is reported under ``code`` with ``remedy``.
    """

    code: str
    must: str
    remedy: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        context = {"code": self.code, "must": self.must, "remedy": self.remedy}
        return custom_error_schema(
            handler(source),
            custom_error_type=_BOUND,
            custom_error_message=self.must,
            custom_error_context=context,
        )


@dataclass(frozen=True)
class Codes:
    """The codes of a kind of document for problems that no single key owns."""

    what: str
    unreadable: str
    syntax: str
    unknown_key: str
    missing_key: str
    wrong_type: str


class Closed(BaseModel):
    """A table of a document: frozen, strictly typed, without unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; an altered copy would escape every check and keep its digest: there is none."""
        if update:
            raise TypeError("build an altered document by parsing it")
        return super().model_copy(deep=deep)


Document = TypeVar("Document", bound=Closed)


def read_toml(path: Path, codes: Codes) -> dict[str, JSON]:
    """Read a TOML file of at most a mebibyte as JSON values (dates become ISO texts)."""
    data = _read(path, codes)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        return {key: _plain(value) for key, value in tomllib.loads(text).items()}
    except UnicodeDecodeError as error:
        raise WardroundError(
            codes.syntax,
            f"The {codes.what} is not UTF-8 text.",
            "Save it as UTF-8 in a text editor.",
            path=str(path),
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"at line (\d+), column \d+|at end of document", str(error))
        line = text.split("\n")[int(place[1]) - 1] if place and place[1] else ""
        if any(not _exists(day) for day in re.findall(r"\d{4}-\d{2}-\d{2}", line)):
            problem = "has a date that does not exist"
            remedy = "Write year-month-day, such as 2027-02-28, and look into a calendar."
        else:
            problem = "is not valid TOML"
            remedy = (
                "Texts stand in straight quotes, each key stands once, tables start with [name]."
            )
        raise WardroundError(
            codes.syntax,
            f"The {codes.what} {problem}{f' {place[0]}' if place else ''}.",
            remedy,
            path=str(path),
        ) from error


def _exists(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


def read_json(path: Path, codes: Codes) -> dict[str, JSON]:
    """Read a JSON object of at most a mebibyte, strictly."""
    return parse_object(_read(path, codes), codes, path=str(path))


def parse_object(data: bytes, codes: Codes, *, path: str | None = None) -> dict[str, JSON]:
    """Parse a JSON object strictly (no key twice, no NaN)."""
    document = parse_json(data, code=codes.syntax, what=codes.what, path=path)
    if not isinstance(document, Mapping):
        raise WardroundError(
            codes.wrong_type,
            f"The {codes.what} is no JSON object.",
            "Check that this is the file you meant.",
            path=path,
        )
    return dict(document)


def _read(path: Path, codes: Codes) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise WardroundError(
            codes.unreadable,
            f"The {codes.what} can't be read: {error.strerror or 'it does not open'}.",
            "Check the path and that you may read the file.",
            path=str(path),
        ) from error
    if not data.strip() or len(data) > MAXIMUM_BYTES:
        size = "larger than a mebibyte" if data.strip() else "empty"
        raise WardroundError(
            codes.unreadable,
            f"The {codes.what} is {size}.",
            "Check that this is the file you meant.",
            path=str(path),
        )
    return data


def validate(
    model: type[Document],
    document: Mapping[str, JSON],
    codes: Codes,
    context: Mapping[str, bool] | None = None,
) -> Document:
    """Build ``model`` from a document, or raise every problem with it at once."""
    try:
        # By way of JSON, so that lists become tuples and texts become dates, and nothing else.
        text = json.dumps(document)
        return model.model_validate_json(text, context=dict(context or {}))
    except ValidationError as error:
        problems = tuple(_translate(error.errors(), model, codes))
    raise_all(problems)
    raise AssertionError("a validation error without errors")


def raise_all(problems: Iterable[WardroundError]) -> None:
    """Raise nothing, the one problem, or all of them together."""
    found = tuple(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise WardroundErrors(found)


def json_schema(model: type[Closed], title: str, identifier: str) -> dict[str, JSON]:
    """Return the JSON Schema 2020-12 of a document."""
    schema: dict[str, JSON] = model.model_json_schema(mode="validation")
    schema.pop("title", None)
    return {"$schema": JSON_SCHEMA_DIALECT, "$id": identifier, "title": title, **schema}


def _plain(value: object) -> JSON:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError("not a TOML value")


def _translate(
    errors: list[ErrorDetails], model: type[Closed], codes: Codes
) -> Iterator[WardroundError]:
    known = frozenset(_keys(model.model_json_schema()))
    for error in errors:
        path = _path(error["loc"])
        match error["type"]:
            case "wardround_bound":
                rule: dict[str, Any] = error.get("ctx", {})
                problem, remedy = f"{path} must {rule['must']}.", str(rule["remedy"])
                yield WardroundError(str(rule["code"]), problem, remedy, path=path)
            case "extra_forbidden":
                key = str(error["loc"][-1])
                near = difflib.get_close_matches(key, sorted(known), n=1)
                remedy = f"Did you mean {near[0]!r}?" if near else "Remove it."
                problem = f"The {codes.what} has an unknown key."
                yield WardroundError(codes.unknown_key, problem, remedy, path=path)
            case "missing":
                problem = f"The {codes.what} lacks {path}."
                remedy = "Add it; nothing that was agreed on may be left to a guess."
                if path in _PLANNED:
                    remedy = "`wardround privacy plan` finds its noise; with --write it adds it."
                yield WardroundError(codes.missing_key, problem, remedy, path=path)
            case _:
                problem = f"{path or 'The document'} has the wrong type."
                remedy = "Compare it with the published schema: wardround schema."
                yield WardroundError(codes.wrong_type, problem, remedy, path=path or None)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _keys(schema: JSON) -> Iterator[str]:
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            yield from properties
        for value in schema.values():
            yield from _keys(value)
