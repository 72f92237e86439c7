"""Who is woken by a change, and who sleeps on."""

from __future__ import annotations

import asyncio

from wardround.coordinator.changed import Changed


class Looks:
    """Something that may be wanted, and how often it was looked at."""

    def __init__(self) -> None:
        self.wanted = False
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        return self.wanted


async def _turn() -> None:
    """Let everyone who can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_of_all_who_wait_only_those_it_is_about_are_woken():
    changed, mine, theirs = Changed(), Looks(), Looks()
    woken = asyncio.create_task(changed.wait_until("mine", mine, 60))
    asleep = [asyncio.create_task(changed.wait_until("theirs", theirs, 60)) for _ in range(9)]
    await _turn()
    mine.wanted = True
    changed.notify()
    await _turn()
    assert woken.done()
    assert not any(one.done() for one in asleep)
    assert theirs.count == 1  # looked at once for all nine
    theirs.wanted = True
    changed.notify()
    await _turn()
    assert all(one.done() for one in asleep)
    assert mine.count == 1  # nobody waits for it any more


async def test_who_waits_for_any_change_is_woken_by_each():
    changed = Changed()
    waiting = asyncio.create_task(changed.wait_for(60))
    await _turn()
    changed.notify()
    await _turn()
    assert waiting.done()


async def test_time_runs_out_and_leaves_nothing_behind():
    changed, looks = Changed(), Looks()
    await changed.wait_until("site", looks, 0.0)
    await changed.wait_for(0.0)
    changed.notify()
    assert looks.count == 0


async def test_one_that_gives_up_does_not_take_the_others_along():
    changed, looks = Changed(), Looks()
    gone, stays = (asyncio.create_task(changed.wait_until("site", looks, 60)) for _ in range(2))
    await _turn()
    gone.cancel()
    await _turn()
    looks.wanted = True
    changed.notify()
    await _turn()
    assert stays.done()


async def test_a_new_sleeper_comes_after_the_change_that_woke_the_old_ones():
    changed, looks = Changed(), Looks()
    old = asyncio.create_task(changed.wait_until("site", looks, 60))
    await _turn()
    looks.wanted = True
    changed.notify()
    looks.wanted = False
    new = asyncio.create_task(changed.wait_until("site", looks, 60))
    await _turn()
    assert old.done() and not new.done()
    changed.wake_all()
    await _turn()
    assert new.done()
