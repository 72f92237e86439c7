"""Giving up rights for good (capabilities(7)) and dying with the agent."""

from __future__ import annotations

import signal
from itertools import count

from wardround.sandbox import libc


def die_with_parent() -> None:
    """End this process when its parent ends, however that happens."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)


def give_up_rights() -> None:
    """Drop every capability, from the bounding set too where that is allowed."""
    libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)
    try:
        for capability in count():
            libc.prctl(libc.PR_CAPBSET_DROP, capability)
    except OSError:
        pass  # past the last capability, or an ordinary user, who has none to drop
    libc.set_no_capabilities()


def refuse_new_privileges() -> None:
    """Make set-user-id programs powerless for this process and its children."""
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
