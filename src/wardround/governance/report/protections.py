"""What protected a run, and what that protection does not do, in sentences for any reader.

A page that names a protection also names its limit (DESIGN sections 5, 6 and 12). The profile
``clinical`` gets its sentences together with its protections.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.governance.report.data import ReportData

AGREED = "Hospitals agreed first."


@dataclass(frozen=True)
class Statement:
    """A bold claim and the sentence that explains it."""

    claim: str
    meaning: str


def in_force(data: ReportData) -> tuple[Statement, ...]:
    """The protections that were applied in this run."""
    study = data.study
    opened = sum(entry.opened_numbers for entry in data.rounds)
    limit = study.opened_numbers_limit
    statements = [
        Statement(
            "Only sums were opened.",
            "Every vector left its hospital under one-time masks; the coordinator could open "
            f"nothing but a total over at least {study.minimum_survivors} hospitals.",
        ),
        *_noise(data),
        *_groups(data),
        Statement(
            AGREED,
            "Each approved this exact study with its own key, and its agent answered nothing else.",
        ),
        *_small_groups(data),
        Statement(
            "Opened numbers were counted.",
            f"{opened:,} in all"
            + (f", of at most {limit:,} that the study allows." if limit is not None else "."),
        ),
        Statement(
            "Every step is on record.",
            "Manifests, packets and votes are signed and stand in an append-only journal.",
        ),
    ]
    confined = [site for site in data.sites if site.sandbox.enforced]
    if confined and not any(site.sandbox.simulated for site in confined):
        everywhere = set(confined[0].sandbox.enforced).intersection(
            *(site.sandbox.enforced for site in confined)
        )
        names = ", ".join(sorted(name.replace("_", " ") for name in everywhere))
        statements.insert(
            statements.index(next(one for one in statements if one.claim == AGREED)) + 1,
            Statement(
                "The computation was confined.",
                f"Limits enforced at every hospital that reported: {names or 'none in common'}.",
            ),
        )
    return tuple(statements)


def _noise(data: ReportData) -> tuple[Statement, ...]:
    """What stands between a patient and the totals, in a private study."""
    if data.privacy is None:
        return ()
    return (
        Statement("Differential privacy.", data.privacy.words),
        Statement(
            "Every patient counts alike, and little.",
            "Each patient’s part was shortened to one length by the hospital’s own agent, outside "
            "the process that computes, before anything was summed; then noise from a "
            "cryptographic generator was added in whole steps.",
        ),
        Statement(
            "Every answer was paid for first.",
            "Each hospital’s ledger was charged durably before a contribution left, and its head "
            "is witnessed by the other hospitals.",
        ),
    )


def _groups(data: ReportData) -> tuple[Statement, ...]:
    """Over whom the totals were, where that is not everybody."""
    study = data.study
    if study.groups is None:
        return ()
    smaller, larger = divmod(len(study.sites), study.groups)
    size = f"{smaller}" if not larger else f"{smaller} or {smaller + 1}"
    groups = f"Groups: sums over {study.groups} random groups of {size} hospitals"
    drawn = (
        "Who is with whom was drawn by all hospitals together, once for the study (each "
        "committed itself before any revealed), and each hospital’s agent sums with its own "
        "group only. The coordinator knows each group’s total. Each is protected as if every "
        "corrupt hospital of the study were in that group."
    )
    if study.redraw_steps is None:
        return (Statement(f"{groups}.", drawn),)
    every = "step" if study.redraw_steps == 1 else f"{study.redraw_steps} steps"
    return (
        Statement(
            f"{groups}, others after every {every}.",
            f"{drawn} All later groups follow from the same draw. Sums over other groups of the "
            "same hospitals can be subtracted: in the course of a run the coordinator learns much "
            "about what each hospital’s own sums were. What protects a patient is the noise in "
            "each group’s total, and every total is counted.",
        ),
    )


def _small_groups(data: ReportData) -> tuple[Statement, ...]:
    """In a study of public records that rule is off, which `limits` says."""
    study = data.study
    if study.minimum_cell == 0 or data.privacy is not None:
        return ()
    return (
        Statement(
            "Small groups stayed out.",
            f"A hospital with fewer than {study.minimum_cohort} training records, or fewer than "
            f"{study.minimum_cell} {_group(data)}, took no part at all. In histograms of features "
            f"its cells below {study.minimum_cell} were sent as zero; "
            f"{_cells(data.suppressed_cells)} withheld in this run.",
        ),
    )


def limits(data: ReportData) -> tuple[Statement, ...]:
    """What the same protections leave open."""
    lacking = sorted({name.replace("_", " ") for s in data.sites for name in s.sandbox.missing})
    statements = [
        *(_without_noise(data) if data.privacy is None else _of_noise(data)),
        Statement(
            "Truth is not shown.",
            "Signatures show who said what, not that a hospital’s records were true or complete.",
        ),
        Statement(
            "No attested hardware.",
            "Whoever runs a hospital’s own computer can read what is on it.",
        ),
    ]
    if lacking:
        statements.append(
            Statement(
                "Some hosts could not enforce every limit.",
                f"Missing at one hospital or more: {', '.join(lacking)}.",
            )
        )
    if any(site.sandbox.simulated for site in data.sites):
        statements.append(
            Statement("Simulated confinement.", "The computation ran without a sandbox.")
        )
    return tuple(statements)


def _without_noise(data: ReportData) -> list[Statement]:
    statements = [
        Statement(
            "No differential privacy.",
            "No noise was added, so the totals are exact. Whoever knows every record of a total "
            "but one can work out that one.",
        ),
        Statement(
            "Two sums can be subtracted.",
            "Sums over cohorts that differ by one hospital give that hospital’s numbers: when it "
            "drops out between two steps that ask almost the same, or when the study is run again "
            "without it. Only noise prevents this.",
        ),
        Statement(
            "The model may remember.",
            "A fitted model can reveal something about the people it was fitted to.",
        ),
    ]
    if data.model.kind == "logistic":
        statements.insert(
            1,
            Statement(
                "Cells of score histograms are exact.",
                "AUROC and calibration come from counts per bin of the score; one may hold a "
                "single person of the whole federation.",
            ),
        )
    if data.study.minimum_cell == 0:
        statements.insert(
            0,
            Statement(
                "Small groups were not protected.",
                "The study has no smallest cell (minimum_cell = 0), as only records that are "
                "public anyway may be used: sums may be about a single person.",
            ),
        )
    return statements


def _of_noise(data: ReportData) -> list[Statement]:
    return [
        Statement(
            "Epsilon is a bound, not a wall.",
            "It limits how much better anybody can guess that a patient took part; what is true of "
            "everybody, a model may still say of each.",
        ),
        Statement(
            "It holds under its assumptions.",
            "They stand under Privacy above. Which hospitals took part is public, and so is that "
            "one of them refused.",
        ),
        Statement(
            "Figures carry noise.",
            "Coefficients and performance are less certain than the same figures without noise; "
            "intervals include it where they are given.",
        ),
    ]


def adversary(data: ReportData) -> str:
    """The adversary statement of the study, and the thresholds that follow from it."""
    study = data.study
    match study.corrupt_sites:
        case 0:
            corrupt = "no hospital is assumed to collude with it"
        case 1:
            corrupt = "one hospital may be corrupt and collude with it"
        case many:
            corrupt = f"up to {many} hospitals may be corrupt and collude with it"
    members = f"{len(study.sites)} hospitals"
    if study.groups is not None:
        members = f"{len(study.sites) // study.groups} hospitals of a group"
    return (
        f"The coordinator may do anything; {corrupt}; hospitals may drop out at any time. "
        f"It follows that {study.threshold} of {members} must sign one "
        f"survivor set before a total can be opened, over at least {study.minimum_survivors} "
        "hospitals."
    )


def _group(data: ReportData) -> str:
    if data.model.kind == "linear":
        return "test records"
    return "records with or without the outcome in its training or test part"


def _cells(count: int) -> str:
    match count:
        case 0:
            return "no number was"
        case 1:
            return "one number was"
        case many:
            return f"{many:,} numbers were"
