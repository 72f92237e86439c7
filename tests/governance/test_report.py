"""The page says what happened, what was not protected, loads nothing and runs nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from recorded_run import FINISHED, RUN, STARTED, finished
from wardround.errors import WardroundError
from wardround.governance import Check, VerificationReport, verify
from wardround.governance.report import (
    LocalReport,
    Performance,
    ReportData,
    RoundFacts,
    SetupFacts,
    SiteTraffic,
    render_report,
    report_data,
    save_report,
)
from wardround.governance.report.absences import absences
from wardround.governance.report.render import size
from wardround.governance.summary import save_summary, summarise


@pytest.fixture(scope="module")
def data():
    """A realistic report: Wisconsin Diagnostic Breast Cancer data over four artificial sites."""
    path = Path(__file__).with_name("report_data.json")
    return ReportData.model_validate_json(path.read_bytes())


class Page(HTMLParser):
    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]*>", " ", page, flags=re.S))


def test_the_page_is_well_formed_and_needs_nothing_from_outside(data):
    text = render_report(data)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [a for a in page.attributes if a[1] in ("src", "href", "style")]
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_allows_exactly_the_style_sheet(data):
    text = render_report(data)
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    expected = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{expected}'" in text
    assert "default-src 'none'" in text


def test_every_heading_and_picture_has_a_name(data):
    page = Page(render_report(data))
    ids = {value for _, name, value in page.attributes if name == "id"}
    named = {value for _, name, value in page.attributes if name == "aria-labelledby"}
    assert named == ids
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("h1") == 1


def test_the_page_says_what_protected_the_run_and_what_did_not(data):
    text = text_of(render_report(data))
    assert "Profile secure-sum: no differential privacy" in text
    assert "run again without it" in text
    assert "The coordinator may do anything; one hospital may be corrupt" in text
    assert "Evidence E0: signed statement" in text
    assert "Missing at one hospital or more: bubblewrap, cgroups." in text


def test_the_figures_are_on_the_page(data):
    text = text_of(render_report(data))
    held_out = data.evaluation.held_out
    assert f"{held_out.auroc:.3f}" in text
    assert f"{held_out.auroc_low:.3f}–{held_out.auroc_high:.3f}" in text
    for site in data.sites:
        assert site.name in text
        assert f"{site.records_used} of {site.records_total}" in text
    assert "569 of 584" in text
    assert "Step 6, attempt 1: deadline passed" in text or "attempt 1: deadline passed" in text


def test_the_same_data_give_the_same_page(data):
    assert render_report(data) == render_report(data)


def test_text_from_a_study_is_escaped(data):
    hostile = '<script>alert("x")</script>'
    study = data.study.model_copy(update={"title": hostile, "question": hostile})
    sites = tuple(site.model_copy(update={"name": hostile}) for site in data.sites)
    page = render_report(
        data.model_copy(update={"study": study, "sites": sites, "notes": (hostile,)})
    )
    assert "<script" not in page


def test_what_is_absent_is_left_out(data):
    bare = data.model_copy(
        update={"sites": (), "pooled": None, "verification": None, "notes": (), "rounds": ()}
    )
    text = text_of(render_report(bare))
    assert "What left each hospital" not in text
    assert "Records used" not in text
    assert "All, pooled" not in text
    assert "Not verified yet" in text


def test_how_a_ridge_was_chosen_is_shown_where_one_was(data):
    losses = (
        {"ridge": 0.1, "loss": 0.47},
        {"ridge": 1.0, "loss": 0.44},
        {"ridge": 10, "loss": 0.5},
    )
    facts = data.model.model_dump() | {"ridge": 1.0, "folds": 5, "ridge_losses": losses}
    shown = text_of(
        render_report(data.model_copy(update={"model": type(data.model).model_validate(facts)}))
    )
    assert "with ridge 1 (of 3, by 5-fold cross-validation)" in shown
    assert re.search(r"0\.1 0\.4700 1 chosen 0\.4400 10 0\.5000", shown)
    assert "cross-validation" not in text_of(render_report(data))


def test_a_study_that_does_not_protect_small_groups_says_so(data):
    public = data.model_copy(update={"study": data.study.model_copy(update={"minimum_cell": 0})})
    said, usually = text_of(render_report(public)), text_of(render_report(data))
    assert "Small groups were not protected." in said
    assert "Small groups stayed out." not in said
    assert "Small groups stayed out." in usually
    assert "Small groups were not protected." not in usually


def test_a_failed_verification_is_not_hidden(data):
    report = VerificationReport(
        checks=(Check(name="Replay", ok=False, detail="Other weights."),), not_checked=()
    )
    text = text_of(render_report(data.model_copy(update={"verification": report})))
    assert "Verification failed: 1 of 1 checks" in text
    assert not summarise(data.model_copy(update={"verification": report})).verified


def test_a_report_is_made_from_a_study_and_its_candidate(tmp_path):
    run, evidence = finished()
    rounds = [
        RoundFacts(
            round=one.manifest.payload.hex()[:8],
            step=number,
            kind=str(one.task["kind"]),
            started=STARTED,
            seconds=0.2,
            opened_numbers=10,
        )
        for number, one in enumerate(evidence.rounds)
    ]
    data = report_data(
        run.study,
        run.candidate,
        run=RUN,
        started=STARTED,
        finished=FINISHED,
        model="sha256:" + "0" * 64,
        rounds=rounds,
        verification=verify(evidence),
    )
    save_report(data, tmp_path / "report.html")
    text = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert run.study.title in text
    assert "Mean radius of the cell nuclei" in text
    assert "Verified: 11 of 11 checks held" in text
    assert summarise(data).verified


def test_a_linear_model_has_a_page_of_its_own(data):
    held_out = Performance(r_squared=0.61, rmse=2.5, records=170)
    evaluation = data.evaluation.model_copy(
        update={"held_out": held_out, "calibration": (), "brier": None}
    )
    model = data.model.model_copy(update={"kind": "linear"})
    text = text_of(
        render_report(
            data.model_copy(
                update={"evaluation": evaluation, "model": model, "sites": (), "pooled": None}
            )
        )
    )
    assert "Variance explained" in text
    assert "AUROC" not in text


def test_the_summary_has_the_agreed_keys(data, tmp_path):
    import json

    save_summary(data, tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert set(summary["federated"]) == set(summary["pooled"]) == {"auroc", "accuracy"}
    assert set(summary["sites"][0]) == {
        "name",
        "records_used",
        "records_total",
        "bytes_out",
        "auroc_alone",
    }
    assert summary["rounds"] == 13
    assert summary["profile"] == "secure-sum"
    assert summary["verified"] is True


def test_a_local_report_is_read_back(data, tmp_path):
    path = tmp_path / "local_report.json"
    data.sites[0].save(path)
    assert LocalReport.load(path) == data.sites[0]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[", b'{"name": "x", "patients": 5}'])
def test_what_is_no_local_report_has_a_code(tmp_path, content):
    path = tmp_path / "local_report.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WardroundError) as raised:
        LocalReport.load(path)
    assert raised.value.code == "WR-GOV-030"


def test_nothing_half_written_where_nothing_can_be_written(data, tmp_path):
    with pytest.raises(WardroundError) as raised:
        save_report(data, tmp_path / "missing" / "report.html")
    assert raised.value.code == "WR-GOV-004"


@pytest.mark.parametrize(
    "wrong",
    [
        {"auroc": 0.5, "auroc_low": 0.6, "auroc_high": 0.7},
        {"auroc": 0.5, "auroc_low": 0.4},
        {"auroc_low": 0.4, "auroc_high": 0.5},
        {"auroc": 1.5},
        {"accuracy": float("nan")},
    ],
)
def test_an_impossible_figure_cannot_be_built(wrong):
    with pytest.raises(ValidationError):
        Performance(**wrong)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123_456, "123 kB"), (40_000_000, "40 MB")],
)
def test_sizes_have_three_digits(count, text):
    assert size(count) == text


def test_who_was_missing_from_which_steps_stands_on_the_page_and_in_the_summary(data):
    sites = data.study.sites
    rounds = tuple(
        RoundFacts(
            round=f"r.{step}",
            step=step,
            kind="newton_logistic",
            started=STARTED,
            seconds=0.2,
            survivors=sites if step == 0 else sites[1:],
            dropped=() if step == 0 else sites[:1],
            records=400 if step == 0 else 300,
        )
        for step in range(4)
    )
    update = {"rounds": rounds, "absences": absences(sites, rounds)}
    late = data.model_copy(update=update)
    text = text_of(render_report(late))
    assert "Hospitals that are not in every total" in text
    assert "2 to 4" in text
    assert "totals over 300 to 400 records, 325 on average" in text
    (line,) = summarise(late).absences
    assert (line.site, line.present, line.missing, line.not_asked) == (sites[0], 1, 3, 0)


def test_what_was_moved_stands_on_the_page_for_what_and_by_hospital(data):
    first, second = data.study.sites[:2]
    facts = {"kind": "moments", "started": STARTED, "seconds": 1.0, "step": 0}
    one = SiteTraffic(bytes_in=1_000, bytes_out=20)
    moved = data.model_copy(
        update={
            "rounds": (
                RoundFacts(round="r.0", traffic={first: one, second: one}, **facts),
                RoundFacts(round="run.s0.c.000000", traffic={first: one}, **facts),
            ),
            "setups": (
                SetupFacts(batch="b.0", started=STARTED, seconds=0.5, traffic={second: one}),
            ),
            "other_traffic": {
                "run": {first: one},
                "run.s0": {first: one, second: one},
                "run.s0.c.000001": {second: one},
            },
        }
    )
    words = text_of(render_report(moved)).partition("What was moved")[2].split()
    text = " ".join(words)
    assert "Set-ups of masking keys 1,000 20 Rounds 2,000 40 Late cohorts 2,000 40" in text
    assert "Streams, between cohorts 2,000 40 Before, between and after 1,000 20" in text
    assert text.count("In all 8,000 160") == 2
    assert f"{first} 4,000 80" in text and f"{second} 4,000 80" in text
    assert "Hospitals sent, at least" not in text
    again = render_report(moved.model_copy(update={"resumed": (FINISHED,)}))
    assert "Hospitals sent, at least" in text_of(again)
    assert "What was moved" not in text_of(render_report(data))


def test_what_failed_and_the_set_ups_are_drawn_as_long_as_they_took(data):
    times = {"kind": "moments", "started": STARTED, "seconds": 5.0, "step": 0}
    failed = RoundFacts(round="r.0", completed=False, **times)
    setup = SetupFacts(batch="b.0", started=STARTED, seconds=10.0)
    drawn = data.model_copy(update={"started": STARTED, "rounds": (failed,), "setups": (setup,)})
    page = render_report(drawn)
    assert 'class="round failed" x="0.0%" y="14" width="50.0%"' in page
    assert 'class="round" x="0.0%" y="14" width="100.0%"' in page
    assert "Set-up of masking keys" in text_of(page)
