"""Everything that may travel in parts does so, in parts of a few bytes.

What a real run moves in parts is megabytes long, with few points in between. The limits are
constants; here they are others, and the line counts as slow enough for whatever is done then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from wardround.federation import messages
from wardround.site import download

_PART: Final = 16


@contextmanager
def small_parts() -> Iterator[None]:
    """Parts of 16 bytes, nothing inline, fetched parts written down, and models by difference."""
    slot = download._SLOT_BYTES - messages.PART_BYTES + _PART
    changes = {"PART_BYTES": _PART, "INLINE_BYTES": 0}
    old = {name: getattr(messages, name) for name in changes}
    with patch.multiple(download, _SLOT_BYTES=slot, _WORTH_KEEPING_S=0.0, _SLOW_BYTES_S=1e12):
        patches = [
            patch.object(module, name, changes[name])
            for module in list(sys.modules.values())
            if module.__name__.startswith("wardround.")
            for name in changes
            if getattr(module, name, None) == old[name]
        ]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()
