"""Dates are read exactly or not at all."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import Reason
from wardround.clinical.dates import DateFormat, completed_years, read_fhir_date

FORMATS = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "YYYYMMDD": "%Y%m%d",
    "YYYY-MM-DD hh:mm:ss": "%Y-%m-%d 23:59:00",
    "YYYY-MM-DDThh:mm": "%Y-%m-%dT00:00",
}
DAYS = st.dates(min_value=date(1000, 1, 1))


@given(day=DAYS, form=st.sampled_from(sorted(FORMATS)))
def test_what_is_written_in_a_format_is_read_back(day: date, form: str) -> None:
    assert DateFormat(form).read(day.strftime(FORMATS[form])) == day.toordinal()


@given(day=DAYS)
def test_unpadded_days_and_months(day: date) -> None:
    form = DateFormat("D.M.YYYY")
    assert form.read(f"{day.day}.{day.month}.{day.year:04d}") == day.toordinal()
    assert form.read(day.strftime("%d.%m.%Y")) == day.toordinal()


@given(
    text=st.text(alphabet="0123456789.-/T: ٣", max_size=12), form=st.sampled_from(sorted(FORMATS))
)
def test_anything_else_is_an_impossible_date_and_no_crash(text: str, form: str) -> None:
    read = DateFormat(form).read(text)
    assert read is Reason.IMPOSSIBLE_DATE or isinstance(read, int)


@pytest.mark.parametrize(
    "text",
    [
        "31.02.1960",
        "29.02.1900",
        "00.01.2000",
        "01.13.2000",
        "1.1.2000",
        "01.01.20",
        " 01.01.2000",
        "",
    ],
)
def test_impossible_dates(text: str) -> None:
    assert DateFormat("DD.MM.YYYY").read(text) is Reason.IMPOSSIBLE_DATE


@pytest.mark.parametrize(
    "form", ["", "DD.MM.YY", "DD.MM", "DD.DD.YYYY", "DDMYYYY", "day DD.MM.YYYY", "%d.%m.%Y"]
)
def test_formats_that_would_be_a_guess_are_refused(form: str) -> None:
    with pytest.raises(ValueError):
        DateFormat(form)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-05-04", date(2019, 5, 4).toordinal()),
        ("2019-05-04T23:30:00-11:00", date(2019, 5, 4).toordinal()),
        ("2019-05-04T10:00:00.123Z", date(2019, 5, 4).toordinal()),
        ("1957", Reason.INCOMPLETE_DATE),
        ("1957-03", Reason.INCOMPLETE_DATE),
        ("1961-02-30", Reason.IMPOSSIBLE_DATE),
        ("04.05.2019", Reason.IMPOSSIBLE_DATE),
        ("", Reason.IMPOSSIBLE_DATE),
    ],
)
def test_fhir_dates(text: str, expected: int | Reason) -> None:
    assert read_fhir_date(text) == expected


@given(birth=st.dates(date(1900, 1, 1), date(2026, 1, 1)), days=st.integers(0, 40_000))
def test_an_age_is_the_number_of_birthdays_that_passed(birth: date, days: int) -> None:
    index = birth + timedelta(days=days)
    birthdays = sum(
        (birth.month, birth.day, year) <= (index.month, index.day, year)
        if year == index.year
        else True
        for year in range(birth.year + 1, index.year + 1)
    )
    assert completed_years(birth.toordinal(), index.toordinal()) == birthdays


def test_a_leap_day_child_turns_one_on_the_first_of_march() -> None:
    birth = date(2020, 2, 29).toordinal()
    assert completed_years(birth, date(2021, 2, 28).toordinal()) == 0
    assert completed_years(birth, date(2021, 3, 1).toordinal()) == 1


def test_nobody_is_examined_before_birth() -> None:
    assert completed_years(2, 1) is Reason.IMPOSSIBLE_DATE
