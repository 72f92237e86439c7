"""Models on their way to a hospital, over lines that cut, alter and forget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from studies import KEYS
from ward import code_of
from wardround.coordinator.models import OutgoingModels
from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES
from wardround.ids import Digest, SiteName, StudyId
from wardround.site.download import ATTEMPTS, Download
from wardround.site.link import Link
from wardround.store.blobs import Blobs
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

STUDY = digest(b"study")
COORDINATOR = SigningKey.generate()
SECRET = bytes(32)
NUMBERS = (3 * PART_BYTES + 4096) // 8
LAST = 3
"""Number of the last part."""


class Stopped(Exception):
    """The agent's process ends here."""


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=NUMBERS)


MODEL = numbers().tobytes()
NAME = digest(MODEL)
NEXT = (numbers() * (1 + 1e-9)).tobytes()


@dataclass
class Coordinator:
    """Serves models as the coordinator's routes do; ``meddle`` may change or refuse a part."""

    models: OutgoingModels
    meddle: Callable[[int, bytes], bytes] = lambda _number, part: part
    fetched: list[tuple[Digest, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def part(self, name: Digest, number: int) -> bytes:
        part = self.meddle(number, b"".join(self.models.read_part(name, number)))
        self.fetched.append((name, number))
        return part

    async def part_list(self, name: Digest) -> Envelope:
        self.asked.append("list")
        return await self.models.parts(name)

    async def delta_list(self, name: Digest, base: Digest) -> Envelope | None:
        self.asked.append("delta")
        return await self.models.delta(name, base)

    def numbers(self) -> list[int]:
        return [number for _, number in self.fetched]


@dataclass
class Clock:
    """Every look at it is ``tick`` seconds after the one before."""

    tick: float = 10.0
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    blobs = Blobs(tmp_path / "blobs")
    for model in (MODEL, NEXT):
        blobs.put(model)
    models = OutgoingModels(STUDY, COORDINATOR, blobs)
    models.offer(NAME)
    return Coordinator(models)


def download(
    source: Coordinator, folder: Path, *, secret: bytes = SECRET, tick: float = 10.0
) -> tuple[Download, list[str]]:
    trouble: list[str] = []
    return (
        Download(
            source,
            STUDY,
            COORDINATOR.public,
            folder,
            secret,
            lambda error: trouble.append(error.code),
            Clock(tick),
        ),
        trouble,
    )


def written(folder: Path) -> list[Path]:
    return list(folder.glob("*.download"))


async def test_a_model_comes_whole(coordinator: Coordinator, tmp_path: Path) -> None:
    one, trouble = download(coordinator, tmp_path)
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 2, 3] and not trouble
    assert not written(tmp_path)


@pytest.mark.parametrize("bad", range(LAST + 1))
async def test_a_part_that_was_altered_is_fetched_again_and_no_other(
    coordinator: Coordinator, tmp_path: Path, bad: int
) -> None:
    left = [b"\x00"]

    def alter_once(number: int, part: bytes) -> bytes:
        return part[:-1] + left.pop() if number == bad and left else part

    coordinator.meddle = alter_once
    one, trouble = download(coordinator, tmp_path)
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert sorted(coordinator.numbers()) == sorted([0, 1, 2, 3, bad])
    assert trouble == ["WR-SITE-151"]


@pytest.mark.parametrize("wrong", [b"", b"x", MODEL[: PART_BYTES + 1]])
async def test_a_part_that_never_comes_right_has_a_code(
    coordinator: Coordinator, tmp_path: Path, wrong: bytes
) -> None:
    coordinator.meddle = lambda number, part: wrong if number == 1 else part
    one, _ = download(coordinator, tmp_path)
    assert await code_of(one.model(NAME, len(MODEL))) == "WR-SITE-151"
    assert coordinator.numbers() == [0, *[1] * ATTEMPTS]


def stop_at(part: int) -> Callable[[int, bytes], bytes]:
    def stop(number: int, data: bytes) -> bytes:
        if number == part:
            raise Stopped
        return data

    return stop


@pytest.mark.parametrize("cut", range(LAST + 1))
async def test_an_agent_that_is_restarted_goes_on_where_it_stopped(
    coordinator: Coordinator, tmp_path: Path, cut: int
) -> None:
    coordinator.meddle = stop_at(cut)
    with pytest.raises(Stopped):
        await download(coordinator, tmp_path)[0].model(NAME, len(MODEL))
    coordinator.meddle = lambda _number, part: part
    assert await download(coordinator, tmp_path)[0].model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 2, 3], "no part twice"
    assert not written(tmp_path)


async def test_what_lies_on_the_disk_is_sealed_and_only_believed_if_it_is_what_was_signed(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.meddle = stop_at(2)
    with pytest.raises(Stopped):
        await download(coordinator, tmp_path)[0].model(NAME, len(MODEL))
    (path,) = written(tmp_path)
    kept = path.read_bytes()
    assert MODEL[:64] not in kept and MODEL[PART_BYTES : PART_BYTES + 64] not in kept
    assert path.stat().st_mode & 0o077 == 0
    damaged = bytearray(kept)
    damaged[100] ^= 1
    path.write_bytes(damaged)
    coordinator.meddle = lambda _number, part: part
    assert await download(coordinator, tmp_path)[0].model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 0, 2, 3], "the damaged one again"


async def test_another_hospitals_secret_opens_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.meddle = stop_at(2)
    with pytest.raises(Stopped):
        await download(coordinator, tmp_path)[0].model(NAME, len(MODEL))
    coordinator.meddle = lambda _number, part: part
    one, _ = download(coordinator, tmp_path, secret=b"\x01" * 32)
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 0, 1, 2, 3]


