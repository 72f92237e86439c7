"""What the keys of a study must be together, beyond what each must be alone."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.errors import WardroundError
from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES
from wardround.secagg.partition import group_sizes, least_group
from wardround.study.profiles import Profile
from wardround.study.task import Algorithm, Compression, ModelKind, ServerStep

if TYPE_CHECKING:
    from wardround.study.document import Study
    from wardround.study.privacy import Privacy

HISTOGRAM_BINS = 64
"""Bins of each variable's noisy histogram, the first release of every private study."""

_NOISY = (Algorithm.DP_SGD, Algorithm.NOISY_STATISTICS)
_OUTCOME_TYPES = {
    ModelKind.LOGISTIC: ConceptType.BOOLEAN,
    ModelKind.LINEAR: ConceptType.NUMERIC,
}


def disagreements(study: Study) -> Iterator[WardroundError]:
    """Yield every way in which the study's parts contradict each other or the concept graph."""
    yield from _sites(study)
    if MINIMUM_SITES <= len(study.sites) <= MAXIMUM_SITES:
        yield from _cohort(study)
        yield from _groups(study)
        yield from _asynchronous(study)
        yield from _target(study)
    yield from _concepts(study, ConceptGraph.load())
    yield from _model(study)
    yield from _server(study)
    yield from _policy(study)
    yield from _privacy(study)


def _sites(study: Study) -> Iterator[WardroundError]:
    if not MINIMUM_SITES <= len(study.sites) <= MAXIMUM_SITES:
        yield WardroundError(
            "WR-STUDY-053",
            f"The study has {len(study.sites)} sites.",
            f"A study needs {MINIMUM_SITES} to {MAXIMUM_SITES}: with fewer, each would see what "
            "the others sent; more than the services carry yet.",
            path="sites",
        )
    names = Counter(site.name for site in study.sites)
    for name in (name for name, count in names.items() if count > 1):
        yield WardroundError(
            "WR-STUDY-019",
            f"The site {name!r} stands in the study more than once.",
            "Give every hospital a name of its own.",
            path="sites",
        )
    keys = Counter((study.coordinator.signing_key, *(site.signing_key for site in study.sites)))
    if any(count > 1 for key, count in keys.items() if key):
        yield WardroundError(
            "WR-STUDY-020",
            "Two parties of the study have the same signing key.",
            "Every hospital and the coordinator make a key of their own; ask for the missing one.",
            path="sites",
        )


def _cohort(study: Study) -> Iterator[WardroundError]:
    count, corrupt = len(study.sites), study.corrupt_sites
    if corrupt > count - 2:
        yield WardroundError(
            "WR-STUDY-029",
            f"Of {count} sites {corrupt} can't be assumed corrupt: at least two honest "
            "contributions must hide each other.",
            f"State at most {count - 2}, or leave it out for the usual assumption.",
            path="adversary.corrupt_sites",
        )
    elif study.adversary().minimum_survivors > count:
        yield WardroundError(
            "WR-STUDY-029",
            f"With {corrupt} of {count} sites corrupt, no round could ever be opened.",
            "Assume fewer corrupt sites or invite more hospitals.",
            path="adversary.corrupt_sites",
        )
    if study.cohort.minimum_sites > count:
        yield WardroundError(
            "WR-STUDY-021",
            f"A round needs {study.cohort.minimum_sites} sites, and the study has {count}.",
            f"Lower cohort.minimum_sites to at most {count}, or invite more hospitals.",
            path="cohort.minimum_sites",
        )


def _groups(study: Study) -> Iterator[WardroundError]:
    groups = study.cohort.groups
    if groups is None:
        return
    if groups.redraw_steps is not None and study.privacy is None:
        yield WardroundError(
            "WR-STUDY-171",
            "Without noise, sums over other groups of the same hospitals subtract to a few "
            "hospitals' own, so the groups stay as they were drawn.",
            "Leave redraw_steps out, or plan the study with noise (`[privacy]`).",
            path="cohort.groups.redraw_steps",
        )
    count, corrupt = len(study.sites), study.corrupt_sites
    least = least_group(corrupt, study.cohort.minimum_sites, groups.tolerated_dropouts)
    if study.smallest_cohort >= least:
        return
    sizes = " or ".join(str(size) for size in sorted(set(group_sizes(count, groups.number))))
    possible = count // least
    if possible < 2:
        remedy = "Invite more hospitals, "
        if 2 * least <= MAXIMUM_SITES:
            remedy = f"Invite more hospitals ({2 * least} at least), "
    else:
        remedy = f"Ask for {possible} groups at most, "
    yield WardroundError(
        "WR-STUDY-093",
        f"{groups.number} groups of {count} sites would have {sizes} members; each needs at least "
        f"{least}, as any {corrupt} sites may be corrupt and all of them in one group, and "
        f"{groups.tolerated_dropouts} may be missing.",
        f"{remedy}assume fewer corrupt sites, or tolerate fewer dropouts.",
        path="cohort.groups",
    )


