"""Ours beside a second implementation: from the same random bytes, the same bytes everywhere."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts import BATCH, MANIFEST, RUN, STUDY, Cohort, plain_sum, random_values
from secagg import reference
from secagg.reference import Names, Site, digest, plain_json, stream
from wardround.ids import SiteName
from wardround.secagg import Member, RingBits, derive, shamir

LENGTH = 11
NAMES = Names(STUDY, RUN, BATCH)
blocks = st.binary(min_size=32, max_size=32)


class Seeded(Cohort):
    """Every site draws from a stream of its own that the reference can draw from as well."""

    def member(self, name: SiteName) -> Member:
        self.random_bytes = stream(name)
        return super().member(name)


class Both:
    """One set-up of ours and one of the reference, over the same streams."""

    def __init__(self, sites: int, corrupt: int, rounds: int) -> None:
        self.ours = Seeded(sites, corrupt, rounds).set_up()
        names = self.ours.names
        self.sites = {name: Site(NAMES, names, name, rounds, stream(name)) for name in names}
        adverts = {name: site.advert() for name, site in self.sites.items()}
        self.seen = digest(plain_json({name: digest(one) for name, one in adverts.items()}))
        self.sealing_keys = {name: site.sealing_public for name, site in self.sites.items()}
        threshold = self.ours.adversary.threshold
        self.adverts = adverts
        self.sealed = {
            name: site.deal(self.sealing_keys, threshold, self.seen)
            for name, site in self.sites.items()
        }

    def masking_keys(self, index: int) -> dict[str, bytes]:
        return {name: site.masking_public[index] for name, site in self.sites.items()}


@pytest.mark.parametrize(("sites", "corrupt", "rounds"), [(3, 0, 1), (5, 1, 2)])
def test_a_set_up_is_the_same_byte_for_byte_and_its_shares_open(
    sites: int, corrupt: int, rounds: int
) -> None:
    both = Both(sites, corrupt, rounds)
    for name, envelope in both.ours.adverts.items():
        assert envelope.payload == both.adverts[name]
    for name, blobs in both.ours.sealed.items():
        assert blobs == both.sealed[name]
        deal = {
            "study": STUDY,
            "run": RUN,
            "batch": BATCH,
            "site": name,
            "adverts": both.seen,
            "sealed": {peer: digest(blob) for peer, blob in blobs.items()},
        }
        assert both.ours.deals[name].payload == plain_json(deal)
    opened = {
        (receiver, sender): both.sites[receiver].opened(
            sender, both.sealing_keys[sender], blobs[receiver], both.seen
        )
        for sender, blobs in both.ours.sealed.items()
        for receiver in blobs
    }
    names, threshold = both.ours.names, both.ours.adversary.threshold
    for dealer in names:
        numbers = [(i, name) for i, name in enumerate(names, 1) if name != dealer][-threshold:]
        for place, secret in enumerate(s for pair in both.sites[dealer].secrets for s in pair):
            shares = {i: opened[name, dealer][place] for i, name in numbers}
            if len(shares) == threshold:
                assert reference.secret_of(shares) == secret


@settings(max_examples=12)
@given(st.data())
def test_masked_vectors_and_recovered_totals_are_the_same(data: st.DataObject) -> None:
    sites = data.draw(st.integers(3, 6))
    bits: RingBits = data.draw(st.sampled_from([32, 64]))
    index = data.draw(st.integers(0, 1))
    both = Both(sites, data.draw(st.integers(0, (sites - 1) // 3)), 2)
    ours, adversary = both.ours, both.ours.adversary
    values = random_values(ours.names, LENGTH, bits, seed=sites)
    masked = ours.mask(index, MANIFEST, values)
    keys = both.masking_keys(index)
    for name, site in both.sites.items():
        expected = site.mask(index, MANIFEST, values[name].tolist(), keys, bits)
        assert masked[name].tolist() == expected
    gone = data.draw(st.sets(st.sampled_from(ours.names), max_size=adversary.tolerated_dropouts))
    survivors = [name for name in ours.names if name not in gone]
    helpers = survivors[-adversary.threshold :]
    votes = ours.votes(index, MANIFEST, survivors, helpers)
    shares = ours.recovered(index, MANIFEST, survivors, votes, helpers)
    numbers = {name: number for number, name in enumerate(ours.names, 1)}

    def of(dealer: SiteName, kind: str) -> dict[int, int]:
        given = {numbers[one]: getattr(message, kind)[dealer] for one, message in shares.items()}
        return {number: int.from_bytes(share, "big") for number, share in given.items()}

    total = reference.recovered_total(
        NAMES,
        index,
        MANIFEST,
        {name: masked[name].tolist() for name in survivors},
        keys,
        {name: of(name, "self_mask_shares") for name in survivors},
        {name: of(name, "masking_shares") for name in gone},
        bits,
    )
    opened = plain_sum(masked[name] for name in survivors)
    ours.unmasking(bits, index, MANIFEST, survivors, shares).unmask(opened)
    assert total == opened.tolist() == plain_sum(values[name] for name in survivors).tolist()


@given(blocks, blocks)
def test_keys_are_agreed_on_as_by_the_reference(one: bytes, other: bytes) -> None:
    public = derive.public_key(other)
    assert public == reference.public_key(other)
    shared = derive.exchange(derive.private_key(one), public)
    assert shared == reference.x25519(one, public)
    assert derive.hkdf(shared, other) == reference.hkdf(shared, other)


@given(blocks, st.binary(max_size=70), st.binary(max_size=40))
def test_the_references_gcm_is_the_librarys(key: bytes, plain: bytes, extra: bytes) -> None:
    sealed = reference.gcm(key, bytes(12), plain, extra)
    assert sealed == AESGCM(key).encrypt(bytes(12), plain, extra)
    assert reference.gcm_open(key, bytes(12), sealed, extra) == plain
    with pytest.raises(ValueError, match="tag"):
        reference.gcm_open(key, bytes(12), bytes([sealed[0] ^ 1]) + sealed[1:], extra)


@given(blocks, st.integers(1, 9), st.integers(0, 9))
def test_shares_are_the_references(secret: bytes, threshold: int, more: int) -> None:
    sites = threshold + more
    ours = shamir.deal(secret, threshold, sites, stream("shares"))
    theirs = reference.share_out(secret, threshold, sites, stream("shares"))
    assert [int.from_bytes(share, "big") for share in ours] == theirs
    assert reference.secret_of(dict(enumerate(theirs[:threshold], 1))) == secret
