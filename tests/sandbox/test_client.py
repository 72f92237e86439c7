"""A worker as the agent uses it: what goes in, what comes out, how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import requires
from wardround.errors import WardroundError, WardroundErrors
from wardround.sandbox import ConfinedWorker, InlineWorker, Limit, Limits

NOTHING = frozenset[Limit]()


@pytest.fixture(params=["inline", "confined"])
def worker_of(request):
    """Both kinds of worker behave alike."""

    def make(name: str):
        entry = f"sandbox_entries:{name}"
        if request.param == "inline":
            return InlineWorker(entry)
        return ConfinedWorker(entry, required=NOTHING, use_bubblewrap=False)

    return make


@pytest.fixture
def columns():
    return {"a": np.array([1234.5678, 2.0]), "b": np.array([10.0, 20.0])}


async def _ready(worker, columns):
    await worker.start()
    await worker.load(columns)
    return worker


async def test_a_call_computes_on_the_columns_and_the_array(worker_of, columns):
    worker = await _ready(worker_of("add_up"), columns)
    result = await worker.call({"columns": ["b", "a"]}, np.array([7.0]))
    assert result.tolist() == [30.0, 1236.5678, 7.0]
    assert (await worker.call({"columns": ["a"]})).tolist() == [1236.5678]
    await worker.load({"a": np.zeros(0)})
    assert (await worker.call({"columns": ["a"]})).tolist() == [0.0]
    await worker.close()
    await worker.close()


async def test_inputs_cannot_be_changed(worker_of, columns):
    for name in ("write_columns", "write_array"):
        worker = await _ready(worker_of(name), columns)
        with pytest.raises(WardroundError, match="WR-SANDBOX-006"):
            await worker.call({}, np.ones(3))
        await worker.close()
    assert columns["a"][0] == 1234.5678


async def test_the_text_of_an_exception_is_withheld(worker_of, columns):
    worker = await _ready(worker_of("fail"), columns)
    with pytest.raises(WardroundError) as caught:
        await worker.call({})
    error = caught.value
    assert error.code == "WR-SANDBOX-006"
    assert "ValueError" in error.problem
    assert error.path is not None and error.path.startswith("sandbox_entries:")
    seen = [error]
    for one in seen:
        seen += [e for e in (one.__cause__, one.__context__) if e is not None]
    assert "1234" not in "".join(f"{one!r} {one}" for one in seen)
    await worker.close()


async def test_errors_with_a_code_pass_whole(worker_of, columns):
    worker = await _ready(worker_of("fail_with_code"), columns)
    with pytest.raises(WardroundError) as caught:
        await worker.call({})
    error = caught.value
    assert (error.code, error.problem, error.remedy, error.path) == (
        "WR-LEARN-001",
        "A problem.",
        "A remedy.",
        "here",
    )
    await worker.close()
    worker = await _ready(worker_of("fail_with_codes"), columns)
    with pytest.raises(WardroundErrors) as several:
        await worker.call({})
    assert [error.code for error in several.value.errors] == ["WR-LEARN-001", "WR-LEARN-002"]
    await worker.close()


async def test_shapes_are_checked_on_both_sides(worker_of, columns):
    worker = await _ready(worker_of("wrong_shape"), columns)
    for misuse in (
        worker.call({}),
        worker.call({}, np.zeros((2, 2))),
        worker.call({}, np.zeros(2, np.int64)),
        worker.load({}),
        worker.load({"a": np.zeros(2), "b": np.zeros(3)}),
        worker.load({"a": np.zeros(2, np.float32)}),
    ):
        with pytest.raises(WardroundError, match="WR-SANDBOX-008"):
            await misuse
    await worker.close()


async def test_what_is_not_started_says_so(worker_of, columns):
    worker = worker_of("add_up")
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.load(columns)
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({})
    await worker.start()
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({"columns": []})
    await worker.close()


@pytest.mark.parametrize("entry", ["sandbox_entries:absent", "no_such_module:f", "nonsense"])
async def test_a_computation_that_does_not_exist(entry):
    for worker in (InlineWorker(entry), ConfinedWorker(entry, required=NOTHING)):
        with pytest.raises(WardroundError, match="WR-SANDBOX-002"):
            await worker.start()


async def test_an_inline_worker_says_that_it_is_simulated():
    report = await InlineWorker("sandbox_entries:double").start()
    assert report.simulated
    assert not report.enforced
    assert set(report.missing) == set(Limit)
    assert all("simulated" in reason for reason in report.missing.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
async def test_arrays_of_every_size_keep_their_values_and_type(make_worker, dtype):
    worker = await make_worker("double")
    for length in (3, 0, 600_001, 1, 131_072, 262_145, 700_000):
        array = np.random.default_rng(length).normal(size=length).astype(dtype)
        result = await worker.call({}, array)
        assert result.dtype == dtype
        assert np.array_equal(result, array * 2)


async def test_a_result_is_the_callers_own(make_worker):
    worker = await make_worker("double")
    first = await worker.call({}, np.ones(3))
    await worker.call({}, np.zeros(3))
    first += 1
    assert first.tolist() == [3.0, 3.0, 3.0]


async def test_a_strided_array_is_taken_as_it_reads(make_worker):
    worker = await make_worker("double")
    assert (await worker.call({}, np.arange(10.0)[::-2])).tolist() == [18, 14, 10, 6, 2]


async def test_calls_are_served_one_at_a_time(make_worker):
    worker = await make_worker("double")
    results = await asyncio.gather(*(worker.call({}, np.full(5, n)) for n in (1.0, 2.0, 3.0)))
    assert [result[0] for result in results] == [2.0, 4.0, 6.0]


async def test_a_request_must_be_small_plain_json(make_worker):
    worker = await make_worker("double")
    for request in ({"a": float("nan")}, {"a": object()}, {"a": "x" * 70_000}):
        with pytest.raises(WardroundError, match="WR-SANDBOX-008"):
            await worker.call(request)


async def test_a_call_that_takes_too_long_ends_the_worker_which_can_start_again(make_worker):
    worker = await make_worker("sleep", Limits(wall_s=1.0))
    with pytest.raises(WardroundError, match="WR-SANDBOX-003"):
        await worker.call({"s": 60})
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({"s": 0})
    await worker.start()
    await worker.load({"a": np.zeros(1)})
    assert (await worker.call({"s": 0})).tolist() == [0.0]


async def test_a_cancelled_call_ends_the_worker(make_worker):
    worker = await make_worker("sleep")
    call = asyncio.create_task(worker.call({"s": 60}))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({"s": 0})


@pytest.mark.parametrize(("name", "how"), [("die", "exit status 3"), ("crash", "SIGSEGV")])
async def test_a_worker_that_ends_by_itself(make_worker, name, how):
    worker = await make_worker(name)
    with pytest.raises(WardroundError, match="WR-SANDBOX-004") as caught:
        await worker.call({})
    assert how in caught.value.problem


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense",
        "{}\n",
        '{"done":["float64",-1]}\n',
        '{"done":["float64",999999999]}\n',
        '{"room":99999999999999}\n',
        '{"errors":[]}\n',
        '{"errors":[{"code":"a code","problem":"","remedy":"","path":null}]}\n',
    ],
)
async def test_an_answer_that_makes_no_sense_ends_the_worker(make_worker, answer):
    worker = await make_worker("babble")
    with pytest.raises(WardroundError, match="WR-SANDBOX-012"):
        await worker.call({"bytes": answer})
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({})


async def test_control_characters_in_an_error_do_not_reach_the_agents_terminal(make_worker):
    worker = await make_worker("babble")
    answer = '{"errors":[{"code":"WR-X-001","problem":"\\u001b[2J","remedy":"","path":null}]}\n'
    with pytest.raises(WardroundError) as caught:
        await worker.call({"bytes": answer})
    assert str(caught.value).isprintable()


async def test_what_is_required_and_missing_refuses_the_host():
    worker = ConfinedWorker(
        "sandbox_entries:double", required=frozenset({Limit.BUBBLEWRAP}), use_bubblewrap=False
    )
    with pytest.raises(WardroundError, match=r"WR-SANDBOX-001.*bubblewrap \(not used\)"):
        await worker.start()
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({})


async def test_bubblewrap_is_used_where_it_is_installed(make_worker):
    requires.system("bwrap")
    worker = await make_worker("attempt", use_bubblewrap=True)
    report = await worker.start()
    requires.host(Limit.BUBBLEWRAP in report.enforced, "bubblewrap starts nothing here")
    await worker.load({"a": np.zeros(1)})
    assert (await worker.call({"what": "list", "with": ["/home"]})).tolist() == [1.0]


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_behind(make_worker):
    before = _open_files()
    worker = await make_worker("double")
    await worker.call({}, np.ones(400_000))
    await worker.close()
    assert _open_files() == before
