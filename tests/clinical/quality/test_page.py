"""The steward's profile: whole, escaped, loading nothing, and read by its owner alone."""

import html
import re
import stat
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality_records import HOSPITALS, TODAY, heart, heart_profile
from wardround.clinical import Reason
from wardround.clinical.profile import BINS, FieldKind, FieldProfile, count_in_bins
from wardround.clinical.quality import Check, Finding, Level, check
from wardround.clinical.quality.drawing import histogram
from wardround.clinical.quality.page import ProfileRow, Usage, render_profile, write_profile
from wardround.errors import WardroundError

NASTY = "<script>alert(1)</script>\"' onload=x & {{ 7*7 }} {% raw %} </style>"
USAGE = Usage("St. Elsewhere", "heart", TODAY, 90, 100, {Reason.MISSING_VALUE: 10})


def field(name: str = "chol", **changed: object) -> FieldProfile:
    plain: dict[str, object] = {
        "source": "clinic",
        "field": name,
        "description": None,
        "declared": "",
        "codes": (),
        "kind": FieldKind.NUMBER,
        "rows": 100,
        "missing": 3,
        "distinct": 60,
        "quantiles": tuple(np.linspace(100, 400, 21)),
        "bins": (30, 0, 60, 7),
        "samples": ("212", "180"),
    }
    return FieldProfile(**(plain | changed))  # type: ignore[arg-type]


