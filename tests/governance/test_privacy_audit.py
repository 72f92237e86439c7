"""A simulated audit: what it runs is the study's own mechanism, and its page says what it is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from studies import document
from wardround.errors import WardroundError
from wardround.governance.audit import (
    Cohort,
    PrivacyAudit,
    Settings,
    made_up,
    read_table,
    render_audit,
    run_audit,
    save_audit,
)
from wardround.governance.audit.run import WithoutNoise, usual_settings
from wardround.governance.audit.training import Trainer, trainer_of
from wardround.learning.glm import Standardisation, evaluate
from wardround.learning.private_gradient import PrivateGradient
from wardround.learning.records import Family, Records
from wardround.learning.scaling import Scaling
from wardround.privacy.attacks import infer_membership
from wardround.privacy.events import Gaussian
from wardround.privacy.noisy_sums import NoisySums
from wardround.study import Study

FEATURES = ["male", "age_years", "systolic_blood_pressure"]
SMALL = Settings(canaries=2000, guesses=100, shadows=8, targets=4, attacked=12)


def private(**changes) -> Study:
    """A private study of four hospitals; ``changes`` replace keys of its [privacy]."""
    logistic = changes.pop("kind", "logistic") == "logistic"
    privacy = {
        "epsilon": 3.0,
        "patients": 2000,
        "rationale": "Public records.",
        "noise": "site",
        "statistics": {"noise_multiplier": 8.0},
        "training": {"noise_multiplier": 12.0, "steps": 15},
        "evaluation": {"noise_multiplier": 8.0},
    }
    return Study.parse(
        document(
            title="Disease <b>& more</b>",
            profile="private",
            data={
                "outcome": "angiographic_coronary_disease" if logistic else "maximum_heart_rate",
                "features": FEATURES,
            },
            model={
                "kind": "logistic" if logistic else "linear",
                "algorithm": changes.pop("algorithm", "dp-sgd"),
            },
            disclosure={"opened_numbers": 100_000},
            privacy=privacy | changes,
        )
    )


def keyed(seed: int, kind: type[NoisySums] = NoisySums) -> NoisySums:
    generator = np.random.default_rng(seed)
    return kind(lambda: generator.bytes(32))


def audited(
    study: Study, sums: NoisySums | None = None, settings: Settings = SMALL
) -> PrivacyAudit:
    generator = np.random.default_rng(1)
    return run_audit(
        study,
        made_up(study, 120, np.random.default_rng(5)),
        sums or keyed(2),
        lambda count: generator.random(count) < 0.5,
        generator,
        settings,
        datetime(2026, 11, 26, 9, 30, tzinfo=UTC),
    )


class TwiceTheLength(NoisySums):
    def clipped_sum(self, rows, chosen):
        return 3 * super().clipped_sum(rows / 3, chosen)


@pytest.fixture(scope="module")
def audit() -> PrivacyAudit:
    return audited(private())


@pytest.fixture(scope="module")
def caught() -> PrivacyAudit:
    return audited(
        private(), keyed(2, TwiceTheLength), Settings(20_000, 400, shadows=4, targets=2, attacked=4)
    )


def test_every_attack_reports_its_success_beside_the_claim(audit: PrivacyAudit) -> None:
    assert audit.canaries.epsilon <= audit.canaries.claim == audit.statement.epsilon
    assert not audit.exceeded
    # All planned releases, the spare ones too: 2 + 1, 15 + 1, 1 + 1.
    assert audit.canaries.releases == 21
    # Good attacks, stopped by the noise and by nothing else.
    assert audit.division.without_noise < 1e-5 and audit.search.without_noise < 1e-3
    assert audit.division.with_noise > 0.5 and audit.search.with_noise > 0.5
    assert audit.division.exact == 0
    assert audit.attribute is not None and audit.attribute.feature == "male"
    assert 0 <= audit.membership.true_positives <= 1


def test_the_document_is_json_and_says_that_it_is_simulated(audit: PrivacyAudit) -> None:
    plain = json.loads(json.dumps(audit.to_json()))
    assert plain["simulated"] is True and plain["data"]["made_up"] is True
    assert plain["claim"]["epsilon"] == audit.statement.epsilon
    assert plain["canaries"]["guesses"] == 100 and plain["canaries"]["exceeds_claim"] is False


def test_the_page_says_what_it_is_what_was_found_and_what_it_can_t_show(
    audit: PrivacyAudit, tmp_path: Path
) -> None:
    page = render_audit(audit)
    save_audit(audit, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page
    assert "simulated privacy audit" in page and "made-up patients" in page
    assert "What this audit can’t show" in page and "No attack found is no proof." in page
    assert audit.statement.words().replace("'", "&#39;") in page
    assert "The bound lies below the claim" in page and "above the claim" not in page
    assert "Disease &lt;b&gt;&amp; more&lt;/b&gt;" in page and "<b>& more" not in page
    assert not re.search(r"<script|https?://|url\(|built-in method|nan|None", page)


def test_a_mechanism_that_clips_too_late_is_caught_and_the_page_says_so(
    caught: PrivacyAudit,
) -> None:
    assert caught.exceeded
    page = render_audit(caught)
    assert "The bound lies above the claim" in page and "Don’t start the study" in page


def test_a_large_delta_is_audited_where_one_run_can_show_something() -> None:
    audit = audited(private(delta=4e-4, noise="shared"))
    assert audit.canaries.plan.delta == 1e-5
    assert audit.canaries.claim > audit.statement.epsilon
    assert "both at delta 1e-5" in render_audit(audit)


def test_a_linear_model_and_local_steps_are_audited_too() -> None:
    audit = audited(
        private(kind="linear", training={"noise_multiplier": 4.0, "steps": 5, "sampling_rate": 0.2})
    )
    assert audit.division.without_noise < 1e-4
    assert not audit.exceeded
    assert "with probability 0.2" in render_audit(audit)


def test_what_is_guessed_follows_from_the_plan_alone() -> None:
    assert usual_settings(private()) == (20_000, 400)
    long = private(training={"noise_multiplier": 900.0, "steps": 5000})
    canaries, guesses = usual_settings(long)
    assert 1000 <= canaries < 20_000 and guesses == canaries // 50


@pytest.mark.parametrize(
    ("settings", "changes", "code"),
    [
        (Settings(100, 200), {}, "WR-PRIVACY-030"),
        (Settings(1000, 100, sensitive="age_years"), {}, "WR-PRIVACY-037"),
        (
            Settings(1 << 20, 100),
            {"training": {"noise_multiplier": 500.0, "steps": 900}},
            "WR-PRIVACY-036",
        ),
        (
            Settings(1000, 100),
            {
                "kind": "linear",
                "algorithm": "noisy-statistics",
                "training": {"noise_multiplier": 8.0, "steps": 1},
            },
            "WR-PRIVACY-035",
        ),
        (Settings(1000, 100), {"epsilon": 0.01}, "WR-STUDY-120"),
    ],
)
def test_what_can_not_be_audited_is_refused_by_its_code(settings, changes, code) -> None:
    with pytest.raises(WardroundError) as caught:
        audited(private(**changes), settings=settings)
    assert caught.value.code == code


def trainer(cohort: Cohort, steps: int, **changes) -> Trainer:
    values = {"clipping_norm": 100.0, "learning_rate": 2.0} | changes
    return trainer_of(cohort, WithoutNoise(keyed(1)), Gaussian(1.0), steps=steps, **values)


def test_the_rows_are_those_of_the_study_s_own_task() -> None:
    study = private()
    cohort = made_up(study, 50, np.random.default_rng(3))
    at = np.array([0.2, -0.4, 0.1, 0.3])
    standardisation = Standardisation(cohort.x.mean(axis=0), cohort.x.std(axis=0))
    task = PrivateGradient(cohort.variables, Scaling(standardisation), at, 0.7, 50.0, False)
    records = Records(cohort.x, cohort.y, np.zeros(50, dtype=bool))
    rows = trainer(cohort, 1, clipping_norm=0.7).gradients(at)
    assert rows == pytest.approx(task.rows(records), rel=1e-12)


@pytest.mark.parametrize("kind", ["logistic", "linear"])
def test_without_noise_and_clipping_the_shadow_models_are_the_usual_fit(kind: str) -> None:
    cohort = made_up(private(kind=kind), 200, np.random.default_rng(3))
    members = np.ones((2, 200), dtype=bool)
    members[1, 100:] = False
    pace = 2.0 if kind == "logistic" else 0.5
    models = trainer(cohort, 600, learning_rate=pace).fit(members)
    for model, who in zip(models, members, strict=True):
        at = evaluate(Family(kind), cohort.design[who], cohort.outcome[who], model)
        assert np.abs(at.gradient).max() < 0.01  # at the optimum the gradient vanishes


def test_shadow_models_find_members_of_a_model_that_memorises_and_noise_ends_that() -> None:
    """60 patients, 40 columns of noise: an unpenalised fit remembers every one of them."""
    generator = np.random.default_rng(9)
    design = np.column_stack([np.ones(60), generator.normal(size=(60, 40))])
    outcome = (generator.random(60) < 0.5).astype(float)

    def area(sums) -> float:
        model = Trainer(Family.LOGISTIC, design, outcome, sums, Gaussian(30.0), 40, 1.0, 8.0)
        found = infer_membership(
            lambda members: model.meets(model.fit(members)), 60, np.random.default_rng(2)
        )
        return found.area

    assert area(WithoutNoise(keyed(1))) > 0.9
    assert area(keyed(1)) < 0.6


def table(path: Path, rows: list[str], header: str | None = None) -> Path:
    names = ",".join([*FEATURES, "angiographic_coronary_disease"])
    path.write_text("\n".join([f"id,{names}" if header is None else header, *rows]) + "\n")
    return path


def test_a_table_is_read_and_what_can_not_be_used_is_counted(tmp_path: Path) -> None:
    good = [f"p{i},{'yes' if i % 3 else 'no'},{40 + i},{120 + i},{i % 2}" for i in range(50)]
    bad = ["x,yes,,120,1", "x,yes,45,9999,1", "x,perhaps,45,120,1", "x,yes,45,120,0.5", "x,yes"]
    cohort = read_table(table(tmp_path / "t.csv", good + bad), private(), np.random.default_rng(1))
    assert (cohort.patients, cohort.left_out, cohort.made_up) == (50, 5, False)
    assert cohort.yes_or_no() == ("male",)
    assert cohort.source == "t.csv"


def test_of_a_long_table_some_are_drawn(tmp_path: Path) -> None:
    rows = [f"p,{i % 2},{20 + i % 60},{100 + i % 50},{(i // 2) % 2}" for i in range(2500)]
    cohort = read_table(table(tmp_path / "t.csv", rows), private(), np.random.default_rng(1))
    assert cohort.patients == 2000


@pytest.mark.parametrize(
    ("rows", "header", "code"),
    [
        (["p,yes,50,120,1"] * 39, None, "WR-PRIVACY-033"),
        (["yes,1"] * 50, "male,angiographic_coronary_disease", "WR-PRIVACY-032"),
        ([], "", "WR-PRIVACY-032"),
    ],
)
def test_a_table_that_will_not_do_is_refused(tmp_path: Path, rows, header, code) -> None:
    with pytest.raises(WardroundError) as caught:
        read_table(table(tmp_path / "t.csv", rows, header), private(), np.random.default_rng(1))
    assert caught.value.code == code
    assert "50" not in caught.value.problem and "120" not in caught.value.problem


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00male")
    for path in (tmp_path / "bytes.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(WardroundError) as caught:
            read_table(path, private(), np.random.default_rng(1))
        assert caught.value.code == "WR-PRIVACY-031"


def test_made_up_patients_lie_in_range_and_their_outcome_can_be_learnt() -> None:
    for kind in ("logistic", "linear"):
        cohort = made_up(private(kind=kind), 500, np.random.default_rng(4))
        variables = cohort.variables
        assert cohort.made_up and cohort.yes_or_no() == ("male",)
        assert ((cohort.x >= variables.low) & (cohort.x <= variables.high)).all()
        assert cohort.y.std() > 0
    with pytest.raises(WardroundError) as caught:
        made_up(private(), 10, np.random.default_rng(4))
    assert caught.value.code == "WR-PRIVACY-034"
