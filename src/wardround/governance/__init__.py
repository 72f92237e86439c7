"""What remains when a run is over: the signed model, its report, and evidence that can be checked.

An auditor needs only this package and the files it writes; nothing here opens a connection.
"""

from wardround.governance.artefact import Model, load_model, predict, save_model
from wardround.governance.evidence import (
    BatchRecord,
    EvidenceFile,
    JournalRecord,
    ModelRecord,
    RoundRecord,
)
from wardround.governance.findings import Check, EvidenceLevel, VerificationReport
from wardround.governance.verify import Trust, verify

__all__ = [
    "BatchRecord",
    "Check",
    "EvidenceFile",
    "EvidenceLevel",
    "JournalRecord",
    "Model",
    "ModelRecord",
    "RoundRecord",
    "Trust",
    "VerificationReport",
    "load_model",
    "predict",
    "save_model",
    "verify",
]
