"""Secure sums: fixed-point encoding, double masking, and what the thresholds rest on.

Pure state machines after Bonawitz et al. 2017 with the consistency round (DESIGN section 5): no
sockets, no disk, no clock. A site is a :class:`Member` (in an asynchronous sum a
:class:`LateMember`), the coordinator holds an :class:`Unmasking`, and in between travel messages
that each site signs.
"""

from wardround.secagg.adversary import Adversary, default_corrupt
from wardround.secagg.checksum import LANES, Checksum
from wardround.secagg.cohort import CohortManifest, CohortTerms, Offer, Ready, cohort_manifest
from wardround.secagg.draw import MAXIMUM_DRAWS, Acceptance, Commitment, Reveal
from wardround.secagg.encoding import FixedPoint, RingArray, RingBits
from wardround.secagg.late import Bond, LateMember
from wardround.secagg.masking import Member
from wardround.secagg.messages import Advert, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.partition import Partition, Partitions, draw_partitions
from wardround.secagg.recovery import Unmasking
from wardround.secagg.setup import adverts_digest, open_adverts, open_deals, setup_digest
from wardround.secagg.votes import check_survivors, require_votes

__all__ = [
    "LANES",
    "MAXIMUM_DRAWS",
    "Acceptance",
    "Adversary",
    "Advert",
    "Bond",
    "Checksum",
    "CohortManifest",
    "CohortTerms",
    "Commitment",
    "Deal",
    "FixedPoint",
    "LateMember",
    "Member",
    "Offer",
    "Partition",
    "Partitions",
    "Ready",
    "RecoveryShares",
    "Reveal",
    "RingArray",
    "RingBits",
    "SurvivorVote",
    "Unmasking",
    "adverts_digest",
    "check_survivors",
    "cohort_manifest",
    "default_corrupt",
    "draw_partitions",
    "open_adverts",
    "open_deals",
    "require_votes",
    "setup_digest",
]
