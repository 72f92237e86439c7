"""The patients whose records a hospital keeps out of a study, under the steward's signature.

The list never leaves the hospital. The attacker is whoever can write to the agent's disk, but
lacks the steward's key, and would put a patient back in; so a list that is missing, unsigned or
for another study closes the door. Nobody excluded is a signed, empty list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from wardround.errors import WardroundError
from wardround.ids import SiteName, StudyId
from wardround.trust.canonical import canonical, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

PAYLOAD_TYPE = "application/vnd.wardround.exclusions+json"
MAXIMUM_CHARACTERS = 200


@dataclass(frozen=True)
class Exclusions:
    """The excluded patients' identifiers, as the hospital's records spell them; never shown."""

    study: StudyId
    site: SiteName
    issued: date
    patients: frozenset[str] = field(repr=False)


def sign_exclusions(
    study: StudyId, site: SiteName, patients: Iterable[str], key: SigningKey, today: date
) -> Envelope:
    """Sign a list of patients for one study; raises WR-STUDY-082 for an impossible identifier."""
    listed = sorted(set(patients))
    if not all(_is_identifier(patient) for patient in listed):
        raise WardroundError(
            "WR-STUDY-082",
            f"A patient's identifier is empty, longer than {MAXIMUM_CHARACTERS} characters, or "
            "has unprintable characters.",
            "Write one identifier per line, exactly as the hospital's records spell it.",
        )
    payload = {"study": study, "site": site, "issued": today.isoformat(), "patients": listed}
    return sign(PAYLOAD_TYPE, canonical(payload), key)


def load_exclusions(path: Path, study: StudyId, site: SiteName, key: VerifyKey) -> Exclusions:
    """Read and verify the list for this study at this hospital.

    Raises WR-STUDY-080 if there is none, WR-STUDY-081 if it isn't signed by ``key``, was altered
    or is damaged, and WR-STUDY-083 if it is for another study or hospital.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WardroundError(
            "WR-STUDY-080",
            "There is no readable list of excluded patients for this study.",
            "Sign one, even if it is empty: consent is never assumed.",
            path=str(path),
        ) from error
    try:
        payload = verify(Envelope.from_json(data), PAYLOAD_TYPE, key)
        exclusions = _parse(payload)
    except (WardroundError, ValueError):
        # "from None": no part of the list may reach a log.
        raise WardroundError(
            "WR-STUDY-081",
            "The list of excluded patients isn't signed by this hospital's key, or is damaged.",
            "Have the steward sign it again.",
            path=str(path),
        ) from None
    if (exclusions.study, exclusions.site) != (study, site):
        raise WardroundError(
            "WR-STUDY-083",
            "The list of excluded patients is for another study or another hospital.",
            "Have the steward sign one for this study.",
            path=str(path),
        )
    return exclusions


def _parse(payload: bytes) -> Exclusions:
    match parse_json(payload):
        case {
            "study": str(study),
            "site": str(site),
            "issued": str(issued),
            "patients": list(patients),
            **rest,
        } if not rest:
            names = frozenset(patient for patient in patients if _is_identifier(patient))
            if len(names) == len(patients):
                return Exclusions(StudyId(study), SiteName(site), date.fromisoformat(issued), names)
    raise ValueError("not a list of exclusions")


def _is_identifier(patient: object) -> bool:
    return (
        isinstance(patient, str)
        and 0 < len(patient.strip()) <= len(patient) <= MAXIMUM_CHARACTERS
        and patient.isprintable()
    )
