"""All deaths that a run can die, one after the other: of a study of each kind.

What is enumerated is counted in a run in which nobody dies. Where another run passes by a point
(who polls when is chance), it is run again; a point that is still not reached is no death, and is
never counted as survived.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zlib import crc32

from faults.disk import Loss
from faults.outcome import Outcome, examine
from faults.points import Place
from faults.small_parts import small_parts
from faults.trial import COORDINATOR, FOUR, SITES, SIX, Cast, Trial, prepare
from wardround.ids import SiteName
from wardround.study import Study
from wardround.study.task import Compression
from wardround.trust.canonical import JSON

TRIES = 3
"""How often a run is begun in which somebody is to die at a point."""

LINEAR: dict[str, JSON] = {
    "model": {"kind": "linear"},
    "data": {"outcome": "texture_mean", "features": ["radius_mean"]},
}

PRIVATE: dict[str, JSON] = {
    "profile": "private",
    "model": {"kind": "logistic", "algorithm": "dp-sgd"},
    "data": {"outcome": "malignant", "features": ["radius_mean"]},
    "privacy": {
        "epsilon": 1.5,
        "patients": 10_000,
        "rationale": "Invented patients.",
        "statistics": {"noise_multiplier": 20.0, "spare": 2},
        "training": {"noise_multiplier": 12.0, "steps": 2, "spare": 2},
        "evaluation": {"noise_multiplier": 20.0, "spare": 2},
    },
}

NOBODY_CORRUPT: dict[str, JSON] = {"adversary": {"corrupt_sites": 0}}

STUDIES: dict[str, tuple[tuple[SiteName, ...], dict[str, JSON]]] = {
    "secure-sum": (SITES, {**LINEAR, "cohort": {"minimum_sites": 3}}),
    "private": (SITES, {**PRIVATE, "cohort": {"minimum_sites": 3}}),
    "stream": (
        FOUR,
        {
            **NOBODY_CORRUPT,
            "model": {
                "kind": "logistic",
                "algorithm": "fedavg",
                "fedavg": {"rounds": 2, "learning_rate": 0.5},
            },
            "data": {"outcome": "malignant", "features": ["radius_mean"]},
            # What was masked in a cohort that failed is masked in no other one, so that without a
            # tolerated dropout a dead site would end this stream: all wait for the next version.
            "cohort": {
                "minimum_sites": 3,
                "asynchronous": {"sites": 4, "tolerated_dropouts": 1, "sum_deadline_s": 2.0},
            },
        },
    ),
    "small parts": (
        SITES,
        {
            "model": {
                "kind": "logistic",
                "algorithm": "fedavg",
                "fedavg": {"rounds": 2, "learning_rate": 0.5},
            },
            "data": {"outcome": "malignant", "features": ["radius_mean", "texture_mean"]},
            "cohort": {"minimum_sites": 3},
        },
    ),
    "random-k": (
        SITES,
        {
            "model": {
                "kind": "logistic",
                "algorithm": "fedavg",
                "fedavg": {
                    "rounds": 2,
                    "learning_rate": 0.5,
                    "compression": "random-k",
                    "sent_share": 0.5,
                },
            },
            "data": {"outcome": "malignant", "features": ["radius_mean"]},
            "cohort": {"minimum_sites": 3},
        },
    ),
    "groups": (
        SIX,
        {
            **LINEAR,
            **NOBODY_CORRUPT,
            "cohort": {"groups": {"number": 2, "tolerated_dropouts": 0}},
        },
    ),
    "redrawn groups": (
        SIX,
        {
            **PRIVATE,
            **NOBODY_CORRUPT,
            "cohort": {"groups": {"number": 2, "tolerated_dropouts": 0, "redraw_steps": 2}},
        },
    ),
}
"""By name: which hospitals, and how the study differs from the tests' usual one.

