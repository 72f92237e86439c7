"""The checks that every party makes on a set-up, and the digest that stands for it.

The coordinator carries all messages and may show each site other ones. Each is signed by a key
that stands in the study, each deal names the digest of all adverts its dealer saw, and the
manifest of every round carries :func:`setup_digest`: sites that were shown different keys, rosters
or sealed shares refuse at the latest there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg.derive import is_sound
from wardround.secagg.messages import Advert, Deal, Message
from wardround.trust.canonical import JSON, digest, digest_json
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey

_MessageT = TypeVar("_MessageT", bound=Message)


def open_adverts(
    envelopes: Mapping[SiteName, Envelope], keys: Mapping[SiteName, VerifyKey]
) -> dict[SiteName, Advert]:
    """The adverts of one set-up, by site in ascending order, each signed by its site.

    Raises WR-SECAGG-007 when they don't belong together, when a site is not in the study, or when
    a key is unsound or used twice; a WR-TRUST code for a bad signature.
    """
    adverts = {
        site: open_signed(Advert, envelopes[site], site, keys, "WR-SECAGG-007")
        for site in sorted(envelopes)
    }
    check_adverts(adverts)
    return adverts


def check_adverts(adverts: Mapping[SiteName, Advert]) -> None:
    """Return if opened adverts belong together and every key is sound and used once; else -007."""
    if len({(one.study, one.run, one.batch, one.pool, one.rounds) for one in adverts.values()}) > 1:
        raise _foreign_advert("The advertised keys belong to different set-ups.")
    published: set[bytes] = set()
    for site, advert in adverts.items():
        public_keys = (advert.sealing_key, *advert.masking_keys)
        fresh = {*public_keys, *advert.self_mask_commitments}
        if len(fresh) != 1 + 2 * advert.rounds or not fresh.isdisjoint(published):
            raise _foreign_advert(f"A key that {site} advertises is already in use.", site)
        if not all(is_sound(key) for key in public_keys):
            raise _foreign_advert(f"A key that {site} advertises hides nothing.", site)
        published |= fresh


def open_deals(
    envelopes: Mapping[SiteName, Envelope],
    keys: Mapping[SiteName, VerifyKey],
    adverts: Mapping[SiteName, Advert],
    seen: Digest,
) -> dict[SiteName, Deal]:
    """The deals of a set-up whose adverts have the digest ``seen``, by site in ascending order.

    Raises WR-SECAGG-008 when a site did not deal, dealt to others than the roster, or saw other
    adverts; a WR-TRUST code for a bad signature.
    """
    missing = sorted(adverts.keys() - envelopes.keys())
    if missing:
        raise WardroundError(
            "WR-SECAGG-008",
            f"The set-up is incomplete: {', '.join(missing)} dealt no shares.",
            "Start a fresh set-up with the sites that are reachable; no round was lost.",
        )
    deals = {}
    for site in sorted(envelopes):
        deal = open_signed(Deal, envelopes[site], site, keys, "WR-SECAGG-008")
        advert = adverts.get(site)
        if (
            advert is None
            or (deal.study, deal.run, deal.batch) != (advert.study, advert.run, advert.batch)
            or deal.adverts != seen
            or deal.sealed.keys() | {site} != adverts.keys()
        ):
            raise WardroundError(
                "WR-SECAGG-008",
                f"{site} dealt shares for another roster or other keys than these.",
                "Start a fresh set-up. If it happens again the coordinator shows the sites "
                "different things: compare the two signed statements.",
                path=site,
            )
        deals[site] = deal
    return deals


def adverts_digest(envelopes: Mapping[SiteName, Envelope]) -> Digest:
    """One digest for all adverts of a roster, as every dealer signs it."""
    return digest_json(_payloads(envelopes))


def setup_digest(
    adverts: Mapping[SiteName, Envelope], deals: Mapping[SiteName, Envelope]
) -> Digest:
    """One digest for every advertised key and every sealed share; the manifest carries it.

    Over payloads and not signatures: there are many valid signatures of one statement.
    """
    return digest_json({"adverts": _payloads(adverts), "deals": _payloads(deals)})


def open_signed(
    kind: type[_MessageT],
    envelope: Envelope,
    site: SiteName,
    keys: Mapping[SiteName, VerifyKey],
    code: str,
) -> _MessageT:
    """The message in ``envelope``, if it is ``site``'s own and signed by ``site``'s key."""
    key = keys.get(site)
    if key is None:
        raise WardroundError(
            code, f"{site} is no site of this study.", "Use the study's own list of sites."
        )
    try:
        message = kind.open(envelope, key)
    except WardroundError as error:
        raise WardroundError(error.code, error.problem, error.remedy, path=site) from error
    if message.site != site:
        raise WardroundError(
            code,
            f"A statement that was given as {site}'s speaks for another site.",
            "Ask the coordinator's operator; an honest coordinator does not mix them up.",
            path=site,
        )
    return message


def _payloads(envelopes: Mapping[SiteName, Envelope]) -> dict[str, JSON]:
    return {site: digest(envelope.payload) for site, envelope in envelopes.items()}


def _foreign_advert(problem: str, site: SiteName | None = None) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-007",
        problem,
        "Start a fresh set-up, in which every site advertises new keys once.",
        path=site,
    )
