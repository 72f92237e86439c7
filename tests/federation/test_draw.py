"""The draw as a state machine: any order, any repetition, and who is blamed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardround.federation.draw import Draw, DrawPhase
from wardround.ids import SiteName

SITES = tuple(SiteName(name) for name in "abc")
EVENTS = ("on_commitment", "on_reveal", "on_accepted", "on_refused")


def after(*events: tuple[str, str]) -> Draw:
    draw = Draw(0, SITES)
    for event, site in events:
        draw = getattr(draw, event)(SiteName(site))
    return draw


def all_of(event: str) -> list[tuple[str, str]]:
    return [(event, site) for site in SITES]


def test_the_whole_way() -> None:
    draw = Draw(0, SITES)
    for event, phase in (
        ("on_commitment", DrawPhase.REVEAL),
        ("on_reveal", DrawPhase.SETTLED),
        ("on_accepted", DrawPhase.SETTLED),
    ):
        assert all(draw.waits_for(site) for site in SITES)
        for site in SITES:
            draw = getattr(draw, event)(site)
        assert draw.phase is phase
    assert not any(draw.waits_for(site) for site in SITES)


def test_time_passes_without_harm_while_sites_commit_and_ends_a_draw_when_they_reveal() -> None:
    committing = after(("on_commitment", "a"))
    assert committing.on_deadline() == committing
    assert committing.missing == ("b", "c")
    revealing = after(*all_of("on_commitment"), ("on_reveal", "b"))
    failed = revealing.on_deadline()
    assert failed.phase is DrawPhase.FAILED
    assert failed.missing == ("a", "c")
    assert not any(failed.waits_for(site) for site in SITES)
    assert failed.on_reveal(SiteName("a")) == failed, "too late"
    settled = after(*all_of("on_commitment"), *all_of("on_reveal"))
    assert settled.on_deadline() == settled
    assert settled.on_refused(SiteName("a")) == settled


def test_a_refusal_ends_a_draw() -> None:
    draw = after(("on_commitment", "a"), ("on_refused", "b"))
    assert (draw.phase, draw.refused) == (DrawPhase.FAILED, {"b"})


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from("abcx")), max_size=30))
def test_nobody_reveals_before_all_have_committed(events: list[tuple[str, str]]) -> None:
    draw = Draw(0, SITES)
    for event, site in events:
        before, draw = draw, getattr(draw, event)(SiteName(site))
        assert getattr(draw, event)(SiteName(site)) == draw or before != draw
        assert not draw.revealed or draw.committed == set(SITES)
        assert not draw.accepted or draw.revealed == set(SITES)
        assert draw.committed | draw.revealed | draw.accepted | draw.refused <= set(SITES)
        assert before.committed <= draw.committed
        assert before.revealed <= draw.revealed
