"""What is wrong with a hospital's agent and its surroundings, found out without starting it.

Each check is made whatever came of those before it, except that what needs an approved study, a
memory or an answer of the coordinator is skipped without one. Nothing is changed, nothing about
patients is shown, and the coordinator is asked for its health only.
"""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509

from wardround.checkup import Check, SkippedError, Warned
from wardround.errors import WardroundError
from wardround.sandbox import probe
from wardround.sandbox.limits import require
from wardround.site import tables
from wardround.site.home import SiteHome
from wardround.site.ledger import PrivacyLedger
from wardround.site.memory import open_memory
from wardround.site.readiness import check_certificate, check_signing_key
from wardround.site.sounding import Sounding, sound
from wardround.store import SqlLeafStore, host
from wardround.study import Study, check_approval, combine
from wardround.trust.authority import certificate_digest, certificate_expiry, peer_identity
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Journal
from wardround.trust.keeping import lifetime, permissions, words
from wardround.trust.keys import SigningKey
from wardround.trust.requests import WINDOW_S
from wardround.trust.tls import client_context

_AGENT_EARLY = timedelta(hours=1)
"""An agent that runs has long renewed by then."""
_AUTHORITY_EARLY = timedelta(days=180)
_STUDY_EARLY = timedelta(days=14)
_NO_MEMORY = "none yet: no agent has run here, so nothing was answered"
_PROXY_SAYS_NO = ("WR-SITE-170", "WR-SITE-171")
_SKEW_S = 30.0
"""A difference of clocks that is worth a look; `WINDOW_S` is refused."""


def checks(home: SiteHome, now: datetime | None = None) -> tuple[Check, ...]:
    """Every check of a hospital's folder, in the order in which they are shown."""
    one = _Site(home, now or datetime.now(UTC))
    return (
        Check("this machine", "versions", host.versions),
        Check("this machine", "clock", host.clock),
        Check("this machine", "disk", lambda: host.disk(home.folder)),
        Check("this machine", "durability", lambda: host.durability(home.folder)),
        Check("this machine", "limits", one.limits, security=True),
        Check("keys", "permissions", one.permissions, security=True),
        Check("keys", "signing key", one.signing_key, security=True),
        Check("keys", "authority", one.authority, security=True),
        Check("keys", "certificate", one.certificate, security=True),
        Check("papers", "hospital's limits", one.policy, security=True),
        Check("papers", "approval", one.approval, security=True),
        Check("papers", "mapping", one.mapping, security=True),
        Check("papers", "excluded patients", one.exclusions, security=True),
        Check("memory", "database", one.database, security=True),
        Check("memory", "journal", one.journal, security=True),
        Check("memory", "ledger", one.ledger, security=True),
        Check("memory", "agent", one.agent),
        Check("network", "proxy", one.proxy),
        Check("network", "name", one.name),
        Check("network", "coordinator", one.coordinator, security=True),
        Check("network", "clocks", one.clocks, security=True),
        Check("network", "credentials", one.credentials, security=True),
        Check("network", "versions", one.their_version),
    )


