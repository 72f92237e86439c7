"""Late-bound cohorts: what sites say before they share keys, and the checks on it.

In an asynchronous sum nobody knows beforehand who will be ready when. So each site says *ready*,
under its signature, with keys that are good for exactly one sum; of those who are, the coordinator
names a cohort in a :class:`CohortManifest`, and every site of it signs that manifest before any of
them deals a share.

The attacker is the coordinator and up to f sites (see ``adversary``). It chooses who meets whom
and when; what it must not get is a cohort that is too small to hide in, one key under two
manifests, or sites that believe to be in different cohorts and share keys all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from wardround.errors import WardroundError
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import wire
from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES, Adversary
from wardround.secagg.messages import Advert, Message
from wardround.secagg.setup import open_adverts, open_signed
from wardround.trust.canonical import canonical, digest, digest_json, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

MAXIMUM_SEQUENCE = 10**6 - 1
"""The last number of a cohort within one run."""


@dataclass(frozen=True)
class CohortTerms:
    """How a study forms late cohorts: exactly ``size`` sites, of which ``dropouts`` may be lost.

    ``corrupt`` is the study's f, undivided: all of them may meet in one cohort. ``minimum_sites``
    is the study's own floor under a total. Raises WR-SECAGG-001 or -002 as `Adversary`, and
    WR-SECAGG-050 unless size >= max(t, f + 2, minimum_sites) + dropouts.
    """

    size: int
    corrupt: int
    dropouts: int = 0
    minimum_sites: int = MINIMUM_SITES

    def __post_init__(self) -> None:
        least = self.minimum_survivors + self.dropouts
        if self.minimum_sites < MINIMUM_SITES or self.dropouts < 0 or self.size < least:
            raise WardroundError(
                "WR-SECAGG-050",
                f"A late cohort of {self.size} sites is too small: with {self.corrupt} of them "
                f"corrupt and {self.dropouts} lost, no total may be opened.",
                "Wait for more sites before a cohort is formed, or tolerate fewer dropouts.",
            )

    @property
    def adversary(self) -> Adversary:
        """The thresholds of every cohort under these terms."""
        return Adversary(self.size, self.corrupt)

    @property
    def minimum_survivors(self) -> int:
        """The smallest set over which a cohort's total is opened."""
        return max(self.adversary.minimum_survivors, self.minimum_sites)


def smallest_cohort(least: int, corrupt: int, dropouts: int, minimum_sites: int) -> CohortTerms:
    """The terms with the smallest size of ``least`` sites or more that `CohortTerms` allows.

    Raises WR-SECAGG-050 when no cohort is large enough, which happens beyond the most sites only.
    """
    for size in range(least, MAXIMUM_SITES):
        try:
            return CohortTerms(size, corrupt, dropouts, minimum_sites)
        except WardroundError:  # too small still: the threshold grows with half the size
            continue
    return CohortTerms(MAXIMUM_SITES, corrupt, dropouts, minimum_sites)


@dataclass(frozen=True)
class Ready(Message):
    """That a site has a contribution, and keys for one sum over it.

    ``task`` is the question, the same for the whole cohort; ``model`` the version that this site
    trained from, which is its own business; ``advert`` the digest of the signed :class:`Advert`
    that comes with it. No manifest with a ``sequence`` above
    ``expires`` may name it: cohorts are counted, and no clock is trusted.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.ready+json"

    study: Digest
    run: RunId
    site: SiteName
    task: Digest
    model: Digest
    expires: int
    advert: Digest

    def __post_init__(self) -> None:
        if not 0 <= self.expires <= MAXIMUM_SEQUENCE:
            raise wire.malformed()


@dataclass(frozen=True)
class Offer:
    """A ready statement and the advert that it names, each in its site's envelope."""

    ready: Envelope
    advert: Envelope


