"""Names of things that cross package borders."""

from __future__ import annotations

from typing import NewType

StudyId = NewType("StudyId", str)
"""A study's short name: lower-case letters, digits and hyphens."""

SiteName = NewType("SiteName", str)
"""A hospital's short name in a study: lower-case letters, digits and hyphens."""

RunId = NewType("RunId", str)
"""One execution of a study."""

RoundId = NewType("RoundId", str)
"""One attempt at one total."""

BatchId = NewType("BatchId", str)
"""One set-up of masking keys, good for several rounds."""

Digest = NewType("Digest", str)
"""A SHA-256 as text: ``sha256:`` and 64 hexadecimal digits."""
