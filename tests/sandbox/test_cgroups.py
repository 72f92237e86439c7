"""Control groups in a delegated tree, on a folder that looks like one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import requires
from wardround.sandbox.cgroups import Group
from wardround.sandbox.limits import Limits

FILES = ("memory.max", "pids.max", "memory.swap.max", "cgroup.procs")
CPU_FILES = ("cpu.max", "cpu.weight")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A delegated service whose agent sits in a group of its own; mkdir makes control files."""
    service = tmp_path / "wardround.service"
    (service / "agent").mkdir(parents=True)
    (service / "cgroup.subtree_control").write_text("memory pids cpu io")
    (tmp_path / "membership").write_text("1:name=x:/y\n0::/wardround.service/agent\n")
    if os.geteuid() == 0:
        try:
            os.setxattr(service, "user.delegate", b"1")
        except OSError as error:
            requires.host(False, f"no extended attributes here: {error}")
    make = Path.mkdir

    def mkdir(self: Path, *arguments, **options) -> None:
        make(self, *arguments, **options)
        offered = (service / "cgroup.subtree_control").read_text().split()
        for name in (*FILES, *(CPU_FILES if "cpu" in offered else ())):
            (self / name).touch()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return tmp_path


def test_a_group_is_bounded_and_joined(tree):
    group = Group.create(Limits(memory_bytes=1 << 30), tree, tree / "membership")
    group.add(4711)
    (folder,) = (tree / "wardround.service").glob("wardround-worker-*")
    assert {name: (folder / name).read_text() for name in FILES} == {
        "memory.max": "1073741824",
        "pids.max": "4",
        "memory.swap.max": "0",
        "cgroup.procs": "4711",
    }
    for name in (*FILES, *CPU_FILES):
        (folder / name).unlink()  # as the kernel's go with the folder
    group.remove()
    assert not folder.exists()


def test_what_is_left_from_before_is_removed(tree):
    stale = tree / "wardround.service" / "wardround-worker-1-0"
    os.mkdir(stale)  # noqa: PTH102 - empty, unlike what the fixture's mkdir makes
    Group.create(Limits(), tree, tree / "membership")
    assert not stale.exists()


def test_a_tree_that_nobody_delegated_is_left_alone(tmp_path):
    (tmp_path / "membership").write_text("0::/\n")
    with pytest.raises(OSError, match="delegates no control group"):
        Group.create(Limits(), tmp_path, tmp_path / "membership")
    (tmp_path / "membership").write_text("4:memory:/x\n")
    with pytest.raises(OSError, match="version 2"):
        Group.create(Limits(), tmp_path, tmp_path / "membership")


def test_the_kernel_holds_the_share_where_the_processor_is_delegated(tree):
    group = Group.create(Limits(cpu_share=0.3), tree, tree / "membership")
    (folder,) = (tree / "wardround.service").glob("wardround-worker-*")
    assert (folder / "cpu.max").read_text() == "30000 100000"
    assert (folder / "cpu.weight").read_text() == "1"
    assert group.holds_share


def test_without_the_processor_a_group_is_made_all_the_same(tree, monkeypatch):
    control = tree / "wardround.service" / "cgroup.subtree_control"
    control.write_text("memory pids")
    write = Path.write_text

    def refuse(self: Path, text: str, *arguments, **options) -> int:
        if self == control:
            raise OSError(22, "not offered here")
        return write(self, text, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", refuse)
    group = Group.create(Limits(cpu_share=0.3), tree, tree / "membership")
    (folder,) = (tree / "wardround.service").glob("wardround-worker-*")
    assert (folder / "memory.max").read_text() == str(Limits().memory_bytes)
    assert not group.holds_share
