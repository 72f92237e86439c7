"""A disk that forgets what was not synced, for one party's folder.

It is told of every operation on the folder's files and knows what a power cut would take:

- the bytes written to a file since its last ``fsync``;
- with ``names`` also the names made, changed or removed since the last ``fsync`` of their folder
  (POSIX promises neither; file systems differ in which of the two they lose).

SQLite's files are left to SQLite, which syncs them itself and is tested for it by its authors.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Loss(StrEnum):
    """What is gone after the party died."""

    NOTHING = "killed"
    """Its process alone: what was written is there."""
    BYTES = "power cut, names kept"
    """Unsynced bytes; a file that was never synced is there and empty."""
    NAMES = "power cut, names lost"
    """Unsynced bytes, and unsynced changes of folders."""


Image = dict[Path, bytes | None]
"""Every file's bytes by its path, and None for a folder."""


@dataclass
class _Change:
    """A change of names that is not durable yet: in which folders, and how it is taken back."""

    folders: set[Path]
    undo: Callable[[Image], object]
    of_database: bool


@dataclass
class Disk:
    """What is durable of the files under ``folder``."""

    folder: Path
    _synced: dict[int, bytes] = field(default_factory=dict)
    """By inode: what a file held when it was last synced, if it was written to since."""
    _changes: list[_Change] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether a power cut would take nothing."""
        return not self._synced and not self._changes

    def will_write(self, path: Path) -> None:
        """Bytes of this file are about to change."""
        if path.exists() and not _of_database(path):
            self._synced.setdefault(path.stat().st_ino, path.read_bytes())

    def created(self, path: Path) -> None:
        """A file was made."""
        if not _of_database(path):
            self._synced.setdefault(path.stat().st_ino, b"")
        self.linked(path)

    def linked(self, path: Path) -> None:
        """A file got one more name."""
        self._changed({path.parent}, lambda image: image.pop(path, None), path)

    def made_folder(self, path: Path) -> None:
        """A folder was made."""
        self._changed({path.parent}, lambda image: _take_out(image, path), path)

    def synced(self, path: Path) -> None:
        """A file or a folder is durable."""
        if path.is_dir():
            for change in self._changes:
                change.folders.discard(path)
            self._changes = [one for one in self._changes if one.folders]
        else:
            self._synced.pop(path.stat().st_ino, None)

    def committed(self) -> None:
        """The database has committed: it has synced its log, and the folder that holds both."""
        self._changes = [one for one in self._changes if not one.of_database]

    def will_remove(self, path: Path) -> None:
        """A file or an empty folder is about to be removed."""
        data = self._durable(path) if path.is_file() else None
        for change in self._changes:  # they are durable when it is durable that the folder is gone
            if path in change.folders:
                change.folders.remove(path)
                change.folders.add(path.parent)
        self._changed({path.parent}, lambda image: image.__setitem__(path, data), path)

    def will_rename(self, old: Path, new: Path) -> None:
        """A file or folder is about to get another name, perhaps another one's."""
        replaced = self._durable(new) if new.is_file() else None

        def undo(image: Image) -> None:
            moved = {path: image.pop(path) for path in list(image) if path.is_relative_to(new)}
            image.update({old / path.relative_to(new): data for path, data in moved.items()})
            if replaced is not None:
                image[new] = replaced

        self._changed({old.parent, new.parent}, undo, new)

    def image(self, loss: Loss) -> Image:
        """What is left of the folder."""
        image: Image = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_dir():
                image[path] = None
            elif path.is_file() and not path.name.endswith("-shm"):  # is made anew from the log
                image[path] = path.read_bytes() if loss is Loss.NOTHING else self._durable(path)
        if loss is Loss.NAMES:
            for change in reversed(self._changes):
                change.undo(image)
        return image

    def restore(self, image: Image) -> None:
        """Make the folder what the image says; all of that is durable."""
        shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        for path, data in sorted(image.items()):
            if data is None:
                path.mkdir(parents=True, exist_ok=True)
        for path, data in image.items():
            if data is not None and path.parent.is_dir():
                path.touch(mode=0o600)
                path.write_bytes(data)
        self._synced.clear()
        self._changes.clear()

    def _durable(self, path: Path) -> bytes:
        inode = path.stat().st_ino
        return self._synced[inode] if inode in self._synced else path.read_bytes()

    def _changed(self, folders: set[Path], undo: Callable[[Image], object], path: Path) -> None:
        self._changes.append(_Change(folders, undo, _of_database(path)))


def _of_database(path: Path) -> bool:
    return path.name.startswith("state.db")


def _take_out(image: Image, folder: Path) -> None:
    for path in [one for one in image if one.is_relative_to(folder)]:
        del image[path]
