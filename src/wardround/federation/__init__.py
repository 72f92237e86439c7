"""The round: what is said between coordinator and sites, and the state machines that order it.

Everything here is pure: events in, new state out; no sockets, disks or clocks. An algorithm sees
none of it but `Federation.sum`: a task goes out, the sum of all sites' contributions comes back.
"""

from wardround.federation.draw import Draw, DrawPhase
from wardround.federation.federation import Federation, Total
from wardround.federation.late import CohortPhase, Gathering, LateCohort, Waiting
from wardround.federation.messages import (
    Audit,
    Instruction,
    Manifest,
    PacketHeader,
    Refused,
    Witness,
)
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup, SetupPhase

__all__ = [
    "Audit",
    "CohortPhase",
    "Draw",
    "DrawPhase",
    "Federation",
    "Gathering",
    "Instruction",
    "LateCohort",
    "Manifest",
    "PacketHeader",
    "Refused",
    "Round",
    "RoundPhase",
    "Setup",
    "SetupPhase",
    "Total",
    "Waiting",
    "Witness",
]
