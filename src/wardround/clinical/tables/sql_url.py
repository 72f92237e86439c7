"""A database's address, whose secrets stand in the environment and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardround.errors import WardroundError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_KEYS = re.compile(r"pass|pwd|secret|token|key$", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """An SQLAlchemy URL as the steward writes it: ``postgresql://reader:${EHR_PASSWORD}@db/ehr``.

    ``${NAME}`` is replaced by the environment's variable only when a connection is opened. A
    password that stands in the URL itself is refused: a mapping is signed, stored and shown.
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
                        "Put it in an environment variable of the agent and write ${NAME} instead.",
                        path=self.shown,
                    )

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

        def fill(text: str | None) -> str | None:
            if text is None:
                return None
            return _VARIABLE.sub(lambda found: self._lookup(found[1], variables), text)

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
                "Write dialect://user:${PASSWORD}@host:port/database, or sqlite:///FILE.",
                path="database",
            ) from None
