"""Units as hospitals write them, and the UCUM code that each one means.

The table is exact: a spelling is in it or it is unknown, nothing is guessed, and upper and lower
case differ. A few entries overrule UCUM, where the same characters mean something that no record
of a patient holds (``OVERRULED`` lists them, with what UCUM would make of them).
"""

from __future__ import annotations

from typing import Final

_CHARACTERS = str.maketrans(
    {
        "µ": "u", "μ": "u", "²": "2", "³": "3", "¹": "1", "⁰": "0", "⁴": "4", "⁵": "5",
        "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9", "⁻": "-", "×": "x", "·": ".", "⋅": ".",
        "∕": "/", "⁄": "/", "−": "-", "–": "-", "\N{NO-BREAK SPACE}": " ", "℃": "°C", "℉": "°F",
        "º": "°", "‰": "[ppth]", "㎎": "mg", "㎗": "dL",
    }
)  # fmt: skip


def plain_characters(text: str) -> str:
    """Write superscripts, micro signs and their like with the characters that UCUM uses."""
    return text.translate(_CHARACTERS)


_COUNTS = {
    # Thousands, millions and milliards, then millions of millions of cells.
    3: ("x10^3", "x10*3", "x10e3", "x10E3", "x103", "x 10^3", "x 103", "10e3", "10E3", "10**3",
        "E3", "K", "k", "Thous", "thou", "Tsd", "Tsd.", "th"),
    6: ("x10^6", "x10*6", "x10e6", "x10E6", "x106", "x 10^6", "x 106", "10e6", "10E6", "10**6",
        "E6", "M", "Mill", "Mill.", "mill", "Mio", "Mio."),
    9: ("x10^9", "x10*9", "x10e9", "x10E9", "x109", "x 10^9", "x 109", "10e9", "10E9", "10**9",
        "E9", "G", "Gpt", "giga"),
    12: ("x10^12", "x10*12", "x10e12", "x10E12", "x1012", "x 10^12", "x 1012", "10e12", "10E12",
         "10**12", "E12", "T", "Tpt", "tera"),
}  # fmt: skip
_VOLUMES = {
    "L": "L", "l": "L", "uL": "uL", "ul": "uL", "mcL": "uL", "mL": "mL", "ml": "mL",
    "mm3": "mm3", "mm^3": "mm3", "cmm": "mm3",
}  # fmt: skip
_CELLS = {
    f"{written}/{volume}": f"10*{power}/{code}"
    for power, spellings in _COUNTS.items()
    for written in spellings
    for volume, code in _VOLUMES.items()
}

_AMOUNTS = {
    "MG/DL": "mg/dL", "G/DL": "g/dL", "UG/DL": "ug/dL", "MCG/DL": "ug/dL", "NG/ML": "ng/mL",
    "NG/DL": "ng/dL", "PG/ML": "pg/mL", "UG/ML": "ug/mL", "MG/L": "mg/L",
    "MMOL/L": "mmol/L", "UMOL/L": "umol/L", "NMOL/L": "nmol/L", "PMOL/L": "pmol/L",
    "MEQ/L": "meq/L", "mEq/L": "meq/L", "mEq/l": "meq/L", "mval/l": "meq/L", "mval/L": "meq/L",
    "U/ML": "U/mL", "mg/100ml": "mg/dL", "mg/100 mL": "mg/dL", "mg/100mL": "mg/dL",
    "g/100ml": "g/dL", "g/100mL": "g/dL", "g/100 mL": "g/dL", "mg%": "mg/dL", "gm/dL": "g/dL",
    "gm/dl": "g/dL", "gr/dL": "g/dL", "gr/dl": "g/dL", "g./dL": "g/dL", "mgs/dL": "mg/dL",
    "mcg/L": "ug/L", "mcg/l": "ug/L", "mcg/dL": "ug/dL", "mcg/dl": "ug/dL", "mcg/mL": "ug/mL",
    "mcg/ml": "ug/mL", "mcmol/L": "umol/L", "mcmol/l": "umol/L", "micromol/L": "umol/L",
    "gamma/dl": "ug/dL", "mM": "mmol/L", "uM": "umol/L", "nM": "nmol/L", "pM": "pmol/L",
    "mmol/mol Hb": "mmol/mol", "mg/g Krea": "mg/g", "mg/g crea": "mg/g", "mg/g creat": "mg/g",
    "mg/mmol creat": "mg/mmol", "mOsm/kg": "mosm/kg", "mosmol/kg": "mosm/kg",
    "mOsm/L": "mosm/L", "mosmol/l": "mosm/L", "mOsmol/kg": "mosm/kg", "mOsm/kg H2O": "mosm/kg",
    "ng/ml FEU": "ng/mL{FEU}", "ng/mL FEU": "ng/mL{FEU}", "ug/mL FEU": "ug/mL{FEU}",
    "mg/L FEU": "mg/L{FEU}", "ug/L FEU": "ug/L{FEU}", "ug/ml FEU": "ug/mL{FEU}",
}  # fmt: skip

