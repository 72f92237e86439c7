"""What a test needs beyond Python, stated where it needs it.

A missing thing skips the test with a reason of one of six kinds. The run ends with the list, and
``WARDROUND_REQUIRE=pip,shared`` turns skips of those kinds into failures (``.ci/run`` sets it)::

    import requires

    numpy = requires.package("sklearn")
    vectors = requires.shared("vectors/merkle")
    requires.host(Limit.NETWORK in probe().enforced, "no network namespaces on this host")
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

KINDS = {
    "pip": "a Python package is missing (make setup)",
    "shared": "the shared test data is elsewhere (WARDROUND_SHARED)",
    "extra": "an optional package is missing (requirements/README.md)",
    "system": "a system package is missing (make setup-system)",
    "host": "this host cannot do it",
    "slow": "slow (make test-all)",
}

ROOT = Path(__file__).resolve().parent.parent


def package(name: str) -> ModuleType:
    """The module of that name, which pip provides."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        _skip("pip", f"{error}")


def extra(present: bool, package: str) -> None:
    """Go on only where an optional package is, which `make setup` does not install."""
    if not present:
        _skip("extra", f"no {package}")


def shared(path: str = ".") -> Path:
    """A file or folder of the shared test data, which a stranger's clone does not have."""
    folder = Path(os.environ.get("WARDROUND_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        _skip("shared", f"there is no {folder}")
    found = folder / path
    if not found.exists():
        _skip("shared", f"no {path} in {folder}")
    return found


def system(program: str) -> str:
    """The path of a program that a Debian package provides."""
    found = shutil.which(program)
    if found is None:
        _skip("system", f"no {program} on the path")
    return found


def host(able: bool, reason: str) -> None:
    """Go on only where this host can do it; ``reason`` says what it cannot."""
    if not able:
        _skip("host", reason)


def kind_of(reason: str) -> str | None:
    """Which of the kinds a skip's reason names, if it names one."""
    if reason.startswith(("could not import", "No module named")):  # pytest.importorskip
        return "pip"
    kind = reason.partition(":")[0]
    return kind if kind in KINDS else None


def _skip(kind: str, reason: str) -> NoReturn:
    pytest.skip(f"{kind}: {reason}")
