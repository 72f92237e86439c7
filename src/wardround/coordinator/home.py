"""The folder of a coordinator: keys, the study, invitations, state and results.

::

    coordinator.toml     address; ``inspected``: sites whose proxy opens TLS
    keys/                signing.key, ca.key, ca.pem, server.key, server.pem
    study.json           the sealed study, in canonical form
    invitations/         one file per hospital; each holds a one-time token
    state.db, blobs/, spool/
    results/             model/, evidence.json, report.html, summary.json
"""

from __future__ import annotations

import fcntl
import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from wardround.coordinator.coordinator import Coordinator
from wardround.errors import WardroundError
from wardround.governance.files import write_whole
from wardround.ids import SiteName
from wardround.study import Study
from wardround.study.sections import https_origin
from wardround.trust.authority import SERVER_LIFETIME, CertificateAuthority, certificate_expiry
from wardround.trust.keys import SigningKey, write_new


@dataclass(frozen=True)
class ServerTerms:
    """How long a server certificate lives, and how long before its end it is made anew."""

    lifetime: timedelta = SERVER_LIFETIME
    margin: timedelta = timedelta(days=14)


class CoordinatorHome:
    """The coordinator's folder, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.results = folder / "results"
        try:
            settings = tomllib.loads((folder / "coordinator.toml").read_text(encoding="utf-8"))
            self.url = str(settings["url"])
            inspected = settings.get("inspected", [])
            if not isinstance(inspected, list):
                raise KeyError("inspected")
            self.inspected = frozenset(SiteName(str(one)) for one in inspected)
            """The sites behind a proxy that opens TLS, with which the operator agreed to that."""
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
            raise WardroundError(
                "WR-COORD-003",
                "This folder holds no coordinator, or its coordinator.toml can't be read.",
                "Give the folder that `wardround coordinator init` made.",
                path=str(folder / "coordinator.toml"),
            ) from error

    @classmethod
    def create(cls, folder: Path, url: str) -> CoordinatorHome:
        """A new folder with fresh keys and an authority of its own; never overwrites one."""
        url = _origin(url)
        host = _host(url)
        if (folder / "coordinator.toml").exists():
            raise WardroundError(
                "WR-COORD-004",
                "There is a coordinator in this folder already.",
                "Choose another folder; keys are never overwritten.",
                path=str(folder),
            )
        for part in ("keys", "results", "invitations"):
            (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        SigningKey.generate().save(folder / "keys" / "signing.key")
        CertificateAuthority.create(f"Wardround {host}"[:64], _now()).save(folder / "keys")
        SigningKey.generate().save(folder / "keys" / "server.key")
        text = f"url = {json.dumps(url)}\n"
        write_whole(folder / "coordinator.toml", text.encode())
        home = cls(folder)
        home.renew_server_certificate()
        return home

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key that signs manifests, checkpoints and models."""
        return SigningKey.load(self.keys / "signing.key")

    @cached_property
    def authority(self) -> CertificateAuthority:
        """The certificate authority."""
        return CertificateAuthority.load(self.keys)

    @cached_property
    def study(self) -> Study:
        """The sealed study."""
        try:
            return Study.from_json((self.folder / "study.json").read_bytes())
        except OSError as error:
            raise WardroundError(
                "WR-COORD-005",
                "This coordinator has no study yet.",
                "Run `wardround coordinator invite` with the study that carries everyone's keys.",
                path=str(self.folder / "study.json"),
            ) from error

    @property
    def host(self) -> str:
        """The host name in the coordinator's address."""
        return _host(self.url)

    @property
    def port(self) -> int:
        """The port in the coordinator's address."""
        return urlsplit(self.url).port or 443

    def renew_server_certificate(self, terms: ServerTerms | None = None) -> bool:
        """Make a server certificate for the address, unless the present one is good for long.

        Says whether it made one.
        """
        terms = terms or ServerTerms()
        path = self.keys / "server.pem"
        if path.exists() and certificate_expiry(path.read_bytes()) > _now() + terms.margin:
            return False
        key = SigningKey.load(self.keys / "server.key")
        made = self.authority.issue_server(key.public, [self.host], _now(), terms.lifetime)
        write_whole(path, made)
        return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that serves this folder; raises WR-COORD-040 when another does.

        Two would drive one run, each with half of the hospitals' answers.
        """
        with (self.folder / "serve.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WardroundError(
                    "WR-COORD-040",
                    "A coordinator is serving this folder already.",
                    "Use that one, or stop it first.",
                    path=str(self.folder),
                ) from error
            yield

    def open(self) -> Coordinator:
        """The coordinator of the study in this folder.

        Raises WR-COORD-041 when its database is gone: invitations were written, which it holds.
        """
        state = self.folder / "state.db"
        if not state.exists() and any((self.folder / "invitations").glob("*.json")):
            raise WardroundError(
                "WR-COORD-041",
                "The coordinator has worked before, and its state database is gone.",
                "Restore state.db from a backup; or make a new coordinator and a new version of "
                "the study.",
                path=str(state),
            )
        return Coordinator(
            self.study,
            self.signing_key,
            self.authority,
            self.folder,
            inspected=self.inspected,
        )

    def take_study(self, study: Study) -> None:
        """Keep a sealed study that names this coordinator; another one is never replaced."""
        path = self.folder / "study.json"
        same = (study.coordinator.url, study.coordinator.signing_key, study.coordinator.ca)
        if same != (self.url, self.signing_key.public.text, self.authority.sha256):
            raise WardroundError(
                "WR-COORD-002",
                "The study names another coordinator: its address, signing key or authority.",
                "Copy the three lines that `wardround coordinator show` prints into the study.",
                path="coordinator",
            )
        if path.exists() and path.read_bytes() != study.canonical():
            raise WardroundError(
                "WR-COORD-006",
                "This coordinator runs another study, or another version of it.",
                "Make a new coordinator folder for it: approvals and journals never mix.",
                path=str(path),
            )
        write_whole(path, study.canonical())

    def invite(self, site: SiteName) -> Path:
        """Write an invitation with a fresh one-time token for one hospital."""
        coordinator = self.open()
        try:
            token = coordinator.enrolment.invite(site)
        finally:
            coordinator.close()
        path = self.folder / "invitations" / f"{site}.json"
        document = {
            "study": self.study.id,
            "site": site,
            "url": self.url,
            "token": token,
            "ca": self.authority.certificate_pem.decode(),
            **({"inspected": True} if site in self.inspected else {}),
        }
        path.unlink(missing_ok=True)
        write_new(path, (json.dumps(document, indent=2) + "\n").encode(), mode=0o600)
        return path


def _origin(url: str) -> str:
    """The address as a study may carry it; the hospitals compare it with theirs."""
    try:
        return https_origin(url)
    except ValueError as error:
        raise WardroundError(
            "WR-COORD-007",
            "The coordinator's address is not of the form https://host:port.",
            "Give the address under which the hospitals will reach it, without a path.",
            path="--url",
        ) from error


def _host(url: str) -> str:
    host = urlsplit(url).hostname
    assert host is not None  # `_origin` saw to it
    return host


def _now() -> datetime:
    return datetime.now(UTC)
