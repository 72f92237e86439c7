"""How names are taken apart: marks, capitals, compounds, abbreviations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical.suggest.words import (
    MAX_READINGS,
    Tokenizer,
    abbreviations,
    fold,
    readings,
)

TOKENIZER = Tokenizer(map(fold, ("serum", "kreatinin", "hba1c", "sys", "bp", "glu", "weight")))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("patient_birth-date", ("patient", "birth", "date")),
        ("systolicBp", ("sistolic", "bp")),
        ("HbA1cWert", ("hb", "a", "1", "c", "wert")),
        ("HbA1c", ("hba1c",)),
        ("SERUMKREATININ", ("serum", "creatinin")),
        ("sysbp", ("sys", "bp")),
        ("", ()),
        ("___", ()),
    ],
)
def test_a_name_is_taken_apart(name: str, words: tuple[str, ...]) -> None:
    assert TOKENIZER.tokens(name) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [("Größe", "groesse"), ("Kreatinin", "creatinin"), ("Hämoglobin", "haemoglobin"),
     ("ÂGE", "age"), ("oxygène", "oxigene"), ("phosphat", "fosfat")],
)  # fmt: skip
def test_spellings_of_one_word_are_folded_to_one(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_a_known_word_is_found_inside_an_unknown_one() -> None:
    assert TOKENIZER.inside("lbxglu") == "glu"
    assert TOKENIZER.inside("weightlb") == "weight"
    assert TOKENIZER.inside("glu") is None
    assert TOKENIZER.inside("zzzz") is None


def test_abbreviations_are_spelt_out_in_every_way_the_name_itself_first() -> None:
    found = readings(("hf",), TOKENIZER.inside)
    assert found[0] == ("hf",)
    assert {("heart", "rate"), ("heart", "failure")} <= set(found)


def test_an_abbreviation_is_one_word() -> None:
    table = abbreviations()
    for word in (*table.meanings, *table.noise):
        assert Tokenizer({word}).tokens(word) == (word,)


@given(st.lists(st.sampled_from(sorted(abbreviations().meanings)), max_size=12))
def test_readings_are_few_and_different(tokens: list[str]) -> None:
    found = readings(tuple(tokens), TOKENIZER.inside)
    assert 1 <= len(found) <= MAX_READINGS
    assert len(set(found)) == len(found)


@given(st.text(max_size=80))
def test_any_name_can_be_taken_apart(name: str) -> None:
    for word in TOKENIZER.tokens(name):
        assert word
        assert not any(mark.isspace() for mark in word)
