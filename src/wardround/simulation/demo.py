"""The demonstration: a coordinator and four hospital agents as separate processes.

Everything a real study does is done with the same commands a person would type: keys, study,
invitations, enrolment, approval, overrides, run, verification. Only the setting is artificial: one
machine plays all parties. What is played is a `DemoStudy`: four artificial hospitals with real
biopsies, or the four real ones of the heart-disease data.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from wardround.clinical import ConceptGraph, Mapping, harmonise
from wardround.coordinator.results import save_results
from wardround.errors import WardroundError
from wardround.governance.artefact import load_model
from wardround.governance.report import LocalReport, Performance, ReportData
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.glm import LinearModel
from wardround.learning.local import assess, fit_alone
from wardround.learning.records import Family
from wardround.sandbox import probe
from wardround.simulation.demo_studies import DemoStudy
from wardround.simulation.records import DemoHospital
from wardround.site.custody import computable
from wardround.study import Study

TIME_LIMIT_S = 85.0
"""The demonstration promises to end within 90 seconds; a run that hangs is ended before."""

Progress = Callable[[str, dict[str, object]], None]
"""Told who (``coordinator`` or a hospital) reported what."""


@dataclass(frozen=True)
class Demonstration:
    """What came out: the folder, the report's facts, and how long the run took."""

    folder: Path
    results: Path
    data: ReportData
    seconds: float
    missing_limits: dict[str, str]
    notes: tuple[str, ...] = ()
    """What a person at the terminal should know about what was played."""


def run_demo(folder: Path, played: DemoStudy, progress: Progress) -> Demonstration:
    """Play a study in ``folder``, which is made anew.

    Raises WR-SIM-001 when ``folder`` holds something that is no demonstration, WR-SIM-002 when a
    process fails, WR-SIM-003 when the time limit passes, and what writing the records raises.
    """
    started = time.monotonic()
    _make_fresh(folder)
    host = probe()
    missing = {limit.value: reason for limit, reason in sorted(host.missing.items())}
    hospitals = played.write(folder / "hospitals")
    stage = _Stage(folder, played, hospitals, progress, started + TIME_LIMIT_S)
    study = stage.agree([limit.value for limit in sorted(host.enforced)])
    stage.run()
    (results,) = (folder / "coordinator" / "results").iterdir()
    data = _complete(folder, played, hospitals, study, results, missing)
    seconds = time.monotonic() - started
    return Demonstration(folder, folder, data, seconds, missing, played.closing)


