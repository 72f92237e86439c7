"""What a study would find at a hospital, looked at before the steward signs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wardround.clinical import Mapping
from wardround.clinical.harmonise import find_routes
from wardround.clinical.quality import Level
from wardround.errors import WardroundError
from wardround.site.home import SiteHome
from wardround.site.mapping_approval import load_approval
from wardround.site.onboarding import Onboarding
from wardround.study import Study


@dataclass(frozen=True)
class Outlook:
    """What a mapping comes to for a study; ``used`` and what follows it is None where unknown.

    ``version`` is the number that this mapping's approval would get.
    """

    version: int
    missing: tuple[str, ...]
    used: int | None = None
    records: int | None = None
    blocks: tuple[str, ...] | None = None
    trouble: WardroundError | None = None

    def rows(self) -> list[tuple[str, str]]:
        """It, in words."""
        rows = [("mapping", f"version {self.version} of this hospital's, by this approval")]
        if self.missing:
            lacks = f"LACKS {', '.join(self.missing)}: the study can't work with it"
            return [*rows, ("concepts", lacks)]
        rows.append(("concepts", "the mapping has everything that the study needs"))
        if self.trouble is not None:
            why = f"NOT KNOWN, the records can't be looked at: {self.trouble}"
            return [*rows, ("usable records", why)]
        blocks = self.blocks or ()
        held_up = "none of the checks blocks"
        if blocks:
            held_up = (
                f"{len(blocks)} BLOCK{'S' if len(blocks) == 1 else ''} "
                f"({', '.join(blocks)}): no answer until they are mended or let pass"
            )
        return [*rows, ("usable records", f"{self.used} of {self.records}"), ("checks", held_up)]


def look_ahead(
    home: SiteHome, study: Study, mapping: Path, left_out: Collection[str] | None
) -> Outlook:
    """What ``study`` would find with the mapping in a file; nothing is signed or written.

    ``left_out`` are the patients whom the steward is about to exclude; None where the signed list
    stays. Raises what reading the mapping raises; of the records, trouble is part of the answer.
    """
    onboarding = Onboarding(home, path=mapping)
    read = onboarding.mapping
    try:
        version = load_approval(home.mapping_approval_path, home.signing_key.public).version + 1
    except WardroundError:
        version = 1
    missing = tuple(one for one in study.data.needed if _is_missing(onboarding, read, one))
    if missing:
        return Outlook(version, missing)
    try:
        preview = onboarding.preview(study, left_out=left_out)
    except WardroundError as error:
        return Outlook(version, (), trouble=error)
    blocks = tuple(
        " ".join(part for part in (one.check.value, one.concept) if part)
        for one in preview.findings
        if one.level is Level.BLOCK
    )
    return Outlook(version, (), preview.used, preview.records, blocks)


def _is_missing(onboarding: Onboarding, mapping: Mapping, concept: str) -> bool:
    try:
        find_routes(mapping, onboarding.graph, (concept,))
    except WardroundError:
        return True
    return False
