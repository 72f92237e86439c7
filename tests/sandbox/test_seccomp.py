"""The filter's program, run step by step for both processors; kernel headers as oracle."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import requires
from wardround.sandbox import seccomp, syscalls

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
FORBIDDEN = {  # name: (x86_64, aarch64), typed from the kernel's tables
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "accept4": (288, 242),
    "io_uring_setup": (425, 425),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "pidfd_getfd": (438, 438),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "memfd_create": (319, 279),
    "openat2": (437, 437),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "setuid": (105, 146),
    "munlockall": (152, 231),
}
CONDITIONAL = {"openat": (257, 56), "fcntl": (72, 25), "ioctl": (16, 29), "prlimit64": (302, 261)}


def run(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Run classic BPF as the kernel does (linux/bpf_common.h), on one struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"unknown step {code:#x}")


@pytest.fixture(params=sorted(MACHINES))
def machine(request) -> str:
    return request.param


def decide(machine: str, number: int, *arguments: int) -> int:
    return run(seccomp.assemble(machine), MACHINES[machine], number, arguments)


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_could_break_out_is_refused(machine, name):
    assert decide(machine, FORBIDDEN[name][machine == "aarch64"]) == REFUSE


@given(number=st.integers(0, 0x3FFFFFFF), machine=st.sampled_from(sorted(MACHINES)))
def test_what_is_not_listed_is_refused(number, machine):
    listed = set(syscalls.allowed(machine).values())
    special = {numbers[machine == "aarch64"] for numbers in CONDITIONAL.values()}
    if number not in special:
        assert decide(machine, number) == (ALLOW if number in listed else REFUSE)


def test_every_listed_call_is_allowed(machine):
    assert all(decide(machine, n) == ALLOW for n in syscalls.allowed(machine).values())


@given(arch=st.integers(0, 0xFFFFFFFF), number=st.integers(0, 500))
def test_another_processor_mode_ends_the_process(arch, number):
    for machine, own in MACHINES.items():
        if arch != own:
            assert run(seccomp.assemble(machine), arch, number) == KILL


@given(number=st.integers(0x40000000, 0x7FFFFFFF))
def test_x32_ends_the_process(number):
    assert decide("x86_64", number) == KILL


@given(flags=st.integers(0, 2**32 - 1), machine=st.sampled_from(sorted(MACHINES)))
def test_files_can_be_opened_to_read_only(flags, machine):
    number = CONDITIONAL["openat"][machine == "aarch64"]
    writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    assert decide(machine, number, 0, 0, flags) == (REFUSE if writing else ALLOW)


def test_limits_can_be_read_but_not_set(machine):
    number = CONDITIONAL["prlimit64"][machine == "aarch64"]
    assert decide(machine, number, 0, 7, 0, 0x7FFF0000) == ALLOW
    assert decide(machine, number, 0, 7, 0x7FFF0000, 0) == REFUSE
    assert decide(machine, number, 0, 7, 0x7FFF_0000_0000, 0) == REFUSE


def test_controls_are_few(machine):
    column = machine == "aarch64"
    assert decide(machine, CONDITIONAL["ioctl"][column], 0, termios.TCGETS) == ALLOW
    assert decide(machine, CONDITIONAL["ioctl"][column], 0, termios.TIOCSTI) == REFUSE
    assert decide(machine, CONDITIONAL["fcntl"][column], 0, fcntl.F_GETFL) == ALLOW
    assert decide(machine, CONDITIONAL["fcntl"][column], 0, fcntl.F_SETOWN) == REFUSE
    assert decide(machine, CONDITIONAL["fcntl"][column], 0, fcntl.F_ADD_SEALS) == REFUSE


def test_the_numbers_are_the_kernels(machine):
    header = Path(HEADERS[machine])
    requires.host(header.exists(), f"no kernel headers at {header}")
    pattern = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(\d+)")
    known: dict[str, int] = {}
    for name, number in pattern.findall(header.read_text()):
        known.setdefault(name, int(number))
    known.setdefault("newfstatat", known.get("fstatat", -1))
    ours = syscalls.allowed(machine)
    ours |= {name: numbers[machine == "aarch64"] for name, numbers in CONDITIONAL.items()}
    ours |= {name: numbers[machine == "aarch64"] for name, numbers in FORBIDDEN.items()}
    assert ours == {name: known.get(name) for name in ours}
    for name in ("seccomp", "getppid", "execve", "io_uring_setup", "memfd_create", "openat"):
        assert syscalls.number(name, machine) == known[name]
