"""The check of a study's groups: that all hospitals drew them, and that each kept to its own."""

from __future__ import annotations

from wardround.governance.case import Case, require
from wardround.secagg import MAXIMUM_DRAWS, Acceptance
from wardround.secagg.draw import payloads_digest


def check_groups(case: Case) -> str:
    """The groups follow from what every hospital revealed, and whoever was summed accepted them."""
    record, partition = case.evidence.partition, case.partition
    if record is None or partition is None:
        return "There are none."  # `Case.partition` has raised where there should be
    found = (
        record.draw,
        payloads_digest(record.commitments),
        payloads_digest(record.reveals),
        partition.digest,
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
    sizes = ", ".join(str(len(group)) for group in partition.groups)
    thrown_away = ""
    if record.draw:
        thrown_away = "; whoever ended an earlier draw may have known its outcome"
    return (
        f"{len(partition.groups)} groups of {sizes} hospitals follow from what all "
        f"{len(case.keys)} hospitals committed to and revealed (draw {record.draw + 1} of at most "
        f"{MAXIMUM_DRAWS}{thrown_away}); "
        f"{len(record.acceptances)} accepted them; every round keeps to one group."
    )
