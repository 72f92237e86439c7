"""The one error that people see, with a stable code and a way to mend it.

Every code has a page in ``wardround/cli/errors/<AREA>.md``, printed by ``wardround explain``.
"""

from __future__ import annotations


class WardroundError(Exception):
    """A refusal or failure with a stable code.

    ``problem`` says in one sentence what is wrong, ``remedy`` in one how to mend it, ``path``
    where (a key such as ``model.ridge``, or ``file:line``). None ever holds a patient's value.
    """

    def __init__(self, code: str, problem: str, remedy: str, *, path: str | None = None) -> None:
        super().__init__(code, problem, remedy, path)
        self.code = code
        self.problem = problem
        self.remedy = remedy
        self.path = path

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path else ""
        return f"{self.code}{where}: {self.problem} {self.remedy}"


class WardroundErrors(WardroundError):
    """Several problems of one document, reported together so that all are mended in one go."""

    def __init__(self, errors: tuple[WardroundError, ...]) -> None:
        first = errors[0]
        super().__init__(first.code, first.problem, first.remedy, path=first.path)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
