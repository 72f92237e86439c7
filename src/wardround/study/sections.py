"""The tables of ``study.toml``, each key with its bounds, its reason and its error code."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg.adversary import MAXIMUM_SITES, MINIMUM_SITES
from wardround.study.rules import Closed, Rule
from wardround.study.task import Algorithm, Compression, ModelKind, ServerStep
from wardround.trust.canonical import parse_digest
from wardround.trust.keys import VerifyKey

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
DRAFT = "draft"
"""The validation context's key under which a study may still lack addresses and keys."""


def _readable(text: str) -> str:
    """Refuse control and text-direction characters: a steward signs what a steward reads."""
    shown = all(character.isprintable() or character in "\n\t\u00a0" for character in text)
    if not text.strip() or not shown:
        raise ValueError
    return text


def _may_lack(text: str, info: ValidationInfo) -> bool:
    return text == "" and bool((info.context or {}).get(DRAFT))


def _public_key(text: str, info: ValidationInfo) -> str:
    if not _may_lack(text, info):
        try:
            VerifyKey.parse(text)
        except WardroundError as error:
            raise ValueError from error
    return text


def _digest(text: str, info: ValidationInfo) -> Digest:
    if not _may_lack(text, info):
        try:
            return parse_digest(text)
        except WardroundError as error:
            raise ValueError from error
    return Digest(text)


def https_origin(text: str) -> str:
    """Scheme, host and port of an HTTPS address and nothing else; raises ``ValueError``."""
    parts = urlsplit(text)
    port = parts.port  # raises ValueError beyond 65535
    surplus = parts.username or parts.password or parts.query or parts.fragment
    printable = all("!" <= character <= "~" for character in text)
    if parts.scheme != "https" or not parts.hostname or port == 0 or surplus or not printable:
        raise ValueError
    if parts.path not in ("", "/"):
        raise ValueError
    return text.rstrip("/")


def none_or_three(count: int) -> int:
    """A smallest cell: below three it would protect nobody, so then there is none."""
    if count in (1, 2):
        raise ValueError
    return count


def _rising(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if any(second <= first for first, second in pairwise(numbers)):
        raise ValueError
    return numbers


def _https(text: str, info: ValidationInfo) -> str:
    return text if _may_lack(text, info) else https_origin(text)


Words: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=4000),
    AfterValidator(_readable),
    Rule(
        "WR-STUDY-011",
        "be readable text of 1 to 4000 characters",
        "Say it in plain words; control and text-direction characters aren't allowed.",
    ),
]
PublicKey: TypeAlias = Annotated[
    str,
    Field(max_length=100),
    AfterValidator(_public_key),
    Rule(
        "WR-STUDY-016",
        'be a public signing key, "ed25519:" and 43 characters',
        "Ask its owner for the key that the set-up printed, and compare its fingerprint by voice.",
    ),
]


class Coordinator(Closed):
    """Who runs the rounds. It can't approve, extend or widen anything."""

    name: Words
    """The institution that runs the coordinator."""

    url: Annotated[
        str,
        AfterValidator(_https),
        Rule(
            "WR-STUDY-015",
            'be an address such as "https://coordinator.example.org:8443"',
            "Hospitals connect over HTTPS only: scheme, host and port, nothing after them.",
        ),
    ] = ""
    """Where the hospitals' agents connect to."""

    signing_key: PublicKey = ""
    """The key that signs the manifests of rounds."""

    ca: Annotated[
        str,
        AfterValidator(_digest),
        Rule(
            "WR-STUDY-017",
            'be the digest of a certificate, "sha256:" and 64 hexadecimal digits',
            "`wardround coordinator init` prints it.",
        ),
    ] = ""
    """The SHA-256 of the certificate authority's certificate (DER)."""


class Site(Closed):
    """A hospital that takes part."""

    name: Annotated[
        SiteName,
        Field(pattern=NAME_PATTERN),
        Rule(
            "WR-STUDY-018",
            "be a short name of lower-case letters, digits and hyphens",
            'Write, for example, "north-general".',
        ),
    ]
    """The hospital's short name, used in certificates and reports."""

    signing_key: PublicKey = ""
    """The hospital's own key; it was made there and never leaves it."""

    @property
    def key(self) -> VerifyKey:
        """The signing key, ready to verify with (not in a draft that lacks it)."""
        return VerifyKey.parse(self.signing_key)


