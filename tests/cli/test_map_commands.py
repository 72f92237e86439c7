"""The commands that ``wardround site data suggest`` prints: each gives what the records say."""

from __future__ import annotations

import csv
import io
import json
import shlex
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import requires
from commands import Command
from hospital_forms import GRAPH, OMOP_TABLES, Form, as_omop_files, write_csv
from wardround.clinical import ConceptType, Mapping
from wardround.clinical.harmonise import Harmonised, find_routes
from wardround.ids import SiteName
from wardround.site.home import SiteHome

_NUMBERS = ("body_weight", "body_height", "hemoglobin", "total_cholesterol", "glucose", "hba1c")
_NO_ANSWER = ("hispanic", "employed", "race", "smoking_status", "phq_9")
"""Questions of the extract whose answers are not in it: that they were asked means nothing."""


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    return SiteHome.create(tmp_path / "agent", SiteName("harbour")).folder


def _commands(err: str) -> dict[str, list[str]]:
    """The printed commands by their concept."""
    lines = [line.partition("wardround site data map ")[2] for line in err.splitlines()]
    return {words[2]: words for words in map(shlex.split, filter(None, lines))}


def _rows(archive: Path, name: str) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(f"{name.upper()}.csv").decode()
    for row in csv.DictReader(io.StringIO(text)):
        yield {key.lower(): cell for key, cell in row.items()}


def test_each_printed_command_gives_what_the_records_say(agent: Path, command: Command) -> None:
    archive = requires.shared("data/omop_synthea27nj") / "Synthea27Nj_5.4.zip"
    assert command("site", "data", "add", agent, archive, "--name", "cdm").code == 0
    booleans = [one.id for one in GRAPH.concepts if one.type is ConceptType.BOOLEAN]
    wanted = ["sex", "birth_date", *booleans, *_NUMBERS, *_NO_ANSWER]
    asked = [word for one in dict.fromkeys(wanted) for word in ("--concept", one)]
    suggested = command("site", "data", "suggest", agent, *asked)
    printed = _commands(suggested.err)
    assert {"sex", "birth_date", *_NUMBERS} <= printed.keys()
    assert {"statin", "beta_blocker", "ace_inhibitor", "stroke", "colonoscopy"} <= printed.keys()
    assert not set(_NO_ANSWER) & printed.keys()
    assert all(f"{one}: cdm, observation" in suggested.err for one in _NO_ANSWER)
    for words in printed.values():
        done = command("site", "data", "map", *words)
        assert done.code == 0, (words, done.err)
        assert "becomes a no" not in done.err
    people = {row["person_id"]: row for row in _rows(archive, "person")}
    for concept, found in _features(agent, printed).items():
        assert found == pytest.approx(_expected(archive, concept, printed[concept], people)), (
            concept
        )
        assert found or concept in _NUMBERS, concept
    for concept in _NUMBERS:  # as the command's note says, of several that differ none is used
        done = command("site", "data", "map", *printed[concept], "--choose", "maximum")
        assert done.code == 0, done.err
    for concept, found in _features(agent, _NUMBERS).items():
        every = _numbers(archive, concept, printed[concept])
        assert found == pytest.approx({one: max(some) for one, some in every.items()}), concept
        assert found, concept


def _features(agent: Path, concepts: Collection[str]) -> dict[str, dict[str, float]]:
    """What each concept comes to, by patient."""
    mapping = Mapping.load(agent / "mapping.toml", GRAPH)
    warehouse = Form(mapping, agent).warehouse(tuple(concepts))
    warehouse.refresh()
    harmonised = Harmonised(warehouse, find_routes(mapping, GRAPH, tuple(concepts)))
    features = {}
    for concept in concepts:
        values = harmonised.mapped(concept)
        alive = zip(harmonised.linked.patients, values.values, values.valid, strict=True)
        features[concept] = {one: float(value) for one, value, valid in alive if valid}
    return features


def _expected(
    archive: Path, concept: str, words: list[str], people: dict[str, dict[str, str]]
) -> dict[str, float]:
    if concept == "sex":
        levels = GRAPH.concept("sex").levels
        sexes = {"8507": "male", "8532": "female"}
        return {
            one: float(levels.index(sexes[row["gender_concept_id"]])) for one, row in people.items()
        }
    if concept == "birth_date":
        parts = ("year_of_birth", "month_of_birth", "day_of_birth")
        return {
            one: float(date(*(int(row[part]) for part in parts)).toordinal())
            for one, row in people.items()
        }
    if GRAPH.concept(concept).type is ConceptType.BOOLEAN:
        return {row["person_id"]: 1.0 for row in _coded(archive, words)}
    numbers = _numbers(archive, concept, words)
    return {one: min(found) for one, found in numbers.items() if len(found) == 1}


def _coded(archive: Path, words: list[str]) -> list[dict[str, str]]:
    """The rows that a command is about."""
    domain, code = words[words.index("--domain") + 1], words[words.index("--concept-id") + 1]
    key = f"{domain.split('_')[0]}_concept_id"
    return [row for row in _rows(archive, domain) if row[key] == code]


def _numbers(archive: Path, concept: str, words: list[str]) -> dict[str, set[float]]:
    """Each patient's different numbers, in the concept's unit."""
    numbers: dict[str, set[float]] = defaultdict(set)
    for row in _coded(archive, words):
        path = GRAPH.path(row["unit_source_value"], GRAPH.concept(concept).unit or "", concept)
        read = np.array([float(row["value_as_number"])])
        numbers[row["person_id"]].add(float(path.apply(read)[0]))
    return numbers


