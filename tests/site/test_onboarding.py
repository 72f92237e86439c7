"""A steward's way from a file to an approved mapping, by commands, and what voids the approval."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import shlex
import sqlite3
import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import studies
from commands import Command
from fhir_server import FhirServerDouble, InProcess, outcome, patients
from wardround.algorithms.candidate import Candidate
from wardround.clinical import Mapping
from wardround.clinical.fhir import Client, ClientKey, FhirServer, Limits, SmartBackend
from wardround.clinical.mapping import FhirServerSource
from wardround.clinical.quality import Check, Level, public_usage
from wardround.errors import WardroundError, WardroundErrors
from wardround.governance.artefact import save_model
from wardround.ids import RunId, SiteName
from wardround.site.home import SiteHome
from wardround.site.locating import describe_place
from wardround.site.mapping_approval import approve_mapping, load_approval
from wardround.site.onboarding import Onboarding
from wardround.study import Study

TODAY = date(2026, 11, 25)
CANARY = "p9731canary"
HEADER = "MRN;Geburtsdatum;Geschl.;Gewicht (kg);Größe (cm);Cholesterin (mg/dl);Aufnahme;Diagnose"


def write_ehr(folder: Path, header: str = HEADER, patients: int = 200) -> Path:
    drawn = random.Random(1)
    lines = [header]
    for number in range(patients):
        born = f"{drawn.randint(1, 28):02d}.{drawn.randint(1, 12):02d}.{drawn.randint(1930, 2000)}"
        weight, height = drawn.gauss(80, 12), drawn.gauss(172, 9)
        cholesterol = 0 if number % 3 == 0 else drawn.gauss(200, 35)
        lines.append(
            f"{CANARY}{number:03d};{born};{drawn.choice('mw')};{weight:.1f};{height:.0f};"
            f"{cholesterol:.0f};{drawn.randint(1, 28):02d}.06.2024;{drawn.choice(['ja', 'nein'])}"
        )
    path = folder / "ehr.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    home = SiteHome.create(tmp_path / "agent", SiteName("harbour"))
    policy = home.folder / "hospital.toml"
    policy.write_text('accepted_profiles = ["secure-sum"]\n', encoding="utf-8")
    return home.folder


@pytest.fixture
def study(agent: Path, tmp_path: Path) -> Path:
    features = ["age_years", "male", "body_mass_index", "total_cholesterol"]
    plain = studies.document(data={"outcome": "diabetes", "features": features})
    plain["sites"][-1]["signing_key"] = SiteHome(agent).signing_key.public.text
    path = tmp_path / "study.toml"
    path.write_text(studies.toml(plain), encoding="utf-8")
    return path


MAPPED = (
    ("birth_date", "--column", "Geburtsdatum", "--date-format", "DD.MM.YYYY"),
    ("admission_date", "--column", "Aufnahme", "--date-format", "DD.MM.YYYY", "--index-date"),
    ("sex", "--column", "Geschl.", "--value", "m=male", "--value", "w=female"),
    ("body_weight", "--column", "Gewicht (kg)", "--unit", "kg"),
    ("body_height", "--column", "Größe (cm)", "--unit", "cm"),
    ("total_cholesterol", "--column", "Cholesterin (mg/dl)", "--unit", "mg/dl"),
    ("diabetes", "--column", "Diagnose", "--value", "ja=true", "--value", "nein=false"),
)


@pytest.fixture
def mapped(agent: Path, tmp_path: Path, command: Command) -> Path:
    place = write_ehr(tmp_path)
    added = command("site", "data", "add", agent, place, "--name", "ehr", "--patient", "MRN")
    assert added.code == 0, added.err
    for concept, *words in MAPPED:
        done = command("site", "data", "map", agent, "ehr", concept, *words)
        assert done.code == 0, done.err
    return agent


def test_a_source_is_described_when_it_is_added(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    place = write_ehr(tmp_path)
    done = command(
        "site", "data", "add", agent, place, "--name", "ehr", "--patient", "MRN", "--json"
    )
    assert json.loads(done.out)["fields"] == 8
    source = Mapping.load(agent / "mapping.toml").sources[0]
    assert (source.kind, source.delimiter, source.patient) == ("csv", ";", "MRN")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere.csv", "--name", "x", "--patient", "MRN"), "WR-DATA-010"),
        (("ehr.csv", "--name", "x"), "WR-DATA-029"),
        (("ehr.csv", "--name", "x", "--patient", "Nobody"), "WR-DATA-014"),
        (("study.toml", "--name", "x", "--patient", "MRN"), "WR-DATA-028"),
    ],
)
def test_a_source_that_cannot_be_read_is_not_kept(
    agent: Path, study: Path, tmp_path: Path, command: Command, words: tuple[str, ...], code: str
) -> None:
    write_ehr(tmp_path)
    place, *rest = words
    done = command("site", "data", "add", agent, tmp_path / place, *rest)
    assert done.code == 1 and code in done.err
    assert not (agent / "mapping.toml").exists()


def test_suggestions_come_with_reasons_and_map_nothing(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    place = write_ehr(tmp_path)
    command("site", "data", "add", agent, place, "--name", "ehr", "--patient", "MRN")
    before = (agent / "mapping.toml").read_bytes()
    asked = ("--concept", "total_cholesterol", "--concept", "body_mass_index")
    done = command("site", "data", "suggest", agent, *asked, "--json")
    found = json.loads(done.out)
    assert found["total_cholesterol"][0]["field"] == "Cholesterin (mg/dl)"
    assert found["total_cholesterol"][0]["reasons"]
    assert found["body_weight"][0]["field"] == "Gewicht (kg)", "what an index is computed from"
    assert (agent / "mapping.toml").read_bytes() == before


def test_what_can_be_computed_is_said_to_be_there_in_another_way(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    drawn = random.Random(1)
    rows = (
        f"p{n};01.02.{1930 + n};{drawn.choice('mw')};{drawn.gauss(1, 0.2):.2f}" for n in range(60)
    )
    lines = ["MRN;Geburtsdatum;Geschlecht;Kreatinin (mg/dl)", *rows]
    (tmp_path / "k.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command("site", "data", "add", agent, tmp_path / "k.csv", "--name", "k", "--patient", "MRN")
    done = command("site", "data", "suggest", agent, "--concept", "egfr")
    assert "egfr: not directly; it can be computed from creatinine, age_years, sex." in done.err
    assert "age_years: not directly; it can be computed from birth_date." in done.err
    assert "What the likeliest would be:" in done.err
    nothing = command("site", "data", "suggest", agent, "--concept", "pregnancy")
    assert nothing.out == "" and "pregnancy: no field resembles it." in nothing.err
    assert "No field is likely enough to name." in nothing.err


def test_before_any_source_the_remedy_is_to_add_one(agent: Path, command: Command) -> None:
    done = command("site", "data", "profile", agent)
    assert done.code == 1 and "Add a source first" in done.err


def test_a_special_case_is_suggested_with_its_caution_and_without_a_command(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    lines = ["MRN;type 2 diabetes", *(f"p{n};{'yes' if n % 3 else 'no'}" for n in range(60))]
    (tmp_path / "dm.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command("site", "data", "add", agent, tmp_path / "dm.csv", "--name", "dm", "--patient", "MRN")
    asked = ("site", "data", "suggest", agent, "--concept", "diabetes")
    first = json.loads(command(*asked, "--json").out)["diabetes"][0]
    assert (first["field"], first["concept"]) == ("type 2 diabetes", "diabetes_type_2")
    assert first["reasons"][0].endswith("yes is certain, no is not")
    done = command(*asked)
    assert f"{first['score']:.3f}" in done.out
    assert "data map" not in done.err, "who would then be without diabetes is a person's question"


def test_mapping_shows_values_before_and_after(mapped: Path, command: Command) -> None:
    words = MAPPED[5][1:]
    done = command("site", "data", "map", mapped, "ehr", "total_cholesterol", *words, "--json")
    shown = json.loads(done.out)
    assert "molar mass of cholesterol" in " ".join(shown["path"])
    assert len(shown["before"]) == len(shown["after"]) == 5
    assert shown["before"][0] == "0 mg/dl"
    assert shown["after"][0].startswith("set aside")
    dated = command("site", "data", "map", mapped, "ehr", *MAPPED[0], "--json")
    first = json.loads(dated.out)
    assert date.fromisoformat(first["after"][0]).strftime("%d.%m.%Y") == first["before"][0]


def test_a_mapping_that_fails_leaves_the_file_as_it_was(mapped: Path, command: Command) -> None:
    before = (mapped / "mapping.toml").read_bytes()
    for words in (
        ("body_weight", "--column", "Gewicht (kg)", "--unit", "furlong"),
        ("body_weight", "--column", "Gone", "--unit", "kg"),
        ("no_such_concept", "--column", "Gewicht (kg)"),
    ):
        assert command("site", "data", "map", mapped, "ehr", *words).code == 1
        assert (mapped / "mapping.toml").read_bytes() == before


def test_checks_find_the_zeros_and_say_n_of_m(mapped: Path, study: Path, command: Command) -> None:
    done = command("site", "data", "check", mapped, "--study", study, "--json")
    found = json.loads(done.out)
    assert (found["used"], found["records"]) == (133, 200)
    assert "zero_coded" in {one["check"] for one in found["findings"]}
    assert CANARY not in done.out + done.err
    preview = command("site", "data", "preview", mapped, "--study", study, "--json")
    ways = json.loads(preview.out)["paths"]
    assert "Age in completed years" in ways["age_years"][-1]
    (read,) = json.loads(preview.out)["reads"]
    digest = hashlib.sha256((mapped / ".." / "ehr.csv").resolve().read_bytes()).hexdigest()
    assert read["source"] == "ehr" and read["rows"] == 200
    assert [part["digest"] for part in read["parts"]] == [f"sha256:{digest}"]
    shown = command("site", "data", "preview", mapped, "--study", study)
    assert "Read from ehr: 200 rows" in shown.err


def test_a_zero_that_means_none_can_be_said(mapped: Path, study: Path, command: Command) -> None:
    words = (*MAPPED[5], "--missing", "0")
    assert command("site", "data", "map", mapped, "ehr", *words).code == 0
    done = command("site", "data", "check", mapped, "--study", study, "--json")
    assert "zero_coded" not in {one["check"] for one in json.loads(done.out)["findings"]}


def test_a_block_stops_and_a_signed_override_lets_it_pass(
    mapped: Path, study: Path, command: Command
) -> None:
    command("site", "data", "map", mapped, "ehr", *MAPPED[5], "--missing", "0")
    policy = mapped / "hospital.toml"
    strict = "\n[quality]\nmissing_warn = 0.05\nmissing_block = 0.2\n"
    policy.write_text(policy.read_text() + strict, encoding="utf-8")
    blocked = command("site", "data", "check", mapped, "--study", study)
    assert blocked.code == 1 and "WR-DATA-071" in blocked.err
    home = SiteHome(mapped)
    home.approve(Study.load(study), mapped / "mapping.toml", (), TODAY)
    with pytest.raises(WardroundErrors) as refused:
        home.custody(home.records.table)
    assert "WR-DATA-071" in {one.code for one in refused.value.errors}
    done = command(
        "site", "data", "override", mapped, "missingness", "total_cholesterol",
        "--reason", "The laboratory confirmed that it was not ordered.",
        "--steward", "Dr. Example", "--study", study,
    )  # fmt: skip
    assert done.code == 0, done.err
    again = command("site", "data", "check", mapped, "--study", study, "--json")
    assert again.code == 0
    passed = SiteHome(mapped).records.findings
    assert any(one.override and "Dr. Example" in one.override for one in passed)


def test_the_page_is_for_the_hospital(mapped: Path, study: Path, command: Command) -> None:
    assert command("site", "data", "profile", mapped, "--study", study).code == 0
    page = mapped / "reports" / "profile.html"
    text = re.sub(r"<[^>]+>|\s+", " ", page.read_text(encoding="utf-8"))
    born = re.search(
        r"before\s+((?:\d\d\.\d\d\.\d{4}\s+){5}).*?after\s+((?:[\d-]{10}\s+){5})", text
    )
    assert born, "five dates before, and the same five after"
    before = [f"{d[6:]}-{d[3:5]}-{d[:2]}" for d in born[1].split()]
    assert born[2].split() == before
    assert "stays in the hospital" in page.read_text(encoding="utf-8").lower()
    assert page.stat().st_mode & 0o077 == 0


def test_a_renamed_column_voids_the_approval_and_is_named(mapped: Path, study: Path) -> None:
    home = SiteHome(mapped)
    home.approve(Study.load(study), mapped / "mapping.toml", (), TODAY)
    assert SiteHome(mapped).mapping.field("body_weight") is not None
    write_ehr(mapped.parent, HEADER.replace("Gewicht (kg)", "Gewicht (g)"))
    with pytest.raises(WardroundError) as refused:
        _ = SiteHome(mapped).mapping
    assert refused.value.code == "WR-SITE-017"
    assert "'Gewicht (kg)'" in refused.value.problem


def test_a_column_of_another_type_voids_the_approval(tmp_path: Path) -> None:
    home = SiteHome.create(tmp_path / "agent", SiteName("harbour"))
    base = tmp_path / "ehr.db"
    with sqlite3.connect(base) as connection:
        connection.execute("CREATE TABLE labs (mrn TEXT, chol REAL)")
        connection.execute("INSERT INTO labs VALUES ('a', 200.0)")
    text = (
        'version = 1\n[[sources]]\nname = "labs"\nkind = "sql"\nurl = "sqlite:///ehr.db"\n'
        'table = "labs"\npatient = "mrn"\n[[sources.fields]]\nconcept = "total_cholesterol"\n'
        'column = "chol"\nunit = "mg/dL"\n'
    )
    path = tmp_path / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    sealed = home.mapping_approval_path
    first = approve_mapping(sealed, Mapping.load(path), tmp_path, home.signing_key, TODAY)
    assert first.version == 1
    with sqlite3.connect(base) as connection:
        connection.execute("DROP TABLE labs")
        connection.execute("CREATE TABLE labs (mrn TEXT, chol TEXT)")
        connection.execute("INSERT INTO labs VALUES ('a', '200 mg')")
    (home.folder / "site.toml").write_text(f'name = "harbour"\nmapping = "{path}"\n')
    with pytest.raises(WardroundError) as refused:
        _ = SiteHome(home.folder).mapping
    assert refused.value.code == "WR-SITE-017" and "'chol'" in refused.value.problem
    second = approve_mapping(sealed, Mapping.load(path), tmp_path, home.signing_key, TODAY)
    assert load_approval(sealed, home.signing_key.public) == second
    assert second.version == 2


def test_records_are_compared_with_what_the_last_run_opened(
    mapped: Path, study: Path, tmp_path: Path
) -> None:
    """The signed model in the reports folder carries the federation's histograms."""
    sealed = Study.load(study)
    edges = [2.0, 4.0, 6.0, 8.0, 10.0]
    feature = {
        "name": "total_cholesterol",
        "histogram": {"edges": edges, "counts": [0.0, 0.0, 20.0, 980.0]},
    }
    statistics = {"features": [feature], "records": {"train": 1000, "train_cases": 500}}
    candidate = Candidate(
        model={"coefficients": np.zeros(5), "centre": np.zeros(4), "scale": np.ones(4)},
        description={"kind": "logistic"},
        evaluation={},
        statistics=statistics,
    )
    model = mapped / "reports" / "model"
    key = studies.KEYS["coordinator"]
    save_model(model, candidate, sealed, RunId("run"), key)
    home = SiteHome(mapped)
    home.approve(sealed, mapped / "mapping.toml", (), TODAY)
    (drift,) = [one for one in home.records.findings if one.concept and one.check is Check.DRIFT]
    assert (drift.concept, drift.level) == ("total_cholesterol", Level.BLOCK)
    (model / "model.json").write_bytes((model / "model.json").read_bytes() + b" ")
    with pytest.raises(WardroundError, match="WR-GOV-011"):
        _ = SiteHome(mapped).records


