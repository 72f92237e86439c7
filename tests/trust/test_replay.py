import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.replay import ReplayCache


def test_memory_is_given_back() -> None:
    cache = ReplayCache()
    for second in range(5000):
        cache.admit("a", str(second), 1000 + second, 1000 + second)
    assert cache.remembered == 601


def test_a_full_share_refuses_and_hurts_its_owner_only() -> None:
    cache = ReplayCache(per_sender=2)
    cache.admit("a", "1", 1000, 1000)
    cache.admit("a", "2", 1000, 1000)
    with pytest.raises(WardroundError, match="WR-TRUST-046"):
        cache.admit("a", "3", 1000, 1000)
    with pytest.raises(WardroundError, match="WR-TRUST-045"):
        cache.admit("a", "1", 1000, 1000)
    cache.admit("b", "1", 1000, 1000)
    cache.admit("a", "3", 1601, 1601)


def test_requests_from_before_a_restart_are_refused() -> None:
    cache = ReplayCache(not_before=1000)
    with pytest.raises(WardroundError, match="WR-TRUST-045"):
        cache.admit("a", "1", 999, 1000)
    cache.admit("a", "1", 1000, 1000)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.integers(-300, 300),
                  st.integers(-2000, 2000)),
        max_size=60,
    )
)  # fmt: skip
def test_nothing_is_admitted_twice_even_when_the_clock_jumps(
    events: list[tuple[str, str, int, int]],
) -> None:
    cache = ReplayCache()
    admitted = set()
    now = 100_000
    for sender, nonce, skew, step in events:
        now += step
        # A nonce is never used twice by its owner; an equal request is a replay.
        for request in {(sender, nonce, now + skew), *admitted}:
            if abs(request[2] - now) > 300:
                continue
            try:
                cache.admit(*request, now)
            except WardroundError:
                continue
            assert request not in admitted
            admitted.add(request)
