import json
from datetime import date

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

import requires
from studies import KEYS, altered, clinical, codes, document, policy, privacy, private, toml
from wardround import WardroundError
from wardround.study import HospitalPolicy, Profile, Study, combine, study_schema
from wardround.study.task import Algorithm, ModelKind
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey

BIG = 10**400
BOUNDS = [
    (["id"], ["", "Breast Mass", "-a", "a" * 64, 3, "a\n"], "WR-STUDY-010"),
    (["title"], ["", "  ", "x" * 4001, "a\u202eb", "a\x1bb", None, 3], "WR-STUDY-011"),
    (["coordinator", "name"], [""], "WR-STUDY-011"),
    (["version"], [0, True, 1.5, "1", BIG], "WR-STUDY-007"),
    (["profile"], ["none", 1, "SECURE-SUM"], "WR-STUDY-008"),
    (["expires"], ["soon", "2027-13-01", 20271231, "2027-12-31T10:00:00"], "WR-STUDY-009"),
    (["$schema"], [1], "WR-STUDY-006"),
    (
        ["coordinator", "url"],
        [
            "",
            "http://a.example",
            "https://",
            "a.example",
            "https://u:p@a.example",
            "https://a.example/x",
            "https://a.example?x=1",
            "https://a.example:99999",
            "https://a exam.ple",
        ],
        "WR-STUDY-015",
    ),
    (
        ["sites", 1, "signing_key"],
        ["", "ed25519:", "x", KEYS["lakeside"].public.text[:-1], "rsa:" + "A" * 43],
        "WR-STUDY-016",
    ),
    (["coordinator", "ca"], ["", "sha256:12", "SHA256:" + "a" * 64], "WR-STUDY-017"),
    (["sites", 0, "name"], ["", "North General", "a/b", "a.b", 7], "WR-STUDY-018"),
    (["adversary", "corrupt_sites"], [-1, "1", True, 0.5], "WR-STUDY-022"),
    (["cohort", "minimum_sites"], [2, 0, "3", BIG], "WR-STUDY-023"),
    (["cohort", "deadline_s"], [0, -1, 10**7, float("inf"), float("nan")], "WR-STUDY-024"),
    (["cohort", "attempts"], [0, 11, 2.5], "WR-STUDY-025"),
    (["cohort", "rounds_per_setup"], [0, 65], "WR-STUDY-026"),
    (["cohort", "deadline_floor_s"], [0, -1, 10**7, float("nan")], "WR-STUDY-140"),
    (["cohort", "target_sites"], [2, 65, 3.5, "3"], "WR-STUDY-141"),
    (["cohort", "selection"], ["best", 1], "WR-STUDY-142"),
    (["cohort", "over_selection"], [-1, 0.5, 65], "WR-STUDY-143"),
    (["cohort", "ask_every"], [0, 1001, 2.5], "WR-STUDY-144"),
    (["data", "outcome"], ["", 1, ["malignant"]], "WR-STUDY-027"),
    (["data", "features"], [[], "radius_mean", [1], [""], ["x"] * 1001], "WR-STUDY-028"),
    (["data", "test_fraction"], [0, 0.04, 0.51, float("nan"), "0.3"], "WR-STUDY-030"),
    (["model", "kind"], ["cox", 1], "WR-STUDY-031"),
    (["model", "algorithm"], ["magic"], "WR-STUDY-032"),
    (["data", "held_out"], ["", 1, ["malignant"]], "WR-STUDY-056"),
    (
        ["model", "ridge"],
        [-0.1, float("inf"), 1e10, True, [], [1], [0, 1], [1, 1], [2, 1], ["1", 2], [1, 1e10]],
        "WR-STUDY-033",
    ),
    (["model", "folds"], [1, 21, 2.5, "5"], "WR-STUDY-057"),
    (["model", "tolerance"], [0, 1e-13, 0.2], "WR-STUDY-034"),
    (["model", "maximum_steps"], [0, 201], "WR-STUDY-035"),
    (["disclosure", "minimum_cell"], [-1, 1, 2, 1001, "5"], "WR-STUDY-042"),
    (["disclosure", "minimum_cohort"], [4, 10**7], "WR-STUDY-043"),
    (["disclosure", "opened_numbers"], [0, 10**10, None], "WR-STUDY-044"),
]
FEDAVG = [
    ("rounds", [0, 1001], "WR-STUDY-037"),
    ("local_epochs", [0, 6], "WR-STUDY-038"),
    ("batch_size", [0, 10**6], "WR-STUDY-039"),
    ("learning_rate", [0, 11, float("nan")], "WR-STUDY-040"),
    ("clipping_norm", [0, 1e7], "WR-STUDY-041"),
]


