import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import requires
from studies import codes, policy
from wardround import WardroundError
from wardround.study import CompliancePolicy, policy_schema

BOUNDS = "node_execution_bounds"
RAILS = "cryptographic_privacy_guardrails"
PUBLISHED, CORRECTED = "HOMOMORPHIC_PALLIER_ENFORCED", "HOMOMORPHIC_PAILLIER_ENFORCED"
PROPERTIES = [(table, name) for table, names in policy().items() for name in names]


def altered(table, name, value):
    plain = copy.deepcopy(policy())
    plain[table][name] = value
    return plain


@pytest.mark.parametrize(
    ("table", "name", "values", "code"),
    [
        (
            BOUNDS,
            "hardware_enclave_isolation",
            ["", "NONE", "AMD_SEV", None, 1],
            "WR-POLICY-010",
        ),
        (
            BOUNDS,
            "maximum_local_epochs_per_round",
            [0, -3, 6, 2.5, True, "3", None],
            "WR-POLICY-011",
        ),
        (BOUNDS, "local_data_ingestion_protocol", ["CSV", None], "WR-POLICY-012"),
        (RAILS, "weight_encryption_protocol", ["NONE", "MASKING", None], "WR-POLICY-020"),
        (
            RAILS,
            "differential_privacy_epsilon",
            [0, -1, 1.51, "1", True, None, float("nan"), float("inf"), -float("inf")],
            "WR-POLICY-021",
        ),
        (
            RAILS,
            "gaussian_noise_sigma",
            [0.49, 0, -1, "1", None, float("nan"), float("inf")],
            "WR-POLICY-022",
        ),
    ],
)
def test_every_violated_bound_has_its_code_path_and_remedy(table, name, values, code):
    for value in values:
        with pytest.raises(WardroundError) as refused:
            CompliancePolicy.parse(altered(table, name, value))
        assert codes(refused.value) == [code]
        assert refused.value.path == f"{table}.{name}"
        assert refused.value.remedy


@pytest.mark.parametrize(("table", "name"), PROPERTIES)
def test_a_missing_property_is_named(table, name):
    plain = policy()
    del plain[table][name]
    with pytest.raises(WardroundError) as refused:
        CompliancePolicy.parse(plain)
    assert codes(refused.value) == ["WR-POLICY-004"]
    assert refused.value.path == f"{table}.{name}"


def test_unknown_keys_are_refused_everywhere():
    for plain in (policy() | {"x": 1}, altered(BOUNDS, "x", 1), altered(RAILS, "x", 1)):
        with pytest.raises(WardroundError, match="WR-POLICY-003"):
            CompliancePolicy.parse(plain)


def test_both_spellings_mean_the_same():
    published = CompliancePolicy.parse(policy())
    corrected = CompliancePolicy.parse(altered(RAILS, "weight_encryption_protocol", CORRECTED))
    assert published == corrected
    assert published.model_dump(mode="json") == policy()


mostly = {
    "hardware_enclave_isolation": st.sampled_from(["INTEL_SGX_OR_AMD_SEV_ENFORCED"] * 6 + ["X", 1]),
    "maximum_local_epochs_per_round": st.one_of(
        st.integers(1, 5), st.integers(-5, 9), st.floats(-3, 9), st.booleans()
    ),
    "local_data_ingestion_protocol": st.sampled_from(["FHIR_COMPLIANT_JSON_STREAMS"] * 6 + ["", 2]),
    "weight_encryption_protocol": st.sampled_from([PUBLISHED, CORRECTED] * 3 + ["NONE", None]),
    "differential_privacy_epsilon": st.one_of(
        st.floats(0, 1.5), st.floats(-3, 3), st.integers(-1, 2), st.booleans()
    ),
    "gaussian_noise_sigma": st.one_of(st.floats(0.5, 9), st.floats(-3, 3), st.integers(-1, 9)),
    "surplus": st.integers(),
}


