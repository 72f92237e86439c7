"""Drawing the study's groups: once, at the start of the first run, and kept for all later ones.

The attacker is a site: it repeats, contradicts itself, comes late, reveals what it did not commit
to, or nothing. What it says is verified here as the other sites will verify it, so that one site
can't spoil the pile that the others are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from wardround.coordinator import records
from wardround.coordinator.changed import Changed
from wardround.coordinator.exchange import refused, told_outside
from wardround.coordinator.records import Sent, Versioned
from wardround.errors import WardroundError
from wardround.federation.draw import Draw, DrawPhase
from wardround.federation.messages import Ask, Instruction, Refused, draw_scope
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.draw import (
    MAXIMUM_DRAWS,
    Acceptance,
    Commitment,
    Reveal,
    commit,
    open_commitments,
    open_reveals,
    payloads_digest,
)
from wardround.secagg.partition import Partitions, draw_partitions
from wardround.store.journalled import JournalledDatabase, Transaction
from wardround.study import Study
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

KINDS = ("commitment", "reveal", "acceptance")


class Drawing:
    """The draws of one study: their state, what sites said, and what each is asked next."""

    def __init__(
        self,
        study: Study,
        state: JournalledDatabase,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._study = study
        self._state = state
        self._now = now
        self.changed = Changed()
        self._said: dict[tuple[str, SiteName], Sent] = {}
        self._draw: Versioned[Draw] | None = None
        self._declined: set[SiteName] = set()
        self.partitions: Partitions | None = None
        """The study's, once all have revealed."""
        self._restore()

    @property
    def draw(self) -> Draw | None:
        """The latest draw."""
        return None if self._draw is None else self._draw.state

    def said(self, kind: str) -> dict[SiteName, Envelope]:
        """What sites have signed in the latest draw."""
        return {site: sent.envelope for (one, site), sent in self._said.items() if one == kind}

    def begin(self, run: RunId) -> None:
        """Have a draw that is under way; raises WR-ROUND-021 when there were too many."""
        old = self.draw
        if old is not None and old.phase is not DrawPhase.FAILED:
            return
        number = 0 if old is None else old.number + 1
        if old is not None and number >= MAXIMUM_DRAWS:
            raise WardroundError(
                "WR-ROUND-021",
                f"The study's groups were drawn {MAXIMUM_DRAWS} times, and each time somebody "
                f"ended the draw, the last time {', '.join(_blamed(old))}.",
                "Talk to them. A new version of the study, with or without them, begins anew; "
                "every hospital approves it.",
            )
        with self._state.transaction() as transaction:
            transaction.record("draw", draw=number, run=run, at=self._now().isoformat())
            draw = Draw(number, self._study.site_names)
            self._draw = records.insert_draw(transaction.connection, draw)
        self._said = {}
        self.changed.notify()

    def deadline_passed(self) -> None:
        """Time is up for whatever is waited for."""
        self._move(lambda draw: draw.on_deadline())

    def waits_for(self, site: SiteName) -> bool:
        """Whether ``site`` is asked for something; who won't accept is asked again in a new run."""
        draw = self.draw
        return draw is not None and draw.waits_for(site) and site not in self._declined

    def instruction(self, site: SiteName, run: RunId) -> Instruction | None:
        """What the draw asks of ``site`` next."""
        draw = self.draw
        if draw is None or not self.waits_for(site):
            return None
        match draw.phase:
            case DrawPhase.COMMIT:
                return Instruction(ask=Ask.COMMIT, run=run, draw=draw.number)
            case DrawPhase.REVEAL:
                shown = self.said("commitment")
                return Instruction(ask=Ask.REVEAL, run=run, draw=draw.number, envelopes=shown)
        shown = self.said("reveal")
        return Instruction(ask=Ask.SETTLE, run=run, draw=draw.number, envelopes=shown)

    def accept(self, site: SiteName, kind: str, envelope: Envelope) -> None:
        """Take a signed statement of ``site`` in, durably; raises if it doesn't belong here."""
        handlers: dict[str, Callable[[SiteName, Envelope, Draw], Draw]] = {
            "commitment": self._on_commitment,
            "reveal": self._on_reveal,
            "acceptance": self._on_acceptance,
            "refusal": self._on_refusal,
        }
        try:
            draw = self.draw
            if draw is None:
                raise refused("WR-COORD-021", "The statement belongs to no draw.")
            known = self._said.get((kind, site))
            if known is not None and known.envelope.payload == envelope.payload:
                return
            new = handlers[kind](site, envelope, draw)
            if known is not None and kind == "refusal":
                return  # said anew, under another incident's number
            if known is not None:
                raise refused(
                    "WR-COORD-022", "Another statement stands in this one's place already."
                )
            if kind == "refusal" and self.waits_for(site) and self.partitions is not None:
                self._decline(site, envelope)
                return
            if new is draw:
                raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        except WardroundError as error:
            with self._state.transaction() as transaction:
                statement = digest(envelope.payload)
                transaction.record("refused", site=site, statement=statement, code=error.code)
            raise
        self._keep(site, kind, envelope, new)

    def _on_commitment(self, site: SiteName, envelope: Envelope, draw: Draw) -> Draw:
        said = Commitment.open(envelope, self._study.site_keys[site])
        self._same(said, site, draw)
        return draw.on_commitment(site)

    def _on_reveal(self, site: SiteName, envelope: Envelope, draw: Draw) -> Draw:
        said = Reveal.open(envelope, self._study.site_keys[site])
        self._same(said, site, draw)
        committed = self._said.get(("commitment", site))
        fits = (
            draw.phase is not DrawPhase.COMMIT
            and committed is not None
            and said.commitments == payloads_digest(self.said("commitment"))
            and commit(said.study, said.draw, site, said.random)
            == Commitment.open(committed.envelope, self._study.site_keys[site])
        )
        if not fits:
            raise refused("WR-COORD-025", "The reveal is not of what was committed to.")
        return draw.on_reveal(site)

    def _on_acceptance(self, site: SiteName, envelope: Envelope, draw: Draw) -> Draw:
        said = Acceptance.open(envelope, self._study.site_keys[site])
        self._same(said, site, draw)
        found = (said.commitments, said.reveals, said.partition)
        if self.partitions is None or found != self._followed(self.partitions):
            raise refused("WR-COORD-025", "The statement is over another partition.")
        return draw.on_accepted(site)

    def _on_refusal(self, site: SiteName, envelope: Envelope, draw: Draw) -> Draw:
        said = Refused.open(envelope, self._study.site_keys[site])
        own = (said.site, said.study, said.scope)
        if own != (site, self._study.digest, draw_scope(draw.number)):
            raise refused("WR-COORD-025", "The statement is of another site, study or draw.")
        return draw.on_refused(site)

    def _same(self, said: Commitment | Reveal | Acceptance, site: SiteName, draw: Draw) -> None:
        if (said.site, said.study, said.draw) != (site, self._study.digest, draw.number):
            raise refused("WR-COORD-025", "The statement is of another site, study or draw.")

    def _keep(self, site: SiteName, kind: str, envelope: Envelope, new: Draw) -> None:
        assert self._draw is not None
        scope = draw_scope(new.number)
        said = {**self._said, (kind, site): Sent(envelope, b"")}
        partitions = self.partitions
        with self._transaction() as transaction:
            connection = transaction.connection
            records.save_statement(connection, scope, kind, site, said[kind, site])
            statement = digest(envelope.payload)
            told = told_outside(kind, envelope)
            transaction.record(kind, scope=scope, site=site, statement=statement, **told)
            draw = records.replace_draw(connection, self._draw, new)
            if new.phase is DrawPhase.SETTLED and partitions is None:
                partitions = self._worked_out(new, said)
                named = partitions.digest
                transaction.record("partition", draw=new.number, partition=named)
        self._draw, self._said, self.partitions = draw, said, partitions
        self.changed.notify()

    def _decline(self, site: SiteName, envelope: Envelope) -> None:
        """A site won't accept what is settled: it takes no part while this run lasts."""
        with self._state.transaction() as transaction:
            statement = digest(envelope.payload)
            told = told_outside("refusal", envelope)
            transaction.record("declined", site=site, statement=statement, **told)
        self._declined.add(site)
        self.changed.notify()

    def _move(self, follow: Callable[[Draw], Draw]) -> None:
        if self._draw is None or (new := follow(self._draw.state)) is self._draw.state:
            return
        with self._transaction() as transaction:
            transaction.record("deadline", draw=new.number, phase=new.phase.value)
            self._draw = records.replace_draw(transaction.connection, self._draw, new)
        self.changed.notify()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction; when another coordinator was faster, the state is read again."""
        try:
            with self._state.transaction() as transaction:
                yield transaction
        except WardroundError as error:
            if error.code == "WR-COORD-001":
                self._restore()
            raise

    def _restore(self) -> None:
        with self._state.database.begin() as connection:
            self._draw = records.latest_draw(connection)
            if self._draw is not None:
                scope = draw_scope(self._draw.state.number)
                self._said = records.load_statements(connection, scope)
        if self._draw is not None and self._draw.state.phase is DrawPhase.SETTLED:
            self.partitions = self._worked_out(self._draw.state, self._said)

    def _worked_out(self, draw: Draw, said: dict[tuple[str, SiteName], Sent]) -> Partitions:
        study, keys = self._study, self._study.site_keys
        shown = {site: sent.envelope for (one, site), sent in said.items() if one == "commitment"}
        reveals = {site: sent.envelope for (one, site), sent in said.items() if one == "reveal"}
        commitments = open_commitments(shown, study.digest, draw.number, keys)
        seen = payloads_digest(shown)
        revealed = open_reveals(reveals, commitments, seen, study.digest, draw.number, keys)
        return draw_partitions(
            study.digest,
            draw.number,
            seen,
            revealed,
            study.totals_per_step,
            redrawn=study.redraws_groups,
        )

    def _followed(self, partitions: Partitions) -> tuple[Digest, Digest, Digest]:
        commitments, reveals = self.said("commitment"), self.said("reveal")
        return payloads_digest(commitments), payloads_digest(reveals), partitions.digest


def _blamed(draw: Draw) -> list[str]:
    """Who ended a draw: whoever refused, or else whoever has not done what was waited for."""
    return sorted(draw.refused) or list(draw.missing)