_ACTIVITIES = {
    f"{prefix}{unit}/{volume}": f"{prefix}[iU]/{code}"
    for prefix in ("", "m", "u", "k")
    for unit in ("IU", "I.U.", "IE", "I.E.", "UI", "int.U")
    for volume, code in (("L", "L"), ("l", "L"), ("mL", "mL"), ("ml", "mL"), ("dL", "dL"))
} | {
    "IU": "[iU]", "I.U.": "[iU]", "IE": "[iU]", "I.E.": "[iU]", "UI": "[iU]",
    "mcIU/mL": "u[iU]/mL", "MIU/ML": "m[iU]/mL", "UIU/ML": "u[iU]/mL", "units/L": "U/L",
    "Units/L": "U/L", "ukat/l": "ukat/L", "IU/day": "[iU]/d", "IE/Tag": "[iU]/d",
}  # fmt: skip

_BEDSIDE = {
    "mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "mmhg": "mm[Hg]", "MMHG": "mm[Hg]", "mm/Hg": "mm[Hg]",
    "mm(Hg)": "mm[Hg]", "Torr": "mm[Hg]", "torr": "mm[Hg]", "cmHg": "cm[Hg]", "cmH2O": "cm[H2O]",
    "cm H2O": "cm[H2O]", "KPa": "kPa", "kpa": "kPa",
    "bpm": "/min", "BPM": "/min", "beats/min": "/min", "beats per minute": "/min", "1/min": "/min",
    "min-1": "/min", "Schläge/min": "/min", "battements/min": "/min", "lpm": "/min",
    "breaths/min": "/min", "br/min": "/min", "rpm": "/min", "per minute": "/min", "bat/min": "/min",
    "°C": "Cel", "degC": "Cel", "deg C": "Cel", "Celsius": "Cel", "C": "Cel", "celsius": "Cel",
    "°F": "[degF]", "degF": "[degF]", "deg F": "[degF]", "Fahrenheit": "[degF]", "F": "[degF]",
    "fahrenheit": "[degF]", "°": "deg", "degrees": "deg", "degree": "deg", "Grad": "deg",
    "kg/m^2": "kg/m2", "kg/m**2": "kg/m2", "kg/sqm": "kg/m2", "kg/(m2)": "kg/m2",
    "lb": "[lb_av]", "lbs": "[lb_av]", "pound": "[lb_av]", "pounds": "[lb_av]", "LB": "[lb_av]",
    "oz": "[oz_av]", "stone": "[stone_av]", "in": "[in_i]", "inch": "[in_i]", "inches": "[in_i]",
    "IN": "[in_i]", "ft": "[ft_i]", "feet": "[ft_i]", "Zoll": "[in_i]", "KG": "kg", "Kg": "kg",
    "kgs": "kg", "kilogram": "kg", "kilograms": "kg", "CM": "cm", "cms": "cm", "meter": "m",
    "gm": "g", "gram": "g", "grams": "g", "MG": "mg", "mcg": "ug", "MCG": "ug",
    "m^2": "m2", "sqm": "m2", "qm": "m2", "cc": "cm3", "ccm": "cm3", "cc/h": "cm3/h",
    "liter": "L", "litre": "L", "liters": "L", "litres": "L", "ML": "mL", "FL": "fL", "PG": "pg",
    "mL/min/1.73m2": "mL/min/{1.73_m2}", "mL/min/1.73 m2": "mL/min/{1.73_m2}",
    "ml/min/1.73m2": "mL/min/{1.73_m2}", "ml/min/1.73 m2": "mL/min/{1.73_m2}",
    "ml/min/1,73m2": "mL/min/{1.73_m2}", "mL/min/1.73m^2": "mL/min/{1.73_m2}",
    "mL/min/1.73 m^2": "mL/min/{1.73_m2}", "ml/min/1.73m^2": "mL/min/{1.73_m2}",
    "mL/min/1.73_m2": "mL/min/{1.73_m2}", "mL/min/1.73": "mL/min/{1.73_m2}",
    "ml/min/1.73": "mL/min/{1.73_m2}", "mL/min/1.73.m2": "mL/min/{1.73_m2}",
    "mL/min/BSA": "mL/min/{1.73_m2}", "L/min/m^2": "L/min/m2", "ug/kg/min": "ug/kg/min",
    "mcg/kg/min": "ug/kg/min", "dyn.s.cm-5": "dyn.s/cm5",
    "METs": "[MET]", "METS": "[MET]", "MET": "[MET]",
}  # fmt: skip

