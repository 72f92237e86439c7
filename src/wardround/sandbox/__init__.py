"""What this host can hold a computation to, and one warm process held to it.

``probe`` finds out by trying; ``ConfinedWorker`` runs a computation on a hospital's columns without
network, files or rights; ``InlineWorker`` is its stand-in for simulations and says so.
"""

from wardround.sandbox.client import ConfinedWorker
from wardround.sandbox.interface import Columns, InlineWorker, Vector, Worker
from wardround.sandbox.limits import (
    BASE_LIMITS,
    CAPS,
    HostLimits,
    Limit,
    LimitRow,
    Limits,
    Priority,
    describe,
    parse_limits,
    require,
)
from wardround.sandbox.priority import agent_yields
from wardround.sandbox.probe import probe

__all__ = [
    "BASE_LIMITS",
    "CAPS",
    "Columns",
    "ConfinedWorker",
    "HostLimits",
    "InlineWorker",
    "Limit",
    "LimitRow",
    "Limits",
    "Priority",
    "Vector",
    "Worker",
    "agent_yields",
    "describe",
    "parse_limits",
    "probe",
    "require",
]
