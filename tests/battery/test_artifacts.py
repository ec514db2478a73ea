"""The bytes of artifacts under faults: killed, full, cloned, many, huge; what is restored is what was logged."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tracker.core.artifacts import holding
from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.manifest import Manifest
from tracker.core.artifacts.restoring import LocalBlobs, restore
from tracker.core.artifacts.snapshot import Snapshot, pending
from tracker.core.artifacts.storing import store
from tracker.core.blobs import FolderBlobs
from tracker.core.errors import ChangedError, StorageError
from tracker.core.paths import artifacts_folder, blobs_folder

from .helpers import LIMIT_SECONDS, environment, program
from .test_kill import Board, wait_for
from .test_power import GO_DOWN_UNSYNCED, Disk, disk

__all__ = ["disk"]  # the fixture
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the faults are made with Linux's means")

# Each program begins with this; `say` tells the test where it stands.
PREAMBLE = """
import json, os, sys, threading
from pathlib import Path
from tracker.core.artifacts.restoring import LocalBlobs, restore, verify
from tracker.core.artifacts.snapshot import Snapshot, pending
from tracker.core.artifacts.storing import store
from tracker.core.blobs import FolderBlobs
blobs, source = FolderBlobs(Path(sys.argv[1])), Path(sys.argv[2])
def say(**what):
    print(json.dumps(what), flush=True)
def peak_mb():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
def idle():
    import blake3, pyfastcdc
    blobs.put(b"x")
    with open("/proc/self/clear_refs", "w") as file:  # VmHWM begins anew
        file.write("5")
    return peak_mb()
