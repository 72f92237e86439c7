"""The hospital's own report of a run: its figures never pass the door.

The hospital fits the study's model on its own records alone and tries the federated one on its
own held-out records; what it learns stays in ``reports/local_report.json``. All of it is over the
records that the study used: the patients whom the steward excluded are left out here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from wardround.clinical.table import FeatureTable
from wardround.errors import WardroundError
from wardround.governance.artefact import Model, load_model, open_model
from wardround.governance.files import write_whole
from wardround.governance.report.data import LetPass, LocalReport, Performance, Sandbox
from wardround.ids import Digest
from wardround.learning.agreed import agreed_variables, rule_of, variables_of
from wardround.learning.glm import LinearModel
from wardround.learning.own import figures_request, fit_request, pack, read_figures
from wardround.learning.records import TEST_COLUMN
from wardround.sandbox import HostLimits
from wardround.sandbox.interface import Vector, Worker
from wardround.site.custody import computable
from wardround.site.home import SiteHome
from wardround.study import Study
from wardround.trust.canonical import JSON, digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import sync_folder


@dataclass(frozen=True)
class Figures:
    """What the agent counted while it took part."""

    bytes_out: int
    opened_numbers: int
    bytes_in: int = 0


def keep_model(
    home: SiteHome, study: Study, documents: Mapping[str, JSON], weights: bytes
) -> Digest:
    """Check the finished model against the coordinator's signature and keep its files.

    ``documents`` are what came with it, and under ``run`` the run that has ended.
    """
    description, signature = documents.get("description"), documents.get("signature")
    if not isinstance(description, str) or not isinstance(signature, Mapping):
        raise WardroundError(
            "WR-SITE-051",
            "The coordinator ended the run without a signed model.",
            "Ask the study's coordinator; nothing was taken over.",
        )
    envelope = Envelope.from_json(signature)
    model = open_model(weights, description.encode(), envelope, study.coordinator_key)
    if (model.statement.study, model.statement.run) != (study.digest, documents.get("run")):
        raise WardroundError(
            "WR-SITE-051",
            "The model with which the coordinator ended the run is of another study or run.",
            "Ask the study's coordinator; nothing was taken over.",
        )
    folder = home.reports / "model"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "model.safetensors", weights)
    write_whole(folder / "model.json", description.encode())
    write_whole(folder / "model.sig.json", envelope.to_json() + b"\n")
    for new in (home.reports, home.reports.parent):  # countersigned next, so it must be here then
        sync_folder(new)
    _fitted(study, model)
    return digest(envelope.payload)


def kept_model(home: SiteHome) -> LinearModel:
    """The finished model that `keep_model` has kept; raises the codes of `load_model`."""
    study = home.study
    return _fitted(study, load_model(home.reports / "model", study.coordinator_key))


def _fitted(study: Study, model: Model) -> LinearModel:
    variables = variables_of(study)
    arrays = {name: array.astype("float64") for name, array in model.arrays.items()}
    return LinearModel.from_arrays(variables.family, variables.features, arrays)


async def write_local_report(
    home: SiteHome,
    table: FeatureTable,
    federated: LinearModel,
    worker: Worker,
    limits: HostLimits,
    figures: Figures,
) -> LocalReport:
    """Fit alone, compare, and write ``local_report.json``.

    ``table`` holds the records that are used, without the excluded patients, who are counted in
    its quarantine. ``worker`` has been started with the entry `learning.own.compute`; ``limits``
    are those that held for the study's own computations.
    """
    study = home.study
    columns = computable(study, table)
    held_out = int(columns[TEST_COLUMN].sum())
    alone_here = federated_here = None
    if len(table):
        await worker.load(columns)
        federated_here = await _performance(worker, study, pack(federated))
        alone_here = await _alone(worker, study)
    report = LocalReport(
        name=home.name,
        records_used=len(table),
        records_total=table.records_total,
        quarantine=table.quarantine.summary(),
        source=", ".join(sorted({one.kind for one in home.mapping.sources})),
        n_train=len(table) - held_out,
        n_test=held_out,
        bytes_out=figures.bytes_out,
        bytes_in=figures.bytes_in,
        opened_numbers=figures.opened_numbers,
        alone=alone_here,
        federated_here=federated_here,
        sandbox=Sandbox(
            enforced=tuple(sorted(limit.value for limit in limits.enforced)),
            missing={limit.value: why for limit, why in sorted(limits.missing.items())},
            simulated=limits.simulated,
        ),
        checks=dict(Counter(one.level.value for one in home.records.findings)),
        let_pass=tuple(
            LetPass(check=one.check.heading, concept=one.concept, override=one.override)
            for one in home.records.findings
            if one.override is not None
        ),
    )
    report.save(home.reports / "local_report.json")
    return report


async def _alone(worker: Worker, study: Study) -> Performance | None:
    """How the hospital would have done by itself; None where its records don't carry a fit."""
    try:
        model = await worker.call(fit_request(agreed_variables(study), rule_of(study)))
    except WardroundError as error:
        if not error.code.startswith("WR-LEARN"):
            raise
        return None  # too few records, say: a fact, not a failure
    return await _performance(worker, study, model)


async def _performance(worker: Worker, study: Study, model: Vector) -> Performance:
    answer = await worker.call(figures_request(agreed_variables(study)), model)
    return Performance.model_validate(read_figures(answer.astype("float64")))
