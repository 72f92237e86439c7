"""Axes hold what they show, and drawings are well-formed and escape what they are given."""

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from wardround.governance.report import plots

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=20))
def test_an_axis_holds_its_values_on_few_even_ticks(values):
    scale = plots.Scale.around(values)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 8
    steps = [b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6, abs_tol=1e-9) for step in steps)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_share_never_has_an_axis_beyond_0_and_1(values):
    scale = plots.Scale.around([*values, 1.0], floor=0.0, ceiling=1.0)
    assert 0.0 <= scale.low < scale.high == 1.0


@given(finite, finite)
def test_marks_stay_on_their_strip_and_in_order(one, other):
    scale = plots.Scale.around([0.0, 1.0])
    low, high = sorted((one, other))
    assert 0.0 <= scale.percent(low) <= scale.percent(high) <= 100.0


def parsed(markup):
    return ElementTree.fromstring(str(markup))


def test_strips_are_well_formed():
    scale = plots.Scale.around([0.0, 1.0])
    marks = [plots.Mark("alone", 0.4, 0.2, 0.6), plots.Mark("pooled", 0.5)]
    drawn = parsed(plots.interval_strip(scale, marks, origin=0.0))
    assert len(drawn.findall(".//line[@class='whisker alone']")) == 1
    assert len(drawn.findall(".//path")) == 1
    assert parsed(plots.bar_strip(0, 0)) is not None
    assert len(parsed(plots.bar_strip(10, 6, rest=4)).findall("rect")) == 2
    assert parsed(plots.axis_strip(scale)).find("text").text == "0"


def test_a_failed_round_is_told_apart_by_more_than_colour():
    spans = [plots.Span(0.0, 1.0, "<one>", True, 1), plots.Span(1.0, 1.0, "two", False, 2)]
    drawn = parsed(plots.timeline_strip(plots.Scale.around([0.0, 2.0]), spans))
    assert [box.get("class") for box in drawn.findall("rect")] == ["round", "round failed"]
    assert drawn.find("rect/title").text == "<one>"
    assert len(drawn.findall("circle")) == 1


def test_square_plots_describe_themselves():
    curve = plots.Curve("federated", ((0.0, 0.0), (0.1, 0.9), (1.0, 1.0)))
    bins = [plots.Bin(0.1, 0.2, 0.1, 0.3, 10), plots.Bin(0.9, 0.8, 0.7, 0.9, 30)]
    for drawn in (
        parsed(plots.roc_plot([curve], "A & B", zoom=True)),
        parsed(plots.calibration_plot(bins, "A & B")),
    ):
        assert drawn.get("role") == "img"
        assert drawn.find("desc").text == "A & B"


def test_a_curve_goes_through_its_corners():
    curve = plots.Curve("federated", ((0.0, 0.0), (1.0, 1.0)))
    drawn = parsed(plots.roc_plot([curve], "", zoom=False))
    points = drawn.find(".//polyline").get("points").split()
    square = plots._LEFT, plots._TOP + plots._SIDE, plots._LEFT + plots._SIDE, plots._TOP
    assert [float(n) for p in points for n in p.split(",")] == [float(n) for n in square]
