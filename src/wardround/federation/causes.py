"""The few causes that a hospital may name to the outside when it refuses or has to wait.

Each comes with a number to quote.

None of them depends on anybody's records; everything else is just *refused*. The words are a fixed
list, so that no refusal can carry a sentence, a figure or a name out of a hospital.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter in it is taken for another on the telephone."""

INCIDENT_PATTERN = re.compile(f"^[{_LETTERS}]{{4}}-[{_LETTERS}]{{4}}$")

Incident = NewType("Incident", str)
"""A random number such as ``7KQ2-M9XA`` under which both sides have an event in their logs."""


class Cause(StrEnum):
    """Why a site refuses, as far as it may be said."""

    APPROVAL = "approval"
    """The steward's approval does not hold today: its dates are known to both sides."""
    POLICY = "policy"
    """The hospital's policy does not allow this task or study, whatever the records are."""
    DISAGREES = "disagrees"
    """What was asked is not what the signed study, or what was signed before, makes it."""
    NOT_UNDERSTOOD = "not-understood"
    """The instruction did not parse: two versions of the program, or a proxy that alters bodies."""
    KEYS_LOST = "keys-lost"
    """The agent was restarted, or came late, and holds no masking keys for this round."""
    SANDBOX = "sandbox"
    """The hospital's computer can't start a worker under the limits that its policy asks for."""
    DISK = "disk"
    """The agent can't write to its spool, or what it wrote is gone."""


@dataclass(frozen=True)
class Hindrance:
    """Why a site can't answer for now, though it has refused nothing: it goes on by itself."""

    cause: Cause
    incident: Incident

    @property
    def text(self) -> str:
        """As a poll for work carries it, under the request's signature: ``disk.7KQ2-M9XA``."""
        return f"{self.cause.value}.{self.incident}"

    @classmethod
    def parse(cls, text: str) -> Hindrance | None:
        """What such a text says; None for one that makes no sense."""
        cause, _, incident = text.partition(".")
        if cause not in HINDRANCES or INCIDENT_PATTERN.fullmatch(incident) is None:
            return None
        return cls(Cause(cause), Incident(incident))


HINDRANCES = frozenset({Cause.DISK})
"""What passes by itself, or by a hand that makes room."""


def new_incident(choose: Callable[[Sequence[str]], str]) -> Incident:
    """A fresh one: 40 bits of ``choose`` (`secrets.choice`), which say nothing of what happened."""
    letters = [choose(_LETTERS) for _ in range(8)]
    return Incident(f"{''.join(letters[:4])}-{''.join(letters[4:])}")
