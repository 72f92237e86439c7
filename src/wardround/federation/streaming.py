"""What a stream's task is at each version of its model: both ends and the auditor make it alike.

A stream has one question, its task with the first model; everyone is ready for that. What a site
computes is the same question at the version that it trained from, and the version's number is the
task's round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wardround.federation.messages import ModelVersion, malformed
from wardround.ids import RoundId, RunId, SiteName
from wardround.secagg import Ready
from wardround.study import Task
from wardround.trust.canonical import JSON, digest_json, parse_json
from wardround.trust.dsse import Envelope


def version_scope(run: RunId, number: int) -> RoundId:
    """The name under which a site's refusal to train from a version is kept."""
    return RoundId(f"{run}.v.{number:06d}")


def staleness(
    ready: Mapping[SiteName, Envelope],
    survivors: Iterable[SiteName],
    versions: Sequence[ModelVersion],
    newest: int,
) -> dict[SiteName, int]:
    """By how many versions each survivor of a cohort was behind, as its ready statement says.

    ``newest`` is the number of the version that was the newest when the cohort masked. The
    signatures have been verified. Raises WR-SECAGG-006 for a statement that is none, WR-ROUND-001
    for one about a model that was not among the ``versions``.
    """
    known = {one.model: one.number for one in versions if one.number <= newest}
    found = {}
    for site in survivors:
        said = Ready.from_wire(parse_json(ready[site].payload, code="WR-SECAGG-006"))
        number = known.get(said.model)
        if number is None:
            raise malformed("ready statement")
        found[site] = newest - number
    return found


def at_version(
    question: Mapping[str, JSON], version: ModelVersion, model: bytes | memoryview
) -> Task:
    """The task of a stream at one version, from the untrusted wire form of its question.

    Raises WR-ROUND-001 when the version is one of another question, WR-STUDY-060 or -061 for a
    malformed task or another model.
    """
    parameters, described = question.get("parameters"), question.get("model")
    if (
        digest_json(dict(question)) != version.task
        or not isinstance(parameters, Mapping)
        or not isinstance(described, Mapping)
    ):
        raise malformed("question of a stream")
    wire: dict[str, JSON] = {
        **question,
        "parameters": {**parameters, "round": version.number},
        "model": {**described, "digest": version.model},
    }
    return Task.from_wire(wire, model)
