"""Running an agent over HTTPS, with its records in a confined worker."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from wardround.clinical import FeatureTable
from wardround.errors import WardroundError
from wardround.ids import Digest
from wardround.privacy.batches import check_rate
from wardround.sandbox import ConfinedWorker
from wardround.site import opened
from wardround.site.agent import UNCONFIRMED, Agent
from wardround.site.assemble import assemble
from wardround.site.consent import compare
from wardround.site.ended import Part, in_the_middle, to_the_end
from wardround.site.home import SiteHome
from wardround.site.hours import OpeningHours
from wardround.site.link import Patience, https_client
from wardround.site.local import Figures, keep_model, kept_model, write_local_report
from wardround.site.memory import open_memory
from wardround.site.pace import Pace
from wardround.site.papers import Papers, keep_renewed, under_renewal
from wardround.site.pulse import Pulse, beating
from wardround.site.quarantine import write_quarantine
from wardround.site.readiness import refuse_unready
from wardround.site.say import Say
from wardround.store import Database
from wardround.study import Terms, combine
from wardround.trust.authority import certificate_digest, peer_identity
from wardround.trust.canonical import JSON
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context

if TYPE_CHECKING:
    import httpx

COMPUTATIONS = "wardround.learning.registry:compute"
"""What the worker behind the door may compute: the table of task kinds, and nothing else."""

OWN_COMPUTATIONS = "wardround.learning.own:compute"
"""What a second worker computes for the hospital's own report when the run is over."""


async def run(home: SiteHome, say: Say) -> None:
    """Take part in the approved study until its run ends.

    Refuses to start without every paper, with a host that can't enforce what the hospital's
    policy asks for, with an expired certificate, or beside another agent of the same folder.
    """
    with home.alone():
        async with beating(home.folder, say) as pulse:
            await _run(home, pulse)


async def _run(home: SiteHome, say: Pulse) -> None:
    if not (home.folder / "state.db").exists():
        refuse_unready(home)  # before there is one
    with closing(open_memory(home)) as database:
        take_part = partial(_take_part, home, say, database)
        await to_the_end(home, database, take_part, partial(_report, home, say, database), say)


async def _take_part(
    home: SiteHome, say: Pulse, database: Database, patience_s: float | None
) -> Part:
    refuse_unready(home)
    study = home.study
    terms = combine(study, home.hospital)
    table = home.read_records()
    custody = home.custody(table, to_end=in_the_middle(home, database))
    used = _without_excluded(home, table)
    say("records", used=len(used), total=used.records_total)
    if study.privacy is not None and study.privacy.training.sampling_rate < 1:
        # Here and not at each answer, where the coordinator would hear of it as often as it asks.
        check_rate(len(used), study.privacy.training.sampling_rate)
    listed = compare(home.exclusions(), table)
    if listed.listed:
        say("exclusions", listed=listed.listed, unknown=listed.unknown)
    worker = _worker(COMPUTATIONS, terms)
    limits = await worker.start()
    say("sandbox", enforced=len(limits.enforced), missing=len(limits.missing))
    key = SigningKey.load(home.agent_key_path)
    identity = peer_identity(home.certificate_path.read_bytes())

    def ending(documents: Mapping[str, JSON], weights: bytes) -> Digest:
        return keep_model(home, study, documents, weights)

    if home.inspecting_ca is not None:
        say("inspected", authority=str(home.inspecting_ca))
    line = home.hospital.network
    pace = Pace.of_kbit(line.upload_kbit_s, line.download_kbit_s)
    agent = assemble(
        custody,
        open_line(home, pace),
        key,
        identity,
        worker,
        database,
        ending,
        say,
        certificate=_named(home),
    )
    say.listen(agent.link)
    gc.freeze()  # what is loaded by now stays; collections need not walk it again and again
    away: WardroundError | None = None
    try:
        renewal = _keep_renewed(home, agent, key, say, pace)
        await under_renewal(agent.run(patience_s), renewal)
    except WardroundError as error:
        if error.code != UNCONFIRMED:
            raise
        away = error
    finally:
        await agent.close()
        await worker.close()
    return Part(agent.bytes_out, agent.link.bytes_in, limits, away)


async def _report(home: SiteHome, say: Say, database: Database, part: Part) -> None:
    """The hospital's own report, within its hours: the run is over, and nobody waits for it."""
    await OpeningHours(home.hospital.hours, say).wait()
    with database.begin() as connection:
        numbers = opened.spent(connection, home.study.digest)
    own = _worker(OWN_COMPUTATIONS, combine(home.study, home.hospital))
    limits = await own.start()
    try:
        used = _without_excluded(home, home.read_records())
        figures = Figures(part.bytes_out, numbers, part.bytes_in)
        await write_local_report(home, used, kept_model(home), own, part.limits or limits, figures)
    finally:
        await own.close()


def _worker(entry: str, terms: Terms) -> ConfinedWorker:
    return ConfinedWorker(entry, required=terms.required_limits, limits=terms.worker_limits)


def _without_excluded(home: SiteHome, table: FeatureTable) -> FeatureTable:
    """The records that are used, by the list as it is signed now; the others are written down.

    Raises the codes of `load_exclusions` where there is no such list.
    """
    used = table.excluding(home.exclusions().patients)
    write_quarantine(home.reports, used)
    return used


async def _keep_renewed(
    home: SiteHome, agent: Agent, key: SigningKey, say: Say, pace: Pace
) -> None:
    """Renew the certificate when half of its life is over, and go on under the new one."""
    papers = Papers(home.certificate_path, key, home.ca_path.read_bytes(), home.study.id, home.name)
    async with asyncio.TaskGroup() as changing:

        def change_over() -> None:
            changing.create_task(_go_on(agent, open_line(home, pace), _named(home)))

        await keep_renewed(papers, agent.link, say, change_over)


async def _go_on(agent: Agent, line: httpx.AsyncClient, named: Digest | None) -> None:
    """Use another connection from now on; how the old one ends is of no account."""
    with suppress(OSError):
        await agent.link.use(line, named)


def open_line(home: SiteHome, pace: Pace) -> httpx.AsyncClient:
    """The agent's connection, under the papers that lie in its folder now."""
    context = client_context(
        home.ca_path,
        home.certificate_path,
        home.agent_key_path,
        inspecting_ca=home.inspecting_ca,
    )
    patience = Patience(home.hospital.network.longest_wait_s)
    return https_client(home.url, context, patience, pace)


def _named(home: SiteHome) -> Digest | None:
    """The certificate to name in each request: only where a proxy may take it off."""
    if home.inspecting_ca is None:
        return None
    return certificate_digest(home.certificate_path.read_bytes())