@dataclass(frozen=True)
class CohortManifest:
    """One cohort: who is in it, by the digest of each one's ready statement, and its thresholds.

    The coordinator writes it and every site of the cohort signs it. ``sequence`` counts the
    manifests of a run. How the sum is encoded follows from the task and the size of the cohort,
    and which round it is from the sequence, so neither is said.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.cohort+json"

    study: Digest
    run: RunId
    sequence: int
    task: Digest
    ready: Mapping[SiteName, Digest]
    corrupt: int
    threshold: int
    minimum_survivors: int

    def __post_init__(self) -> None:
        size = len(self.ready)
        if not (
            0 <= self.sequence <= MAXIMUM_SEQUENCE
            and MINIMUM_SITES <= size <= MAXIMUM_SITES
            and 0 <= self.corrupt < self.threshold <= self.minimum_survivors <= size
        ):
            raise wire.malformed()

    @property
    def cohort(self) -> tuple[SiteName, ...]:
        """Its sites, in ascending order."""
        return tuple(sorted(self.ready))

    @property
    def round(self) -> RoundId:
        """The one round that is opened over this cohort."""
        return RoundId(f"{self.run}.c.{self.sequence:06d}")

    @property
    def digest(self) -> Digest:
        """The digest of the canonical bytes, which stands for the manifest."""
        return digest(self.to_payload())

    def to_payload(self) -> bytes:
        """The canonical bytes that every site of the cohort signs."""
        return canonical(
            {
                "study": self.study,
                "run": self.run,
                "sequence": self.sequence,
                "task": self.task,
                "ready": dict(self.ready.items()),
                "corrupt": self.corrupt,
                "threshold": self.threshold,
                "minimum_survivors": self.minimum_survivors,
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> CohortManifest:
        """The reverse of :meth:`to_payload`; raises WR-SECAGG-006 for anything else."""
        read = wire.Reader(parse_json(payload, code="WR-SECAGG-006", what="message"))
        return read.done(
            cls(
                study=read.digest("study"),
                run=RunId(read.text("run")),
                sequence=read.integer("sequence"),
                task=read.digest("task"),
                ready=read.digests("ready"),
                corrupt=read.integer("corrupt"),
                threshold=read.integer("threshold"),
                minimum_survivors=read.integer("minimum_survivors"),
            )
        )

    def sign(self, key: SigningKey) -> Envelope:
        """The manifest under one site's signature."""
        return sign(self.payload_type, self.to_payload(), key)


def late_batch(run: RunId) -> BatchId:
    """The batch that every late advert of a run names.

    Sites advertise before anyone knows with whom, so all cohorts of a run share the name. Keys are
    told apart by what they are: each is drawn for one ready statement, and every use of one binds
    the digest of a cohort's adverts or of its round's manifest (see `binding`).
    """
    return BatchId(f"{run}.late")


def binding(manifest: Digest, setup: Digest) -> Digest:
    """What the manifest of a late cohort's round names as its set-up: cohort and keys together.

    The cohort's own manifest is signed before anybody dealt. Masks, votes and shares are bound to
    the round's manifest, so members that were shown different deals hold masks that don't cancel.
    """
    return digest_json({"manifest": manifest, "setup": setup})


def open_offer(
    offer: Offer,
    site: SiteName,
    study: Digest,
    run: RunId,
    keys: Mapping[SiteName, VerifyKey],
) -> tuple[Ready, Advert]:
    """``site``'s ready statement and the keys that it names, for one sum among the study's sites.

    ``keys`` are those of the study, all of them. Raises WR-SECAGG-051 for statements that don't
    belong together or here, -007 for keys that hide nothing, a WR-TRUST code for a bad signature.
    """
    ready = open_signed(Ready, offer.ready, site, keys, "WR-SECAGG-051")
    advert = open_adverts({site: offer.advert}, keys)[site]
    if (ready.study, ready.run, ready.advert) != (study, run, digest(offer.advert.payload)):
        raise bad_cohort(f"{site} said ready for another study or run, or with other keys.", site)
    late = (study, run, late_batch(run), tuple(sorted(keys)), 1)
    if (advert.study, advert.run, advert.batch, advert.pool, advert.rounds) != late:
        raise bad_cohort(f"The keys that {site} is ready with are not for one late sum.", site)
    return ready, advert


