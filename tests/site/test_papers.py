"""An agent works with the papers of one hospital, one study, one coordinator, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recorded_run import finished
from studies import KEYS, document
from ward import table
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.site.home import Invitation, SiteHome
from wardround.site.local import keep_model
from wardround.site.serve import enrol
from wardround.study import Study, approve, sign_exclusions
from wardround.trust.authority import CertificateAuthority

ME = SiteName("harbour")
NOW = datetime.now(UTC)
AUTHORITY = CertificateAuthority.create("the study's", NOW)
STRANGER = CertificateAuthority.create("a stranger's", NOW)


def study_of(home: SiteHome, **changes: object) -> Study:
    plain = document(**changes)
    plain["coordinator"]["ca"] = AUTHORITY.sha256
    for site in plain["sites"]:
        if site["name"] == home.name:
            site["signing_key"] = home.signing_key.public.text
    return Study.parse(plain)


def invitation(
    home: SiteHome, authority: CertificateAuthority = AUTHORITY, **changes: str
) -> Invitation:
    facts = {"study": "breast-mass", "site": home.name, "url": "https://coordinator.example.org"}
    facts |= {"token": "token", "ca": authority.certificate_pem.decode(), **changes}
    return Invitation(**facts)


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    """A folder with every paper in order."""
    made = SiteHome.create(tmp_path / "site", ME)
    (made.folder / "hospital.toml").write_text('accepted_profiles = ["secure-sum"]\n')
    study, today = study_of(made), NOW.date()
    (made.papers / "study.json").write_bytes(study.canonical())
    approval = approve(study, ME, made.signing_key, today)
    (made.papers / "approval.json").write_bytes(approval.to_json())
    nobody = sign_exclusions(study.id, ME, (), made.signing_key, today)
    (made.papers / "exclusions.json").write_bytes(nobody.to_json())
    return enrolled(made)


def enrolled(
    home: SiteHome, authority: CertificateAuthority = AUTHORITY, **changes: str
) -> SiteHome:
    home.ca_path.write_bytes(authority.certificate_pem)
    home.enrolled(invitation(home, authority, **changes), b"")
    return SiteHome(home.folder)


def refusal(home: SiteHome) -> str | None:
    try:
        home.custody(table(ME))
    except WardroundError as error:
        return error.code
    return None


def test_with_every_paper_in_order_the_agent_works(home: SiteHome) -> None:
    assert refusal(home) is None


def test_another_authority_than_the_studys_is_never_worked_with(home: SiteHome) -> None:
    """Whoever hands over an invitation chooses the authority in it; the study's own is signed."""
    assert refusal(enrolled(home, STRANGER)) == "WR-SITE-006"


def test_an_enrolment_for_another_study_is_never_worked_with(home: SiteHome) -> None:
    assert refusal(enrolled(home, study="another")) == "WR-SITE-006"


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"no pem")])
def test_without_its_authority_the_agent_is_not_enrolled(home: SiteHome, spoil: object) -> None:
    spoil(home.ca_path)
    assert refusal(home) == "WR-SITE-005"


def test_without_an_approval_nothing_is_approved(home: SiteHome) -> None:
    (home.papers / "approval.json").unlink()
    assert refusal(home) == "WR-SITE-004"
    (home.papers / "study.json").unlink()
    assert refusal(SiteHome(home.folder)) == "WR-SITE-004"


def test_the_approval_of_another_version_is_none(home: SiteHome) -> None:
    (home.papers / "study.json").write_bytes(study_of(home, version=2).canonical())
    assert refusal(SiteHome(home.folder)) == "WR-STUDY-072"


def test_a_signing_key_is_never_overwritten(home: SiteHome) -> None:
    before = home.signing_key.public.text
    with pytest.raises(WardroundError, match="WR-SITE-002"):
        SiteHome.create(home.folder, ME)
    assert SiteHome(home.folder).signing_key.public.text == before


def test_a_folder_without_a_site_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(WardroundError, match="WR-SITE-001"):
        SiteHome(tmp_path)


async def test_the_invitation_of_another_hospital_is_not_used(home: SiteHome) -> None:
    """Nothing is sent (no coordinator listens), and no paper changes."""
    before = home.ca_path.read_bytes()
    with pytest.raises(WardroundError, match="WR-SITE-008"):
        await enrol(home, invitation(home, STRANGER, site="lakeside"))
    assert home.ca_path.read_bytes() == before


def test_only_a_model_of_the_approved_study_under_the_coordinators_key_is_kept(
    home: SiteHome,
) -> None:
    run, evidence = finished()
    model = evidence.model
    told = {
        "description": model.description.decode(),
        "signature": json.loads(model.signature.to_json()),
    }
    keep_model(home, run.study, told, model.weights)
    kept = sorted(one.name for one in (home.reports / "model").iterdir())
    assert kept == ["model.json", "model.safetensors", "model.sig.json"]
    wrong: list[tuple[Study, dict[str, object], bytes]] = [
        (run.study, {"description": told["description"]}, model.weights),
        (run.study, {"signature": told["signature"]}, model.weights),
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
