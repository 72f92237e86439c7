"""The coordinator's folder: what is never overwritten, mixed up or begun anew."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedside import code
from studies import document
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.serve import serve
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.study import Study

HARBOUR = SiteName("harbour")


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that somebody else listens on."""
    with socket.create_server(("localhost", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def home(tmp_path: Path, port: int) -> CoordinatorHome:
    made = CoordinatorHome.create(tmp_path / "coordinator", f"https://localhost:{port}")
    made.take_study(study_of(made))
    return made


def study_of(home: CoordinatorHome, **changes: object) -> Study:
    plain = document(**changes)
    plain["coordinator"] |= {
        "url": home.url,
        "signing_key": home.signing_key.public.text,
        "ca": home.authority.sha256,
    }
    return Study.parse(plain)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8443",
        "localhost:8443",
        "https://",
        "https://localhost:8443/wardround",
        "https://localhost:8443?x=1",
        "https://me@localhost:8443",
        "https://localhost:99999",
        "https://localhost:0",
        "https://local host",
        "",
    ],
)
def test_an_address_that_a_study_would_refuse_is_refused_at_once(tmp_path: Path, url: str) -> None:
    assert code(lambda: CoordinatorHome.create(tmp_path / "new", url)) == "WR-COORD-007"
    assert not (tmp_path / "new").exists()


def test_a_trailing_slash_is_the_same_address(tmp_path: Path) -> None:
    made = CoordinatorHome.create(tmp_path / "new", "https://localhost:8443/")
    made.take_study(study_of(made))
    assert made.url == "https://localhost:8443"


def test_keys_are_never_overwritten(home: CoordinatorHome) -> None:
    before = home.signing_key.public.text
    assert code(lambda: CoordinatorHome.create(home.folder, home.url)) == "WR-COORD-004"
    assert CoordinatorHome(home.folder).signing_key.public.text == before


def test_a_folder_without_a_coordinator_is_said_to_be_none(tmp_path: Path) -> None:
    assert code(lambda: CoordinatorHome(tmp_path)) == "WR-COORD-003"


def test_without_a_study_there_is_nothing_to_serve(tmp_path: Path) -> None:
    made = CoordinatorHome.create(tmp_path / "new", "https://localhost:8443")
    assert code(made.open) == "WR-COORD-005"


def test_a_study_of_another_coordinator_is_not_taken(home: CoordinatorHome) -> None:
    assert code(lambda: home.take_study(Study.parse(document()))) == "WR-COORD-002"


def test_another_version_never_takes_the_place_of_the_study(home: CoordinatorHome) -> None:
    home.take_study(home.study)
    assert code(lambda: home.take_study(study_of(home, version=2))) == "WR-COORD-006"
    assert CoordinatorHome(home.folder).study.version == 1


def test_a_lost_database_is_not_begun_anew(home: CoordinatorHome) -> None:
    home.open().close()  # the first time there is none, and that is right
    for left in home.folder.glob("state.db*"):
        left.unlink()
    home.open().close()
    home.invite(HARBOUR)
    for left in home.folder.glob("state.db*"):
        left.unlink()
    assert code(home.open) == code(lambda: home.invite(HARBOUR)) == "WR-COORD-041"
    assert not (home.folder / "state.db").exists()


def test_an_invitation_leaves_the_spare_files_of_a_running_coordinator(
    home: CoordinatorHome,
) -> None:
    spare = home.folder / "spool" / ".spare" / "0"
    spare.parent.mkdir(parents=True)
    spare.touch()
    home.invite(HARBOUR)
    assert spare.exists()


async def served(home: CoordinatorHome) -> str | None:
    events: list[str] = []
    try:
        await serve(home, lambda event, _: events.append(event), wait_s=0.0, once=True)
    except WardroundError as error:
        assert events == []
        return error.code
    return None


async def test_a_port_that_is_taken_is_said_in_a_sentence(home: CoordinatorHome) -> None:
    """Not by ending the program, as the server library does."""
    assert await served(home) == "WR-COORD-008"
    with home.alone():  # and nothing is held after it
        pass


async def test_a_host_that_is_elsewhere_or_nowhere_can_not_be_listened_on(tmp_path: Path) -> None:
    for number, host in enumerate(("192.0.2.1", "no-such-host.invalid")):
        home = CoordinatorHome.create(tmp_path / str(number), f"https://{host}:8443")
        home.take_study(study_of(home))
        assert await served(home) == "WR-COORD-008"


async def test_a_folder_is_served_once(home: CoordinatorHome) -> None:
    with home.alone():
        assert await served(CoordinatorHome(home.folder)) == "WR-COORD-040"


async def test_a_second_coordinator_refuses_and_takes_over_when_the_first_is_killed(
    home: CoordinatorHome, tmp_path: Path
) -> None:
    """Two processes on one store never both drive, by whatever path they come to it."""
    (tmp_path / "elsewhere").symlink_to(home.folder)
    ready, ready_end = os.pipe()
    first = os.fork()
    if not first:
        try:
            with CoordinatorHome(home.folder).alone():
                os.write(ready_end, b"!")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"!"
    try:
        assert await served(CoordinatorHome(tmp_path / "elsewhere")) == "WR-COORD-040"
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)  # noqa: ASYNC222 (it is dead)
    with home.alone():
        assert await served(CoordinatorHome(tmp_path / "elsewhere")) == "WR-COORD-040"
