"""What a steward lets pass: signed, for one study and one mapping, until one day."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from quality_records import TODAY, concept, facts, material
from wardround.clinical.quality import (
    Check,
    Finding,
    Level,
    Override,
    Overrides,
    apply,
    check,
    load_overrides,
    sign_overrides,
    summary,
    verdict,
)
from wardround.errors import WardroundError, WardroundErrors
from wardround.ids import SiteName, StudyId
from wardround.trust import SigningKey, canonical, digest
from wardround.trust.dsse import sign

KEY, OTHER_KEY = SigningKey.generate(), SigningKey.generate()
STUDY, SITE, MAPPING = StudyId("heart"), SiteName("zurich"), digest(b"mapping")
REASON = "Confirmed with the clinic: nearly all were referred with disease."
PASS = Override(Check.ONE_CLASS, "outcome", REASON, "A. Keller", TODAY, TODAY + timedelta(90), None)
SIGNED = Overrides(STUDY, SITE, MAPPING, (PASS,))


def findings() -> tuple[Finding, ...]:
    """One class only, and half of the lab values missing; enough patients."""
    lab = np.where(np.arange(100) < 60, np.nan, np.arange(100.0))
    return check(material(np.ones(100), facts(concept("lab"), lab)))


def refusal(path: Path, **changed: object) -> WardroundError:
    expected = {"study": STUDY, "site": SITE, "mapping": MAPPING, "key": KEY.public} | changed
    with pytest.raises(WardroundError) as caught:
        load_overrides(path, **expected)  # type: ignore[arg-type]
    assert REASON not in str(caught.value)
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "overrides.json"
    file.write_bytes(sign_overrides(SIGNED, KEY).to_json())
    return file


def test_what_was_signed_is_what_is_read(path: Path) -> None:
    assert load_overrides(path, STUDY, SITE, MAPPING, KEY.public) == SIGNED


def test_without_a_file_nothing_is_overridden(tmp_path: Path) -> None:
    nothing = load_overrides(tmp_path / "none.json", STUDY, SITE, MAPPING, KEY.public)
    assert apply(findings(), nothing, TODAY) == findings()


def test_an_overridden_block_warns_and_says_by_whom_and_why() -> None:
    before, after = findings(), apply(findings(), SIGNED, TODAY)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    ((was, now),) = changed
    assert (was.check, was.level, now.level) == (Check.ONE_CLASS, Level.BLOCK, Level.WARN)
    assert now.override == f"Let pass by A. Keller on 2026-11-25, until 2027-02-23: {REASON}"
    assert now.words == was.words


@pytest.mark.parametrize("concept_id", [None, "lab", "other"])
def test_an_override_holds_for_its_concept_alone(concept_id: str | None) -> None:
    other = replace(SIGNED, statements=(replace(PASS, concept=concept_id),))
    assert apply(findings(), other, TODAY) == findings()


def test_a_warning_needs_no_override_and_keeps_none() -> None:
    warns = Finding(Check.ONE_CLASS, Level.WARN, "outcome", "")
    assert apply([warns], SIGNED, TODAY) == (warns,)


def test_it_holds_from_its_day_to_its_last_day_only() -> None:
    def level(today: date) -> Level:
        return next(f for f in apply(findings(), SIGNED, today) if f.check is PASS.check).level

    assert [level(day) for day in (PASS.day, PASS.expires)] == [Level.WARN] * 2
    early, late = PASS.day - timedelta(1), PASS.expires + timedelta(1)
    assert [level(day) for day in (early, late)] == [Level.BLOCK] * 2
    with pytest.raises(WardroundErrors) as caught:
        verdict(apply(findings(), SIGNED, late))
    assert f"An override of it ended on {PASS.expires}." in str(caught.value)


def missing(share: float) -> Finding:
    """A finding with so many values missing out of a thousand patients."""
    lab = np.where(np.arange(1000) < 1000 * share, np.nan, np.arange(1000.0))
    outcome = (np.arange(1000) % 2).astype(float)
    found = check(material(outcome, facts(concept("lab"), lab)))
    return next(one for one in found if one.check is Check.MISSINGNESS)


@pytest.mark.parametrize("share", [0.55, 0.6, 0.74])
def test_it_holds_while_the_figure_changes_little(share: float) -> None:
    lab = replace(PASS, check=Check.MISSINGNESS, concept="lab", badness=missing(0.6).badness)
    (now,) = apply([missing(share)], replace(SIGNED, statements=(lab,)), TODAY)
    assert now.level is Level.WARN


def test_it_lapses_when_the_figure_got_much_worse_and_says_so() -> None:
    lab = replace(PASS, check=Check.MISSINGNESS, concept="lab", badness=missing(0.6).badness)
    found = apply([missing(0.8)], replace(SIGNED, statements=(lab,)), TODAY)
    with pytest.raises(WardroundErrors) as caught:
        verdict(found)
    assert "has lapsed" in str(caught.value)


@pytest.mark.parametrize(("rarer", "level"), [(8, Level.WARN), (7, Level.WARN), (6, Level.BLOCK)])
def test_fewer_patients_in_the_rarer_class_are_worse(rarer: int, level: Level) -> None:
    def finding(n: int) -> Finding:
        return Finding(Check.MINORITY_CLASS, Level.BLOCK, "outcome", "", "", {"rarer": n})

    eight = replace(PASS, check=Check.MINORITY_CLASS, badness=finding(8).badness)
    (now,) = apply([finding(rarer)], replace(SIGNED, statements=(eight,)), TODAY)
    assert now.level is level


def test_every_check_that_can_block_by_degrees_has_a_degree() -> None:
    """Of those that a steward may let pass, only an outcome of one class has none."""
    assert findings()[0].badness is None
    assert missing(0.6).badness == pytest.approx(0.6)
    drift = Finding(Check.DRIFT, Level.BLOCK, "lab", "", "", {"psi": 0.3, "chance_psi": 0.1})
    assert drift.badness == 0.3


# Forged, altered, foreign


def test_another_key_is_refused(path: Path) -> None:
    path.write_bytes(sign_overrides(SIGNED, OTHER_KEY).to_json())
    assert refusal(path).code == "WR-DATA-077"


def test_every_altered_byte_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert refusal(path).code == "WR-DATA-077"
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(path).code == "WR-DATA-077"


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "WR-DATA-077"


@pytest.mark.parametrize(
    "foreign",
    [{"study": "lungs"}, {"site": "geneva"}, {"mapping": digest(b"another version")}],
)
def test_what_holds_for_something_else_is_refused(path: Path, foreign: dict[str, str]) -> None:
    assert refusal(path, **foreign).code == "WR-DATA-078"


def test_another_kind_of_signed_document_is_refused(path: Path) -> None:
    envelope = sign_overrides(SIGNED, KEY)
    path.write_bytes(sign("application/json", envelope.payload, KEY).to_json())
    assert refusal(path).code == "WR-DATA-077"


PAYLOAD = json.loads(sign_overrides(SIGNED, KEY).payload)
STATEMENT = PAYLOAD["overrides"][0]


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD | {"more": 1},
        {name: value for name, value in PAYLOAD.items() if name != "mapping"},
        PAYLOAD | {"mapping": "sha256:0"},
        PAYLOAD | {"overrides": {}},
        PAYLOAD | {"overrides": [{k: value for k, value in STATEMENT.items() if k != "badness"}]},
        *(
            PAYLOAD | {"overrides": [STATEMENT | changed]}
            for changed in (
                {"check": "cohort_minimum"},
                {"check": "nothing"},
                {"reason": ""},
                {"concept": 7},
                {"day": "25.11.2026"},
                {"expires": "2099-01-01"},
                {"badness": "0.5"},
                {"badness": True},
                {"more": 1},
            )
        ),
    ],
)
def test_even_signed_nothing_but_the_exact_form_is_read(
    path: Path, payload: dict[str, object]
) -> None:
    path.write_bytes(
        sign("application/vnd.wardround.overrides+json", canonical(payload), KEY).to_json()  # type: ignore[arg-type]
    )
    assert refusal(path).code == "WR-DATA-077"


@pytest.mark.parametrize("never", [Check.COHORT_MINIMUM, Check.CELL_MINIMUM])
def test_what_protects_single_patients_cannot_be_overridden(never: Check) -> None:
    with pytest.raises(WardroundError) as caught:
        replace(PASS, check=never)
    assert caught.value.code == "WR-DATA-079"
    # Nor by an object that came into being some other way.
    forged = object.__new__(Override)
    for name, value in (vars(PASS) | {"check": never, "concept": None}).items():
        object.__setattr__(forged, name, value)
    block = Finding(never, Level.BLOCK, None, "")
    assert apply([block], replace(SIGNED, statements=(forged,)), TODAY) == (block,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reason": "ok"}, "no reason"),
        ({"reason": " " * 40}, "no reason"),
        ({"reason": "Two\nlines of a reason"}, "more than one line"),
        ({"reason": "x" * 501}, "over 500 letters"),
        ({"steward": " "}, "steward's name"),
        ({"expires": TODAY - timedelta(1)}, "ends before"),
        ({"expires": TODAY + timedelta(367)}, "more than a year after"),
    ],
)
def test_an_override_needs_a_reason_a_name_and_a_near_end(
    wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(WardroundError) as caught:
        replace(PASS, **wrong)  # type: ignore[arg-type]
    assert caught.value.code == "WR-DATA-079"
    assert said in caught.value.problem


# What follows


def test_the_verdict_lists_every_block_with_its_command() -> None:
    with pytest.raises(WardroundErrors) as caught:
        verdict(findings())
    assert [(e.code, e.path) for e in caught.value.errors] == [
        ("WR-DATA-071", "missingness"),
        ("WR-DATA-074", "one_class"),
    ]
    assert "wardround site data override FOLDER missingness lab --study STUDY" in str(caught.value)


def test_the_verdict_offers_no_command_where_there_is_none() -> None:
    with pytest.raises(WardroundErrors) as caught:
        verdict(check(material([0.0, 1.0], facts(concept("lab"), [1.0, 2.0]))))
    cohort = caught.value.errors[0]
    assert (cohort.code, "override " in cohort.remedy) == ("WR-DATA-075", False)
    assert "<5" in cohort.problem  # two patients are not told


def test_when_nothing_stands_there_is_no_error() -> None:
    lab = Override(Check.MISSINGNESS, "lab", REASON, "A. Keller", TODAY, TODAY, 0.6)
    verdict(apply(findings(), replace(SIGNED, statements=(PASS, lab)), TODAY))


def test_the_summary_holds_counts_and_overrides_only() -> None:
    assert summary(apply(findings(), SIGNED, TODAY)) == {
        "checks": {"ok": 10, "warn": 1, "block": 1, "not-checked": 9},
        "overrides": [
            {
                "check": "one_class",
                "concept": "outcome",
                "override": f"Let pass by A. Keller on 2026-11-25, until 2027-02-23: {REASON}",
            }
        ],
    }
