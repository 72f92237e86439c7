"""Attacks on what a private study releases, as pure functions: they try, and say how far they got.

Each takes the released numbers, or a callable that trains or releases, and reports its success
beside what would be had without it. What an attack finds is a lower bound of what can be learnt.
That it finds nothing shows nothing: the guarantee is the accountant's, never an attack's.
"""

from wardround.privacy.attacks.attribute import AttributeResult, infer_attribute
from wardround.privacy.attacks.canaries import (
    CanaryPlan,
    CanaryResult,
    audit_in_one_run,
    lower_bound,
    p_value,
)
from wardround.privacy.attacks.inversion import (
    Reconstruction,
    invert_layer,
    relative_error,
)
from wardround.privacy.attacks.matching import (
    GeneralisedLinearGradient,
    Match,
    NetworkGradient,
    RecordGradient,
    match_gradient,
)
from wardround.privacy.attacks.membership import MembershipResult, Train, infer_membership
from wardround.privacy.attacks.rates import Curve, curve_of, most_advantage, most_true_positives

__all__ = [
    "AttributeResult",
    "CanaryPlan",
    "CanaryResult",
    "Curve",
    "GeneralisedLinearGradient",
    "Match",
    "MembershipResult",
    "NetworkGradient",
    "Reconstruction",
    "RecordGradient",
    "Train",
    "audit_in_one_run",
    "curve_of",
    "infer_attribute",
    "infer_membership",
    "invert_layer",
    "lower_bound",
    "match_gradient",
    "most_advantage",
    "most_true_positives",
    "p_value",
    "relative_error",
]
