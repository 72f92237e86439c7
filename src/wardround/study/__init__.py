"""What the hospitals agree on and sign: the study document, and what follows from it.

Protection profiles, the compliance policy, tasks, approvals, exclusions and each hospital's own
limits. Nothing here computes on records or opens a connection.
"""

from wardround.study.approval import Approval, approve, check_approval
from wardround.study.document import Study, study_schema
from wardround.study.exclusions import Exclusions, load_exclusions, sign_exclusions
from wardround.study.hospital import HospitalPolicy, Terms, combine, hospital_schema
from wardround.study.policy import CompliancePolicy, policy_schema
from wardround.study.profiles import (
    POLICY_PROTECTIONS,
    PROMISES,
    Profile,
    Promise,
    Protection,
    missing,
    refuse_if_incomplete,
)
from wardround.study.task import Algorithm, Contribution, ModelKind, ModelSpec, Task

__all__ = [
    "POLICY_PROTECTIONS",
    "PROMISES",
    "Algorithm",
    "Approval",
    "CompliancePolicy",
    "Contribution",
    "Exclusions",
    "HospitalPolicy",
    "ModelKind",
    "ModelSpec",
    "Profile",
    "Promise",
    "Protection",
    "Study",
    "Task",
    "Terms",
    "approve",
    "check_approval",
    "combine",
    "hospital_schema",
    "load_exclusions",
    "missing",
    "policy_schema",
    "refuse_if_incomplete",
    "sign_exclusions",
    "study_schema",
]