class AdversaryStatement(Closed):
    """Against whom the sums are protected, besides a coordinator that may do anything."""

    corrupt_sites: Annotated[
        int | None,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-022",
            "be a number of sites, 0 or more",
            "Leave it out for the usual assumption: fewer than a third, none of three.",
        ),
    ] = None
    """How many hospitals may collude with the coordinator; every threshold follows from it."""


class Groups(Closed):
    """Sums over random groups of hospitals, one total a group, instead of one sum over all."""

    number: Annotated[
        int,
        Field(ge=2, le=MAXIMUM_SITES // MINIMUM_SITES),
        Rule(
            "WR-STUDY-090",
            f"be a whole number from 2 to {MAXIMUM_SITES // MINIMUM_SITES}",
            "Leave the table [cohort.groups] out for one sum over all hospitals.",
        ),
    ]
    """How many groups; their sizes differ by one at most."""

    tolerated_dropouts: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-091",
            "be a number of sites, 0 or more",
            "1 is usual: with 0, one hospital that is missing stops the study.",
        ),
    ] = 1
    """How many members of each group may be missing before a step fails."""

    draw: Annotated[
        Literal["commit-reveal/1"],
        Rule(
            "WR-STUDY-092",
            'be "commit-reveal/1"',
            "Leave it out: there is one way to draw the groups yet.",
        ),
    ] = "commit-reveal/1"
    """How the groups are drawn; signed, so that a later version's other way changes nothing."""

    redraw_steps: Annotated[
        int | None,
        Field(ge=1),
        Rule(
            "WR-STUDY-170",
            "be a whole number of steps, 1 or more",
            "Leave it out for one partition for good; 1 makes other groups at every step.",
        ),
    ] = None
    """With noise: after how many steps the groups are others. Left out, they stay as drawn."""


class Asynchronous(Closed):
    """Each hospital trains at its own pace; whoever is ready forms a short sum of ``sites``."""

    sites: Annotated[
        int | None,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-150",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            "Leave it out for a quarter of the hospitals, or as many as the adversary statement "
            "asks for.",
        ),
    ] = None
    """K: how many ready hospitals form a cohort. Left out, the greater of 3 and a quarter of all,
    raised to the least in which all corrupt hospitals may meet."""

    tolerated_dropouts: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-151",
            "be a number of sites, 0 or more",
            "0 is usual: a cohort that fails costs no training, only new keys.",
        ),
    ] = 0
    """How many of a cohort's hospitals may be lost after the keys were dealt."""

    maximum_staleness: Annotated[
        int,
        Field(ge=0, le=1000),
        Rule("WR-STUDY-152", "be a whole number from 0 to 1000", "10 is usual."),
    ] = 10
    """A contribution trained from a model this many versions back is still used; from an older
    one it is thrown away, and the hospital starts anew from the current model."""

    sum_deadline_s: Annotated[
        float,
        Field(ge=1, le=86_400),
        Rule(
            "WR-STUDY-153",
            "be a number of seconds from 1 to 86400 (a day)",
            "60 is usual: those who are ready have only to exchange keys and send.",
        ),
    ] = 60.0
    """Seconds for each exchange of a cohort's sum, in which nobody trains any more."""