class _Stage:
    """All parties of the demonstration on one machine, each in a process and folder of its own."""

    def __init__(
        self,
        folder: Path,
        played: DemoStudy,
        hospitals: list[DemoHospital],
        progress: Progress,
        deadline: float,
    ) -> None:
        self._folder = folder
        self._played = played
        self._hospitals = hospitals
        self._progress = progress
        self._deadline = deadline
        self._url = f"https://127.0.0.1:{_free_port()}"

    def agree(self, limits: list[str]) -> Study:
        """Keys are made, the study is written with all of them in it, invitations go out."""
        self._progress("everyone", {"event": "keys"})
        commands: list[tuple[str, ...]] = [
            ("coordinator", "init", self._home("coordinator"), "--url", self._url)
        ]
        commands += [
            ("site", "init", self._home(one.name), "--name", one.name) for one in self._hospitals
        ]
        coordinator, *sites = self._at_once(commands)
        path = self._folder / "study.toml"
        expires = (datetime.now(UTC) + timedelta(days=30)).date()
        path.write_text(self._played.toml(coordinator, sites, expires), encoding="utf-8")
        for one in self._hospitals:
            lines = f'accepted_profiles = ["{self._played.profile}"]\n'
            lines += f"required_limits = {json.dumps(limits)}\n{self._played.hospital}"
            (self._folder / one.name / "hospital.toml").write_text(lines, encoding="utf-8")
        self._call("coordinator", "invite", self._home("coordinator"), str(path))
        return Study.load(path)

    def run(self) -> None:
        """The coordinator serves; every hospital enrols, approves and takes part."""
        with ExitStack() as stack:
            events: Queue[tuple[str, dict[str, object]]] = Queue()
            serve = ("coordinator", "serve", self._home("coordinator"), "--once")
            running = {
                "coordinator": stack.enter_context(self._process(serve, "coordinator", events))
            }
            self._await_listening(events, running)
            invitations = self._folder / "coordinator" / "invitations"
            study = str(self._folder / "study.toml")
            self._at_once(
                [
                    ("site", "enrol", self._home(one.name), str(invitations / f"{one.name}.json"))
                    for one in self._hospitals
                ]
            )
            self._progress("everyone", {"event": "approving"})
            approve = ("site", "approve", "--yes", "--mapping")
            self._at_once(
                [
                    (*approve, str(one.mapping_path), self._home(one.name), study)
                    for one in self._hospitals
                ]
            )
            self._let_pass()
            for one in self._hospitals:
                take_part = ("site", "run", self._home(one.name))
                running[one.name] = stack.enter_context(self._process(take_part, one.name, events))
            self._watch(events, running)

    def _let_pass(self) -> None:
        """The stewards sign for what a check of their records found and they know better."""
        for one in self._played.overrides:
            words = ("site", "data", "override", self._home(one.site), one.check, one.concept)
            self._call(*words, "--reason", one.reason, "--steward", f"Steward of {one.site}")

    def _await_listening(
        self,
        events: Queue[tuple[str, dict[str, object]]],
        running: dict[str, subprocess.Popen[str]],
    ) -> None:
        while True:
            who, event = self._next(events, running)
            self._progress(who, event)
            if event.get("event") == "listening":
                return

    def _watch(
        self,
        events: Queue[tuple[str, dict[str, object]]],
        running: dict[str, subprocess.Popen[str]],
    ) -> None:
        left = set(running)
        while left:
            who, event = self._next(events, running)
            if event.get("event") == "exited":
                if running[who].wait() != 0:
                    raise self._failed(who)
                left.discard(who)
            self._progress(who, event)

    def _next(
        self,
        events: Queue[tuple[str, dict[str, object]]],
        running: dict[str, subprocess.Popen[str]],
    ) -> tuple[str, dict[str, object]]:
        try:
            who, event = events.get(timeout=max(self._deadline - time.monotonic(), 0.0))
        except Empty:
            raise WardroundError(
                "WR-SIM-003",
                f"The demonstration did not end within {TIME_LIMIT_S:.0f} seconds.",
                "The machine may be very busy; what each party said is in its log file.",
                path=str(self._folder),
            ) from None
        if event.get("event") == "exited" and running[who].wait() != 0:
            raise self._failed(who)
        return who, event

    @contextmanager
    def _process(
        self, words: tuple[str, ...], who: str, events: Queue[tuple[str, dict[str, object]]]
    ) -> Iterator[subprocess.Popen[str]]:
        """A party's process; its events go to the queue, its words to a log file."""
        log = self._folder / who / "log.txt"
        with log.open("w", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "wardround", *words, "--json"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=_environment(),
            )
            reader = Thread(target=_read_events, args=(process, who, events), daemon=True)
            reader.start()
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(timeout=5)
                    except subprocess.TimeoutExpired:
                        process.kill()
                process.wait()

    def _at_once(self, commands: list[tuple[str, ...]]) -> list[dict[str, object]]:
        """Run commands side by side; their JSON answers, in order."""
        processes = [self._start(words) for words in commands]
        return [
            self._finish(process, words) for process, words in zip(processes, commands, strict=True)
        ]

    def _call(self, *words: str) -> dict[str, object]:
        return self._finish(self._start(words), words)

    def _start(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "wardround", *words, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=_environment(),
        )

    def _finish(self, process: subprocess.Popen[str], words: tuple[str, ...]) -> dict[str, object]:
        out, err = process.communicate(timeout=max(self._deadline - time.monotonic(), 1.0))
        if process.returncode != 0:
            raise WardroundError(
                "WR-SIM-002",
                f"`wardround {' '.join(words[:2])}` failed: {(out + err).strip()[-600:]}",
                "The message above says why; run the command by hand to see more.",
                path=str(self._folder),
            )
        document: dict[str, object] = json.loads(out)
        return document

    def _failed(self, who: str) -> WardroundError:
        log = self._folder / who / "log.txt"
        said = log.read_text(encoding="utf-8").strip()[-600:]
        return WardroundError(
            "WR-SIM-002",
            f"The process of {who} failed: {said}",
            "Its log file has the rest.",
            path=str(log),
        )

    def _home(self, who: str) -> str:
        return str(self._folder / who)


