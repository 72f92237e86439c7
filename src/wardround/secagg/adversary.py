"""One statement about the attacker, and every threshold that follows from it.

The attacker is the coordinator, who may do anything, together with up to ``corrupt`` of the
sites, who hand it all they know; any site may drop out at any time. Nothing else in the package
chooses a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.errors import WardroundError

MINIMUM_SITES = 3
"""A sum of two is each one's own contribution to the other."""

MAXIMUM_SITES = 64
"""The largest study that the services carry."""

MAXIMUM_COHORT = 10_000
"""The largest cohort for which thresholds, encodings and sparse graphs are worked out."""


def default_corrupt(sites: int) -> int:
    """How many sites a study assumes corrupt unless it says otherwise.

    A third, rounded down so that the remaining honest sites can still complete a round; none of
    three, where one corrupt site would make every single survivor indispensable.
    """
    return 0 if sites <= MINIMUM_SITES else (sites - 1) // 3


@dataclass(frozen=True)
class Adversary:
    """The corruption bound of one cohort: ``corrupt`` of ``sites``, and the coordinator.

    ``sites`` is the number of sites to which shares are dealt, and ``votes`` the least threshold
    that it may have: that of the whole study or group of which it is a part. Two parts would else
    each open a total of one task, and the two may differ by a single hospital. Raises
    WR-SECAGG-001 for a cohort that is too small or too large and WR-SECAGG-002 for a bound under
    which nothing can be opened.
    """

    sites: int
    corrupt: int
    votes: int = 0

    def __post_init__(self) -> None:
        if not MINIMUM_SITES <= self.sites <= MAXIMUM_COHORT:
            raise WardroundError(
                "WR-SECAGG-001",
                f"A secure sum needs {MINIMUM_SITES} to {MAXIMUM_COHORT} sites; "
                f"this one has {self.sites}.",
                "Invite more hospitals, wait until enough of them are reachable, "
                "or split the study.",
            )
        if self.votes > self.sites:
            raise WardroundError(
                "WR-SECAGG-001",
                f"A total needs {self.votes} sites that agree to it; this cohort has {self.sites}.",
                "Wait until more of the study's hospitals are reachable.",
            )
        if not 0 <= self.corrupt <= self.sites - 2:
            raise WardroundError(
                "WR-SECAGG-002",
                f"Of {self.sites} sites {self.corrupt} can't be assumed corrupt: at least two "
                "honest contributions must hide each other.",
                f"State a number between 0 and {self.sites - 2}; "
                f"{default_corrupt(self.sites)} is usual.",
            )

    @property
    def threshold(self) -> int:
        """Shares that open a secret, and votes that open a total: the least t with 2t - n > f.

        Two survivor sets with t votes each then share more than f voters, hence an honest one,
        and an honest site votes once (Bonawitz et al. 2017, section 6.2). Since f < t, the
        corrupt sites can't open anything among themselves. In a part of a study t is no lower than
        for the whole, so that this holds for two parts as well.
        """
        return max((self.sites + self.corrupt) // 2 + 1, self.votes)

    @property
    def minimum_survivors(self) -> int:
        """The smallest cohort whose total may be opened: max(t, f + 2), so two honest at least.

        With this threshold t is never below f + 2; the promise does not rest on that.
        """
        return max(self.threshold, self.corrupt + 2)

    @property
    def tolerated_dropouts(self) -> int:
        """How many sites may drop out of a round before it fails.

        Zero is legitimate for a roster that already lost a site in set-up, and a poor choice for
        a study's whole pool.
        """
        return self.sites - self.minimum_survivors
