"""The atoms of UCUM that clinical records use: what each is, in terms of the others.

UCUM (the Unified Code for Units of Measure) is the work of the Regenstrief Institute; this is the
part of its table that measures something a hospital writes down. Left out are logarithmic units
(bel, neper), typographic and surveyors' units and physical constants.

Three atoms differ from UCUM on purpose. It calls a mole, an equivalent and an osmole one number,
so that 2 meq/L of calcium would pass for 2 mmol/L (it is 1); and it calls ``[HPF]`` and ``[LPF]``
numbers, so that cells per field of two microscopes would be converted. Here each is a kind of its
own, and only an edge of one concept can lead from one to another.
"""

from __future__ import annotations

from typing import Final

PREFIXES: Final[dict[str, int]] = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
"""Decimal prefixes as powers of ten."""

BASES: Final[tuple[str, ...]] = ("m", "s", "g", "rad", "K", "C", "cd", "mol", "eq", "osm")
"""Kinds of quantity that take prefixes and are not made of others."""

ARBITRARY: Final[tuple[str, ...]] = (
    "[pH]", "[HPF]", "[LPF]", "[arb'U]", "[USP'U]", "[GPL'U]", "[MPL'U]", "[APL'U]", "[beth'U]",
    "[anti'Xa'U]", "[todd'U]", "[dye'U]", "[smgy'U]", "[bdsk'U]", "[ka'U]", "[knk'U]",
    "[mclg'U]", "[tb'U]", "[CCID_50]", "[TCID_50]", "[EID_50]", "[PFU]", "[FFU]", "[CFU]", "[IR]",
    "[BAU]", "[AU]", "[PNU]", "[Lf]", "[D'ag'U]", "[FEU]", "[ELU]", "[EU]", "[NTU]", "[FNU]",
)  # fmt: skip
"""Units that procedures define; none can be converted to another, or to anything else."""

METRIC: Final[dict[str, tuple[str, str]]] = {
    # Take prefixes. Each is its number times its unit.
    "sr": ("1", "rad2"), "Hz": ("1", "s-1"), "N": ("1", "kg.m/s2"),
    "Pa": ("1", "N/m2"), "J": ("1", "N.m"), "W": ("1", "J/s"), "A": ("1", "C/s"),
    "V": ("1", "J/C"), "F": ("1", "C/V"), "Ohm": ("1", "V/A"), "S": ("1", "Ohm-1"),
    "Wb": ("1", "V.s"), "T": ("1", "Wb/m2"), "H": ("1", "Wb/A"), "lm": ("1", "cd.sr"),
    "lx": ("1", "lm/m2"), "Bq": ("1", "s-1"), "Gy": ("1", "J/kg"), "Sv": ("1", "J/kg"),
    "l": ("1", "dm3"), "L": ("1", "l"), "ar": ("100", "m2"), "t": ("1e3", "kg"),
    "bar": ("1e5", "Pa"), "u": ("1.66053906660e-24", "g"), "eV": ("1.602176634e-19", "J"),
    "gf": ("9.80665", "g.m/s2"), "dyn": ("1", "g.cm/s2"), "erg": ("1", "dyn.cm"),
    "P": ("1", "dyn.s/cm2"), "St": ("1", "cm2/s"), "G": ("1e-4", "T"), "Ci": ("37e9", "Bq"),
    "R": ("2.58e-4", "C/kg"), "RAD": ("100", "erg/g"), "REM": ("1", "RAD"),
    "cal_IT": ("4.1868", "J"), "cal_th": ("4.184", "J"), "cal": ("1", "cal_th"),
    "m[H2O]": ("9.80665", "kPa"), "m[Hg]": ("133.3220", "kPa"), "g%": ("1", "g/dl"),
    "kat": ("1", "mol/s"), "U": ("1", "umol/min"), "st": ("1", "m3"), "mho": ("1", "S"),
    "bit": ("1", "1"), "By": ("8", "bit"), "Bd": ("1", "/s"), "[IU]": ("1", "[iU]"),
}  # fmt: skip

