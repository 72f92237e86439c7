"""A table's last account: what ``read`` and ``rejected`` answer once it was iterated over."""

from __future__ import annotations

from wardround.clinical.quarantine import SetAside
from wardround.clinical.tables.table import ColumnarRead


class Accounted:
    """The part of a table that remembers its last iteration."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: ColumnarRead | None = None
        self._rejected: tuple[SetAside, ...] = ()

    @property
    def name(self) -> str:
        """How the source is called in reports and errors."""
        return self._name

    @property
    def read(self) -> ColumnarRead:
        """What the last whole iteration read; RuntimeError where there was none."""
        if self._read is None:
            raise RuntimeError("the table was not read to its end")
        return self._read

    @property
    def rejected(self) -> tuple[SetAside, ...]:
        """What the last iteration could not use."""
        return self._rejected

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"
