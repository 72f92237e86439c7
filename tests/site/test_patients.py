"""Private contributions: who takes part, how each is clipped, and what the worker gets to see."""

from statistics import pvariance

import numpy as np
import pytest

from studies import privacy, private
from wardround import WardroundError
from wardround.learning.records import TEST_COLUMN
from wardround.learning.specify import specify
from wardround.privacy.batches import padded_size
from wardround.privacy.events import FRACTIONAL_BITS, L2
from wardround.sandbox import InlineWorker
from wardround.simulation.inprocess import ENTRY
from wardround.site.patients import NoisyUpdate, Patients, PatientSum
from wardround.study import Study

PATIENTS = 200
UNIT = 2.0**FRACTIONAL_BITS
STEPS = {"noise_multiplier": 20.0, "steps": 10, "spare": 0}
STUDY = Study.parse(private())
SAMPLED = Study.parse(private(privacy=privacy(training=STEPS | {"sampling_rate": 0.1})))
LOCAL = Study.parse(
    private(
        model={"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 5}},
        privacy=privacy(noise="site"),
    )
)
SCALED = {"centre": [14.0, 19.0], "scale": [3.5, 4.3]}


class Seen(InlineWorker):
    """Tells what it was asked, and can answer something else."""

    def __init__(self):
        super().__init__(ENTRY)
        self.asked = []
        self.instead = None

    async def call(self, request, array=None):
        self.asked.append((dict(request), np.array(array)))
        if self.instead is not None:
            return self.instead(request)
        return await super().call(request, array)


@pytest.fixture
async def worker():
    draw = np.random.default_rng(3)
    made = Seen()
    await made.start()
    await made.load(
        {
            "radius_mean": draw.uniform(8, 25, PATIENTS),
            "texture_mean": draw.uniform(10, 35, PATIENTS),
            "malignant": draw.integers(0, 2, PATIENTS).astype(float),
            TEST_COLUMN: (draw.uniform(size=PATIENTS) < 0.3).astype(float),
        }
    )
    return made


def gradient(study=STUDY, at=(0.0, 0.0, 0.0)):
    more = {"clipping_norm": study.privacy.training.clipping_norm}
    return specify(study, "private_gradient", SCALED | more, np.array(at))


async def summed(study, worker, task):
    return await Patients(study, worker).answer(task, PATIENTS)


async def test_everybody_is_summed_where_the_rate_is_one(worker):
    answer = await summed(STUDY, worker, gradient())
    assert isinstance(answer, PatientSum)
    assert answer.steps.dtype == np.int64
    places = worker.asked[0][1][3:]
    rows = await InlineWorker.call(worker, *worker.asked[0])
    rows = rows.reshape(PATIENTS, 3)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    clipped = rows / np.maximum(length, 1.0)
    assert places.tolist() == list(range(PATIENTS))
    assert answer.steps / UNIT == pytest.approx(clipped.sum(axis=0), abs=PATIENTS / UNIT)


async def test_one_patient_changes_the_sum_by_the_declared_sensitivity_at_most(worker):
    """Whatever the worker says of somebody: huge, not a number, anything."""
    task = gradient()
    worker.instead = lambda request: np.zeros(request["batch"] * 3)
    before = (await summed(STUDY, worker, task)).steps
    for value in (1e300, -5.0, np.nan, np.inf, 1.0):
        one = np.zeros(PATIENTS * 3)
        one[30:33] = value
        worker.instead = lambda request, one=one: one[: 3 * request["batch"]]
        after = (await summed(STUDY, worker, task)).steps
        change = [int(step) for step in after - before]
        assert sum(step * step for step in change) <= L2 * L2


async def test_a_batch_has_one_size_and_does_not_say_who_counts(worker):
    task = gradient(SAMPLED)
    sizes = {len((await _asked(worker, task))[0]) for _ in range(20)}
    assert sizes == {padded_size(PATIENTS, 0.1)}
    assert padded_size(PATIENTS, 0.1) < PATIENTS
    for request, _ in worker.asked:
        assert set(request) == {"kind", "parameters", "length", "limits", "batch"}


async def _asked(worker, task):
    worker.asked.clear()
    answer = await summed(SAMPLED, worker, task)
    (request, array), *_ = worker.asked
    return array[3:][: request["batch"]], answer


async def test_batches_are_drawn_patient_by_patient_and_not_shuffled(worker):
    """Each counts as one in the first lane, so that the sum tells how many took part."""

    def count(request):
        return np.tile([1.0, 0.0, 0.0], request["batch"])

    worker.instead = count
    task = gradient(SAMPLED)
    sizes = []
    for _ in range(2000):
        answer = await summed(SAMPLED, worker, task)
        sizes.append(round(answer.steps[0] / UNIT))
    # A list that is shuffled and cut has batches of one size; these vary as a binomial does. The
    # variance of 2000 sizes is within a fifth of its expectation but for once in 10^10.
    assert pvariance(sizes) == pytest.approx(PATIENTS * 0.1 * 0.9, rel=0.2)
    assert sum(sizes) / len(sizes) == pytest.approx(PATIENTS * 0.1, abs=0.7)


async def test_local_steps_are_noisy_and_come_out_as_an_update(worker):
    task = specify(LOCAL, "private_fedavg", SCALED, np.zeros(3))
    first, second = [await summed(LOCAL, worker, task) for _ in range(2)]
    assert isinstance(first, NoisyUpdate)
    batches = [request["batch"] for request, _ in worker.asked]
    assert batches.count(PATIENTS) == 2 * 2  # two steps a round
    assert batches.count(1) == 2 * 3  # a few patients alone, the first time
    assert not np.array_equal(first.steps, second.steps)
    assert sum(int(step) ** 2 for step in first.steps) <= L2 * L2


@pytest.mark.parametrize("edge", [1000.0, -1000.0])
async def test_no_local_step_leads_where_the_next_is_refused(worker, edge):
    """A refusal comes before any charge: it would tell, for nothing, which way a noisy step led.

    The coordinator begins on the edge of what a model may be, and asks as often as it likes.
    """
    task = specify(LOCAL, "private_fedavg", SCALED, np.full(3, edge))
    for _ in range(20):
        assert isinstance(await summed(LOCAL, worker, task), NoisyUpdate)


async def test_rows_of_another_shape_are_refused(worker):
    for rows in (np.zeros(PATIENTS * 2), np.zeros(PATIENTS * 3, np.float32)):
        worker.instead = lambda _request, rows=rows: rows
        with pytest.raises(WardroundError, match="WR-SITE-012"):
            await summed(STUDY, worker, gradient())


async def test_a_task_that_the_plan_does_not_list_is_not_computed(worker):
    task = specify(LOCAL, "private_fedavg", SCALED, np.zeros(3))
    with pytest.raises(WardroundError, match="WR-STUDY-113"):
        await summed(STUDY, worker, task)
    assert worker.asked == []


async def test_a_model_that_mixes_patients_is_refused(worker):
    """As batch normalisation does: each row depends on who else is there."""

    def centred(request):
        rows = np.random.default_rng(1).normal(size=(request["batch"], 3))
        return (rows - rows.mean(axis=0)).ravel()

    worker.instead = centred
    with pytest.raises(WardroundError, match="WR-LEARN-030"):
        await summed(STUDY, worker, gradient())


async def test_what_the_trial_of_mixing_can_not_find(worker):
    """Code that looks up one patient in the table it holds, and tells by everybody's row.

    A limit that the pages state: tasks come from one table of reviewed code for this reason.
    """
    for there in (True, False):
        worker.instead = lambda request, there=there: np.tile(
            [1.0 if there else 0.0, 0.0, 0.0], request["batch"]
        )
        answer = await summed(STUDY, worker, gradient())
        assert abs(int(answer.steps[0])) > 100 * L2 if there else not answer.steps.any()


@pytest.mark.parametrize("there", [PATIENTS, 1, 0])
async def test_few_patients_are_answered_for_like_many(worker, there):
    """A refusal would tell whether there is one fewer than the rate needs, and cost nothing."""
    few = Study.parse(private(privacy=privacy(training=STEPS | {"sampling_rate": 0.002})))
    answer = await Patients(few, worker).answer(gradient(few), there)
    assert answer.steps.shape == (3,)
