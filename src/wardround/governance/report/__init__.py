"""A study's report: one self-contained page, without scripts and without outside resources."""

from wardround.governance.report.build import report_data
from wardround.governance.report.data import (
    CalibrationBin,
    Coefficient,
    Evaluation,
    LocalReport,
    ModelFacts,
    Performance,
    ReportData,
    RidgeLoss,
    RoundFacts,
    Sandbox,
    SetupFacts,
    SiteTraffic,
    StudyFacts,
)
from wardround.governance.report.render import render_report, save_report

__all__ = [
    "CalibrationBin",
    "Coefficient",
    "Evaluation",
    "LocalReport",
    "ModelFacts",
    "Performance",
    "ReportData",
    "RidgeLoss",
    "RoundFacts",
    "Sandbox",
    "SetupFacts",
    "SiteTraffic",
    "StudyFacts",
    "render_report",
    "report_data",
    "save_report",
]
