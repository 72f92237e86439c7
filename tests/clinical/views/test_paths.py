"""What each operator and function finds; the examples are FHIRPath's own or follow from it."""

import re
from decimal import Decimal

import pytest

from clinical.views.paths import evaluate, view_of
from wardround.cli.explain import pages
from wardround.clinical.views.functions import FUNCTIONS
from wardround.errors import WardroundError

PATIENT = {
    "id": "p1",
    "active": True,
    "birthDate": "1970-06-05",
    "_birthDate": {"extension": [{"url": "time", "valueDateTime": "1970-06-05T04:05:00Z"}]},
    "gender": "female",
    "multipleBirthInteger": 2,
    "deceasedDateTime": "2020-01-01T10:00:00+02:00",
    "name": [
        {"use": "official", "family": "A", "given": ["B", "C"]},
        {"use": "usual", "given": ["D", None]},
    ],
    "managingOrganization": {"reference": "https://our.example/fhir/Organization/o1/_history/3"},
    "contact": [{"valueString": "x"}, {"valueCode": "y"}, {"valueInteger": 7}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("name.given", ["B", "C", "D"]),
        ("Patient.name.given", ["B", "C", "D"]),
        ("Observation.name.given", []),
        ("name[1].given[0]", ["D"]),
        ("name[-1]", []),
        ("name.given[%rowIndex]", ["B"]),
        ("name.`family`", ["A"]),
        ("nonesuch.deeper", []),
        ("active", [True]),
        ("%resource.id", ["p1"]),
        ("%loinc", ["http://loinc.org"]),
        # Literals
        (r"'it\'s \u00e4\n'", ["it's ä\n"]),
        ("{}", []),
        ("1.50", [Decimal("1.50")]),
        ("@2012-02", ["2012-02"]),
        ("@T10:30", ["10:30"]),
        # Logic has three values
        ("true and {}", []),
        ("false and {}", [False]),
        ("true or {}", [True]),
        ("false or {}", []),
        ("{} or {} or true", [True]),
        ("true xor false", [True]),
        ("true xor {}", []),
        ("false implies {}", [True]),
        ("true implies {}", []),
        ("{} implies true", [True]),
        ("true and 'one item'", [True]),
        # Equality and order
        ("name.given = name.given", [True]),
        ("name.given = name.given.first()", [False]),
        ("id = {}", []),
        ("id != 'p2'", [True]),
        ("1 = 1.0", [True]),
        ("1 = true", [False]),
        ("'1' = 1", [False]),
        ("name[0] = name[0]", [True]),
        ("name[0] = name[1]", [False]),
        ("'a' < 'b'", [True]),
        ("2 >= 2.0", [True]),
        ("0.1 + 0.2 = 0.3", [True]),
        ("birthDate < @1970-06-06", [True]),
        ("birthDate = @1970-06", []),
        ("birthDate < @1970-06", []),
        ("birthDate > @1969", [True]),
        ("birthDate <= '1971-01-01'", [True]),
        ("deceased = @2020-01-01T08:00:00Z", [True]),
        ("deceased.ofType(dateTime) = '2020-01-01T08:00:00Z'", [True]),
        ("deceased.ofType(dateTime) > @2019-12-31", [True]),
        ("deceased.ofType(dateTime) < @2020-01-01T09:59:00+02:00", [False]),
        ("@2012-01-01T10:00 = @2012-01-01T10:00Z", []),
        ("@T10:30 < @T10:30:30", []),
        ("@T10:30 < @T10:31:30", [True]),
        ("@2012-01-01 = @T10:00", [False]),
        # Arithmetic
        ("1 + 2 * 3", [7]),
        ("(1 + 2) * 3", [9]),
        ("-2 + 5", [3]),
        ("7 / 2", [Decimal("3.5")]),
        ("1 / 0", []),
        ("7 div 2", [3]),
        ("-7 div 2", [-3]),
        ("-7 mod 2", [-1]),
        ("5.5 mod 2", [Decimal("1.5")]),
        ("1 mod 0", []),
        ("1.1 * 3", [Decimal("3.3")]),
        ("{} + 1", []),
        ("'a' + 'b'", ["ab"]),
        ("'a' & {} & 'b'", ["ab"]),
        # Collections
        ("name.given.where($this > 'B')", ["C", "D"]),
        ("name.where(use = 'official').family", ["A"]),
        ("name.where(family).family", ["A"]),
        ("name.select(given.first())", ["B", "D"]),
        ("name.exists(use = 'old')", [False]),
        ("name.all(given.exists())", [True]),
        ("{}.all(false)", [True]),
        ("(true | false).allTrue()", [False]),
        ("name.given.count()", [3]),
        ("name.given.first() | name.given", ["B", "C", "D"]),
        ("(1 | 1.0 | 2).count()", [2]),
        ("('2020' | @2020 | 'x' | 'x').count()", [2]),
        ("(@2020 | '2020').count()", [1]),
        ("(deceased | '2020-01-01T08:00:00Z').count()", [1]),
        ("(name | name | active | true).count()", [3]),
        ("name.given.combine(name.given).count()", [6]),
        ("name.given.union(name.given).count()", [3]),
        ("name.given.combine(name.given).distinct()", ["B", "C", "D"]),
        ("name.given.isDistinct()", [True]),
        ("name.given.last()", ["D"]),
        ("name.given.tail()", ["C", "D"]),
        ("name.given.skip(2)", ["D"]),
        ("name.given.take(2)", ["B", "C"]),
        ("name.given.take(0)", []),
        ("id.single()", ["p1"]),
        ("gender.hasValue()", [True]),
        ("name.hasValue()", [False]),
        ("active.not()", [False]),
        ("{}.not()", []),
        ("{}.empty()", [True]),
        ("iif(active, 'yes', 'no')", ["yes"]),
        ("iif({}, 'yes')", []),
        ("'B' in name.given", [True]),
        ("{} in name.given", []),
        ("name.given contains 'Z'", [False]),
        # Types
        ("deceased.ofType(dateTime)", ["2020-01-01T10:00:00+02:00"]),
        ("deceased.ofType(boolean)", []),
        ("multipleBirth.ofType(FHIR.integer)", [2]),
        ("(multipleBirth as integer) + 1", [3]),
        ("multipleBirth is integer", [True]),
        ("multipleBirth is boolean", [False]),
        ("nonesuch is boolean", []),
        ("contact.value.ofType(string)", ["x", "y"]),
        ("contact.value.ofType(code)", ["y"]),
        ("contact.value.last().ofType(integer)", [7]),
        ("contact.value.first().ofType(integer)", []),
        ("contact.value.where($this = 7).ofType(integer)", [7]),
        ("$this.ofType(Patient).id", ["p1"]),
        ("$this is Observation", [False]),
        # Extensions, also of a primitive element
        ("birthDate.extension('time').value.ofType(dateTime)", ["1970-06-05T04:05:00Z"]),
        ("birthDate.extension.url", ["time"]),
        ("birthDate.extension('other').value", []),
        # Keys
        ("getResourceKey()", ["Patient/p1"]),
        ("managingOrganization.getReferenceKey()", ["Organization/o1"]),
        ("managingOrganization.getReferenceKey(Organization)", ["Organization/o1"]),
        ("managingOrganization.getReferenceKey(Patient)", []),
        # Text
        ("'abc'.startsWith('ab')", [True]),
        ("'abc'.endsWith('ab')", [False]),
        ("'abc'.contains('b')", [True]),
        ("'abc'.indexOf('c')", [2]),
        ("'abcdefg'.substring(3)", ["defg"]),
        ("'abcdefg'.substring(1, 2)", ["bc"]),
        ("'abc'.substring(5)", []),
        ("'abc'.length()", [3]),
        ("'aBc'.lower() & 'aBc'.upper()", ["abcABC"]),
        ("' a '.trim()", ["a"]),
        ("'abc'.replace('b', '--')", ["a--c"]),
        ("name.given.join('-')", ["B-C-D"]),
        ("{}.join(',')", [""]),
        ("1.50.toString()", ["1.50"]),
        ("true.toString()", ["true"]),
        ("'12'.toInteger()", [12]),
        ("'1.2'.toInteger()", []),
        ("'1.20'.toDecimal()", [Decimal("1.20")]),
        ("'NaN'.toDecimal()", []),
        ("'yes'.toBoolean()", [True]),
        ("'maybe'.toBoolean()", []),
        ("// a remark\nid /* another */", ["p1"]),
    ],
)
def test_a_path_finds(path: str, found: list[object]) -> None:
    assert evaluate(path, PATIENT) == found


