"""The agent's folder and the papers in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.site.home import Invitation, SiteHome

PAPER = {
    "study": "breast-mass",
    "site": "lakeside",
    "url": "https://coordinator.example",
    "token": "a-secret",
    "ca": "pem",
}


def write(folder: Path, **changes: str) -> Path:
    path = folder / "invitation.json"
    path.write_text(json.dumps({**PAPER, **changes}), encoding="utf-8")
    return path


def test_an_invitation_is_read_and_does_not_show_its_token(tmp_path: Path) -> None:
    invitation = Invitation.load(write(tmp_path))
    assert invitation.token == PAPER["token"]
    assert PAPER["token"] not in repr(invitation)


@pytest.mark.parametrize("url", ["http://coordinator.example", "coordinator.example", ""])
def test_an_invitation_to_a_plain_line_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(WardroundError, match="WR-SITE-003"):
        Invitation.load(write(tmp_path, url=url))


def test_a_folder_serves_one_agent_at_a_time(tmp_path: Path) -> None:
    home = SiteHome.create(tmp_path / "site", SiteName("lakeside"))
    twin = SiteHome(home.folder)
    with home.alone(), pytest.raises(WardroundError, match="WR-SITE-053"), twin.alone():
        pass
    with twin.alone():
        pass