def test_coded_answers_are_mapped_only_where_all_are_known(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    cdm = tmp_path / "cdm"
    cdm.mkdir()
    people = [(n, 8507, 1960, 1, 1, 0, 0) for n in range(40)]
    write_csv(cdm / "person.csv", OMOP_TABLES["person"], people)
    header = ("person_id", "observation_concept_id", "observation_date", "value_as_string")
    answers = [(n, 43054909, "2020-01-01", ("never", "former")[n % 2]) for n in range(40)]
    odd = [(n, 1001, "2020-01-01", ("dubious", "perhaps")[n % 2]) for n in range(40)]
    write_csv(cdm / "observation.csv", header, [*answers, *odd])
    concept = (43054909, "Tobacco smoking status", "LOINC", "72166-2", "S")
    other = (1001, "Fever", "SNOMED", "386661006", "S")
    names = ("concept_id", "concept_name", "vocabulary_id", "concept_code", "standard_concept")
    write_csv(cdm / "concept.csv", names, [concept, other])
    assert command("site", "data", "add", agent, cdm, "--name", "cdm", "--kind", "omop").code == 0
    asked = ("--concept", "smoking_status", "--concept", "fever")
    done = command("site", "data", "suggest", agent, *asked)
    printed = _commands(done.err)
    assert "fever" not in printed and "fever: cdm, observation 1001: no command" in done.err
    assert command("site", "data", "map", *printed["smoking_status"]).code == 0
    table = Form(Mapping.load(agent / "mapping.toml", GRAPH), agent).table(("smoking_status",))
    levels = GRAPH.concept("smoking_status").levels
    read = [levels[int(one)] for one in table.columns["smoking_status"]]
    texts = {str(n): text for n, _, _, text in answers}
    assert read == [texts[one] for one in table.patient_ids] and len(read) == 40


@pytest.mark.parametrize(
    "words",
    [
        ("drug_exposure", "--value", "0=false"),
        ("drug_exposure", "--value", "0=true"),
        ("condition_occurrence", "--take", "concept", "--value", "1539411=false"),
    ],
)
def test_a_map_that_makes_an_event_a_no_is_refused(
    agent: Path, tmp_path: Path, command: Command, words: tuple[str, ...]
) -> None:
    as_omop_files(tmp_path)
    place = ("site", "data", "add", agent, tmp_path / "cdm", "--name", "cdm", "--kind", "omop")
    assert command(*place).code == 0
    before = (agent / "mapping.toml").read_bytes()
    field = ("cdm", "statin", "--concept-id", "1539411", "--domain", *words)
    done = command("site", "data", "map", agent, *field)
    assert done.code == 1 and "WR-DATA-005" in done.err and "--take presence" in done.err
    assert (agent / "mapping.toml").read_bytes() == before


def test_omop_values_are_shown_as_the_records_hold_them(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    as_omop_files(tmp_path)
    place = ("site", "data", "add", agent, tmp_path / "cdm", "--name", "cdm", "--kind", "omop")
    assert command(*place).code == 0
    sex = ("sex", "--domain", "person", "--take", "concept", "--concept-id", 8507)
    read = ("--concept-id", 8532, "--value", "8507=male", "--value", "8532=female")
    shown = _shown(command, agent, *sex, *read)
    assert dict(zip(shown["before"], shown["after"], strict=True)) == {
        "8507": "male",
        "8532": "female",
    }
    assert shown["path"] == [
        "concept of person with concept 8507, 8532",
        "8507 = male, 8532 = female",
    ]
    weight = ("body_weight", "--domain", "measurement", "--concept-id", 3025315)
    shown = _shown(command, agent, *weight, "--choose", "latest")
    assert len(set(shown["before"])) == 5
    pairs = dict(zip(shown["before"], shown["after"], strict=True))
    assert pairs["71.5 kg"] == "71.5 kg" and pairs["70500 g"] == "70.5 kg"


def test_values_shown_differ_and_a_value_map_is_said(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    rows = [(n, int(n in (7, 31)), 70 if n < 90 else n) for n in range(100)]
    write_csv(tmp_path / "t.csv", ("pid", "dm", "kg"), rows)
    added = ("site", "data", "add", agent, tmp_path / "t.csv", "--name", "cdm", "--patient", "pid")
    assert command(*added).code == 0
    shown = _shown(
        command, agent, "diabetes", "--column", "dm", "--value", "0=false", "--value", "1=true"
    )
    assert (shown["before"], shown["after"]) == (["0", "1"], ["no", "yes"])
    assert shown["path"] == ['column "dm"', "0 = no, 1 = yes"]
    many = [word for n in range(14) for word in ("--value", f"{n}={'true' if n else 'false'}")]
    path = _shown(command, agent, "diabetes", "--column", "dm", *many)["path"]
    assert path[1].startswith("0 = no, 1 = yes, ") and path[1].endswith("11 = yes, and 2 more")
    shown = _shown(command, agent, "body_weight", "--column", "kg", "--unit", "kg")
    assert shown["before"] == ["70 kg", "90 kg", "91 kg", "92 kg", "93 kg"]


def _shown(command: Command, agent: Path, *words: object) -> dict[str, list[str]]:
    done = command("site", "data", "map", agent, "cdm", *words, "--json")
    assert done.code == 0, done.err
    read: dict[str, list[str]] = json.loads(done.out)
    return read
