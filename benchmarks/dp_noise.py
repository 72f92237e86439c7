"""Exact noise beside what it can't be faster than: its own random bits, and numpy's inexact normal.

All on one thread, in turn, over the same number of elements. The deviation is four times what one
patient's vector can be long, in steps of 2^-22, as in a training step of the profile `private`.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.report import Cell, Report
from wardround.privacy.events import L2
from wardround.privacy.gaussian import rounded_gaussian
from wardround.privacy.laplace import discrete_laplace
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.skellam import skellam

SAMPLES = 10_000_000
REPEATS = 7
DEVIATION = 4.0 * L2
TARGET = 5_000_000
"""Samples a second on one core."""

_CHUNK = 8192


def run() -> Report:
    """Samples a second of each kind of noise, and of both floors; medians."""
    calls: dict[str, Callable[[], object]] = {
        "gaussian": lambda: rounded_gaussian(_source(), DEVIATION, SAMPLES),
        "skellam": lambda: skellam(_source(), round(DEVIATION) ** 2, SAMPLES),
        "laplace": lambda: discrete_laplace(_source(), DEVIATION / 2**0.5, SAMPLES),
        "skellam of deviation 100": lambda: skellam(_source(), 10_000, SAMPLES),
        "AES-256-CTR, 8 bytes each": _bits,
        "numpy's normal, not private": _normal,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    rates = {name: SAMPLES / statistics.median(took[1:]) for name, took in seconds.items()}
    rows: list[dict[str, Cell]] = [
        {"noise": name, "samples_per_s": rate, "ns_per_sample": 1e9 / rate}
        for name, rate in rates.items()
    ]
    figures = {f"{name}_samples_per_s": rates[name] for name in ("gaussian", "skellam", "laplace")}
    notes = [
        f"one thread, {SAMPLES:,} samples of standard deviation 4 * {L2} steps, median of "
        f"{REPEATS}; at least {TARGET:,} a second each.",
        "the fresh key and the array that is returned are counted in; the two floors keep theirs.",
    ]
    return Report(rows, figures, notes)


def _source() -> NoiseSource:
    return NoiseSource(secrets.token_bytes(32))


def _bits() -> None:
    source, buffer = _source(), np.empty(_CHUNK, np.uint64)
    for _ in range(0, SAMPLES, _CHUNK):
        source.fill(buffer)


def _normal() -> None:
    generator, buffer = np.random.default_rng(), np.empty(_CHUNK)
    for _ in range(0, SAMPLES, _CHUNK):
        generator.standard_normal(out=buffer)