def _asynchronous(study: Study) -> Iterator[WardroundError]:
    """Late cohorts are sums of updates of whoever is ready, over the whole study, without noise."""
    if study.cohort.asynchronous is None:
        return
    path = "cohort.asynchronous"
    if study.model.algorithm is not Algorithm.FEDAVG:
        yield WardroundError(
            "WR-STUDY-155",
            f"Nobody can train at their own pace with {study.model.algorithm.value}.",
            'It belongs to algorithm = "fedavg": remove the table, or choose that.',
            path=path,
        )
    others = [
        ("groups", study.cohort.groups is not None, "one asynchronous cohort is a group already"),
        ("noise", study.profile is not Profile.SECURE_SUM, "its noise is not worked out for them"),
    ]
    for what, there, why in others:
        if there:
            yield WardroundError(
                "WR-STUDY-156",
                f"Asynchronous cohorts do not go together with {what}: {why}.",
                f"Remove the table [cohort.asynchronous], or do without {what}.",
                path=path,
            )
    try:
        terms = study.late_terms
    except WardroundError as error:
        yield WardroundError(
            "WR-STUDY-150", error.problem, error.remedy, path="cohort.asynchronous.sites"
        )
        return
    if terms.size > len(study.sites):
        yield WardroundError(
            "WR-STUDY-150",
            f"A cohort needs {terms.size} sites, and the study has {len(study.sites)}.",
            "Invite more hospitals, assume fewer corrupt sites, or tolerate fewer dropouts.",
            path="cohort.asynchronous.sites",
        )


def _target(study: Study) -> Iterator[WardroundError]:
    cohort = study.cohort
    if cohort.target_sites is None:
        if cohort.adaptive or cohort.over_selection:
            yield WardroundError(
                "WR-STUDY-145",
                "The study chooses among its hospitals and does not say how many it wants.",
                "Write cohort.target_sites, or leave selection and over_selection out.",
                path="cohort.target_sites",
            )
        return
    if cohort.groups is not None:
        yield WardroundError(
            "WR-STUDY-146",
            "A study with groups asks all members of each group and waits for all of them.",
            "Leave target_sites and selection out; cohort.groups.tolerated_dropouts says how many "
            "may be missing.",
            path="cohort.target_sites",
        )
        return
    if cohort.over_selection and not cohort.adaptive:
        yield WardroundError(
            "WR-STUDY-145",
            "Nobody can be asked beyond all hospitals.",
            'Leave cohort.over_selection out, or write selection = "adaptive".',
            path="cohort.over_selection",
        )
    count = len(study.sites)
    least = _least_survivors(study)
    most = count - cohort.over_selection
    if least is not None and not least <= cohort.target_sites <= most:
        yield WardroundError(
            "WR-STUDY-147",
            f"{cohort.target_sites} of {count} contributions can't be what is wanted: a total is "
            f"opened over at least {least}, and {cohort.over_selection} more are asked.",
            f"State a number from {least} to {most}."
            if least <= most
            else "Ask for fewer beyond those that are wanted.",
            path="cohort.target_sites",
        )


def _least_survivors(study: Study) -> int | None:
    """The least cohort that is opened; None where the adversary statement makes no sense."""
    try:
        return study.minimum_survivors()
    except WardroundError:  # reported as what it is, with the cohort
        return None


