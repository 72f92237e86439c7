"""A hospital's own limits, and how they combine with a study's: the tighter one always holds.

``hospital.toml`` is the steward's. It can refuse a study or tighten it, and nothing a study says
loosens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from wardround.clinical.quality.thresholds import Thresholds
from wardround.errors import WardroundError
from wardround.sandbox.limits import BASE_LIMITS, Limit, Limits
from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES
from wardround.study.document import Study
from wardround.study.hours import Hours
from wardround.study.population import PopulationPrivacy, refusals
from wardround.study.profiles import Profile
from wardround.study.rules import Closed, Codes, Rule, json_schema, raise_all, read_toml, validate
from wardround.study.sections import none_or_three
from wardround.study.worker import Worker
from wardround.trust.canonical import JSON

HOSPITAL_SCHEMA_ID = "urn:wardround:schema:hospital"
_CODES = Codes(
    what="hospital's policy",
    unreadable="WR-POLICY-030",
    syntax="WR-POLICY-031",
    unknown_key="WR-POLICY-032",
    missing_key="WR-POLICY-033",
    wrong_type="WR-POLICY-034",
)


class Network(Closed):
    """How the agent gets out through the hospital's network, and how much of it it may use."""

    longest_wait_s: Annotated[
        float,
        Field(ge=1, le=25),
        Rule(
            "WR-SITE-180",
            "be a number of seconds from 1 to 25",
            "Stay some seconds below what the firewall or proxy cuts idle connections after.",
        ),
    ] = 25.0
    """How long a request for work stays open without a byte. Lower it where something on the way
    cuts idle connections sooner."""

    inspecting_proxy_ca: Annotated[
        str | None,
        Field(min_length=1, max_length=4096),
        Rule(
            "WR-SITE-181",
            "be the path of a PEM file, from the agent's folder",
            'Write, for example, inspecting_proxy_ca = "proxy-ca.pem", or leave it out.',
        ),
    ] = None
    """The certificate authority of a proxy that opens TLS, if there is no way around it. That proxy
    then sees what the coordinator sees; who this agent is, its signature on each request proves."""

    upload_kbit_s: Annotated[
        int | None,
        Field(ge=256, le=100_000_000),
        Rule(
            "WR-POLICY-080",
            "be a whole number of kilobits a second, 256 or more",
            "10000 leaves most of a 20 Mbit/s line to others; leave it out for no limit.",
        ),
    ] = None
    """Kilobits (1,000 bits) a second that the agent sends, at most; no limit, if left out."""

    download_kbit_s: Annotated[
        int | None,
        Field(ge=256, le=100_000_000),
        Rule(
            "WR-POLICY-081",
            "be a whole number of kilobits a second, 256 or more",
            "50000 is plenty; leave it out for no limit.",
        ),
    ] = None
    """Kilobits (1,000 bits) a second that the agent receives, at most; no limit, if left out."""


class HospitalPolicy(Closed):
    """What this hospital accepts at all. Every key has a careful default."""

    accepted_profiles: Annotated[
        tuple[Profile, ...],
        Field(min_length=1),
        Rule(
            "WR-POLICY-035",
            'be a list of "secure-sum", "private" and "clinical"',
            'Write, for example, accepted_profiles = ["private", "clinical"].',
        ),
    ] = (Profile.PRIVATE, Profile.CLINICAL)
    """The protection profiles under which this hospital takes part."""

    minimum_cell: Annotated[
        int,
        Field(ge=0, le=1000),
        AfterValidator(none_or_three),
        Rule(
            "WR-POLICY-036",
            "be 0 or a whole number from 3 to 1000",
            "5 is usual, 0 only for records that are public anyway.",
        ),
    ] = 5
    """With fewer patients with, or without, the outcome in either part, every task is refused.
    0, for public records, switches this off where a study has 0 as well."""

    minimum_cohort: Annotated[
        int,
        Field(ge=5, le=1_000_000),
        Rule("WR-POLICY-037", "be a whole number from 5 to 1000000", "20 is usual."),
    ] = 20
    """With fewer training patients, every task is refused."""

    minimum_sites: Annotated[
        int,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule("WR-POLICY-038", f"be a whole number of at least {MINIMUM_SITES}", "3 is usual."),
    ] = MINIMUM_SITES
    """This hospital answers only together with so many (of its own group, if any), itself included.
    """

    opened_numbers: Annotated[
        int | None,
        Field(ge=1, le=1_000_000_000),
        Rule("WR-POLICY-039", "be a whole number of at least 1", "Leave it out for no own limit."),
    ] = None
    """How many numbers one study may open here, if fewer than the study says."""

    maximum_local_epochs: Annotated[
        int,
        Field(ge=1, le=5),
        Rule("WR-POLICY-040", "be a whole number from 1 to 5", "5 is the most there is."),
    ] = 5
    """Passes over the local data per round, at most."""

    allowed_tasks: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], ...] | None,
        Rule(
            "WR-POLICY-041",
            "be a list of task kinds",
            'Write, for example, allowed_tasks = ["moments", "newton_logistic"], or leave it out.',
        ),
    ] = None
    """The kinds of task that are computed here; every kind that studies have, if left out."""

    required_limits: Annotated[
        tuple[Limit, ...],
        Rule(
            "WR-POLICY-042",
            "be a list of what this host enforces on computations",
            "`wardround site limits` prints the names, and which of them hold here.",
        ),
    ] = tuple(sorted(BASE_LIMITS))
    """What must be enforced on every computation; below it the agent refuses to start."""

    worker: Worker = Worker()

    hours: Hours | None = None
    """When tasks are computed; at any time, if left out."""

    network: Network = Network()

    privacy: PopulationPrivacy = PopulationPrivacy()
    """How much studies with noise may learn about the hospital's patients."""

    quality: Thresholds = Thresholds()
    """Where the checks of the hospital's records start to warn and to block."""

    @staticmethod
    def load(path: Path) -> HospitalPolicy:
        """Read and check ``hospital.toml``; every problem has its own WR-POLICY code."""
        return validate(HospitalPolicy, read_toml(path, _CODES), _CODES)


