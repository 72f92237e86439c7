"""Mistakes of other systems, each made on purpose: what it costs there, and that ours lacks it.

For each there is a weak double, an attack or a check that finds the weakness at work, and the same
attack or check on ours, in vain. A scalar mask and a reused one are found in ``test_view`` as well.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bedside import Bedside
from cohorts import BATCH, KEYS, MANIFEST, RUN, STUDY, Cohort, plain_sum, random_values, usual
from secagg import reference
from wardround.errors import WardroundError
from wardround.federation.packet import Packet
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import (
    Adversary,
    Advert,
    Member,
    RecoveryShares,
    RingArray,
    SurvivorVote,
    derive,
)
from wardround.secagg.sealing import Route
from wardround.site.seat import Seat
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey

LENGTH = 16
NAMES = reference.Names(STUDY, RUN, BATCH)
Words = NDArray[np.uint32]


# A 32-bit seed in a Mersenne Twister


class SmallSeed(Member):
    """The mask is a Mersenne Twister's, whose seed was folded to a few bits."""

    bits = 20

    def mask(self, index: int, manifest: Digest, values: RingArray, *, round_id: RoundId) -> None:
        secret = np.zeros(1, np.uint32)
        super().mask(index, manifest, secret, round_id=round_id)
        seed = int(secret[0]) % 2**self.bits
        values += np.random.RandomState(seed).randint(0, 2**32, len(values), dtype=np.uint32)


def first_words(seeds: NDArray[np.uint32], count: int) -> list[Words]:
    """The first outputs of MT19937 under each of the seeds (Matsumoto and Nishimura 1998)."""
    state, needed = seeds.copy(), {0: seeds.copy()}
    for i in range(1, 397 + count):
        state = np.uint32(1812433253) * (state ^ state >> np.uint32(30)) + np.uint32(i)
        if i <= count or i >= 397:
            needed[i] = state
    words = []
    for i in range(count):
        y = needed[i] & np.uint32(0x80000000) | needed[i + 1] & np.uint32(0x7FFFFFFF)
        y = needed[i + 397] ^ y >> np.uint32(1) ^ (y & np.uint32(1)) * np.uint32(0x9908B0DF)
        y ^= y >> np.uint32(11)
        y ^= y << np.uint32(7) & np.uint32(0x9D2C5680)
        y ^= y << np.uint32(15) & np.uint32(0xEFC60000)
        words.append(y ^ y >> np.uint32(18))
    return words


def seeds_of(masked: Words, known: Words, start: int, stop: int) -> Iterator[int]:
    """The seeds from ``start`` to ``stop`` under which the first numbers are the ``known`` ones.

    A fixed amount of work for each seed and no memory beyond a block of them.
    """
    block = 1 << 14
    wanted = masked[: len(known)] - known
    for at in range(start, stop, block):
        seeds = np.arange(at, min(at + block, stop), dtype=np.uint32)
        words = first_words(seeds, len(known))
        fits = np.logical_and.reduce([one == w for one, w in zip(words, wanted, strict=True)])
        yield from (int(seed) for seed in seeds[fits])


def masked_by(kind: type[Member]) -> tuple[Words, Words]:
    """A hospital's numbers, of which the first two are public zeros, and its packet."""
    cohort = Cohort(3, 0, kind=kind).set_up()
    values = random_values(cohort.names, LENGTH, 32)
    victim = cohort.names[0]
    values[victim][:2] = 0
    return values[victim], cohort.mask(0, MANIFEST, {victim: values[victim]})[victim]


def test_a_mask_from_a_small_seed_is_found_by_trying_all_seeds() -> None:
    values, masked = masked_by(SmallSeed)
    (seed,) = seeds_of(masked, values[:2], 0, 2**SmallSeed.bits)
    stream = np.random.RandomState(seed).randint(0, 2**32, LENGTH, dtype=np.uint32)
    assert np.array_equal(masked - stream, values), "the whole vector is open"


