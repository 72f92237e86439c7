"""A site in the draw of groups, against a coordinator that lies, with f corrupt sites beside it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from private_study import PRIVACY
from private_study import manifest as private_manifest
from studies import document
from ward import plan
from wardround.errors import WardroundError
from wardround.federation.messages import Ask, Instruction
from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg.draw import Acceptance, Commitment, Reveal, commit, payloads_digest
from wardround.secagg.setup import setup_digest
from wardround.simulation.inprocess import Keys
from wardround.site import tables
from wardround.site.seat import Seat
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

EIGHT = tuple(SiteName(f"site-{letter}") for letter in "abcdefgh")
ME, CORRUPT = EIGHT[0], EIGHT[7]
RUN = RunId("run")
GROUPS = {"cohort": {"groups": {"number": 2}}, "adversary": {"corrupt_sites": 1}}
Said = dict[SiteName, Envelope]


class Sites:
    """All eight seats of a study; the coordinator between them is the test."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.keys = Keys.generate(EIGHT)
        self.study: Study = self.keys.seal(plan(**(changes or GROUPS)))
        self.folder = folder
        self.databases: dict[SiteName, Database] = {}
        self.seats = {site: self.seat(site) for site in EIGHT}

    def seat(self, site: SiteName) -> Seat:
        """A seat over whatever the site's folder remembers."""
        if site in self.databases:
            self.databases[site].close()
        database = Database.file(self.folder / f"{site}.db", tables.MIGRATIONS)
        self.databases[site] = database
        state = JournalledDatabase(database, tables.journal, site)
        return Seat(self.study, site, self.keys.sites[site], state)

    def restart(self, site: SiteName) -> None:
        self.seats[site] = self.seat(site)

    def commitments(self, draw: int = 0) -> Said:
        ask = Instruction(ask=Ask.COMMIT, run=RUN, draw=draw)
        return {site: seat.grouping.commit(ask).envelope for site, seat in self.seats.items()}

    def reveal(self, site: SiteName, shown: Mapping[SiteName, Envelope], draw: int = 0) -> Envelope:
        ask = Instruction(ask=Ask.REVEAL, run=RUN, draw=draw, envelopes=dict(shown))
        return self.seats[site].grouping.reveal(ask).envelope

    def reveals(self, shown: Mapping[SiteName, Envelope], draw: int = 0) -> Said:
        return {site: self.reveal(site, shown, draw) for site in EIGHT}

    def accept(
        self, site: SiteName, shown: Mapping[SiteName, Envelope], draw: int = 0
    ) -> Acceptance:
        ask = Instruction(ask=Ask.SETTLE, run=RUN, draw=draw, envelopes=dict(shown))
        envelope = self.seats[site].grouping.accept(ask).envelope
        return Acceptance.open(envelope, self.study.site_keys[site])

    def advertise(
        self, site: SiteName, pool: tuple[SiteName, ...], partition: int = 0, rounds: int = 2
    ) -> object:
        batch = BatchId(f"{partition}-{'-'.join(pool)}"[:90])
        ask = Instruction(
            ask=Ask.ADVERTISE, run=RUN, batch=batch, pool=pool, partition=partition, rounds=rounds
        )
        return self.seats[site].advertise(ask)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path)


def code(call: object) -> str | None:
    try:
        call()
    except WardroundError as error:
        return error.code
    return None


def test_all_sites_work_out_one_partition(sites: Sites) -> None:
    reveals = sites.reveals(sites.commitments())
    assert len({sites.accept(site, reveals).partition for site in EIGHT}) == 1
    partition = sites.seats[ME].grouping.partition()
    assert sorted(site for group in partition.groups for site in group) == sorted(EIGHT)
    for site, seat in sites.seats.items():
        assert seat.grouping.partition() == partition
        group = partition.group_of(site)
        sites.advertise(site, group)
        sites.restart(site)
        assert sites.seats[site].grouping.partition() == partition
        sites.advertise(site, tuple(sorted(group)))


def test_answers_are_the_same_after_a_restart(sites: Sites) -> None:
    commitments = sites.commitments()
    sites.restart(ME)
    assert sites.commitments() == commitments
    reveals = sites.reveals(commitments)
    sites.restart(ME)
    assert sites.reveal(ME, commitments) == reveals[ME]
    accepted = sites.accept(ME, reveals)
    sites.restart(ME)
    assert sites.accept(ME, reveals) == accepted


