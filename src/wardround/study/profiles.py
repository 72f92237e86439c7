"""The three protection profiles: what each promises, and which of it exists.

A study names one profile, and a study whose profile promises something that isn't built yet is
refused by coordinator and sites alike. The table below is the only place that says what exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.study.document import Study


class Profile(StrEnum):
    """The protection in force, which every page and file of a study names."""

    SECURE_SUM = "secure-sum"
    PRIVATE = "private"
    CLINICAL = "clinical"


class Protection(Enum):
    """One protection: what it is, in words for a steward, and whether it exists."""

    MASKED_SUMS = ("sums under masks: nobody sees one hospital's numbers", True)
    DISCLOSURE_RULES = (
        "a hospital with too few patients of either outcome stays out altogether",
        True,
    )
    OPENED_NUMBER_LIMIT = ("opened numbers are counted against the study's limit", True)
    SIGNED_APPROVAL = ("each hospital's signed, expiring approval", True)
    CONFINED_COMPUTATION = ("computation in a confined process without a network", True)
    EPOCH_LIMIT = ("at most five passes over the local data per round", True)
    PATIENT_CLIPPING = ("clipping per patient, in a process that runs no study code", True)
    NOISE = ("noise from a cryptographic generator, added before anything leaves", True)
    NOISE_FLOOR = ("a noise multiplier of at least 0.5 in each site's own share", False)
    SAMPLING = (
        "where a step is over a sample: Poisson sampling and padded batches, so that no size shows",
        True,
    )
    ACCOUNTANT = ("an accountant that prices every opened total in epsilon and delta", True)
    LEDGER = ("a durable ledger at each site, charged before anything leaves", True)
    LEDGER_WITNESSES = ("peers that witness the ledger's head against roll-back", True)
    ATTESTATION = ("attested enclaves: no verified attestation, no model key", False)
    FHIR_INGESTION = ("every source presented as a stream of FHIR R4 resources", False)
    PAILLIER = ("threshold Paillier encryption of weights", False)

    def __init__(self, words: str, exists: bool) -> None:
        self.words = words
        self.exists = exists


@dataclass(frozen=True)
class Promise:
    """A profile's protections, and what its pages must say that it doesn't do."""

    protections: frozenset[Protection]
    caveats: tuple[str, ...]


_SUMS = frozenset(
    {
        Protection.MASKED_SUMS,
        Protection.DISCLOSURE_RULES,
        Protection.OPENED_NUMBER_LIMIT,
        Protection.SIGNED_APPROVAL,
        Protection.CONFINED_COMPUTATION,
    }
)
_PRIVATE = (_SUMS - {Protection.DISCLOSURE_RULES}) | {
    Protection.PATIENT_CLIPPING,
    Protection.NOISE,
    Protection.SAMPLING,
    Protection.ACCOUNTANT,
    Protection.LEDGER,
    Protection.LEDGER_WITNESSES,
}
_NOISY = (
    "Epsilon holds with its delta, for a patient at one hospital.",
    "Which hospitals take part is public, and so is that one of them refuses; noise, not a "
    "smallest cell, hides the few.",
)
PROMISES: Mapping[Profile, Promise] = MappingProxyType(
    {
        Profile.SECURE_SUM: Promise(
            _SUMS,
            (
                "No differential privacy: totals carry no noise.",
                "Two sums over cohorts that differ by one site subtract to that site's numbers: a "
                "coordinator that drops a site between two nearly equal steps, or runs the study "
                "again without it, learns them; only noise prevents that.",
                "Cells of score histograms are exact: one may hold a single person of the whole "
                "federation.",
            ),
        ),
        Profile.PRIVATE: Promise(_PRIVATE, _NOISY),
        Profile.CLINICAL: Promise(
            _PRIVATE
            | {
                Protection.EPOCH_LIMIT,
                Protection.NOISE_FLOOR,
                Protection.ATTESTATION,
                Protection.FHIR_INGESTION,
                Protection.PAILLIER,
            },
            _NOISY,
        ),
    }
)
POLICY_PROTECTIONS: Mapping[str, Protection] = MappingProxyType(
    {
        "hardware_enclave_isolation": Protection.ATTESTATION,
        "maximum_local_epochs_per_round": Protection.EPOCH_LIMIT,
        "local_data_ingestion_protocol": Protection.FHIR_INGESTION,
        "weight_encryption_protocol": Protection.PAILLIER,
        "differential_privacy_epsilon": Protection.LEDGER,
        "gaussian_noise_sigma": Protection.NOISE_FLOOR,
    }
)
"""Which protection enforces which property of the compliance policy."""


def missing(profile: Profile) -> tuple[Protection, ...]:
    """Return the protections that a profile promises and that don't exist yet."""
    promised = PROMISES[profile].protections
    return tuple(item for item in Protection if item in promised and not item.exists)


def refuse_if_incomplete(study: Study) -> None:
    """Refuse a study whose profile promises what doesn't exist, naming all of it.

    And one whose noise is too little for its epsilon (WR-STUDY-120).
    """
    from wardround.study.price import check_plan  # which knows the whole document

    lacking = missing(study.profile)
    if lacking:
        raise WardroundError(
            "WR-STUDY-050",
            f"This version can't keep what the profile {study.profile.value!r} promises. "
            f"It lacks: {'; '.join(item.words for item in lacking)}.",
            "Wait for a version that has them all, or agree with every hospital on 'secure-sum', "
            "which has no differential privacy.",
            path="profile",
        )
    if study.privacy is not None:
        check_plan(study)
