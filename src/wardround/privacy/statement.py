"""What a study promises a patient, as one object that every page prints in the same words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

RELATION = "add or remove one patient"
UNIT = "a patient at one hospital, with all of that patient's records there"


@dataclass(frozen=True)
class Statement:
    """(epsilon, delta)-differential privacy, with everything without which it means nothing.

    ``epsilon`` is the price of all that the study may ever release, repeated rounds included;
    ``epsilon_for_hospitals`` the same for somebody with records at ``hospitals_per_patient``
    hospitals, at the same ``delta``.
    """

    epsilon: float
    delta: float
    relation: str
    unit: str
    hospitals_per_patient: int
    epsilon_for_hospitals: float
    sampling: str
    noise: str
    accountant: str
    assumptions: tuple[str, ...]

    def words(self) -> str:
        """The statement in one sentence, without its assumptions."""
        many = ""
        if self.hospitals_per_patient > 1:
            many = (
                f"; epsilon {short(self.epsilon_for_hospitals)} for somebody who is a patient at "
                f"{self.hospitals_per_patient} hospitals"
            )
        return (
            f"Differential privacy with epsilon {short(self.epsilon)} at delta {short(self.delta)} "
            f"for {self.unit} ({self.relation}){many}."
        )

    def lines(self) -> tuple[tuple[str, str], ...]:
        """The whole statement as labelled lines, in the order in which they are read."""
        labelled = [
            ("guarantee", self.words()),
            ("sampling", self.sampling),
            ("noise", self.noise),
            ("accountant", self.accountant),
        ]
        return (*labelled, *(("assumes", text) for text in self.assumptions))

    def to_json(self) -> dict[str, JSON]:
        """The statement as plain values."""
        plain: dict[str, JSON] = dict(dataclasses.asdict(self))
        plain["assumptions"] = list(self.assumptions)
        return plain

    @classmethod
    def from_json(cls, document: Mapping[str, JSON]) -> Self:
        """Read `to_json`'s values strictly; raises WR-PRIVACY-020 for anything else."""
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        assumptions = document.get("assumptions")
        if set(document) != set(fields) or not isinstance(assumptions, list):
            raise _malformed()
        values: dict[str, object] = {**document, "assumptions": tuple(assumptions)}
        numbers = ("epsilon", "delta", "epsilon_for_hospitals")
        texts = ("relation", "unit", "sampling", "noise", "accountant")
        hospitals = document["hospitals_per_patient"]
        if not (
            all(isinstance(values[name], str) for name in texts)
            and all(isinstance(text, str) for text in assumptions)
            and all(_positive(values[name]) for name in numbers)
            and type(hospitals) is int
            and hospitals >= 1
        ):
            raise _malformed()
        return cls(**values)  # type: ignore[arg-type]  # each was checked above


def short(number: float) -> str:
    """A number with at most four significant digits, as ``1.5`` or ``1e-5``."""
    mantissa, _, exponent = f"{number:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _positive(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(value)) and float(value) > 0  # type: ignore[arg-type]


def _malformed() -> WardroundError:
    return WardroundError(
        "WR-PRIVACY-020",
        "This is no statement of differential privacy.",
        "Take it from the study's evidence file as it was written.",
    )
