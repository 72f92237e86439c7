"""The model as files: weights, a description for people and programs, and one signature over both.

A model folder holds ``model.safetensors``, ``model.json`` and ``model.sig.json``. The attacker can
write to the folder but lacks the coordinator's key: nothing in it is used before the signature,
both digests, and every name, shape and dtype have been checked. (A safetensors reader alone
accepts some altered headers.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.federation.messages import DigestText, Identifier, Statement
from wardround.governance.files import read_bounded, write_whole
from wardround.ids import RunId
from wardround.study.price import statement_of
from wardround.trust.canonical import JSON, digest, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

if TYPE_CHECKING:
    from wardround.algorithms.candidate import Candidate
    from wardround.study import Study

FORMAT = "wardround-model/1"
WEIGHTS, DESCRIPTION, SIGNATURE = "model.safetensors", "model.json", "model.sig.json"
MAXIMUM_BYTES = 4 << 30

_DTYPES = {"float32": "F32", "float64": "F64"}
_REMEDY = "Fetch the model folder again from whoever published it."


class ModelStatement(Statement):
    """What the coordinator signs over a model; its digest is the model's name everywhere."""

    study: DigestText
    run: Identifier
    weights: DigestText
    description: DigestText

    @classmethod
    def payload_type(cls) -> str:
        """The DSSE payload type."""
        return "application/vnd.wardround.model+json"


@dataclass(frozen=True, eq=False)
class EncodedModel:
    """The two files of a candidate as bytes, and the statement over them; always the same."""

    weights: bytes
    description: bytes
    statement: ModelStatement


@dataclass(frozen=True, eq=False)
class Model:
    """A model that has been checked. ``arrays`` are by name; ``description`` is ``model.json``."""

    arrays: Mapping[str, NDArray[np.float64] | NDArray[np.float32]]
    description: Mapping[str, JSON]
    statement: ModelStatement


def encode_model(candidate: Candidate, study: Study, run: RunId) -> EncodedModel:
    """The files of a candidate. The same candidate gives the same bytes on every machine."""
    from safetensors.numpy import save

    arrays = {
        name: np.ascontiguousarray(array, dtype=np.dtype(array.dtype).newbyteorder("<"))
        for name, array in sorted(candidate.model.items())
    }
    weights = save(arrays)
    document: dict[str, JSON] = {
        "format": FORMAT,
        "study": study.digest,
        "study_id": study.id,
        "study_version": study.version,
        "run": run,
        "profile": study.profile.value,
        "protection": _protection(study),
        **({} if study.privacy is None else {"privacy": statement_of(study).to_json()}),
        "weights": digest(weights),
        "tensors": {
            name: {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape)}
            for name, array in arrays.items()
        },
        "model": candidate.description,
        "evaluation": candidate.evaluation,
        "statistics": candidate.statistics,
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    description = (text + "\n").encode()
    statement = ModelStatement(
        study=study.digest, run=run, weights=digest(weights), description=digest(description)
    )
    return EncodedModel(weights, description, statement)


def _protection(study: Study) -> str:
    if study.privacy is None:
        return "masked sums and disclosure rules; no differential privacy"
    return f"masked sums with noise; {statement_of(study).words()}"


def sign_model(model: EncodedModel, key: SigningKey) -> Envelope:
    """The coordinator's signature over both files."""
    return sign(ModelStatement.payload_type(), model.statement.to_payload(), key)


def save_model(
    folder: Path, candidate: Candidate, study: Study, run: RunId, key: SigningKey
) -> Envelope:
    """Write and sign a model folder; returns the signature.

    The signature comes last, so that a folder that was cut short has none. Raises WR-GOV-014
    when there is a model in the folder already: a signed model is never overwritten.
    """
    if (folder / SIGNATURE).exists():
        raise WardroundError(
            "WR-GOV-014",
            "There is a signed model in this folder already.",
            "Choose another folder; a published model is never overwritten.",
            path=str(folder),
        )
    folder.mkdir(parents=True, exist_ok=True)
    model = encode_model(candidate, study, run)
    envelope = sign_model(model, key)
    write_whole(folder / WEIGHTS, model.weights)
    write_whole(folder / DESCRIPTION, model.description)
    write_whole(folder / SIGNATURE, envelope.to_json() + b"\n")
    return envelope


