"""The compliance policy: six properties that a ``clinical`` study promises.

The published ``ClinicalFederatedComplianceSchema``, strictly tighter: epsilon must be positive,
at least one epoch, finite numbers, no unknown keys. Whatever this accepts, the published schema
accepts too, but for the corrected spelling of the encryption protocol's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from wardround.study.rules import Closed, Codes, Rule, json_schema, read_json, read_toml, validate
from wardround.trust.canonical import JSON

POLICY_SCHEMA_ID = "urn:wardround:schema:policy"
_CODES = Codes(
    what="compliance policy",
    unreadable="WR-POLICY-001",
    syntax="WR-POLICY-002",
    unknown_key="WR-POLICY-003",
    missing_key="WR-POLICY-004",
    wrong_type="WR-POLICY-005",
)
Encryption: TypeAlias = Literal["HOMOMORPHIC_PALLIER_ENFORCED", "HOMOMORPHIC_PAILLIER_ENFORCED"]


def _as_published(_: Encryption) -> Encryption:
    return "HOMOMORPHIC_PALLIER_ENFORCED"


class NodeExecutionBounds(Closed):
    """What a hospital's computer must be and do."""

    hardware_enclave_isolation: Annotated[
        Literal["INTEL_SGX_OR_AMD_SEV_ENFORCED"],
        Rule(
            "WR-POLICY-010",
            'be "INTEL_SGX_OR_AMD_SEV_ENFORCED"',
            "No other isolation satisfies the policy: SGX, TDX or SEV-SNP, attested.",
        ),
    ]
    """Training runs only inside an attested enclave: SGX, TDX or SEV-SNP."""

    maximum_local_epochs_per_round: Annotated[
        int,
        Field(ge=1, le=5),
        Rule(
            "WR-POLICY-011",
            "be a whole number from 1 to 5",
            "Fewer passes over the local data per round leak less; choose 1 to 5.",
        ),
    ]
    """Passes over the local data between two exchanges, at most."""

    local_data_ingestion_protocol: Annotated[
        Literal["FHIR_COMPLIANT_JSON_STREAMS"],
        Rule(
            "WR-POLICY-012",
            'be "FHIR_COMPLIANT_JSON_STREAMS"',
            "No other ingestion satisfies the policy: every source is read as FHIR R4.",
        ),
    ]
    """Every source is presented as a stream of FHIR R4 resources."""


class CryptographicPrivacyGuardrails(Closed):
    """What protects a contribution."""

    weight_encryption_protocol: Annotated[
        Encryption,
        AfterValidator(_as_published),
        Rule(
            "WR-POLICY-020",
            'be "HOMOMORPHIC_PALLIER_ENFORCED"',
            'Write it as published, or spelled correctly: "HOMOMORPHIC_PAILLIER_ENFORCED".',
        ),
    ]
    """Weights leave a hospital only under Paillier encryption."""

    differential_privacy_epsilon: Annotated[
        float,
        Field(gt=0, le=1.5),
        Rule(
            "WR-POLICY-021",
            "be a number above 0 and at most 1.5",
            "0 would promise that nothing is learnt, more than 1.5 too little; 1.0 is common.",
        ),
    ]
    """The privacy loss of the whole study, stated with a delta."""

    gaussian_noise_sigma: Annotated[
        float,
        Field(ge=0.5),
        Rule(
            "WR-POLICY-022",
            "be a finite number of at least 0.5",
            "It is the noise multiplier of each site's own share; epsilon usually asks for more.",
        ),
    ]
    """The noise multiplier of each site's own share, at least."""


class CompliancePolicy(Closed):
    """Execution bounds and privacy guardrails that both ends enforce."""

    node_execution_bounds: NodeExecutionBounds
    cryptographic_privacy_guardrails: CryptographicPrivacyGuardrails

    @staticmethod
    def parse(document: Mapping[str, JSON]) -> CompliancePolicy:
        """Check a policy; every problem has its own WR-POLICY code."""
        return validate(CompliancePolicy, document, _CODES)

    @staticmethod
    def load(path: Path) -> CompliancePolicy:
        """Read a policy from a ``.json`` or ``.toml`` file."""
        read = read_json if path.suffix == ".json" else read_toml
        return CompliancePolicy.parse(read(path, _CODES))


def policy_schema() -> dict[str, JSON]:
    """Return the policy's JSON Schema 2020-12, as ``wardround schema policy`` prints it."""
    return json_schema(CompliancePolicy, "ClinicalFederatedComplianceSchema", POLICY_SCHEMA_ID)
