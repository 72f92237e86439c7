"""An agent put together from its parts, the same way over HTTPS and in a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wardround.ids import Digest
from wardround.learning.specify import check_task
from wardround.sandbox.interface import Worker
from wardround.site import tables
from wardround.site.agent import Agent, Ending
from wardround.site.custody import Custody
from wardround.site.door import Door
from wardround.site.hours import OpeningHours
from wardround.site.link import Link
from wardround.site.say import Say, told
from wardround.site.seat import Seat
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study, Task
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

if TYPE_CHECKING:
    import httpx

TaskCheck = Callable[[Study, Task], None]


def assemble(
    custody: Custody,
    client: httpx.AsyncClient,
    agent_key: SigningKey,
    identity: SpiffeId,
    worker: Worker,
    database: Database,
    ending: Ending,
    say: Say,
    task_check: TaskCheck = check_task,
    *,
    certificate: Digest | None = None,
) -> Agent:
    """An agent that is ready to run; ``worker`` has been started.

    ``task_check`` says whether the study gives rise to a task; only benchmarks, whose tasks
    compute on nothing, replace it. ``certificate`` is named in each request where a proxy takes it
    off the connection.
    """
    origin = f"wardround/{custody.site}/{custody.study.id}"
    state = JournalledDatabase(database, tables.journal, origin)
    seat = Seat(custody.study, custody.site, custody.key, state)
    door = Door(custody, worker, seat, state, task_check)
    link = Link(
        client,
        agent_key,
        identity,
        lambda error: say("trouble", **told(error)),
        wait_s=custody.hospital.network.longest_wait_s,
        certificate=certificate,
    )
    hours = OpeningHours(custody.hospital.hours, say)
    return Agent(custody, link, door, seat, state, ending, say, hours=hours)