_TIMES = {
    "year": "a", "years": "a", "yr": "a", "yrs": "a", "y": "a", "Jahr": "a", "Jahre": "a",
    "J": "a", "an": "a", "ans": "a", "année": "a", "années": "a", "año": "a", "años": "a",
    "anno": "a", "anni": "a", "jaar": "a", "month": "mo", "months": "mo", "mos": "mo",
    "Monat": "mo", "Monate": "mo", "mois": "mo", "mes": "mo", "meses": "mo", "mese": "mo",
    "mesi": "mo", "week": "wk", "weeks": "wk", "wks": "wk", "Woche": "wk", "Wochen": "wk",
    "semaine": "wk", "semaines": "wk", "semana": "wk", "semanas": "wk", "settimane": "wk",
    "day": "d", "days": "d", "Tag": "d", "Tage": "d", "jour": "d", "jours": "d", "día": "d",
    "días": "d", "giorno": "d", "giorni": "d", "hour": "h", "hours": "h", "hr": "h", "hrs": "h",
    "Std": "h", "Std.": "h", "Stunde": "h", "Stunden": "h", "heures": "h", "horas": "h", "ore": "h",
    "minute": "min", "minutes": "min", "mins": "min", "Minuten": "min", "sec": "s", "secs": "s",
    "second": "s", "seconds": "s", "Sekunden": "s", "Sek": "s", "msec": "ms", "msecs": "ms",
    "mm/hr": "mm/h", "mm/Std": "mm/h", "mm/1h": "mm/h", "mm/1.h": "mm/h", "mm/std": "mm/h",
    "pack years": "{pack_years}", "pack-years": "{pack_years}", "Packungsjahre": "{pack_years}",
    "per day": "/d", "/day": "/d", "/Tag": "/d", "/jour": "/d", "drinks/week": "{drinks}/wk",
    "g/day": "g/d", "g/Tag": "g/d", "mg/24h": "mg/d", "mg/24 h": "mg/d", "g/24h": "g/d",
    "mL/24h": "mL/d", "ml/24h": "mL/d", "mL/hr": "mL/h", "ml/hr": "mL/h",
}  # fmt: skip

_NUMBERS = {
    "percent": "%", "pct": "%", "Prozent": "%", "per cent": "%", "% NGSP": "%", "% of total": "%",
    "pH": "[pH]", "pH units": "[pH]", "ratio": "1", "Ratio": "1", "score": "{score}",
    "points": "{score}", "Punkte": "{score}", "count": "1", "fraction": "1", "n/a": "1", "INR": "1",
    "{nominal}": "1", "/HPF": "/[HPF]", "/hpf": "/[HPF]", "/LPF": "/[LPF]", "/lpf": "/[LPF]",
    "cells/uL": "/uL", "cells/ul": "/uL", "cells/mm3": "/mm3", "/mm^3": "/mm3", "/cmm": "/mm3",
    "cells/mcL": "/uL", "copies/mL": "{copies}/mL", "copies/ml": "{copies}/mL",
}  # fmt: skip

OVERRULED: Final = frozenset(
    # Kelvin, gauss and tesla in a volume; coulomb, farad, joule, picohenry, femtotonne, gigaradian;
    # and, where a laboratory writes in capitals, megagauss, megalitre and petagauss.
    {f"{mark}/{volume}" for mark in "KGT" for volume in ("L", "l", "uL", "ul", "mL", "ml", "mm3")}
    | {"C", "F", "J", "pH", "ft", "Grad", "MG", "ML", "PG", "MG/L", "PG/ML", "U/ML", "mm/1.h"}
)
"""Spellings that are other units in UCUM, in which no value of a patient is ever written."""

SPELLINGS: Final[dict[str, str]] = {
    **_CELLS, **_AMOUNTS, **_ACTIVITIES, **_BEDSIDE, **_TIMES, **_NUMBERS
}  # fmt: skip
"""From a spelling, after :func:`plain_characters`, to UCUM."""

COMMON_UNITS: Final = (
    "mg/dL", "g/dL", "g/L", "mg/L", "ug/L", "ug/dL", "ng/mL", "ng/dL", "pg/mL", "mmol/L", "umol/L",
    "nmol/L", "pmol/L", "meq/L", "mmol/mol", "mg/mmol", "mg/g", "U/L", "[iU]/L", "ukat/L", "nkat/L",
    "u[iU]/mL", "mU/L", "U/mL", "mm[Hg]", "kPa", "cm[H2O]", "[in_i]", "m", "cm", "[lb_av]", "kg",
    "g", "[degF]", "Cel", "%", "1", "a", "mo", "wk", "d", "h", "10*3/uL", "10*9/L", "/uL",
    "10*6/uL", "10*12/L", "mL/d", "L/d", "mL/min", "mL/s/{1.73_m2}", "ng/mL{FEU}", "mg/L{FEU}",
    "L/min", "mL", "L", "ms", "s", "mV", "mm/h", "mg/d", "g/d", "fL", "pg", "fmol",
)  # fmt: skip
"""Units that records often use, by which a page shows what a concept can be brought from."""
