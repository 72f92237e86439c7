"""The real exchange and intake, over a real database, under messages in any order.

Hospitals are puppets that answer honestly, but what they say is delivered early or late, twice,
not at all, under another hospital's name, and mixed with statements of an earlier run; deadlines
pass whenever they like. Each message is taken or refused with a code; a round has one set of
survivors; and what is opened at the end is the exact sum over it.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memory import folder_in_memory
from puppets import Puppets
from ward import SITES, open_ward
from wardround.coordinator.opening import open_total
from wardround.errors import WardroundError
from wardround.federation.round import RoundPhase
from wardround.federation.setup import SetupPhase
from wardround.ids import RoundId, SiteName
from wardround.secagg import Advert, FixedPoint, RecoveryShares
from wardround.secagg.headroom import Headroom
from wardround.trust.dsse import Envelope

Said = tuple[SiteName, str, Envelope, bytes]
SITE = st.sampled_from(SITES)
ENDED = (RoundPhase.DONE, RoundPhase.FAILED)
WAITING = (RoundPhase.COLLECT, RoundPhase.VOTE, RoundPhase.RECOVER)


class ExchangeMachine(RuleBasedStateMachine):
    """Statements are written by `produce`, wait in ``said``, and are delivered by `deliver`."""

    @initialize(stage=st.sampled_from((4, 3, 4, 3, 2, 1, 0)), held=st.booleans())
    def begin(self, stage: int, held: bool) -> None:
        """``stage`` exchanges have taken place in good order; one packet may be ``held`` up."""
        self.folder = folder_in_memory()
        self.loop = asyncio.new_event_loop()
        self.opening = open_ward(Path(self.folder.name), start=False, cohort={"deadline_s": 60.0})
        self.ward = self.loop.run_until_complete(self.opening.__aenter__())
        self.puppets = Puppets(self.ward)
        self.exchange = self.puppets.exchange
        self.said: list[Said] = []
        self.survivors: tuple[SiteName, ...] | None = None
        self.opened = False
        self.exchange.start_setup(SITES)
        self._members()
        for kind in ("advert", "deal", "packet", "vote")[:stage]:
            for site in SITES:
                self.produce(site)
            for one in [one for one in self.said if one[1] == kind]:
                if kind != "packet" or one[0] != SITES[0] or not held:
                    self._deliver(one)
            if kind == "packet" and held:
                self.exchange.deadline_passed()
            self.next_step()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.opening.__aexit__(None, None, None))
            self.loop.close()
            self.folder.cleanup()

    def _members(self) -> None:
        self.puppets.members = {site: self.puppets.member(site) for site in SITES}

    @property
    def setup(self) -> object:
        return self.exchange.setup.state

    @property
    def round(self) -> object:
        return self.exchange.round.state if self.exchange.round else None

    def _heard(self, kind: str) -> dict[SiteName, Envelope]:
        scope = self.setup.batch if kind in ("advert", "deal") else self.round.round
        return {site: sent.envelope for site, sent in self.exchange.said(scope, kind).items()}

    @rule(site=SITE)
    def produce(self, site: SiteName) -> None:
        """The hospital says what it would be asked for now; refusals of its own are fine."""
        member, state = self.puppets.members[site], self.round
        try:
            if state is None or state.phase in ENDED:
                if self.setup.phase is SetupPhase.ADVERTISE:
                    self.said.append((site, "advert", member.advert(), b""))
                elif self.setup.phase is SetupPhase.DEAL:
                    envelope, blobs = member.deal(self._heard("advert"))
                    self.puppets.sealed[site] = blobs
                    self.said.append((site, "deal", envelope, self.puppets.sealed_bytes(site)))
            elif state.phase is RoundPhase.COLLECT:
                payload = self.puppets.masked(site)
                header = self.puppets.header(site, payload).sign(self.puppets.key(site))
                self.said.append((site, "packet", header, payload))
            elif state.phase is RoundPhase.VOTE:
                self.said.append((site, "vote", self.puppets.vote_of(site), b""))
            elif state.phase is RoundPhase.RECOVER:
                if site not in state.votes:
                    self.said.append((site, "vote", self.puppets.vote_of(site), b""))
                self.said.append((site, "shares", self.puppets.shares_of(site), b""))
        except WardroundError as error:
            assert error.code.startswith("WR-SECAGG-"), error

    def _deliver(self, said: Said) -> None:
        site, kind, envelope, _ = said
        setting_up = kind in ("advert", "deal")
        known = (setting_up or self.round is not None) and (self._heard(kind).get(site) == envelope)
        try:
            self.puppets.say(*said)
        except WardroundError as error:
            assert error.code.startswith(("WR-COORD-02", "WR-ROUND-030", "WR-TRUST-")), error
            assert not known, "what was taken once is taken again"
            event(f"{said[1]}: {error.code}")
        else:
            event(f"{said[1]}: taken")

    @precondition(lambda self: self.said)
    @rule(data=st.data(), times=st.sampled_from((1, 1, 2)))
    def deliver(self, data: st.DataObject, times: int) -> None:
        """Any statement that was ever made."""
        said = data.draw(st.sampled_from(self.said[-12:]))
        for _ in range(times):
            self._deliver(said)

    @precondition(lambda self: self.said)
    @rule(data=st.data(), site=SITE, kind=st.sampled_from(("advert", "deal", "packet", "vote")))
    def deliver_as_something_else(self, data: st.DataObject, site: SiteName, kind: str) -> None:
        """Under another hospital's name, or as another kind of statement."""
        sender, own, envelope, attachment = data.draw(st.sampled_from(self.said))
        before = (self.exchange.setup_ahead, self.exchange.round_ahead)
        if site != sender or kind != own:
            self._deliver((site, own if site != sender else kind, envelope, attachment))
            assert (self.exchange.setup_ahead, self.exchange.round_ahead) == before

    @rule()
    def everybody_answers(self) -> None:
        for site in SITES:
            self.produce(site)
        for said in self.said[-8:]:
            self._deliver(said)

    @rule(in_vain=st.sampled_from((True, True, True, False)))
    def deadline(self, in_vain: bool) -> None:
        if not in_vain:
            self.exchange.deadline_passed()

    @rule()
    def patience(self) -> None:
        self.exchange.ask_everyone()

    @rule()
    def next_step(self) -> None:
        """What the driver does when something has ended."""
        state, setup = self.round, self.setup
        if self.opened or (state is not None and state.phase in WAITING):
            return
        if state is not None and state.phase is RoundPhase.OPENING:
            self._open()
        elif setup.usable and (state is None or state.batch != setup.batch):
            deals = self._heard("deal")
            for site in setup.roster:
                given = {
                    peer: b64decode(orjson.loads(sent.attachment)[site])
                    for peer, sent in self.exchange.said(setup.batch, "deal").items()
                    if peer != site
                }
                self.puppets.members[site].accept(deals, given)
            self.exchange.start_round(
                self.ward.task(), 0, 0 if state is None else state.attempt + 1
            )
            self.survivors = None
        elif setup.phase in (SetupPhase.READY, SetupPhase.FAILED):
            self.exchange.start_setup(SITES)
            self._members()

    def _open(self) -> None:
        state, keys, exchange = self.round, self.exchange.keys, self.exchange
        adverts = {s: Advert.open(e, keys[s]) for s, e in self._heard("advert").items()}
        shares = {s: RecoveryShares.open(e, keys[s]) for s, e in self._heard("shares").items()}
        manifest, task = exchange.manifest, self.ward.task()
        total, suspects = open_total(
            exchange.manifest,
            self.puppets.manifest,
            state.survivors,
            adverts,
            shares,
            exchange.spool,
            Headroom(FixedPoint.fit(task.bound, len(manifest.roster), task.ring_bits)),
        )
        assert not suspects
        each = np.arange(1, exchange.manifest.length + 1, dtype=np.uint64)
        assert np.array_equal(total, each * np.uint64(len(state.survivors)))
        assert len(state.survivors) >= exchange.manifest.minimum_survivors
        exchange.spool.drop(RoundId(state.round))
        self.opened = True
        event("a total was opened")

    @invariant()
    def a_round_has_one_set_of_survivors(self) -> None:
        state = self.round if hasattr(self, "loop") else None
        if state is not None and state.phase not in (RoundPhase.COLLECT, RoundPhase.FAILED):
            self.survivors = self.survivors or state.survivors
            assert state.survivors == self.survivors

    @invariant()
    def what_is_committed_is_what_was_said_by_whom(self) -> None:
        if not hasattr(self, "loop"):
            return
        made = {(site, kind, envelope.payload) for site, kind, envelope, _ in self.said}
        for kind in ("advert", "deal"):
            assert {(s, kind, e.payload) for s, e in self._heard(kind).items()} <= made
        if self.round is not None:
            for kind in ("packet", "vote", "shares"):
                assert {(s, kind, e.payload) for s, e in self._heard(kind).items()} <= made


ExchangeMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestExchange = ExchangeMachine.TestCase


class LongExchangeMachine(ExchangeMachine):
    """The same for longer."""


LongExchangeMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40)
TestExchangeForLonger = pytest.mark.slow(pytest.mark.timeout(1800)(LongExchangeMachine.TestCase))
