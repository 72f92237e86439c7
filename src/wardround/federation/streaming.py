"""What a stream's task is at each version of its model: both ends and the auditor make it alike.

A stream has one question, its task with the first model; everyone is ready for that. What a site
computes is the same question at the version that it trained from, and the version's number is the
task's round.
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround.federation.messages import ModelVersion, malformed
from wardround.ids import RoundId, RunId
from wardround.study import Task
from wardround.trust.canonical import JSON, digest_json


def version_scope(run: RunId, number: int) -> RoundId:
    """The name under which a site's refusal to train from a version is kept."""
    return RoundId(f"{run}.v.{number:06d}")


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
