"""Nothing derived touches the disk, whatever kind of source it is read from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from columns import Postgres, postgres
from hospital_forms import FORMS, as_postgres
from wardround.clinical.tables.duck import open_duckdb

CANARIES = (b"70.5", b"80.25", b"1961-05-17", b"716012", b"1011")
"""Values of patients, as records hold them and as a feature table does."""

CHILD = """
import os, resource, sys
from pathlib import Path
from hospital_forms import FORMS, as_postgres

kinds, folder, url = sys.argv[1].split(","), Path(sys.argv[2]), sys.argv[3]

class Database:
    def __init__(self, url):
        self.url = url
    def run(self, sql):
        pass

def written(kind):
    below = folder / kind
    below.mkdir()
    return as_postgres(below, Database(url)) if kind == "postgres" else FORMS[kind](below)

forms = [written(kind) for kind in kinds if kind != "leak"]
for form in forms:
    form.table()  # imports, and whatever they leave behind

opened = []

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(str(path))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp"):
        opened.append(event)

sys.addaudithook(watch)
# From here on no file can grow by a byte, in Python or out of it, and trying is an error.
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
if "leak" in kinds:
    (folder / "leak").write_text("70.5")
for form in forms:
    warehouse = form.warehouse()
    warehouse.refresh()
    warehouse.refresh()
    assert len(form.table()) == 4
print([one for one in opened if one != os.devnull])
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


def run(kinds: str, folder: Path, url: str = "") -> subprocess.CompletedProcess[str]:
    """Harmonise in a process of its own, whose every folder is below ``folder``."""
    for name in ("tmp", "home", "hospital"):
        (folder / name).mkdir()
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder / "home"),
    }
    return subprocess.run(
        [sys.executable, "-c", CHILD, kinds, folder / "hospital", url],
        cwd=folder / "home",
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("kinds", [",".join(FORMS), "postgres"], ids=["in process", "postgres"])
def test_nothing_is_written_anywhere(
    tmp_path: Path, kinds: str, request: pytest.FixtureRequest
) -> None:
    url = ""
    if kinds == "postgres":
        database: Postgres = request.getfixturevalue("database")
        as_postgres(tmp_path, database)
        url = database.url
    done = run(kinds, tmp_path, url)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "[]\n"
    for path in (tmp_path / "tmp", tmp_path / "home"):
        assert [one for one in path.rglob("*") if one.is_file() and holds(one)] == []


def holds(path: Path) -> bool:
    content = path.read_bytes()
    return any(canary in content for canary in CANARIES)


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    """The test above can fail: in the same process, writing one number is an error."""
    done = run("csv,leak", tmp_path)
    assert done.returncode != 0
    assert "File too large" in done.stderr


def test_a_database_in_memory_gives_up_rather_than_spill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    monkeypatch.chdir(tmp_path)
    with open_duckdb() as connection:
        connection.execute("SET memory_limit = '30MB'").fetchall()
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute(
                "SELECT max(h) FROM (SELECT hash(i) AS h, repeat('x', 100) || i AS t"
                " FROM range(3000000) r(i) ORDER BY t)"
            ).fetchall()
    assert [*tmp_path.iterdir()] == []
