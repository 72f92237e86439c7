"""Masking and unmasking beside their floor: AES-256-CTR and one addition a byte, and nothing else.

The floor expands as many streams as the protocol needs and adds each to the vector in place, chunk
by chunk in a core's own cache, with the keys at hand. What is measured beside it has to do the
same and, before it, agree on every key: X25519 and HKDF for each neighbour, Lagrange for each
secret that is recovered, and the checks of what was advertised. Both run on one thread, over the
same vector of 32-bit elements, in turn.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from benchmarks.report import Cell, Report
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import Adversary, Advert, Member, RecoveryShares, Unmasking
from wardround.secagg.adversary import default_corrupt
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

SIZES = {"1m": 1_000_000, "10m": 10_000_000}
NEIGHBOURS = (10, 50)
REPEATS = {"1m": 15, "10m": 7}
RECOVERIES = {"1m": 15, "10m": 7}
_FEW = 3
"""Repeats beyond a hundred streams, which take seconds each."""
TARGET = 0.6

_CHUNK_BYTES = 256 * 1024
_ZEROS = memoryview(bytes(_CHUNK_BYTES))
_STUDY = digest(b"benchmark")

Vector = NDArray[np.uint32]


class _Cohort:
    """``sites`` members of one complete set-up of ``rounds`` rounds."""

    def __init__(self, sites: int, rounds: int) -> None:
        self.names = tuple(SiteName(f"site-{number:02d}") for number in range(sites))
        self._signing = {name: SigningKey.generate() for name in self.names}
        self._keys = {name: key.public for name, key in self._signing.items()}
        self.adversary = Adversary(sites, default_corrupt(sites))
        self.members = {name: self._member(name, rounds) for name in self.names}
        envelopes = {name: member.advert() for name, member in self.members.items()}
        self.adverts = {
            name: Advert.open(envelope, self._keys[name]) for name, envelope in envelopes.items()
        }
        dealt = {name: member.deal(envelopes) for name, member in self.members.items()}
        deals = {name: deal for name, (deal, _) in dealt.items()}
        for name, member in self.members.items():
            given = {peer: blobs[name] for peer, (_, blobs) in dealt.items() if peer != name}
            member.accept(deals, given)

    def _member(self, name: SiteName, rounds: int) -> Member:
        return Member(
            _STUDY,
            RunId("benchmark"),
            BatchId("batch"),
            self.names,
            name,
            self._signing[name],
            self._keys,
            lambda sites: Adversary(sites, default_corrupt(sites)),
            rounds,
        )

    def recovered(
        self, index: int, survivors: tuple[SiteName, ...]
    ) -> dict[SiteName, RecoveryShares]:
        """What a threshold of helpers gives, after votes for ``survivors``."""
        helpers = survivors[: self.adversary.threshold]
        for name in self.names:
            self.mask(name, index, np.zeros(1, np.uint32))
        votes: dict[SiteName, Envelope] = {}
        for name in helpers:
            vote = self.members[name].vote(index, _manifest(index), survivors)
            votes[name] = vote.sign(self._signing[name])
        return {
            name: self.members[name].recover(index, _manifest(index), survivors, votes)
            for name in helpers
        }

    def mask(self, name: SiteName, index: int, vector: Vector) -> None:
        """Hide the vector of one site."""
        round_id = RoundId(f"round-{index}")
        self.members[name].mask(index, _manifest(index), vector, round_id=round_id)


def run() -> Report:
    """A site's part with 10 and 50 neighbours, and the opening with none and a fifth dropped."""
    rows: list[dict[str, Cell]] = []
    figures: dict[str, float] = {}
    for neighbours in NEIGHBOURS:
        # Two indices for the openings, and every masking needs keys of its own.
        rounds = 2 + sum(REPEATS.values()) + len(SIZES)
        cohort = _Cohort(neighbours + 1, rounds)
        indices = iter(range(2, rounds))
        for size, length in SIZES.items():
            vector = np.arange(length, dtype=np.uint32)
            row = _client(cohort, vector, indices, REPEATS[size])
            figures[f"client_ratio_{size}_k{neighbours}"] = row["ratio"]
            facts: dict[str, Cell] = {"floats": size, "neighbours": neighbours, "dropped": None}
            rows.append({"part": "client", **facts, "streams": neighbours + 1, **row})
        for index, dropped in enumerate((0, (neighbours + 1) // 5)):
            survivors = cohort.names[dropped:]
            shares = cohort.recovered(index, survivors)
            streams = len(survivors) * (1 + dropped)
            for size, length in SIZES.items():
                vector = np.arange(length, dtype=np.uint32)
                repeats = RECOVERIES[size] if streams <= 100 else min(RECOVERIES[size], _FEW)
                row = _opening(cohort, vector, index, survivors, shares, streams, repeats)
                share = 20 if dropped else 0
                figures[f"recovery_ratio_{size}_k{neighbours}_{share}"] = row["ratio"]
                facts = {"floats": size, "neighbours": neighbours, "dropped": dropped}
                rows.append({"part": "recovery", **facts, "streams": streams, **row})
    notes = [
        f"ratio: seconds of the floor by ours, medians in turn; client_ratio_10m_k10 >= {TARGET}.",
        "floor: AES-256-CTR in chunks of 256 KiB and one in-place addition for every stream.",
        "client: Member.mask. recovery: Unmasking.prepare and unmask of the whole sum.",
    ]
    return Report(rows, figures, notes)


def _client(
    cohort: _Cohort, vector: Vector, indices: Iterator[int], repeats: int
) -> Mapping[str, float]:
    name = cohort.names[len(cohort.names) // 2]  # it adds to some and subtracts from others
    streams = len(cohort.names)

    def ours() -> None:
        cohort.mask(name, next(indices), vector)

    return _compare(ours, lambda: _floor(vector, streams), repeats)


def _opening(
    cohort: _Cohort,
    vector: Vector,
    index: int,
    survivors: tuple[SiteName, ...],
    shares: Mapping[SiteName, RecoveryShares],
    streams: int,
    repeats: int,
) -> Mapping[str, float]:
    def ours() -> None:
        unmasking = Unmasking.prepare(
            cohort.adverts, 32, survivors, shares, index, _manifest(index), cohort.adversary
        )
        unmasking.unmask(vector)

    return _compare(ours, lambda: _floor(vector, streams), repeats)


def _compare(ours: Callable[[], None], floor: Callable[[], None], repeats: int) -> dict[str, float]:
    """Medians of both, run in turn after one of each that does not count."""
    seconds: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(repeats + 1):
        for what, call in (("floor", floor), ("ours", ours)):
            started = time.perf_counter()
            call()
            seconds[what].append(time.perf_counter() - started)
    mine, least = (statistics.median(seconds[what][1:]) for what in ("ours", "floor"))
    return {"ours_s": mine, "floor_s": least, "ratio": least / mine}


def _floor(vector: Vector, streams: int) -> None:
    ciphers = [
        Cipher(AES(secrets.token_bytes(32)), CTR(bytes(16))).encryptor() for _ in range(streams)
    ]
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    scratch = np.frombuffer(buffer, np.uint32)
    step = len(scratch)
    for start in range(0, len(vector), step):
        chunk = vector[start : start + step]
        size = chunk.nbytes
        for cipher in ciphers:
            cipher.update_into(_ZEROS[:size], buffer[:size])
            np.add(chunk, scratch[: len(chunk)], out=chunk)


def _manifest(index: int) -> Digest:
    return digest(b"manifest %d" % index)