@pytest.mark.parametrize(
    "path",
    [
        "", "@@", "'open", "a.", "a..b", ".a", "a b", "(a", "a)", "a[", "a[]", "1.2.3", "and",
        "a and", "{", "'\\q'", "'\\ud800'", "@2020-02-30", "@2020-13", "@T25:00", "a = ", "%",
        "a.where(b", "a.where(,)", "name.$this", "*", "a.div", "value.ofType(1)", "value.ofType()",
        "x as 1", "a is Other.Type",
    ],
)  # fmt: skip
def test_what_is_no_fhirpath_is_refused_with_its_place(path: str) -> None:
    with pytest.raises(WardroundError) as caught:
        view_of(path)
    assert caught.value.code in ("WR-DATA-030", "WR-DATA-031")
    assert caught.value.path == "select[0].column[0].path"


@pytest.mark.parametrize(
    "path",
    [
        "today()", "now()", "resolve()", "name.matches('a+')", "repeat(item)", "4 'mg'", "3 days",
        "a ~ b", "$index", "where()", "first(1)", "id.where(a, b)", "value.ofType(nonesuch)",
        "extension()", "x.lowBoundary(1, 2)", "descendants()",
    ],
)  # fmt: skip
def test_what_is_not_available_is_refused_when_the_view_is_read(path: str) -> None:
    with pytest.raises(WardroundError) as caught:
        view_of(path)
    assert caught.value.code == "WR-DATA-032"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("name.given < 'x'", "WR-DATA-035"),
        ("name.single()", "WR-DATA-035"),
        ("name.given and true", "WR-DATA-035"),
        ("id + 1", "WR-DATA-036"),
        ("-id", "WR-DATA-036"),
        ("1 < 'a'", "WR-DATA-036"),
        ("true < false", "WR-DATA-036"),
        ("active.lower()", "WR-DATA-036"),
        ("name[id]", "WR-DATA-036"),
        ("name.join()", "WR-DATA-036"),
        ("id.lowBoundary()", "WR-DATA-036"),
        ("name.ofType(HumanName)", "WR-DATA-036"),
        ("id.allTrue()", "WR-DATA-036"),
    ],
)
def test_what_one_resource_makes_impossible_fails_for_it_alone(path: str, code: str) -> None:
    view = view_of(path)
    with pytest.raises(WardroundError) as caught:
        view.rows({"resourceType": "Patient", **PATIENT})
    assert caught.value.code == code
    assert "p1" not in str(caught.value)
    assert view.rows({"resourceType": "Other"}) == []


def test_the_page_of_the_error_lists_every_function_and_no_other() -> None:
    page = pages()["WR-DATA-032"].text
    listed = set(re.findall(r"[A-Za-z]+", " ".join(re.findall(r"`([^`]+)`", page))))
    known = {*FUNCTIONS, "ofType", "extension", "lowBoundary", "highBoundary"}
    assert known <= listed
    operators = {"and", "or", "xor", "implies", "in", "contains", "is", "as", "div", "mod"}
    names = {"this", "name", "rowIndex", "resource", "ucum", "sct", "loinc", "n"}
    assert listed <= known | operators | names | {"today", "resolve"}


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("Patient/1", ["Patient/1"]),
        ("Patient/1/_history/2", ["Patient/1"]),
        ("http://x.example/fhir/Patient/1", ["Patient/1"]),
        ("#contained", []),
        ("urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7", []),
        ("Patient/", []),
        ("1", []),
        (5, []),
    ],
)
def test_the_key_of_a_reference(reference: object, key: list[str]) -> None:
    resource = {"link": {"reference": reference}}
    assert evaluate("link.getReferenceKey()", resource) == key
