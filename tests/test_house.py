"""The rules of the house that no linter knows: packages, the one door, what CI runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import requires
from wardround.federation.packet import Packet, Refusal, Status
from wardround.site.link import Link

SOURCE = requires.ROOT / "src" / "wardround"
MODULES = sorted(SOURCE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=relative)
def test_an_init_says_what_the_package_is_for_and_hands_on_names(path: Path) -> None:
    if not path.read_text():
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body[1:]:
        names = [target.id for target in getattr(node, "targets", ()) if hasattr(target, "id")]
        assert isinstance(node, ast.ImportFrom | ast.Import) or names in (
            ["__all__"],
            ["__version__"],
        ), f"{relative(path)}:{node.lineno}"


def test_folders_are_at_most_two_deep() -> None:
    assert [relative(path) for path in MODULES if len(path.relative_to(SOURCE).parts) > 3] == []


NETWORK = {"httpx", "httpcore", "socket", "http", "urllib", "aiohttp", "requests", "websockets"}


def imported(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports when it runs."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting.extend(node.orelse)  # names of types open no connection
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


OPENING = {"open_connection", "create_connection", "open_unix_connection", "sock_connect"}


def test_within_a_site_only_the_link_opens_connections() -> None:
    """``line.py``, ``way.py`` and ``sounding.py`` are the link's own.

    Nobody else in the package may import the first two; the last, which the doctor asks, sends
    nothing but a question after the coordinator's health.
    """
    own = {"wardround.site.line", "wardround.site.way"}
    talking, holding = set(), set()
    for path in sorted((SOURCE / "site").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if imported(path) & NETWORK or any(f"{name}(" in text for name in OPENING):
            talking.add(relative(path))
        if any(isinstance(node, ast.ImportFrom) and node.module in own for node in nodes(path)):
            holding.add(relative(path))
    assert talking <= {"site/link.py", "site/line.py", "site/way.py", "site/sounding.py"}
    assert holding <= {"site/link.py", "site/sounding.py"}


def test_the_link_sends_packets_refusals_and_statuses_and_nothing_else() -> None:
    assert get_type_hints(Link.send)["item"] == Packet | Refusal | Status


def test_only_the_door_constructs_a_packet() -> None:
    constructing = {
        relative(path)
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and (
            getattr(node.func, "id", None) == "Packet" or getattr(node.func, "attr", "") == "Packet"
        )
    }
    assert constructing == {"site/door.py"}


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = (requires.ROOT / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
    assert all(
        line.startswith(("set ", "cd ", "export WARDROUND_REQUIRE")) for line in commands[:-1]
    )