"""


def begin(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(code: str, *arguments: object, seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
    process = begin(code, *arguments)
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    found: dict[str, Any] = {}
    for line in out.splitlines():
        found.update(json.loads(line))
    return found


def make(folder: Path, sizes: list[int], seed: int = 0) -> dict[str, bytes]:
    noise = random.Random(seed)
    contents = {f"d{number % 5}/{number}": noise.randbytes(size) for number, size in enumerate(sizes)}
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return contents


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- killed -------------------------------------------------------------------------------

STORER = """
snapshot = Snapshot.create(blobs.folder, "killed")
snapshot.add_dir("", source)
snapshot.save({"name": "model"})
say(saved=True)
store(snapshot, blobs, progress=lambda done, total: say(done=done))
say(stored=True)
snapshot.discard()
sys.stdin.read() if len(sys.argv) > 3 else None
"""


def test_a_storer_killed_anywhere_is_finished_by_the_next(tmp_path: Path, is_long: bool) -> None:
    """At a random moment between the snapshot and the end; the source is deleted, and every byte comes back."""
    chance = random.Random(os.urandom(8))
    for attempt in range(40 if is_long else 4):
        place, source = tmp_path / f"blobs-{attempt}", tmp_path / f"source-{attempt}"
        contents = make(source, [*[5000] * 300, *[3_000_000] * 10, 20_000_000], seed=attempt)
        process = begin(STORER, place, source)
        assert process.stdout is not None
        lines = chance.randrange(1, 60)
        for _ in range(lines):
            if not process.stdout.readline():
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        shutil.rmtree(source)
        blobs = FolderBlobs(place)
        found = list(pending(place))
        if not found:  # it had ended already
            continue
        (snapshot,) = found
        manifest = store(snapshot, blobs)
        snapshot.discard()
        blobs.clean()
        restore(manifest, LocalBlobs(blobs), tmp_path / "target")

        assert below(tmp_path / "target") == contents
        assert snapshot.header == {"name": "model"}
        assert all(blobs.read(stored.digest) is not None for stored in blobs.walk())
        assert not list((place / ".drafts").iterdir())
        assert not list((place / ".snapshots").iterdir())
        shutil.rmtree(tmp_path / "target")
        shutil.rmtree(place)


def test_many_processes_store_the_same_bytes_at_once(tmp_path: Path, is_long: bool) -> None:
    """Each of them has a whole version, and every blob is there once."""
    source = tmp_path / "source"
    contents = make(source, [*[5000] * 100, *[1_000_000] * 5])
    code = STORER.replace('"killed"', "sys.argv[3]").replace("sys.stdin.read() if len(sys.argv) > 3 else None", "")
    processes = [begin(code, tmp_path / "blobs", source, number) for number in range(8 if is_long else 3)]
    for process in processes:
        out, errors = process.communicate(timeout=LIMIT_SECONDS)
        assert "stored" in out, errors
    blobs = FolderBlobs(tmp_path / "blobs")
    snapshot = Snapshot.create(blobs.folder, "last")
    snapshot.add_dir("", source)
    before = sorted(stored.path for stored in blobs.walk())
    manifest = store(snapshot, blobs)
    restore(manifest, LocalBlobs(blobs), tmp_path / "target")

    assert below(tmp_path / "target") == contents
    assert sorted(stored.path for stored in blobs.walk()) == before
    assert len({stored.digest for stored in blobs.walk()}) == len(before)


# --- full ---------------------------------------------------------------------------------


def test_a_disk_that_fills_up_while_storing(mount, tmp_path):
    """One clear error, no draft, nothing half; with room again the same snapshot is stored."""
    disk = mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")
    contents = make(disk / "source", [20_000_000, 20_000_000])
    blobs = FolderBlobs(disk / "blobs")
    snapshot = Snapshot.create(blobs.folder, "full")
    snapshot.add_dir("", disk / "source")
    snapshot.save({})
    with pytest.raises(StorageError, match="No space left"):
        store(snapshot, blobs)
    assert not list((blobs.folder / ".drafts").iterdir())
    assert all(blobs.read(stored.digest) is not None for stored in blobs.walk())
    subprocess.run(["mount", "-o", "remount,size=128m", str(disk)], check=True)
    manifest = store(snapshot, blobs)
    restore(manifest, LocalBlobs(blobs), tmp_path / "target")

    assert below(tmp_path / "target") == contents


def test_a_disk_that_is_full_when_a_file_is_logged_or_restored(mount, tmp_path):
    """The copy that a snapshot on another disk takes, and a restored file: an error each, and no half of a file."""
    disk = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")
    make(tmp_path / "source", [20_000_000])
    snapshot = Snapshot.create(disk / "blobs", "full")
    with pytest.raises(StorageError, match="No space left"):
        snapshot.add_dir("", tmp_path / "source")
    snapshot.discard()
    assert list((disk / "blobs/.snapshots").iterdir()) == []

    blobs = FolderBlobs(tmp_path / "blobs")
    snapshot = Snapshot.create(blobs.folder, "good")
    snapshot.add_dir("", tmp_path / "source")
    manifest = store(snapshot, blobs)
    with pytest.raises(StorageError, match="No space left"):
        restore(manifest, LocalBlobs(blobs), disk / "target")
    assert below(disk / "target") == {}


# --- clones -------------------------------------------------------------------------------


@pytest.fixture(params=["btrfs", "xfs"])
def cloning(request, tmp_path, mount, monkeypatch):
    """A file system that makes clones."""
    if shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"there is no mkfs.{request.param}")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run([f"mkfs.{request.param}", "-q", str(image)], check=True, capture_output=True)
    written, clones = holding.Written(), holding.Clones()
    monkeypatch.setattr("tracker.core.artifacts.snapshot.WRITTEN", written)
    monkeypatch.setattr("tracker.core.artifacts.storing.WRITTEN", written)
    monkeypatch.setattr("tracker.core.artifacts.snapshot.CLONES", clones)
    return mount("-o", "loop", str(image))


def _snapshot(disk: Path, path: Path, token: str) -> Snapshot:
    snapshot = Snapshot.create(disk / "blobs", token)
    snapshot.add_file("file", path)
    snapshot.save({})
    return snapshot


def _kept(disk: Path, snapshot: Snapshot, target: Path, **more: Any) -> bytes:
    blobs = FolderBlobs(disk / "blobs")
    restore(store(snapshot, blobs, **more), LocalBlobs(blobs), target)
    return (target / "file").read_bytes()


def test_a_clone_outlives_every_write(cloning, tmp_path):
    """A small file, and an old large one, are cloned at once: written in place right after, they are what they were."""
    for number, (size, age) in enumerate([(1_000_000, 0), (30_000_000, 3600)]):
        path = cloning / f"file-{number}"
        old = random.Random(number).randbytes(size)
        path.write_bytes(old)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
        snapshot = _snapshot(cloning, path, str(number))
        with path.open("r+b") as file:
            file.write(b"other" * 1000)
        assert snapshot.notes == []
        assert _kept(cloning, snapshot, tmp_path / str(number)) == old


def test_a_large_new_file_is_cloned_by_the_worker(cloning, tmp_path):
    """Cloning waits for the disk, so it is not done in the caller; written while it is read, it is what it was."""
    path = cloning / "file"
    old = random.Random(1).randbytes(40_000_000)
    path.write_bytes(old)
    snapshot = _snapshot(cloning, path, "one")
    assert snapshot.files[0].is_linked
    writes = [1]

    def progress(done: int, total: int) -> None:
        if writes:
            writes.pop()
            path.write_bytes(b"other" * 1000)

    assert _kept(cloning, snapshot, tmp_path / "target", progress=progress) == old
    assert not writes
    path = cloning / "another"
    path.write_bytes(old)
    snapshot = _snapshot(cloning, path, "two")
    path.write_bytes(b"before the worker comes")
    with pytest.raises(ChangedError):
        store(snapshot, FolderBlobs(cloning / "blobs"))
    path.write_bytes(old)
    snapshot = _snapshot(cloning, path, "three")  # now it is known to be written in place
    path.write_bytes(b"at once")
    assert snapshot.notes == []
    assert _kept(cloning, snapshot, tmp_path / "again") == old


def test_clones_of_a_dead_process_are_as_good(cloning, tmp_path):
    """What was linked when the list was written, and cloned since, is not taken for changed."""
    path = cloning / "file"
    old = random.Random(1).randbytes(40_000_000)
    path.write_bytes(old)
    code = """
