"""Printing a journal: what was decided, in order, and the root that stands for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardround.cli.console import emit, say, table

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON
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
        (number, kind, "  ".join(f"{name} {_short(facts[name])}" for name in sorted(facts)))
        for number, kind, facts in rows
    ]
    emit(None, human=table(("", "what", "particulars"), lines))
    say(f"{len(rows)} entries; root {root}. --json prints digests in full.")


def _short(value: JSON) -> str:
    """A fact for the eye: lists without marks, the beginning of a digest."""
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value)
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text
