"""What every test may use, and the closing list of what did not run and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import requires
from commands import Command, Result

# A slow, shared machine is not a bug in the code under test, and a failure must be repeatable.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("house")


@pytest.fixture
def shared() -> Path:
    """The folder of shared test data; the test is skipped where there is none."""
    return requires.shared()


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process and see what it printed."""
    from wardround.cli import main

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: marked slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    _judge(report)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where the thing it lacks was to be there."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    required = {kind for kind in os.environ.get("WARDROUND_REQUIRE", "").split(",") if kind}
    reason = _reason(report)
    kind = requires.kind_of(reason)
    if kind in required:
        report.outcome = "failed"
        report.longrepr = f"skipped although WARDROUND_REQUIRE names {kind!r}: {reason}"
    elif kind is None and required:
        report.outcome = "failed"
        report.longrepr = f"skipped without one of the kinds in tests/requires.py: {reason}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    counts = Counter(_reason(report) for report in skipped)
    terminalreporter.section("what did not run, and why")
    if not counts:
        terminalreporter.write_line("Everything ran.")
    for kind, meaning in (*requires.KINDS.items(), (None, "other")):
        reasons = {reason: n for reason, n in counts.items() if requires.kind_of(reason) == kind}
        if not reasons:
            continue
        total = sum(reasons.values())
        terminalreporter.write_line(f"{total} test{'' if total == 1 else 's'}: {meaning}")
        for reason, n in sorted(reasons.items()):
            detail = reason.removeprefix(f"{kind}: ")
            if kind != "slow":
                terminalreporter.write_line(f"    {n} x {detail}")
