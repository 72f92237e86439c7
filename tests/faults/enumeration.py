"""All deaths that a run of three hospitals can die, one after the other."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.disk import Loss
from faults.outcome import Outcome, examine
from faults.trial import COORDINATOR, SITES, Cast, Trial, prepare
from wardround.trust.canonical import JSON

STUDIES: dict[str, dict[str, JSON]] = {
    "secure-sum": {
        "model": {"kind": "linear"},
        "cohort": {"minimum_sites": 3},
        "data": {"outcome": "texture_mean", "features": ["radius_mean"]},
    },
    "private": {
        "profile": "private",
        "model": {"kind": "logistic", "algorithm": "dp-sgd"},
        "cohort": {"minimum_sites": 3},
        "data": {"outcome": "malignant", "features": ["radius_mean"]},
        "privacy": {
            "epsilon": 1.5,
            "patients": 10_000,
            "rationale": "Invented patients.",
            "statistics": {"noise_multiplier": 20.0, "spare": 2},
            "training": {"noise_multiplier": 12.0, "steps": 2, "spare": 2},
            "evaluation": {"noise_multiplier": 20.0, "spare": 2},
        },
    },
}


@dataclass(frozen=True)
class Death:
    """Who dies, at which of its points, and what the disk loses with it."""

    party: str
    point: int
    kind: str
    loss: Loss

    def __str__(self) -> str:
        return f"{self.party} at {self.point} ({self.kind}), {self.loss.value}"


@dataclass
class Enumeration:
    """A cast, the run in which nobody died, and all deaths that are possible in it."""

    cast: Cast
    truth: Outcome
    deaths: tuple[Death, ...]
    reached: int = 0
    """How many deaths were died; statements that share a transaction by chance move some away."""

    async def survives(self, death: Death) -> str | None:
        """Have it happen in a fresh run; None when nothing was lost, or what went wrong."""
        folder = self.cast.folder.parent / "run"
        trial = Trial(self.cast, folder)
        party = trial.parties[death.party]
        party.die_at, party.loss = death.point, death.loss
        try:
            await trial.run()
            outcome = examine(trial)
            if self.cast.study.privacy is None:
                assert outcome.totals == self.truth.totals, "another total"
            else:  # fresh noise in each answer that is given again
                assert outcome.totals.keys() == self.truth.totals.keys(), "other steps"
        except Exception as error:  # noqa: BLE001 (whatever went wrong is the finding)
            return f"{death}: {type(error).__name__}: {error}"
        finally:
            self.reached += trial.deaths
            shutil.rmtree(folder, ignore_errors=True)
        return None


@contextmanager
def enumeration(study: str = "secure-sum") -> Iterator[Enumeration]:
    """Record a run in which nobody dies, in memory where there is such a folder."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        cast = prepare(Path(name) / "cast", **STUDIES[study])
        trial = Trial(cast, Path(name) / "run")
        asyncio.run(trial.run())
        truth = examine(trial)
        shutil.rmtree(trial.folder)
        deaths = tuple(death for name in trial.parties for death in _deaths(trial, name))
        yield Enumeration(cast, truth, deaths)


def _deaths(trial: Trial, name: str) -> Iterator[Death]:
    """Killed at every point; without power too wherever that is another disk than just before."""
    before = ""
    for number, (kind, unsynced) in enumerate(trial.parties[name].points, 1):
        yield Death(name, number, kind, Loss.NOTHING)
        if unsynced and before != "statement":
            yield Death(name, number, kind, Loss.BYTES)
            yield Death(name, number, kind, Loss.NAMES)
        before = kind


def stratified(deaths: tuple[Death, ...], each: int) -> list[Death]:
    """Of every role and kind of point so many, spread over the run and over the losses."""
    strata: dict[tuple[bool, str], list[Death]] = {}
    for death in deaths:
        strata.setdefault((death.party == COORDINATOR, death.kind), []).append(death)
    chosen = []
    for number, stratum in enumerate(strata.values()):
        for turn in range(min(each, len(stratum))):
            place = len(stratum) * (2 * turn + 1) // (2 * each)
            wanted = tuple(Loss)[(number + turn) % len(Loss)]
            alike = [one for one in stratum[place:] if one.loss is wanted]
            chosen.append(alike[0] if alike else stratum[place])
    return chosen


__all__ = ["SITES", "STUDIES", "Death", "Enumeration", "enumeration", "stratified"]
