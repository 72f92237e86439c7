"""The mapping file while it is being written: sources and fields are added, comments stay.

What a command adds is checked with the whole file before the file is replaced, so that a mapping
on the disk is always one that can be read.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from wardround.clinical import ConceptGraph, Mapping
from wardround.clinical.mapping import unreadable_mapping
from wardround.errors import WardroundError
from wardround.governance.files import write_whole

_Plain = ReadOnly[str, object]


def add_source(path: Path, source: _Plain, graph: ConceptGraph) -> Mapping:
    """Append a source (replacing none); returns the mapping as it is then.

    Raises WR-DATA-026 where a source of that name is there, and what reading a mapping raises.
    """
    document = _read(path)
    sources = _tables(document, "sources")
    if any(one.get("name") == source["name"] for one in sources):
        raise WardroundError(
            "WR-DATA-026",
            f"The mapping has a source {source['name']!r} already.",
            "Choose another name with --name, or edit the file.",
            path=str(path),
        )
    sources.append(_table(source))
    return _write(path, document, graph)


def add_field(path: Path, source: str, field: _Plain, graph: ConceptGraph) -> Mapping:
    """Map a field of ``source``; what was mapped to its concept before is replaced."""
    document = _read(path)
    for one in _tables(document, "sources"):
        fields = one.get("fields")
        if isinstance(fields, AoT):
            for number in reversed(range(len(fields))):
                if fields[number].get("concept") == field["concept"]:
                    del fields[number]
    for one in _tables(document, "sources"):
        if one.get("name") == source:
            _tables(one, "fields").append(_table(field))
            return _write(path, document, graph)
    raise unknown_source(source, [str(one.get("name")) for one in _tables(document, "sources")])


def set_index_date(path: Path, concept: str, graph: ConceptGraph) -> Mapping:
    """Say which date is the day at which ages are taken."""
    document = _read(path)
    document["index_date"] = concept
    return _write(path, document, graph)


def as_it_is(path: Path) -> bytes | None:
    """The file's content, so that it can be put back; None where there is no file yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable_mapping(path) from error


def unknown_source(name: str, known: list[str]) -> WardroundError:
    """The error for a name that no source of the mapping has."""
    return WardroundError(
        "WR-DATA-027",
        f"The mapping has no source {name!r}.",
        f"It has: {', '.join(known) or 'none yet; add one with `wardround site data add`'}.",
        path=name,
    )


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment("What this hospital's fields mean. A person decides each."))
        document["version"] = 1
        return document
    except OSError as error:
        raise unreadable_mapping(path) from error
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise WardroundError(
            "WR-DATA-004",
            "The mapping is not valid TOML in UTF-8.",
            "Mend the line, or start again from a mapping that works.",
            path=path.name,
        ) from error


def _write(path: Path, document: tomlkit.TOMLDocument, graph: ConceptGraph) -> Mapping:
    text = tomlkit.dumps(document).encode()
    mapping = Mapping.parse(text, graph, name=path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return mapping


def _tables(holder: tomlkit.TOMLDocument | tomlkit.items.Table, key: str) -> AoT:
    found = holder.get(key)
    if isinstance(found, AoT):
        return found
    made = tomlkit.aot()
    holder[key] = made
    found = holder[key]
    assert isinstance(found, AoT)
    return found


def _table(values: _Plain) -> tomlkit.items.Table:
    table = tomlkit.table()
    for key, value in values.items():
        if value is None or value == {} or value == ():
            continue
        if isinstance(value, ReadOnly):
            inline = tomlkit.inline_table()
            inline.update(value)
            table[key] = inline
        else:
            table[key] = list(value) if isinstance(value, tuple) else value
    return table