def refusal(plain, **options):
    with pytest.raises(WardroundError) as refused:
        Study.parse(plain, **options)
    return refused.value


def written(path):
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [(path, value, code) for path, values, code in BOUNDS for value in values],
)
def test_every_violated_bound_has_its_code_path_and_remedy(path, value, code):
    error = refusal(altered(path, value))
    assert codes(error) == [code]
    assert error.path == written(path)
    assert error.remedy
    assert "pydantic" not in str(error).lower()
    assert "input" not in str(error).lower()


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [(key, value, code) for key, values, code in FEDAVG for value in values],
)
def test_every_bound_of_fedavg_too(key, value, code):
    error = refusal(
        document(
            model={
                "kind": "logistic",
                "algorithm": "fedavg",
                "fedavg": {"rounds": 5} | {key: value},
            }
        )
    )
    assert codes(error) == [code]
    assert error.path == f"model.fedavg.{key}"


@pytest.mark.parametrize(
    ("plain", "code", "path"),
    [
        (altered(["sites", 1, "name"], "harbour"), "WR-STUDY-019", "sites"),
        (
            altered(["sites", 1, "signing_key"], KEYS["harbour"].public.text),
            "WR-STUDY-020",
            "sites",
        ),
        (
            altered(["coordinator", "signing_key"], KEYS["harbour"].public.text),
            "WR-STUDY-020",
            "sites",
        ),
        (document(sites=document()["sites"][:2]), "WR-STUDY-053", "sites"),
        (document(cohort={"minimum_sites": 5}), "WR-STUDY-021", "cohort.minimum_sites"),
        (document(adversary={"corrupt_sites": 3}), "WR-STUDY-029", "adversary.corrupt_sites"),
        (altered(["data", "outcome"], "malignnt"), "WR-STUDY-012", "data.outcome"),
        (altered(["data", "features"], ["nothing_like_it"]), "WR-STUDY-012", "data.features[0]"),
        (
            altered(["data", "features"], ["radius_mean", "radius_mean"]),
            "WR-STUDY-013",
            "data.features",
        ),
        (altered(["data", "features"], ["malignant"]), "WR-STUDY-013", "data.features"),
        (altered(["data", "outcome"], "area_mean"), "WR-STUDY-014", "data.outcome"),
        (altered(["model", "kind"], "linear"), "WR-STUDY-014", "data.outcome"),
        (altered(["data", "features"], ["birth_date"]), "WR-STUDY-047", "data.features[0]"),
        (altered(["model", "algorithm"], "fedavg"), "WR-STUDY-036", "model.fedavg"),
        (altered(["model", "fedavg"], {"rounds": 3}), "WR-STUDY-036", "model.fedavg"),
        (altered(["model", "folds"], 5), "WR-STUDY-058", "model.folds"),
        (altered(["model", "ridge"], [0.1, 1]), "WR-STUDY-058", "model.folds"),
        (
            document(
                model={
                    "kind": "logistic",
                    "algorithm": "fedavg",
                    "fedavg": {"rounds": 1},
                    "ridge": [0.1, 1],
                    "folds": 5,
                }
            ),
            "WR-STUDY-058",
            "model.folds",
        ),
        (
            document(
                model={"kind": "logistic", "ridge": [0.1, 1], "folds": 5},
                disclosure={"opened_numbers": 279},  # 2 steps x 10 fits x 14 numbers, less one
            ),
            "WR-STUDY-059",
            "disclosure.opened_numbers",
        ),
        *(
            (altered(["data"], data), "WR-STUDY-056", "data.held_out")
            for data in (
                # not also required; a number; a feature; the outcome; nothing known
                {"outcome": "malignant", "features": ["radius_mean"], "held_out": "diabetes"},
                {
                    "outcome": "malignant",
                    "features": ["radius_mean"],
                    "also_required": ["age_years"],
                    "held_out": "age_years",
                },
                {
                    "outcome": "malignant",
                    "features": ["radius_mean", "diabetes"],
                    "also_required": ["diabetes"],
                    "held_out": "diabetes",
                },
                {
                    "outcome": "malignant",
                    "features": ["radius_mean"],
                    "also_required": ["malignant"],
                    "held_out": "malignant",
                },
            )
        ),
        (private(profile="clinical"), "WR-STUDY-045", "policy"),
        (document(policy=policy()), "WR-STUDY-046", "policy"),
        (
            clinical(
                model={"kind": "logistic", "algorithm": "fedavg", "fedavg": {"rounds": 1}},
                privacy=privacy(noise="site", training={"noise_multiplier": 20.0, "steps": 4}),
            ),
            "WR-STUDY-048",
            "model.fedavg.rounds",
        ),
        (document(surprise=1), "WR-STUDY-003", "surprise"),
        (altered(["model", "rigde"], 1.0), "WR-STUDY-003", "model.rigde"),
        (
            {key: value for key, value in document().items() if key != "data"},
            "WR-STUDY-004",
            "data",
        ),
        (document(disclosure={}), "WR-STUDY-004", "disclosure.opened_numbers"),
        (document(cohort=3), "WR-STUDY-005", "cohort"),
        (document(sites="four"), "WR-STUDY-005", "sites"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(plain, code, path):
    error = refusal(plain)
    assert codes(error) == [code]
    assert error.path == path


def test_what_leaves_things_as_they_were_leaves_the_digest():
    """Keys of later versions, where they are not used, are no part of what is signed."""
    text = Study.parse(document()).canonical().decode()
    assert "folds" not in text
    assert "held_out" not in text


def test_a_grid_of_ridges_is_kept_as_it_is_written():
    grid = {"kind": "logistic", "ridge": [0.01, 0.1, 1, 10], "folds": 5}
    study = Study.parse(document(model=grid, disclosure={"opened_numbers": 5000}))
    assert study.model.ridges == study.spec.ridges == (0.01, 0.1, 1.0, 10.0)
    assert Study.from_json(study.canonical()).digest == study.digest
    assert Study.parse(document()).model.ridges == (1.0,)


def test_all_problems_are_reported_together():
    error = refusal(document(version=0, sites=3, model={"kind": "cox"}, surprise=1))
    assert sorted(codes(error)) == ["WR-STUDY-003", "WR-STUDY-005", "WR-STUDY-007", "WR-STUDY-031"]


def test_a_typing_error_is_answered_with_the_nearest_name():
    assert "'ridge'" in refusal(altered(["model", "rigde"], 1.0)).remedy
    assert "malignant" in refusal(altered(["data", "outcome"], "malignnt")).remedy


def test_a_violated_policy_inside_a_study_has_the_policys_code():
    wrong = policy()
    wrong["cryptographic_privacy_guardrails"]["differential_privacy_epsilon"] = 2
    error = refusal(clinical(policy=wrong))
    assert codes(error) == ["WR-POLICY-021"]
    assert error.path == "policy.cryptographic_privacy_guardrails.differential_privacy_epsilon"


def test_defaults_follow_from_the_design():
    study = Study.parse(document())
    assert study.corrupt_sites == 1
    assert study.adversary().threshold == 3
    assert study.adversary(3).minimum_survivors == 3
    assert study.minimum_survivors() == 3
    assert (study.cohort.attempts, study.cohort.rounds_per_setup) == (3, 16)
    assert (study.disclosure.minimum_cell, study.disclosure.minimum_cohort) == (5, 20)
    assert study.model.algorithm is Algorithm.NEWTON
    assert study.spec.kind is ModelKind.LOGISTIC
    assert study.spec.features == ("radius_mean", "texture_mean")
    assert study.site_names == ("harbour", "lakeside", "north-general", "st-anna")
    assert study.site_keys["harbour"] == KEYS["harbour"].public
    assert study.coordinator_key == KEYS["coordinator"].public


def test_the_study_may_ask_for_more_survivors_than_the_adversary_does():
    assert Study.parse(document(cohort={"minimum_sites": 4})).minimum_survivors() == 4


def test_the_canonical_form_is_rfc_8785_and_says_every_default():
    study = Study.parse(document())
    plain = json.loads(study.canonical())
    assert rfc8785.dumps(plain) == study.canonical()
    assert plain["adversary"] == {"corrupt_sites": 1}
    assert plain["model"]["ridge"] == 1
    assert "$schema" not in plain
    assert study.digest == digest(study.canonical())


def test_the_canonical_form_reads_back_to_the_same_study():
    study = Study.parse(document())
    again = Study.from_json(study.canonical())
    assert again.canonical() == study.canonical()
    assert again.digest == study.digest


def test_what_does_not_matter_does_not_change_the_digest():
    plain = document()
    shuffled = dict(reversed(plain.items())) | {"$schema": "https://elsewhere.example/s.json"}
    stated = document(adversary={"corrupt_sites": 1}, cohort={"attempts": 3})
    assert Study.parse(shuffled).digest == Study.parse(plain).digest
    assert Study.parse(stated).digest == Study.parse(plain).digest


@given(st.sampled_from(["title", "question", "purpose", "version", "expires", "id"]))
def test_what_matters_changes_the_digest(key):
    other = {"version": 2, "expires": "2027-12-30", "id": "other"}.get(key, "Something else")
    assert Study.parse(document(**{key: other})).digest != Study.parse(document()).digest


def test_an_altered_copy_can_not_keep_the_digest():
    study = Study.parse(document())
    assert study.model_copy().digest == study.digest
    with pytest.raises(TypeError):
        study.model_copy(update={"version": 2})


def test_strict_json_only():
    for data in (b"", b"[]", b"{", b'{"id": 1, "id": 2}', b'{"id": NaN}', b"\xff"):
        with pytest.raises(WardroundError, match=r"WR-STUDY-00[25]"):
            Study.from_json(data)


def test_a_draft_may_lack_addresses_and_keys_and_can_not_be_signed():
    plain = document(
        coordinator={"name": "Example University"},
        sites=[{"name": name} for name in ("a", "b", "c")],
    )
    draft = Study.parse(plain, draft=True)
    assert draft.is_draft
    with pytest.raises(WardroundError, match="WR-STUDY-051"):
        draft.canonical()
    assert set(codes(refusal(plain))) == {"WR-STUDY-015", "WR-STUDY-016", "WR-STUDY-017"}


def test_a_draft_may_not_hold_wrong_keys():
    assert codes(refusal(altered(["sites", 0, "signing_key"], "x"), draft=True)) == ["WR-STUDY-016"]


def test_the_last_day_still_counts():
    study = Study.parse(document())
    study.refuse_if_expired(date(2027, 12, 31))
    with pytest.raises(WardroundError, match="WR-STUDY-052"):
        study.refuse_if_expired(date(2028, 1, 1))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "WR-STUDY-001"),
        (b"", "WR-STUDY-001"),
        (b"  \n", "WR-STUDY-001"),
        (b"#" * ((1 << 20) + 1), "WR-STUDY-001"),
        (b"id = \xff\xfe", "WR-STUDY-002"),
        ("id = \u201cbreast\u201d".encode(), "WR-STUDY-002"),
        (b"id = 1\nid = 2", "WR-STUDY-002"),
        (b"id = ", "WR-STUDY-002"),
        (b"x = " + b"[" * 5000, "WR-STUDY-002"),
    ],
)
def test_an_unreadable_is_refused(tmp_path, content, code):
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WardroundError) as refused:
        Study.load(path)
    assert refused.value.code == code
    assert refused.value.path == str(path)


