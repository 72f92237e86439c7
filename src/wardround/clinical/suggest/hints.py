"""Where the values of a concept usually lie, and the words for yes, no and the levels."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final


@dataclass(frozen=True)
class Typical:
    """About the 5th and the 95th percentile among people in hospital, in ``unit``."""

    low: float
    high: float
    unit: str


@cache
def typical_ranges() -> Mapping[str, Typical]:
    """Return where values lie, by concept (``typical.toml``); not every concept has a range."""
    text = resources.files("wardround.clinical.suggest").joinpath("typical.toml")
    rows = tomllib.loads(text.read_text("utf-8"))["typical"]
    return {
        concept: Typical(float(low), float(high), unit)
        for concept, (low, high, unit) in rows.items()
    }


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


YES: Final = _words(
    "yes y true t ja j wahr oui o vrai si sí s verdadero vero 1 x positive pos positiv present"
)
NO: Final = _words(
    "no n false f nein falsch non faux falso 0 negative neg negativ absent none keine"
)

LEVEL_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "female": _words(
        "f w female woman weiblich frau femme féminin femenino mujer femmina femminile donna fem"
    ),
    "male": _words(
        "m h male man männlich mann homme masculin masculino hombre varón maschio maschile uomo"
        " masc mas"
    ),
    "never": _words("never nein nie niemals jamais nunca mai nichtraucher non-smoker no"),
    "former": _words("former ex früher ehemalig exraucher ancien exfumador ex-smoker quit"),
    "current": _words("current aktuell raucher actuel fumeur fumador fumatore smoker yes ja"),
    "never_married": _words("single ledig célibataire soltero soltera celibe nubile never-married"),
    "married": _words("married verheiratet marié mariée casado casada coniugato coniugata"),
    "divorced": _words("divorced geschieden divorcé divorcée divorciado divorciada divorziato"),
    "separated": _words("separated getrennt séparé separado separato"),
    "widowed": _words("widowed verwitwet veuf veuve viudo viuda vedovo vedova"),
    "white": _words("white caucasian w"),
    "black": _words("black africanamerican african-american b"),
    "asian": _words("asian a"),
    "normal": _words("normal normale unauffällig"),
    "flat": _words("flat horizontal"),
    "upsloping": _words("up upsloping ascending aufsteigend"),
    "downsloping": _words("down downsloping descending absteigend"),
    "home": _words("home zuhause domicile domicilio casa hause"),
    "died": _words("died expired verstorben décédé fallecido deceduto dead"),
}
"""Words of several languages, in lower case, that stand for a level of a category."""
