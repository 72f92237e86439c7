"""Large byte strings under their own digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from wardround.errors import WardroundError
from wardround.store import Blobs
from wardround.trust.canonical import digest


@pytest.mark.parametrize("durable", [False, True])
def test_what_was_put_is_got_and_read_in_parts(tmp_path: Path, durable: bool) -> None:
    blobs = Blobs(tmp_path / "blobs")
    data = bytes(range(256)) * 2000
    name = blobs.put(memoryview(data), durable=durable)
    assert name == digest(data) == blobs.put(data)
    assert Blobs(tmp_path / "blobs").get(name) == data
    pieces = list(blobs.read_part(name, 100, 300_000))
    assert b"".join(pieces) == data[100:300_100]
    assert b"".join(blobs.read_part(name, 500_000, 300_000)) == data[500_000:]
    assert b"".join(blobs.read_part(name, 10_000_000, 5)) == b""


@pytest.mark.parametrize("harm", [b"", b"dat", b"atad", None])
def test_a_blob_that_is_missing_or_altered_is_never_handed_out(
    tmp_path: Path, harm: bytes | None
) -> None:
    blobs = Blobs(tmp_path)
    name = blobs.put(b"data")
    if harm is None:
        blobs.path(name).unlink()
    else:
        blobs.path(name).write_bytes(harm)
    with pytest.raises(WardroundError) as caught:
        blobs.get(name)
    assert caught.value.code == "WR-STORE-003"


def test_nothing_half_written_has_a_blobs_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(_self: Path, _target: Path) -> None:
        raise OSError("the power went")

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(OSError, match="power"):
        Blobs(tmp_path).put(b"data")
    assert not Blobs(tmp_path).path(digest(b"data")).exists()


@pytest.mark.parametrize("left", [b"", b"dat"])
def test_what_a_power_cut_left_of_a_blob_is_put_anew(tmp_path: Path, left: bytes) -> None:
    """Found by the enumeration of crash points: a model that was there, and empty, for ever."""
    name = Blobs(tmp_path).put(b"data")
    Blobs(tmp_path).path(name).write_bytes(left)
    blobs = Blobs(tmp_path)
    assert blobs.put(b"data") == name
    assert blobs.get(name) == b"data"
