"""Running an agent over HTTPS, with its records in a confined worker."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

from wardround.errors import WardroundError
from wardround.federation.messages import malformed
from wardround.governance.files import write_whole
from wardround.ids import Digest
from wardround.sandbox import ConfinedWorker
from wardround.site import ledger, tables
from wardround.site.agent import Agent, Say
from wardround.site.assemble import assemble
from wardround.site.home import SiteHome
from wardround.site.link import https_client
from wardround.site.local import Figures, keep_model, write_local_report
from wardround.site.quarantine import write_quarantine
from wardround.store import Database
from wardround.study import combine
from wardround.trust.authority import certificate_expiry, make_csr, peer_identity
from wardround.trust.canonical import JSON
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context

COMPUTATIONS = "wardround.learning.registry:compute"
"""What the confined worker may compute: the table of task kinds, and nothing else."""


async def run(home: SiteHome, say: Say) -> None:
    """Take part in the approved study until its run ends.

    Refuses to start without every paper, with a host that can't enforce what the hospital's
    policy asks for, with an expired certificate, or beside another agent of the same folder.
    """
    with home.alone():
        await _run(home, say)


async def _run(home: SiteHome, say: Say) -> None:
    study = home.study
    terms = combine(study, home.hospital)
    table = home.read_records()
    write_quarantine(home.reports, table)
    custody = home.custody(table)
    say("records", used=len(table), total=table.records_total)
    worker = ConfinedWorker(
        COMPUTATIONS, required=terms.required_limits, limits=terms.worker_limits
    )
    limits = await worker.start()
    say("sandbox", enforced=len(limits.enforced), missing=len(limits.missing))
    database = Database.file(home.folder / "state.db", tables.MIGRATIONS)
    key = SigningKey.load(home.agent_key_path)
    identity = peer_identity(home.certificate_path.read_bytes())
    _refuse_if_expired(home)

    def ending(documents: Mapping[str, JSON], weights: bytes) -> Digest:
        name, federated = keep_model(home, study, documents, weights)
        with database.begin() as connection:
            opened = ledger.spent(connection, study.digest)
        figures = Figures(agent.bytes_out, opened)
        write_local_report(home, study, table, federated, limits, figures)
        return name

    client = https_client(home.url, _context(home))
    agent = assemble(custody, client, key, identity, worker, database, ending, say)
    gc.freeze()  # what is loaded by now stays; collections need not walk it again and again
    renewal = asyncio.create_task(_keep_renewed(home, agent, key, say))
    try:
        await agent.run()
    finally:
        renewal.cancel()
        await agent.close()
        await worker.close()
        database.close()


async def _keep_renewed(home: SiteHome, agent: Agent, key: SigningKey, say: Say) -> None:
    """Renew the certificate when half of its life is over."""
    while True:
        left = certificate_expiry(home.certificate_path.read_bytes()) - datetime.now(UTC)
        await asyncio.sleep(max(left.total_seconds() / 2, 60.0))
        try:
            certificate = await agent.link.renew(make_csr(key))
            if peer_identity(certificate) != peer_identity(home.certificate_path.read_bytes()):
                raise malformed("certificate")
        except WardroundError as error:
            say("trouble", code=error.code)  # half of its life is left to try again
            continue
        write_whole(home.certificate_path, certificate)
        say("renewed")
        await agent.link.use(https_client(home.url, _context(home)))


def _context(home: SiteHome) -> ssl.SSLContext:
    return client_context(home.ca_path, home.certificate_path, home.agent_key_path)


def _refuse_if_expired(home: SiteHome) -> None:
    if certificate_expiry(home.certificate_path.read_bytes()) <= datetime.now(UTC):
        raise WardroundError(
            "WR-SITE-009",
            "The agent's certificate has expired: it was off for longer than a day.",
            "Ask the study's coordinator for a new invitation and enrol again.",
            path=str(home.certificate_path),
        )
