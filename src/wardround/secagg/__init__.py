"""Secure sums: fixed-point encoding, double masking, and what the thresholds rest on.

Pure state machines after Bonawitz et al. 2017 with the consistency round (DESIGN section 5): no
sockets, no disk, no clock. A site is a :class:`Member`, the coordinator holds an
:class:`Unmasking`, and in between travel messages that each site signs.
"""

from wardround.secagg.adversary import Adversary, default_corrupt
from wardround.secagg.encoding import FixedPoint, RingArray, RingBits
from wardround.secagg.messages import Advert, Deal, RecoveryShares, SurvivorVote

__all__ = [
    "Adversary",
    "Advert",
    "Deal",
    "FixedPoint",
    "RecoveryShares",
    "RingArray",
    "RingBits",
    "SurvivorVote",
    "default_corrupt",
]
