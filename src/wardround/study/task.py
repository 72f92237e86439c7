"""What a site is asked to compute, what it answers, and the model's names and numbers.

No computation lives here: ``learning.registry`` maps a task's ``kind`` to its function.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.ids import Digest
from wardround.secagg.chosen import coordinates
from wardround.secagg.encoding import RingBits
from wardround.secagg.quantised import RING_BITS as LANES_RING_BITS
from wardround.secagg.quantised import LaneBits, ring_elements
from wardround.trust.canonical import JSON, canonical, digest, digest_json

Vector: TypeAlias = "NDArray[np.float32] | NDArray[np.float64]"

MAXIMUM_LENGTH = 1 << 28
MAXIMUM_PARAMETER_BYTES = 1 << 20
MAXIMUM_ROUND = 1 << 20
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DTYPES: Mapping[str, np.dtype[np.float32] | np.dtype[np.float64]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}


class ModelKind(StrEnum):
    """Which model a study fits."""

    LOGISTIC = "logistic"
    LINEAR = "linear"


class Compression(StrEnum):
    """How the hospitals' updates are made smaller on the wire.

    See `secagg.quantised` for the two that rotate, `secagg.chosen` for the last.
    """

    NONE = "none"
    ROTATE16 = "rotate16"
    ROTATE8 = "rotate8"
    RANDOM_K = "random-k"

    @property
    def lane_bits(self) -> LaneBits | None:
        """Bits a value, or None where values are not rounded."""
        lanes: dict[Compression, LaneBits] = {Compression.ROTATE16: 16, Compression.ROTATE8: 8}
        return lanes.get(self)


class Algorithm(StrEnum):
    """How a study fits it."""

    NEWTON = "newton"
    FEDAVG = "fedavg"
    DP_SGD = "dp-sgd"
    NOISY_STATISTICS = "noisy-statistics"


class ServerStep(StrEnum):
    """What the coordinator makes of the mean update of a round or a cohort."""

    FEDAVG = "fedavg"
    FEDBUFF = "fedbuff"
    FEDASYNC = "fedasync"
    FEDADAM = "fedadam"
    FEDYOGI = "fedyogi"
    FEDADAGRAD = "fedadagrad"


@dataclass(frozen=True)
class ModelSpec:
    """The names and hyperparameters of a model: what is fitted, on what, and when to stop.

    ``ridges`` are the penalty's weight (0: none), or those to choose from; ``tolerance`` the
    relative change at which fitting stops, ``maximum_steps`` the number of steps after which it
    gives up.
    """

    kind: ModelKind
    features: tuple[str, ...]
    outcome: str
    ridges: tuple[float, ...]
    tolerance: float
    maximum_steps: int


@dataclass(frozen=True)
class Lanes:
    """That the ``first`` values of an answer travel in lanes of ``bits`` bits each.

    Over all sites together they have a Euclidean norm of at most ``norm``; the remaining values are
    exact. Raises WR-STUDY-060 when built wrongly.
    """

    bits: LaneBits
    first: int
    norm: float

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise _malformed("lanes.bits", "must be 8 or 16")
        if not 1 <= self.first <= MAXIMUM_LENGTH:
            raise _malformed("lanes.first", f"must lie between 1 and {MAXIMUM_LENGTH}")
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise _malformed("lanes.norm", "must be a positive, finite number")

    def to_wire(self) -> dict[str, JSON]:
        """As a task's document has them."""
        return {"bits": self.bits, "first": self.first, "norm": self.norm}

    @classmethod
    def from_wire(cls, wire: JSON) -> Lanes:
        """From an untrusted document; raises WR-STUDY-060."""
        if not isinstance(wire, Mapping) or set(wire) != {"bits", "first", "norm"}:
            raise _malformed("lanes", "must have bits, first and norm")
        norm = wire["norm"]
        if isinstance(norm, bool) or not isinstance(norm, int | float):
            raise _malformed("lanes.norm", "must be a number")
        bits = cast("LaneBits", _whole("lanes.bits", wire["bits"]))
        return cls(bits, _whole("lanes.first", wire["first"]), float(norm))


