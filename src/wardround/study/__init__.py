"""What the hospitals agree on and sign: the study document and the tasks that follow from it."""

from wardround.study.task import Algorithm, Contribution, ModelKind, ModelSpec, Task

__all__ = ["Algorithm", "Contribution", "ModelKind", "ModelSpec", "Task"]
