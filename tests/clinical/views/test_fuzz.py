"""Whatever a view says and whatever a resource holds: rows, or an error that shows no value."""

import copy
import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.clinical.views import View
from wardround.errors import WardroundError

SECRET = "Zq7SecretZq7"
RESOURCE: dict[str, object] = {
    "resourceType": "Patient",
    "id": SECRET,
    "active": True,
    "birthDate": "1970-06-05",
    "_birthDate": {"extension": [{"url": "url", "valueDateTime": "1970-06-05T04:05:00Z"}]},
    "name": [{"family": SECRET, "given": [SECRET, "b"]}, {"given": ["c"], "use": "official"}],
    "valueQuantity": {"value": 1.5, "unit": SECRET},
    "multipleBirthInteger": 3,
    "link": [{"other": {"reference": f"Patient/{SECRET}"}}],
    "item": [{"linkId": "1", "item": [{"linkId": SECRET}]}, {"linkId": "2"}],
}


def words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


NAMES = ["id", "active", "birthDate", "name", "given", "value", "item", "link", "other", "Patient"]
ATOMS = st.sampled_from(
    [
        *NAMES,
        "$this",
        "%resource",
        "%rowIndex",
        "%c",
        "'x'",
        "''",
        "1",
        "0",
        "2.50",
        "true",
        "{}",
        "@2020-02",
        "@T10:30",
        "@2020-01-01T10:00:00Z",
        "99999999999999999999999999",
    ]
)
BINARY = words("= != < > <= >= + - * / & | and or xor implies in contains div mod")
NO_ARGUMENT = words(
    "exists empty not count first last tail single distinct isDistinct allTrue allFalse hasValue "
    "lowBoundary highBoundary join getResourceKey getReferenceKey length lower upper trim toString "
    "toInteger toDecimal toBoolean"
)
ONE_ARGUMENT = words(
    "where select all exists skip take union combine join extension startsWith endsWith contains "
    "indexOf substring lowBoundary highBoundary iif"
)
TYPES = words("string Quantity integer dateTime boolean Patient decimal HumanName")


def _longer(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, BINARY, inner),
        st.builds("{}.{}".format, inner, st.sampled_from(NAMES)),
        st.builds("{}.{}()".format, inner, NO_ARGUMENT),
        st.builds("{}.{}({})".format, inner, ONE_ARGUMENT, inner),
        st.builds("{}.replace({}, {})".format, inner, inner, inner),
        st.builds("iif({}, {}, {})".format, inner, inner, inner),
        st.builds("{}.ofType({})".format, inner, TYPES),
        st.builds("({} is {})".format, inner, TYPES),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("-{}".format, inner),
    )


PATHS = st.recursive(ATOMS, _longer, max_leaves=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.sampled_from([SECRET, "2020-01", "2020-13-45", "10:30", "0000", "T", "9999-12-31T23:59Z"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*NAMES, "valueString", "extension", "url"]), inner)
    ),
    max_leaves=12,
)
RESOURCES = st.dictionaries(
    st.sampled_from([*NAMES, "_birthDate", "valueQuantity", "multipleBirthInteger"]), VALUES
).map(lambda more: {**RESOURCE, **more, "resourceType": "Patient"})


def decide(document: object, resource: dict[str, object]) -> None:
    """Read a view and run it; anything but rows or an error without values is a fault."""
    try:
        view = View.parse(document)  # type: ignore[arg-type]
    except WardroundError as error:
        assert error.code.startswith("WR-DATA-03")
        return
    before = copy.deepcopy(resource)
    try:
        rows = view.rows(resource)
    except WardroundError as error:
        assert error.code.startswith("WR-DATA-03")
        assert SECRET not in f"{error} {error!r} {error.__cause__}"
    else:
        assert all(len(row) == len(view.columns) for row in rows)
    assert repr(resource) == repr(before)