@dataclass(frozen=True)
class Turns:
    """That of the ``first`` values of an answer only ``sent`` travel, those whose turn it is.

    ``number`` counts rounds of training from 1, and with the public ``seed`` decides which
    (`secagg.chosen`). What is not sent stays at the site, as its memory for later rounds: a task
    with turns is a step of several. Raises WR-STUDY-060 when built wrongly.
    """

    first: int
    sent: int
    number: int
    seed: Digest

    def __post_init__(self) -> None:
        if not 1 <= self.first <= MAXIMUM_LENGTH:
            raise _malformed("turns.first", f"must lie between 1 and {MAXIMUM_LENGTH}")
        if not 1 <= self.sent <= self.first:
            raise _malformed("turns.sent", "must lie between 1 and turns.first")
        if not 1 <= self.number <= MAXIMUM_ROUND:
            raise _malformed("turns.number", f"must lie between 1 and {MAXIMUM_ROUND}")
        if not _DIGEST.fullmatch(self.seed):
            raise _malformed("turns.seed", "must be a SHA-256")

    @property
    def seed_bytes(self) -> bytes:
        """The seed itself."""
        return bytes.fromhex(self.seed.removeprefix("sha256:"))

    @property
    def coordinates(self) -> NDArray[np.int64]:
        """Which of the first values travel, shape (sent,), ascending."""
        return coordinates(self.seed_bytes, self.first, self.sent, self.number)

    def to_wire(self) -> dict[str, JSON]:
        """As a task's document has them."""
        return {"first": self.first, "sent": self.sent, "number": self.number, "seed": self.seed}

    @classmethod
    def from_wire(cls, wire: JSON) -> Turns:
        """From an untrusted document; raises WR-STUDY-060."""
        if not isinstance(wire, Mapping) or set(wire) != {"first", "sent", "number", "seed"}:
            raise _malformed("turns", "must have first, sent, number and seed")
        first, sent, number = (
            _whole(f"turns.{key}", wire[key]) for key in ("first", "sent", "number")
        )
        return cls(first, sent, number, Digest(str(wire["seed"])))


@dataclass(frozen=True, eq=False)
class Task:
    """One question to every site, whose answers are vectors that will only be seen summed.

    ``length`` is the number of elements of the answer; ``bound`` the largest absolute value that
    any element may have at one site, from which the fixed-point encoding follows; ``ring_bits``
    the width of the ring Z(2^ring_bits) in which answers are summed; ``model`` a flat vector that
    every site needs (weights, coefficients), or None; ``lanes`` or ``turns`` say which part of the
    answers travels compressed, and how; at most one of them is there. Two tasks are the same when
    their ``hash`` is: it covers everything, the model by its digest. Raises WR-STUDY-060 when
    built wrongly.
    """

    kind: str
    parameters: Mapping[str, JSON]
    length: int
    bound: float
    ring_bits: RingBits
    model: Vector | None = field(default=None, repr=False)
    lanes: Lanes | None = None
    turns: Turns | None = None

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise _malformed("kind", "must be a short lower-case name")
        if not 1 <= self.length <= MAXIMUM_LENGTH:
            raise _malformed("length", f"must lie between 1 and {MAXIMUM_LENGTH}")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise _malformed("bound", "must be a positive, finite number")
        if self.ring_bits not in (32, 64):
            raise _malformed("ring_bits", "must be 32 or 64")
        if self.lanes is not None and not (
            self.lanes.first <= self.length and self.ring_bits == LANES_RING_BITS
        ):
            raise _malformed("lanes", "must fit the length, in the ring of 64 bits")
        if self.turns is not None and (self.lanes or self.turns.first > self.length):
            raise _malformed("turns", "must fit the length, and have no lanes beside them")
        object.__setattr__(self, "parameters", _frozen_parameters(self.parameters))
        if self.model is not None:
            object.__setattr__(self, "model", _frozen_model(self.model))

    @property
    def elements(self) -> int:
        """How many ring elements an answer takes."""
        if self.lanes is None:
            return self.numbers
        return ring_elements(self.lanes.first, self.length, self.lanes.bits)

    @property
    def numbers(self) -> int:
        """How many numbers its total opens."""
        if self.turns is None:
            return self.length
        return self.length - self.turns.first + self.turns.sent

    @cached_property
    def model_digest(self) -> Digest | None:
        """The SHA-256 of the model's little-endian bytes, as blobs are named, or None."""
        if self.model is None:
            return None
        return digest(self.model.data)

    @cached_property
    def hash(self) -> Digest:
        """The digest that manifests, packets and the site's journal name this task by."""
        return digest_json(self.to_wire())

    def to_wire(self) -> dict[str, JSON]:
        """Everything but the model's bytes, which travel as a blob named by their digest."""
        model: JSON = None
        if self.model is not None:
            dtype, size = str(self.model.dtype), int(self.model.size)
            model = {"digest": self.model_digest, "dtype": dtype, "length": size}
        wire: dict[str, JSON] = {
            "format": 1,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "length": self.length,
            "bound": self.bound,
            "ring_bits": self.ring_bits,
            "model": model,
        }
        # Left out where there are none, so that every other task is named as it always was.
        for name, part in (("lanes", self.lanes), ("turns", self.turns)):
            if part is not None:
                wire[name] = part.to_wire()
        return wire

    @classmethod
    def from_wire(
        cls, wire: Mapping[str, JSON], model_bytes: bytes | memoryview | None = None
    ) -> Task:
        """Rebuild a task from an untrusted document and the model's bytes (not copied).

        Raises WR-STUDY-060 when a key is missing, surplus or of the wrong type, and WR-STUDY-061
        when the bytes aren't the model that the document names.
        """
        expected = {"format", "kind", "parameters", "length", "bound", "ring_bits", "model"}
        if set(wire) - {"lanes", "turns"} != expected or wire["format"] != 1:
            raise _malformed("format", "must be 1, with exactly the keys of that format")
        kind, parameters, bound = wire["kind"], wire["parameters"], wire["bound"]
        if not isinstance(kind, str):
            raise _malformed("kind", "must be text")
        if not isinstance(parameters, Mapping):
            raise _malformed("parameters", "must be a table")
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise _malformed("bound", "must be a number")
        model = _model_from_wire(wire["model"], model_bytes)
        task = cls(
            kind=kind,
            parameters=parameters,
            length=_whole("length", wire["length"]),
            bound=float(bound),
            ring_bits=cast("RingBits", _whole("ring_bits", wire["ring_bits"])),
            model=model,
            lanes=Lanes.from_wire(wire["lanes"]) if "lanes" in wire else None,
            turns=Turns.from_wire(wire["turns"]) if "turns" in wire else None,
        )
        if isinstance(wire["model"], Mapping):
            # It has just been compared with the bytes: hashing a large model once is enough.
            task.__dict__["model_digest"] = wire["model"]["digest"]
        return task