class Cohort(Closed):
    """How many hospitals make a round, and how long it waits for them."""

    minimum_sites: Annotated[
        int,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-023",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            f"A sum over fewer than {MINIMUM_SITES} hospitals shows each what the others sent.",
        ),
    ] = MINIMUM_SITES
    """A total over fewer hospitals is never opened (the adversary statement may ask for more)."""

    deadline_s: Annotated[
        float,
        Field(ge=1, le=604_800),
        Rule(
            "WR-STUDY-024",
            "be a number of seconds from 1 to 604800 (a week)",
            "600 is usual; slow lines or large models need more.",
        ),
    ] = 600.0
    """Seconds after which a round goes on without those who haven't answered, whoever they are.

    Sooner, a round goes on when the ``target_sites`` are there and nobody else is within the time
    that it usually takes (one and a half times its 90th percentile)."""

    deadline_floor_s: Annotated[
        float,
        Field(ge=0.1, le=604_800),
        Rule(
            "WR-STUDY-140",
            "be a number of seconds from 0.1 to 604800 (a week)",
            "30 is usual; as long as deadline_s, and no deadline adapts to anybody's speed.",
        ),
    ] = 30.0
    """The least that a site's own deadline comes to, however fast it was (at most deadline_s)."""

    target_sites: Annotated[
        int | None,
        Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-141",
            f"be a whole number of at least {MINIMUM_SITES} sites",
            "Leave it out to wait for every hospital that is asked.",
        ),
    ] = None
    """How many contributions are wanted in a round; left out, those of all that are asked."""

    selection: Annotated[
        Literal["all", "adaptive"],
        Rule(
            "WR-STUDY-142",
            'be "all" or "adaptive"',
            "Leave it out to ask every hospital that is there in every round.",
        ),
    ] = "all"
    """Who is asked: ``all`` that are there, or (``adaptive``) as many as are wanted and
    over-selected, the fastest first, and each whose turn it is (``ask_every``)."""

    over_selection: Annotated[
        int,
        Field(ge=0, le=MAXIMUM_SITES),
        Rule(
            "WR-STUDY-143",
            "be a number of sites, 0 or more",
            "1 or 2 are usual: each is asked for a contribution that may not be needed.",
        ),
    ] = 0
    """How many more than ``target_sites`` are asked under ``selection = "adaptive"``."""

    ask_every: Annotated[
        int,
        Field(ge=1, le=1000),
        Rule(
            "WR-STUDY-144",
            "be a whole number of rounds from 1 to 1000",
            "8 is usual: a slow hospital's patients count in every eighth round at least.",
        ),
    ] = 8
    """Under ``selection = "adaptive"`` every hospital that is there is asked, and waited for up to
    its own deadline, at least once in so many rounds."""

    attempts: Annotated[
        int,
        Field(ge=1, le=10),
        Rule(
            "WR-STUDY-025",
            "be a whole number from 1 to 10",
            "3 is usual: a step that failed so often needs a person.",
        ),
    ] = 3
    """How often a failed round is tried anew."""

    rounds_per_setup: Annotated[
        int,
        Field(ge=1, le=64),
        Rule(
            "WR-STUDY-026",
            "be a whole number from 1 to 64",
            "16 is usual: more saves key exchanges, fewer lets a lost site come back sooner.",
        ),
    ] = 16
    """Rounds for which masking keys are agreed at once."""

    groups: Groups | None = None
    """Visibility ``groups``; left out, each step opens one sum over all hospitals."""

    asynchronous: Asynchronous | None = None
    """Federated averaging over whoever is ready; left out, each round waits for all."""

    @property
    def adaptive(self) -> bool:
        """Whether some are asked and others not."""
        return self.selection == "adaptive"


class Data(Closed):
    """What is asked of the records, in concepts of the concept graph."""

    outcome: Annotated[
        str,
        Field(min_length=1, max_length=100),
        Rule("WR-STUDY-027", "be the id of a concept", 'Write, for example, "malignant".'),
    ]
    """The concept that is predicted."""

    features: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(min_length=1, max_length=1000),
        Rule(
            "WR-STUDY-028",
            "be a list of 1 to 1000 concept ids",
            'Write, for example, features = ["radius_mean", "texture_mean"].',
        ),
    ]
    """The concepts it is predicted from, in the model's order."""

    also_required: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(max_length=100),
        Rule(
            "WR-STUDY-049",
            "be a list of concept ids",
            'Write, for example, also_required = ["age_years"], or leave it out.',
        ),
    ] = ()
    """Concepts that a patient must have a usable value for, though the model doesn't use them."""

    test_fraction: Annotated[
        float,
        Field(ge=0.05, le=0.5),
        Rule(
            "WR-STUDY-030",
            "be a number from 0.05 to 0.5",
            "0.3 is usual: that share of patients is only ever used to test the model.",
        ),
    ] = 0.3
    """The share of patients that is kept for testing, chosen by a hash of their identifier."""

    held_out: Annotated[
        str | None,
        Field(min_length=1, max_length=100),
        Rule(
            "WR-STUDY-056",
            "be the id of a yes-or-no concept",
            'Write, for example, held_out = "reserved_for_testing", or leave it out.',
        ),
    ] = None
    """A yes-or-no concept that says who is kept for testing, where that was settled before; then
    nothing is drawn by ``test_fraction``. It must stand in ``also_required``."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Every concept that a patient must have a value for: features, outcome, and the rest."""
        return tuple(dict.fromkeys((*self.features, self.outcome, *self.also_required)))