@pytest.mark.parametrize("outsiders", [1, 2])
def test_a_set_up_with_another_groups_members_is_refused(sites: Sites, outsiders: int) -> None:
    assert code(lambda: sites.advertise(ME, EIGHT[:4])) == "WR-SITE-080", "not drawn yet"
    reveals = sites.reveals(sites.commitments())
    sites.accept(ME, reveals)
    partition = sites.seats[ME].grouping.partition()
    mine = partition.group_of(ME)
    others = tuple(site for site in EIGHT if site not in mine)
    pool = tuple(sorted((*mine, *others[:outsiders])))
    assert code(lambda: sites.advertise(ME, pool)) == "WR-SITE-080"
    assert code(lambda: sites.advertise(ME, (ME, *others))) == "WR-SITE-080"
    assert code(lambda: sites.advertise(ME, EIGHT)) == "WR-SITE-080"
    sites.advertise(ME, tuple(site for site in mine if site != next(s for s in mine if s != ME)))


def test_equivocating_commitments_end_the_draw(sites: Sites) -> None:
    """A corrupt site signs two commitments, and each half of the others is shown another one."""
    one = sites.commitments()
    again = commit(sites.study.digest, 0, CORRUPT, b"\x07" * 32)
    other = {**one, CORRUPT: again.sign(sites.keys.sites[CORRUPT])}
    reveals = {site: sites.reveal(site, one) for site in EIGHT[:4]}
    reveals |= {site: sites.reveal(site, other) for site in EIGHT[4:7]}
    for seen, random in ((one, None), (other, b"\x07" * 32)):
        if random is None:
            reveals[CORRUPT] = sites.reveal(CORRUPT, one)
        else:
            said = Reveal(sites.study.digest, 0, CORRUPT, payloads_digest(seen), random)
            reveals[CORRUPT] = said.sign(sites.keys.sites[CORRUPT])
        for site in EIGHT[:7]:
            assert code(lambda site=site: sites.accept(site, reveals)) == "WR-SECAGG-031"
            assert sites.seats[site].grouping.partition() is None


def test_a_site_reveals_against_one_set_of_commitments_only(sites: Sites) -> None:
    one = sites.commitments()
    other = {
        **one,
        CORRUPT: commit(sites.study.digest, 0, CORRUPT, bytes(32)).sign(sites.keys.sites[CORRUPT]),
    }
    sites.reveal(ME, one)
    assert code(lambda: sites.reveal(ME, other)) == "WR-SITE-083"
    sites.restart(ME)
    assert code(lambda: sites.reveal(ME, other)) == "WR-SITE-083"


def test_a_set_without_this_sites_own_commitment_is_not_revealed_against(sites: Sites) -> None:
    said = sites.commitments()
    forged = commit(sites.study.digest, 0, ME, bytes(32)).sign(sites.keys.sites[ME])
    assert code(lambda: sites.reveal(ME, {**said, ME: forged})) == "WR-SITE-083"


def test_a_set_that_is_not_the_studys_is_not_revealed_against(sites: Sites) -> None:
    said = sites.commitments()
    study = sites.study.digest
    stranger, signer = SiteName("stranger"), SigningKey.generate()
    fewer = {site: one for site, one in said.items() if site != CORRUPT}
    assert code(lambda: sites.reveal(ME, fewer)) == "WR-SECAGG-030"
    strange = {**said, stranger: commit(study, 0, stranger, bytes(32)).sign(signer)}
    assert code(lambda: sites.reveal(ME, strange)) == "WR-SECAGG-030"
    swapped = {**said, CORRUPT: said[EIGHT[1]]}
    assert code(lambda: sites.reveal(ME, swapped)).startswith("WR-TRUST-")
    lent = commit(study, 0, EIGHT[1], bytes(32)).sign(sites.keys.sites[CORRUPT])
    assert code(lambda: sites.reveal(ME, {**said, CORRUPT: lent})) == "WR-SECAGG-030"
    later = commit(study, 1, CORRUPT, bytes(32)).sign(sites.keys.sites[CORRUPT])
    assert code(lambda: sites.reveal(ME, {**said, CORRUPT: later})) == "WR-SECAGG-030"
    other = Commitment(payloads_digest(said), 0, CORRUPT, bytes(32))
    foreign = {**said, CORRUPT: other.sign(sites.keys.sites[CORRUPT])}
    assert code(lambda: sites.reveal(ME, foreign)) == "WR-SECAGG-030"
    assert sites.reveal(ME, said), "the honest set is still good"


