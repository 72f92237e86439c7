"""A hospital's own folder for tests, as its commands make it: keys, papers, records, enrolment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ward import SITES, TODAY, plan, table
from wardround.ids import SiteName
from wardround.simulation.inprocess import Keys
from wardround.site.home import Invitation, SiteHome
from wardround.study import Study
from wardround.trust.authority import make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

ME = SITES[0]

MAPPING = """\
version = 1

[[sources]]
name = "biopsies"
kind = "csv"
files = ["biopsies.csv"]
patient = "id"

[[sources.fields]]
concept = "radius_mean"
column = "radius"
unit = "um"

[[sources.fields]]
concept = "texture_mean"
column = "texture"
unit = "1"

[[sources.fields]]
concept = "malignant"
column = "malignant"
value_map = { yes = true, no = false }
"""


class Steward:
    """One hospital's folder, with the keys of the whole study beside it.

    ``records`` patients are called ``harbour-0`` and so on; one more has no readable value.
    """

    def __init__(
        self,
        folder: Path,
        keys: Keys | None = None,
        study: Study | None = None,
        me: SiteName = ME,
        records: int = 60,
    ) -> None:
        self.me = me
        self.keys = keys or Keys.generate(SITES)
        self.study = study or self.keys.seal(plan())
        SiteHome.create(folder / me, me)
        self.folder = folder / me
        signing_key = self.folder / "keys" / "signing.key"
        signing_key.unlink()
        self.keys.sites[me].save(signing_key)
        (self.folder / "hospital.toml").write_text(
            'accepted_profiles = ["secure-sum"]\nrequired_limits = []\n', encoding="utf-8"
        )
        self.records = self.folder / "records"
        self.records.mkdir()
        self.mapping = self.records / "mapping.toml"
        self.mapping.write_text(MAPPING, encoding="utf-8")
        self.write_records(records)
        self.study_path = folder / "study.json"
        self.study_path.write_bytes(self.study.canonical())

    @property
    def home(self) -> SiteHome:
        """The folder, opened afresh."""
        return SiteHome(self.folder)

    def write_records(self, records: int) -> None:
        """The hospital's records, of which the last can't be used."""
        invented = table(self.me, records)
        lines = ["id,radius,texture,malignant"]
        for number, patient in enumerate(invented.patient_ids):
            radius, texture, case = (column[number] for column in invented.columns.values())
            lines.append(f"{patient},{radius:.6f},{texture:.6f},{'yes' if case else 'no'}")
        lines.append(f"{self.me}-unreadable,?,1,yes")
        (self.records / "biopsies.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def approve(self, excluded: tuple[str, ...] | None = None) -> None:
        """Sign the study, the mapping and the list."""
        self.home.approve(self.study, self.mapping, excluded, TODAY)

    def invitation(self, url: str = "https://localhost:1", token: str = "token") -> Invitation:
        """An invitation to the study."""
        ca = self.keys.authority.certificate_pem.decode()
        return Invitation(self.study.id, self.me, url, token, ca)

    def enrol(self, url: str = "https://localhost:1", keys: Keys | None = None) -> None:
        """Put an agent's papers there, without a coordinator; ``keys`` has another authority."""
        authority = (keys or self.keys).authority
        key = SigningKey.generate()
        identity = SpiffeId.of_site("localhost", self.study.id, self.me)
        certificate = authority.issue_agent(make_csr(key), identity, datetime.now(UTC))
        ca = authority.certificate_pem.decode()
        self.home.enrolled(replace(self.invitation(url), ca=ca), key, certificate)

    def ready(self, url: str = "https://localhost:1") -> SiteHome:
        """Approved and enrolled: the agent could start."""
        self.approve()
        self.enrol(url)
        return self.home

    def contents(self) -> dict[str, bytes]:
        """Every file of the folder."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != "agent.lock"
        }
