"""The digest of a table's content, the same whatever the driver and the size of its batches.

For each column three streams are hashed with SHA-256, rows in the order read: one byte per row,
1 where it is missing; for text the length of each cell in code points (little-endian uint32), for
other kinds nothing; and the cells (text as UTF-8, numbers as little-endian IEEE 754 doubles, days
as little-endian int64 ordinals, truth values as a byte), zero or empty where missing. The digest
of the table is the SHA-256 over, for each column in the order asked for, its name in UTF-8, a
zero byte, its kind, a zero byte, and its three digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from wardround.clinical.tables.table import Column, ColumnKind
from wardround.ids import Digest

_WRITTEN = {ColumnKind.NUMBER: "<f8", ColumnKind.DATE: "<i8", ColumnKind.BOOLEAN: "|u1"}


class Fingerprint:
    """The running digest of one table's columns."""

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._kinds = dict(kinds)
        self._streams = {name: tuple(hashlib.sha256() for _ in range(3)) for name in kinds}

    def add(self, columns: Mapping[str, Column]) -> None:
        """Take in the next rows of all columns."""
        for name, kind in self._kinds.items():
            column = columns[name]
            missing, lengths, cells = self._streams[name]
            missing.update(column.missing.tobytes())
            if kind is ColumnKind.TEXT:
                values: list[str] = column.values.tolist()
                sizes = np.fromiter(map(len, values), np.dtype("<u4"), len(values))
                lengths.update(sizes.tobytes())
                # A lone surrogate can't come from a file, but must not stop a run either.
                cells.update("".join(values).encode("utf-8", "surrogatepass"))
            else:
                cells.update(column.values.astype(_WRITTEN[kind]).tobytes())

    @property
    def digest(self) -> Digest:
        """The digest of all rows so far."""
        whole = hashlib.sha256()
        for name, kind in self._kinds.items():
            whole.update(name.encode() + b"\0" + kind.encode() + b"\0")
            for stream in self._streams[name]:
                whole.update(stream.digest())
        return Digest(f"sha256:{whole.hexdigest()}")
