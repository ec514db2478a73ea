"""Taking files out of a snapshot again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tracker.core.artifacts.snapshot import Snapshot, pending
from tracker.core.artifacts.storing import store
from tracker.core.blobs import FolderBlobs


def test_a_removed_file_leaves_room_and_harms_no_other(tmp_path: Path) -> None:
    contents = {name: os.urandom(100_000) for name in ("a", "b", "c", "d")}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    blobs = FolderBlobs(tmp_path / "blobs")
    snapshot = Snapshot.create(blobs.folder, "t")
    for name in ("a", "b", "c"):
        snapshot.add_file(name, tmp_path / name, "immutable")
    snapshot.remove("a")
    snapshot.add_file("d", tmp_path / "d", "immutable")
    snapshot.add_file("a", tmp_path / "b", "immutable")
    snapshot.remove("never there")

    manifest = store(snapshot, blobs)
    found = {path: b"".join(blobs.read(p.blob) for p in entry.parts) for path, entry in manifest.entries.items()}
    assert found == {"a": contents["b"], "b": contents["b"], "c": contents["c"], "d": contents["d"]}
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents


def test_what_a_living_process_leaves_is_for_others(tmp_path: Path) -> None:
    snapshot = Snapshot.create(tmp_path, "t")
    snapshot.add_bytes("a", b"1")
    snapshot.save({"name": "x"})
    assert list(pending(tmp_path)) == []

    snapshot.save({"name": "x"}, is_left=True)
    assert [each.header for each in pending(tmp_path)] == [{"name": "x"}]


def test_one_that_was_half_let_go_is_let_go_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process was killed meanwhile: it was stored by then, and nothing of it can be completed any more."""
    snapshot = Snapshot.create(tmp_path, "t")
    snapshot.add_bytes("a", b"1")
    snapshot.save({"name": "x"}, is_left=True)

    def killed_meanwhile(folder: Path, **_options: object) -> None:
        (folder / "small").unlink()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed_meanwhile)
        snapshot.discard()

    assert list(pending(tmp_path)) == []
    assert not snapshot.folder.exists()
    assert list((tmp_path / ".snapshots").iterdir()) == []
