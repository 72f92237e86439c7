"""The agent's memory of what it answered, and a mark elsewhere that there is one.

A site that forgot could be asked again, over nearly the same patients or past its limit of opened
numbers. So a folder whose agent has run once never starts with an empty memory: the mark lies with
the keys, is backed up and restored with them, and outlives whoever tidies up ``state.db``.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime

from wardround.errors import WardroundError
from wardround.site import tables
from wardround.site.halt import lift
from wardround.site.home import SiteHome
from wardround.site.ledger import PrivacyLedger
from wardround.site.opened import refuse_after_exact
from wardround.store import Database
from wardround.study import Study
from wardround.trust.keys import write_new

_NOTE = b"An agent has run here, so state.db must be there too: `wardround explain WR-SITE-066`.\n"


def open_memory(home: SiteHome, *, make: bool = True) -> Database:
    """The database ``state.db``, made and marked at an agent's first start if ``make``.

    Raises WR-SITE-066 when there was one and it is gone, WR-SITE-063 when there never was one and
    none is to be made, and the codes of `Database`.
    """
    path, mark = home.folder / "state.db", home.keys / "state.made"
    if not path.exists():
        beside = [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]
        if mark.exists() or any(one.exists() for one in beside):
            raise WardroundError(
                "WR-SITE-066",
                "The agent has run here before, and its memory of what it answered is gone.",
                "Restore state.db from a backup and tell the study's coordinator. Without one this "
                "hospital needs a new folder and key, in a new version of the study.",
                path=str(path),
            )
        if not make:
            raise WardroundError(
                "WR-SITE-063",
                "No agent has run in this folder yet, so there is no journal.",
                "It begins when the agent is started with `wardround site run`.",
                path=str(path),
            )
    database = Database.file(path, tables.MIGRATIONS)
    if not mark.exists():  # before anything is answered; nothing was if the power went in between
        write_new(mark, _NOTE, mode=0o600)
    return database


def read_memory(home: SiteHome) -> Database:
    """The same to look at; before the agent has run, an empty one that is kept nowhere."""
    try:
        return open_memory(home, make=False)
    except WardroundError as error:
        if error.code != "WR-SITE-063":
            raise
        return Database("sqlite://", tables.MIGRATIONS)


def require_allowance(home: SiteHome, study: Study, now: datetime) -> None:
    """Refuse, before the steward signs, a study that can't be carried through with what is left.

    Raises the codes of `PrivacyLedger.verify`, `PrivacyLedger.admit` and `refuse_after_exact`.
    """
    if study.privacy is None:
        return
    ledger = PrivacyLedger(study, home.name, home.signing_key.public, home.hospital)
    with closing(read_memory(home)) as database, database.begin() as connection:
        ledger.verify(connection)
        ledger.admit(connection, now)
        refuse_after_exact(connection, study)


def lift_halt(home: SiteHome, study: Study) -> None:
    """The steward has signed the study again, so a halt is over (`site.halt`)."""
    with closing(read_memory(home)) as database, database.begin(write=True) as connection:
        lift(connection, study)
