"""The order in which a worker gives things up. Read it as a checklist.

Nothing here trusts that a step worked: a step that fails leaves its reason, and what is reported as
enforced is what :mod:`~wardround.sandbox.attempts` saw refused afterwards.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NoReturn

from wardround.sandbox import attempts, landlock, namespaces, priority, privileges, rlimits, seccomp
from wardround.sandbox.limits import HostLimits, Limit, Limits


def separate(outside: Mapping[str, int]) -> Mapping[Limit, str]:
    """First half: leave the namespaces ``outside``; return why one could not be left.

    A new process namespace takes hold of the next child, so this returns in a child. The process
    that stays outside holds nothing, takes the child along when told to end, and passes on how the
    child ended as its exit status (128 + signal).
    """
    privileges.die_with_parent()
    rlimits.raise_memory_lock()  # while the host still knows this process as its user
    departure = namespaces.leave(outside)
    if departure.needs_child:
        child = os.fork()
        if child:
            _watch(child)
        privileges.die_with_parent()
    return departure.failed


def _watch(child: int) -> NoReturn:
    os.closerange(3, 1 << 20)  # the socket too: the agent must see it close when the child ends

    def take_along(_signal: int, _frame: object) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, take_along)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def confine(
    limits: Limits,
    readable: Iterable[str],
    outside: Mapping[str, int],
    failed: Mapping[Limit, str],
    import_computation: Callable[[], None],
) -> HostLimits:
    """Second half: give up rights, files, memory, time and system calls, in this order.

    ``readable`` are the interpreter's files, ``failed`` what :func:`separate` returned, and
    ``import_computation`` runs once files are out of reach and before the filter is loaded.
    Returns what was enforced; no data may enter this process earlier.
    """
    reasons = dict(failed)

    def attempt(limit: Limit, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            reasons[limit] = error.strerror or str(error)

    enforced = namespaces.separated(outside)
    with suppress(OSError):
        rlimits.go_first()
    attempt(Limit.PRIORITY, lambda: priority.yield_processor(limits.priority))
    attempt(Limit.IO_PRIORITY, lambda: priority.yield_disk(limits.priority))
    attempt(Limit.PROCESSORS, lambda: priority.stay_on_processors(limits))
    attempt(Limit.NO_NEW_PRIVILEGES, privileges.refuse_new_privileges)
    attempt(Limit.CAPABILITIES, privileges.give_up_rights)
    attempt(Limit.FILESYSTEM, lambda: landlock.restrict(readable))
    import_computation()
    attempt(Limit.MEMORY, lambda: rlimits.apply(limits))
    attempt(Limit.MEMORY_LOCK, lambda: rlimits.lock_memory(limits))
    attempt(Limit.CORE_DUMPS, rlimits.leave_no_core)
    gc.collect()
    enforced |= attempts.before_filter() | priority.held(limits)
    attempt(Limit.SYSCALLS, seccomp.load)
    enforced |= attempts.after_filter(limits)
    if Limit.MEMORY_LOCK not in reasons:
        enforced |= {Limit.MEMORY_LOCK}
    missing = {
        limit: reasons.get(limit, attempts.NOT_REFUSED) for limit in Limit if limit not in enforced
    }
    return HostLimits(enforced, missing)
