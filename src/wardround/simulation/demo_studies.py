"""What the demonstration can play: each study with its hospitals and everything said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wardround.ids import SiteName
from wardround.simulation import heart, hospitals
from wardround.simulation.records import DemoHospital, toml_table
from wardround.study.profiles import Profile


@dataclass(frozen=True)
class LetPass:
    """A steward's override of one quality check that blocks."""

    site: SiteName
    check: str
    concept: str
    reason: str


@dataclass(frozen=True)
class DemoStudy:
    """A study to be played.

    ``write`` writes the hospitals' records into a folder; ``opening`` and ``closing`` are what
    the terminal says first and last, ``notes`` what stands at the end of the report; ``top`` and
    ``body`` are the study's text before and after its parties; ``hospital`` are lines of every
    ``hospital.toml``.
    """

    write: Callable[[Path], list[DemoHospital]]
    opening: str
    notes: tuple[str, ...]
    top: str
    body: str
    hospital: str = ""
    overrides: tuple[LetPass, ...] = ()
    closing: tuple[str, ...] = ()
    profile: Profile = Profile.SECURE_SUM

    def toml(
        self, coordinator: dict[str, object], sites: Sequence[dict[str, object]], expires: date
    ) -> str:
        """The whole ``study.toml`` with the parties' keys in it."""
        parties = "\n".join(
            f'[[sites]]\nname = "{site["name"]}"\nsigning_key = "{site["signing_key"]}"\n'
            for site in sites
        )
        return f"""\
# The demonstration's study. A real one starts with `wardround study new`.
{self.top}version = 1
profile = "{self.profile}"
expires = {expires.isoformat()}

[coordinator]
name = "Demonstration coordinator"
url = "{coordinator["url"]}"
signing_key = "{coordinator["signing_key"]}"
ca = "{coordinator["ca"]}"

{parties}
[cohort]
minimum_sites = 3
deadline_s = 30

{self.body}"""


_EXACT = """\
[model]
kind = "logistic"
algorithm = "newton"
ridge = 1.0
"""
_PRIVATE = """\
[model]
kind = "logistic"
algorithm = "dp-sgd"
ridge = 1.0

# `wardround privacy plan` found the noise for this epsilon.
[privacy]
epsilon = 1.5
patients = 570
rationale = "A demonstration on public records; 1.5 is what the compliance policy allows at most."

[privacy.statistics]
noise_multiplier = 7.9
spare = 0

[privacy.training]
noise_multiplier = 16.9
steps = 10
spare = 1

[privacy.evaluation]
noise_multiplier = 4.16
spare = 0
"""


def biopsies(profile: Profile = Profile.SECURE_SUM) -> DemoStudy:
    """Four artificial hospitals that hold 569 real biopsies, without noise or with it."""
    private = profile is Profile.PRIVATE
    return DemoStudy(
        write=hospitals.write_demo_hospitals,
        opening="Four artificial hospitals, real biopsies, separate processes, mutual TLS on "
        "loopback.",
        notes=(
            "A demonstration: the biopsies are real and public, the four hospitals are artificial, "
            "and all parties ran on one machine.",
        ),
        top=_top(
            id="breast-mass",
            title="Malignancy of breast masses from ten cell-nucleus measurements",
            question="Can the mean measurements of a fine-needle biopsy tell malignant from "
            "benign masses?",
            purpose="A demonstration on public data (Wisconsin Diagnostic Breast Cancer, 569 "
            "biopsies).",
        ),
        body=f"""\
[data]
outcome = "{hospitals.OUTCOME}"
{_features(hospitals.FEATURES)}
also_required = ["age_years"]  # derived from invented birth dates; never a model input
test_fraction = 0.35

{_PRIVATE if private else _EXACT}
[disclosure]
opened_numbers = 50000
""",
        profile=profile,
    )


_SWITZERLAND = SiteName("switzerland")


def heart_disease(data: Path) -> DemoStudy:
    """The four real hospitals of the UCI heart-disease data, whose files lie in ``data``."""
    return DemoStudy(
        write=lambda folder: heart.write_heart_hospitals(data, folder),
        opening="Four real hospitals (UCI heart disease, 1988, public), separate processes, "
        "mutual TLS on loopback.",
        notes=(
            "The patients and hospitals are real: the public heart-disease data of the UCI Machine "
            "Learning Repository (Janosi, Steinbrunn, Pfisterer and Detrano 1988, CC BY 4.0). All "
            "parties ran on one machine, and none of these hospitals took part.",
            "Cholesterol is left out. Zurich and Basel wrote 0 for all 123 patients, which is no "
            "cholesterol, and to require it would leave that hospital out. Patients who lack only "
            "cholesterol are therefore used, 23 in Budapest and 4 in Long Beach, where published "
            "comparisons have 303, 261, 46 and 130 patients; one in Long Beach whose blood "
            "pressure is given as 0 is set aside. Slope, vessels and thallium scan are left "
            "out as there: hardly any hospital but Cleveland has them.",
            "Because the records are public, small groups are not protected (minimum_cell = 0, in "
            "the study and in each hospital's own limits): of Switzerland's 46 usable patients one "
            "has no disease. With private records 5 is usual, and that hospital would stay out.",
            "Signed by Switzerland's steward: the checks of the outcome's rarer class and of "
            "missing fasting blood sugar block there, and were let pass with a reason.",
        ),
        top=_top(
            id="heart-disease",
            title="Coronary disease from what is known before angiography",
            question="Do history, resting findings and an exercise test tell who has a narrowed "
            "coronary artery?",
            purpose="A demonstration on public data (UCI heart disease: Cleveland, Budapest, "
            "Zurich and Basel, Long Beach).",
        ),
        body=f"""\
[data]
outcome = "{heart.OUTCOME}"
{_features(heart.FEATURES)}
test_fraction = 0.34

[model]
kind = "logistic"
algorithm = "newton"
ridge = [{", ".join(f"{ridge:g}" for ridge in heart.RIDGES)}]  # one is chosen by cross-validation
folds = {heart.FOLDS}

[disclosure]
minimum_cell = 0  # public records; one hospital has a single patient without the disease
opened_numbers = 200000
""",
        hospital="minimum_cell = 0  # public records\n",
        closing=(
            "Switzerland took part under two signed overrides: one of its 46 usable patients has "
            "no disease, so it can fit nothing alone.",
            "Cholesterol is left out: Zurich and Basel wrote 0 for everyone. The records are "
            "public, so small groups are not protected (minimum_cell = 0).",
        ),
        overrides=(
            LetPass(
                _SWITZERLAND,
                "minority_class",
                heart.OUTCOME,
                "Nearly everyone referred here had the disease; alone we could fit nothing, but "
                "our patients add to a sum over all hospitals.",
            ),
            LetPass(
                _SWITZERLAND,
                "missingness",
                "fasting_blood_sugar_high",
                "Fasting blood sugar was not taken in most patients; those without it are left "
                "out.",
            ),
        ),
    )


def _top(**texts: str) -> str:
    return "".join(f"{line}\n" for line in toml_table(texts))


def _features(names: Sequence[str]) -> str:
    listed = ",\n".join(f'    "{name}"' for name in names)
    return f"features = [\n{listed},\n]"
