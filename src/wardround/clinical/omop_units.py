"""OMOP's ``unit_concept_id`` as UCUM, for tables that state a unit by that number alone.

Numbers and codes only, of those units that this graph's concepts are measured in. OMOP writes an
enzyme's unit ``[U]``, a prefix to it as a power of ten, and pounds and inches as those of the US
survey; here they are UCUM's own, and pounds and inches those of everyday use.
"""

from __future__ import annotations

from typing import Final

OMOP_UNITS: Final[dict[int, str]] = {
    8482: "[pH]", 8483: "{counts}/min", 8504: "g", 8505: "h", 8511: "wk", 8512: "d", 8519: "L",
    8523: "{ratio}", 8528: "a", 8529: "{index}", 8541: "/min", 8550: "min", 8554: "%", 8555: "s",
    8564: "pg", 8576: "mg", 8582: "cm", 8583: "fL", 8587: "mL", 8588: "mm", 8596: "{calc}",
    8606: "{ratio}", 8617: "m2", 8636: "g/L", 8645: "U/L", 8647: "/uL", 8648: "%{of'normal}",
    8653: "Cel", 8673: "[HPF]", 8687: "%{activity}", 8698: "L/min", 8700: "mg/d", 8713: "g/dL",
    8719: "mU/mL", 8723: "mg/g", 8725: "ng/L", 8729: "pmol/L", 8734: "10*12/L", 8736: "nmol/L",
    8737: "%{of'HGB}", 8739: "[lb_av]", 8748: "ug/L", 8749: "umol/L", 8751: "mg/L", 8752: "mm/h",
    8753: "mmol/L", 8763: "U/mL", 8765: "/[LPF]", 8774: "ug/min", 8784: "{cells}/uL",
    8785: "/mm3", 8786: "/[HPF]", 8795: "mL/min", 8799: "{copies}/mL", 8807: "g/(24.h)",
    8810: "kU/L", 8815: "10*6/uL", 8816: "10*6/mL", 8817: "ng/dL", 8820: "pg/dL", 8837: "ug/dL",
    8838: "ug/mg", 8839: "umol/dL", 8840: "mg/dL", 8842: "ng/mL", 8843: "nmol/mL", 8845: "pg/mL",
    8848: "10*3/uL", 8859: "ug/mL", 8860: "uU/mL", 8861: "mg/mL", 8862: "mosm/kg", 8876: "mm[Hg]",
    8909: "mg/(24.h)", 8923: "[iU]/L", 8930: "mL/(24.h)", 8931: "10*6/mm3", 8950: "g/dL{calc}",
    8961: "10*3/mm3", 8980: "[arb'U]/mL", 8985: "[iU]/mL", 8989: "ug{FEU}/mL",
    9014: "ug/g{creat}", 9017: "mg/g{creat}", 9019: "mmol/mol{creat}", 9028: "mg/dL{calc}",
    9040: "m[iU]/L", 9058: "k[iU]/L", 9062: "mL/min/{1.73_m2}", 9072: "ug/mg{creat}",
    9074: "mg/mg{creat}", 9075: "mg/mmol{creat}", 9093: "u[iU]/mL", 9117: "mL/min/{1.73_m2}",
    9225: "%{HbA1c}", 9289: "[degF]", 9306: "[ft_i]", 9327: "[in_i]", 9330: "[in_i]",
    9332: "[iU]/dL", 9360: "[MET]", 9362: "[mi_i]", 9373: "[oz_av]", 9436: "10*3/mL",
    9442: "10*6/L", 9444: "10*9/L", 9446: "10*9/uL", 9448: "a", 9482: "cL", 9483: "cm2",
    9484: "deg", 9486: "dL", 9498: "fmol", 9510: "g/g", 9523: "K", 9529: "kg", 9531: "kg/m2",
    9546: "m", 9550: "m[iU]/mL", 9553: "meq/dL", 9557: "meq/L", 9562: "mg/kg", 9563: "mg/m2",
    9572: "mm2", 9573: "mmol", 9577: "mmol/kg", 9579: "mmol/mol", 9580: "mo", 9593: "ms",
    9600: "ng", 9620: "osm/kg", 9655: "ug", 9666: "um", 9674: "umol/mol", 9688: "ug/kg/min",
    32703: "dyn.s/cm5", 32706: "10*4/uL", 32707: "ng{FEU}/mL", 32710: "L/min/m2", 32912: "1",
    32995: "ukat/L", 33013: "nkat/L", 586323: "Cel", 720838: "ml/kg/min", 720843: "mV",
    720870: "mL/min/{1.73_m2}", 44777557: "/h", 44777560: "/a", 44777568: "U/dL",
    44777569: "{cells}/L", 44777575: "10*12.{cells}/L", 44777578: "mU/L",
    44777580: "10*3.{cells}/L", 44777583: "u[iU]/L", 44777586: "10*6.{cells}/L",
    44777588: "10*9.{cells}/L", 44777590: "cm[H2O]", 44777595: "g/mol", 44777601: "kat/L",
    44777602: "kPa", 44777604: "L/L", 44777606: "m/s", 44777612: "mg/mmol", 44777613: "mL/h",
}  # fmt: skip
"""From ``unit_concept_id`` to a UCUM code."""
