"""A model folder is used only if it is exactly what the coordinator signed."""

import json
import struct

import numpy as np
import pytest

from recorded_run import RUN, columns, finished
from studies import KEYS
from wardround.errors import WardroundError
from wardround.governance import load_model, predict, save_model
from wardround.governance.artefact import encode_model, open_model, sign_model
from wardround.learning.glm import LinearModel
from wardround.learning.records import Family
from wardround.trust.dsse import sign

KEY = KEYS["coordinator"]


@pytest.fixture
def folder(tmp_path):
    run, _ = finished()
    save_model(tmp_path / "model", run.candidate, run.study, RUN, KEY)
    return tmp_path / "model"


def code(call, *arguments):
    with pytest.raises(WardroundError) as raised:
        call(*arguments)
    return raised.value.code


def test_what_was_saved_is_loaded(folder):
    run, _ = finished()
    model = load_model(folder, KEY.public)
    assert model.arrays.keys() == run.candidate.model.keys()
    for name, array in run.candidate.model.items():
        np.testing.assert_array_equal(model.arrays[name], array)
    assert model.description["profile"] == "secure-sum"
    assert "no differential privacy" in model.description["protection"]
    assert model.description["study"] == run.study.digest


def test_the_same_candidate_gives_the_same_bytes():
    run, evidence = finished()
    again = encode_model(run.candidate, run.study, RUN)
    assert again.weights == evidence.model.weights
    assert again.description == evidence.model.description


def test_predictions_are_the_models_own(folder):
    run, _ = finished()
    data = columns(records=20, seed=9)
    names = run.study.data.features
    fitted = LinearModel.from_arrays(Family.LOGISTIC, names, run.candidate.model)
    expected = fitted.predict(np.column_stack([data[name] for name in names]))
    model = load_model(folder, KEY.public)
    np.testing.assert_array_equal(predict(model, data), expected)


def test_records_that_do_not_fit_are_refused(folder):
    model = load_model(folder, KEY.public)
    data = columns(records=20)
    short = {**data, "radius_mean": data["radius_mean"][:5]}
    gap = {**data, "radius_mean": np.full(20, np.nan)}
    missing = {"radius_mean": data["radius_mean"]}
    for wrong in (short, gap, missing, {}):
        assert code(predict, model, wrong) == "WR-GOV-013"


def test_a_signed_model_is_never_overwritten(folder):
    run, _ = finished()
    assert code(save_model, folder, run.candidate, run.study, RUN, KEY) == "WR-GOV-014"


def test_another_key_is_refused(folder):
    assert code(load_model, folder, KEYS["harbour"].public) == "WR-GOV-011"


def test_a_statement_that_says_two_things_is_refused():
    model = encode_model(finished()[0].candidate, finished()[0].study, RUN)
    payload = model.statement.to_payload()
    for other in (payload[:-1] + b',"run":"another"}', payload + b" "):
        envelope = sign(model.statement.payload_type(), other, KEY)
        refused = code(open_model, model.weights, model.description, envelope, KEY.public)
        assert refused == code(open_model, b"", b"", envelope, KEYS["lakeside"].public)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "model.sig.json"])
def test_every_flipped_bit_is_refused(folder, name):
    path = folder / name
    data = path.read_bytes()
    for place in range(0, len(data) - 1, max(1, len(data) // 60)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert code(load_model, folder, KEY.public) == "WR-GOV-011"


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "model.sig.json"])
def test_missing_and_empty_files_are_refused(folder, name):
    (folder / name).write_bytes(b"")
    assert code(load_model, folder, KEY.public) == "WR-GOV-010"
    (folder / name).unlink()
    assert code(load_model, folder, KEY.public) == "WR-GOV-010"


def resigned(weights, change=lambda document: None):
    """Weights and a description that a careless coordinator signed together."""
    run, _ = finished()
    good = encode_model(run.candidate, run.study, RUN)
    document = json.loads(good.description)
    from wardround.trust.canonical import digest

    document["weights"] = digest(weights)
    change(document)
    description = json.dumps(document).encode()
    statement = good.statement.model_copy(
        update={"weights": digest(weights), "description": digest(description)}
    )
    model = type(good)(weights, description, statement)
    return weights, description, sign_model(model, KEY), KEY.public


def test_weights_that_are_not_what_the_description_says_are_refused():
    run, _ = finished()
    good = encode_model(run.candidate, run.study, RUN).weights
    length = struct.unpack("<Q", good[:8])[0]
    renamed = good.replace(b'"scale"', b'"scalf"')
    retyped = good.replace(b'"F64"', b'"I64"')
    infinite = good[: 8 + length] + struct.pack("<d", np.inf) + good[16 + length :]
    for wrong in (renamed, retyped, infinite, good[:-8], b"\x00" * 16, b"garbage"):
        assert code(open_model, *resigned(wrong)) == "WR-GOV-012"


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format="wardround-model/9"),
        lambda document: document.update(run="another"),
        lambda document: document["tensors"]["scale"].update(shape=[1, 2]),
        lambda document: document["tensors"].pop("scale"),
    ],
)
def test_a_description_that_is_not_of_these_weights_is_refused(change):
    run, _ = finished()
    weights = encode_model(run.candidate, run.study, RUN).weights
    assert code(open_model, *resigned(weights, change)) == "WR-GOV-012"
