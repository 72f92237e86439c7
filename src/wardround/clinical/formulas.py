"""How one concept is computed from others: vectorised, in the units of the concepts.

A formula takes and returns arrays of float64 and answers NaN where it does not hold. Outside this
module no NaN exists: :func:`compute` returns values with a mask of which are valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.concept import Derivation, DerivationMethod

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Column:
    """One concept's value for each patient; what is not ``valid`` is 0 and means nothing.

    Shapes: both (patients,).
    """

    values: Floats
    valid: NDArray[np.bool_]


def compute(derivation: Derivation, inputs: Sequence[Column]) -> Column:
    """Apply a derivation to the columns of its inputs, in their order, the index date last.

    A patient has a value where every input is valid and the formula holds.
    """
    valid = reduce(np.logical_and, (column.valid for column in inputs))
    formula = FORMULAS[derivation.method]
    with np.errstate(all="ignore"):
        given = [np.where(valid, column.values, 1.0) for column in inputs]
        found = formula(derivation.parameter or 0.0, *given)
    valid = valid & np.isfinite(found)
    return Column(np.where(valid, found, 0.0), valid)


def is_a(child: Column, *, boolean: bool) -> Column:
    """A special case as its general one.

    Who has type 2 diabetes has diabetes; who has not may have another, so nothing follows.
    """
    valid = child.valid & (child.values == 1.0) if boolean else child.valid
    return Column(np.where(valid, child.values, 0.0), valid)


def _years(_: float, birth: Floats, index: Floats) -> Floats:
    """Completed years; a person of 29 February turns a year older on 1 March, as by most laws."""
    epoch = 719163  # date(1970, 1, 1).toordinal()
    days = [(day - epoch).astype("int64").astype("datetime64[D]") for day in (birth, index)]
    years = [day.astype("datetime64[Y]").astype("int64") for day in days]
    months = [day.astype("datetime64[M]").astype("int64") % 12 for day in days]
    dates = [(day - day.astype("datetime64[M]")).astype("int64") for day in days]
    before = (months[1] < months[0]) | ((months[1] == months[0]) & (dates[1] < dates[0]))
    return np.where(index >= birth, years[1] - years[0] - before, np.nan)


def _ratio(_: float, above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / below, np.nan)


def _bmi(_: float, weight_kg: Floats, height_cm: Floats) -> Floats:
    return np.where(height_cm > 0, weight_kg / (height_cm / 100.0) ** 2, np.nan)


_CHOLESTEROL: Final = float(Fraction("386.65") / 10)
_TRIGLYCERIDE: Final = float(Fraction("885.4") / 10)
"""Milligrams per decilitre in a millimole per litre; ``substances.toml`` has them too."""


def _friedewald(_: float, total: Floats, hdl: Floats, triglycerides: Floats) -> Floats:
    """Friedewald et al. 1972, in mg/dL as published: not above 400 mg/dL of triglycerides."""
    mg_dl = triglycerides * _TRIGLYCERIDE
    ldl = total - hdl - mg_dl / 5.0 / _CHOLESTEROL
    return np.where((mg_dl <= 400.0) & (ldl >= 0.0), ldl, np.nan)


def _ckd_epi(_: float, creatinine_umol_l: Floats, age: Floats, sex: Floats) -> Floats:
    """Inker et al. 2021, N Engl J Med 385:1737, table 2, without race; adults."""
    female = sex == 0.0
    kappa, alpha = np.where(female, 0.7, 0.9), np.where(female, -0.241, -0.302)
    relative = creatinine_umol_l / CREATININE_UMOL_L_PER_MG_DL / kappa
    egfr = (
        142.0
        * np.minimum(relative, 1.0) ** alpha
        * np.maximum(relative, 1.0) ** -1.200
        * 0.9938**age
        * np.where(female, 1.012, 1.0)
    )
    return np.where((age >= 18.0) & (creatinine_umol_l > 0.0), egfr, np.nan)


CREATININE_UMOL_L_PER_MG_DL: Final = 1e4 / 113.12


def _cockcroft(
    _: float, creatinine_umol_l: Floats, age: Floats, weight: Floats, sex: Floats
) -> Floats:
    """Cockcroft and Gault 1976: (140 - age) weight / (72 creatinine), x 0.85 in women."""
    mg_dl = creatinine_umol_l / CREATININE_UMOL_L_PER_MG_DL
    clearance = (140.0 - age) * weight / (72.0 * mg_dl) * np.where(sex == 0.0, 0.85, 1.0)
    return np.where((age >= 18.0) & (age < 140.0) & (mg_dl > 0.0), clearance, np.nan)


def _fib4(_: float, age: Floats, ast: Floats, alt: Floats, platelets: Floats) -> Floats:
    """Sterling et al. 2006: age AST / (platelets sqrt(ALT))."""
    return np.where((platelets > 0) & (alt > 0), age * ast / (platelets * np.sqrt(alt)), np.nan)


def _qtc(power: float) -> Callable[..., Floats]:
    """QT over a power of the RR interval in seconds (Bazett 1920: 1/2, Fridericia 1920: 1/3)."""

    def corrected(_: float, qt_ms: Floats, rate: Floats) -> Floats:
        return np.where(rate > 0, qt_ms / (60.0 / rate) ** power, np.nan)

    return corrected


def _cha2ds2_vasc(_: float, age: Floats, sex: Floats, *conditions: Floats) -> Floats:
    """Lip et al. 2010: heart failure, hypertension, diabetes, stroke (2), vascular disease."""
    failure, hypertension, diabetes, stroke, vascular = conditions
    by_age = np.where(age >= 75.0, 2.0, np.where(age >= 65.0, 1.0, 0.0))
    total: Floats = by_age + (sex == 0.0) + failure + hypertension + diabetes
    return total + 2.0 * stroke + vascular


def _as_float(found: NDArray[np.bool_]) -> Floats:
    return found.astype(np.float64)


FORMULAS: Final[Mapping[DerivationMethod, Callable[..., Floats]]] = {
    DerivationMethod.COMPLETED_YEARS_AT_INDEX: _years,
    DerivationMethod.IS_LEVEL: lambda level, x: _as_float(x == level),
    DerivationMethod.SCALE: lambda factor, x: x * factor,
    DerivationMethod.DIFFERENCE: lambda _, x, y: np.where(x >= y, x - y, np.nan),
    DerivationMethod.RATIO: _ratio,
    DerivationMethod.PERCENTAGE: lambda _, x, y: 100.0 * _ratio(_, x, y),
    DerivationMethod.TENFOLD_RATIO: lambda _, x, y: 10.0 * _ratio(_, x, y),
    DerivationMethod.SHARE_OF: lambda _, percent, whole: percent / 100.0 * whole,
    DerivationMethod.PRODUCT: lambda _, x, y: x * y,
    DerivationMethod.AT_LEAST: lambda bound, x: _as_float(x >= bound),
    DerivationMethod.ABOVE: lambda bound, x: _as_float(x > bound),
    DerivationMethod.DAYS_BETWEEN: lambda _, start, end: np.where(
        end >= start, end - start, np.nan
    ),
    DerivationMethod.WITHIN_DAYS: lambda days, start, end: np.where(
        end >= start, _as_float(end - start <= days), np.nan
    ),
    DerivationMethod.BODY_MASS_INDEX: _bmi,
    DerivationMethod.BODY_SURFACE_MOSTELLER: lambda _, weight, height: np.sqrt(
        weight * height / 3600.0
    ),
    DerivationMethod.MEAN_ARTERIAL_PRESSURE: lambda _, systolic, diastolic: np.where(
        systolic >= diastolic, diastolic + (systolic - diastolic) / 3.0, np.nan
    ),
    DerivationMethod.LDL_FRIEDEWALD: _friedewald,
    DerivationMethod.EGFR_CKD_EPI_2021: _ckd_epi,
    DerivationMethod.CLEARANCE_COCKCROFT_GAULT: _cockcroft,
    DerivationMethod.ANION_GAP: lambda _, sodium, chloride, bicarbonate: (
        sodium - chloride - bicarbonate
    ),
    DerivationMethod.CORRECTED_CALCIUM: lambda _, calcium, albumin: (
        calcium + 0.02 * (40.0 - albumin)
    ),
    DerivationMethod.ALBUMIN_CREATININE: lambda _, mg_l, creatinine_mmol_l: _ratio(
        _, mg_l, creatinine_mmol_l * 0.11312
    ),
    DerivationMethod.OSMOLALITY: lambda _, sodium, glucose, urea: 2.0 * sodium + glucose + urea,
    DerivationMethod.HOMA_IR: lambda _, glucose, insulin: glucose * insulin / 22.5,
    DerivationMethod.FIB4: _fib4,
    DerivationMethod.QTC_BAZETT: _qtc(1.0 / 2.0),
    DerivationMethod.QTC_FRIDERICIA: _qtc(1.0 / 3.0),
    DerivationMethod.CHA2DS2_VASC: _cha2ds2_vasc,
}
"""Each takes the derivation's parameter (0 where it has none), then its inputs."""
