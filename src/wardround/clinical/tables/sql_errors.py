"""What a database's refusals mean, without a word of what the database said.

A driver's message may hold a row's values, the whole query or the address with its password, so
none is shown, chained or logged; the five characters of an SQLSTATE (ISO/IEC 9075) are safe.
"""

from __future__ import annotations

import re

from wardround.errors import WardroundError


def package_missing(name: str, package: str) -> WardroundError:
    """Return the error for a driver that is not installed."""
    return WardroundError(
        "WR-DATA-050",
        f"Reading this database needs a package that is not installed ({package}).",
        'Install it with pip install "wardround[sql]", or the driver that the address names.',
        path=name,
    )


def refused(name: str, sqlstate: str | None) -> WardroundError:
    """Return the error for what a database answered, by its SQLSTATE where it gives one."""
    state = sqlstate if sqlstate and re.fullmatch(r"[0-9A-Z]{5}", sqlstate) else None
    said = f" (it says {state})" if state and state != "00000" else ""
    if state is not None and state[:2] in ("28", "08", "57", "3D", "53"):
        return unreachable(name, said)
    if state == "25006":
        return WardroundError(
            "WR-DATA-054",
            "The query tries to write; the session is read-only, so nothing was written.",
            "Write a query that only reads.",
            path=name,
        )
    return WardroundError(
        "WR-DATA-056",
        f"The database can't answer the query{said}.",
        "Try it in the database's own program as the agent's user: is the table there and may "
        "this user read it?",
        path=name,
    )


def unreachable(name: str, said: str = "") -> WardroundError:
    """Return the error for a database that does not let us in."""
    return WardroundError(
        "WR-DATA-053",
        f"The database can't be reached or refuses the login{said}.",
        "Check that it runs, its host, port and name, and the user's name and password.",
        path=name,
    )