@st.composite
def documents(draw):
    """Policies near the border between right and wrong."""
    plain = {}
    for table, names in policy().items():
        kept = [name for name in names if draw(st.integers(0, 30))]
        kept += ["surplus"] * (draw(st.integers(0, 30)) == 0)
        plain[table] = {name: draw(mostly[name]) for name in kept}
    if draw(st.integers(0, 30)) == 0:
        plain["surplus"] = 1
    return plain


def accepted(plain):
    try:
        return CompliancePolicy.parse(plain)
    except WardroundError:
        return None


@given(documents())
def test_the_published_policy_schema_agrees_with_the_checks(plain):
    validator = requires.package("jsonschema").Draft202012Validator(policy_schema())
    # 3.0 is an integer to JSON Schema and none to us.
    epochs = plain[BOUNDS].get("maximum_local_epochs_per_round")
    if not isinstance(epochs, float):
        assert validator.is_valid(plain) == (accepted(plain) is not None)
    elif accepted(plain) is not None:
        assert validator.is_valid(plain)


@given(documents())
def test_whatever_ours_accepts_the_published_schema_accepts(plain):
    jsonschema = requires.package("jsonschema")
    path = requires.shared("policy/published.schema.json")
    published = jsonschema.Draft202012Validator(json.loads(path.read_text()))
    kept = accepted(plain)
    if kept is not None:
        assert published.is_valid(kept.model_dump(mode="json"))
        if plain[RAILS]["weight_encryption_protocol"] == PUBLISHED:
            assert published.is_valid(plain)


@pytest.mark.parametrize(
    "plain",
    [
        altered(RAILS, "differential_privacy_epsilon", -1),
        altered(RAILS, "differential_privacy_epsilon", 0),
        altered(BOUNDS, "maximum_local_epochs_per_round", -3),
        altered(BOUNDS, "maximum_local_epochs_per_round", 0),
        altered(RAILS, "surplus", 1),
        policy() | {"surplus": 1},
    ],
)
def test_ours_is_strictly_tighter(plain):
    jsonschema = requires.package("jsonschema")
    path = requires.shared("policy/published.schema.json")
    assert jsonschema.Draft202012Validator(json.loads(path.read_text())).is_valid(plain)
    assert not jsonschema.Draft202012Validator(policy_schema()).is_valid(plain)
    assert accepted(plain) is None


def test_ours_keeps_the_published_title_and_names():
    published = json.loads(requires.shared("policy/published.schema.json").read_text())
    ours = policy_schema()
    assert ours["title"] == published["title"]
    assert ours["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert sorted(ours["required"]) == sorted(published["required"])
    for table, schema in published["properties"].items():
        definition = ours["$defs"][ours["properties"][table]["$ref"].rpartition("/")[2]]
        assert sorted(definition["required"]) == sorted(schema["required"])
        assert definition["additionalProperties"] is False


@pytest.mark.parametrize("name", ["policy.json", "policy.toml"])
def test_a_policy_is_read_from_a_file(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps(policy()))
    else:
        lines = []
        for table, values in policy().items():
            lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
        path.write_text("\n".join(lines))
    assert CompliancePolicy.load(path) == CompliancePolicy.parse(policy())


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.json", None, "WR-POLICY-001"),
        ("a.json", b"", "WR-POLICY-001"),
        ("a.json", b"{", "WR-POLICY-002"),
        ("a.json", b'{"a": 1, "a": 2}', "WR-POLICY-002"),
        ("a.json", b"\xff", "WR-POLICY-002"),
        ("a.json", b"[]", "WR-POLICY-005"),
        ("a.json", b'{"node_execution_bounds": 3}', "WR-POLICY-005"),
        ("a.toml", b"a =", "WR-POLICY-002"),
    ],
)
def test_an_unreadable_policy_is_refused(tmp_path, name, content, code):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WardroundError) as refused:
        CompliancePolicy.load(path)
    assert code in codes(refused.value)
