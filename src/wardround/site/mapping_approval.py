"""The steward's signature over a mapping and the shape of its sources: versioned, and voidable.

The attacker is whoever can write to the agent's disk, but lacks the hospital's key, and chance: an
EHR's upgrade that gives a column another type. Either way the old approval no longer counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wardround.clinical import MAPPING_TYPE, Mapping
from wardround.clinical.schema import Shape, changes, shape_of
from wardround.errors import WardroundError
from wardround.governance.files import write_whole
from wardround.ids import Digest
from wardround.trust.canonical import JSON, canonical, parse_digest, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey


@dataclass(frozen=True)
class MappingApproval:
    """Which mapping was approved, over which shape; each approval of a hospital has a number."""

    mapping: Digest
    version: int
    shape: Shape
    day: date


def approve_mapping(
    path: Path, mapping: Mapping, folder: Path, key: SigningKey, today: date
) -> MappingApproval:
    """Sign ``mapping`` over its sources as they are now; the version before is one less."""
    try:
        version = load_approval(path, key.public).version + 1
    except WardroundError:
        version = 1
    shape = shape_of(mapping, folder)
    approval = MappingApproval(mapping.digest, version, shape, today)
    payload: dict[str, JSON] = {
        "mapping": mapping.digest,
        "version": version,
        "shape": {source: dict(columns) for source, columns in shape.items()},
        "day": today.isoformat(),
    }
    write_whole(path, sign(MAPPING_TYPE, canonical(payload), key).to_json())
    return approval


def load_approval(path: Path, key: VerifyKey) -> MappingApproval:
    """The approval, if the hospital's key signed it; else WR-SITE-007."""
    try:
        payload = verify(Envelope.from_json(path.read_bytes()), MAPPING_TYPE, key)
        match parse_json(payload):
            case {
                "mapping": str(mapping),
                "version": int(version),
                "shape": dict(shape),
                "day": str(day),
                **rest,
            } if not rest:
                return MappingApproval(
                    parse_digest(mapping), version, _shape(shape), date.fromisoformat(day)
                )
    except (OSError, WardroundError, ValueError) as error:
        raise unsigned_mapping(path) from error
    raise unsigned_mapping(path)


def require_same_shape(approval: MappingApproval, now: Shape) -> None:
    """Raise WR-SITE-017, saying what has changed, unless the sources have the approved shape."""
    found = changes(approval.shape, now)
    if found:
        raise WardroundError(
            "WR-SITE-017",
            f"A source has changed since the mapping was approved: {'; '.join(found)}.",
            "Look at it with `wardround site data check`, mend the mapping if need be, and "
            "approve the study again.",
        )


def unsigned_mapping(path: Path) -> WardroundError:
    """The error for a mapping that is not the signed one."""
    return WardroundError(
        "WR-SITE-007",
        "The mapping is not the one that the steward signed.",
        "Review the change and approve the study again with `wardround site approve`.",
        path=str(path),
    )


def _shape(value: dict[str, JSON]) -> Shape:
    shape: dict[str, dict[str, str]] = {}
    for source, columns in value.items():
        if not isinstance(columns, dict):
            raise ValueError("no shape")
        shape[source] = {name: str(kind) for name, kind in columns.items()}
    return shape
