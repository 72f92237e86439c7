"""Printing a journal: what was decided, in order, and the root that stands for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardround.cli.console import emit, say, table

if TYPE_CHECKING:
    from wardround.trust.journal import Journal


def show(journal: Journal, json: bool) -> None:
    """Print every entry; its facts as they stand under the signatures."""
    rows = [(number, entry.kind, entry.facts) for number, entry in enumerate(journal.entries())]
    root = journal.checkpoint().root.hex()
    if json:
        entries = [{"index": number, "kind": kind, "facts": facts} for number, kind, facts in rows]
        emit({"size": len(rows), "root": root, "entries": entries}, json=True)
        return
    lines = [
        (number, kind, "  ".join(f"{name} {value}" for name, value in sorted(facts.items())))
        for number, kind, facts in rows
    ]
    emit(None, human=table(("", "what", "particulars"), lines))
    say(f"{len(rows)} entries; root {root}")
