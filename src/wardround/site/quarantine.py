"""The list of records that were set aside, for the hospital's own eyes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from wardround.clinical import FeatureTable
from wardround.governance.files import write_whole


def write_quarantine(folder: Path, table: FeatureTable) -> Path:
    """Write ``quarantine.csv``: why and where, so that the hospital can mend its records.

    It names files, lines and concepts, and holds no value and no patient's identifier.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("reason", "where", "concept"))
    for entry in table.quarantine:
        writer.writerow((entry.reason.value, entry.where or "", entry.concept or ""))
    path = folder / "quarantine.csv"
    write_whole(path, text.getvalue().encode())
    return path
