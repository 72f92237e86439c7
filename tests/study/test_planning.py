"""What `wardround privacy plan` proposes, and what it refuses with numbers."""

import math

import pytest

from studies import private
from wardround import WardroundError
from wardround.study import Study
from wardround.study.plan import Purpose, lines
from wardround.study.planning import SHARES, complete, percent, propose, training_patients
from wardround.study.price import check_plan, price
from wardround.study.privacy import NoisePlacement

ASKED = {"epsilon": 1.5, "patients": 740, "rationale": "Agreed."}


def study(shares=SHARES, model=None, **changes):
    document = private(privacy=ASKED | changes, **({} if model is None else {"model": model}))
    return Study.parse(complete(document, shares), draft=True)


def test_three_numbers_are_enough_for_a_plan_that_fits():
    proposal = propose(study())
    check_plan(proposal.study)
    assert 1.46 < price(proposal.study) <= 1.5
    assert [line.purpose for line in lines(proposal.study)] == list(Purpose)
    assert proposal.study.privacy.noise is NoisePlacement.SHARED
    assert set(proposal.tables()) == {purpose.value for purpose in Purpose}


def test_small_cohorts_train_on_everybody_in_few_steps():
    # Measured on the four heart hospitals: ten steps over everybody, at learning rate 1.
    proposal = propose(study())
    training = proposal.study.privacy.training
    assert (training.sampling_rate, training.steps, training.learning_rate) == (1.0, 10, 1.0)
    assert "everybody" in proposal.reason
    many = propose(study(patients=70_000)).study.privacy.training
    assert (many.sampling_rate, many.steps, many.learning_rate) == (1.0, 20, 0.5)


def test_noise_is_what_the_plan_says_it_is():
    chosen = propose(study()).chosen
    patients = training_patients(study())
    # Four sites add shares of which two carry the noise; an intercept and two features.
    noise = chosen.noise_multiplier * math.sqrt(4 / 2) * math.sqrt(3) / patients
    assert chosen.step_noise == pytest.approx(noise)
    assert chosen.average_noise == pytest.approx(noise / math.sqrt(10))
    assert patients == pytest.approx(740 * 0.7)


def test_more_patients_and_a_larger_epsilon_mean_less_noise():
    few, many = propose(study()), propose(study(patients=7400))
    assert many.chosen.average_noise == pytest.approx(few.chosen.average_noise / 10, rel=0.01)
    noises = [noise for _, noise in few.epsilons]
    assert noises == sorted(noises, reverse=True)
    assert 1.5 in dict(few.epsilons)
    own = propose(study(noise="site"), sampling_rate=1.0)
    assert own.chosen.average_noise > few.chosen.average_noise


def test_samples_are_compared_with_the_chance_of_the_draw():
    proposal = propose(study(patients=20_000))
    sampled = [design for design in proposal.designs if design.sampling_rate < 1]
    assert sampled
    for design in sampled:
        chance = (1 - design.sampling_rate) / design.patients_per_step
        assert design.average_noise > math.sqrt(chance / design.steps)
        assert design.average_noise > proposal.chosen.average_noise


def test_steps_and_samples_may_be_given():
    proposal = propose(study(), steps=30, sampling_rate=0.2, learning_rate=0.25)
    training = proposal.study.privacy.training
    assert (training.steps, training.sampling_rate, training.learning_rate) == (30, 0.2, 0.25)
    assert len(proposal.designs) == 1
    check_plan(proposal.study)
    for rate, code in ((1.5, "103"), (0.001, "119")):
        with pytest.raises(WardroundError, match=f"WR-STUDY-{code}"):
            propose(study(), sampling_rate=rate)


def test_what_the_study_states_besides_stays():
    stated = study(
        training={"steps": 3, "clipping_norm": 4.0, "spare": 5, "noise_multiplier": 2.0},
        gate={"releases": 7, "noise_multiplier": 2.0},
        hospitals_per_patient=2,
    )
    planned = propose(stated).study.privacy
    assert (planned.training.clipping_norm, planned.training.spare) == (4.0, 5)
    assert planned.gate.releases == 7
    assert planned.hospitals_per_patient == 2