In ``small parts`` packets and models travel in many parts, which the others' are too small for.
"""


class Blackout(StrEnum):
    """Who else loses their power at that moment."""

    ALONE = ""
    BOTH = ", and another's"
    """A hospital and the coordinator, whichever of them comes to the point."""
    ALL = ", and everybody's"


@dataclass(frozen=True)
class Death:
    """Who dies, at which of its points, what the disks lose with it, and what comes after."""

    party: str
    place: Place
    loss: Loss
    blackout: Blackout = Blackout.ALONE
    again: int = 0
    """After how many points of its next life it dies in the same way once more; 0 for never."""

    @property
    def how(self) -> str:
        """In words, whichever point it is."""
        return f"{self.loss.value}{self.blackout.value}{', twice' if self.again else ''}"

    def __str__(self) -> str:
        more = f" and {self.again} points later" if self.again else ""
        return f"{self.party} at {self.place}{more}: {self.how}"


@dataclass(frozen=True)
class End:
    """What became of a run: whether the death was died, and what was lost if anything was."""

    reached: bool
    lost: str | None


@dataclass
class Enumeration:
    """A cast, the run in which nobody died, and all deaths that are possible in it."""

    cast: Cast
    truth: Outcome
    deaths: tuple[Death, ...]
    """Of one party, once."""
    double: tuple[Death, ...]
    """Without power: of several at the same time, or of one twice."""
    unreached: list[Death] = field(default_factory=list)
    """Of those that were to be died so far."""

    async def die(self, death: Death) -> End:
        """Have it happen in a fresh run, or in another one if that one passes by the point."""
        for _ in range(TRIES):
            end = await self._once(death)
            if end.reached or end.lost:
                return end
        self.unreached.append(death)
        return end

    async def _once(self, death: Death) -> End:
        folder = self.cast.folder.parent / "run"
        trial = Trial(self.cast, folder)
        party = trial.parties[death.party]
        party.die_at, party.again = death.place, death.again
        for one in trial.parties.values():
            one.loss = death.loss
        if death.blackout is Blackout.ALL:
            trial.together = frozenset(trial.parties)
        elif death.blackout is Blackout.BOTH:
            sites = self.cast.sites
            other = sites[death.place.time % len(sites)]
            hospital = other if death.party == COORDINATOR else death.party
            trial.together = frozenset({COORDINATOR, hospital})
        lost = None
        try:
            await trial.run()
            outcome = examine(trial)
            if self._repeats(death):
                assert outcome.totals == self.truth.totals, "another total"
            else:
                assert outcome.totals.keys() == self.truth.totals.keys(), "other steps"
        except Exception as error:  # noqa: BLE001 (whatever went wrong is the finding)
            lost = f"{death}: {type(error).__name__}: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return End(party.deaths > 0, lost)

    def _repeats(self, death: Death) -> bool:
        """Whether the same totals must come out.

        No noise is drawn anew, and no hospital was left out of a cohort, or lost with its memory
        what it had not sent yet.
        """
        alone = death.party == COORDINATOR and death.blackout is Blackout.ALONE
        study = self.cast.study
        return study.privacy is None and (_same_again(study) or alone)


def _same_again(study: Study) -> bool:
    """Whether hospitals that lost their memory, all of them even, still answer the same."""
    fedavg = study.model.fedavg
    remembers = fedavg is not None and fedavg.compression is Compression.RANDOM_K
    return study.cohort.asynchronous is None and not remembers


@contextmanager
def enumeration(study: str = "secure-sum") -> Iterator[Enumeration]:
    """Record a run in which nobody dies, in memory where there is such a folder."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name,
        small_parts() if study == "small parts" else nullcontext(),
    ):
        sites, changes = STUDIES[study]
        cast = prepare(Path(name) / "cast", sites, **changes)
        trial = Trial(cast, Path(name) / "run")
        asyncio.run(trial.run())
        truth = examine(trial)
        shutil.rmtree(trial.folder)
        deaths = tuple(death for name in trial.parties for death in _deaths(trial, name))
        double = tuple(_double(deaths, everybody=_same_again(cast.study)))
        yield Enumeration(cast, truth, deaths, double)


def _deaths(trial: Trial, name: str) -> Iterator[Death]:
    """Killed at every point; without power too wherever that is another disk than just before."""
    before = ""
    for point in trial.parties[name].points:
        yield Death(name, point.place, Loss.NOTHING)
        if point.unsynced and before != "statement":
            yield Death(name, point.place, Loss.BYTES)
            yield Death(name, point.place, Loss.NAMES)
        before = point.place.kind


def _double(deaths: Iterable[Death], *, everybody: bool) -> Iterator[Death]:
    """Of each death without power, in turn: somebody else's with it, a second one, everybody's.

    All of each would be as many again as there are single ones, and twice as slow.
    """
    dark = [one for one in deaths if one.loss is Loss.NAMES]
    for number, one in enumerate(dark):
        match number % (3 if everybody else 2):
            case 0:
                yield Death(one.party, one.place, one.loss, Blackout.BOTH)
            case 1:
                yield Death(one.party, one.place, one.loss, again=1 + number * 7 % 60)
            case _:
                yield Death(one.party, one.place, one.loss, Blackout.ALL)


def share_of(deaths: Iterable[Death], number: int, of: int) -> list[Death]:
    """One of so many shares, from 0: by a death's name, so that every process means the same.

    Each records a run of its own, in which a poll more or less moves all that comes after it.
    """
    return [one for one in deaths if crc32(str(one).encode()) % of == number]


def stratified(deaths: tuple[Death, ...], each: int) -> list[Death]:
    """Of every role and kind of point so many, spread over the run and over the losses."""
    strata: dict[tuple[bool, str], list[Death]] = {}
    for death in deaths:
        strata.setdefault((death.party == COORDINATOR, death.place.kind), []).append(death)
    chosen = []
    for number, stratum in enumerate(strata.values()):
        for turn in range(min(each, len(stratum))):
            place = len(stratum) * (2 * turn + 1) // (2 * each)
            wanted = tuple(Loss)[(number + turn) % len(Loss)]
            alike = [one for one in stratum[place:] if one.loss is wanted]
            chosen.append(alike[0] if alike else stratum[place])
    return chosen


def counted(deaths: Iterable[Death]) -> Counter[tuple[str, str]]:
    """How many deaths there are, by party and by how."""
    return Counter((one.party, one.how) for one in deaths)


__all__ = [
    "COORDINATOR",
    "SITES",
    "STUDIES",
    "Blackout",
    "Death",
    "End",
    "Enumeration",
    "Loss",
    "counted",
    "enumeration",
    "share_of",
    "stratified",
]
