"""The second exchange: enough sites agree, under signature, on who survived.

Without it a coordinator could tell every helper of another set of survivors, collect the masking
keys of everyone but one, and read that one's contribution, although no helper ever gave both
shares of a peer. With it, two different sets can't both gather votes (see
:attr:`wardround.secagg.adversary.Adversary.threshold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.secagg.adversary import Adversary
from wardround.secagg.messages import SurvivorVote
from wardround.secagg.setup import open_signed
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey


def require_votes(
    votes: Mapping[SiteName, Envelope],
    keys: Mapping[SiteName, VerifyKey],
    agreed: SurvivorVote,
    threshold: int,
) -> None:
    """Return if ``threshold`` survivors signed exactly what ``agreed`` says, whoever it is from.

    Raises WR-SECAGG-015 for fewer, for a vote from outside the set, and for a vote on anything
    else: a stray vote in the pile is a sign that somebody is being told another story. Raises a
    WR-TRUST code for a bad signature.
    """
    for site, envelope in votes.items():
        vote = open_signed(SurvivorVote, envelope, site, keys, "WR-SECAGG-015")
        if site not in agreed.survivors or vote != replace(agreed, site=site):
            raise WardroundError(
                "WR-SECAGG-015",
                f"The vote of {site} is not about this round and this set of survivors.",
                "Give up the round. If it happens again, compare the signed votes.",
                path=site,
            )
    if len(votes) < threshold:
        raise WardroundError(
            "WR-SECAGG-015",
            f"Only {len(votes)} sites voted for this set of survivors; {threshold} must.",
            "Wait for more votes, or give up the round: nothing of it has been opened.",
        )


def check_survivors(
    survivors: Sequence[SiteName], roster: Sequence[SiteName], adversary: Adversary
) -> tuple[SiteName, ...]:
    """The set in ascending order; raises WR-SECAGG-013 if no total may be opened over it."""
    agreed = tuple(sorted(survivors))
    if len(set(agreed)) != len(agreed) or not set(agreed) <= set(roster):
        raise bad_survivors("The survivors are not distinct sites of the roster.")
    if len(agreed) < adversary.minimum_survivors:
        raise bad_survivors(
            f"Only {len(agreed)} of {adversary.sites} sites survived; a total needs "
            f"{adversary.minimum_survivors}."
        )
    return agreed


def bad_survivors(problem: str) -> WardroundError:
    """The refusal to open a total over a set."""
    return WardroundError(
        "WR-SECAGG-013",
        problem,
        "Give up the round and start another one with the sites that are reachable; "
        "nothing of it has been opened.",
    )