def test_a_draft_of_a_study_is_enough_to_check(mapped: Path, study: Path, command: Command) -> None:
    text = re.sub(r"(?m)^(signing_key|ca|url) = .*\n", "", study.read_text(encoding="utf-8"))
    draft = study.with_name("draft.toml")
    draft.write_text(text, encoding="utf-8")
    assert command("site", "data", "check", mapped, "--study", draft, "--json").code == 0


def test_a_decimal_comma_is_seen_and_said(agent: Path, tmp_path: Path, command: Command) -> None:
    lines = ["MRN;Gewicht (kg)", *(f"p{number};{70 + number},5" for number in range(30))]
    (tmp_path / "de.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("--name", "de", "--patient", "MRN")
    done = command("site", "data", "add", agent, tmp_path / "de.csv", *words)
    assert "decimal ','" in done.err
    mapped = ("body_weight", "--column", "Gewicht (kg)", "--unit", "kg", "--json")
    shown = json.loads(command("site", "data", "map", agent, "de", *mapped).out)
    assert (shown["before"][0], shown["after"][0]) == ("70,5 kg", "70.5 kg")


@pytest.mark.parametrize(
    ("slips", "utf8", "guess"),
    [(3, 400, "utf-8"), (400, 3, "windows-1252"), (1, 0, "windows-1252")],
)
def test_a_few_bytes_do_not_change_the_guess_of_the_encoding(
    agent: Path, tmp_path: Path, command: Command, slips: int, utf8: int, guess: str
) -> None:
    path = tmp_path / "labs.csv"
    good, bad = "p{},Zoë,5\n", b"p,Zo\xeb,6\n"
    plain = b"".join(b"q%d,b,7\n" % number for number in range(400))
    text = "".join(map(good.format, range(utf8))).encode()
    path.write_bytes(b"id,name,value\n" + plain + bad * slips + text)
    added = command("site", "data", "add", agent, path, "--name", "labs", "--patient", "id")
    assert f"encoding '{guess}'" in added.err
    assert ("not utf-8: 3, set aside" in added.err) == (guess == "utf-8")


def test_the_command_for_a_long_table_is_one_that_works(
    agent: Path, tmp_path: Path, command: Command
) -> None:
    with sqlite3.connect(agent / "labs.db") as connection:
        connection.execute("CREATE TABLE l (pat TEXT, test TEXT, result REAL, unit TEXT)")
        rows = [(f"p{n}", "CHOL", 190.0 + n, "mg/dl") for n in range(40)]
        connection.executemany("INSERT INTO l VALUES (?, ?, ?, ?)", rows)
    place = ("sqlite:///labs.db", "--name", "labs", "--table", "l", "--patient", "pat")
    assert command("site", "data", "add", agent, *place).code == 0
    long = ("--by", "test", "--value", "result", "--unit-column", "unit")
    done = command("site", "data", "suggest", agent, *long, "--concept", "total_cholesterol")
    line = done.err.splitlines()[-1].partition("wardround ")[2]
    assert command(*shlex.split(line)).code == 0
    assert Mapping.load(agent / "mapping.toml").field("total_cholesterol") is not None


def test_only_what_blocks_can_be_let_pass(mapped: Path, study: Path, command: Command) -> None:
    words = ("--reason", "A reason in a whole sentence.", "--steward", "Dr. Example")
    done = command(
        "site", "data", "override", mapped, "missingness", "body_weight", *words, "--study", study
    )
    assert done.code == 1 and "WR-DATA-079" in done.err


def test_an_interrupt_keeps_nothing_that_nobody_confirmed(
    mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (mapped / "mapping.toml").read_bytes()
    onboarding = Onboarding(SiteHome(mapped))

    def interrupted(_concept: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(onboarding, "shown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        onboarding.map("ehr", {"concept": "body_height", "column": "Gewicht (kg)", "unit": "cm"})
    assert (mapped / "mapping.toml").read_bytes() == before


def test_an_override_is_signed_with_the_figure_that_the_steward_saw(
    mapped: Path, study: Path, command: Command
) -> None:
    command("site", "data", "map", mapped, "ehr", *MAPPED[5], "--missing", "0")
    policy = mapped / "hospital.toml"
    strict = "\n[quality]\nmissing_warn = 0.05\nmissing_block = 0.2\n"
    policy.write_text(policy.read_text() + strict, encoding="utf-8")
    done = command(
        "site", "data", "override", mapped, "missingness", "total_cholesterol",
        "--reason", "The laboratory confirmed that it was not ordered.",
        "--steward", "Dr. Example", "--study", study,
    )  # fmt: skip
    assert done.code == 0, done.err
    home = SiteHome(mapped)
    signed = json.loads(base64.b64decode(json.loads(home.overrides_path.read_bytes())["payload"]))
    (statement,) = signed["overrides"]
    assert 0.2 < statement["badness"] < 1


@pytest.mark.parametrize("name", ["ehr.db", "EHR.SQLITE", "ehr.sqlite3"])
def test_an_sqlite_file_is_known_by_its_name(
    agent: Path, tmp_path: Path, command: Command, name: str
) -> None:
    with sqlite3.connect(tmp_path / name) as connection:
        connection.execute("CREATE TABLE l (pat TEXT, weight REAL)")
        connection.execute("INSERT INTO l VALUES ('p1', 70.5)")
    words = ("--name", "ehr", "--table", "l", "--patient", "pat")
    done = command("site", "data", "add", agent, tmp_path / name, *words)
    assert done.code == 0, done.err
    (source,) = Mapping.load(agent / "mapping.toml").sources
    assert (source.kind, source.url) == ("sql", f"sqlite:///{tmp_path / name}")  # type: ignore[union-attr]
    assert f"The database is {tmp_path / name}" in done.err


def test_a_relative_address_says_which_file_it_means(
    agent: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labs.db").touch()  # not this one: the address is the mapping's
    words = ("sqlite:///labs.db", "--name", "labs", "--table", "l", "--patient", "pat")
    lost = command("site", "data", "add", agent, *words)
    assert "WR-DATA-010" in lost.err and str(agent / "labs.db") in "".join(lost.err.split())
    with sqlite3.connect(agent / "labs.db") as connection:
        connection.execute("CREATE TABLE l (pat TEXT, weight REAL)")
        connection.execute("INSERT INTO l VALUES ('p1', 70.5)")
    done = command("site", "data", "add", agent, *words)
    assert f"The database is {agent / 'labs.db'}" in done.err


def test_an_omop_database_in_a_file_is_an_address(tmp_path: Path) -> None:
    (tmp_path / "cdm.db").touch()
    found = describe_place(str(tmp_path / "cdm.db"), tmp_path, "omop")
    assert found == {"kind": "omop", "url": "sqlite:///cdm.db"}


def test_a_folder_in_the_mappings_place_is_said(
    agent: Path, study: Path, tmp_path: Path, command: Command
) -> None:
    place = write_ehr(tmp_path)
    (agent / "mapping.toml").unlink(missing_ok=True)
    (agent / "mapping.toml").mkdir()
    for words in (
        ("add", agent, place, "--name", "ehr", "--patient", "MRN"),
        ("map", agent, "ehr", "body_weight", "--column", "x"),
        ("profile", agent),
        ("check", agent, "--study", study),
    ):
        done = command("site", "data", *words)
        assert done.code == 1 and "WR-DATA-086" in done.err, done.err


def test_the_steward_sees_small_counts_and_nobody_else(
    mapped: Path, study: Path, command: Command
) -> None:
    rows = (mapped / ".." / "ehr.csv").resolve()
    lines = rows.read_text(encoding="utf-8").splitlines()
    weight = lines[0].split(";").index("Gewicht (kg)")
    for number in (1, 2, 3):
        cells = lines[number].split(";")
        cells[weight] = "7000"
        lines[number] = ";".join(cells)
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    policy = mapped / "hospital.toml"
    strict = "\n[quality]\nrange_warn = 0.0\nrange_block = 0.01\n"
    policy.write_text(policy.read_text() + strict, encoding="utf-8")
    done = command("site", "data", "check", mapped, "--study", study)
    screen = " ".join(done.out.split())
    assert "3 of 200 values" in screen
    error = done.err[done.err.index("WR-DATA-072") :]
    assert "<5 of" in error and "3 of" not in error
    sent = command("site", "data", "check", mapped, "--study", study, "--json").out
    listed = json.JSONDecoder().raw_decode(sent)[0]["findings"]
    (found,) = [one for one in listed if one["check"] == "plausible_range"]
    assert found["figures"]["count"] == "<5" and "3 of" not in sent

    home = SiteHome(mapped)
    home.approve(Study.load(study), mapped / "mapping.toml", (), TODAY)
    with pytest.raises(WardroundErrors) as refused:  # what the door answers, and the agent logs
        home.custody(home.records.table)
    (blocked,) = [one for one in refused.value.errors if one.path == "plausible_range"]
    assert "<5 of" in blocked.problem and "3 of" not in str(blocked)
    with pytest.raises(WardroundError) as past:  # to end a run the records need not be good
        home.custody(home.records.table, to_end=True)
    assert past.value.code == "WR-SITE-005", "but enrolled it must be"


def served(monkeypatch: pytest.MonkeyPatch, count: int = 20) -> FhirServerDouble:
    """A hospital's server in this process, in place of the one at its address."""
    double = FhirServerDouble("http://127.0.0.1:9/fhir", patients(count))
    for one in double.records:
        if one["resourceType"] == "Patient":
            one["birthDate"] = "1950-01-01"
            one["gender"] = "female"

    def connect(source: FhirServerSource, folder: Path, limits: Limits | None = None) -> FhirServer:
        access = None
        if source.client_id is not None and source.client_key is not None:
            key = ClientKey.load(folder / source.client_key)
            access = SmartBackend(Client(source.client_id, key))
        return FhirServer(source.url, InProcess(double.app()), access, limits=limits)

    monkeypatch.setattr("wardround.clinical.survey.connect", connect)
    return double


def test_a_server_is_asked_before_it_is_kept(
    agent: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("site", "data", "add", agent, "http://127.0.0.1:1/fhir", "--name", "hs")
    refused = command(*words)  # nobody listens there
    assert refused.code == 1 and "WR-DATA-060" in refused.err
    assert not (agent / "mapping.toml").exists()
    double = served(monkeypatch)
    double.fhir_version = "5.0.0"
    assert "WR-DATA-066" in command(*words).err
    double.fhir_version = "4.0.1"
    double.keys = {"k": ec.generate_private_key(ec.SECP384R1()).public_key()}
    assert "WR-DATA-062" in command(*words).err  # it asks who is there, and every search is refused
    assert not (agent / "mapping.toml").exists()


def test_a_server_is_asked_under_the_agents_own_name(
    agent: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = served(monkeypatch)
    key = ec.generate_private_key(ec.SECP384R1())
    secret = base64.urlsafe_b64encode(key.private_numbers().private_value.to_bytes(48))
    jwk = ClientKey(key, "k").public_jwk() | {"d": secret.decode().rstrip("="), "kid": "k"}
    (agent / "client.jwk").write_text(json.dumps(jwk), encoding="utf-8")
    double.keys = {"k": key.public_key()}
    words = ("site", "data", "add", agent, double.base, "--name", "hs")
    added = command(*words, "--client-id", "wardround", "--client-key", "client.jwk")
    assert added.code == 0 and "3 fields" in added.err
    assert 'client_key = "client.jwk"' in (agent / "mapping.toml").read_text(encoding="utf-8")


def test_a_sample_of_a_server_is_described_and_suggested(
    agent: Path, study: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = served(monkeypatch)
    added = command("site", "data", "add", agent, double.base, "--name", "hs")
    assert added.code == 0
    for shown in ("hs: Patient.birthDate", "hs: Patient.gender", "http://loinc.org|29463-7", "kg"):
        assert shown in added.out
    assert "3 fields" in added.err and "a sample of the server" in added.err
    profiled = command("site", "data", "profile", agent)
    assert "29463-7" in profiled.out and "a sample of the server" in profiled.err
    found = command("site", "data", "suggest", agent, "--study", study)
    assert "body_weight --element Observation.value --code" in found.err
    assert "a sample of the server" in found.err


def test_a_sample_has_an_end_and_a_refused_type_is_passed_over(
    agent: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = served(monkeypatch, 3000)
    double.faults.append((r"/Condition\?", outcome(404, "not-supported")))
    answer = command("site", "data", "add", agent, double.base, "--name", "hs", "--json")
    assert json.loads(answer.out)["fields"] == 3
    asked = [path for _, path, _ in double.requests]
    assert sum("/Observation?" in path for path in asked) == 10  # pages of a hundred
    assert all("_count=1000" in path for path in asked if "?" in path)


def test_who_is_excluded_is_left_out_of_what_is_shown(
    mapped: Path, study: Path, command: Command, tmp_path: Path
) -> None:
    before = json.loads(command("site", "data", "preview", mapped, "--study", study, "--json").out)
    home = SiteHome(mapped)
    home.approve(Study.load(study), mapped / "mapping.toml", (), TODAY)
    refusals = tmp_path / "refusals.txt"
    refusals.write_text("".join(f"{CANARY}{number:03d}\n" for number in (1, 2, 4, 5, 7, 8)))
    assert command("site", "exclude", mapped, refusals).code == 0
    for name in ("check", "preview"):
        shown = command("site", "data", name, mapped, "--study", study)
        assert "6 excluded by the hospital" in shown.err and CANARY not in shown.err + shown.out
        answer = command("site", "data", name, mapped, "--study", study, "--json").out
        found = json.JSONDecoder().raw_decode(answer)[0]
        assert (found["used"], found["records"]) == (before["used"] - 6, before["records"])
    assert found["set_aside"]["excluded"] == 6
    plain = tomllib.loads(study.read_text(encoding="utf-8")) | {"id": "another-study"}
    study.write_text(studies.toml(plain), encoding="utf-8")
    other = json.loads(command("site", "data", "preview", mapped, "--study", study, "--json").out)
    assert other["used"] == before["used"], "the list is for another study"


@pytest.mark.parametrize(
    ("used", "records", "set_aside", "shown"),
    [
        (300, 300, {}, 300),
        (290, 300, {"excluded": 10}, 290),
        (299, 300, {"excluded": 1}, ">295"),
        (289, 300, {"excluded": 1, "no_date": 10}, ">285"),
        (298, 300, {"excluded": 1, "no_date": 1}, ">291"),
        (5, 9, {}, ">4"),
    ],
)
def test_a_small_count_cannot_be_worked_out_from_the_others(
    used: int, records: int, set_aside: dict[str, int], shown: int | str
) -> None:
    said, reasons = public_usage(used, records, set_aside)
    assert said == shown
    assert all(reasons[one] == ("<5" if 0 < n < 5 else n) for one, n in set_aside.items())
    assert public_usage(3, 300, {"excluded": 297}) == ("<5", {"excluded": "(withheld)"})


def test_a_preview_that_is_passed_on_hides_small_counts(
    mapped: Path, study: Path, command: Command
) -> None:
    ehr = (mapped / ".." / "ehr.csv").resolve()
    lines = ehr.read_bytes().split(b"\n")
    lines[1] += b"\xff"  # a line of which one byte is no text
    ehr.write_bytes(b"\n".join(lines))
    shown = command("site", "data", "preview", mapped, "--study", study)
    assert "1 set aside: the line holds a byte" in shown.err
    sent = json.loads(command("site", "data", "preview", mapped, "--study", study, "--json").out)
    assert sent["set_aside"]["wrong_encoding"] == "<5" and sent["used"].startswith(">")
