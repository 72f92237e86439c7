"""Limits as values: refused when too low, named, described, required."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.sandbox import HostLimits, Limit, Limits, describe, parse_limits, require

LIMIT_SETS = st.frozensets(st.sampled_from(list(Limit)))


@given(enforced=LIMIT_SETS, required=LIMIT_SETS)
def test_require_names_exactly_what_is_missing(enforced, required):
    missing = {limit: f"why {limit.name}" for limit in Limit if limit not in enforced}
    host = HostLimits(enforced, missing)
    if required <= enforced:
        require(host, required)
        return
    with pytest.raises(WardroundError, match="WR-SANDBOX-001") as caught:
        require(host, required)
    for limit in Limit:
        named = f"{limit.value} (why {limit.name})" in caught.value.problem
        assert named == (limit in required - enforced)


@given(enforced=LIMIT_SETS)
def test_describe_has_a_row_for_every_limit(enforced):
    missing = {limit: "why" for limit in Limit if limit not in enforced}
    rows = describe(HostLimits(enforced, missing))
    assert [row.limit for row in rows] == list(Limit)
    assert {row.limit for row in rows if row.enforced} == enforced
    assert all((row.reason == "") == row.enforced and row.meaning for row in rows)


@given(enforced=LIMIT_SETS, limit=st.sampled_from(list(Limit)), reason=st.none() | st.text())
def test_adding_leaves_a_limit_either_enforced_or_missing(enforced, limit, reason):
    host = HostLimits(enforced, dict.fromkeys(frozenset(Limit) - enforced, "why"))
    added = host.adding(limit, reason)
    assert added.enforced | set(added.missing) == set(Limit)
    assert not added.enforced & set(added.missing)
    assert (limit in added.enforced) == (reason is None)


def test_limits_are_parsed_by_name():
    assert parse_limits(["network", "namespaces.pid"]) == {Limit.NETWORK, Limit.PID_NAMESPACE}
    assert parse_limits([]) == frozenset()
    with pytest.raises(WardroundError, match=r"WR-SANDBOX-009.*netwrok"):
        parse_limits(["netwrok"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_bytes", 1 << 20), ("cpu_s", 0), ("open_files", 3), ("wall_s", float("nan"))],
)
def test_a_limit_too_low_for_any_worker_is_refused(name, value):
    with pytest.raises(WardroundError, match="WR-SANDBOX-010") as caught:
        Limits(**{name: value})
    assert caught.value.path == name


def test_a_report_is_plain_values():
    host = HostLimits(frozenset({Limit.NETWORK}), {Limit.CPU: "why"}, simulated=True)
    assert host.to_json() == {
        "enforced": ["network"],
        "missing": {"cpu": "why"},
        "simulated": True,
    }


@pytest.mark.parametrize("share", [0.0, 0.04, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(WardroundError, match="WR-SANDBOX-020"):
        Limits(cpu_share=share)