async def test_a_round_that_was_given_up_half_way_costs_no_part(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.meddle = stop_at(2)
    one, _ = download(coordinator, tmp_path, tick=0.0)  # too quick to be written down
    with pytest.raises(Stopped):
        await one.model(NAME, len(MODEL))
    assert not written(tmp_path)
    coordinator.meddle = lambda _number, part: part
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 2, 3]


async def test_a_full_disk_costs_no_round(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wardround.site.download.os.pwrite", full)
    one, _ = download(coordinator, tmp_path)
    assert await one.model(NAME, len(MODEL)) == MODEL


async def test_a_list_under_another_key_or_of_another_model_is_refused(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    stranger = Download(coordinator, STUDY, KEYS["lakeside"].public, tmp_path, SECRET)
    assert await code_of(stranger.model(NAME, len(MODEL))) == "WR-TRUST-022"
    other = Download(coordinator, digest(b"other"), COORDINATOR.public, tmp_path, SECRET)
    assert await code_of(other.model(NAME, len(MODEL))) == "WR-ROUND-001"
    assert await code_of(download(coordinator, tmp_path)[0].model(NAME, len(MODEL) + 8)) == (
        "WR-ROUND-001"
    )
    assert coordinator.fetched == []


# The delta


async def remembered(one: Download) -> None:
    one.keep(NAME, await one.model(NAME, len(MODEL)))


async def test_a_model_that_is_remembered_is_not_fetched_again(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    one, _ = download(coordinator, tmp_path)
    await remembered(one)
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert coordinator.numbers() == [0, 1, 2, 3]


async def test_on_a_slow_line_the_next_model_comes_as_a_delta(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    one, trouble = download(coordinator, tmp_path)
    await remembered(one)
    coordinator.fetched.clear()
    coordinator.models.offer(digest(NEXT))
    assert await one.model(digest(NEXT), len(NEXT)) == NEXT
    assert {name for name, _ in coordinator.fetched}.isdisjoint({digest(NEXT), NAME})
    assert len(coordinator.fetched) < 4 and not trouble
    assert not written(tmp_path)


async def test_on_a_fast_line_nobody_asks_for_one(coordinator: Coordinator, tmp_path: Path) -> None:
    one, _ = download(coordinator, tmp_path, tick=0.0001)
    await remembered(one)
    coordinator.models.offer(digest(NEXT))
    assert await one.model(digest(NEXT), len(NEXT)) == NEXT
    assert "delta" not in coordinator.asked


async def test_without_a_smaller_delta_the_whole_model_comes(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    other = np.random.default_rng(5).bytes(len(MODEL))
    coordinator.models._blobs.put(other)
    one, trouble = download(coordinator, tmp_path)
    await remembered(one)
    coordinator.models.offer(digest(other))
    assert await one.model(digest(other), len(other)) == other
    assert coordinator.asked == ["list", "delta", "list"] and not trouble


async def test_a_wrong_delta_is_not_used(coordinator: Coordinator, tmp_path: Path) -> None:
    """Signed and all, and yet it makes another model: the manifest's digest decides."""
    one, trouble = download(coordinator, tmp_path)
    await remembered(one)
    wrong = OutgoingModels(STUDY, COORDINATOR, coordinator.models._blobs)
    right = wrong._difference

    wrong.offer(NAME)
    wrong.offer(digest(NEXT))
    third = (numbers() * (1 + 1e-7)).tobytes()
    wrong._blobs.put(third)
    wrong._difference = lambda name, base: _relabelled(right(digest(third), base), name)
    coordinator.models = wrong
    assert await one.model(digest(NEXT), len(NEXT)) == NEXT
    assert trouble == ["WR-ROUND-001"]
    assert {number for name, number in coordinator.fetched if name == digest(NEXT)} == {0, 1, 2, 3}


def _relabelled(made: object, name: Digest) -> object:
    listed, data = made
    return listed.model_copy(update={"model": name}), data


# Over the agent's link, on a line that is cut at every request


async def test_a_line_that_is_cut_at_every_part_brings_the_model_all_the_same(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround.site.link._FIRST_PAUSE_S", 0.0)
    seen: set[str] = set()
    served: list[str] = []

    async def cut_first(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path not in seen:
            seen.add(path)
            raise httpx.ReadError("cut", request=request)
        served.append(path.rsplit("/", 1)[1])
        if path.endswith("/parts"):
            return httpx.Response(200, content=(await coordinator.part_list(NAME)).to_json())
        number = int(path.rsplit("/", 1)[1])
        return httpx.Response(200, content=await coordinator.part(NAME, number))

    client = httpx.AsyncClient(
        transport=httpx.MockTransport(cut_first), base_url="https://localhost"
    )
    identity = SpiffeId.of_site("localhost", StudyId("breast-mass"), SiteName("lakeside"))
    link = Link(client, SigningKey.generate(), identity)
    one = Download(link, STUDY, COORDINATOR.public, tmp_path, SECRET)
    assert await one.model(NAME, len(MODEL)) == MODEL
    assert served == ["parts", "0", "1", "2", "3"]


async def test_the_current_model_is_served_and_no_other(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.models.offer(digest(NEXT))
    for refused in (
        coordinator.part_list(NAME),
        coordinator.delta_list(NAME, digest(NEXT)),
        coordinator.part(NAME, 0),
    ):
        assert await code_of(refused) == "WR-COORD-027"
    coordinator.models.offer(None)
    with pytest.raises(WardroundError, match="WR-COORD-027"):
        await coordinator.part_list(digest(NEXT))
