"""The table [privacy] and the menu of releases that follows from it."""

import pytest

from studies import codes, document, privacy, private
from wardround import WardroundError
from wardround.privacy.events import FRACTIONAL_BITS, L1, L2, Gaussian, Skellam, deviation
from wardround.study import Profile, Study, Task
from wardround.study.plan import (
    Line,
    Purpose,
    carriers,
    headroom,
    line_of,
    lines,
    noise_deviation,
)


def refusal(plain):
    with pytest.raises(WardroundError) as refused:
        Study.parse(plain)
    return refused.value


def training(**changes):
    return {"noise_multiplier": 20.0, "steps": 10} | changes


FEDAVG = {"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 5}}


@pytest.mark.parametrize(
    ("plain", "code", "path"),
    [
        (document(profile="private", model=private()["model"]), "WR-STUDY-112", "privacy"),
        (document(privacy=privacy()), "WR-STUDY-114", "privacy"),
        (private(model={"kind": "logistic"}), "WR-STUDY-115", "model.algorithm"),
        (document(model={"kind": "logistic", "algorithm": "dp-sgd"}), "WR-STUDY-115", None),
        (
            private(
                model={"kind": "logistic", "algorithm": "noisy-statistics"},
                privacy=privacy(training=training(steps=1)),
            ),
            "WR-STUDY-115",
            "model.algorithm",
        ),
        (
            private(
                model={
                    "kind": "logistic",
                    "algorithm": "dp-sgd",
                    "ridge": [0.1, 1.0],
                    "folds": 2,
                },
                disclosure={"opened_numbers": 100_000},
            ),
            "WR-STUDY-116",
            "model.ridge",
        ),
        (
            private(model=FEDAVG, privacy=privacy(training=training(steps=9))),
            "WR-STUDY-118",
            "privacy.training.steps",
        ),
        (
            private(privacy=privacy(training=training(sampling_rate=0.001))),
            "WR-STUDY-119",
            "privacy.training.sampling_rate",
        ),
        (private(disclosure={"opened_numbers": 100}), "WR-STUDY-132", "disclosure.opened_numbers"),
        *(
            (private(privacy=privacy(**{key: value})), f"WR-STUDY-{code}", f"privacy.{key}")
            for key, value, code in (
                ("epsilon", 0, 107),
                ("epsilon", 101, 107),
                ("delta", 0, 108),
                ("delta", 1, 108),
                ("delta", 0.5, 131),
                ("patients", 0, 109),
                ("hospitals_per_patient", 0, 110),
                ("noise", "none", 111),
                ("rationale", " ", "011"),
            )
        ),
        *(
            (
                private(privacy=privacy(training=training(**{key: value}))),
                f"WR-STUDY-{code}",
                f"privacy.training.{key}",
            )
            for key, value, code in (
                ("noise_multiplier", 0.05, 100),
                ("spare", -1, 101),
                ("sampling_rate", 0, 103),
                ("sampling_rate", 1.1, 103),
                ("steps", 0, 104),
                ("clipping_norm", 0, 105),
                ("learning_rate", 0, 106),
            )
        ),
        (
            private(privacy=privacy(gate={"noise_multiplier": 9, "releases": 0})),
            "WR-STUDY-102",
            "privacy.gate.releases",
        ),
    ],
)
def test_a_budget_that_can_not_be_kept_is_refused(plain, code, path):
    error = refusal(plain)
    assert codes(error) == [code]
    assert path is None or error.path == path


def test_a_study_without_a_reason_for_its_epsilon_is_refused():
    plain = private()
    del plain["privacy"]["rationale"]
    assert codes(refusal(plain)) == ["WR-STUDY-004"]


def test_delta_follows_from_the_number_of_patients():
    assert Study.parse(private()).privacy.delta_in_force == 1e-5
    many = Study.parse(private(privacy=privacy(patients=1_000_000)))
    assert many.privacy.delta_in_force == 1e-7
    stated = Study.parse(private(privacy=privacy(delta=1e-3)))
    assert stated.privacy.delta_in_force == 1e-3


def test_epsilon_noise_and_reason_are_part_of_what_is_signed():
    study = Study.parse(private())
    for changed in (
        privacy(epsilon=0.9),
        privacy(rationale="Another reason."),
        privacy(training=training(noise_multiplier=19.0)),
    ):
        assert Study.parse(private(privacy=changed)).digest != study.digest
    assert Study.from_json(study.canonical()).digest == study.digest


def test_the_menu_lists_each_release_once():
    study = Study.parse(private(privacy=privacy(gate={"noise_multiplier": 30.0, "releases": 3})))
    statistics, fit, evaluation, gate = lines(study)
    assert statistics.kinds == ("private_moments", "private_histogram")
    assert (statistics.releases, statistics.spare, statistics.events) == (2, 0, 2)
    assert fit == Line(Purpose.TRAINING, ("private_gradient",), Skellam(20.0), 10, 0)
    assert evaluation.kinds == ("private_scores",)
    assert (gate.kinds, gate.releases, gate.spare, gate.events) == ((), 3, 1, 4)
    linear = {"kind": "linear", "algorithm": "noisy-statistics"}
    data = {"outcome": "radius_mean", "features": ["texture_mean"]}
    one = privacy(training=training(steps=1))
    by_sums = lines(Study.parse(private(model=linear, data=data, privacy=one)))
    assert [line.kinds for line in by_sums[1:]] == [("private_products",), ("private_residuals",)]


def test_noise_at_each_site_is_gaussian_and_shared_noise_skellam():
    sampled = training(sampling_rate=0.1)
    shared = Study.parse(private(privacy=privacy(training=sampled)))
    alone = Study.parse(private(privacy=privacy(noise="site", training=sampled)))
    assert lines(shared)[1].event == Skellam(20.0, 0.1)
    assert lines(alone)[1].event == Gaussian(20.0, 0.1)
    assert lines(alone)[0].event == Gaussian(20.0)


def test_local_steps_are_charged_with_the_answer_that_they_lead_to():
    study = Study.parse(private(model=FEDAVG))
    statistics, fit, _ = lines(study)
    assert isinstance(statistics.event, Skellam)
    assert fit.noise_within
    assert (fit.releases, fit.events_per_task, fit.events) == (5, 2, 10)
    assert isinstance(fit.event, Gaussian)


def test_a_task_without_a_declared_sensitivity_is_refused():
    for kind in ("moments", "newton_logistic", "private_products", "private_unheard_of"):
        with pytest.raises(WardroundError) as refused:
            line_of(Study.parse(private()), kind)
        assert refused.value.code == "WR-STUDY-113"


def test_one_sensitivity_bounds_every_rounded_vector_of_length_one():
    # Rounding each of 2^24 elements to nearest adds at most sqrt(2^24) / 2 steps to the length.
    assert L2 == 2**22 + 2**11
    assert L1 == L2 * 2**12
    assert deviation(1.0) == pytest.approx(1.0, abs=5e-4)
    assert deviation(1.0) >= 1.0


def test_shared_noise_is_whole_without_the_corrupt_and_the_missing():
    study = Study.parse(private())
    assert (study.corrupt_sites, study.minimum_survivors()) == (1, 3)
    assert carriers(study, 4) == 2
    # Two honest survivors have all of it, and four sites twice its variance.
    assert noise_deviation(study, "private_gradient", 2, 4) == pytest.approx(deviation(20.0))
    assert noise_deviation(study, "private_gradient", 4, 4) == pytest.approx(
        deviation(20.0) * 2**0.5
    )
    exact = private(adversary={"corrupt_sites": 0}, cohort={"minimum_sites": 4})
    assert noise_deviation(Study.parse(exact), "private_gradient", 4, 4) == deviation(20.0)


def test_noise_of_each_site_adds_up_and_local_noise_is_none_of_the_totals():
    alone = Study.parse(private(privacy=privacy(noise="site")))
    assert noise_deviation(alone, "private_moments", 3, 4) == pytest.approx(
        deviation(20.0) * 3**0.5
    )
    local = Study.parse(private(model=FEDAVG, privacy=privacy(noise="site")))
    assert noise_deviation(local, "private_fedavg", 4, 4) == 0.0
    assert noise_deviation(Study.parse(document()), "moments", 4, 4) == 0.0


def test_private_sums_have_one_scale_and_room_for_noise():
    study = Study.parse(private())
    task = Task("private_gradient", {}, 3, float(1 << 22), 64)
    room = headroom(study, task, 4)
    assert room.encoding.fractional_bits == FRACTIONAL_BITS
    noise = noise_deviation(study, "private_gradient", 4, 4) * 2**FRACTIONAL_BITS
    assert 9 * noise < room.noise < 20 * noise  # a chance below 2^-64 takes more than 9 deviations
    plain = headroom(Study.parse(document()), Task("moments", {}, 3, float(1 << 22), 64), 4)
    assert plain.noise == 0
    assert plain.encoding.fractional_bits > FRACTIONAL_BITS


def test_an_older_study_is_signed_as_before():
    assert Study.parse(document()).profile is Profile.SECURE_SUM
    assert "privacy" not in Study.parse(document()).canonical().decode()
