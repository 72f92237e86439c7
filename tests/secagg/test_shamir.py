"""Secret sharing: any threshold of shares gives the secret, one fewer fits every secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.secagg import shamir

secrets_ = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32])


def is_prime(number: int) -> bool:
    """Miller-Rabin with the first thirteen primes as bases."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        value = pow(base, odd, number)
        powers = [pow(value, 2**i, number) for i in range(twos)]
        if value != 1 and number - 1 not in powers:
            return False
    return True


def test_the_modulus_is_the_least_prime_above_all_secrets() -> None:
    assert is_prime(shamir.PRIME)
    assert not any(is_prime(n) for n in range(2**256 + 1, shamir.PRIME, 2))


@given(secrets_, st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, data: st.DataObject) -> None:
    sites = data.draw(st.integers(1, 40))
    threshold = data.draw(st.integers(1, sites))
    shares = dict(enumerate(shamir.deal(secret, threshold, sites), 1))
    assert all(shamir.is_share(share) for share in shares.values())
    numbers = data.draw(st.permutations(list(shares)))
    basis = {number: shares[number] for number in numbers[:threshold]}
    assert shamir.combine(basis) == secret
    for number in numbers[threshold:]:
        assert shamir.agrees(basis, number, shares[number])
        wrong = (int.from_bytes(shares[number], "big") ^ 1).to_bytes(shamir.SHARE_BYTES, "big")
        assert not shamir.agrees(basis, number, wrong)


def test_a_sharing_worked_out_by_hand() -> None:
    """7 + 3 x + 2 x**2 at 1, 2, 3; the random source is asked for the highest power first."""
    drawn = (2).to_bytes(64, "big") + (3).to_bytes(64, "big")
    shares = shamir.deal((7).to_bytes(32, "big"), 3, 3, lambda size: drawn[:size])
    assert [int.from_bytes(share, "big") for share in shares] == [12, 21, 34]


@given(secrets_, secrets_)
def test_fewer_shares_than_the_threshold_fit_every_secret(secret: bytes, other: bytes) -> None:
    """For each other secret there is a polynomial of the same degree through the same shares."""
    shares = dict(enumerate(shamir.deal(secret, 3, 5), 1))
    known = {number: shares[number] for number in (2, 5)}
    imagined = known | {0: other.rjust(shamir.SHARE_BYTES, b"\0")}
    for number in (1, 3, 4):
        value = next(v for v in candidates(imagined, number) if shamir.agrees(imagined, number, v))
        assert shamir.combine(known | {number: value}) == other


def candidates(basis: dict[int, bytes], number: int) -> list[bytes]:
    """The value at ``number`` of the polynomial through ``basis``, by Newton's differences."""
    xs = list(basis)
    table = [int.from_bytes(basis[x], "big") for x in xs]
    for level in range(1, len(xs)):
        for i in range(len(xs) - 1, level - 1, -1):
            slope = pow(xs[i] - xs[i - level], -1, shamir.PRIME)
            table[i] = (table[i] - table[i - 1]) * slope % shamir.PRIME
    value = 0
    for x, coefficient in zip(reversed(xs), reversed(table), strict=True):
        value = (value * (number - x) + coefficient) % shamir.PRIME
    return [value.to_bytes(shamir.SHARE_BYTES, "big")]


def test_a_sum_of_false_shares_that_is_no_secret_is_none() -> None:
    largest = (shamir.PRIME - 1).to_bytes(shamir.SHARE_BYTES, "big")
    assert shamir.combine({1: largest}) is None


@pytest.mark.parametrize(
    ("secret", "threshold", "sites"), [(bytes(31), 2, 3), (bytes(32), 0, 3), (bytes(32), 4, 3)]
)
def test_impossible_sharings_are_refused(secret: bytes, threshold: int, sites: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        shamir.deal(secret, threshold, sites)


@pytest.mark.parametrize(
    "data", [b"", bytes(32), bytes(34), shamir.PRIME.to_bytes(33, "big"), b"\xff" * 33]
)
def test_what_is_no_field_element_is_no_share(data: bytes) -> None:
    assert not shamir.is_share(data)