def test_a_reveal_that_does_not_fit_or_is_withheld_settles_nothing(sites: Sites) -> None:
    said = sites.commitments()
    reveals = sites.reveals(said)
    chosen = Reveal(sites.study.digest, 0, CORRUPT, payloads_digest(said), bytes(32))
    bent = {**reveals, CORRUPT: chosen.sign(sites.keys.sites[CORRUPT])}
    assert code(lambda: sites.accept(ME, bent)) == "WR-SECAGG-031"
    withheld = {site: one for site, one in reveals.items() if site != CORRUPT}
    assert code(lambda: sites.accept(ME, withheld)) == "WR-SECAGG-031"
    assert sites.seats[ME].grouping.partition() is None


def test_a_second_partition_is_refused_before_and_after_a_restart(sites: Sites) -> None:
    first = sites.commitments()
    reveals = sites.reveals(first)
    sites.accept(ME, reveals)
    partition = sites.seats[ME].grouping.partition()
    for _ in range(2):
        for draw in (0, 1):
            ask = Instruction(ask=Ask.COMMIT, run=RUN, draw=draw)
            assert code(lambda ask=ask: sites.seats[ME].grouping.commit(ask)) == "WR-SITE-084"
        # Nor by reveals that a site (or all corrupt ones) signed anew for the same draw.
        chosen = Reveal(sites.study.digest, 0, CORRUPT, payloads_digest(first), bytes(32))
        swapped = {**reveals, CORRUPT: chosen.sign(sites.keys.sites[CORRUPT])}
        assert code(lambda swapped=swapped: sites.accept(ME, swapped)) == "WR-SECAGG-031"
        assert sites.seats[ME].grouping.partition() == partition
        sites.restart(ME)


def test_honest_sites_never_hold_partitions_of_different_draws(sites: Sites) -> None:
    """The coordinator has all reveals of draw 0, keeps them back, and asks for a second draw."""
    first = sites.reveals(sites.commitments(0))
    second = sites.commitments(1)
    reveals = sites.reveals(second, 1)
    for site in EIGHT[:7]:
        assert code(lambda site=site: sites.accept(site, first)) == "WR-SITE-082", "left behind"
    assert len({sites.accept(site, reveals, 1).partition for site in EIGHT[:7]}) == 1
    # The other way round: whoever has accepted can't be had for a second draw, which needs it.
    assert code(lambda: sites.commitments(2)) == "WR-SITE-084"


def test_draws_are_counted_and_begun_in_order(sites: Sites) -> None:
    sites.commitments(1)
    assert code(lambda: sites.commitments(0)) == "WR-SITE-082"
    assert code(lambda: sites.commitments(3)) == "WR-SITE-082"
    sites.commitments(2)
    assert code(lambda: sites.reveal(ME, sites.commitments(2), 1)) in (
        "WR-SITE-082",
        "WR-SECAGG-030",
    )


def test_fresh_bytes_for_each_draw(sites: Sites) -> None:
    opened = [
        Commitment.open(sites.commitments(draw)[ME], sites.study.site_keys[ME]).commitment
        for draw in range(3)
    ]
    assert len(set(opened)) == 3


def test_nothing_is_accepted_before_it_was_revealed(sites: Sites) -> None:
    said = sites.commitments()
    reveals = {site: sites.reveal(site, said) for site in EIGHT[1:]}
    assert code(lambda: sites.accept(ME, reveals)) == "WR-SITE-083"


def test_a_study_without_groups_draws_none(tmp_path: Path) -> None:
    plain = Sites(tmp_path, adversary={"corrupt_sites": 1})
    for ask, name in ((Ask.COMMIT, "commit"), (Ask.REVEAL, "reveal"), (Ask.SETTLE, "accept")):
        call = getattr(plain.seats[ME].grouping, name)
        asked = Instruction(ask=ask, run=RUN, draw=0)
        assert code(lambda call=call, asked=asked: call(asked)) in ("WR-SITE-081", "WR-SECAGG-030")
    plain.advertise(ME, EIGHT)


