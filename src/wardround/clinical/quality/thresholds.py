"""Where each check starts to warn and to block: the hospital's own, with careful defaults.

The least cell and cohort are no thresholds: they are terms of the study and the policy, and
nothing that is written here reaches them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import custom_error_schema

THRESHOLD_CODE = "WR-DATA-070"
_TYPE = "wardround_bound"
"""The kind of error that `study.rules` turns into a `WardroundError` for the steward."""


class _Bound:
    """Bounds of a threshold, reported under this module's code with the usual value as remedy."""

    def __init__(self, low: float, high: float, usual: float) -> None:
        self.must = f"be a number from {low:g} to {high:g}"
        self.remedy = f"{usual:g} is usual."

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return custom_error_schema(
            handler(source),
            custom_error_type=_TYPE,
            custom_error_message=self.must,
            custom_error_context=_context(self.must, self.remedy),
        )


def _context(must: str, remedy: str) -> dict[str, str | int | float]:
    return {"code": THRESHOLD_CODE, "must": must, "remedy": remedy}


class Thresholds(BaseModel):
    """The table ``[quality]`` of ``hospital.toml``. Shares are from 0 to 1.

    Where a check both warns and blocks, it may not block before it warns.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    missing_warn: Annotated[float, Field(ge=0.01, le=0.9), _Bound(0.01, 0.9, 0.2)] = 0.20
    """Share of patients without a usable value of a concept, above which it warns."""

    missing_block: Annotated[float, Field(ge=0.02, le=0.95), _Bound(0.02, 0.95, 0.5)] = 0.50
    """The same share, and the shares of zeros and of stand-in numbers, above which it blocks."""

    unit_mismatch_block: Annotated[float, Field(ge=0.0, le=0.5), _Bound(0.0, 0.5, 0.05)] = 0.05
    """Share of values in no or a wrong unit, above which it blocks; any at all warns."""

    range_warn: Annotated[float, Field(ge=0.0, le=0.5), _Bound(0.0, 0.5, 0.01)] = 0.01
    """Share of values outside a concept's plausible range, above which it warns."""

    range_block: Annotated[float, Field(ge=0.01, le=0.9), _Bound(0.01, 0.9, 0.2)] = 0.20
    """The same share, above which it blocks."""

    unreadable_warn: Annotated[float, Field(ge=0.0, le=0.5), _Bound(0.0, 0.5, 0.01)] = 0.01
    """Share of values that can't be read as what they should be, above which it warns."""

    unreadable_block: Annotated[float, Field(ge=0.01, le=0.9), _Bound(0.01, 0.9, 0.2)] = 0.20
    """The same share, above which it blocks."""

    impossible_dates_block: Annotated[float, Field(ge=0.0, le=0.5), _Bound(0.0, 0.5, 0.05)] = 0.05
    """Share of dates that can't be, above which it blocks; any at all warns."""

    january_warn: Annotated[float, Field(ge=0.01, le=1.0), _Bound(0.01, 1.0, 0.05)] = 0.05
    """Share of dates on 1 January (by chance 0.3 %), above which it warns."""

    heaping_warn: Annotated[float, Field(ge=0.2, le=1.0), _Bound(0.2, 1.0, 0.5)] = 0.50
    """Share of the commonest last digit of a number (by chance 10 %), above which it warns."""

    duplicates_block: Annotated[float, Field(ge=0.0, le=0.5), _Bound(0.0, 0.5, 0.05)] = 0.05
    """Share of patients who look like another, above which it blocks; any at all warns."""

    minority_block: Annotated[int, Field(ge=5, le=10_000), _Bound(5, 10_000, 10)] = 10
    """With fewer patients in the rarer class of the outcome, it blocks."""

    leakage_auc: Annotated[float, Field(ge=0.8, le=0.9999), _Bound(0.8, 0.9999, 0.98)] = 0.98
    """AUC of a single feature for the outcome, above which it warns of leakage."""

    psi_watch: Annotated[float, Field(ge=0.02, le=1.0), _Bound(0.02, 1.0, 0.1)] = 0.10
    """Population stability index against the federation, above which it warns."""

    psi_alarm: Annotated[float, Field(ge=0.05, le=10.0), _Bound(0.05, 10.0, 0.25)] = 0.25
    """The same index, above which it blocks."""

    prevalence_warn: Annotated[float, Field(ge=0.02, le=1.0), _Bound(0.02, 1.0, 0.2)] = 0.20
    """Difference between the outcome's share here and in the federation, above which it warns."""

    @model_validator(mode="after")
    def _warn_before_block(self) -> Self:
        pairs = (
            ("missing_warn", "missing_block"),
            ("range_warn", "range_block"),
            ("unreadable_warn", "unreadable_block"),
            ("psi_watch", "psi_alarm"),
        )
        for warn, block in pairs:
            if getattr(self, warn) > getattr(self, block):
                must = f"have {warn} at most as large as {block}"
                raise PydanticCustomError(_TYPE, must, _context(must, "Lower the first of them."))
        return self
