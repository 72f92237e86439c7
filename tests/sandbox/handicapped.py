"""An agent in a container that forbids namespaces, Landlock and filters; prints what it finds.

Run by test_probe.py: ``python handicapped.py FOLDER_OF_ENTRIES all|ours``, where ``all`` forbids
what bubblewrap needs as well.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import struct
import sys

sys.path.insert(0, sys.argv[1])

import numpy as np

from wardround.errors import WardroundError
from wardround.sandbox import ConfinedWorker, Limit, libc, privileges, probe

# seccomp, unshare, landlock_create_ruleset, mount
FORBIDDEN = {"x86_64": (317, 272, 444, 165), "aarch64": (277, 97, 444, 40)}[libc.MACHINE]


def forbid() -> None:
    """Refuse these calls from here on, to children too."""
    steps = struct.pack("=HBBI", 0x20, 0, 0, 0)
    for number in FORBIDDEN if sys.argv[2] == "all" else FORBIDDEN[:3]:
        steps += struct.pack("=HBBI", 0x15, 0, 1, number)
        steps += struct.pack("=HBBI", 0x06, 0, 0, 0x00050001)
    steps += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    program = struct.pack("@HP", len(steps) // 8, ctypes.addressof(kept(steps)))
    privileges.refuse_new_privileges()
    libc.syscall(FORBIDDEN[0], 1, 0, ctypes.cast(kept(program), ctypes.c_void_p))


def kept(data: bytes) -> ctypes.Array[ctypes.c_char]:
    buffers.append(ctypes.create_string_buffer(data, len(data)))
    return buffers[-1]


buffers: list[ctypes.Array[ctypes.c_char]] = []


async def main() -> None:
    worker = ConfinedWorker("sandbox_entries:double", required=frozenset())
    await worker.start()
    await worker.load({"a": np.zeros(1)})
    result = await worker.call({}, np.ones(2))
    try:
        await ConfinedWorker("sandbox_entries:double", required=frozenset({Limit.NETWORK})).start()
    except WardroundError as error:
        refusal = str(error)
    await worker.close()
    print(json.dumps({"host": probe().to_json(), "result": result.tolist(), "refusal": refusal}))


forbid()
asyncio.run(main())
