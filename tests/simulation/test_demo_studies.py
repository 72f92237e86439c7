"""The studies of the demonstration are valid, and say what a reader must know about them."""

import tomllib
from datetime import date
from pathlib import Path

import pytest

from studies import KEYS
from wardround.clinical.quality import Check
from wardround.simulation.demo_studies import DemoStudy, biopsies, heart_disease
from wardround.study import HospitalPolicy, Study

PLAYED = {"biopsies": biopsies(), "heart": heart_disease(Path("nowhere"))}
COORDINATOR: dict[str, object] = {
    "url": "https://localhost:8443",
    "signing_key": KEYS["coordinator"].public.text,
    "ca": "sha256:" + "ab" * 32,
}


def study(played: DemoStudy, folder: Path) -> Study:
    sites: list[dict[str, object]] = [
        {"name": name, "signing_key": key.public.text}
        for name, key in KEYS.items()
        if name != "coordinator"
    ]
    path = folder / "study.toml"
    path.write_text(played.toml(COORDINATOR, sites, date(2099, 12, 31)), encoding="utf-8")
    return Study.load(path)


@pytest.mark.parametrize("name", PLAYED)
def test_a_study_is_valid_with_its_parties_in_it(name: str, tmp_path: Path) -> None:
    agreed = study(PLAYED[name], tmp_path)
    assert len(agreed.sites) == 4
    assert PLAYED[name].notes


def test_the_heart_study_says_what_is_unusual_about_it(tmp_path: Path) -> None:
    played = PLAYED["heart"]
    agreed = study(played, tmp_path)
    assert agreed.model.folds == 5
    assert len(agreed.model.ridges) == 10
    assert "total_cholesterol" not in agreed.data.features
    assert agreed.disclosure.minimum_cell == 0
    said = " ".join(played.notes)
    assert all(word in said for word in ("Cholesterol", "minimum_cell = 0", "steward", "real"))


def test_the_hospitals_own_limits_allow_what_the_study_asks(tmp_path: Path) -> None:
    path = tmp_path / "hospital.toml"
    path.write_text('accepted_profiles = ["secure-sum"]\n' + PLAYED["heart"].hospital)
    assert HospitalPolicy.load(path).minimum_cell == 0
    assert tomllib.loads(PLAYED["biopsies"].hospital) == {}


def test_overrides_name_checks_and_give_reasons() -> None:
    for one in PLAYED["heart"].overrides:
        assert one.site == "switzerland"
        assert Check(one.check)
        assert len(one.reason) > 40
    assert not PLAYED["biopsies"].overrides