class Shape(HTMLParser):
    """Collects tags with their attributes, text, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_of_each_heart_hospital_is_whole_and_loads_nothing() -> None:
    for hospital in HOSPITALS:
        findings = check(heart(hospital))
        page = render_profile(heart_profile(hospital), findings, USAGE)
        shape = Shape(page)
        assert shape.open == []
        assert {tag for tag, _ in shape.tags} & {"script", "link", "img", "iframe", "a"} == set()
        assert not re.search(r"(src|href|url|@import)\s*[=(]", page)
        assert "default-src 'none'; style-src 'sha256-" in page
        for finding in findings:
            if finding.level is not Level.NOT_CHECKED:
                assert finding.check.heading in shape.text
            if finding.level in (Level.WARN, Level.BLOCK):
                assert finding.words in shape.text
                assert finding.remedy in shape.text
        assert page == render_profile(heart_profile(hospital), findings, USAGE)


def test_every_part_says_that_it_stays() -> None:
    page = render_profile([], [], USAGE)
    top, bottom = page.index("<b>Stays in the hospital.</b>"), page.index("<p>Stays in the")
    assert top < page.index("<h1>") < bottom
    assert '@bottom-left { content: "Stays in the hospital"' in page  # each printed sheet


def test_nothing_from_the_records_is_more_than_text() -> None:
    row = ProfileRow(
        field(
            NASTY,
            source=NASTY,
            description=NASTY,
            declared=NASTY,
            codes=((NASTY, NASTY),),
            units={NASTY: 3},
            categories={NASTY: 97},
            date_formats=(NASTY,),
            samples=(NASTY,) * 5,
            distinct=1,
        ),
        NASTY,
        NASTY,
        NASTY,
        (NASTY,),
        (NASTY,) * 5,
    )
    finding = Finding(
        Check.ONE_CLASS,
        Level.WARN,
        NASTY,
        NASTY.replace("{", "{{").replace("}", "}}"),
        NASTY,
        override=NASTY,
    )
    nowhere = Usage(NASTY, NASTY, TODAY, 1, 1)
    page = render_profile([row, ProfileRow(row.profile)], [finding], nowhere)
    shape = Shape(page)
    assert shape.open == []
    assert "<script" not in page
    assert "49 {% raw" not in shape.text  # not a template either
    assert shape.text.count("alert(1)") == html.unescape(page).count("alert(1)") >= 30
    for _, attributes in shape.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not any("alert" in (value or "") for value in attributes.values())


def test_a_field_shows_its_way_its_samples_and_its_figures() -> None:
    row = ProfileRow(
        field(units={"mmol/L": 90, "": 7}, zeros=12),
        "cholesterol",
        "Total cholesterol",
        "mg/dL",
        ('column "chol"', "mmol/L -> mg/dL (x 38.67)"),
        ("8198 mg/dL", "set aside"),
    )
    text = Shape(render_profile([row], [], USAGE)).text
    for shown in (
        *("Total cholesterol", "mg/dL", "mmol/L -> mg/dL (x 38.67)", "8198 mg/dL", "set aside"),
        *("100", "median 250", "400", "97 of 100", "no unit stated", "Exactly 0", "3 %"),
    ):
        assert shown in text, shown


def test_findings_are_grouped_by_check_with_blocks_first() -> None:
    found = [
        Finding(Check.HEAPING, Level.WARN, "chol", "rounded", "mend 2"),
        Finding(Check.MISSINGNESS, Level.BLOCK, "chol", "none", "mend 1"),
        Finding(Check.MISSINGNESS, Level.BLOCK, "age", "few", "mend 1"),
        Finding(Check.ONE_CLASS, Level.WARN, "x", "one", "mend 3", override="Let pass by A: true"),
    ]
    page = render_profile([ProfileRow(field(), "chol", "Cholesterol")], found, USAGE)
    assert page.index("none") < page.index("few") < page.index("rounded")
    assert page.count("mend 1") == 1
    assert '<span class="level">Let pass</span>' in page
    assert page.count("Let pass by A: true") == 1
    assert '<p class="badge block">Missing values</p>' in page


def test_an_identifier_shows_no_sample() -> None:
    row = ProfileRow(field(kind=FieldKind.IDENTIFIER, samples=("MRN-73519",), quantiles=()))
    assert "73519" not in render_profile([row], [], USAGE)


def test_few_values_are_listed_and_the_others_counted() -> None:
    many = {f"text {place}": 5 for place in range(12)}
    row = ProfileRow(field(kind=FieldKind.CATEGORY, quantiles=(), categories=many, distinct=40))
    text = Shape(render_profile([row], [], USAGE)).text
    assert "text 7" in text and "text 8" not in text and "and 32 more" in text
    coded = field(distinct=2, categories={"1": 60, "0": 37}, quantiles=(0.0,) * 9 + (1.0,) * 12)
    assert "median" not in Shape(render_profile([ProfileRow(coded)], [], USAGE)).text


@pytest.mark.parametrize("kind", list(FieldKind))
def test_every_kind_of_field_with_nothing_in_it(kind: FieldKind) -> None:
    empty = field(kind=kind, rows=0, missing=0, distinct=0, quantiles=(), samples=())
    assert Shape(render_profile([ProfileRow(empty)], [], USAGE)).open == []


def test_dates_are_written_as_dates_and_survive_the_calendars_ends() -> None:
    days = tuple(float(date(1950 + year, 1, 1).toordinal()) for year in range(21))
    text = Shape(
        render_profile([ProfileRow(field(kind=FieldKind.DATE, quantiles=days))], [], USAGE)
    ).text
    assert "1950-01-01" in text and "median 1960-01-01" in text
    beyond = field(kind=FieldKind.DATE, quantiles=(-5.0, *days[1:-1], 1e18))
    assert "no date" in render_profile([ProfileRow(beyond)], [], USAGE)


def test_the_file_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "profile.html"
    path.write_text("old")
    path.chmod(0o644)
    write_profile(path, [ProfileRow(field())], [], USAGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8").endswith("</html>\n") or path.read_text().endswith(
        "</html>"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_has_a_code(tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as caught:
        write_profile(tmp_path / "none" / "profile.html", [], [], USAGE)
    assert caught.value.code == "WR-DATA-076"


def test_what_holds_values_shows_none_in_a_log() -> None:
    row = ProfileRow(field(samples=("73519.4242",)), after=("73519.4242",))
    assert "73519" not in f"{row!r} {row.profile!r}"


@given(st.lists(st.floats(-1e12, 1e12) | st.integers(-50, 99).map(float), min_size=2, max_size=99))
def test_a_histogram_counts_every_value_once(numbers: list[float]) -> None:
    counts = count_in_bins(np.array(numbers))
    assert sum(counts) == len(numbers) and len(counts) <= BINS and min(counts) >= 0
    assert "nan" not in histogram(counts)


def test_there_is_no_bar_where_there_is_no_value() -> None:
    pressures = np.array([80.0] * 30 + [95.0] * 5 + list(range(100, 160, 10)) * 10)
    counts = count_in_bins(pressures)
    assert counts[0] == 30 and counts[5] == 5 and not any(counts[1:5])  # bins of three
    assert histogram(counts).count("<rect") == 8


def test_whole_numbers_spread_evenly_have_a_flat_histogram() -> None:
    for top in (20, 28, 40, 100):
        *counts, _ = count_in_bins(np.repeat(np.arange(top) / 10, 3))
        assert len(set(counts)) == 1


def test_without_a_study_nothing_is_said_to_have_been_checked() -> None:
    without = Usage("St. Elsewhere", None, TODAY, 0, 0)
    text = " ".join(Shape(render_profile([ProfileRow(field())], [], without)).text.split())
    assert "On 25 November 2026" in text
    assert "For the study" not in text and "None" not in text
    assert "Nothing was checked" in text
    for untrue in ("Nothing was found", "nothing stands in the way", "Records used", "Warnings"):
        assert untrue not in text


def test_what_is_only_there_or_not_is_not_called_missing() -> None:
    changes = {"rows": 1234, "missing": 1234, "distinct": 0, "quantiles": (), "samples": ()}
    there = field(kind=FieldKind.EMPTY, presence=True, **changes)
    text = Shape(render_profile([ProfileRow(there)], [], replace(USAGE, set_aside={}))).text
    assert "Present in 1,234 rows" in text
    assert "missing" not in text and "No value at all" not in text
    plain = Shape(render_profile([ProfileRow(replace(there, presence=False))], [], USAGE)).text
    assert "100 %" in plain and "No value at all" in plain