def _concepts(study: Study, graph: ConceptGraph) -> Iterator[WardroundError]:
    data = study.data
    named = [("data.outcome", data.outcome)]
    named += [(f"data.features[{i}]", feature) for i, feature in enumerate(data.features)]
    named += [(f"data.also_required[{i}]", one) for i, one in enumerate(data.also_required)]
    for path, concept in named:
        if concept not in graph:
            known = [entry.id for entry in graph.concepts]
            near = difflib.get_close_matches(concept, known, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
            yield WardroundError(
                "WR-STUDY-012", f"The concept {concept!r} is unknown.", hint, path=path
            )
    if data.held_out is not None and (
        data.held_out not in graph
        or graph.concept(data.held_out).type is not ConceptType.BOOLEAN
        or data.held_out not in data.also_required
        or data.held_out in (data.outcome, *data.features)
    ):
        yield WardroundError(
            "WR-STUDY-056",
            f"{data.held_out!r} can't say who is held out.",
            "Name a boolean concept that is no feature and not the outcome, and name it in "
            "data.also_required as well.",
            path="data.held_out",
        )
    if len(set(data.features)) < len(data.features) or data.outcome in data.features:
        yield WardroundError(
            "WR-STUDY-013",
            "A concept is named twice among the features and the outcome.",
            "Name each feature once, and don't predict the outcome from itself.",
            path="data.features",
        )
    if data.outcome in graph:
        needed = _OUTCOME_TYPES[study.model.kind]
        if graph.concept(data.outcome).type is not needed:
            yield WardroundError(
                "WR-STUDY-014",
                f"A {study.model.kind.value} model predicts a {needed.value} concept, "
                f"and {data.outcome!r} is none.",
                'Choose another outcome, or the other model.kind ("logistic" or "linear").',
                path="data.outcome",
            )
    for path, concept in named:
        # A concept's plausible range bounds what a hospital contributes, so it must have one.
        if concept in graph and not _is_bounded_number(graph, concept):
            yield WardroundError(
                "WR-STUDY-047",
                f"The concept {concept!r} is no number with a plausible range.",
                "Choose a numeric or boolean concept; dates enter through what derives from them, "
                "such as an age.",
                path=path,
            )


def _is_bounded_number(graph: ConceptGraph, concept: str) -> bool:
    entry = graph.concept(concept)
    return entry.type in _OUTCOME_TYPES.values() and entry.plausible is not None


def _model(study: Study) -> Iterator[WardroundError]:
    wanted = study.model.algorithm is Algorithm.FEDAVG
    if wanted != (study.model.fedavg is not None):
        yield WardroundError(
            "WR-STUDY-036",
            f"The table [model.fedavg] is {'missing' if wanted else 'there without need'}.",
            'It belongs to algorithm = "fedavg" and to no other.',
            path="model.fedavg",
        )
    yield from _compression(study)
    yield from _random_k(study)
    grid = len(study.model.ridges) > 1
    if grid != (study.model.folds is not None) or (grid and wanted):
        yield WardroundError(
            "WR-STUDY-058",
            "A list of ridges needs folds, a single ridge has none, and fedavg takes no list.",
            'Give both, as in ridge = [0.01, 0.1, 1, 10] and folds = 5 for algorithm = "newton", '
            "or neither.",
            path="model.folds",
        )
    elif study.model.folds is not None:
        yield from _budget(study, len(study.model.ridges) * study.model.folds)


def _compression(study: Study) -> Iterator[WardroundError]:
    settings = study.model.fedavg
    compressed = settings is not None and settings.compression.lane_bits is not None
    if compressed and study.privacy is not None:
        yield WardroundError(
            "WR-STUDY-161",
            "Updates under differential privacy can't be compressed by rounding at random.",
            "The guarantee counts how far one patient moves a sum of whole steps; after a rotation "
            'and random rounding that is more, and not accounted for. Set compression = "none".',
            path="model.fedavg.compression",
        )
    if compressed and study.cohort.asynchronous is not None:
        yield WardroundError(
            "WR-STUDY-161",
            "Asynchronous cohorts don't compress their updates yet.",
            'Set compression = "none", or leave [cohort.asynchronous] out.',
            path="model.fedavg.compression",
        )


def _random_k(study: Study) -> Iterator[WardroundError]:
    """Sending the coordinates in turns, with a memory of the rest, fits plain averaging alone."""
    settings = study.model.fedavg
    if settings is None:
        return
    if settings.compression is not Compression.RANDOM_K:
        if settings.sent_share is not None:
            yield WardroundError(
                "WR-STUDY-163",
                "sent_share is there without need.",
                'It belongs to compression = "random-k": remove it, or choose that.',
                path="model.fedavg.sent_share",
            )
        return
    if study.privacy is not None:
        yield WardroundError(
            "WR-STUDY-164",
            "Under differential privacy no hospital can keep what it did not send.",
            "What one patient adds to a round would be in the sums of many later ones, beyond the "
            'clipped sensitivity that is paid for. Set compression = "none".',
            path="model.fedavg.compression",
        )
    if study.cohort.asynchronous is not None:
        yield WardroundError(
            "WR-STUDY-164",
            "Asynchronous cohorts are made of different hospitals, with no turns in common.",
            'Set compression = "none", or leave [cohort.asynchronous] out.',
            path="model.fedavg.compression",
        )
    if settings.server not in (None, ServerStep.FEDAVG):
        yield WardroundError(
            "WR-STUDY-164",
            "Adaptive server steps take a coordinate that is not sent for one that does not move.",
            'Leave server out, or set compression = "none" or "rotate8".',
            path="model.fedavg.server",
        )


def _server(study: Study) -> Iterator[WardroundError]:
    """Server steps and FedProx belong to plain updates; some steps to asynchronous ones."""
    fedavg = study.model.fedavg
    if fedavg is None:
        return
    late = (ServerStep.FEDBUFF, ServerStep.FEDASYNC)
    if fedavg.server in late and study.cohort.asynchronous is None:
        yield WardroundError(
            "WR-STUDY-157",
            f"{fedavg.server.value} is a step of asynchronous averaging.",
            "Add the table [cohort.asynchronous], or choose another model.fedavg.server.",
            path="model.fedavg.server",
        )
    set_ = (fedavg.server, fedavg.server_learning_rate, fedavg.proximal_mu)
    if study.profile is not Profile.SECURE_SUM and set_ != (None, None, None):
        yield WardroundError(
            "WR-STUDY-157",
            "With noise, hospitals take noisy steps of their own and their mean is added as it is.",
            "Leave server, server_learning_rate and proximal_mu out of [model.fedavg].",
            path="model.fedavg.server",
        )


def _budget(study: Study, fits: int) -> Iterator[WardroundError]:
    """Cross-validation opens so much that a limit for an ordinary fit ends it half-way."""
    coefficients = len(study.data.features) + 1
    step = coefficients * (coefficients + 1) // 2 + 2 * coefficients + 2
    # A fit takes two steps at the very least.
    least = 2 * fits * step * study.totals_per_step
    if study.disclosure.opened_numbers < least:
        yield WardroundError(
            "WR-STUDY-059",
            f"Cross-validation of {fits} fits opens at least {least} numbers, more than the study "
            "may.",
            f"About {5 * least} are usual for it; or ask for fewer ridges, folds or features.",
            path="disclosure.opened_numbers",
        )


def _privacy(study: Study) -> Iterator[WardroundError]:
    """Whether there is a budget where noise is promised, and whether it can be spent so."""
    privacy, model = study.privacy, study.model
    noisy = study.profile is not Profile.SECURE_SUM
    if not noisy:
        if privacy is not None:
            yield WardroundError(
                "WR-STUDY-114",
                "The profile 'secure-sum' adds no noise, so it can't keep what [privacy] promises.",
                "Choose the profile 'private', or remove the table.",
                path="privacy",
            )
        if model.algorithm in _NOISY:
            yield _algorithm(study, "newton or fedavg")
        return
    if privacy is None:
        yield lacks_privacy(study)
        return
    if model.algorithm is Algorithm.NEWTON or (
        model.algorithm is Algorithm.NOISY_STATISTICS and model.kind is not ModelKind.LINEAR
    ):
        linear = ", noisy-statistics" if model.kind is ModelKind.LINEAR else ""
        yield _algorithm(study, f"dp-sgd{linear} or fedavg")
    if len(model.ridges) > 1:
        yield WardroundError(
            "WR-STUDY-116",
            "Cross-validation fits many models, and the study's plan has no noise for them.",
            "Choose one ridge beforehand: tuning on the patients would spend their budget.",
            path="model.ridge",
        )
    yield from _delta(privacy)
    yield from _noisy_budget(study, privacy)
    training = privacy.training
    rounds = model.fedavg.rounds if model.fedavg is not None else 1
    if model.algorithm is Algorithm.FEDAVG and training.steps % rounds:
        yield WardroundError(
            "WR-STUDY-118",
            f"{training.steps} noisy steps can't be divided into {rounds} rounds.",
            "Choose a number of steps that is a multiple of model.fedavg.rounds.",
            path="privacy.training.steps",
        )
    if model.algorithm is Algorithm.NOISY_STATISTICS and (
        training.steps != 1 or training.sampling_rate != 1
    ):
        yield WardroundError(
            "WR-STUDY-118",
            "Noisy statistics are one sum over everybody.",
            "Write steps = 1 and leave sampling_rate out.",
            path="privacy.training.steps",
        )
    if training.sampling_rate * privacy.patients < 1:
        yield WardroundError(
            "WR-STUDY-119",
            f"Of {privacy.patients} patients a step would take fewer than one on average.",
            "Raise sampling_rate; below some thousand patients 1 is best.",
            path="privacy.training.sampling_rate",
        )


def not_asynchronous() -> WardroundError:
    """The refusal of a stream in a study that has not agreed to any."""
    return WardroundError(
        "WR-STUDY-154",
        "The study does not say that its hospitals train at their own pace.",
        "Add the table [cohort.asynchronous] to a new version of the study.",
        path="cohort.asynchronous",
    )


def _delta(privacy: Privacy) -> Iterator[WardroundError]:
    """Whoever gives out one patient's whole record at random keeps a delta of 1 / patients."""
    if privacy.delta is not None and privacy.delta * privacy.patients >= 1:
        usual = min(1e-5, 0.1 / privacy.patients)
        yield WardroundError(
            "WR-STUDY-131",
            f"With {privacy.patients} patients a delta of {privacy.delta:g} allows giving out the "
            "record of one of them.",
            f"State less than 1 / patients, or leave it out for {usual:.2g}.",
            path="privacy.delta",
        )


def _noisy_budget(study: Study, privacy: Privacy) -> Iterator[WardroundError]:
    """A plan opens more than the study may, so that it would end half-way, its epsilon spent."""
    features = len(study.data.features)
    measured = features + int(study.model.kind is ModelKind.LINEAR)
    match study.model.algorithm:
        case Algorithm.FEDAVG:
            releases = study.model.fedavg.rounds if study.model.fedavg else 1
            fit = releases * (features + 1)
        case Algorithm.NOISY_STATISTICS:
            fit = (features + 1) * (features + 2) // 2
        case _:
            fit = privacy.training.steps * (features + 1)
    # A histogram and a mean of each variable, the number of patients, and the fit.
    least = (measured * (HISTOGRAM_BINS + 1) + 1 + fit) * study.totals_per_step
    if study.disclosure.opened_numbers < least:
        yield WardroundError(
            "WR-STUDY-132",
            f"The study's plan opens at least {least} numbers, more than the study may.",
            f"State {2 * least} or so in disclosure.opened_numbers; or ask for fewer steps or "
            "features.",
            path="disclosure.opened_numbers",
        )


def lacks_privacy(study: Study) -> WardroundError:
    """The refusal of a study that promises noise and doesn't say how much."""
    if study.profile is Profile.SECURE_SUM:
        return WardroundError(
            "WR-STUDY-112",
            f"A study of the profile {study.profile.value!r} adds no noise, so it has no budget.",
            "For differential privacy choose the profile 'private', the algorithm 'dp-sgd', and "
            "add [privacy] with epsilon, patients and rationale.",
            path="profile",
        )
    return WardroundError(
        "WR-STUDY-112",
        f"A study of the profile {study.profile.value!r} lacks the table [privacy].",
        "Add epsilon, patients and rationale; `wardround privacy plan` proposes the rest.",
        path="privacy",
    )


def _algorithm(study: Study, instead: str) -> WardroundError:
    return WardroundError(
        "WR-STUDY-115",
        f"Under the profile {study.profile.value!r} no {study.model.kind.value} model is fitted by "
        f"{study.model.algorithm.value}.",
        f"Choose {instead}.",
        path="model.algorithm",
    )


def _policy(study: Study) -> Iterator[WardroundError]:
    clinical = study.profile is Profile.CLINICAL
    if clinical and study.policy is None:
        yield WardroundError(
            "WR-STUDY-045",
            "A study of the profile 'clinical' lacks its compliance policy.",
            "Add the table [policy]; `wardround schema policy` says what belongs in it.",
            path="policy",
        )
    if study.policy is None:
        return
    if not clinical:
        yield WardroundError(
            "WR-STUDY-046",
            f"The profile {study.profile.value!r} doesn't keep what the table [policy] promises.",
            "Choose the profile 'clinical', or remove the table.",
            path="policy",
        )
    allowed = study.policy.node_execution_bounds.maximum_local_epochs_per_round
    if study.local_epochs > allowed:
        yield WardroundError(
            "WR-STUDY-048",
            f"The study asks for {study.local_epochs} local epochs per round, and its policy "
            f"allows {allowed}.",
            "Have more rounds for as many noisy steps.",
            path="model.fedavg.rounds",
        )
    privacy, agreed = study.privacy, study.policy.cryptographic_privacy_guardrails
    if privacy is not None and privacy.epsilon > agreed.differential_privacy_epsilon:
        yield WardroundError(
            "WR-STUDY-130",
            f"The study may spend epsilon {privacy.epsilon:g}, and its policy allows "
            f"{agreed.differential_privacy_epsilon:g}.",
            "Lower privacy.epsilon, and have `wardround privacy plan` find the noise for it.",
            path="privacy.epsilon",
        )