class FedAvg(Closed):
    """How local training goes, where the algorithm is ``fedavg``."""

    rounds: Annotated[
        int,
        Field(ge=1, le=1000),
        Rule("WR-STUDY-037", "be a whole number from 1 to 1000", "20 is a fair start."),
    ]
    """How often the hospitals' models are averaged."""

    local_epochs: Annotated[
        int,
        Field(ge=1, le=5),
        Rule(
            "WR-STUDY-038",
            "be a whole number from 1 to 5",
            "More passes over the local data per round leak more and drift apart; 1 is usual.",
        ),
    ] = 1
    """Passes over the local data per round."""

    batch_size: Annotated[
        int,
        Field(ge=1, le=100_000),
        Rule("WR-STUDY-039", "be a whole number from 1 to 100000", "32 is usual."),
    ] = 32
    """Records per step of gradient descent."""

    learning_rate: Annotated[
        float,
        Field(gt=0, le=10),
        Rule("WR-STUDY-040", "be a number above 0 and at most 10", "0.1 is a fair start."),
    ] = 0.1
    """The step size of gradient descent, on standardised features."""

    clipping_norm: Annotated[
        float,
        Field(gt=0, le=1_000_000),
        Rule(
            "WR-STUDY-041",
            "be a number above 0 and at most a million",
            "10 is a fair start: a longer update is shortened to this length.",
        ),
    ] = 10.0
    """The largest Euclidean norm of one hospital's update."""

    compression: Annotated[
        Compression,
        Rule(
            "WR-STUDY-160",
            'be "none", "rotate16", "rotate8" or "random-k"',
            '"rotate16" sends a quarter and "rotate8" an eighth of the bytes, "random-k" a share '
            'of the coordinates; "none" is exact.',
        ),
    ] = Compression.NONE
    """How updates are made smaller on their way: not at all; or rotated and rounded at random to 16
    or 8 bits a number, which adds an error without bias; or a share of the coordinates in each
    round, the same for all, while each hospital adds what it did not send to its next update."""

    sent_share: Annotated[
        float | None,
        Field(ge=0.001, le=1),
        Rule(
            "WR-STUDY-162",
            "be a number from 0.001 to 1",
            "0.1, a tenth of the coordinates in each round, is a fair start.",
        ),
    ] = None
    """Only for `random-k`: which share of the coordinates is sent in a round; left out, 0.1."""

    server: Annotated[
        ServerStep | None,
        Rule(
            "WR-STUDY-157",
            'be "fedavg", "fedbuff", "fedasync", "fedadam", "fedyogi" or "fedadagrad"',
            "Leave it out for plain averaging; the adaptive ones help on tables, and are no "
            "blanket default.",
        ),
    ] = None
    """What the coordinator makes of the mean update; left out, it is added as it is."""

    server_learning_rate: Annotated[
        float | None,
        Field(gt=0, le=100),
        Rule(
            "WR-STUDY-158",
            "be a number above 0 and at most 100",
            "Leave it out for 1, or for the adaptive ones 0.1 (fedadam, fedadagrad) and 0.01 "
            "(fedyogi).",
        ),
    ] = None
    """The step size of the coordinator's step."""

    proximal_mu: Annotated[
        float | None,
        Field(gt=0, le=1000),
        Rule(
            "WR-STUDY-159",
            "be a number above 0 and at most 1000",
            "0.01 is a fair start; leave it out for none.",
        ),
    ] = None
    """FedProx: the weight of the pull of local training towards the model that was sent out."""

    @property
    def share_sent(self) -> float:
        """Which share of an update's coordinates travels in a round."""
        if self.compression is not Compression.RANDOM_K:
            return 1.0
        return 0.1 if self.sent_share is None else self.sent_share


