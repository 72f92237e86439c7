"""Workers for the tests of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from wardround.sandbox import ConfinedWorker, HostLimits, Limits, probe

COLUMNS = {"a": np.array([1234.5678, 2.0, 3.0]), "b": np.array([10.0, 20.0, 30.0])}

MakeWorker = Callable[..., Awaitable[ConfinedWorker]]


@pytest.fixture(autouse=True, scope="session")
def entries() -> Iterator[None]:
    """Make the tests' computations importable as a module of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture(scope="session")
def host() -> HostLimits:
    return probe(use_bubblewrap=False)


@pytest_asyncio.fixture
async def make_worker() -> AsyncIterator[MakeWorker]:
    """Start workers that hold COLUMNS and end with the test; what is required is nothing."""
    made: list[ConfinedWorker] = []

    async def make(name: str, limits: Limits | None = None, **options) -> ConfinedWorker:
        options = {"required": frozenset(), "use_bubblewrap": False, **options}
        worker = ConfinedWorker(f"sandbox_entries:{name}", limits=limits, **options)
        made.append(worker)
        await worker.start()
        await worker.load(COLUMNS)
        return worker

    yield make
    for worker in made:
        await worker.close()
