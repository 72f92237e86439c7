"""What a verification found: every check by name, and what no check could show."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

EvidenceLevel = Literal["E0", "E1", "E2", "E3"]
"""How strong a claim is: E0 signed statement, E1 committed test set, E2 attested evaluation,
E3 zero-knowledge proof."""

LEVELS: dict[EvidenceLevel, str] = {
    "E0": "signed statement",
    "E1": "committed test set",
    "E2": "attested evaluation",
    "E3": "zero-knowledge proof",
}


class Check(BaseModel):
    """One thing that was checked: its name, whether it held, and what was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ok: bool
    detail: str


class VerificationReport(BaseModel):
    """The outcome of verifying one evidence file.

    ``checks`` are in the order they were made. ``not_checked`` says, in sentences, what the
    file cannot show; it is never empty, since no evidence shows that data were true.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[Check, ...]
    not_checked: tuple[str, ...]
    level: EvidenceLevel = "E0"

    @property
    def ok(self) -> bool:
        """Whether there was something to check and every check held."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(check for check in self.checks if not check.ok)
