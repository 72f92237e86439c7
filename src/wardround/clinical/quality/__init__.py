"""Whether a hospital's records are good enough for a study, and who says so when they aren't.

Checks are pure functions over the harmonised records; each warns or blocks by the hospital's own
thresholds. A steward may let a block pass, signed and with a reason, except where the check
protects single patients. What stands in the profile page stays in the hospital.
"""

from wardround.clinical.quality.checks import check
from wardround.clinical.quality.drift import stability_index
from wardround.clinical.quality.finding import Check, Finding, Level, public_usage
from wardround.clinical.quality.material import ConceptMaterial, Federation, Histogram, Material
from wardround.clinical.quality.minimums import Minimums
from wardround.clinical.quality.overrides import (
    Override,
    Overrides,
    apply,
    load_overrides,
    sign_overrides,
)
from wardround.clinical.quality.thresholds import Thresholds
from wardround.clinical.quality.verdict import override_command, summary, verdict

__all__ = [
    "Check",
    "ConceptMaterial",
    "Federation",
    "Finding",
    "Histogram",
    "Level",
    "Material",
    "Minimums",
    "Override",
    "Overrides",
    "Thresholds",
    "apply",
    "check",
    "load_overrides",
    "override_command",
    "public_usage",
    "sign_overrides",
    "stability_index",
    "summary",
    "verdict",
]
