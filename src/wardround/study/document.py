"""The study document: what the hospitals agree on, sign and run, and nothing else.

``study.toml`` is for people; its canonical form (RFC 8785, with every default written out) is
what is digested and signed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, model_validator

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName, StudyId
from wardround.secagg.adversary import (
    MAXIMUM_SITES,
    MINIMUM_SITES,
    Adversary,
    default_corrupt,
)
from wardround.secagg.cohort import CohortTerms, smallest_cohort
from wardround.secagg.graph import GraphRule, choose
from wardround.study.checks import disagreements, not_asynchronous
from wardround.study.cohort import Cohort
from wardround.study.model import Model
from wardround.study.policy import CompliancePolicy
from wardround.study.privacy import Privacy
from wardround.study.profiles import Profile
from wardround.study.rules import (
    Closed,
    Codes,
    Rule,
    json_schema,
    parse_object,
    raise_all,
    read_json,
    read_toml,
    validate,
)
from wardround.study.sections import (
    DRAFT,
    NAME_PATTERN,
    AdversaryStatement,
    Coordinator,
    Data,
    Disclosure,
    Site,
    Words,
)
from wardround.study.task import ModelSpec
from wardround.trust.canonical import JSON, canonical, digest
from wardround.trust.keys import VerifyKey

STUDY_SCHEMA_ID = "urn:wardround:schema:study"
_CODES = Codes(
    what="study",
    unreadable="WR-STUDY-001",
    syntax="WR-STUDY-002",
    unknown_key="WR-STUDY-003",
    missing_key="WR-STUDY-004",
    wrong_type="WR-STUDY-005",
)


class Study(Closed):
    """A study as agreed: its question, data, model, protection and parties."""

    schema_: Annotated[
        str,
        Field(alias="$schema", max_length=1000),
        Rule("WR-STUDY-006", "be the path of a schema", 'Write "./study.schema.json".'),
    ] = "./study.schema.json"
    """Where editors find the rules for this file; no part of what is signed."""

    id: Annotated[
        StudyId,
        Field(pattern=NAME_PATTERN),
        Rule(
            "WR-STUDY-010",
            "be a short name of lower-case letters, digits and hyphens",
            'Write, for example, "breast-mass-2026".',
        ),
    ]
    """The study's short name; it never changes."""

    title: Words
    """One line for lists and reports."""

    question: Words
    """What the study wants to find out."""

    purpose: Words
    """What the result will be used for, and on what legal ground the data are used."""

    version: Annotated[
        int,
        Field(ge=1, le=1_000_000),
        Rule(
            "WR-STUDY-007",
            "be a whole number of at least 1",
            "Raise it by one with every change; each version is approved anew.",
        ),
    ]
    """Raised with every change; every version is approved anew."""

    profile: Annotated[
        Profile,
        Rule(
            "WR-STUDY-008",
            'be "secure-sum", "private" or "clinical"',
            '"secure-sum" has no differential privacy, "clinical" is not complete yet.',
        ),
    ]
    """The protection in force."""

    expires: Annotated[
        date,
        Rule(
            "WR-STUDY-009",
            "be a date such as 2027-12-31",
            "Write year, month and day without quotes.",
        ),
    ]
    """The last day on which a hospital answers this study (UTC)."""

    coordinator: Coordinator
    sites: Annotated[
        tuple[Site, ...],
        Field(json_schema_extra={"minItems": MINIMUM_SITES, "maxItems": MAXIMUM_SITES}),
    ]
    """The hospitals that take part."""

    adversary_statement: Annotated[AdversaryStatement, Field(alias="adversary")] = (
        AdversaryStatement()
    )
    cohort: Cohort = Cohort()
    data: Data
    model: Model
    disclosure: Disclosure
    privacy: Privacy | None = None
    """Epsilon and how it is spent; needed if, and only if, the profile is not ``secure-sum``."""

    policy: CompliancePolicy | None = None
    """The compliance policy; needed if, and only if, the profile is ``clinical``."""

    @model_validator(mode="after")
    def _must_agree(self, info: ValidationInfo) -> Study:
        raise_all(disagreements(self))
        return self

    @staticmethod
    def parse(document: Mapping[str, JSON], *, draft: bool = False) -> Study:
        """Check a study; every problem has its own code, and all are raised together."""
        return validate(Study, document, _CODES, {DRAFT: draft})

    @staticmethod
    def from_json(data: bytes) -> Study:
        """Read the canonical form (or any strict JSON) of a study."""
        return Study.parse(parse_object(data, _CODES))

    @staticmethod
    def load(path: Path) -> Study:
        """Read and check ``study.toml`` (or ``.json``). Whether it has expired is asked apart."""
        return Study.parse(read_document(path))

    @staticmethod
    def draft(path: Path) -> Study:
        """Read a study that may lack the coordinator's address and anyone's keys."""
        return Study.parse(read_document(path), draft=True)

    @property
    def is_draft(self) -> bool:
        """Whether the coordinator's address, a key or a digest is still missing."""
        party = self.coordinator
        texts = (party.url, party.signing_key, party.ca, *(s.signing_key for s in self.sites))
        return not all(texts)

    def canonical(self) -> bytes:
        """The bytes that are digested and signed: every default written out.

        The assumed number of corrupt sites is written as a number, so that a later version's
        other default can't change what was agreed. Raises WR-STUDY-051 for a draft.
        """
        if self.is_draft:
            raise WardroundError(
                "WR-STUDY-051",
                "The study is a draft: it lacks the coordinator's address or somebody's key.",
                "Fill in what `wardround study check` names, then try again.",
            )
        document = self.model_dump(
            mode="json", by_alias=True, exclude={"schema_"}, exclude_none=True
        )
        document["adversary"] = {"corrupt_sites": self.corrupt_sites}
        return canonical(document)

    @cached_property
    def digest(self) -> Digest:
        """The SHA-256 of the canonical form: the study's identity in every signature."""
        return digest(self.canonical())

    @property
    def site_names(self) -> tuple[SiteName, ...]:
        """The hospitals' names, sorted."""
        return tuple(sorted(site.name for site in self.sites))

    @cached_property
    def site_keys(self) -> dict[SiteName, VerifyKey]:
        """The hospitals' signing keys by name (not in a draft that lacks them)."""
        return {site.name: site.key for site in self.sites}

    @property
    def coordinator_key(self) -> VerifyKey:
        """The key that signs manifests (not in a draft that lacks it)."""
        return VerifyKey.parse(self.coordinator.signing_key)

    @property
    def corrupt_sites(self) -> int:
        """f: how many sites may collude with the coordinator."""
        stated = self.adversary_statement.corrupt_sites
        return default_corrupt(len(self.sites)) if stated is None else stated

    def adversary(self, sites: int | None = None, whole: int | None = None) -> Adversary:
        """Thresholds for a roster of so many of the ``whole``, all sites or one group of them.

        By default all sites, and the largest group that there can be.
        """
        if sites is None:
            return Adversary(len(self.sites), self.corrupt_sites)
        largest = -(-len(self.sites) // self.totals_per_step)
        of = max(sites, largest if whole is None else whole)
        votes = Adversary(of, self.corrupt_sites).threshold
        return Adversary(sites, self.corrupt_sites, votes)

    @property
    def local_epochs(self) -> int:
        """Passes over its own data that a hospital takes between two exchanges, rounded up.

        Under differential privacy it takes noisy steps instead, each on a share of its patients.
        """
        fedavg, privacy = self.model.fedavg, self.privacy
        if fedavg is None:
            return 0
        if privacy is None:
            return fedavg.local_epochs
        return math.ceil(privacy.training.steps / fedavg.rounds * privacy.training.sampling_rate)

    @property
    def visibility(self) -> str:
        """``sum`` or ``groups``: over whom a total is opened."""
        return "sum" if self.cohort.groups is None else "groups"

    @property
    def totals_per_step(self) -> int:
        """How many totals each step of the algorithm opens: one for each group."""
        return 1 if self.cohort.groups is None else self.cohort.groups.number

    @property
    def redraws_groups(self) -> bool:
        """Whether there is more than one partition into groups."""
        return self.cohort.groups is not None and self.cohort.groups.redraw_steps is not None

    def partition_number(self, step: int) -> int:
        """Which partition, from 0, the groups of a step (from 0) are of."""
        groups = self.cohort.groups
        if groups is None or groups.redraw_steps is None:
            return 0
        return step // groups.redraw_steps

    @property
    def rounds_per_setup(self) -> int:
        """For how many rounds a set-up has keys: no more than are held by the same groups."""
        groups = self.cohort.groups
        if groups is None or groups.redraw_steps is None:
            return self.cohort.rounds_per_setup
        return min(self.cohort.rounds_per_setup, groups.redraw_steps)

    @property
    def smallest_cohort(self) -> int:
        """How many sites the smallest cohort has while nobody is missing: all, or a group's."""
        return len(self.sites) // self.totals_per_step

    def minimum_survivors(self, sites: int | None = None, whole: int | None = None) -> int:
        """The smallest cohort whose total is opened, by the adversary and the study together."""
        return max(self.adversary(sites, whole).minimum_survivors, self.cohort.minimum_sites)

    @cached_property
    def late_terms(self) -> CohortTerms:
        """How asynchronous cohorts are formed: K sites and their thresholds.

        K is the study's, or the greater of 3 and a quarter of the sites, raised to the least that
        the adversary statement allows, since all corrupt sites may meet in one cohort. Raises
        WR-SECAGG-050 or WR-SECAGG-002 where the study's K is smaller than that; only a study with
        ``[cohort.asynchronous]`` has such terms.
        """
        agreed = self.cohort.asynchronous
        if agreed is None:
            raise not_asynchronous()
        rest = self.corrupt_sites, agreed.tolerated_dropouts, self.cohort.minimum_sites
        if agreed.sites is not None:
            return CohortTerms(agreed.sites, *rest)
        return smallest_cohort(max(MINIMUM_SITES, len(self.sites) // 4), *rest)

    def graph_rule(self, sites: int | None = None, whole: int | None = None) -> GraphRule:
        """Who of so many sites masks with whom, if all may drop out that the study can bear."""
        adversary = self.adversary(sites, whole)
        return choose(adversary, adversary.sites - self.minimum_survivors(sites, whole))

    @property
    def spec(self) -> ModelSpec:
        """The model's names and hyperparameters, without the parties."""
        return ModelSpec(
            kind=self.model.kind,
            features=self.data.features,
            outcome=self.data.outcome,
            ridges=self.model.ridges,
            tolerance=self.model.tolerance,
            maximum_steps=self.model.maximum_steps,
        )

    def refuse_if_expired(self, today: date) -> None:
        """Refuse a study whose last day has passed. ``today`` is a date in UTC."""
        if today > self.expires:
            raise WardroundError(
                "WR-STUDY-052",
                f"The study expired on {self.expires.isoformat()}.",
                "Agree on a new version with a later date; every hospital approves it anew.",
                path="expires",
            )


def study_schema() -> dict[str, JSON]:
    """Return the study's JSON Schema 2020-12, as ``wardround schema study`` prints it."""
    return json_schema(Study, "Wardround study", STUDY_SCHEMA_ID)


def read_document(path: Path) -> dict[str, JSON]:
    """The plain values in ``study.toml`` (or ``.json``), which nobody has checked yet."""
    return read_json(path, _CODES) if path.suffix == ".json" else read_toml(path, _CODES)