def view_of(path: str) -> dict[str, object]:
    return {
        "resource": "Patient",
        "constant": [{"name": "c", "valueString": "b"}],
        "select": [
            {"column": [{"name": "a", "path": path, "collection": True}]},
            {"forEachOrNull": path, "column": [{"name": "b", "path": path, "type": "string"}]},
            {"repeat": ["item", f"item.select({path})"], "column": [{"name": "c", "path": "id"}]},
        ],
        "where": [{"path": f"({path}).exists()"}],
    }


@settings(max_examples=300, deadline=5000)
@given(path=PATHS, resource=RESOURCES)
def test_any_path_over_any_resource(path: str, resource: dict[str, object]) -> None:
    decide(view_of(path), resource)


@settings(max_examples=300, deadline=5000)
@given(text=st.text(alphabet=string.printable + "é`\u0000", max_size=40))
def test_any_text_as_a_path(text: str) -> None:
    decide(view_of(text), RESOURCE)


@settings(max_examples=200, deadline=5000)
@given(document=st.recursive(
    VALUES,
    lambda inner: st.dictionaries(
        words("resource select column name path type forEach repeat unionAll where constant"),
        inner | st.lists(inner, max_size=3),
    ),
    max_leaves=15,
))  # fmt: skip
def test_any_json_as_a_view(document: object) -> None:
    decide(document, RESOURCE)
    decide({"resource": "Patient", "select": document, "where": document}, RESOURCE)


SEEDS = [
    "name.where(use = 'official').given.first()",
    "value.ofType(Quantity).value.lowBoundary()",
    "birthDate.extension('url').value.ofType(dateTime) > @1970-01-01T00:00:00Z",
    "iif(active and name.exists(), name.given.join(', '), id.substring(1, 2)) & 'x'",
    "link.other.getReferenceKey(Patient) = getResourceKey() or multipleBirth is integer",
    "name.given.combine(name.family).select($this.replace('b', 'a').upper()) | {}",
    "(item.item.linkId contains '1') xor (1.5 * -3 div 2 mod 7 >= 0.1)",
]
PIECES = [
    *"().[]{}'`@%$|&=<>!~+-*/,\\ 019azT:\n\u00e4\u0000",
    "and",
    "where(",
    "$this",
    "@2020",
    "''",
]


def mutated(path: str, chance: random.Random) -> str:
    text = path
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        match chance.randrange(4):
            case 0:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(to, at + 3) :]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[at + 1 :]
            case _:
                text = text[:to] + text[at:to] + text[to:]
    return text


def spoilt(resource: object, chance: random.Random) -> object:
    """The resource with a few of its values exchanged for others of it, or for nonsense."""
    nonsense = [None, [], {}, "", 10**30, 1e308, float("nan"), -1, True, "2020-99", [[1]], SECRET]
    if chance.random() < 0.08:
        return chance.choice(nonsense)
    if isinstance(resource, dict):
        return {key: spoilt(value, chance) for key, value in resource.items()}
    return [spoilt(value, chance) for value in resource] if isinstance(resource, list) else resource


def hammer(times: int, seed: int) -> float:
    chance = random.Random(seed)
    slowest = 0.0
    for _ in range(times):
        resource = spoilt(RESOURCE, chance)
        if not isinstance(resource, dict):
            continue
        resource["resourceType"] = "Patient"
        column = {"name": "a", "path": mutated(chance.choice(SEEDS), chance), "collection": True}
        began = time.process_time()
        decide({"resource": "Patient", "select": [{"column": [column]}]}, resource)
        slowest = max(slowest, time.process_time() - began)
    return slowest


def test_mutated_paths_and_resources() -> None:
    assert hammer(2_000, seed=1) < 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_mutated_paths_and_resources() -> None:
    assert hammer(1_000_000, seed=2) < 5


def test_the_seeds_are_paths() -> None:
    """Else their mutations would only test the first line of the parser."""
    for path in SEEDS:
        column = {"name": "a", "path": path, "collection": True}
        view = View.parse({"resource": "Patient", "select": [{"column": [column]}]})
        assert view.rows(RESOURCE) != [((),)]