def check_cohort(
    manifest: CohortManifest,
    offers: Mapping[SiteName, Offer],
    study: Digest,
    run: RunId,
    keys: Mapping[SiteName, VerifyKey],
    terms: CohortTerms,
) -> None:
    """Return if ``manifest`` names exactly the ``offers``, under the study's ``terms``.

    What everyone can check, an honest coordinator before it proposes; a site also compares its own
    statement and its own minimum. Raises WR-SECAGG-051, WR-SECAGG-007 for keys that don't go
    together, a WR-TRUST code for a signature, each naming the site at fault where there is one.
    """
    adversary = terms.adversary
    if (manifest.study, manifest.run) != (study, run):
        raise bad_cohort("The cohort is one of another study or run.")
    if len(manifest.ready) != terms.size:
        raise bad_cohort(
            f"The cohort has {len(manifest.ready)} sites; in this study it has {terms.size}."
        )
    if (manifest.corrupt, manifest.threshold) != (adversary.corrupt, adversary.threshold):
        raise bad_cohort("The cohort's thresholds are not those that follow from the study.")
    if manifest.minimum_survivors < terms.minimum_survivors:
        raise bad_cohort("The cohort would be opened over fewer sites than the study allows.")
    if offers.keys() != manifest.ready.keys():
        raise bad_cohort("The ready statements shown are not those of the cohort's sites.")
    for site in manifest.cohort:
        ready, _ = open_offer(offers[site], site, study, run, keys)
        if digest(offers[site].ready.payload) != manifest.ready[site]:
            raise bad_cohort(f"{site} said ready in other words than the manifest has.", site)
        if ready.task != manifest.task:
            raise bad_cohort(f"{site} is ready for another task than the manifest's.", site)
        if ready.expires < manifest.sequence:
            raise bad_cohort(f"{site}'s ready statement has expired.", site)
    open_adverts({site: offer.advert for site, offer in offers.items()}, keys)


def require_signatures(
    manifest: CohortManifest,
    signatures: Mapping[SiteName, Envelope],
    keys: Mapping[SiteName, VerifyKey],
) -> None:
    """Return if every site of the cohort signed exactly this manifest, and nobody else did.

    Raises WR-SECAGG-053 for a missing signature, one of a stranger, or one under another
    manifest; a WR-TRUST code for a bad one.
    """
    if signatures.keys() != manifest.ready.keys():
        absent = ", ".join(sorted(manifest.ready.keys() - signatures.keys()))
        raise _unsigned(
            f"Not everybody in the cohort signed its manifest; missing: {absent}."
            if absent
            else "A site outside the cohort signed its manifest."
        )
    payload = manifest.to_payload()
    for site in manifest.cohort:
        if site not in keys:
            raise _unsigned(f"{site} is no site of this study.", site)
        if verify(signatures[site], CohortManifest.payload_type, keys[site]) != payload:
            raise _unsigned(f"{site} signed another manifest than this site did.", site)


def cohort_manifest(
    study: Digest,
    run: RunId,
    sequence: int,
    task: Digest,
    offers: Mapping[SiteName, Offer],
    terms: CohortTerms,
    minimum_survivors: int = 0,
) -> CohortManifest:
    """What an honest coordinator proposes; ``minimum_survivors`` may ask for more than the study.

    Hospitals have minima of their own: the strictest of them is put in here.
    """
    return CohortManifest(
        study=study,
        run=run,
        sequence=sequence,
        task=task,
        ready={site: digest(offer.ready.payload) for site, offer in sorted(offers.items())},
        corrupt=terms.corrupt,
        threshold=terms.adversary.threshold,
        minimum_survivors=max(terms.minimum_survivors, minimum_survivors),
    )


def adverts_of(
    offers: Mapping[SiteName, Offer], sites: Iterable[SiteName]
) -> dict[SiteName, Envelope]:
    """The signed adverts in ``offers``, of ``sites``."""
    return {site: offers[site].advert for site in sites}


def bad_cohort(problem: str, site: SiteName | None = None) -> WardroundError:
    """The refusal to join a cohort."""
    return WardroundError(
        "WR-SECAGG-051",
        problem,
        "Nothing was signed, dealt or masked. Form another cohort; if it happens again, compare "
        "the signed statements.",
        path=site,
    )


def _unsigned(problem: str, site: SiteName | None = None) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-053",
        problem,
        "No shares are dealt. Form another cohort, in which every site says ready with new keys; "
        "if signatures differ, the coordinator shows the sites different things.",
        path=site,
    )
