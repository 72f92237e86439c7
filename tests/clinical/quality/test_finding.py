"""What may be copied outward hides small counts, and what would give them away."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical.quality import Check, Finding, Level


def finding(**figures: float) -> Finding:
    form = " and ".join(f"{{{name}}}" for name in figures)
    return Finding(Check.MISSINGNESS, Level.WARN, "lab", form, figures=figures)


def test_the_words_say_the_figures() -> None:
    words = finding(lost=1234, patients=5000, share=0.2468, psi=0.14159).words
    assert words == "1,234 and 5,000 and 25 % and 0.142"


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.0004, "under 0.1 %"),
        (0.034, "3.4 %"),
        (0.5, "50 %"),
        (0.994, "99.4 %"),
        (0.9999, "over 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, shown: str) -> None:
    assert finding(share=share).words == shown


def test_small_counts_are_hidden_outward_and_shares_with_them() -> None:
    public = finding(lost=3, patients=120, share=0.025).public()
    assert public["words"] == "<5 and 120 and (withheld)"
    assert public["figures"] == {"lost": "<5", "patients": "120", "share": "(withheld)"}


def test_all_but_a_few_is_hidden_too() -> None:
    public = finding(lost=118, patients=120, share=118 / 120).public()
    assert public["words"] == ">115 and 120 and (withheld)"


@pytest.mark.parametrize("lost", [0, 5, 115, 120])
def test_none_all_and_larger_counts_are_shown(lost: int) -> None:
    assert finding(lost=lost, patients=120).public()["words"] == f"{lost} and 120"


@given(st.integers(0, 60), st.integers(0, 60))
def test_no_small_count_can_be_read_or_subtracted(part: int, rest: int) -> None:
    figures = finding(part=part, whole=part + rest, share=part / max(part + rest, 1)).public()
    assert isinstance(figures["figures"], dict)
    shown = {name: str(text) for name, text in figures["figures"].items()}
    numbers = [int(text) for text in shown.values() if re.fullmatch(r"\d+", text)]
    assert not any(0 < number < 5 for number in numbers)
    assert not any(0 < abs(a - b) < 5 for a in numbers for b in numbers)
    if {part, rest} & {1, 2, 3, 4}:
        assert shown["share"] == "(withheld)"


def test_the_override_is_shown() -> None:
    passed = Finding(Check.ONE_CLASS, Level.WARN, "x", "", override="Let pass by A: because")
    assert passed.public()["override"] == "Let pass by A: because"


def test_every_check_has_a_heading_and_only_two_can_never_be_overridden() -> None:
    assert all(one.heading for one in Check)
    never = {one for one in Check if not one.overridable}
    assert never == {Check.COHORT_MINIMUM, Check.CELL_MINIMUM}
