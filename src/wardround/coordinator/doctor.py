"""What is wrong with a coordinator and its surroundings, found out without starting it.

May be asked while it serves. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import select

from wardround.checkup import Check, SkippedError, Warned
from wardround.coordinator import tables
from wardround.coordinator.enrolment import trust_domain
from wardround.coordinator.home import CoordinatorHome, ServerTerms
from wardround.coordinator.serve import bound
from wardround.errors import WardroundError
from wardround.store import Database, SqlLeafStore, host
from wardround.study import Study, check_approval, refuse_if_incomplete
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Journal
from wardround.trust.keeping import lifetime, permissions
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context

_AUTHORITY_EARLY = timedelta(days=180)
_STUDY_EARLY = timedelta(days=14)
_ANSWER_S = 10.0
_NO_MEMORY = "none yet: nobody has been invited"


def checks(home: CoordinatorHome, now: datetime | None = None) -> tuple[Check, ...]:
    """Every check of a coordinator's folder, in the order in which they are shown."""
    one = _Coordinator(home, now or datetime.now(UTC))
    return (
        Check("this machine", "versions", host.versions),
        Check("this machine", "clock", host.clock),
        Check("this machine", "disk", lambda: host.disk(home.folder)),
        Check("this machine", "durability", lambda: host.durability(home.folder)),
        Check("keys", "permissions", one.permissions, security=True),
        Check("keys", "signing key", one.signing_key, security=True),
        Check("keys", "authority", one.authority, security=True),
        Check("keys", "server certificate", one.server_certificate, security=True),
        Check("study", "study", one.study, security=True),
        Check("study", "enrolled", one.enrolled),
        Check("study", "approvals", one.approvals, security=True),
        Check("study", "inspected lines", one.inspected),
        Check("memory", "database", one.database, security=True),
        Check("memory", "journal", one.journal, security=True),
        Check("network", "name", one.name),
        Check("network", "port", one.port),
        Check("network", "service", one.service, security=True),
    )


