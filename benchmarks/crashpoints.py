"""Every point at which a party of a three-site run can die, one run for each.

The points are recorded in a run in which nobody dies: each statement, commit, write, sync, rename,
making and removal of a name, at the coordinator and at each hospital; at those where something is
not synced, twice more without power, and then again with others' power, or twice in a row. Each is
died once, the party is started again, and the run must come to the same totals, once each, with
journals, ledgers and evidence in order. The harness is that of the tests (``tests/faults``).

Each death is written down as it is over, so a run that was interrupted goes on where it was as
long as the code is the same. Three variables of the environment choose:

- ``CRASHPOINTS_STUDIES``: names of studies, with commas, or ``all`` (see `faults.enumeration`); of
  itself one whose totals are exact, and one with noise, in which each answer has its charge;
- ``CRASHPOINTS_SHARE``: ``2/8`` for the second eighth of the deaths;
- ``CRASHPOINTS_RECORD``: the file in which they are written down (``build/crashpoints.jsonl``).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.report import Cell, Report

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
CODE = ("src/wardround", "tests/faults")
"""What a recorded death is about: with other code it is died again."""

RECORD = ROOT / "build" / "crashpoints.jsonl"


def run() -> Report:
    """How many deaths there are, how many were died, and how many of those were survived."""
    harness = _harness()
    wanted = os.environ.get("CRASHPOINTS_STUDIES", "secure-sum,private")
    studies = list(harness.STUDIES) if wanted == "all" else wanted.split(",")
    share, of = map(int, os.environ.get("CRASHPOINTS_SHARE", "1/1").split("/"))
    record = Path(os.environ.get("CRASHPOINTS_RECORD", RECORD)).absolute()
    record.parent.mkdir(parents=True, exist_ok=True)
    code, processes = code_digest(), 2 * len(os.sched_getaffinity(0))  # each waits half of the time
    enumerated = 0
    for study in studies:
        with harness.enumeration(study) as one:
            every = (*one.deaths, *one.double)
        enumerated += len(every)
        done = {line["death"] for line in recorded(record, code, study)}
        left = [death for death in harness.share_of(every, share - 1, of) if str(death) not in done]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            parts = [(study, left[number::processes], record, code) for number in range(processes)]
            pool.starmap(_die, parts, chunksize=1)
    return summary(
        [line for study in studies for line in recorded(record, code, study)],
        enumerated,
        f"Recorded in {record} for the code {code[:12]}.",
    )


def summary(lines: Sequence[dict[str, Any]], enumerated: int, note: str) -> Report:
    """What the record comes to. A death that was not reached is neither died nor survived."""
    died: Counter[tuple[str, str, str]] = Counter()
    survived: Counter[tuple[str, str, str]] = Counter()
    unreached: Counter[tuple[str, str, str]] = Counter()
    problems = [str(line["lost"]) for line in lines if line["lost"] is not None]
    for line in lines:
        key = line["study"], line["party"], line["how"]
        if line["reached"] or line["lost"] is not None:
            died[key] += 1
            survived[key] += line["lost"] is None
        else:
            unreached[key] += 1
    rows: list[dict[str, Cell]] = [
        {
            "study": study,
            "party": party,
            "how": how,
            "points": died[study, party, how],
            "survived": survived[study, party, how],
            "unreached": unreached[study, party, how],
        }
        for study, party, how in sorted({*died, *unreached})
    ]
    figures = {
        "points": float(died.total()),
        "survived": float(survived.total()),
        "unreached": float(unreached.total()),
        "not_tried": float(max(0, enumerated - len(lines))),
    }
    return Report(rows, figures, [note, *problems[:20]])


def recorded(record: Path, code: str, study: str) -> Iterator[dict[str, Any]]:
    """What was written down of a study's deaths with this code, each once."""
    if not record.exists():
        return
    seen = set()
    for text in record.read_bytes().splitlines():
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:  # the machine was stopped while it was written
            continue
        if (line["code"], line["study"]) == (code, study) and line["death"] not in seen:
            seen.add(line["death"])
            yield line


def code_digest() -> str:
    """The SHA-256 of every file of the product and of the harness."""
    found = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def _harness() -> Any:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    return importlib.import_module("faults.enumeration")


def _die(study: str, deaths: Sequence[Any], record: Path, code: str) -> None:
    """Have each of them happen, and write it down."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks that died with their party
    with _harness().enumeration(study) as one, record.open("ab", buffering=0) as file:
        for death in deaths:
            end = asyncio.run(one.die(death))
            line = {
                "code": code,
                "study": study,
                "party": death.party,
                "how": death.how,
                "death": str(death),
                "reached": end.reached,
                "lost": end.lost,
            }
            file.write(orjson.dumps(line) + b"\n")