snapshot = Snapshot.create(blobs.folder, "dead")
snapshot.add_file("file", source)
snapshot.save({})
snapshot.clone_linked()
os.kill(os.getpid(), 9)
"""
    process = begin(code, cloning / "blobs", path)
    process.communicate(timeout=LIMIT_SECONDS)
    path.write_bytes(b"other")
    (snapshot,) = pending(cloning / "blobs")

    assert snapshot.files[0].is_linked
    assert _kept(cloning, snapshot, tmp_path / "target") == old


# --- memory -------------------------------------------------------------------------------

ROUND = """
snapshot = Snapshot.create(blobs.folder, "one")
before = idle()
snapshot.add_dir("", source)
snapshot.save({})
say(snapshot=peak_mb() - before)
manifest = store(snapshot, blobs)
snapshot.discard()
say(stored=peak_mb() - before, files=manifest.files, size=manifest.size)
data = manifest.dump()
manifest = type(manifest).load(data)
restore(manifest, LocalBlobs(blobs), Path(sys.argv[3]))
verify(manifest, Path(sys.argv[3]))
say(restored=peak_mb() - before, manifest=len(data))
"""
MOST_MB = 200


def test_memory_is_flat_for_many_files(tmp_path: Path, is_long: bool) -> None:
    """A hundred thousand files and back within 200 MB over idle."""
    count = 100_000 if is_long else 5_000
    source = tmp_path / "source"
    for number in range(count):
        if number % 1000 == 0:
            (source / f"{number // 1000:03}").mkdir(parents=True)
        (source / f"{number // 1000:03}" / f"sample-{number:08}.json").write_bytes(b"%d" % number * 200)
    found = told(ROUND, tmp_path / "blobs", source, tmp_path / "target", seconds=1200)

    assert found["files"] == count
    assert found["restored"] < (MOST_MB if is_long else MOST_MB / 2), found


def test_memory_is_flat_for_one_large_file(tmp_path: Path, is_long: bool) -> None:
    """Twenty gigabytes, mostly holes, and back within 200 MB over idle."""
    source = tmp_path / "source"
    source.mkdir()
    size = (20 << 30) if is_long else (300 << 20)
    with (source / "model").open("wb") as file:
        for number in range(20):
            file.seek(size * number // 20)
            file.write(random.Random(number).randbytes(3_000_000))
        file.truncate(size)
    found = told(ROUND, tmp_path / "blobs", source, tmp_path / "target", seconds=1200)

    assert found["size"] == size
    assert found["restored"] < MOST_MB, found
    assert sum(stored.size for stored in FolderBlobs(tmp_path / "blobs").walk()) < 120 << 20
    assert (tmp_path / "target/model").stat().st_blocks * 512 < 400 << 20


# --- power --------------------------------------------------------------------------------

VERSIONS = """
    import mmap, random, struct
    board = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 16)
    run = begin()
    for number in range(250):
        noise = random.Random(number)
        artifact = tracker.Artifact("net", "model")
        with artifact.new_file("small") as file:
            file.write(f"number {number}")
        with artifact.new_file("large", "wb") as file:
            file.write(noise.randbytes(100_000 + number))
        run.log_artifact(artifact).wait()
        board[0:8] = struct.pack("<q", number + 1)
    time.sleep(60)
"""


def test_a_version_outlives_a_power_cut(disk: Disk, tmp_path: Path, is_long: bool) -> None:
    """What `wait` returned for is whole afterwards, and so is whatever else can be seen."""
    for cut in range(6 if is_long else 1):
        board = Board(tmp_path / f"board-{cut}")
        process = subprocess.Popen([*program(VERSIONS), str(disk.place), str(board.path)], env=environment())
        try:
            wait_for(lambda board=board, cut=cut: board.acknowledged > 3 + 7 * cut, process)  # type: ignore[misc]
            disk.fail(GO_DOWN_UNSYNCED)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT_SECONDS)
        place = disk.mount_again()
        blobs = FolderBlobs(blobs_folder(place))
        versions = FolderCatalogue(artifacts_folder(place)).versions("local", "battery", "net")
        assert [version.version for version in versions] == list(range(len(versions)))
        assert len(versions) >= board.acknowledged > 0
        for version in versions:
            manifest = Manifest.load(blobs.read(version.manifest))
            assert manifest.digest == version.digest
            restore(manifest, LocalBlobs(blobs), tmp_path / "target")
            assert (tmp_path / "target/small").read_text() == f"number {version.version}"
            expected = random.Random(version.version).randbytes(100_000 + version.version)
            assert (tmp_path / "target/large").read_bytes() == expected
        for folder in place.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
