"""A first ``study.toml`` for somebody who has never written one, and the schema beside it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

from wardround.errors import WardroundError
from wardround.study.document import study_schema

SCHEMA_NAME = "study.schema.json"
_LIFETIME = timedelta(days=365)


def template(today: date) -> str:
    """Return the text of a commented draft that expires in a year."""
    text = resources.files("wardround.study").joinpath("template.toml").read_text("utf-8")
    return text.replace("@EXPIRES@", (today + _LIFETIME).isoformat())


def schema_text() -> str:
    """Return the published JSON Schema of a study, as a file's text."""
    return json.dumps(study_schema(), indent=2, ensure_ascii=False) + "\n"


def write_new_study(path: Path, today: date) -> tuple[Path, Path]:
    """Write a draft and, beside it, the schema that its first line points editors to.

    ``path`` is the file, or a folder for it. Returns both paths. Nothing is ever overwritten
    (WR-STUDY-054), and if the second file fails the first is taken away again (WR-STUDY-055).
    """
    study = path / "study.toml" if path.is_dir() else path
    schema = study.parent / SCHEMA_NAME
    texts = {schema: schema_text(), study: template(today)}
    if schema.exists() and _same(schema, texts[schema]):
        del texts[schema]  # another study of the same folder wrote it
    for target in texts:
        if target.exists():
            raise _exists(target)
    written: list[Path] = []
    try:
        for target, text in texts.items():
            with target.open("x", encoding="utf-8") as file:
                written.append(target)
                file.write(text)
    except FileExistsError as error:
        _remove(written)
        raise _exists(Path(error.filename)) from error
    except OSError as error:
        _remove(written)
        raise WardroundError(
            "WR-STUDY-055",
            f"The study can't be written: {error.strerror or 'the disk refused'}.",
            "Choose a folder that exists and that you may write to.",
            path=str(study),
        ) from error
    return study, schema


def _same(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _remove(written: list[Path]) -> None:
    for path in written:
        path.unlink(missing_ok=True)


def _exists(path: Path) -> WardroundError:
    return WardroundError(
        "WR-STUDY-054",
        "There is a file of that name already, and nothing is overwritten.",
        "Choose another name, or move the file away.",
        path=str(path),
    )