class _Site:
    """One folder, looked at once; what was read for one check serves the others."""

    def __init__(self, home: SiteHome, now: datetime) -> None:
        self._home = home
        self._now = now
        self._sounded = cache(self._sound)

    # This machine

    def limits(self) -> str:
        home = self._home
        terms = combine(self._study(), home.hospital) if home.has_study else None
        required = frozenset(home.hospital.required_limits)
        if terms is not None:
            required = terms.required_limits
        found = probe() if terms is None else probe(terms.worker_limits)
        require(found, required)
        return f"all {len(required)} that the hospital requires; {len(found.enforced)} hold here"

    # Keys and papers

    def permissions(self) -> str:
        keys = self._home.keys
        names = ("signing.key", "patients.key", "agent.key")
        return permissions(keys, [keys / name for name in names])

    def signing_key(self) -> str:
        self._home.patient_key()
        if self._home.has_study:
            check_signing_key(self._home)
        return f"fingerprint {self._home.signing_key.public.fingerprint}"

    def authority(self) -> str | Warned:
        home = self._home
        if not home.has_study:
            raise SkippedError("no study has been approved, which would say whose it must be")
        home.require_coordinator(home.study)
        ends = x509.load_pem_x509_certificate(home.ca_path.read_bytes()).not_valid_after_utc
        remedy = "Ask the coordinator's operator for a new version of the study with a new one."
        what = "the coordinator's authority"
        return lifetime(what, ends, self._now, _AUTHORITY_EARLY, remedy, home.ca_path)

    def certificate(self) -> str | Warned:
        home = self._home
        self._study()
        check_certificate(home)
        ends = certificate_expiry(home.certificate_path.read_bytes())
        remedy = (
            "Start the agent, which renews it. Once it has ended, ask the study's coordinator for "
            "a new invitation and enrol again."
        )
        what = "the agent's certificate"
        return lifetime(what, ends, self._now, _AGENT_EARLY, remedy, home.certificate_path)

    def policy(self) -> str:
        hospital = self._home.hospital
        if self._home.has_study:
            combine(self._study(), hospital)
        return "accepts " + ", ".join(one.value for one in hospital.accepted_profiles)

    def approval(self) -> str | Warned:
        home, study = self._home, self._study()
        path = home.papers / "approval.json"
        try:
            envelope = Envelope.from_json(path.read_bytes())
        except OSError as error:
            raise WardroundError(
                "WR-SITE-004",
                "No study has been approved at this site.",
                "The steward reads the study and approves it with `wardround site approve`.",
                path=str(path),
            ) from error
        key = home.signing_key.public
        found = check_approval(envelope, study, home.name, key, self._now.date())
        last = min(found.approved_until, study.expires)
        left = last - self._now.date()
        said = f"{study.id}, version {study.version}, until {last.isoformat()}"
        if left > _STUDY_EARLY:
            return said
        return Warned(
            WardroundError(
                "WR-SITE-175",
                f"The approval of {study.id} ends in {words(left)}.",
                "Ask the investigator whether the study will be done by then; a longer one needs "
                "a new version, and a new approval.",
                path=str(path),
            )
        )

    def mapping(self) -> str:
        self._study()
        mapping = self._home.mapping
        return f"signed, {len(mapping.sources)} sources of the shape they had then"

    def exclusions(self) -> str:
        self._study()
        return f"{len(self._home.exclusions().patients)} on the signed list"

    # Memory

    def database(self) -> str | Warned:
        if not self._has_memory():
            return _NO_MEMORY
        return host.database(self._home.folder / "state.db", tables.MIGRATIONS)

    def journal(self) -> str:
        if not self._has_memory():
            return _NO_MEMORY
        self._require_current()
        with closing(open_memory(self._home, make=False)) as database:
            journal = Journal(SqlLeafStore(database, tables.journal), "doctor")
            refused = sum(entry.kind == "refused" for entry in journal.entries())
            root = journal.checkpoint().root.hex()[:16]
        return f"{journal.size} entries, {refused} of them refusals; root {root}…"

    def ledger(self) -> str:
        study, home = self._study(), self._home
        if not self._has_memory():
            return _NO_MEMORY
        self._require_current()
        book = PrivacyLedger(study, home.name, home.signing_key.public, home.hospital)
        with closing(open_memory(home, make=False)) as database, database.begin() as connection:
            size = book.verify(connection).size
        return f"{size} charges, an unbroken chain"

    def agent(self) -> str:
        path = self._home.folder / "agent.lock"
        if not path.exists():
            return "not running; it never was"
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return "running"
        return "not running"

    # Network

    def proxy(self) -> str:
        found = self._sounded()
        if found.problem is not None and found.problem.code in _PROXY_SAYS_NO:
            raise found.problem
        return "none" if found.proxy is None else found.proxy

    def name(self) -> str:
        found = self._sounded()
        if not found.addresses:
            raise WardroundError(
                "WR-SITE-176",
                f"Nobody knows an address for the name {found.proxy or found.host}.",
                "Check the name, and the machine's DNS servers in /etc/resolv.conf.",
            )
        return f"{found.proxy or found.host} is {', '.join(found.addresses[:4])}"

    def coordinator(self) -> str:
        found = self._sounded()
        if found.problem is not None:
            raise self._why_no_answer(found)
        study = None if found.health is None else found.health.get("study")
        if study != self._home.trust_study:
            raise WardroundError(
                "WR-SITE-177",
                "What answers there is a coordinator, but of another study.",
                "Enrol with an invitation to this study, or ask its operator for the address.",
                path=str(self._home.folder / "site.toml"),
            )
        state = found.health.get("state") if found.health else None
        seen = ""
        if self._home.inspecting_ca is not None:
            # The certificate that was shown is the proxy's, and says nothing of who is behind it.
            study = self._study()
            if not found.proves_itself(study.digest, self._home.name, study.coordinator_key):
                raise WardroundError(
                    "WR-SITE-202",
                    "What answers through the proxy that opens TLS does not prove with the "
                    "coordinator's signing key that it is the coordinator.",
                    "Ask the operator whether this agent is known there (network: credentials), "
                    "and who runs the proxy what it answers by itself.",
                )
            seen = " through a proxy that opens TLS, as agreed, by its own signature"
        return f"itself, {state}, in {found.took_s * 1000:.0f} ms{seen}"

    def clocks(self) -> str | Warned:
        found = self._sounded()
        if found.ahead_s is None:
            raise SkippedError("the coordinator did not say its time")
        way = "ahead of" if found.ahead_s > 0 else "behind"
        off = f"{abs(found.ahead_s):.0f} s {way} the coordinator's clock"
        if abs(found.ahead_s) < 2:  # a Date field has whole seconds
            return "the same as the coordinator's"
        if abs(found.ahead_s) <= _SKEW_S:
            return off
        wrong = WardroundError(
            "WR-SITE-178",
            f"This machine is {off}; requests that are more than {WINDOW_S} s off are refused.",
            "Set the clock, best by NTP; if it is right here, tell the coordinator's operator.",
        )
        if abs(found.ahead_s) > WINDOW_S:
            raise wrong
        return Warned(wrong)

    def credentials(self) -> str:
        found = self._answered()
        health = found.health or {}
        if health.get("site") == self._home.name:
            return f"accepted as {self._home.name}"
        raise WardroundError(
            "WR-SITE-179",
            "The coordinator does not know this agent by what it shows"
            + (f" ({health['refused']})." if "refused" in health else "."),
            "Enrol again with a new invitation. A proxy that opens TLS takes the certificate "
            "away: it must let this host pass, or both sides agree to it.",
        )

    def their_version(self) -> str | Warned:
        from wardround import __version__

        found = self._answered()
        theirs = (found.health or {}).get("version")
        if theirs is None:
            raise SkippedError("the coordinator tells its version only to those it knows")
        if theirs == __version__:
            return f"{theirs} on both sides"
        return Warned(
            WardroundError(
                "WR-SITE-182",
                f"The coordinator runs {str(theirs)[:40]}, this is {__version__}.",
                "Agree with the operator on one version; the release notes say which go together.",
            )
        )

    # What the checks share

    def _study(self) -> Study:
        if not self._home.has_study:
            raise SkippedError("no study has been approved here yet")
        return self._home.study

    def _has_memory(self) -> bool:
        """Whether an agent ever ran; raises WR-SITE-066 where one did and its memory is lost."""
        if (self._home.folder / "state.db").exists():
            return True
        try:
            open_memory(self._home, make=False).close()
        except WardroundError as error:
            if error.code != "WR-SITE-063":
                raise
        return False

    def _require_current(self) -> None:
        """Skip what would change an older database, or can't read a damaged one."""
        path = self._home.folder / "state.db"
        try:
            current = isinstance(host.database(path, tables.MIGRATIONS), str)
        except WardroundError as error:
            raise SkippedError("the database can't be read") from error
        if not current:
            raise SkippedError("the database is of an older version")

    def _sound(self) -> Sounding:
        home = self._home
        if not home.url:
            raise SkippedError("this agent has not been enrolled")
        context = client_context(
            home.ca_path,
            home.certificate_path,
            home.agent_key_path,
            inspecting_ca=home.inspecting_ca,
        )
        signed_by = None
        if home.inspecting_ca is not None:
            pem = home.certificate_path.read_bytes()
            key = SigningKey.load(home.agent_key_path)
            signed_by = (key, peer_identity(pem), certificate_digest(pem))
        return asyncio.run(sound(home.url, context, signed_by))

    def _answered(self) -> Sounding:
        """The sounding, if the coordinator itself answered well; else skipped.

        Why not is said once, where it belongs: what is to be mended is one thing.
        """
        found = self._sounded()
        if found.problem is None:
            return found
        raise SkippedError(f"the coordinator gave no good answer ({found.problem.code})")

    def _why_no_answer(self, found: Sounding) -> Exception:
        """What to say at the coordinator's check; skipped if proxy or name said it before."""
        error = found.problem
        assert error is not None
        if error.code in _PROXY_SAYS_NO:
            return SkippedError(f"the proxy lets nothing through ({error.code})")
        if not found.addresses:
            return SkippedError("nobody knows an address to ask at")
        if found.stranger is None:
            return error
        signed = f"{error.problem} Its certificate is signed by: {found.stranger}."
        return WardroundError(error.code, signed, error.remedy)