class Model(Closed):
    """What is fitted, and when fitting stops."""

    kind: Annotated[
        ModelKind,
        Rule(
            "WR-STUDY-031",
            'be "logistic" or "linear"',
            '"logistic" predicts a yes or no, "linear" a number.',
        ),
    ]
    """The model: ``logistic`` for a yes or no, ``linear`` for a number."""

    algorithm: Annotated[
        Algorithm,
        Rule(
            "WR-STUDY-032",
            'be "newton", "fedavg", "dp-sgd" or "noisy-statistics"',
            '"newton" is exact and needs few rounds, "fedavg" averages local models; under '
            '"private", "dp-sgd" takes noisy steps and "noisy-statistics" fits a linear model from '
            "one noisy sum.",
        ),
    ] = Algorithm.NEWTON
    """How it is fitted."""

    ridge: Annotated[
        Annotated[float, Field(ge=0, le=1e9)]
        | Annotated[
            tuple[Annotated[float, Field(gt=0, le=1e9)], ...],
            Field(min_length=2, max_length=20),
            AfterValidator(_rising),
        ],
        Rule(
            "WR-STUDY-033",
            "be a number from 0 to 1000000000, or a rising list of 2 to 20 numbers above 0",
            "1.0 is usual, 0 switches the penalty off; of a list such as [0.01, 0.1, 1, 10] "
            "cross-validation chooses one.",
        ),
    ] = 1.0
    """The weight of the penalty on large coefficients; the intercept is never penalised. Of a
    list, cross-validation over all hospitals' training records chooses one."""

    folds: Annotated[
        int | None,
        Field(ge=2, le=20),
        Rule("WR-STUDY-057", "be a whole number from 2 to 20", "5 is usual."),
    ] = None
    """Parts of the training records for cross-validation, by a hash of the patient's identifier;
    needed if, and only if, ``ridge`` is a list."""

    tolerance: Annotated[
        float,
        Field(ge=1e-12, le=0.1),
        Rule("WR-STUDY-034", "be a number from 1e-12 to 0.1", "1e-8 is usual."),
    ] = 1e-8
    """The relative change at which fitting stops."""

    maximum_steps: Annotated[
        int,
        Field(ge=1, le=200),
        Rule(
            "WR-STUDY-035",
            "be a whole number from 1 to 200",
            "25 is usual; a Newton fit that needs more doesn't converge.",
        ),
    ] = 25
    """Steps after which fitting gives up."""

    fedavg: FedAvg | None = None
    """Needed if, and only if, the algorithm is ``fedavg``."""

    @property
    def ridges(self) -> tuple[float, ...]:
        """The ridge, or all among which cross-validation chooses."""
        return self.ridge if isinstance(self.ridge, tuple) else (self.ridge,)


class Disclosure(Closed):
    """How little the opened figures may say; a hospital's own policy may be tighter."""

    minimum_cell: Annotated[
        int,
        Field(ge=0, le=1000),
        AfterValidator(none_or_three),
        Rule(
            "WR-STUDY-042",
            "be 0 or a whole number from 3 to 1000",
            "5 is usual, 0 only for records that are public anyway.",
        ),
    ] = 5
    """A hospital with fewer patients with, or without, the outcome in either part stays out. 0, for
    public records, switches this off at hospitals that have 0 as well."""

    minimum_cohort: Annotated[
        int,
        Field(ge=5, le=1_000_000),
        Rule("WR-STUDY-043", "be a whole number from 5 to 1000000", "20 is usual."),
    ] = 20
    """A hospital with fewer training patients stays out."""

    opened_numbers: Annotated[
        int,
        Field(ge=1, le=1_000_000_000),
        Rule(
            "WR-STUDY-044",
            "be a whole number from 1 to 1000000000",
            "5000 is ample for a regression on ten features.",
        ),
    ]
    """How many numbers the whole study may open; a hospital answers nothing beyond."""
