"""The built package: a stranger who installs a wheel has every page, template and table."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import requires


def test_a_wheel_carries_every_file_that_the_code_reads(tmp_path: Path) -> None:
    requires.package("setuptools")
    tree = tmp_path / "tree"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(requires.ROOT / "src", tree / "src", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(requires.ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, tree], check=True, cwd=tmp_path)

    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("wardround/")}
    source = tree / "src"
    assert packed == {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "build" not in path.parts and ".egg-info" not in str(path)
    }