@pytest.mark.parametrize("seed", [2**31 + 12345, 2**32 - 1])
def test_the_search_finds_seeds_of_32_bits_as_well(seed: int) -> None:
    """One slice of 2^18 of the 2^14 slices that all 32-bit seeds are."""
    stream = np.random.RandomState(seed).randint(0, 2**32, 2, dtype=np.uint32)
    stop = min(seed + 2**17, 2**32)
    assert list(seeds_of(stream, np.zeros(2, np.uint32), stop - 2**18, stop)) == [seed]


class Seed32(SmallSeed):
    """As some systems have it: 32 bits, whatever the secret was."""

    bits = 32


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_mask_from_a_seed_of_32_bits_is_found_in_minutes(tmp_path: Path) -> None:
    """All 2^32 of them, by a program of sixty lines: some five minutes of one core."""
    program = tmp_path / "seed_search"
    source = Path(__file__).with_name("seed_search.c")
    subprocess.run(["gcc", "-O3", "-march=native", "-o", program, source], check=True)
    values, masked = masked_by(Seed32)
    words = [str(word) for word in masked[:2]]  # the first two numbers are public zeros
    middle = 2**31
    halves = [
        subprocess.Popen([program, str(start), str(stop), *words], stdout=subprocess.PIPE)
        for start, stop in ((0, middle), (middle, 2**32))
    ]
    found = [int(line) for half in halves for line in half.communicate()[0].split()]
    assert len(found) == 1
    stream = np.random.RandomState(found[0]).randint(0, 2**32, LENGTH, dtype=np.uint32)
    assert np.array_equal(masked - stream, values), "the whole vector is open"


def test_ours_has_no_such_seed() -> None:
    values, masked = masked_by(Member)
    assert list(seeds_of(masked, values[:2], 0, 2**20)) == []


# Threshold = n


class AllMustHelp(Adversary):
    """Any secret takes all shares, as in OpenFL and Fed-BioMed."""

    @property
    def threshold(self) -> int:
        return self.sites


def bears_a_dropout(cohort: Cohort) -> bool:
    """Whether a round with one site too few for the last exchange still gives its total."""
    cohort.set_up()
    values = random_values(cohort.names, LENGTH, 32)
    masked = cohort.mask(0, MANIFEST, values)
    voters = cohort.names[1:]
    try:
        votes = cohort.votes(0, MANIFEST, cohort.names, voters)
        shares = cohort.recovered(0, MANIFEST, cohort.names, votes, voters)
        total = plain_sum(masked.values())
        cohort.unmasking(32, 0, MANIFEST, cohort.names, shares).unmask(total)
    except WardroundError:
        return False
    return np.array_equal(total, plain_sum(values.values()))


@pytest.mark.parametrize("sites", [3, 4, 7, 10])
def test_a_threshold_of_all_sites_loses_the_round_to_one_dropout(
    sites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bears_a_dropout(usual(sites))
    monkeypatch.setattr("cohorts.Adversary", AllMustHelp)
    assert not bears_a_dropout(usual(sites))


# Both kinds of share, from a server's memory or from a site's


class BothKinds(Member):
    """Nothing is destroyed at a vote: as if resumed, for each question, from an old snapshot."""

    def vote(self, index: int, manifest: Digest, survivors: Sequence[SiteName]) -> SurvivorVote:
        return Member.vote(copy.deepcopy(self), index, manifest, survivors)

    def recover(
        self,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, Envelope],
    ) -> RecoveryShares:
        resumed = copy.deepcopy(self)
        resumed.__class__ = Member
        resumed.vote(index, manifest, survivors)
        return resumed.recover(index, manifest, survivors, votes)


