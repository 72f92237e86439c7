"""What an agent's folder never loses, and which models it takes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorded_run import RUN, finished
from studies import KEYS, document
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.site.home import SiteHome
from wardround.site.local import keep_model
from wardround.study import Study

ME = SiteName("harbour")


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return SiteHome.create(tmp_path / "site", ME)


def test_a_signing_key_is_never_overwritten(home: SiteHome) -> None:
    before = home.signing_key.public.text
    with pytest.raises(WardroundError, match="WR-SITE-002"):
        SiteHome.create(home.folder, ME)
    assert SiteHome(home.folder).signing_key.public.text == before


def test_a_folder_without_a_site_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="WR-SITE-001"):
        SiteHome(tmp_path)


@pytest.mark.parametrize("name", ["North General", "north_general", "-north", "", "n" * 64])
def test_a_bad_name_is_refused_as_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-030") as refused:
        SiteHome.create(tmp_path / "site", SiteName(name))
    assert "spiffe" not in str(refused.value).lower()
    assert not (tmp_path / "site").exists()


def test_only_a_model_of_the_approved_study_under_the_coordinators_key_is_kept(
    home: SiteHome,
) -> None:
    run, evidence = finished()
    model = evidence.model
    told = {
        "description": model.description.decode(),
        "signature": json.loads(model.signature.to_json()),
        "run": RUN,
    }
    keep_model(home, run.study, told, model.weights)
    kept = sorted(one.name for one in (home.reports / "model").iterdir())
    assert kept == ["model.json", "model.safetensors", "model.sig.json"]
    wrong: list[tuple[Study, dict[str, object], bytes]] = [
        (run.study, {"description": told["description"]}, model.weights),
        (run.study, {"signature": told["signature"]}, model.weights),
        (run.study, {**told, "run": "an-earlier-one"}, model.weights),
        (Study.parse(document(version=2)), told, model.weights),
    ]
    for study, documents, weights in wrong:
        with pytest.raises(WardroundError, match="WR-SITE-051"):
            keep_model(home, study, documents, weights)
    with pytest.raises(WardroundError, match="WR-GOV-011"):
        keep_model(home, run.study, told, model.weights + b" ")
    with pytest.raises(WardroundError, match="WR-GOV-011"):  # signed by somebody else
        keep_model(home, study_of_another_coordinator(), told, model.weights)


def study_of_another_coordinator() -> Study:
    plain = document()
    plain["coordinator"]["signing_key"] = KEYS["harbour"].public.text
    plain["sites"][-1]["signing_key"] = KEYS["coordinator"].public.text
    return Study.parse(plain)
