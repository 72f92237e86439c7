"""Skips: each has a kind, and the kinds that were demanded fail instead."""

from __future__ import annotations

from pathlib import Path

import pytest

import requires

pytest_plugins = ["pytester"]

SKIPPING = """
import pytest, requires

def test_package(): requires.package("no_such_package")
def test_shared(): requires.shared("no/such/file")
def test_extra(): requires.extra(False, "some-model")
def test_host(): requires.host(False, "no namespaces here")
def test_plain(): pytest.skip("just so")
@pytest.mark.slow
def test_slow(): ...
def test_runs(): ...
"""


@pytest.fixture
def house(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite of its own under the conftest of this one."""
    here = Path(requires.__file__).parent
    pytester.makeconftest((here / "conftest.py").read_text())
    options = (f"pythonpath = {here}", "markers = slow", "asyncio_mode = auto")
    scope = "asyncio_default_fixture_loop_scope = function"
    pytester.makeini("\n".join(("[pytest]", *options, scope)))
    pytester.makepyfile(SKIPPING)
    monkeypatch.delenv("WARDROUND_REQUIRE", raising=False)
    # There is a folder of shared data, whatever this machine has: only the file is missing.
    monkeypatch.setenv("WARDROUND_SHARED", str(pytester.mkdir("shared")))
    return pytester


def test_at_home_everything_missing_is_skipped_and_listed(house: pytest.Pytester) -> None:
    result = house.runpytest_inprocess()
    result.assert_outcomes(passed=1, skipped=6)
    result.stdout.fnmatch_lines(
        [
            "*what did not run, and why*",
            "1 test: a Python package is missing (make setup)",
            "    1 x No module named 'no_such_package'",
            "1 test: the shared test data is elsewhere (WARDROUND_SHARED)",
            "    1 x no no/such/file in *",
            "1 test: an optional package is missing (requirements/README.md)",
            "    1 x no some-model",
            "1 test: this host cannot do it",
            "    1 x no namespaces here",
            "1 test: slow (make test-all)",
            "1 test: other",
            "    1 x just so",
        ]
    )


def test_a_clone_without_shared_data_skips_and_says_so(
    house: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_SHARED", str(house.path / "nowhere"))
    result = house.runpytest_inprocess()
    result.assert_outcomes(passed=1, skipped=6)
    result.stdout.fnmatch_lines(["    1 x there is no */nowhere"])


def test_where_they_are_demanded_pip_and_shared_fail_and_the_host_never(
    house: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_REQUIRE", "pip,shared")
    result = house.runpytest_inprocess()
    result.assert_outcomes(passed=1, skipped=3, failed=3)
    result.stdout.fnmatch_lines(["*skipped although WARDROUND_REQUIRE names 'pip': *"])


def test_a_missing_module_of_a_whole_file_counts_as_well(
    house: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.makepyfile("import pytest; pytest.importorskip('no_such_package')")
    assert house.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED
    monkeypatch.setenv("WARDROUND_REQUIRE", "pip")
    assert house.runpytest_inprocess().ret == pytest.ExitCode.INTERRUPTED


def test_the_slow_ones_run_when_asked(house: pytest.Pytester) -> None:
    house.runpytest_inprocess("--slow").assert_outcomes(passed=2, skipped=5)