def _complete(
    folder: Path,
    played: DemoStudy,
    hospitals: list[DemoHospital],
    study: Study,
    results: Path,
    missing: dict[str, str],
) -> ReportData:
    """The coordinator's report, with what only a demonstration can know.

    The hospitals' own reports lie on the same disk here, and the records can be pooled, because
    they are public and the hospitals artificial.
    """
    sites = tuple(
        LocalReport.load(folder / one.name / "reports" / "local_report.json") for one in hospitals
    )
    notes = [*played.notes]
    if missing:
        notes.append("This machine could not enforce: " + ", ".join(sorted(missing)) + ".")
    data = ReportData.model_validate_json((results / "report.json").read_bytes())
    columns = _everybody(hospitals, study)
    # Without noise the federation's own figures are exact already.
    exact = None if data.privacy is None else _exact(results / "model", columns, study)
    data = data.model_copy(
        update={
            "sites": sites,
            "exact": exact,
            "pooled": _pooled(columns, study),
            "notes": tuple(notes),
        }
    )
    save_results(data, folder)
    for name in ("evidence.json", "model"):
        target = folder / name
        source = results / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return data


def _everybody(hospitals: list[DemoHospital], study: Study) -> dict[str, NDArray[np.float64]]:
    """All records in one place, where no real study could have them."""
    graph = ConceptGraph.load()
    tables = [
        computable(
            study,
            harmonise(
                Mapping.load(one.mapping_path),
                one.mapping_path.parent,
                graph,
                study.data.features,
                study.data.outcome,
                extra=study.data.also_required,
            ),
        )
        for one in hospitals
    ]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _exact(folder: Path, columns: dict[str, NDArray[np.float64]], study: Study) -> Performance:
    """What the federated model is worth on everybody's held-out records, without noise."""
    key = study.coordinator_key
    arrays = {
        name: np.asarray(one, np.float64) for name, one in load_model(folder, key).arrays.items()
    }
    model = LinearModel.from_arrays(Family(study.model.kind), study.data.features, arrays)
    return Performance.model_validate(assess(columns, variables_of(study), model).to_json())


def _pooled(columns: dict[str, NDArray[np.float64]], study: Study) -> Performance:
    """The same fit on all records in one place, which no real study could make."""
    model, _ = fit_alone(columns, variables_of(study), rule_of(study))
    return Performance.model_validate(assess(columns, variables_of(study), model).to_json())


def _read_events(
    process: subprocess.Popen[str], who: str, events: Queue[tuple[str, dict[str, object]]]
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict):
            events.put((who, event))
    events.put((who, {"event": "exited"}))


def _make_fresh(folder: Path) -> None:
    marker = folder / ".wardround-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise WardroundError(
            "WR-SIM-001",
            "The folder for the demonstration holds something else.",
            "Choose an empty or a new folder; an older demonstration is replaced.",
            path=str(folder),
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port: int = probe_socket.getsockname()[1]
        return port
