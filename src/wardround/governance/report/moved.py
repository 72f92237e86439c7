"""What went over the hospitals' lines: exact bytes, for what, and by hospital."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wardround.governance.report.data import ReportData, SiteTraffic


@dataclass
class Line:
    """A line of the table: bytes that hospitals sent and received."""

    label: str
    sent: int = 0
    received: int = 0

    def add(self, moved: Iterable[SiteTraffic]) -> None:
        """Count these, too."""
        for one in moved:
            self.sent += one.bytes_in
            self.received += one.bytes_out


@dataclass
class MovedTable:
    """By what it was for, by hospital, and in all, which is the sum of either.

    ``least`` says that a coordinator was started again, and that more may have been moved.
    """

    purposes: list[Line] = field(default_factory=list)
    hospitals: list[Line] = field(default_factory=list)
    total: Line = field(default_factory=lambda: Line("In all"))
    least: bool = False


def moved(data: ReportData) -> MovedTable | None:
    """The table, or None where nothing was counted."""
    parts: dict[str, list[Mapping[str, SiteTraffic]]] = {
        "Set-ups of masking keys": [one.traffic for one in data.setups],
        "Rounds": [],
        "Late cohorts": [],
        "Streams, between cohorts": [],
        "Before, between and after": [],
    }
    for entry in data.rounds:
        parts["Late cohorts" if ".c." in entry.round else "Rounds"].append(entry.traffic)
    for name, traffic in data.other_traffic.items():
        if ".c." in name:  # it failed before it masked
            parts["Late cohorts"].append(traffic)
        elif ".s" in name:
            parts["Streams, between cohorts"].append(traffic)
        else:
            parts["Before, between and after"].append(traffic)
    table = MovedTable(least=bool(data.resumed))
    by_site: dict[str, Line] = {}
    for label, scopes in parts.items():
        line = Line(label)
        for scope in scopes:
            line.add(scope.values())
            for site, one in scope.items():
                by_site.setdefault(site, Line(site)).add((one,))
            table.total.add(scope.values())
        if any(scopes):
            table.purposes.append(line)
    table.hospitals = [by_site[site] for site in sorted(by_site)]
    return table if by_site else None
