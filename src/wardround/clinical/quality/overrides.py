"""What a steward lets pass: signed, with a reason and a last day, for one study and one mapping.

The attacker is whoever can write to the agent's disk, but lacks the hospital's key, and would get
bad records past a check. A missing file is no override, which only makes the agent stricter; a
file that isn't the hospital's own, or is for another study, hospital or mapping, closes the door.
An older signed file can be put back; it ends on the day it states, and at the latest a year on.
What was let pass is what the steward saw: an override lapses when its finding got much worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import NoReturn

from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName, StudyId
from wardround.trust.canonical import JSON, canonical, parse_digest, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

PAYLOAD_TYPE = "application/vnd.wardround.overrides+json"
LONGEST = timedelta(days=366)
MUCH_WORSE = 1.25
"""An override holds while its finding is at most so many times as bad as when it was signed."""

_SHORTEST_REASON, _LONGEST_TEXT = 10, 500


@dataclass(frozen=True)
class Override:
    """One block that ``steward`` lets pass from ``day`` to ``expires`` (UTC dates), and why.

    ``concept`` is None for a finding over all concepts together; ``badness`` is the finding's when
    it was let pass. Raises WR-DATA-079 for a check that can't be overridden, a reason that is none,
    an unnamed steward, or days out of order.
    """

    check: Check
    concept: str | None
    reason: str
    steward: str
    day: date
    expires: date
    badness: float | None

    def __post_init__(self) -> None:
        if not self.check.overridable:
            raise WardroundError(
                "WR-DATA-079",
                f"The check {self.check.value} can't be overridden: it protects single patients.",
                "Mend what it names, or leave the study.",
                path=self.check.value,
            )
        texts = (self.reason, self.steward, *(() if self.concept is None else (self.concept,)))
        if len(self.reason.strip()) < _SHORTEST_REASON:
            self._refuse("has no reason in words", "Say in a sentence why this block may pass.")
        if not self.steward.strip():
            self._refuse("lacks the steward's name", "Say who decides.")
        if not all(len(text) <= _LONGEST_TEXT and text.isprintable() for text in texts):
            self._refuse(
                f"has a reason or a name of more than one line or of over {_LONGEST_TEXT} letters",
                "Say it in a sentence.",
            )
        if not self.day <= self.expires <= self.day + LONGEST:
            self._refuse(
                "ends before its first day, or more than a year after it",
                "Give a last day within a year.",
            )

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise WardroundError("WR-DATA-079", f"The override {what}.", remedy, path=self.check.value)

    def covers(self, finding: Finding) -> bool:
        """Whether a finding of its check and concept is still about as bad as what was signed."""
        if self.badness is None or finding.badness is None:
            return self.badness is finding.badness
        return finding.badness <= self.badness * MUCH_WORSE

    def words(self) -> str:
        """The override as every report shows it."""
        return (
            f"Let pass by {self.steward} on {self.day.isoformat()}, "
            f"until {self.expires.isoformat()}: {self.reason}"
        )


@dataclass(frozen=True)
class Overrides:
    """All that one hospital lets pass for one study, as read through one mapping."""

    study: StudyId
    site: SiteName
    mapping: Digest
    statements: tuple[Override, ...] = ()

    def find(self, finding: Finding, today: date) -> Override | None:
        """The statement that lets a finding pass today, if there is one."""
        return next((one for one in self._now(finding, today) if one.covers(finding)), None)

    def ended(self, finding: Finding, today: date) -> str | None:
        """Why a statement about a finding holds no longer, in a sentence, if there was one."""
        if next(iter(self._now(finding, today)), None) is not None:
            return (
                "An override of it was signed when it was less bad, by more than a quarter, and "
                "has lapsed."
            )
        past = [one.expires for one in self._about(finding) if one.expires < today]
        return f"An override of it ended on {max(past).isoformat()}." if past else None

    def _now(self, finding: Finding, today: date) -> Iterable[Override]:
        return (one for one in self._about(finding) if one.day <= today <= one.expires)

    def _about(self, finding: Finding) -> Iterable[Override]:
        about = (finding.check, finding.concept)
        return (one for one in self.statements if (one.check, one.concept) == about)


def sign_overrides(overrides: Overrides, key: SigningKey) -> Envelope:
    """Sign every statement together, with the hospital's key."""
    payload: dict[str, JSON] = {
        "study": overrides.study,
        "site": overrides.site,
        "mapping": overrides.mapping,
        "overrides": [
            {
                "check": one.check.value,
                "concept": one.concept,
                "reason": one.reason,
                "steward": one.steward,
                "day": one.day.isoformat(),
                "expires": one.expires.isoformat(),
                "badness": one.badness,
            }
            for one in overrides.statements
        ],
    }
    return sign(PAYLOAD_TYPE, canonical(payload), key)