@dataclass(frozen=True)
class Terms:
    """What holds at one hospital for one study: of each limit the tighter one."""

    profile: Profile
    minimum_cell: int
    minimum_cohort: int
    minimum_sites: int
    opened_numbers: int
    maximum_local_epochs: int
    allowed_tasks: frozenset[str] | None
    required_limits: frozenset[Limit]
    worker_limits: Limits

    def allows(self, kind: str) -> bool:
        """Say whether tasks of this kind are computed here."""
        return self.allowed_tasks is None or kind in self.allowed_tasks


def combine(study: Study, hospital: HospitalPolicy) -> Terms:
    """Return the terms on which this hospital takes part in the study, or refuse it.

    Raises, together, WR-POLICY-050 for a profile that the hospital doesn't accept, WR-POLICY-051
    for a study of too few sites, WR-POLICY-052 for too many local epochs, and WR-POLICY-065 to -067
    for one that costs its patients more than the hospital allows.
    """
    asked_epochs, policy = study.local_epochs, study.policy
    epochs = hospital.maximum_local_epochs
    if policy is not None:
        epochs = min(epochs, policy.node_execution_bounds.maximum_local_epochs_per_round)
    reasons = list(refusals(study, hospital.privacy))
    if study.profile not in hospital.accepted_profiles:
        accepted = ", ".join(profile.value for profile in hospital.accepted_profiles)
        reasons.append(
            WardroundError(
                "WR-POLICY-050",
                f"This hospital doesn't take part under {study.profile.value!r}; it accepts "
                f"{accepted}.",
                "The steward may add the profile to accepted_profiles in hospital.toml.",
                path="profile",
            )
        )
    if study.smallest_cohort < hospital.minimum_sites:
        whose = "The study" if study.cohort.groups is None else "A group of the study"
        reasons.append(
            WardroundError(
                "WR-POLICY-051",
                f"{whose} has {study.smallest_cohort} sites; this hospital asks for at least "
                f"{hospital.minimum_sites}.",
                "Invite more hospitals, or have the steward lower minimum_sites.",
                path="sites",
            )
        )
    late = None if study.cohort.asynchronous is None else study.late_terms.minimum_survivors
    if late is not None and late < hospital.minimum_sites <= study.smallest_cohort:
        reasons.append(
            WardroundError(
                "WR-POLICY-051",
                f"A late cohort is opened over {late} sites; this hospital asks for at least "
                f"{hospital.minimum_sites}.",
                "Agree on larger cohorts (cohort.asynchronous.sites), or have the steward lower "
                "minimum_sites.",
                path="cohort.asynchronous.sites",
            )
        )
    if asked_epochs > epochs:
        reasons.append(
            WardroundError(
                "WR-POLICY-052",
                f"The study asks for {asked_epochs} local epochs per round; this hospital "
                f"allows {epochs}.",
                "Lower model.fedavg.local_epochs in a new version of the study; with noise, have "
                "more rounds for as many steps.",
                path="model.fedavg.local_epochs",
            )
        )
    raise_all(reasons)
    own_limit, disclosure = hospital.opened_numbers, study.disclosure
    return Terms(
        profile=study.profile,
        minimum_cell=max(disclosure.minimum_cell, hospital.minimum_cell),
        minimum_cohort=max(disclosure.minimum_cohort, hospital.minimum_cohort),
        minimum_sites=max(study.cohort.minimum_sites, hospital.minimum_sites),
        opened_numbers=min(disclosure.opened_numbers, own_limit or disclosure.opened_numbers),
        maximum_local_epochs=epochs,
        allowed_tasks=None if hospital.allowed_tasks is None else frozenset(hospital.allowed_tasks),
        required_limits=frozenset(hospital.required_limits) | hospital.worker.required,
        worker_limits=hospital.worker.limits,
    )


def hospital_schema() -> dict[str, JSON]:
    """Return the JSON Schema 2020-12 of ``hospital.toml``."""
    return json_schema(HospitalPolicy, "Wardround hospital policy", HOSPITAL_SCHEMA_ID)
