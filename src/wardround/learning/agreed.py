"""What a signed study fixes for learning, in the form that tasks and fits need it."""

from __future__ import annotations

from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.errors import WardroundError
from wardround.learning import server
from wardround.learning.fit import Grid, Rule
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Variables
from wardround.study import Study
from wardround.study.model import FedAvg as Averaging
from wardround.study.plan import lines, require_privacy
from wardround.study.profiles import Profile
from wardround.study.task import Compression, ServerStep
from wardround.trust.canonical import JSON

_ALWAYS = frozenset({"outcome_counts", "moments", "histogram"})


def allowed_kinds(study: Study) -> frozenset[str]:
    """The task kinds that the study's plan can ever ask for.

    A study by FedAvg ends with one Newton sum: it yields the standard errors, and tells how far
    from the optimum the rounds stopped. Under differential privacy the kinds are those that the
    study's lines have noise for.
    """
    if is_private(study):
        return frozenset(kind for line in lines(study) for kind in line.kinds)
    family = Family(study.model.kind)
    scored = "score_histogram" if family is Family.LOGISTIC else "prediction_moments"
    kinds = _ALWAYS | {f"newton_{family}", scored}
    if study.model.folds is not None:
        kinds |= {"fold_newton", "fold_scores"}
    if study.model.algorithm != "fedavg":
        return kinds
    return kinds | {"fedavg" if study.cohort.asynchronous is None else "buffered_fedavg"}


def is_private(study: Study) -> bool:
    """Whether every total of the study carries noise."""
    return study.profile is not Profile.SECURE_SUM


def expected_training(study: Study) -> float:
    """How many training patients all sites are expected to have: a public constant.

    Where a concept says who is held out, nobody knows beforehand, and all patients count.
    """
    share = 1.0 if study.data.held_out is not None else 1.0 - study.data.test_fraction
    return require_privacy(study).patients * share


def expected_test(study: Study) -> float:
    """How many held-out patients all sites are expected to have; a quarter where nobody knows."""
    share = 0.25 if study.data.held_out is not None else study.data.test_fraction
    return require_privacy(study).patients * share


def agreed_private(study: Study, kind: str) -> dict[str, JSON]:
    """What the study fixes of a private task beside ``variables``, by the task's kind."""
    privacy = require_privacy(study)
    plan = privacy.training
    if kind == "private_moments":
        return {"patients": expected_training(study), "measured": _measured(study)}
    if kind == "private_gradient":
        fixed: dict[str, JSON] = {
            "training": {
                "patients": expected_training(study) * plan.sampling_rate,
                "adaptive_clipping": plan.adaptive_clipping,
            }
        }
        return fixed if plan.adaptive_clipping else {**fixed, "clipping_norm": plan.clipping_norm}
    if kind == "private_products":
        return {"clipping_norm": plan.clipping_norm}
    if kind == "private_fedavg":
        return {"training": _agreed_local_training(study)}
    return {}


def measured_variables(study: Study) -> tuple[bool, ...]:
    """Which of the features, and of a measured outcome, are not yes/no."""
    features = tuple(bool(one) for one in _measured(study))
    return (*features, True) if Family(study.model.kind) is Family.LINEAR else features


def _measured(study: Study) -> list[JSON]:
    """1 for each feature that is measured, 0 for a yes/no one."""
    graph = ConceptGraph.load()
    return [
        int(graph.concept(name).type is not ConceptType.BOOLEAN) for name in study.data.features
    ]


def _agreed_local_training(study: Study) -> dict[str, JSON]:
    plan, settings = require_privacy(study).training, averaging(study)
    (line,) = (line for line in lines(study) if "private_fedavg" in line.kinds)
    here = expected_training(study) / len(study.sites)
    return {
        "local_steps": line.events_per_task,
        "learning_rate": plan.learning_rate,
        "clipping_norm": plan.clipping_norm,
        "update_norm": settings.clipping_norm,
        "decay": study.model.ridges[0] / expected_training(study),
        "patients": here * plan.sampling_rate,
        "sites": len(study.sites),
    }


def rule_of(study: Study) -> Rule | Grid:
    """The study's penalty and stopping rule, or those of which cross-validation chooses one."""
    model = study.model
    family = Family(model.kind)
    rules = tuple(
        Rule(family, ridge, model.tolerance, model.maximum_steps) for ridge in model.ridges
    )
    return rules[0] if model.folds is None else Grid(rules, model.folds)


def variables_of(study: Study) -> Variables:
    """The study's features and outcome with their ranges; raises WR-LEARN-009."""
    return Variables.parse(Reader({"variables": agreed_variables(study)}))


def agreed_variables(study: Study) -> dict[str, JSON]:
    """The ``variables`` that every task carries; raises WR-LEARN-009 where a range is missing."""
    family = Family(study.model.kind)
    outcome = study.data.outcome
    return {
        "family": family.value,
        "features": [*study.data.features],
        "ranges": [_range(feature) for feature in study.data.features],
        "outcome": outcome,
        "outcome_range": [0.0, 1.0] if family is Family.LOGISTIC else _range(outcome),
    }


def agreed_training(study: Study) -> dict[str, JSON]:
    """The ``training`` that every `fedavg` and `buffered_fedavg` task carries."""
    settings = averaging(study)
    told: dict[str, JSON] = {
        "local_epochs": settings.local_epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "clipping_norm": settings.clipping_norm,
    }
    if settings.compression is not Compression.NONE:
        told["compression"] = settings.compression.value
    if settings.compression is Compression.RANDOM_K:
        told["sent_share"] = settings.share_sent
        told["sites"] = len(study.sites)
    if settings.proximal_mu is not None:
        told["proximal_mu"] = settings.proximal_mu
    return told


def server_step(study: Study) -> server.Step:
    """What the study makes of the mean update of a round or a cohort; raises WR-LEARN-003."""
    settings = averaging(study)
    make = _SERVER_STEPS[settings.server or ServerStep.FEDAVG]
    rate = settings.server_learning_rate
    return make() if rate is None else make(rate)


_SERVER_STEPS = {
    ServerStep.FEDAVG: server.plain,
    ServerStep.FEDBUFF: server.plain,
    ServerStep.FEDASYNC: server.plain,
    ServerStep.FEDADAM: server.adam,
    ServerStep.FEDYOGI: server.yogi,
    ServerStep.FEDADAGRAD: server.adagrad,
}


def averaging(study: Study) -> Averaging:
    """How the study's hospitals train on their own; raises WR-LEARN-003 where it doesn't say."""
    if study.model.fedavg is None:
        raise WardroundError(
            "WR-LEARN-003",
            "The study doesn't say how FedAvg is to train.",
            "Add a [model.fedavg] table to the study.",
            path="model.fedavg",
        )
    return study.model.fedavg


def _range(concept: str) -> list[JSON]:
    plausible = ConceptGraph.load().concept(concept).plausible
    if plausible is None:
        raise WardroundError(
            "WR-LEARN-009",
            f"The concept {concept} has no plausible range, so sums over it have no bound.",
            "Give the concept a range in the concept graph, or leave it out of the study.",
            path=f"concepts.{concept}.plausible",
        )
    return [float(plausible[0]), float(plausible[1])]
