"""The check of a study's groups: that all hospitals drew them, and that each kept to its own."""

from __future__ import annotations

from wardround.governance.case import Case, require
from wardround.secagg import MAXIMUM_DRAWS, Acceptance
from wardround.secagg.draw import payloads_digest


def check_groups(case: Case) -> str:
    """The groups follow from what every hospital revealed, and whoever was summed accepted them."""
    record, drawn = case.evidence.partition, case.partitions
    if record is None or drawn is None:
        return "There are none."  # `Case.partitions` has raised where there should be
    found = (
        record.draw,
        payloads_digest(record.commitments),
        payloads_digest(record.reveals),
        drawn.digest,
    )
    for site, envelope in record.acceptances.items():
        require(site in case.keys, f"{site} is no hospital of this study.")
        said = Acceptance.open(envelope, case.keys[site])
        require(
            (said.study, said.site) == (case.study.digest, site)
            and (said.draw, said.commitments, said.reveals, said.partition) == found,
            f"{site} accepted other groups.",
        )
    summed = {site for one in case.rounds for site in one.manifest.roster}
    missing = sorted(summed - record.acceptances.keys())
    require(not missing, f"{', '.join(missing)} took part and never accepted the groups.")
    groups = drawn.at(0).groups
    sizes = ", ".join(str(len(group)) for group in groups)
    agreed = case.study.cohort.groups
    kept = "every round keeps to one group."
    if agreed is not None and agreed.redraw_steps is not None:
        numbers = {case.study.partition_number(one.manifest.step) for one in case.rounds}
        kept = (
            f"{len(numbers)} partitions follow from that, a new one every "
            f"{agreed.redraw_steps} steps; every round keeps to one group of its own."
        )
    thrown_away = ""
    if record.draw:
        thrown_away = "; whoever ended an earlier draw may have known its outcome"
    return (
        f"{len(groups)} groups of {sizes} hospitals follow from what all "
        f"{len(case.keys)} hospitals committed to and revealed (draw {record.draw + 1} of at most "
        f"{MAXIMUM_DRAWS}{thrown_away}); "
        f"{len(record.acceptances)} accepted them; {kept}"
    )