def opened_victim(cohort: Cohort) -> tuple[list[int] | None, RingArray]:
    """Ask every helper over two sets, with and without the victim; put both kinds together."""
    cohort.set_up()
    values = random_values(cohort.names, LENGTH, 32)
    masked = cohort.mask(0, MANIFEST, values)
    victim, rest = cohort.names[0], cohort.names[1:]
    kinds: list[dict[int, int]] = [{}, {}]
    for survivors, kind, name in (
        (cohort.names, 1, "self_mask_shares"),
        (rest, 0, "masking_shares"),
    ):
        try:
            votes = cohort.votes(0, MANIFEST, survivors, rest)
            shares = cohort.recovered(0, MANIFEST, survivors, votes, rest)
        except WardroundError as error:
            assert error.code == "WR-SECAGG-014"
            return None, values[victim]
        for number, site in enumerate(cohort.names, 1):
            if site in shares:
                share = getattr(shares[site], name)[victim]
                kinds[kind][number] = int.from_bytes(share, "big")
    private, own = (
        reference.secret_of(dict(list(kind.items())[: cohort.adversary.threshold]))
        for kind in kinds
    )
    keys = {n: Advert.open(e, cohort.keys[n]).masking_keys[0] for n, e in cohort.adverts.items()}
    masks = [(-1, NAMES.self_mask_key(own, 0, MANIFEST, victim))]
    for peer in rest:
        key = NAMES.pair_mask_key(private, 0, MANIFEST, (victim, keys[victim]), (peer, keys[peer]))
        masks.append((-1 if victim < peer else 1, key))
    return reference.combined(masked[victim].tolist(), masks, 32), values[victim]


def test_a_server_with_both_kinds_of_share_opens_a_hospital() -> None:
    opened, values = opened_victim(Cohort(5, 1, kind=BothKinds))
    assert opened == values.tolist()
    opened, _ = opened_victim(Cohort(5, 1))
    assert opened is None, "after the first set no helper answers for a second"


@pytest.mark.parametrize(("resumed", "sets"), [(2, 1), (3, 2)])
def test_sites_resumed_from_a_snapshot_of_their_memory_count_as_corrupt(
    resumed: int, sets: int
) -> None:
    """Seven sites, two of which may be corrupt: for two sets of survivors it takes three."""

    class Resumed(Cohort):
        def member(self, name: SiteName) -> Member:
            self.kind = BothKinds if name in list(KEYS)[:resumed] else Member
            return super().member(name)

    cohort = Resumed(7, 2).set_up()
    cohort.mask(0, MANIFEST, random_values(cohort.names, 1, 32))
    ours, honest = cohort.names[:resumed], cohort.names[resumed:]
    half = (len(honest) + 1) // 2
    others = tuple(name for name in cohort.names if name != honest[0])
    opened = 0
    for survivors, voters in ((cohort.names, honest[:half]), (others, honest[half:])):
        votes = cohort.votes(0, MANIFEST, survivors, (*ours, *voters))
        try:
            cohort.recovered(0, MANIFEST, survivors, votes, voters)
        except WardroundError as error:
            assert error.code == "WR-SECAGG-015"
        else:
            opened += 1
    assert opened == sets


# One key for all sites


def test_a_key_that_all_share_lets_each_read_what_the_others_are_sent() -> None:
    """TenSEAL as FLARE uses it. What is read here are the shares of a third site's secrets."""

    def read_by_a_third(cohort: Cohort, drawn: Mapping[SiteName, bytes]) -> tuple[bytes, ...]:
        sender, receiver, reader = cohort.names[:3]
        seen = digest(
            reference.plain_json({n: digest(e.payload) for n, e in cohort.adverts.items()})
        )
        route = Route(derive.Batch(STUDY, RUN, BATCH), seen, sender, receiver)
        public = Advert.open(cohort.adverts[sender], cohort.keys[sender]).sealing_key
        key = derive.private_key(drawn[reader])
        return route.unseal(key, public, cohort.sealed[sender][receiver], 2)

    class Watched(Cohort):
        shared: bytes | None = None

        def member(self, name: SiteName) -> Member:
            draw = reference.stream(name)
            first = self.shared or draw(32)
            self.__dict__.setdefault("drawn", {})[name] = first
            queue = [first]
            self.random_bytes = lambda size: queue.pop() if queue else draw(size)
            return super().member(name)

    class Shared(Watched):
        shared = bytes(range(32))

    cohort = Shared(3, 0).advertise()
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.deal()
    with pytest.MonkeyPatch.context() as careless:
        careless.setattr("wardround.secagg.masking.open_adverts", unchecked)
        cohort.deal()
    assert len(read_by_a_third(cohort, cohort.__dict__["drawn"])) == 2
    ours = Watched(3, 0).advertise().deal()
    with pytest.raises(WardroundError, match="WR-SECAGG-009"):
        read_by_a_third(ours, ours.__dict__["drawn"])