PLAIN: Final[dict[str, tuple[str, str]]] = {
    # Take no prefixes.
    "10*": ("10", "1"), "10^": ("10", "1"), "%": ("1", "10*-2"), "[ppth]": ("1", "10*-3"),
    "[ppm]": ("1", "10*-6"), "[ppb]": ("1", "10*-9"), "[pptr]": ("1", "10*-12"),
    "[pi]": ("3.1415926535897932384626433832795028841971693993751058209749445923", "1"),
    "deg": ("2", "[pi].rad/360"), "gon": ("0.9", "deg"), "circ": ("2", "[pi].rad"),
    "min": ("60", "s"), "h": ("60", "min"), "d": ("24", "h"), "wk": ("7", "d"),
    "a_t": ("365.24219", "d"), "a_j": ("365.25", "d"), "a_g": ("365.2425", "d"), "a": ("1", "a_j"),
    "mo_s": ("29.53059", "d"), "mo_j": ("1", "a_j/12"), "mo_g": ("1", "a_g/12"),
    "mo": ("1", "mo_j"), "atm": ("101325", "Pa"), "att": ("1", "kgf/cm2"),
    "[g]": ("9.80665", "m/s2"), "[in_i]": ("2.54", "cm"), "[ft_i]": ("12", "[in_i]"),
    "[yd_i]": ("3", "[ft_i]"), "[mi_i]": ("5280", "[ft_i]"), "[nmi_i]": ("1852", "m"),
    "[sin_i]": ("1", "[in_i]2"), "[sft_i]": ("1", "[ft_i]2"), "[cin_i]": ("1", "[in_i]3"),
    "[gal_us]": ("231", "[in_i]3"), "[qt_us]": ("1", "[gal_us]/4"), "[pt_us]": ("1", "[qt_us]/2"),
    "[gil_us]": ("1", "[pt_us]/4"), "[foz_us]": ("1", "[gil_us]/4"),
    "[fdr_us]": ("1", "[foz_us]/8"), "[tbs_us]": ("1", "[foz_us]/2"),
    "[tsp_us]": ("1", "[tbs_us]/3"), "[cup_us]": ("16", "[tbs_us]"), "[foz_m]": ("30", "mL"),
    "[cup_m]": ("240", "mL"), "[tsp_m]": ("5", "mL"), "[tbs_m]": ("15", "mL"),
    "[gal_br]": ("4.54609", "l"), "[qt_br]": ("1", "[gal_br]/4"), "[pt_br]": ("1", "[qt_br]/2"),
    "[gr]": ("64.79891", "mg"), "[lb_av]": ("7000", "[gr]"), "[oz_av]": ("1", "[lb_av]/16"),
    "[dr_av]": ("1", "[oz_av]/16"), "[stone_av]": ("14", "[lb_av]"), "[pwt_tr]": ("24", "[gr]"),
    "[oz_tr]": ("20", "[pwt_tr]"), "[lb_tr]": ("12", "[oz_tr]"), "[oz_m]": ("28", "g"),
    "[lbf_av]": ("1", "[lb_av].[g]"), "[psi]": ("1", "[lbf_av]/[in_i]2"),
    "[in_i'H2O]": ("1", "m[H2O].[in_i]/m"), "[in_i'Hg]": ("1", "m[Hg].[in_i]/m"),
    "[PRU]": ("1", "mm[Hg].s/ml"), "[wood'U]": ("1", "mm[Hg].min/L"), "[diop]": ("1", "/m"),
    "[Ch]": ("1", "mm/3"), "[drp]": ("1", "ml/20"), "[hnsf'U]": ("1", "1"),
    "[MET]": ("3.5", "mL/min/kg"), "[Cal]": ("1", "kcal_th"), "[degR]": ("5", "K/9"),
    "[S]": ("1", "10*-13.s"), "[car_m]": ("0.2", "g"), "[HP]": ("550", "[ft_i].[lbf_av]/s"),
    "Ao": ("0.1", "nm"), "b": ("100", "fm2"),
}  # fmt: skip

AFFINE: Final[dict[str, tuple[str, str, str]]] = {
    # Zero lies elsewhere: so many of the unit, counted from so many of the unit.
    "Cel": ("1", "K", "273.15"),
    "[degF]": ("5/9", "K", "459.67"),
    "[degRe]": ("5/4", "K", "218.52"),
}
"""Temperatures: a value ``x`` is ``(x + offset) * number`` of the unit."""
