"""The masking benchmark: it measures what it says, whatever the numbers are."""

from __future__ import annotations

import pytest

from benchmarks import masking


def test_every_figure_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "SIZES", {"1m": 700, "10m": 70_000})
    monkeypatch.setattr(masking, "NEIGHBOURS", (10,))
    monkeypatch.setattr(masking, "REPEATS", {"1m": 1, "10m": 1})
    monkeypatch.setattr(masking, "RECOVERIES", {"1m": 1, "10m": 1})
    report = masking.run()
    assert set(report.figures) == {
        *("client_ratio_1m_k10", "client_ratio_10m_k10"),
        *(f"recovery_ratio_{size}_k10_{share}" for size in ("1m", "10m") for share in (0, 20)),
    }
    assert all(0 < figure < 100 for figure in report.figures.values())
    assert [row["streams"] for row in report.results] == [11, 11, 11, 11, 27, 27]