def unchecked(
    envelopes: Mapping[SiteName, Envelope], keys: Mapping[SiteName, VerifyKey]
) -> dict[SiteName, Advert]:
    """The adverts, by somebody who does not look at the keys in them."""
    return {site: Advert.open(envelopes[site], keys[site]) for site in sorted(envelopes)}


# Encryption that falls back to plain text


class Streamed(Cohort):
    """Every site draws from a stream that can be drawn from again."""

    def member(self, name: SiteName) -> Member:
        self.random_bytes = reference.stream(name)
        return super().member(name)


def shares_in_the_open(cohort: Cohort) -> set[tuple[SiteName, SiteName]]:
    """Who sends whom a share that can be read on the way."""
    found = set()
    said = b"".join(one.payload for one in (*cohort.adverts.values(), *cohort.deals.values()))
    for dealer, blobs in cohort.sealed.items():
        draw = reference.stream(dealer)
        secrets = (draw(32), draw(32), draw(32))[1:]
        assert not any(secret in said for secret in secrets)
        threshold = cohort.adversary.threshold
        for secret in secrets:
            shares = reference.share_out(secret, threshold, len(cohort.names), draw)
            for number, receiver in enumerate(cohort.names):
                share = shares[number].to_bytes(33, "big")
                if receiver != dealer and share in blobs[receiver]:
                    found.add((dealer, receiver))
    return found


def test_shares_for_a_key_that_hides_nothing_are_not_sent_in_plain_text() -> None:
    """The coordinator's lever would be a key with which no secret can be agreed on."""

    def fall_open(route: Route, private: object, public: bytes, shares: Sequence[bytes]) -> bytes:
        try:
            return seal(route, private, public, shares)
        except ValueError:
            return b"".join(shares)

    seal = Route.seal
    good = Streamed(4, 1).advertise().deal()
    assert shares_in_the_open(good) == set()
    cohort = Streamed(4, 1).advertise()
    corrupt = cohort.names[3]
    advert = Advert.open(cohort.adverts[corrupt], cohort.keys[corrupt])
    unsound = replace(advert, sealing_key=bytes(32)).sign(KEYS[corrupt])
    shown = {**cohort.adverts, corrupt: unsound}
    with pytest.MonkeyPatch.context() as careless:
        careless.setattr("wardround.secagg.masking.open_adverts", unchecked)
        again = Streamed(4, 1).advertise().members[cohort.names[0]]
        with pytest.raises(ValueError, match=r"[Ee]rror"):  # closed even there
            again.deal(shown)
        careless.setattr(Route, "seal", fall_open)
        for name in cohort.names[:3]:
            sender = copy.deepcopy(cohort.members[name])
            cohort.deals[name], cohort.sealed[name] = sender.deal(shown)
    assert shares_in_the_open(cohort) == {(name, corrupt) for name in cohort.names[:3]}
    for name in cohort.names[:3]:
        with pytest.raises(WardroundError, match="WR-SECAGG-007"):
            cohort.members[name].deal(shown)


