"""The real hospitals' demonstration from keys to verified evidence, in processes of its own."""

from pathlib import Path

import pytest

import requires
from wardround.governance.summary import summarise
from wardround.simulation.demo import run_demo
from wardround.simulation.demo_studies import heart_disease


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_heart_study_runs_with_its_signed_overrides(tmp_path: Path) -> None:
    requires.package("sklearn")
    played = heart_disease(requires.shared("data/heart"))
    done = run_demo(tmp_path / "demo", played, lambda _who, _event: None)
    told = summarise(done.data)
    assert told.verified
    assert [(site.name, site.records_used) for site in told.sites] == [
        ("cleveland", 303),
        ("budapest", 284),
        ("switzerland", 46),
        ("long-beach", 133),
    ]
    assert told.sites[2].auroc_alone is None
    assert told.pooled is not None
    assert told.federated.accuracy == told.pooled.accuracy
    assert told.federated.accuracy is not None
    assert told.federated.accuracy > 0.79
    assert done.data.model.ridge == 21.5
    overrides = tmp_path / "demo" / "switzerland"
    assert list(overrides.rglob("*overrides*"))