def test_an_ask_without_a_number_is_malformed(sites: Sites) -> None:
    asked = Instruction(ask=Ask.COMMIT, run=RUN)
    assert code(lambda: sites.seats[ME].grouping.commit(asked)) == "WR-ROUND-001"


def test_a_database_of_the_first_version_learns_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database.file(path, tables.MIGRATIONS[:1]).close()
    database = Database.file(path, tables.MIGRATIONS)
    study = Study.parse(document())
    state = JournalledDatabase(database, tables.journal, "site")
    assert Seat(study, ME, SigningKey.generate(), state).grouping.partition() is None
    database.close()


REDRAWN = {
    "profile": "private",
    "model": {"kind": "logistic", "algorithm": "dp-sgd"},
    "privacy": PRIVACY,
    "cohort": {"groups": {"number": 2, "redraw_steps": 2}},
    "adversary": {"corrupt_sites": 1},
}


@pytest.fixture
def redrawn(tmp_path: Path) -> Sites:
    sites = Sites(tmp_path, **REDRAWN)
    reveals = sites.reveals(sites.commitments())
    assert len({sites.accept(site, reveals).partition for site in EIGHT}) == 1
    return sites


def test_later_groups_are_the_same_for_all_sites_and_after_a_restart(redrawn: Sites) -> None:
    drawn = [redrawn.seats[ME].grouping.partition(number) for number in range(6)]
    assert len(set(drawn)) > 1
    redrawn.restart(ME)
    for site in EIGHT:
        assert [redrawn.seats[site].grouping.partition(n) for n in range(6)] == drawn


def test_a_pool_is_of_one_group_of_the_partition_that_is_named(redrawn: Sites) -> None:
    first, other = distinct(redrawn)
    mine = [redrawn.seats[ME].grouping.partition(n).group_of(ME) for n in (first, other)]
    redrawn.advertise(ME, mine[0], first)
    assert code(lambda: redrawn.advertise(ME, mine[0], other)) == "WR-SITE-080"
    assert code(lambda: redrawn.advertise(ME, mine[1], first)) == "WR-SITE-080"
    both = tuple(sorted({*mine[0], *mine[1]}))
    assert code(lambda: redrawn.advertise(ME, both, other)) == "WR-SITE-080"
    redrawn.advertise(ME, mine[1], other)


def distinct(sites: Sites) -> tuple[int, int]:
    """Two partitions in which this site is with others."""
    groups = [sites.seats[ME].grouping.partition(n).group_of(ME) for n in range(20)]
    return 0, next(n for n, group in enumerate(groups) if group != groups[0])


def test_a_set_up_has_keys_for_no_more_steps_than_its_groups_last(redrawn: Sites) -> None:
    mine = redrawn.seats[ME].grouping.partition(0).group_of(ME)
    assert code(lambda: redrawn.advertise(ME, mine, rounds=3)) == "WR-SITE-030"


def test_a_manifest_is_over_the_groups_of_its_own_step(redrawn: Sites) -> None:
    """A coordinator that sets up among the groups of one step can't sum another step in them."""
    mine = redrawn.seats[ME].grouping.partition(0).group_of(ME)
    batch = BatchId("batch")
    ask = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=batch, pool=mine, rounds=2)
    adverts = {site: redrawn.seats[site].advertise(ask).envelope for site in mine}
    dealing = Instruction(ask=Ask.DEAL, run=RUN, batch=batch, envelopes=adverts)
    dealt = {site: redrawn.seats[site].deal(dealing) for site in mine}
    deals = {site: one.envelope for site, one in dealt.items()}
    blobs = {
        site: b64decode(orjson.loads(one.attachment)[ME])
        for site, one in dealt.items()
        if site != ME
    }
    contribute = Instruction(ask=Ask.CONTRIBUTE, run=RUN, batch=batch, envelopes=deals, blobs=blobs)
    manifest = private_manifest(redrawn.study, 0).model_copy(
        update={"batch": batch, "roster": mine, "setup": setup_digest(adverts, deals)}
    )
    later = manifest.model_copy(update={"step": 2})
    seat = redrawn.seats[ME]
    assert code(lambda: seat.take_shares(contribute, later)) == "WR-SITE-080"
    seat.take_shares(contribute, manifest)
    assert code(lambda: seat.take_shares(contribute, later)) == "WR-SITE-080"
