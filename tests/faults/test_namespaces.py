"""Real processes in network namespaces of their own, whose lines fail in the middle of a run.

The coordinator's namespace and one for each hospital are joined by a pair of virtual Ethernet
devices, so what happens on a line is the kernel's own doing: TCP's time-outs, retransmissions and
full queues. A line is cut by taking its device down; it is throttled and delayed by the queueing
disciplines ``tbf`` and ``netem`` where the kernel has them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pytest

import requires
from wardround.governance.artefact import load_model
from wardround.governance.summary import summarise
from wardround.simulation import demo
from wardround.simulation.demo_studies import biopsies
from wardround.study import Study

ADDRESS = "10.213.0.1"
PORT = 8443
CUT_S = 3.0
LINES = 4
"""One for each of the demonstration's hospitals, in the order in which they first act."""


class Net:
    """A namespace for the coordinator and one for each hospital."""

    def __init__(self) -> None:
        self._name = f"wr{os.getpid()}"
        self._hospitals: dict[str, str] = {}
        self._free = [f"{self._name}h{number}" for number in range(LINES)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._ip("netns", "add", self._name)
        self._ip("-n", self._name, "link", "set", "lo", "up")
        self._ip("-n", self._name, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        for number, place in enumerate(self._free):
            near, far, subnet = f"near{number}", f"far{number}", f"10.213.{number + 1}"
            self._ip("netns", "add", place)
            self._ip(
                *("-n", self._name, "link", "add", near, "type", "veth"),
                *("peer", "name", far, "netns", place),
            )
            for where, device, host in ((self._name, near, 1), (place, far, 2)):
                self._ip("-n", where, "address", "add", f"{subnet}.{host}/24", "dev", device)
                self._ip("-n", where, "link", "set", device, "up")
            self._ip("-n", place, "link", "set", "lo", "up")
            self._ip("-n", place, "route", "add", ADDRESS, "via", f"{subnet}.1")
        return self

    def __exit__(self, *error: object) -> None:
        for place in (self._name, *(f"{self._name}h{number}" for number in range(LINES))):
            subprocess.run(["ip", "netns", "delete", place], check=False, capture_output=True)

    def inside(self, words: Sequence[str]) -> list[str]:
        """A party's command, in that party's namespace."""
        if "coordinator" in words[:4]:
            return ["ip", "netns", "exec", self._name, *words]
        homes = (Path(word) for word in words[4:])
        site = next(home.name for home in homes if home.is_absolute() and home.suffix == "")
        with self._lock:
            if site not in self._hospitals:
                self._hospitals[site] = self._free.pop()
        return ["ip", "netns", "exec", self._hospitals[site], *words]

    def cut(self) -> None:
        """From now on nothing gets through, on any line."""
        for number in range(LINES):
            self._ip("-n", self._name, "link", "set", f"near{number}", "down")

    def mend(self) -> None:
        """The lines are there again."""
        for number in range(LINES):
            self._ip("-n", self._name, "link", "set", f"near{number}", "up")

    def shape(self, *discipline: str) -> bool:
        """Hold up what leaves the coordinator; False where the kernel can't."""
        done = [
            subprocess.run(
                [
                    *("ip", "netns", "exec", self._name),
                    *("tc", "qdisc", "add", "dev", f"near{number}", "root", *discipline),
                ],
                check=False,
                capture_output=True,
            ).returncode
            for number in range(LINES)
        ]
        return not any(done)

    def unshape(self) -> None:
        """Hold up nothing any more."""
        for number in range(LINES):
            words = ("tc", "qdisc", "delete", "dev", f"near{number}", "root")
            self._ip("netns", "exec", self._name, *words)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    requires.package("sklearn")
    requires.system("ip")
    requires.host(os.geteuid() == 0, "network namespaces are root's to make")
    made = Net()
    try:
        made.__enter__()
    except subprocess.CalledProcessError as error:
        made.__exit__()
        requires.host(False, f"no network namespaces: {error.stderr.decode().strip()}")
    popen = subprocess.Popen

    class Placed(popen):
        def __init__(self, words: Sequence[str], **options: object) -> None:
            ours = "wardround" in words[:3]
            super().__init__(made.inside(words) if ours else words, **options)

    class Stage(demo._Stage):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            self._url = f"https://{ADDRESS}:{PORT}"

    monkeypatch.setattr(subprocess, "Popen", Placed)
    monkeypatch.setattr(demo, "_Stage", Stage)
    yield made
    made.__exit__()


def played(folder: Path, progress: demo.Progress) -> Mapping[str, np.ndarray]:
    """The model that the demonstration's four hospitals come to: all of its totals are in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TIME_LIMIT_S", 150.0)  # other tests run beside it
        done = demo.run_demo(folder, biopsies(), progress)
    assert summarise(done.data).verified
    study = Study.load(folder / "study.toml")
    arrays = load_model(folder / "model", study.coordinator_key).arrays
    shutil.rmtree(folder)
    return arrays


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    requires.package("sklearn")
    return played(tmp_path_factory.mktemp("still") / "demo", lambda _who, _event: None)


class Rounds:
    """Hears of each round that is over, and of how long it took; does one thing after the first."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.seconds: list[float] = []
        self._then = then

    def __call__(self, _who: str, event: dict[str, object]) -> None:
        if event.get("event") == "round":
            self.seconds.append(float(str(event["seconds"])))
            if len(self.seconds) == 1:
                self._then()


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_lines_that_are_cut_in_the_middle_of_a_round_cost_nothing_but_time(
    net: Net, undisturbed: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    mending = threading.Timer(CUT_S, net.mend)

    def cut() -> None:
        net.cut()
        mending.start()

    rounds = Rounds(cut)
    assert same(played(tmp_path / "demo", rounds), undisturbed)
    assert max(rounds.seconds) > CUT_S / 2, "a round was under way"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "discipline",
    [
        ("tbf", "rate", "1mbit", "burst", "16kbit", "latency", "400ms"),
        ("netem", "delay", "150ms", "30ms", "loss", "1%"),
    ],
    ids=lambda words: words[0],
)
def test_lines_that_are_throttled_or_late_cost_nothing_but_time(
    discipline: tuple[str, ...],
    net: Net,
    undisturbed: Mapping[str, np.ndarray],
    tmp_path: Path,
) -> None:
    requires.system("tc")
    requires.host(net.shape(*discipline), f"this kernel has no {discipline[0]}")
    net.unshape()
    rounds = Rounds(lambda: net.shape(*discipline))
    assert same(played(tmp_path / "demo", rounds), undisturbed)
    assert len(rounds.seconds) > 1
