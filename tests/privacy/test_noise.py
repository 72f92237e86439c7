"""The samplers against exact probabilities, and their fast paths against integers alone."""

import math
import secrets

import numpy as np
import pytest
from mpmath import mp, mpf

from noise_checks import (
    cells,
    chi_square,
    fresh_each_time,
    gaussian_tail,
    laplace_tail,
    skellam_tail,
    variance_is,
    whole,
)
from wardround import WardroundError
from wardround.privacy import skellam as skellams
from wardround.privacy.gaussian import (
    NDTRI_ERROR,
    RoundedGaussian,
    rounded_gaussian,
    upper_quantile_errors,
    upper_quantiles,
)
from wardround.privacy.inversion import draw
from wardround.privacy.laplace import DiscreteLaplaceLaw, discrete_laplace
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.skellam import LargeSkellam, SmallSkellam, skellam

STEPS = 1 << 22
DRAWS = 10_000_000


def source(number: int = 0) -> NoiseSource:
    return NoiseSource(number.to_bytes(32, "big"))


@pytest.mark.parametrize("deviation", [1.0, 1.7, 300.25, 4.0 * STEPS, 2.0**31])
def test_gaussian_draws_have_the_exact_probabilities(deviation):
    draws = rounded_gaussian(source(1), deviation, DRAWS)
    assert chi_square(draws, cells(gaussian_tail(deviation), DRAWS)) > 1e-3


@pytest.mark.parametrize("scale", [0.2, 0.4, 10.0, 1234.5, 4.0 * STEPS])
def test_laplace_draws_have_the_exact_probabilities(scale):
    draws = discrete_laplace(source(2), scale, DRAWS)
    assert chi_square(draws, cells(laplace_tail(scale), DRAWS)) > 1e-3


@pytest.mark.parametrize("variance", [0.01, 1, 7.3, 5000, 65_536, 65_537, 400_000])
def test_skellam_draws_have_the_exact_probabilities(variance):
    draws = skellam(source(3), variance, DRAWS)
    assert chi_square(draws, cells(skellam_tail(variance), DRAWS)) > 1e-3


def test_skellam_draws_of_the_size_in_use_have_the_exact_probabilities():
    # Seen with 100 cells, the Gaussian of the same variance is the same to 2^-48.
    variance = (4 * STEPS) ** 2
    draws = skellam(source(4), variance, DRAWS)
    assert chi_square(draws, cells(gaussian_tail(4.0 * STEPS), DRAWS)) > 1e-3


def test_chi_square_sees_what_it_should():
    deviation = 300.25
    tails = cells(gaussian_tail(deviation), 1_000_000)
    wider = rounded_gaussian(source(5), 1.02 * deviation, 1_000_000)
    shifted = rounded_gaussian(source(6), deviation, 1_000_000) + 5
    heavy = skellam(source(7), 7, 1_000_000)
    assert chi_square(wider, tails) < 1e-6
    assert chi_square(shifted, tails) < 1e-6
    assert chi_square(heavy, cells(gaussian_tail(7**0.5), 1_000_000)) < 1e-6


