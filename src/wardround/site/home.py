"""The folder of a hospital's agent: keys, papers, records' mapping, state.

::

    site.toml          name, coordinator's address, where the mapping lies
    hospital.toml      the hospital's own limits (the steward's file)
    keys/              signing.key (the hospital's), agent.key, agent.pem, ca.pem, patients.key
    papers/            study.json, approval.json, exclusions.json, mapping.sig.json
    state.db, spool/   what was answered; packets on their way
    reports/           local_report.json, quarantine.csv, model/
"""

from __future__ import annotations

import fcntl
import json
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from wardround.clinical import ConceptGraph, FeatureTable, Mapping
from wardround.clinical.quality import load_overrides, verdict
from wardround.clinical.schema import shape_of
from wardround.errors import WardroundError
from wardround.governance.files import write_whole
from wardround.ids import SiteName, StudyId
from wardround.site.custody import Custody
from wardround.site.judging import (
    Records,
    federation_in,
    first_end,
    harmonised_of,
    judge,
    material_for,
)
from wardround.site.mapping_approval import (
    approve_mapping,
    load_approval,
    require_same_shape,
    unsigned_mapping,
)
from wardround.study import (
    Exclusions,
    HospitalPolicy,
    Study,
    approve,
    check_approval,
    combine,
    load_exclusions,
    refuse_if_incomplete,
    sign_exclusions,
)
from wardround.trust.canonical import digest, parse_json
from wardround.trust.dsse import Envelope
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey, write_new

_DER = Encoding.DER
_ANY_STUDY = StudyId("any")
PATIENT_KEY_BYTES = 32

HOSPITAL_TOML = """\
# What this hospital accepts. `wardround schema hospital` lists every key and its meaning.
# By default only profiles with differential privacy are accepted; the steward decides.
accepted_profiles = ["private", "clinical"]
"""


@dataclass(frozen=True)
class Invitation:
    """What the coordinator's operator hands to a hospital; the token in it works once."""

    study: str
    site: SiteName
    url: str
    token: str = field(repr=False)
    ca: str
    inspected: bool = False
    """Whether the operator agreed to a proxy that opens TLS between this hospital and it."""

    @classmethod
    def load(cls, path: Path) -> Invitation:
        """Read an invitation file; raises WR-SITE-003 for anything else."""
        try:
            document = parse_json(path.read_bytes())
            match document:
                case {
                    "study": str(study),
                    "site": str(site),
                    "url": str(url),
                    "token": str(token),
                    "ca": str(ca),
                    **more,
                } if url.startswith("https://"):  # never a plain line, whatever a proxy offers
                    inspected = more.get("inspected") is True
                    return cls(study, SiteName(site), url, token, ca, inspected)
        except (OSError, WardroundError):
            pass
        raise not_an_invitation(path)


def not_an_invitation(path: Path | None = None) -> WardroundError:
    """The refusal of a file or text that is no invitation."""
    return WardroundError(
        "WR-SITE-003",
        "This is not an invitation, or it can't be read.",
        "Ask the study's coordinator for the file that `wardround coordinator invite` wrote.",
        path=None if path is None else str(path),
    )


