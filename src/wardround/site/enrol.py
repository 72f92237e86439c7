"""Trading an invitation for the agent's papers, all of them or none.

Keys are made in memory, and nothing in the folder is replaced before the certificate has come and
fits: a token that is refused, or a coordinator that is away, leaves a working agent as it was. The
attacker writes invitations: one with an authority of its own must not take the place of the one
that the steward approved.
"""

from __future__ import annotations

from wardround.errors import WardroundError
from wardround.federation.messages import Enrolling
from wardround.site.home import Invitation, SiteHome, not_an_invitation
from wardround.site.link import enrol as trade_token
from wardround.site.link import https_client
from wardround.site.papers import Papers
from wardround.trust.authority import certificate_digest, make_csr
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey
from wardround.trust.tls import enrolment_context, let_open


async def enrol(home: SiteHome, invitation: Invitation) -> None:
    """Make an agent key, trade the invitation's token for a certificate, and keep both.

    Raises WR-SITE-008 for another hospital's invitation, WR-SITE-003 for one without an authority,
    WR-SITE-060 for one to another coordinator or study than the approved one, WR-SITE-053 beside
    a running agent, WR-SITE-061 where the coordinator can't be reached.
    """
    if invitation.site != home.name:
        raise WardroundError(
            "WR-SITE-008",
            f"The invitation is for {invitation.site}, and this is {home.name}.",
            "Use this hospital's own invitation.",
        )
    _refuse_foreign(home, invitation)
    with home.alone():  # the agent that runs would be left with a certificate that counts no more
        key = SigningKey.generate()
        request = make_csr(key)
        said = Enrolling(study=invitation.study, site=home.name, request=digest(request))
        context = enrolment_context(invitation.ca)
        # Whoever opens the connection sees the token. That is harmless only where the operator
        # asks for the hospital's signature too, and the invitation says so.
        if invitation.inspected and home.inspecting_ca is not None:
            let_open(context, home.inspecting_ca)
        async with https_client(invitation.url, context) as client:
            proof = said.sign(home.signing_key)
            certificate = await trade_token(client, home.name, invitation.token, request, proof)
        papers = Papers(
            home.certificate_path, key, invitation.ca.encode(), invitation.study, home.name
        )
        papers.require_fitting(certificate)
        home.enrolled(invitation, key, certificate)


def _refuse_foreign(home: SiteHome, invitation: Invitation) -> None:
    """An approved study says who its coordinator is; before that, any authority may be first."""
    try:
        authority = certificate_digest(invitation.ca.encode())
    except WardroundError as error:
        raise not_an_invitation() from error
    if not home.has_study:
        return
    study = home.study
    if (authority, invitation.study) != (study.coordinator.ca, study.id):
        raise WardroundError(
            "WR-SITE-060",
            "The invitation is to another coordinator or study than the one approved here.",
            "Nothing was changed. Ask who wrote it; to change over, approve the other study first.",
            path=str(home.papers / "study.json"),
        )
