"""What this host can hold a computation to, and one warm process held to it.

``probe`` finds out by trying; ``ConfinedWorker`` runs a computation on a hospital's columns without
network, files or rights; ``InlineWorker`` is its stand-in for simulations and says so.
"""

from wardround.sandbox.client import ConfinedWorker
from wardround.sandbox.interface import Columns, InlineWorker, Vector, Worker
from wardround.sandbox.limits import (
    BASE_LIMITS,
    HostLimits,
    Limit,
    LimitRow,
    Limits,
    describe,
    parse_limits,
    require,
)
from wardround.sandbox.probe import probe

__all__ = [
    "BASE_LIMITS",
    "Columns",
    "ConfinedWorker",
    "HostLimits",
    "InlineWorker",
    "Limit",
    "LimitRow",
    "Limits",
    "Vector",
    "Worker",
    "describe",
    "parse_limits",
    "probe",
    "require",
]