class SiteHome:
    """The agent's folder, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.papers = folder / "papers"
        self.reports = folder / "reports"
        try:
            settings = tomllib.loads((folder / "site.toml").read_text(encoding="utf-8"))
            self.name = SiteName(str(settings["name"]))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
            raise WardroundError(
                "WR-SITE-001",
                "This folder holds no site, or its site.toml can't be read.",
                "Give the folder that `wardround site init` made.",
                path=str(folder / "site.toml"),
            ) from error
        self.url = str(settings.get("url", ""))
        self.trust_study = str(settings.get("study", ""))
        self.mapping_path = Path(str(settings.get("mapping", "mapping.toml")))

    @classmethod
    def create(cls, folder: Path, name: SiteName) -> SiteHome:
        """A new folder with a signing key of its own; never overwrites one."""
        SpiffeId.of_site("localhost", _ANY_STUDY, name)
        if (folder / "site.toml").exists():
            raise WardroundError(
                "WR-SITE-002",
                "There is a site in this folder already.",
                "Choose another folder; a signing key is never overwritten.",
                path=str(folder),
            )
        for part in ("keys", "papers", "reports", "spool"):
            (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        SigningKey.generate().save(folder / "keys" / "signing.key")
        write_new(
            folder / "keys" / "patients.key", secrets.token_bytes(PATIENT_KEY_BYTES), mode=0o600
        )
        if not (folder / "hospital.toml").exists():
            write_whole(folder / "hospital.toml", HOSPITAL_TOML.encode())
        _write_settings(folder, {"name": name})
        return cls(folder)

    @cached_property
    def signing_key(self) -> SigningKey:
        """The hospital's long-lived key."""
        return SigningKey.load(self.keys / "signing.key")

    @property
    def agent_key_path(self) -> Path:
        """The key of the agent's certificate."""
        return self.keys / "agent.key"

    @property
    def certificate_path(self) -> Path:
        """The agent's certificate of a day."""
        return self.keys / "agent.pem"

    @property
    def ca_path(self) -> Path:
        """The coordinator's certificate authority."""
        return self.keys / "ca.pem"

    @property
    def inspecting_ca(self) -> Path | None:
        """The authority of the proxy that the steward lets open the connection, if any."""
        named = self.hospital.network.inspecting_proxy_ca
        return None if named is None else self.folder / named

    @property
    def exclusions_path(self) -> Path:
        """The signed list of patients who are left out."""
        return self.papers / "exclusions.json"

    @cached_property
    def hospital(self) -> HospitalPolicy:
        """The hospital's own limits."""
        return HospitalPolicy.load(self.folder / "hospital.toml")

    @cached_property
    def mapping(self) -> Mapping:
        """The mapping, exactly as the steward signed it, over sources of the shape they had then.

        Raises WR-SITE-007 where it isn't, WR-SITE-017 where a source has changed, naming how.
        """
        mapping = Mapping.load(self.mapping_file)
        key = self.signing_key.public  # what is wrong with the key is not the mapping's fault
        signed = load_approval(self.mapping_approval_path, key)
        if signed.mapping != mapping.digest:
            raise unsigned_mapping(self.mapping_file)
        require_same_shape(signed, shape_of(mapping, self.mapping_file.parent))
        return mapping

    @property
    def mapping_approval_path(self) -> Path:
        """Where the steward's signature over the mapping lies."""
        return self.papers / "mapping.sig.json"

    @property
    def overrides_path(self) -> Path:
        """Where the checks that the steward lets pass lie, signed."""
        return self.papers / "overrides.json"

    @property
    def mapping_file(self) -> Path:
        """Where the mapping lies; the hospital's records lie around it."""
        return self.folder / self.mapping_path

    @cached_property
    def study(self) -> Study:
        """The study that the steward approved."""
        try:
            return Study.from_json((self.papers / "study.json").read_bytes())
        except OSError as error:
            raise WardroundError(
                "WR-SITE-004",
                "No study has been approved at this site.",
                "The steward reads the study and approves it with `wardround site approve`.",
                path=str(self.papers / "study.json"),
            ) from error

    @property
    def is_enrolled(self) -> bool:
        """Whether the agent has papers from the coordinator of the approved study."""
        try:
            self.require_coordinator(self.study)
        except WardroundError:
            return False
        return self.certificate_path.exists()

    @property
    def has_study(self) -> bool:
        """Whether the steward has approved a study here."""
        return (self.papers / "study.json").exists()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only agent of this folder; raises WR-SITE-053 when one runs already.

        Two agents hold two sets of masking keys over one memory: a coordinator that asks each of
        them the same would open two totals with this hospital's contribution.
        """
        with (self.folder / "agent.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WardroundError(
                    "WR-SITE-053",
                    "An agent is running on this folder already.",
                    "Use that one, or stop it first.",
                    path=str(self.folder),
                ) from error
            yield

    def enrolled(self, invitation: Invitation, key: SigningKey, certificate: bytes) -> None:
        """Keep what enrolment brought, in place of what an earlier one did."""
        fresh = self.keys / "agent.key.new"
        fresh.unlink(missing_ok=True)  # of a try that the power cut short
        key.save(fresh)
        fresh.replace(self.agent_key_path)
        write_whole(self.certificate_path, certificate)
        write_whole(self.ca_path, invitation.ca.encode())
        _write_settings(
            self.folder,
            {
                "name": self.name,
                "url": invitation.url,
                "study": invitation.study,
                "mapping": str(self.mapping_path),
            },
        )

    def standing_exclusions(self, study: Study) -> Exclusions | None:
        """The signed list that stays in force under ``study``; None before there was any.

        Raises WR-SITE-062 when it is another study's, and the codes of `load_exclusions` when it
        is gone or damaged: who is left out is never forgotten by approving something again.
        """
        if not self.has_study and not self.exclusions_path.exists():
            return None
        key = self.signing_key.public
        try:
            return load_exclusions(self.exclusions_path, study.id, self.name, key)
        except WardroundError as error:
            if error.code != "WR-STUDY-083":
                raise
            raise WardroundError(
                "WR-SITE-062",
                "The list of excluded patients that is signed here is for another study.",
                "Say who is left out of this one with --exclude; an empty file means nobody.",
                path=str(self.exclusions_path),
            ) from error

    def approve(
        self, study: Study, mapping: Path, excluded: tuple[str, ...] | None, today: date
    ) -> None:
        """The steward's signatures: over the study, the mapping and the exclusion list.

        With None for ``excluded`` a list that is signed already stays, and a first one is empty.
        """
        key = self.signing_key
        if excluded is None and self.standing_exclusions(study) is None:
            excluded = ()
        combine(study, self.hospital)
        envelope = approve(study, self.name, key, today)
        read = Mapping.load(mapping)
        approve_mapping(self.mapping_approval_path, read, mapping.parent, key, today)
        if excluded is not None:
            exclusions = sign_exclusions(study.id, self.name, excluded, key, today)
            write_whole(self.exclusions_path, exclusions.to_json())
        write_whole(self.papers / "study.json", study.canonical())
        write_whole(self.papers / "approval.json", envelope.to_json())
        _write_settings(
            self.folder,
            {
                "name": self.name,
                "url": self.url,
                "study": self.trust_study,
                "mapping": str(mapping.resolve()),
            },
        )

    def exclude(self, excluded: tuple[str, ...], today: date) -> None:
        """Sign a new exclusion list for the approved study; it counts from the next answer on."""
        envelope = sign_exclusions(self.study.id, self.name, excluded, self.signing_key, today)
        write_whole(self.exclusions_path, envelope.to_json())

    def exclusions(self) -> Exclusions:
        """Who is left out of the approved study; raises the codes of `load_exclusions`."""
        key = self.signing_key.public
        return load_exclusions(self.exclusions_path, self.study.id, self.name, key)

    @cached_property
    def records(self) -> Records:
        """The hospital's records as the study's features, and what the checks found in them.

        Who can't be used is set aside; what blocks stops the study in :meth:`custody`.
        """
        study, mapping = self.study, self.mapping
        today = datetime.now(UTC).date()
        harmonised = harmonised_of(
            mapping, self.mapping_file.parent, ConceptGraph.load(), study.data.needed
        )
        known = federation_in(self.reports / "model", study)
        material = material_for(study, harmonised, today, known)
        overrides = load_overrides(
            self.overrides_path, study.id, self.name, mapping.digest, self.signing_key.public
        )
        findings = judge(self.hospital, study, overrides, material, today)
        return Records(material.table, findings, first_end(findings, overrides, today))

    def read_records(self) -> FeatureTable:
        """The hospital's records as the study's features."""
        return self.records.table

    def custody(self, table: FeatureTable, *, to_end: bool = False) -> Custody:
        """Everything that the door works with; raises where a paper is missing or void.

        Who starts ``to_end`` a run starts whatever was found in the records: since the run was
        opened they are compared with the federation's. The door judges before each answer.
        """
        study, key = self.study, self.signing_key
        if not to_end:
            verdict(self.records.findings)
        refuse_if_incomplete(study)
        combine(study, self.hospital)
        try:
            approval = Envelope.from_json((self.papers / "approval.json").read_bytes())
        except OSError as error:
            raise WardroundError(
                "WR-SITE-004",
                "No study has been approved at this site.",
                "The steward reads the study and approves it with `wardround site approve`.",
                path=str(self.papers / "approval.json"),
            ) from error
        check_approval(approval, study, self.name, key.public, datetime.now(UTC).date())
        self.require_coordinator(study)
        return Custody(
            study=study,
            site=self.name,
            key=key,
            approval=approval,
            exclusions=self.exclusions_path,
            hospital=self.hospital,
            table=table,
            findings=self.records.findings,
            let_pass_until=self.records.let_pass_until,
            patient_key=self.patient_key(),
            spool=self.folder / "spool",
        )

    def patient_key(self) -> bytes:
        """The key under which sets of patients are remembered; raises WR-SITE-065 without it."""
        path = self.keys / "patients.key"
        try:
            key = path.read_bytes()
        except OSError:
            key = b""
        if len(key) != PATIENT_KEY_BYTES:
            raise WardroundError(
                "WR-SITE-065",
                f"The key of the patients can't be read, or isn't {PATIENT_KEY_BYTES} bytes long.",
                "Restore keys/patients.key from your backup; under another key the agent would not "
                "know again over whom it answered.",
                path=str(path),
            )
        return key

    def require_coordinator(self, study: Study) -> None:
        """The authority that this agent enrolled with is the one that the study names.

        Raises WR-SITE-005 before there is one, and WR-SITE-006 for another.
        """
        try:
            pem = self.ca_path.read_bytes()
            found = digest(x509.load_pem_x509_certificate(pem).public_bytes(_DER))
        except (OSError, ValueError) as error:
            raise WardroundError(
                "WR-SITE-005",
                "This agent has not been enrolled, or its papers can't be read.",
                "Enrol it with the invitation from the study's coordinator.",
                path=str(self.ca_path),
            ) from error
        if found != study.coordinator.ca or self.trust_study != study.id:
            raise WardroundError(
                "WR-SITE-006",
                "This agent is enrolled with another coordinator or for another study than the "
                "one approved here.",
                "Enrol it with an invitation to this study, after comparing the authority's "
                "digest with the study's.",
                path=str(self.ca_path),
            )


def _write_settings(folder: Path, settings: dict[str, str]) -> None:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items() if value)
    write_whole(folder / "site.toml", lines.encode())
