"""From a folder to blobs and back."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tracker.core.artifacts.restoring import LocalBlobs, open_file, restore, verify
from tracker.core.artifacts.snapshot import Snapshot
from tracker.core.artifacts.storing import store
from tracker.core.blobs import FolderBlobs


def test_a_folder_comes_back(tmp_path: Path) -> None:
    """Large, small, empty and executable files and links come back byte by byte."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    noise = random.Random(1)
    contents = {"weights.bin": noise.randbytes(5_000_000), "deep/a": b"x" * 100, "deep/er/empty": b"", "run.sh": b"#!"}
    for name, data in contents.items():
        (source / name).write_bytes(data)
    (source / "run.sh").chmod(0o755)
    (source / "deep/last").symlink_to("../weights.bin")
    blobs = FolderBlobs(tmp_path / "blobs")

    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_dir("", source)
    snapshot.add_bytes("extra/note.txt", b"note")
    manifest = store(snapshot, blobs)
    restore(manifest, LocalBlobs(blobs), tmp_path / "target")

    target = tmp_path / "target"
    verify(manifest, target)
    for name, data in {**contents, "extra/note.txt": b"note"}.items():
        assert (target / name).read_bytes() == data
        with open_file(manifest, LocalBlobs(blobs), name) as file:
            assert file.read() == data
    assert os.readlink(target / "deep/last") == "../weights.bin"
    assert (target / "run.sh").stat().st_mode & 0o100