def load_overrides(
    path: Path, study: StudyId, site: SiteName, mapping: Digest, key: VerifyKey
) -> Overrides:
    """Read and verify what the hospital lets pass; without a file, nothing.

    Raises WR-DATA-077 if the file isn't signed by ``key``, was altered, is damaged or unreadable,
    and WR-DATA-078 if it is for another study, hospital or mapping.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Overrides(study, site, mapping)
    except OSError:
        raise _unsigned(path) from None
    try:
        overrides = _parse(verify(Envelope.from_json(data), PAYLOAD_TYPE, key))
    except (WardroundError, ValueError):
        raise _unsigned(path) from None
    if (overrides.study, overrides.site, overrides.mapping) != (study, site, mapping):
        raise WardroundError(
            "WR-DATA-078",
            "The signed overrides are for another study, another hospital, or another version of "
            "the mapping.",
            "Look at the findings again, and sign overrides for what is in force now.",
            path=str(path),
        )
    return overrides


def apply(findings: Sequence[Finding], overrides: Overrides, today: date) -> tuple[Finding, ...]:
    """The findings, in which each block that is overridden today warns and says by whom and why.

    A block whose override has ended or lapsed stands, and says so.
    """
    return tuple(
        _apply(finding, overrides, today) if finding.level is Level.BLOCK else finding
        for finding in findings
    )


def _apply(finding: Finding, overrides: Overrides, today: date) -> Finding:
    if not finding.check.overridable:
        return finding
    override = overrides.find(finding, today)
    if override is not None:
        return replace(finding, level=Level.WARN, override=override.words())
    ended = overrides.ended(finding, today)
    if ended is None:
        return finding
    return replace(finding, remedy=f"{ended} {finding.remedy}")


def _unsigned(path: Path) -> WardroundError:
    return WardroundError(
        "WR-DATA-077",
        "The overrides aren't signed by this hospital's key, were altered, or can't be read.",
        "Have the steward sign them again, or remove the file: then nothing is overridden.",
        path=str(path),
    )


def _parse(payload: bytes) -> Overrides:
    match parse_json(payload):
        case {
            "study": str(study),
            "site": str(site),
            "mapping": str(mapping),
            "overrides": list(listed),
            **rest,
        } if not rest:
            statements = tuple(_statement(one) for one in listed)
            return Overrides(StudyId(study), SiteName(site), parse_digest(mapping), statements)
    raise ValueError("not a list of overrides")


def _statement(value: JSON) -> Override:
    match value:
        case {
            "check": str(check),
            "concept": str() | None as concept,
            "reason": str(reason),
            "steward": str(steward),
            "day": str(day),
            "expires": str(expires),
            "badness": int() | float() | None as badness,
            **rest,
        } if not rest and not isinstance(badness, bool):
            return Override(
                Check(check),
                concept,
                reason,
                steward,
                date.fromisoformat(day),
                date.fromisoformat(expires),
                None if badness is None else float(badness),
            )
    raise ValueError("not an override")
