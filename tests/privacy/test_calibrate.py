import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround import WardroundError
from wardround.privacy.accountant import epsilon
from wardround.privacy.calibrate import Part, divide, least_noise, round_up
from wardround.privacy.events import Gaussian, Skellam


@given(st.floats(1e-6, 1e6), st.integers(1, 6))
def test_rounding_up_never_gives_less(number, digits):
    rounded = round_up(number, digits)
    assert number * (1 - 1e-11) <= rounded <= number * (1 + 10.0 ** (1 - digits)) * (1 + 1e-9)
    assert len(f"{rounded:.15g}".partition("e")[0].replace(".", "").strip("0")) <= digits


def test_what_is_short_already_stays():
    assert [round_up(number) for number in (2.8, 0.1, 100.0, 1.0001, 0.0)] == [
        2.8,
        0.1,
        100.0,
        1.01,
        0.0,
    ]


@pytest.mark.parametrize(
    ("event", "times"),
    [
        (Skellam, 1),
        (Gaussian, 12),
        (lambda z: Skellam(z, 0.05), 400),
        (lambda z: Gaussian(z, 32 / 300), 188),
    ],
)
def test_the_least_noise_fits_and_a_little_less_does_not(event, times):
    noise = least_noise(lambda z: [(event(z), times)], 1.5, 1e-5)
    assert noise == round_up(noise)
    assert epsilon([(event(noise), times)], 1e-5) <= 1.5
    assert epsilon([(event(noise * 0.985), times)], 1e-5) > 1.5


@pytest.mark.parametrize("rate", [1.0, 0.05])
@pytest.mark.parametrize("kind", [Skellam, Gaussian])
def test_a_budget_is_divided_as_one(kind, rate):
    parts = [
        Part("statistics", 0.1, kind, 3),
        Part("training", 0.7, lambda z: kind(z, rate), 100),
        Part("evaluation", 0.2, kind, 2),
    ]
    noise = divide(parts, 1.5, 1e-5)
    spent = epsilon([part.releases(noise[part.name]) for part in parts], 1e-5)
    assert 1.47 < spent <= 1.5
    # Full batches share the sum of 1 / z^2.
    assert (noise["evaluation"] / noise["statistics"]) ** 2 == pytest.approx(
        (2 / 0.2) / (3 / 0.1), rel=0.03
    )
    alone = sum(epsilon([part.releases(noise[part.name])], 1e-5) for part in parts)
    assert alone > 1.9  # what adding epsilons up would have cost


def test_a_part_with_a_larger_share_gets_less_noise():
    def of(share):
        parts = [Part("a", share, Skellam, 10), Part("b", 1 - share, Skellam, 10)]
        return divide(parts, 1.0, 1e-5)["a"]

    assert of(0.2) > of(0.5) > of(0.8)


def test_what_no_noise_can_bring_down_is_refused():
    for delta in (1e-13, 1e-5):
        releases = 100_000_000 if delta == 1e-5 else 1000
        with pytest.raises(WardroundError) as refused:
            least_noise(lambda z, times=releases: [(Skellam(z), times)], 0.01, delta)
        assert refused.value.code == "WR-PRIVACY-021"
        with pytest.raises(WardroundError, match="WR-PRIVACY-021"):
            divide([Part("all", 1.0, Skellam, releases)], 0.01, delta)
