"""A false deal, proven: the receiver of a blob that does not open convicts its dealer.

A dealer signs the digest of every sealed blob. The receiver whose blob holds no shares
(WR-SECAGG-009) reveals the one X25519 secret between the two sealing keys, with a proof that it is
the right one (`equality`), and signs that; anyone then tries the blob that the dealer signed for.

*Why revealing it is harmless, at any time and whoever has masked by then.* The secret belongs to
one pair of sites in one set-up and opens exactly two blobs: what the dealer sent to the receiver
and what the receiver sent to the dealer. Between two honest sites it is never revealed, for an
honest dealer's blob opens. So one of the two is corrupt, and has both blobs' content already.
Revealing the whole sealing key instead would not be harmless: it opens everybody's blobs to the
receiver, and if enough receivers complain after others have masked, a threshold of both kinds of
share is public.

*Why nobody is convicted wrongly.* The complaint names the adverts and the deal it is about by
digest, so a coordinator that shows other material gets no verdict, only WR-SECAGG-054. The proof
leaves one possible secret; under it a blob either opens or does not. A receiver that complains
about a good blob, or with a false proof, convicts itself by its own signature.

*What it does not settle*: blobs that open and hold false shares (see `blame`), and a dealer that
signs two deals (its two signatures are the proof of that).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from wardround.errors import WardroundError
from wardround.ids import BatchId, Digest, RunId, SiteName
from wardround.secagg import derive, wire
from wardround.secagg.equality import PROOF_BYTES, is_on_curve, prove, reveal
from wardround.secagg.messages import Advert, Deal, Message
from wardround.secagg.sealing import Route
from wardround.secagg.setup import adverts_digest, open_adverts, open_signed
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey


@dataclass(frozen=True)
class Complaint(Message):
    """That ``accused`` dealt to ``site`` what is no set of shares, with what proves it."""

    payload_type: ClassVar[str] = "application/vnd.wardround.complaint+json"

    study: Digest
    run: RunId
    batch: BatchId
    site: SiteName
    accused: SiteName
    adverts: Digest
    deal: Digest
    proof: bytes

    def __post_init__(self) -> None:
        if self.site == self.accused or len(self.proof) > PROOF_BYTES:
            raise wire.malformed()


class Wrong(StrEnum):
    """What a convicted site did."""

    DEALT_NO_SHARES = "signed for a sealed blob that holds no shares"
    KEY_OFF_THE_CURVE = "advertised a sealing key that no honest site has"
    FALSE_PROOF = "complained with a proof that does not hold"
    FALSE_COMPLAINT = "complained about a blob that opens"


@dataclass(frozen=True)
class Verdict:
    """Who is left out of every further set-up, and why."""

    culprit: SiteName
    wrong: Wrong


def complain(
    sealing_key: bytes | bytearray,
    own: Advert,
    accused: Advert,
    adverts: Digest,
    deal: Envelope,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Complaint:
    """The complaint of ``own``'s site, who holds ``sealing_key``, about the ``accused``'s deal.

    Only a caller that has found the blob not to open calls this: `Member.complain`.
    """
    unproven = Complaint(
        study=own.study,
        run=own.run,
        batch=own.batch,
        site=own.site,
        accused=accused.site,
        adverts=adverts,
        deal=digest(deal.payload),
        proof=b"",
    )
    if not is_on_curve(accused.sealing_key):
        return unproven  # the advert itself convicts it
    proof = prove(sealing_key, accused.sealing_key, _context(unproven), random_bytes)
    return Complaint(**{**vars(unproven), "proof": proof})


def judge(
    complaint: Envelope,
    complainant: SiteName,
    adverts: Mapping[SiteName, Envelope],
    deal: Envelope,
    blob: bytes,
    keys: Mapping[SiteName, VerifyKey],
) -> Verdict:
    """Who of the two is false. Anyone may judge, from signed statements and the blob alone.

    ``adverts`` are those of the whole roster, ``deal`` the accused's. Raises WR-SECAGG-054 when
    the material is not what the complaint is about, and then convicts nobody; a WR-TRUST code for
    a bad signature.
    """
    said = open_signed(Complaint, complaint, complainant, keys, "WR-SECAGG-054")
    opened = open_adverts(adverts, keys)
    own, accused = opened.get(said.site), opened.get(said.accused)
    if own is None or accused is None or adverts_digest(adverts) != said.adverts:
        raise _no_case("The keys shown are not those of the set-up that the complaint is about.")
    dealt = open_signed(Deal, deal, said.accused, keys, "WR-SECAGG-054")
    batch = (own.study, own.run, own.batch)
    if (
        digest(deal.payload) != said.deal
        or dealt.adverts != said.adverts
        or (said.study, said.run, said.batch) != batch
        or (dealt.study, dealt.run, dealt.batch) != batch
        or dealt.sealed.get(said.site) != digest(blob)
    ):
        raise _no_case("The deal or the sealed shares shown are not those complained about.")
    if not is_on_curve(own.sealing_key):
        return Verdict(said.site, Wrong.KEY_OFF_THE_CURVE)
    if not is_on_curve(accused.sealing_key):
        return Verdict(said.accused, Wrong.KEY_OFF_THE_CURVE)
    shared = reveal(own.sealing_key, accused.sealing_key, _context(said), said.proof)
    if shared is None:
        return Verdict(said.site, Wrong.FALSE_PROOF)
    route = Route(derive.Batch(*batch), said.adverts, said.accused, said.site)
    try:
        route.unseal_with(shared, blob, 2 * accused.rounds)
    except WardroundError:
        return Verdict(said.accused, Wrong.DEALT_NO_SHARES)
    return Verdict(said.site, Wrong.FALSE_COMPLAINT)


def _context(complaint: Complaint) -> bytes:
    """What a proof is about, so that it proves nothing elsewhere."""
    batch = derive.Batch(complaint.study, complaint.run, complaint.batch)
    parts = (complaint.site, complaint.accused, complaint.adverts, complaint.deal)
    return derive.label(batch, "complaint", *parts)


def no_complaint(problem: str, site: SiteName) -> WardroundError:
    """The refusal to complain without a cause."""
    return WardroundError(
        "WR-SECAGG-054",
        problem,
        "Fetch the sealed shares again; only what a dealer signed for can be held against it.",
        path=site,
    )


def _no_case(problem: str) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-054",
        problem,
        "Nobody is convicted. Show the very statements that the complaint names by digest.",
    )
