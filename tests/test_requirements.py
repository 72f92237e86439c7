"""Pinned requirements: exact, complete, and without an address."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires as requirements_of

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import requires

PINS = {
    name: (requires.ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    for name in ("core", "demo", "dev", "embed")
}


@pytest.mark.parametrize("name", PINS)
def test_a_pin_is_a_name_and_a_version_and_nothing_else(name: str) -> None:
    lines = PINS[name]
    assert lines == sorted(lines)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


def needed(roots: list[str], installed: set[str]) -> set[str]:
    """The names of ``roots`` and of everything that they need on this interpreter."""
    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        assert name in installed, f"{name} has no pin in requirements/"
        found.add(name)
        for text in requirements_of(name) or ():
            part = Requirement(text)
            extras = requirement.extras or {""}
            if not part.marker or any(part.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(part)
    return found


def test_the_pins_are_what_the_package_asks_for_and_no_more() -> None:
    project = tomllib.loads((requires.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pinned = {name: {line.partition("==")[0] for line in lines} for name, lines in PINS.items()}
    everything = pinned["core"] | pinned["demo"] | pinned["dev"]

    core = needed(project["dependencies"], everything)
    demo = needed(extras["demo"], everything) - core
    dev = needed(extras["dev"], everything) - core - demo

    embed = {canonicalize_name(Requirement(one).name) for one in extras["embed"]}  # and no more

    assert {"core": core, "demo": demo, "dev": dev, "embed": embed} == pinned
