"""The tutorial, typed as its reader types it: every command of the page, in its order.

The reader's own part, copying keys into ``study.toml``, is played by `fill_in`, where the page has
a comment that says so. The port is replaced by a free one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import requires

PAGE = requires.ROOT / "docs" / "tutorial" / "first-study.md"
FILLED_IN = "<!-- the reader fills in study.toml -->"
PATIENCE_S = 150
PREPARATION = ("export PATH", "mkdir ~/my-study")


def steps() -> Iterator[str]:
    """The commands of the page, and `FILLED_IN` where the reader has something to do."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(rf"```console\n.*?```|{FILLED_IN}", text, flags=re.S):
        if block == FILLED_IN:
            yield block
        yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))


class Reader:
    """Somebody at a shell in ``folder``."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._printed = ""
        self._background: list[tuple[str, subprocess.Popen[str]]] = []
        binaries = folder / "bin"
        binaries.mkdir()
        program = binaries / "wardround"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m wardround "$@"\n')
        program.chmod(0o755)
        path = f"{binaries}:{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}

    def type(self, command: str) -> str:
        """Run one line; in the background if it ends so, and ``wait`` for all that do."""
        if command == "wait":
            for line, process in self._background:
                self._finish(process, line)
            return ""
        line = command.replace("8443", str(self._port))
        process = subprocess.Popen(
            line.removesuffix("&"),
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if line.endswith("&"):
            self._background.append((line, process))
            if " serve " in line:
                self._until_listening(process)
            return ""
        output = self._finish(process, line)
        self._printed += output
        return output

    def _finish(self, process: subprocess.Popen[str], line: str) -> str:
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as expired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(
                f"{line} did not end\n{(expired.output or b'').decode()}"
            ) from None
        assert process.returncode == 0, f"{line}\n{output}"
        return output

    def _until_listening(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("localhost", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.05)  # another process starts; there is nothing to wait on
            else:
                return
        process.kill()
        raise AssertionError(process.communicate()[0])

    def fill_in(self) -> None:
        """Copy the lines that everyone's commands printed into the study."""
        study = self._folder / "study.toml"
        text = study.read_text()
        for key in ("url", "signing_key", "ca"):
            printed = re.search(rf'^{key} = ".+"', self._printed, flags=re.M)
            text = re.sub(rf'^{key} = ""', printed[0], text, count=1, flags=re.M)
        for block in re.findall(r'^name = ".+"\nsigning_key = ".+"', self._printed, flags=re.M):
            blank = re.sub(r'"ed25519:.+"', '""', block)
            assert blank in text
            text = text.replace(blank, block)
        study.write_text(text)

    def leave(self) -> None:
        """Stop what is still running."""
        for _, process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=10)


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    somebody = Reader(folder, port)
    try:
        yield somebody
    finally:
        somebody.leave()


@pytest.mark.timeout(500)
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    requires.package("sklearn")
    last = ""
    with reader(tmp_path) as somebody:
        for step in steps():
            if step == FILLED_IN:
                somebody.fill_in()
            elif not step.startswith(PREPARATION):
                last = somebody.type(step)
    assert "Verified" in last
    for site in ("harbour", "lakeside", "north-general", "st-anna"):
        report = json.loads(
            (tmp_path / "sites" / site / "reports" / "local_report.json").read_text()
        )
        assert 0 < report["records_used"] < report["records_total"]