@pytest.mark.parametrize("careless", [True, False])
async def test_a_vector_that_could_not_be_masked_is_not_sent(
    careless: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system's build falls open: the job completes and the server sees everything."""
    bedside = await Bedside(tmp_path).ready()
    order = bedside.order()

    def fail(*_arguments: object) -> None:
        raise WardroundError("WR-SECAGG-004", "No cipher is to be had.", "Look for one.")

    monkeypatch.setattr("wardround.secagg.masking.apply", fail)
    if careless:
        mask = Seat.mask

        def try_to_mask(*arguments: object) -> None:
            with suppress(WardroundError):
                mask(*arguments)

        monkeypatch.setattr(Seat, "mask", try_to_mask)
    answer = await bedside.door.answer(order)
    if careless:
        assert isinstance(answer, Packet)
        whole = np.frombuffer(answer.payload.read_bytes(), np.uint64)
        counts = whole[: order.manifest.length]
        places = np.uint64(order.manifest.fractional_bits)
        assert ((counts >> places) <= 60).all(), "the counts of sixty patients, for all to read"
    else:
        assert bedside.heard(answer, 0) == "WR-SECAGG-004"
        assert bedside.spooled() == {}


# A round lost because a site dropped in set-up


class Stubborn(Setup):
    """The roster is the pool: whoever is lost is invited again."""

    @property
    def willing(self) -> tuple[SiteName, ...]:
        return self.pool


@pytest.mark.parametrize("stage", [SetupPhase.ADVERTISE, SetupPhase.DEAL])
@pytest.mark.parametrize(("kind", "needed"), [(Setup, {1, 2}), (Stubborn, {None})])
def test_a_site_that_drops_in_set_up_costs_no_round(
    kind: type[Setup], needed: set[int | None], stage: SetupPhase
) -> None:
    def set_ups_needed(sites: tuple[SiteName, ...], lost: SiteName) -> int | None:
        for attempt in range(1, 6):
            minimum = len(sites) if kind is Stubborn else 3
            state: Setup = kind(BATCH, RUN, sites, 1, minimum)
            for site in sites:
                if site != lost or stage is SetupPhase.DEAL:
                    state = state.on_advert(site)
            state = state if state.phase is SetupPhase.DEAL else state.on_deadline()
            for site in state.roster:
                state = state if site == lost else state.on_deal(site)
            state = state if state.phase is SetupPhase.READY else state.on_deadline()
            if state.phase is SetupPhase.READY:
                return attempt
            sites = state.willing
        return None

    names = tuple(KEYS)[:5]
    assert set_ups_needed(names, names[2]) in needed


# A retry that masks other data with the same mask


class Retrying(Member):
    """The keys are kept for another try."""

    def mask(self, index: int, manifest: Digest, values: RingArray, *, round_id: RoundId) -> None:
        Member.mask(copy.deepcopy(self), index, manifest, values, round_id=round_id)


def test_a_retry_under_the_same_mask_shows_what_changed() -> None:
    first, second = (random_values(list(KEYS)[:3], LENGTH, 32, seed) for seed in (1, 2))
    site = next(iter(KEYS))
    weak = Cohort(3, 0, kind=Retrying).set_up()
    packets = [weak.mask(0, MANIFEST, {site: data[site]})[site] for data in (first, second)]
    assert np.array_equal(packets[1] - packets[0], second[site] - first[site])
    ours = Cohort(3, 0).set_up()
    ours.mask(0, MANIFEST, {site: first[site]})
    with pytest.raises(WardroundError, match="WR-SECAGG-011"):
        ours.mask(0, MANIFEST, {site: second[site]})


# A cohort of one


class Lax(Adversary):
    """Two are enough to open a total, although one of them may be corrupt."""

    @property
    def threshold(self) -> int:
        return 2

    @property
    def minimum_survivors(self) -> int:
        return 2


def test_a_cohort_of_one_and_a_corrupt_site_is_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def total_of(cohort: Cohort, pair: Sequence[SiteName]) -> RingArray:
        cohort.set_up()
        masked = cohort.mask(0, MANIFEST, values)
        votes = cohort.votes(0, MANIFEST, pair, pair)
        shares = cohort.recovered(0, MANIFEST, pair, votes, pair)
        total = plain_sum(masked[name] for name in pair)
        cohort.unmasking(32, 0, MANIFEST, pair, shares).unmask(total)
        return total

    values = random_values(list(KEYS)[:4], LENGTH, 32)
    victim, corrupt = list(KEYS)[:2]
    with pytest.raises(WardroundError, match="WR-SECAGG-013"):
        total_of(Cohort(4, 1), (victim, corrupt))
    monkeypatch.setattr("cohorts.Adversary", Lax)
    opened = total_of(Cohort(4, 1), (victim, corrupt))
    assert np.array_equal(opened - values[corrupt], values[victim])
    monkeypatch.setattr(Lax, "minimum_survivors", 1)
    with pytest.raises(WardroundError, match="WR-SECAGG-006"):  # no such vote can even be written
        total_of(Cohort(4, 1), (victim,))
