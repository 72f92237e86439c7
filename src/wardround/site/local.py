"""The hospital's own report of a run: its figures never pass the door.

The hospital fits the study's model on its own records alone and tries the federated one on its
own held-out records; what it learns stays in ``reports/local_report.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.table import FeatureTable
from wardround.errors import WardroundError
from wardround.governance.artefact import open_model
from wardround.governance.files import write_whole
from wardround.governance.report.data import LocalReport, Performance, Sandbox
from wardround.ids import Digest
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.glm import LinearModel
from wardround.learning.local import assess, fit_alone
from wardround.learning.records import TEST_COLUMN
from wardround.sandbox import HostLimits
from wardround.site.custody import computable
from wardround.site.home import SiteHome
from wardround.study import Study
from wardround.trust.canonical import JSON, digest
from wardround.trust.dsse import Envelope


@dataclass(frozen=True)
class Figures:
    """What the agent counted while it took part."""

    bytes_out: int
    opened_numbers: int


def keep_model(
    home: SiteHome, study: Study, documents: Mapping[str, JSON], weights: bytes
) -> tuple[Digest, LinearModel]:
    """Check the finished model against the coordinator's signature and keep its files."""
    description, signature = documents.get("description"), documents.get("signature")
    if not isinstance(description, str) or not isinstance(signature, Mapping):
        raise WardroundError(
            "WR-SITE-051",
            "The coordinator ended the run without a signed model.",
            "Ask the study's coordinator; nothing was taken over.",
        )
    envelope = Envelope.from_json(signature)
    model = open_model(weights, description.encode(), envelope, study.coordinator_key)
    if model.statement.study != study.digest:
        raise WardroundError(
            "WR-SITE-051",
            "The model with which the coordinator ended the run is of another study.",
            "Ask the study's coordinator; nothing was taken over.",
        )
    folder = home.reports / "model"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "model.safetensors", weights)
    write_whole(folder / "model.json", description.encode())
    write_whole(folder / "model.sig.json", envelope.to_json() + b"\n")
    variables = variables_of(study)
    arrays = {name: array.astype("float64") for name, array in model.arrays.items()}
    fitted = LinearModel.from_arrays(variables.family, variables.features, arrays)
    return digest(envelope.payload), fitted


def write_local_report(
    home: SiteHome,
    study: Study,
    table: FeatureTable,
    federated: LinearModel,
    limits: HostLimits,
    figures: Figures,
) -> LocalReport:
    """Fit alone, compare, and write ``local_report.json``."""
    columns = computable(study, table)
    variables = variables_of(study)
    held_out = int(columns[TEST_COLUMN].sum())
    try:
        alone, _ = fit_alone(columns, variables, rule_of(study))
        alone_here = _performance(columns, study, alone)
    except WardroundError:  # too few records for a fit of its own: a fact, not a failure
        alone_here = None
    report = LocalReport(
        name=home.name,
        records_used=len(table),
        records_total=table.records_total,
        quarantine=table.quarantine.summary(),
        source=", ".join(sorted({one.kind for one in home.mapping.sources})),
        n_train=len(table) - held_out,
        n_test=held_out,
        bytes_out=figures.bytes_out,
        opened_numbers=figures.opened_numbers,
        alone=alone_here,
        federated_here=_performance(columns, study, federated),
        sandbox=Sandbox(
            enforced=tuple(sorted(limit.value for limit in limits.enforced)),
            missing={limit.value: why for limit, why in sorted(limits.missing.items())},
            simulated=limits.simulated,
        ),
    )
    report.save(home.reports / "local_report.json")
    return report


def _performance(
    columns: Mapping[str, NDArray[np.float64]], study: Study, model: LinearModel
) -> Performance:
    return Performance.model_validate(assess(columns, variables_of(study), model).to_json())
