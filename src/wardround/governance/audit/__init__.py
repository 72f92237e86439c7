"""A simulated privacy audit: attacks on a study's own mechanism, over public or made-up patients.

Nothing here touches a hospital's records or ledger: it costs no budget and shows no patient.
"""

from wardround.governance.audit.cohort import Cohort, made_up, read_table
from wardround.governance.audit.page import render_audit, save_audit
from wardround.governance.audit.result import PrivacyAudit, Settings
from wardround.governance.audit.run import run_audit

__all__ = [
    "Cohort",
    "PrivacyAudit",
    "Settings",
    "made_up",
    "read_table",
    "render_audit",
    "run_audit",
    "save_audit",
]
