"""A folder in memory, for tests that write much and promise nothing about what lasts."""

from __future__ import annotations

import tempfile
from pathlib import Path


def folder_in_memory() -> tempfile.TemporaryDirectory[str]:
    """A new folder where a write costs next to nothing, if this host has such a place."""
    place = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=place if place.is_dir() else None)