class _Coordinator:
    """One folder, looked at once."""

    def __init__(self, home: CoordinatorHome, now: datetime) -> None:
        self._home = home
        self._now = now

    # Keys

    def permissions(self) -> str:
        keys = self._home.keys
        return permissions(keys, [keys / name for name in ("signing.key", "ca.key", "server.key")])

    def signing_key(self) -> str:
        return f"fingerprint {self._home.signing_key.public.fingerprint}"

    def authority(self) -> str | Warned:
        home = self._home
        pem = home.authority.certificate_pem
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
        remedy = "Make a new coordinator and a new version of the study that names it."
        path = home.keys / "ca.pem"
        return lifetime("the authority", ends, self._now, _AUTHORITY_EARLY, remedy, path)

    def server_certificate(self) -> str | Warned:
        home = self._home
        path = home.keys / "server.pem"
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
            authority = x509.load_pem_x509_certificate(home.authority.certificate_pem)
            found.verify_directly_issued_by(authority)
            mine = SigningKey.load(home.keys / "server.key").to_cryptography().public_key()
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            known = {
                *names.get_values_for_type(x509.DNSName),
                *map(str, names.get_values_for_type(x509.IPAddress)),
            }
            if found.public_key() != mine or home.host not in known:
                raise ValueError("it is for another key or name")
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise WardroundError(
                "WR-COORD-062",
                "The server's certificate is missing, or not the authority's for this key and "
                "address.",
                "Remove keys/server.pem and start the coordinator, which makes a new one.",
                path=str(path),
            ) from error
        ends = found.not_valid_after_utc
        remedy = "Start the coordinator, or leave it running: it makes a new one by itself."
        early = ServerTerms().margin - timedelta(days=2)
        return lifetime("the server's certificate", ends, self._now, early, remedy, path)

    # Study

    def study(self) -> str | Warned:
        home, study = self._home, self._study()
        refuse_if_incomplete(study)
        named = study.coordinator
        if (named.url, named.signing_key, named.ca) != (
            home.url,
            home.signing_key.public.text,
            home.authority.sha256,
        ):
            raise WardroundError(
                "WR-COORD-002",
                "The study names another coordinator: its address, signing key or authority.",
                "Copy the three lines that `wardround coordinator show` prints into the study.",
                path=str(home.folder / "study.json"),
            )
        study.refuse_if_expired(self._now.date())
        said = f"{study.id}, version {study.version}, {len(study.sites)} hospitals"
        left = study.expires - self._now.date()
        if left > _STUDY_EARLY:
            return f"{said}, until {study.expires.isoformat()}"
        return Warned(
            WardroundError(
                "WR-COORD-063",
                f"The study {study.id} ends on {study.expires.isoformat()}.",
                "If it won't be done by then, have the hospitals sign a new version.",
                path=str(home.folder / "study.json"),
            )
        )

    def enrolled(self) -> str | Warned:
        study = self._study()
        with closing(self._memory()) as database, database.begin() as connection:
            rows = connection.execute(select(tables.enrolments)).all()
        ends = {
            row.site: max(
                x509.load_der_x509_certificate(one).not_valid_after_utc
                for one in (row.certificate, row.replacement)
                if one is not None
            )
            for row in rows
            if row.certificate is not None
        }
        never = [site for site in study.site_names if site not in ends]
        ended = [site for site, at in sorted(ends.items()) if at <= self._now]
        if not never and not ended:
            return f"all {len(ends)}, with certificates that hold"
        parts = [f"not yet: {', '.join(never)}"] if never else []
        parts += [f"certificate ended: {', '.join(ended)}"] if ended else []
        return Warned(
            WardroundError(
                "WR-COORD-064",
                f"Not every hospital can connect ({'; '.join(parts)}).",
                "A hospital whose certificate ended was off for over a day, and needs a new "
                "invitation: `wardround coordinator invite` with --site.",
            )
        )

    def approvals(self) -> str | Warned:
        study = self._study()
        with closing(self._memory()) as database, database.begin() as connection:
            rows = connection.execute(select(tables.approvals)).all()
        for row in rows:
            key = study.site_keys.get(row.site)
            if key is not None:
                envelope = Envelope.from_json(row.envelope)
                check_approval(envelope, study, row.site, key, self._now.date())
        missing = sorted(set(study.site_names) - {row.site for row in rows})
        if not missing:
            return f"of all {len(rows)} hospitals, in order"
        return Warned(
            WardroundError(
                "WR-COORD-065",
                f"No approval has come from {', '.join(missing)} yet.",
                "It comes with the agent when it is started after its steward's "
                "`wardround site approve`.",
            )
        )

    def inspected(self) -> str:
        home = self._home
        if not home.inspected:
            return "none: every hospital shows its certificate"
        unknown = sorted(home.inspected - set(self._study().site_names))
        if unknown:
            raise WardroundError(
                "WR-COORD-066",
                f"coordinator.toml says `inspected` of {', '.join(unknown)}, which the study does "
                "not name.",
                "Use names from the study's [[sites]].",
                path=str(home.folder / "coordinator.toml"),
            )
        return f"{', '.join(sorted(home.inspected))}: known by the signatures on their requests"

    # Memory

    def database(self) -> str | Warned:
        path = self._home.folder / "state.db"
        if not path.exists():
            if any((self._home.folder / "invitations").glob("*.json")):
                self._home.open()  # raises WR-COORD-041
            return _NO_MEMORY
        return host.database(path, tables.MIGRATIONS)

    def journal(self) -> str:
        if self.database() == _NO_MEMORY:
            return _NO_MEMORY
        study = self._study()
        with closing(self._memory()) as database:
            origin = f"wardround/{trust_domain(study)}/{study.id}"
            journal = Journal(SqlLeafStore(database, tables.journal), origin)
            away = sum(entry.kind == "turned-away" for entry in journal.entries())
            root = journal.checkpoint().root.hex()[:16]
        return f"{journal.size} entries, {away} of them of requests turned away; root {root}…"

    # Network

    def name(self) -> str:
        home = self._home
        try:
            found = socket.getaddrinfo(home.host, home.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise WardroundError(
                "WR-COORD-067",
                f"Nobody knows an address for the name {home.host}.",
                "Have it entered in the DNS that the hospitals ask.",
            ) from error
        addresses = dict.fromkeys(str(one[4][0]) for one in found)
        return f"{home.host} is {', '.join(list(addresses)[:4])}"

    def port(self) -> str:
        home = self._home
        if self._serving():
            return f"{home.port}, held by this coordinator"
        for one in bound(home.host, home.port):
            one.close()
        return f"{home.port} is free"

    def service(self) -> str:
        home = self._home
        if not self._serving():
            return self._nobody_in_its_place()
        context = client_context(home.keys / "ca.pem")
        try:
            health = asyncio.run(self._health(context))
        except (httpx.HTTPError, ssl.SSLError, ValueError) as error:
            raise WardroundError(
                "WR-COORD-068",
                f"The coordinator runs and does not answer at {home.url}, or somebody else does "
                f"({type(error).__name__}).",
                "Check what stands in front of it: TLS must pass through to this process.",
            ) from error
        if health.get("study") != self._study().id:
            raise WardroundError(
                "WR-COORD-068",
                f"What answers at {home.url} is the coordinator of another study.",
                "Check what stands in front of it: TLS must pass through to this process.",
            )
        return f"answers at {home.url}: {health.get('state')}"

    def _nobody_in_its_place(self) -> str:
        """While this one does not run, nobody may answer at its address.

        Raises WR-COORD-068 where somebody does; skipped where that can't be found out from here.
        """
        home = self._home
        try:
            socket.create_connection((home.host, home.port), _ANSWER_S).close()
        except ConnectionRefusedError:
            return "not running, and nobody answers in its place"
        except OSError as error:
            raise SkippedError(
                "it does not run, and its address can't be tried from here"
            ) from error
        raise WardroundError(
            "WR-COORD-068",
            f"This coordinator does not run, and at {home.url} somebody takes connections.",
            "A load balancer may do so; if it is another program, stop it. A second coordinator "
            "under a copy of these keys would be the study's own to every hospital.",
        )

    async def _health(self, context: ssl.SSLContext) -> dict[str, Any]:
        async with httpx.AsyncClient(verify=context, timeout=_ANSWER_S, trust_env=False) as client:
            answer = await client.get(f"{self._home.url}/v1/health")
        return cast("dict[str, Any]", answer.json())

    # What the checks share

    def _study(self) -> Study:
        if not (self._home.folder / "study.json").exists():
            raise SkippedError("this coordinator has no study yet")
        return self._home.study

    def _serving(self) -> bool:
        path = self._home.folder / "serve.lock"
        if not path.exists():
            return False
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _memory(self) -> Database:
        """The state, if it is there, whole and of this version: else looking would change it."""
        path = self._home.folder / "state.db"
        if not path.exists():
            raise SkippedError("nobody has been invited yet")
        try:
            current = isinstance(host.database(path, tables.MIGRATIONS), str)
        except WardroundError as error:
            raise SkippedError("the database can't be read") from error
        if not current:
            raise SkippedError("the database is of an older version")
        return Database.file(path, tables.MIGRATIONS)
