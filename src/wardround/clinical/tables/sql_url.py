"""A database's address, whose secrets stand in the environment and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wardround.errors import WardroundError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PREFIX: Final = "WARDROUND_"
_SECRET_KEYS = re.compile(r"pass|pwd|secret|token|key$", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """An SQLAlchemy URL as the steward writes it: ``postgresql://reader:${WARDROUND_EHR}@db/ehr``.

    ``${NAME}`` is replaced by the environment's variable only when a connection is opened. A
    password that stands in the URL itself is refused: a mapping is signed, stored and shown. So is
    a variable whose name doesn't begin with ``WARDROUND_``: records are looked at before anybody
    signed the mapping, and the host that it names would be told any secret of the agent's.
    """

    text: str

    def __post_init__(self) -> None:
        url = self._parsed()
        secrets = [url.password, *(v for k, v in url.query.items() if _SECRET_KEYS.search(k))]
        for secret in secrets:
            for part in (secret,) if isinstance(secret, str) else secret or ():
                if _VARIABLE.fullmatch(part) is None:
                    raise WardroundError(
                        "WR-DATA-057",
                        "A password stands in the database's address.",
                        "Put it in an environment variable of the agent and write "
                        f"${{{_PREFIX}NAME}} instead.",
                        path=self.shown,
                    )
        self._filled(self._allowed)

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address for people: without password and options."""
        try:
            url = self._parsed()
        except WardroundError:
            return "database"
        where = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
        return f"{url.get_backend_name()}://{where}/{url.database or ''}"

    @property
    def dialect(self) -> str:
        """The kind of database, such as ``postgresql``."""
        return self._parsed().get_backend_name()

    def expand(self, environment: Mapping[str, str] | None = None) -> URL:
        """Return the URL with its variables filled in, to be used at once and kept nowhere.

        Raises:
            WardroundError: ``WR-DATA-057`` where a variable is not set.
        """
        variables = os.environ if environment is None else environment
        return self._filled(lambda name: self._lookup(name, variables))

    def _filled(self, value: Callable[[str], str]) -> URL:
        """The URL with ``value(NAME)`` in the place of each variable."""

        def fill(text: str | None) -> str | None:
            return None if text is None else _VARIABLE.sub(lambda found: value(found[1]), text)

        url = self._parsed()
        query = {
            key: (fill(value) or "")
            if isinstance(value, str)
            else tuple(fill(part) or "" for part in value)
            for key, value in url.query.items()
        }
        return url.set(
            username=fill(url.username),
            password=fill(None if url.password is None else str(url.password)),
            host=fill(url.host),
            database=fill(url.database),
            query=query,
        )

    def _allowed(self, name: str) -> str:
        if not name.startswith(_PREFIX):
            raise WardroundError(
                "WR-DATA-085",
                f"The database's address names the environment variable {name}, which a mapping "
                "may not read.",
                f"Set a variable whose name begins with {_PREFIX} for the agent's service, such as "
                f"{_PREFIX}{name}, and write that name in the address.",
                path=self.shown,
            )
        return name

    def _lookup(self, name: str, variables: Mapping[str, str]) -> str:
        if name not in variables:
            raise WardroundError(
                "WR-DATA-057",
                f"The environment variable {name} is not set.",
                "Set it for the agent's service; the database's address refers to it.",
                path=self.shown,
            )
        return variables[name]

    def _parsed(self) -> URL:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self.text)
        except (ArgumentError, ValueError):
            raise WardroundError(
                "WR-DATA-057",
                "The database's address is no SQLAlchemy URL.",
                "Write dialect://user:${WARDROUND_PASSWORD}@host:port/database, or sqlite:///FILE.",
                path="database",
            ) from None
