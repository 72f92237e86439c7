"""The files in ``concepts/``, read into the parts of a graph; their README shows the form."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import resources
from typing import Any, Final, TypeAlias

from wardround.clinical.concept import (
    LANGUAGES,
    SYSTEMS,
    Code,
    Concept,
    ConceptType,
    Derivation,
    DerivationMethod,
    Label,
    ValueMap,
)
from wardround.clinical.units import NO_EQUATIONS, Bridge, Conversion, Equations

Row: TypeAlias = Mapping[str, Any]
"""One table of a TOML file, whose keys this module knows."""

_ENZYME: Final = Bridge(
    "[iU]", "U", Fraction(1), "an international unit of an enzyme is 1 umol/min (IUB 1964)"
)
_ASSAY_UNITS: Final = tuple(
    Bridge(unit, "U", Fraction(1), "laboratories write U for the assay's own unit")
    for unit in ("[iU]", "[arb'U]")
)
_HOOKS: Final = tuple(system for system in SYSTEMS if system not in ("nucleus", "wardround"))


@dataclass
class Parts:
    """What the files hold, in the order of areas and rows."""

    concepts: list[Concept] = field(default_factory=list)
    derivations: list[Derivation] = field(default_factory=list)
    value_maps: list[ValueMap] = field(default_factory=list)


def shipped_texts() -> Iterator[str]:
    """The texts of the files that ship with Wardround."""
    folder = resources.files("wardround.clinical").joinpath("concepts")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            yield file.read_text("utf-8")


def read_parts(texts: Iterable[str]) -> Parts:
    """Read the texts of concept files; edges may name concepts of any of them."""
    documents = sorted(map(tomllib.loads, texts), key=lambda document: document.get("order", 0))
    substances: dict[str, Row] = {}
    edges: dict[str, tuple[list[Bridge], list[Conversion]]] = {}
    for document in documents:
        substances |= document.get("substances", {})
        for row in document.get("bridges", ()):
            bridge = Bridge(row["from"], row["to"], Fraction(row["amount"]), row["reason"])
            edges.setdefault(row["concept"], ([], []))[0].append(bridge)
        for row in document.get("scales", ()):
            scale = Conversion(
                row["from"],
                row["to"],
                Fraction(row["factor"]),
                Fraction(row["offset"]),
                row["reason"],
            )
            edges.setdefault(row["concept"], ([], []))[1].append(scale)
    parts = Parts()
    for document in documents:
        area = document.get("area", "")
        for row in document.get("concepts", ()):
            parts.concepts.append(_concept(row, area, substances, edges.get(row["id"])))
        parts.derivations.extend(map(_derivation, document.get("derivations", ())))
        parts.value_maps.extend(
            ValueMap(row["concept"], row["coding"], row["values"], row.get("words", ""))
            for row in document.get("value_maps", ())
        )
    return parts


def _concept(
    row: Row,
    area: str,
    substances: Mapping[str, Row],
    edges: tuple[list[Bridge], list[Conversion]] | None,
) -> Concept:
    kind = ConceptType(row["type"])
    span = (0.0, 1.0) if kind is ConceptType.BOOLEAN else row.get("plausible")
    codes = [Code(system, str(code)) for system in _HOOKS for code in row.get(system, ())]
    if not codes:
        codes = [Code(row.get("system", "wardround"), row["id"])]
    return Concept(
        id=row["id"],
        name=row["name"],
        definition=row["definition"],
        system=SYSTEMS[codes[0].system],
        code=codes[0].code,
        unit=row.get("unit"),
        type=kind,
        plausible=None if span is None else (float(span[0]), float(span[1])),
        labels=tuple(
            Label(language, text) for language in LANGUAGES for text in row.get(language, ())
        ),
        codes=tuple(codes),
        levels=tuple(row.get("levels", ())),
        parents=tuple(row.get("is_a", ())),
        area=area,
        equations=_equations(row, substances, edges),
    )


def _equations(
    row: Row,
    substances: Mapping[str, Row],
    edges: tuple[list[Bridge], list[Conversion]] | None,
) -> Equations:
    bridges, scales = edges or ([], [])
    found = list(bridges)
    if (name := row.get("substance")) is not None:
        substance = substances[name]
        mass = substance["molar_mass"]
        reason = f"molar mass of {substance['name']} {mass} g/mol"
        found.append(Bridge("mol", "g", Fraction(mass), reason))
    if (valence := row.get("valence")) is not None:
        reason = f"an ion carries {valence} charge{'s' if valence > 1 else ''}"
        found.append(Bridge("mol", "eq", Fraction(valence), reason))
    if row.get("enzyme", False):
        found.append(_ENZYME)
    found += [bridge for bridge in _ASSAY_UNITS if bridge.source in row.get("unit", "")]
    return Equations(tuple(found), tuple(scales)) if found or scales else NO_EQUATIONS


def _derivation(row: Row) -> Derivation:
    return Derivation(
        target=row["target"],
        method=DerivationMethod(row["method"]),
        inputs=tuple(row["inputs"]),
        words=row["words"],
        source=row.get("source", ""),
        parameter=float(Fraction(row["parameter"])) if "parameter" in row else None,
        estimate=row.get("estimate", False),
    )
