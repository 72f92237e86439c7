"""What the hospitals agree on and sign: the study document, and what follows from it.

Protection profiles, the compliance policy, tasks, approvals, exclusions and each hospital's own
limits. Nothing here computes on records or opens a connection.
"""

from wardround.study.document import Study, study_schema
from wardround.study.policy import CompliancePolicy, policy_schema
from wardround.study.profiles import Profile, Protection, refuse_if_incomplete
from wardround.study.task import Algorithm, Contribution, ModelKind, ModelSpec, Task

__all__ = [
    "Algorithm",
    "CompliancePolicy",
    "Contribution",
    "ModelKind",
    "ModelSpec",
    "Profile",
    "Protection",
    "Study",
    "Task",
    "policy_schema",
    "refuse_if_incomplete",
    "study_schema",
]