def load_model(folder: Path, key: VerifyKey) -> Model:
    """Read a model folder, trusting only ``key``.

    Raises WR-GOV-010 when a file is missing or unreadable, WR-GOV-011 when the signature or a
    digest doesn't hold, WR-GOV-012 when weights and description disagree.
    """

    def read(name: str) -> bytes:
        return read_bounded(
            folder / name, MAXIMUM_BYTES, code="WR-GOV-010", what="model file", remedy=_REMEDY
        )

    envelope_bytes, description, weights = read(SIGNATURE), read(DESCRIPTION), read(WEIGHTS)
    try:
        envelope = Envelope.from_json(envelope_bytes.rstrip(b"\n"))
    except WardroundError as error:
        raise _unsigned(str(folder / SIGNATURE)) from error
    return open_model(weights, description, envelope, key, path=str(folder))


def open_model(
    weights: bytes,
    description: bytes,
    envelope: Envelope,
    key: VerifyKey,
    *,
    path: str | None = None,
) -> Model:
    """Check a model's bytes against its signature; see :func:`load_model`."""
    try:
        payload = verify(envelope, ModelStatement.payload_type(), key)
        statement = ModelStatement.from_payload(payload)
    except WardroundError as error:
        raise _unsigned(path) from error
    for name, content, expected in (
        (WEIGHTS, weights, statement.weights),
        (DESCRIPTION, description, statement.description),
    ):
        if digest(content) != expected:
            raise WardroundError(
                "WR-GOV-011",
                f"{name} is not the file that was signed.",
                _REMEDY,
                path=path,
            )
    document = parse_json(description, code="WR-GOV-012", what="model description", path=path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _disagree("the description is of another format", path)
    if (document.get("study"), document.get("run"), document.get("weights")) != (
        statement.study,
        statement.run,
        statement.weights,
    ):
        raise _disagree("the description names another study, run or weights", path)
    return Model(_arrays(weights, document.get("tensors"), path), document, statement)


def _arrays(
    weights: bytes, tensors: JSON, path: str | None
) -> dict[str, NDArray[np.float64] | NDArray[np.float32]]:
    """The arrays, once their names, shapes and dtypes are exactly those of the description."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(weights)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _disagree("the weights can't be read", path) from error
    names = {np.dtype(name): text for name, text in _DTYPES.items()}
    found: JSON = {
        name: {"dtype": names.get(array.dtype, "?"), "shape": list(array.shape)}
        for name, array in arrays.items()
    }
    if found != tensors or not arrays:
        raise _disagree("names, shapes or dtypes differ", path)
    if not all(bool(np.isfinite(array).all()) for array in arrays.values()):
        raise _disagree("not every weight is a finite number", path)
    return arrays


def _unsigned(path: str | None) -> WardroundError:
    return WardroundError(
        "WR-GOV-011",
        "The model does not carry the expected signature.",
        "Compare the coordinator's key in the study with the one you trust, or fetch it again.",
        path=path,
    )


def _disagree(how: str, path: str | None) -> WardroundError:
    return WardroundError(
        "WR-GOV-012", f"The model's weights and description disagree: {how}.", _REMEDY, path=path
    )


def predict(model: Model, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The probability (logistic) or expected outcome (linear) of each record, shape (records,).

    ``columns`` holds each of the model's features, shape (records,), in its concept's unit. Raises
    WR-GOV-013 when one is missing, of another length, or not finite everywhere.
    """
    from wardround.learning.glm import LinearModel
    from wardround.learning.records import Family

    described = model.description.get("model")
    match described:
        case {"kind": ("logistic" | "linear") as kind, "features": list(features)}:
            names = tuple(str(one["name"]) for one in features if isinstance(one, dict))
        case _:
            raise _disagree("the description names no features", None)
    rows = {columns[name].shape for name in names if name in columns}
    good = set(names) <= columns.keys() and len(rows) == 1 and len(next(iter(rows))) == 1
    if not good or not all(bool(np.isfinite(columns[name]).all()) for name in names):
        raise WardroundError(
            "WR-GOV-013",
            "The records do not have the columns that the model needs.",
            f"Give these as arrays of one length, without gaps: {', '.join(names)}.",
        )
    arrays = {name: array.astype(np.float64) for name, array in model.arrays.items()}
    if arrays.keys() != {"coefficients", "centre", "scale"} or not (
        arrays["centre"].shape == arrays["scale"].shape == (len(names),)
        and arrays["coefficients"].shape == (len(names) + 1,)
    ):
        raise _disagree("they are not of this version's linear models", None)
    fitted = LinearModel.from_arrays(Family(kind), names, arrays)
    return fitted.predict(np.column_stack([columns[name] for name in names]))