@pytest.mark.parametrize(
    "variances", [(3, 3, 3, 3, 3), (0.5, 12.25, 40), (65_000, 66_000, 131_072)]
)
def test_shares_add_up_to_the_whole_noise(variances):
    total = sum(skellam(source(10 + i), v, DRAWS // 4) for i, v in enumerate(variances))
    whole_variance = sum(variances)
    tails = cells(skellam_tail(whole_variance), DRAWS // 4)
    assert chi_square(total, tails) > 1e-3


def test_moments():
    n, deviation = 2_000_000, 4.0 * STEPS
    q = math.exp(-1 / 30)
    laplace_variance = 2 * q / (1 - q) ** 2
    assert variance_is(rounded_gaussian(source(20), deviation, n), deviation**2 + 1 / 12, 0)
    assert variance_is(skellam(source(21), int(deviation) ** 2, n), deviation**2, 0)
    assert variance_is(skellam(source(22), 2.5, n), 2.5, 1 / 2.5)
    assert variance_is(discrete_laplace(source(23), 30.0, n), laplace_variance, 3)
    assert not variance_is(skellam(source(22), 2.5, n), 2.55, 1 / 2.5)


LAWS = [
    RoundedGaussian(1.0),
    RoundedGaussian(4.0 * STEPS),
    RoundedGaussian(2.0**40),
    DiscreteLaplaceLaw(0.7),
    DiscreteLaplaceLaw(4.0 * STEPS),
    LargeSkellam(65_537),
    LargeSkellam(1 << 48),
    LargeSkellam(1 << 78),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_integers_alone_give_what_floating_point_gives(law):
    fast = draw(source(30), law, 600)
    assert (draw(source(30), law, 600, margin=0.3) == fast).all()
    assert (draw(source(30), law, 200, margin=1.0) == fast[:200]).all()


@pytest.mark.parametrize("variance", [0.01, 2.5, 65_536])
def test_integers_alone_give_what_the_table_gives(variance):
    law = SmallSkellam(variance)
    fast = law.draw(source(31), 300)
    assert (law.draw(source(31), 300, margin=1 << 62) == fast).all()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_what_is_not_settled_is_in_the_slow_path_at_the_bounds_that_are_claimed(law):
    at = np.array([law.smallest])
    assert law.errors(at)[0] <= law.error
    between = np.geomspace(law.smallest, 0.49999, 1000)
    assert law.errors(between).max() <= law.error


@pytest.mark.parametrize(
    ("deviation", "k"), [(1.0, 1), (1.0, 9), (16_777_216.0, 33_333_333), (2.0**40, 2**42)]
)
def test_gaussian_tails_are_what_mpmath_says(deviation, k):
    with mp.workprec(400):
        exact = mp.ncdf(-(mpf(k) - mpf("0.5")) / mpf(deviation))
        for bits in (64, 128, 256):
            assert abs(RoundedGaussian(deviation).tail(k, bits) - exact * 2**bits) <= 1


@pytest.mark.parametrize(("scale", "k"), [(0.05, 1), (3.0, 2), (16_777_216.0, 50_000_000)])
def test_laplace_tails_are_what_mpmath_says(scale, k):
    with mp.workprec(400):
        q = mp.exp(-1 / mpf(scale))
        for bits in (64, 128, 256):
            exact = q**k / (1 + q) * 2**bits
            assert abs(DiscreteLaplaceLaw(scale).tail(k, bits) - exact) <= 1


@pytest.mark.parametrize(
    ("variance", "k"), [(0.01, 1), (0.01, 4), (2, 1), (2, 30), (1000.5, 1), (1000.5, 200)]
)
def test_skellam_tails_are_what_bessel_functions_say(variance, k):
    with mp.workprec(300):
        mean = mpf(variance)
        masses = (mp.exp(-mean) * mp.besseli(j, mean) for j in range(k, k + 800))
        exact = mp.fsum(masses)
        for bits in (64, 128, 200):
            assert abs(skellams.tail(variance, k, bits) - exact * 2**bits) <= 1


def test_a_poisson_difference_is_what_the_skellam_tail_says():
    # An oracle without Bessel functions: the convolution of two Poisson laws, in fractions of e.
    with mp.workprec(200):
        half = mpf(3) / 2
        poisson = [mp.exp(-half) * half**n / mp.factorial(n) for n in range(120)]
        exact = mp.fsum(
            poisson[a] * poisson[b] for a in range(120) for b in range(120) if a - b >= 4
        )
        assert abs(skellams.tail(3, 4, 100) - exact * 2**100) <= 1


def test_the_normal_quantile_keeps_its_bound_with_room():
    generator = np.random.default_rng(1)
    uniform = np.concatenate(
        [
            0.5 * generator.random(3000),
            np.exp2(generator.uniform(-40, -1, 5000)),
            0.5 - np.exp2(generator.uniform(-52, -2, 1000)),
            math.exp(-2) + generator.uniform(-1e-6, 1e-6, 500),  # where Cephes changes formulas
            math.exp(-32) * generator.uniform(0.99, 1.01, 500),
        ]
    )
    quantiles = np.empty_like(uniform)
    upper_quantiles(uniform, quantiles)
    worst = worst_near_zero = 0.0
    with mp.workprec(160):
        for u, z in zip(uniform.tolist(), quantiles.tolist(), strict=True):
            exact_z = mpf(z)
            wrong = abs(mp.erfc(exact_z / mp.sqrt(2)) / 2 - mpf(u))
            wrong /= mp.npdf(exact_z)
            worst = max(worst, float(wrong - mpf(2) ** -54) / z)
            worst_near_zero = max(worst_near_zero, float(wrong) if z < 0.1 else 0.0)
    assert worst <= NDTRI_ERROR / 4
    assert worst_near_zero <= 2.0**-52
    assert (upper_quantile_errors(uniform) > NDTRI_ERROR * quantiles).all()


def test_the_logarithm_keeps_its_bound_with_room():
    generator = np.random.default_rng(2)
    uniform = np.exp2(generator.uniform(-40, -1, 20_000))
    with mp.workprec(120):
        for u, logarithm in zip(uniform.tolist(), np.log(uniform).tolist(), strict=True):
            assert abs(mpf(logarithm) / mp.log(mpf(u)) - 1) <= mpf(2) ** -51


@pytest.mark.parametrize("variance", [2**16, 100_000, 2**18, 2**30, 2**48])
def test_the_expansion_of_skellam_quantiles_keeps_its_bound_with_room(variance):
    with mp.workprec(220):
        spread = mp.sqrt(mpf(variance) - mpf(1) / 12)
        for z in (0.05, 0.2, 0.5, 0.75, 1.2, 2.0, 3.0, 4.0, 4.9, 6.0, 7.3):
            k = round(z * math.sqrt(variance))
            upper = mpf(skellams.tail(variance, k, 200)) / mpf(2) ** 200
            normal = mp.findroot(lambda x, p=upper: mp.ncdf(-x) / p - 1, z, tol=1e-90)
            quantile = spread * normal + (normal**3 - 3 * normal) / (24 * spread)
            bound = (8 + normal**5) / (64 * spread**3)
            assert abs(quantile - (k - mpf("0.5"))) <= bound / 2.5


def test_every_draw_is_the_rounding_of_its_own_uniform_number():
    # The samplers' promise itself, from the same bits and mpmath alone.
    deviation = 4.0 * STEPS
    draws = rounded_gaussian(source(40), deviation, 500)
    bits = source(40).integers(500)
    with mp.workprec(200):
        for value, word in zip(draws.tolist(), bits.tolist(), strict=True):
            uniform = mpf(word & (2**63 - 1)) / mpf(2) ** 64
            upper = mp.ncdf(-(abs(value) - mpf("0.5")) / deviation)
            lower = mp.ncdf(-(abs(value) + mpf("0.5")) / deviation)
            assert lower <= uniform + mpf(2) ** -64
            assert uniform < upper
            assert value == 0 or (value < 0) == bool(word >> 63)


class Given(NoiseSource):
    """A source whose first bits are given, and only the further ones drawn."""

    def __init__(self, words):
        super().__init__(bytes(32))
        self.words = np.array(words, np.uint64)

    def fill(self, out):
        out[:] = self.words[: len(out)]

    def draws(self, law, margin=0):
        n = len(self.words)
        if isinstance(law, SmallSkellam):
            return law.draw(self, n, 1 + int(margin * 2**61))
        return draw(self, law, n, margin)


TABLES = [SmallSkellam(0.01), SmallSkellam(65_536)]


def places(law):
    """Some k of which the tail is from nearly a half down to 2^-21 and far beyond."""
    ks = []
    for exponent in (1.01, 1.3, 2, 3, 5, 8, 12, 17, 20.9, 23, 30, 39, 45):
        high, goal = 1, 2.0 ** (128 - exponent)
        while law.tail(high, 128) > goal:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if law.tail(middle, 128) > goal else (low, middle)
        ks.append(high)
    return sorted(set(ks))


@pytest.mark.parametrize("law", [*LAWS, *TABLES], ids=str)
def test_numbers_next_to_an_edge_fall_on_their_side_of_it(law):
    # Two steps of 2^-64 from an edge, which floating point can't see.
    for k in places(law):
        edge = law.tail(k, 64)
        inside, outside = Given([edge - 2, edge + 2]).draws(law).tolist()
        assert inside >= k > outside
        if k == 1 or law.tail(k - 1, 64) - edge > 4:  # else one step of U is more than one k
            assert outside == k - 1


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_floating_point_keeps_its_bounds_at_exact_edges(law):
    for k in places(law):
        edge = law.tail(k, 128) / 2**128
        if edge > 2.0**-40:
            uniform, quantile = np.array([edge]), np.empty(1)
            bound = law.errors(uniform)[0]
            law.quantiles(uniform, quantile)
            assert abs(quantile[0] - (k - 0.5)) <= bound


@pytest.mark.parametrize("law", [*LAWS, *TABLES], ids=str)
def test_the_far_tail_is_exact_too(law):
    # What nobody lives to see: uniform numbers down to 0.
    words = [0, 1, 2, *(3 << e for e in range(0, 61, 3)), 2**63 - 1]
    draws = Given(words).draws(law)
    assert (np.diff(draws) <= 0).all()
    for k, word in zip(draws.tolist(), words, strict=True):
        # Edges are known within 1 at 64 bits more than the word's.
        assert word << 64 <= law.tail(k, 128) + 1 if k else True
        assert (word + 1) << 64 >= law.tail(k + 1, 128) - 1
    assert (Given(words).draws(law, margin=1) == draws).all()


@pytest.mark.parametrize(
    ("law", "k"),
    [
        (RoundedGaussian(4.0 * STEPS), 9 * STEPS),
        (RoundedGaussian(1.0), 3),
        (DiscreteLaplaceLaw(10.0), 14),
        (LargeSkellam(1 << 48), 9 * STEPS),
        (SmallSkellam(5.5), 4),
    ],
    ids=str,
)
def test_a_tie_is_settled_by_further_bits(law, k):
    tie = law.tail(k, 128) >> 64  # the first bits of U are those of the edge itself
    behind = (law.tail(k, 128) & (2**64 - 1)) / 2**64
    reached = (Given([tie] * 500).draws(law) >= k).sum()
    assert abs(reached - 500 * behind) < 4.5 * math.sqrt(500 * behind * (1 - behind))


@pytest.mark.parametrize("law", [RoundedGaussian(4.0 * STEPS), DiscreteLaplaceLaw(10.0)], ids=str)
def test_beyond_the_first_bits_the_tail_goes_on_as_the_law_does(law):
    # U below 2^-64, which says no more than that the element is far out.
    draws = Given([0] * 400).draws(law)
    for share in (0.1, 0.5, 0.9):
        k = int(np.quantile(draws, 1 - share))
        exact = law.tail(k, 128) / 2**64
        reached = (draws >= k).mean()
        assert abs(reached - exact) < 4.5 * math.sqrt(exact * (1 - exact) / 400)


def samplers():
    return [
        (lambda s, n: rounded_gaussian(s, 4.0 * STEPS, n), 4.0 * STEPS),
        (lambda s, n: skellam(s, (4 * STEPS) ** 2, n), 4.0 * STEPS),
        (lambda s, n: skellam(s, 900, n), 30.0),
        (lambda s, n: discrete_laplace(s, 4.0 * STEPS, n), 4.0 * STEPS * math.sqrt(2)),
    ]


@pytest.mark.parametrize(("sample", "deviation"), samplers())
def test_no_floating_point_gaussian_reaches_a_release(sample, deviation):
    assert whole(sample(source(50), 1000))
    assert not whole(deviation * np.random.default_rng(0).standard_normal(1000))


@pytest.mark.parametrize(("sample", "deviation"), samplers())
def test_a_seeded_generator_is_caught_by_running_twice(sample, deviation):
    n = 100_000
    assert fresh_each_time(lambda: sample(NoiseSource(secrets.token_bytes(32)), n), deviation)
    assert not fresh_each_time(lambda: sample(NoiseSource(bytes(32)), n), deviation)
    generators = np.random.default_rng

    def seeded():
        return np.rint(deviation * generators(5).standard_normal(n)).astype(np.int64)

    assert not fresh_each_time(seeded, deviation)


@pytest.mark.parametrize(("sample", "deviation"), samplers())
def test_draws_follow_from_the_key_whatever_their_number(sample, deviation):
    one, many = sample(source(60), 10), sample(source(60), 20_000)
    assert (one == many[:10]).all()
    assert len(sample(source(60), 0)) == 0


def test_the_stream_is_aes_in_counter_mode():
    # NIST SP 800-38A counts from another block; so encrypt the counters one by one.
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    key = bytes(range(32))
    encryptor = Cipher(AES(key), ECB()).encryptor()

    def block(counter):
        return encryptor.update(counter.to_bytes(16, "big"))

    stream = NoiseSource(key)
    first, further = stream.integers(100_001), stream.more()
    assert first.astype("<u8").tobytes()[:48] == block(0) + block(1) + block(2)
    assert first[100_000] == int.from_bytes(block(50_000)[:8], "little")
    assert further == int.from_bytes(block(1 << 127)[:8], "little")
    assert stream.integers(1)[0] == int.from_bytes(block(50_000)[8:], "little")


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(31), bytes(33)])
def test_a_key_of_another_size_is_refused(key):
    with pytest.raises(WardroundError, match="WR-PRIVACY-010"):
        NoiseSource(key)


@pytest.mark.parametrize("size", [0.0, -1.0, math.inf, math.nan, 2.0**90])
@pytest.mark.parametrize("sampler", [rounded_gaussian, discrete_laplace, skellam])
def test_noise_that_cannot_be_drawn_is_refused(sampler, size):
    with pytest.raises(WardroundError, match="WR-PRIVACY-011"):
        sampler(source(), size, 1)