def test_what_has_no_share_is_not_planned():
    shares = {Purpose.STATISTICS: 0.1, Purpose.TRAINING: 0.7, Purpose.EVALUATION: 0.2}
    proposal = propose(study(shares, gate={"noise_multiplier": 3.0}), shares)
    assert set(proposal.tables()) == {"statistics", "training", "evaluation"}
    assert proposal.study.privacy.gate is None
    assert proposal.chosen.average_noise < propose(study()).chosen.average_noise


@pytest.mark.parametrize(
    "shares",
    [
        SHARES | {Purpose.TRAINING: 0.7},
        SHARES | {Purpose.GATE: -0.1, Purpose.TRAINING: 0.8},
        SHARES | {Purpose.STATISTICS: 0.0, Purpose.TRAINING: 0.7},
    ],
)
def test_shares_that_divide_nothing_are_refused(shares):
    with pytest.raises(WardroundError, match="WR-STUDY-121"):
        propose(study(), shares)


def test_noise_that_drowns_the_training_is_refused_with_the_patients_that_it_takes():
    with pytest.raises(WardroundError) as refused:
        propose(study(patients=30, epsilon=0.1))
    assert refused.value.code == "WR-STUDY-122"
    needed = int(refused.value.remedy.split("about ")[1].split(" ")[0].replace(",", ""))
    assert 30 < needed < 1000
    # With so many a single step is just about possible.
    assert propose(study(patients=round(needed * 1.05), epsilon=0.1), steps=1).chosen.step_noise < 1
    with pytest.raises(WardroundError, match="WR-STUDY-122"):
        propose(study(patients=needed // 2, epsilon=0.1), steps=1)


def test_steps_that_are_too_loud_are_refused_with_how_many_would_do():
    with pytest.raises(WardroundError) as refused:
        propose(study(patients=60), steps=500)
    fewer = int(refused.value.remedy.split("At most ")[1].split(" ")[0])
    propose(study(patients=60), steps=fewer, sampling_rate=1.0)
    with pytest.raises(WardroundError, match="WR-STUDY-122"):
        propose(study(patients=60), steps=fewer + 1, sampling_rate=1.0)


def test_local_training_takes_whole_rounds_and_noisy_statistics_one_step():
    fedavg = {
        "kind": "logistic",
        "algorithm": "fedavg",
        "fedavg": {"rounds": 4, "local_epochs": 1, "batch_size": 32, "learning_rate": 0.1},
    }
    local = propose(study(model=fedavg, noise="site"), sampling_rate=1.0)
    assert all(design.steps % 4 == 0 for design in local.designs)
    check_plan(local.study)
    linear = {"kind": "linear", "algorithm": "noisy-statistics"}
    document = private(privacy=ASKED, model=linear)
    document["data"] = {"outcome": "radius_mean", "features": ["texture_mean", "area_mean"]}
    one = propose(Study.parse(complete(document, SHARES), draft=True))
    assert [(design.steps, design.sampling_rate) for design in one.designs] == [(1, 1.0)]
    check_plan(one.study)


def test_percentages_are_short():
    shares = (0.0083, 0.05, 0.123, 0.099, 1.7, 12.0)
    assert [percent(share) for share in shares] == [
        "0.83 %",
        "5 %",
        "12 %",
        "9.9 %",
        "170 %",
        "1,200 %",
    ]


def test_noisy_statistics_are_told_where_they_are_the_bottleneck():
    loud = SHARES | {Purpose.STATISTICS: 0.01, Purpose.TRAINING: 0.69}
    usual, poor = propose(study()), propose(study(loud), loud)
    assert 0 < usual.mean_noise < poor.mean_noise
    assert poor.mean_noise == pytest.approx(usual.mean_noise * 20**0.5, rel=0.02)
    few = propose(study(patients=250))
    assert few.unsure and not propose(study(patients=40_000)).unsure