@dataclass(frozen=True, eq=False)
class Contribution:
    """A site's answer before it is protected: it never leaves the site and is never logged.

    ``values`` has the task's length; ``records`` is how many records went into it.
    """

    values: Vector = field(repr=False)
    records: int = field(repr=False)


def _frozen_parameters(parameters: Mapping[str, JSON]) -> Mapping[str, JSON]:
    try:
        text = canonical(dict(parameters))
    except WardroundError as error:
        raise _malformed("parameters", "must be plain JSON with finite numbers") from error
    if len(text) > MAXIMUM_PARAMETER_BYTES:
        raise _malformed("parameters", f"must take at most {MAXIMUM_PARAMETER_BYTES} bytes")
    copy: dict[str, JSON] = json.loads(text)
    return MappingProxyType(copy)


def _frozen_model(model: Vector) -> Vector:
    if model.ndim != 1 or model.dtype not in _DTYPES.values():
        raise _malformed("model", "must be a flat vector of float32 or float64")
    if not bool(np.isfinite(model).all()):
        raise _malformed("model", "must hold only finite numbers")
    if not model.flags.writeable and model.flags.c_contiguous:
        return model
    own = model.copy()
    own.flags.writeable = False
    return own


def _model_from_wire(wire: JSON, model_bytes: bytes | memoryview | None) -> Vector | None:
    if wire is None:
        if model_bytes is not None:
            raise _wrong_model()
        return None
    if not isinstance(wire, Mapping) or set(wire) != {"digest", "dtype", "length"}:
        raise _malformed("model", "must name a digest, a dtype and a length")
    dtype = _DTYPES.get(str(wire["dtype"]))
    length = _whole("model.length", wire["length"])
    if dtype is None or not 1 <= length <= MAXIMUM_LENGTH:
        raise _malformed("model", "must be float32 or float64, of a sensible length")
    if model_bytes is None or len(model_bytes) != length * dtype.itemsize:
        raise _wrong_model()
    if wire["digest"] != digest(model_bytes):
        raise _wrong_model()
    return cast("Vector", np.frombuffer(model_bytes, dtype=dtype))


def _whole(key: str, value: JSON) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _malformed(key, "must be a whole number")
    return value


def _malformed(key: str, must: str) -> WardroundError:
    return WardroundError(
        "WR-STUDY-060",
        f"A task is malformed: {key} {must}.",
        "Run the same Wardround version at the coordinator and at every site.",
        path=f"task.{key}",
    )


def _wrong_model() -> WardroundError:
    return WardroundError(
        "WR-STUDY-061",
        "The model that came with a task is not the model that the task names.",
        "Fetch it again; if that doesn't help, the coordinator or the transfer is at fault.",
        path="task.model",
    )