def test_a_syntax_error_names_its_line(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("id = 'a'\ntitle = \n")
    with pytest.raises(WardroundError, match="line 2"):
        Study.load(path)


def test_byte_order_marks_windows_lines_and_toml_dates_are_read(tmp_path):
    path = tmp_path / "study.toml"
    plain = document()
    text = toml(plain).replace('"2027-12-31"', "2027-12-31").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Study.load(path).digest == Study.parse(plain).digest


def test_a_json_file_is_a_study_too(tmp_path):
    path = tmp_path / "study.json"
    path.write_bytes(Study.parse(document()).canonical())
    assert Study.load(path).digest == Study.parse(document()).digest


def tables(schema):
    """Every table in a schema, however deep."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from tables(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from tables(value)


def test_the_published_schema_is_closed_and_2020_12():
    jsonschema = requires.package("jsonschema")
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(table["additionalProperties"] is False for table in tables(schema))
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(document())
    assert validator.is_valid(json.loads(Study.parse(document()).canonical()))
    assert not validator.is_valid(document(surprise=1))
    assert not validator.is_valid(document(sites=document()["sites"][:2]))


@pytest.mark.parametrize(
    ("day", "exists"), [("2027-02-31", False), ("2027-13-01", False), ("2027-02-28", True)]
)
def test_a_date_that_no_calendar_has_is_called_that(tmp_path, day, exists):
    path = tmp_path / "study.toml"
    text = toml(document()).replace('expires" = "2027-12-31"', f'expires" = {day}')
    assert day in text
    path.write_text(text)
    if exists:
        assert Study.load(path).expires.isoformat() == day
        return
    with pytest.raises(WardroundError, match="WR-STUDY-002") as caught:
        Study.load(path)
    line = text[: text.index(day)].count("\n") + 1
    assert f"a date that does not exist at line {line}" in caught.value.problem
    assert "calendar" in caught.value.remedy


def test_a_date_in_a_line_that_is_wrong_otherwise_is_not_blamed(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("expires = 2027-02-28 oops\n")
    with pytest.raises(WardroundError) as caught:
        Study.load(path)
    assert "not valid TOML at line 1" in caught.value.problem


def grouped(sites=8, corrupt=1, minimum=3, **groups):
    """A study of so many sites in groups."""
    names = [
        {"name": f"site-{n}", "signing_key": SigningKey.generate().public.text}
        for n in range(sites)
    ]
    return document(
        sites=names,
        adversary={"corrupt_sites": corrupt},
        cohort={"minimum_sites": minimum, "groups": {"number": 2, **groups}},
    )


def test_groups_are_part_of_what_is_signed_and_a_study_without_them_is_signed_as_before():
    study = Study.parse(grouped())
    assert b'"groups":{"draw":"commit-reveal/1","number":2,"tolerated_dropouts":1}' in (
        study.canonical()
    )
    assert (study.visibility, study.totals_per_step, study.smallest_cohort) == ("groups", 2, 4)
    plain = Study.parse(document())
    assert b"groups" not in plain.canonical()
    assert (plain.visibility, plain.totals_per_step, plain.smallest_cohort) == ("sum", 1, 4)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"number": 1}, "WR-STUDY-090"),
        ({"number": 22}, "WR-STUDY-090"),
        ({"tolerated_dropouts": -1}, "WR-STUDY-091"),
        ({"draw": "lots"}, "WR-STUDY-092"),
        ({"number": 3}, "WR-STUDY-093"),  # 2 or 3 members
        ({"tolerated_dropouts": 2}, "WR-STUDY-093"),
        ({"corrupt": 2, "tolerated_dropouts": 1}, "WR-STUDY-093"),  # t = 4 of 4
        ({"minimum": 4}, "WR-STUDY-093"),
        ({"sites": 7}, "WR-STUDY-093"),  # a group of 3: t = 3
        ({"fold": 3}, "WR-STUDY-003"),
    ],
)
def test_groups_that_can_not_be(change, code):
    with pytest.raises(WardroundError) as raised:
        Study.parse(grouped(**change))
    assert codes(raised.value) == [code]


@pytest.mark.parametrize(
    "change",
    [
        {"corrupt": 2, "tolerated_dropouts": 0},
        {"minimum": 4, "tolerated_dropouts": 0},
        {"sites": 7, "tolerated_dropouts": 0},
        {"sites": 12, "number": 3},
        {"sites": 64, "number": 21, "corrupt": 0, "tolerated_dropouts": 0},
    ],
)
def test_groups_that_can_be(change):
    study = Study.parse(grouped(**change))
    dropouts = study.cohort.groups.tolerated_dropouts
    assert study.smallest_cohort - study.minimum_survivors(study.smallest_cohort) >= dropouts


def test_a_hospitals_least_number_of_sites_is_of_its_own_group():
    study = Study.parse(grouped())
    terms = HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM,), minimum_sites=4)
    assert combine(study, terms).minimum_sites == 4
    more = HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM,), minimum_sites=5)
    with pytest.raises(WardroundError) as raised:
        combine(study, more)
    assert codes(raised.value) == ["WR-POLICY-051"]


@pytest.mark.parametrize(
    ("cohort", "code"),
    [
        ({"selection": "adaptive"}, "WR-STUDY-145"),
        ({"over_selection": 1}, "WR-STUDY-145"),
        ({"target_sites": 3, "over_selection": 1}, "WR-STUDY-145"),
        ({"target_sites": 5}, "WR-STUDY-147"),  # of four
        ({"target_sites": 4, "selection": "adaptive", "over_selection": 1}, "WR-STUDY-147"),
        ({"target_sites": 3, "minimum_sites": 4}, "WR-STUDY-147"),
        ({"target_sites": 3, "selection": "adaptive", "over_selection": 1}, None),
        ({"target_sites": 3}, None),
        ({"target_sites": 4}, None),
    ],
)
def test_who_is_wanted_and_who_is_asked_must_fit_each_other(cohort, code):
    if code is None:
        assert Study.parse(document(cohort=cohort)).cohort.target_sites == cohort["target_sites"]
    else:
        assert codes(refusal(document(cohort=cohort))) == [code]


def test_a_study_with_groups_chooses_nobody():
    sites = [
        {"name": f"site-{n}", "signing_key": SigningKey.generate().public.text} for n in range(8)
    ]
    cohort = {"target_sites": 7, "groups": {"number": 2, "tolerated_dropouts": 0}}
    plain = document(sites=sites, cohort=cohort, adversary={"corrupt_sites": 1})
    assert codes(refusal(plain)) == ["WR-STUDY-146"]
