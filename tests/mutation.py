"""Inputs that are nearly right: the same ones for the same seed."""

from __future__ import annotations

import copy
import random

from wardround.trust.canonical import JSON


def mutated(seeds: tuple[bytes, ...], words: tuple[bytes, ...], drawn: random.Random) -> bytes:
    """An input with a few changes: bytes, words, pieces of itself and of others."""
    content = bytearray(drawn.choice(seeds))
    for _ in range(drawn.choice((1, 1, 2, 3, 8))):
        at = drawn.randrange(len(content) + 1)
        match drawn.randrange(7):
            case 0:
                content[at : at + 1] = bytes([drawn.randrange(256)])
            case 1:
                del content[at : at + drawn.randint(1, 9)]
            case 2 | 3:
                content[at:at] = drawn.choice(words)
            case 4:
                content[at : at + drawn.randint(1, 9)] = drawn.choice(words)
            case 5:
                start = drawn.randrange(len(content) + 1)
                content[at:at] = content[start : start + drawn.randint(1, 200)]
            case _:
                del content[at:]
    return bytes(content)


def altered(plain: JSON, values: tuple[JSON, ...], drawn: random.Random) -> JSON:
    """A JSON value with one or a few of its parts replaced, left out, doubled or renamed."""
    plain = copy.deepcopy(plain)
    for _ in range(drawn.choice((1, 1, 1, 2, 4))):
        place: JSON = plain
        while True:
            if isinstance(place, dict) and place:
                key: str | int = drawn.choice(sorted(place))
            elif isinstance(place, list) and place:
                key = drawn.randrange(len(place))
            else:
                break
            inner = place[key]  # type: ignore[index,call-overload]
            if not isinstance(inner, dict | list) or not inner or drawn.random() < 0.4:
                _alter(place, key, values, drawn)
                break
            place = inner
    return plain


def _alter(place: JSON, key: str | int, values: tuple[JSON, ...], drawn: random.Random) -> None:
    if isinstance(place, list):
        assert isinstance(key, int)
        match drawn.randrange(4):
            case 0:
                del place[key]
            case 1:
                place.insert(key, copy.deepcopy(place[key]))
            case _:
                place[key] = _other(place[key], values, drawn)
    elif isinstance(place, dict):
        assert isinstance(key, str)
        match drawn.randrange(6):
            case 0:
                del place[key]
            case 1:
                place[drawn.choice((key + "x", "surplus", ""))] = place[key]
            case _:
                place[key] = _other(place[key], values, drawn)


def _other(value: JSON, values: tuple[JSON, ...], drawn: random.Random) -> JSON:
    """Another value: any, or one of the same type that is off by a little."""
    if isinstance(value, str) and value and drawn.random() < 0.6:
        at = drawn.randrange(len(value))
        return value[:at] + drawn.choice(("", "A", "/", "=", "0", " ", "é")) + value[at + 1 :]
    if isinstance(value, int) and drawn.random() < 0.6:
        return value + drawn.choice((-1, 1, 255, 2**32, 2**53, -(2**63)))
    return copy.deepcopy(drawn.choice(values))
