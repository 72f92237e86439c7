"""Thresholds are the hospital's, within bounds that keep each check alive."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from wardround.clinical.quality import Thresholds
from wardround.errors import WardroundError
from wardround.study import HospitalPolicy


def load(folder: Path, text: str) -> HospitalPolicy:
    path = folder / "hospital.toml"
    path.write_text(text, encoding="utf-8")
    return HospitalPolicy.load(path)


def test_the_usual_values() -> None:
    usual = Thresholds()
    assert (usual.missing_warn, usual.missing_block, usual.unit_mismatch_block) == (0.2, 0.5, 0.05)
    assert (usual.psi_watch, usual.psi_alarm) == (0.1, 0.25)
    assert (usual.minority_block, usual.leakage_auc) == (10, 0.98)


def test_the_policy_holds_them(tmp_path: Path) -> None:
    policy = load(tmp_path, "[quality]\nmissing_warn = 0.1\nminority_block = 30\n")
    assert (policy.quality.missing_warn, policy.quality.missing_block) == (0.1, 0.5)
    assert policy.quality.minority_block == 30
    assert load(tmp_path, "# all as usual").quality == Thresholds()


@pytest.mark.parametrize("name", sorted(Thresholds.model_fields))
def test_every_threshold_is_documented_and_bounded_at_both_ends(name: str, tmp_path: Path) -> None:
    assert Thresholds.model_fields[name].description
    for wrong in ("-0.5", "1e6", "true", '"0.3"', "nan"):
        with pytest.raises(WardroundError) as caught:
            load(tmp_path, f"[quality]\n{name} = {wrong}\n")
        assert caught.value.code in ("WR-DATA-070", "WR-POLICY-031", "WR-POLICY-034"), wrong
    with pytest.raises(WardroundError) as caught:
        load(tmp_path, f"[quality]\n{name} = -0.5\n")
    assert caught.value.code == "WR-DATA-070"
    assert f"quality.{name} must be a number from" in caught.value.problem


@pytest.mark.parametrize("off", ["missing_block = 1.0", "minority_block = 0", "leakage_auc = 1.0"])
def test_no_check_can_be_switched_off(off: str, tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as caught:
        load(tmp_path, f"[quality]\n{off}\n")
    assert caught.value.code == "WR-DATA-070"


def test_nothing_blocks_before_it_warns(tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as caught:
        load(tmp_path, "[quality]\nmissing_warn = 0.6\n")
    assert caught.value.code == "WR-DATA-070"
    assert "missing_warn at most as large as missing_block" in caught.value.problem


def test_unknown_thresholds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as caught:
        load(tmp_path, "[quality]\nminimum_cohort = 5\n")
    assert caught.value.code == "WR-POLICY-032"
    with pytest.raises(ValidationError):
        Thresholds(minimum_cell=0)  # type: ignore[call-arg]
