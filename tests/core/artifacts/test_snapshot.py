"""Snapshots: a version holds the bytes of the moment it was logged, or says that it cannot."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.core.artifacts import holding
from tracker.core.artifacts.manifest import Entry, RemoteObject
from tracker.core.artifacts.restoring import LocalBlobs, open_file
from tracker.core.artifacts.snapshot import Snapshot, pending
from tracker.core.artifacts.storing import store
from tracker.core.blobs import FolderBlobs
from tracker.core.errors import ChangedError, StorageError, UsageError
from tracker.core.limits import FOREIGN_SNAPSHOT_SECONDS, SMALL_FILE_BYTES

OLD = random.Random(1).randbytes(3_000_000)
NEW = random.Random(2).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's paths have shown is not known to the next; buffers are small, so that reading takes several."""
    monkeypatch.setattr("tracker.core.artifacts.snapshot.WRITTEN", written := holding.Written())
    monkeypatch.setattr("tracker.core.artifacts.storing.WRITTEN", written)
    monkeypatch.setattr("tracker.core.artifacts.snapshot.CLONES.can", lambda *_: False)  # see the battery for clones
    monkeypatch.setattr("tracker.core.artifacts.cutting.READ_BUFFER_BYTES", 512 << 10)
    monkeypatch.setattr("tracker.core.artifacts.snapshot.TOLD_COPY_SECONDS", 0.0)


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint/last.ckpt"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def taken(blobs: FolderBlobs, path: Path, token: str = "one", policy: str = "mutable") -> Snapshot:
    snapshot = Snapshot.create(blobs.folder, token)
    snapshot.add_file("last.ckpt", path, policy)
    snapshot.save({})
    return snapshot


def kept(blobs: FolderBlobs, snapshot: Snapshot, **more: object) -> bytes:
    manifest = store(snapshot, blobs, **more)  # type: ignore[arg-type]
    with open_file(manifest, LocalBlobs(blobs), "last.ckpt") as file:
        return file.read()


def _delete(path: Path) -> None:
    shutil.rmtree(path.parent)


def _rotate(path: Path) -> None:
    path.rename(path.with_name("older.ckpt"))
    path.write_bytes(NEW)


def _replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(NEW)
    path.with_suffix(".new").replace(path)


HARMLESS = [_delete, _rotate, _replace]


def _rewrite(path: Path) -> None:
    path.write_bytes(NEW)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _truncate(path: Path) -> None:
    os.truncate(path, 1000)


def _write_one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")


HARMS = [_rewrite, _append, _truncate, _write_one_byte]


@pytest.mark.parametrize("change", HARMLESS)
def test_the_bytes_outlive_their_name(blobs: FolderBlobs, checkpoint: Path, change: Callable[[Path], None]) -> None:
    """A trainer may delete, rotate or replace what it has logged right after."""
    snapshot = taken(blobs, checkpoint)
    change(checkpoint)

    assert kept(blobs, snapshot) == OLD
    assert snapshot.notes == []


@pytest.mark.parametrize("change", HARMLESS)
def test_the_bytes_outlive_their_name_while_read(
    blobs: FolderBlobs, checkpoint: Path, change: Callable[[Path], None]
) -> None:
    """The same in the midst of reading them."""
    changes = [change]

    def progress(done: int, total: int) -> None:
        assert done < total or not changes
        if done > total // 2 and changes:
            changes.pop()(checkpoint)

    assert kept(blobs, taken(blobs, checkpoint), progress=progress) == OLD
    assert not changes


@pytest.mark.parametrize("policy", ["mutable", "immutable"])
@pytest.mark.parametrize("change", HARMS)
def test_a_write_in_place_is_told(
    blobs: FolderBlobs, checkpoint: Path, change: Callable[[Path], None], policy: str
) -> None:
    """Between logging and reading; afterwards the same path is copied at once, and a write to it does no harm."""
    snapshot = taken(blobs, checkpoint, policy=policy)
    change(checkpoint)
    with pytest.raises(ChangedError, match=r"last\.ckpt") as caught:
        store(snapshot, blobs)
    assert caught.value.paths == [str(checkpoint)]

    again = checkpoint.read_bytes()
    snapshot = taken(blobs, checkpoint, "two")
    assert "copied" in "".join(snapshot.notes) or len(again) < SMALL_FILE_BYTES
    _rewrite(checkpoint)
    assert kept(blobs, snapshot) == again


@pytest.mark.parametrize("change", HARMS)
def test_a_write_in_place_while_read_is_told(
    blobs: FolderBlobs, checkpoint: Path, change: Callable[[Path], None]
) -> None:
    """In the midst of reading: never a mixture of both."""
    changes = [change]

    def progress(done: int, total: int) -> None:
        if done > total // 2 and changes:
            changes.pop()(checkpoint)

    with pytest.raises(ChangedError, match=r"last\.ckpt"):
        store(taken(blobs, checkpoint), blobs, progress=progress)
    assert not changes


def test_a_write_in_the_same_tick_is_told(blobs: FolderBlobs, checkpoint: Path) -> None:
    """However soon the file is written again, with bytes of the same length: the clock of the file system has gone on."""
    for number in range(50):
        path = checkpoint.with_name(f"{number}.ckpt")  # a path that has shown it is written in place would be copied
        path.write_bytes(OLD[:100_000])
        snapshot = taken(blobs, path, str(number))
        path.write_bytes(NEW[:100_000])
        with pytest.raises(ChangedError):
            store(snapshot, blobs)
        snapshot.discard()
    assert list((blobs.folder / ".snapshots").iterdir()) == []


def test_a_write_between_adding_and_logging_is_told(blobs: FolderBlobs, checkpoint: Path) -> None:
    """The moment is that of adding, however long the artifact is filled before it is logged."""
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_file("last.ckpt", checkpoint)
    checkpoint.write_bytes(NEW)
    snapshot.add_bytes("more", b"x")
    snapshot.save({})
    with pytest.raises(ChangedError):
        store(snapshot, blobs)


def test_times_that_lie_ahead_hold_nobody_up(blobs: FolderBlobs, checkpoint: Path) -> None:
    """A file whose time was set to next year is linked, and a write to it brings another time."""
    ahead = checkpoint.stat().st_mtime + 3e7
    os.utime(checkpoint, (ahead, ahead))
    snapshot = taken(blobs, checkpoint)
    assert snapshot.notes == []
    assert kept(blobs, snapshot) == OLD
    checkpoint.write_bytes(NEW)
    with pytest.raises(ChangedError):
        store(snapshot, blobs)


def test_every_changed_file_is_named(blobs: FolderBlobs, tmp_path: Path) -> None:
    snapshot = Snapshot.create(blobs.folder, "one")
    paths = [tmp_path / f"{number}.bin" for number in range(4)]
    for path in paths:
        path.write_bytes(OLD[:100_000])
        snapshot.add_file(path.name, path)
    snapshot.save({})
    for path in paths[::2]:
        _append(path)

    with pytest.raises(ChangedError) as caught:
        store(snapshot, blobs)
    assert caught.value.paths == [str(path) for path in paths[::2]]


def test_a_copy_that_took_no_time_is_not_worth_a_word(
    blobs: FolderBlobs, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frameworks write over their small checkpoints all the time."""
    monkeypatch.setattr(Snapshot, "_wait_past", lambda _self, _mtime_ns: False)  # too new: it is copied
    snapshot = taken(blobs, checkpoint)
    told = snapshot.notes
    monkeypatch.setattr("tracker.core.artifacts.snapshot.TOLD_COPY_SECONDS", 60.0)

    assert "copied at once" in told[0]
    assert snapshot.notes == []


def test_a_path_written_in_place_is_copied_from_the_second_time_on(blobs: FolderBlobs, checkpoint: Path) -> None:
    """The same inode with other bytes shows that; the second version survives the third write."""
    holding_generation = os.open(checkpoint, os.O_RDONLY)
    known = holding._generation(holding_generation)
    os.close(holding_generation)
    if not known:
        pytest.skip("the file system does not tell a new file with an old inode number")
    first = taken(blobs, checkpoint, "one")
    assert kept(blobs, first) == OLD
    first.discard()
    checkpoint.write_bytes(NEW)
    second = taken(blobs, checkpoint, "two")
    checkpoint.write_bytes(OLD)

    assert "written in place" in second.notes[0]
    assert kept(blobs, second) == NEW


def test_a_path_that_is_replaced_each_time_is_never_copied(blobs: FolderBlobs, checkpoint: Path) -> None:
    """A new file under the same name, even one that got the inode number of the last, is linked."""
    for number in range(20):
        snapshot = taken(blobs, checkpoint, str(number))
        assert snapshot.notes == []
        assert len(kept(blobs, snapshot)) == len(OLD)
        snapshot.discard()
        checkpoint.unlink()
        checkpoint.write_bytes(random.Random(number).randbytes(len(OLD)))


def test_a_file_that_is_new_on_a_file_system_of_coarse_times_is_copied(
    blobs: FolderBlobs, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "_wait_past", lambda _self, _mtime_ns: False)
    snapshot = taken(blobs, checkpoint)
    _rewrite(checkpoint)

    assert "so new" in snapshot.notes[0]
    assert kept(blobs, snapshot) == OLD


def test_where_no_link_can_be_made_files_are_copied(
    blobs: FolderBlobs, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the user is told of it once, for all files, with the reason and what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    shutil.copy(checkpoint, checkpoint.with_name("other"))
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_file("last.ckpt", checkpoint)
    snapshot.add_dir("all", checkpoint.parent)
    snapshot.save({})
    _rewrite(checkpoint)

    (note,) = snapshot.notes
    assert "2 more files" in note
    assert "cross-device" in note
    assert "TRACKER_DIR" in note
    assert kept(blobs, snapshot) == OLD


@pytest.mark.parametrize("change", [None, _delete, _replace, *HARMS])
def test_an_immutable_file_that_cannot_be_linked_is_read_where_it_is(
    blobs: FolderBlobs, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None] | None
) -> None:
    """Nothing is copied at once; a promise that was not kept is told, and letting go of it leaves the user's file."""
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    monkeypatch.chdir(checkpoint.parent)
    snapshot = taken(blobs, Path("last.ckpt"), policy="immutable")
    monkeypatch.chdir("/")
    assert snapshot.notes == []
    assert [path.name for path in snapshot.folder.iterdir()] == ["list"]
    if change is None:
        assert kept(blobs, snapshot) == OLD
        snapshot.remove("last.ckpt")
        snapshot.discard()
        assert checkpoint.read_bytes() == OLD
    else:
        change(checkpoint)
        with pytest.raises(ChangedError, match=r"last\.ckpt"):
            store(snapshot, blobs)


def test_a_real_other_disk(blobs: FolderBlobs, tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    path = shared / f"tracker-test-{os.getpid()}"
    path.write_bytes(OLD)
    try:
        snapshot = taken(blobs, path)
    finally:
        path.unlink()

    assert kept(blobs, snapshot) == OLD
    assert "cannot be linked" in snapshot.notes[0]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_file_that_is_written_without_end_is_told(
    blobs: FolderBlobs, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying waits for no writer: after some attempts it says so."""
    path = tmp_path / "busy"
    path.write_bytes(bytes(size))

    def stat(fd: int, real: Callable[[int], os.stat_result] = os.fstat) -> os.stat_result:
        if os.readlink(f"/proc/self/fd/{fd}") == str(path):
            _append(path)
        return real(fd)

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc here")
    monkeypatch.setattr(os, "fstat", stat)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no")))
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_file("busy", path)

    assert snapshot.changed == [str(path)]
    with pytest.raises(ChangedError, match="busy"):
        store(snapshot, blobs)


def test_small_files_beyond_the_limit_are_linked(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied into a snapshot is bounded; all files come back all the same, and a write to one is told."""
    monkeypatch.setattr("tracker.core.artifacts.snapshot.SNAPSHOT_COPY_BYTES", 1000)
    (tmp_path / "small").mkdir()
    for number in range(20):
        (tmp_path / "small" / f"f{number}").write_bytes(b"%d" % number * 100)
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_dir("", tmp_path / "small")
    linked = [held for held in snapshot.files if held.is_linked]
    assert 0 < len(linked) < 20

    manifest = store(snapshot, blobs)
    for number in range(20):
        with open_file(manifest, LocalBlobs(blobs), f"f{number}") as file:
            assert file.read() == b"%d" % number * 100
    snapshot.save({})
    Path(linked[0].source).write_bytes(b"other")
    with pytest.raises(ChangedError):
        store(snapshot, blobs)


# --- what can be in a folder --------------------------------------------------------------


def test_links_within_a_folder_are_kept_as_links(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Relative or absolute, to a file, a folder, or nothing; none is followed."""
    folder = tmp_path / "folder"
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "sub/file").write_bytes(b"x")
    (folder / "relative").symlink_to("sub/file")
    (folder / "sub/deep/up").symlink_to("../../sub/file")
    (folder / "absolute").symlink_to(folder / "sub/file")
    (folder / "directory").symlink_to("sub")
    (folder / "dangling").symlink_to("sub/none")
    (folder / "sub/winding").symlink_to("../directory/../sub/file")
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_dir("p", folder)

    found = {entry.path: entry.link for entry in store(snapshot, blobs).entries.values()}
    assert found == {
        "p/absolute": "sub/file",
        "p/dangling": "sub/none",
        "p/directory": "sub",
        "p/relative": "sub/file",
        "p/sub/deep/up": "../../sub/file",
        "p/sub/file": None,
        "p/sub/winding": "file",
    }


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", "..", "out/x"])
def test_links_that_lead_out_are_refused(blobs: FolderBlobs, tmp_path: Path, target: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(target)
    if target == "out/x":
        (folder / "out").symlink_to(tmp_path)
        (folder / "sub/link").symlink_to("../out/x")
    snapshot = Snapshot.create(blobs.folder, "one")
    with pytest.raises(UsageError, match="leads out"):
        snapshot.add_dir("", folder)


def test_a_folder_is_added_whole_or_not_at_all(blobs: FolderBlobs, tmp_path: Path) -> None:
    """What is refused in the midst of it leaves nothing behind, so that its paths can be used again."""
    folder = tmp_path / "folder"
    for name in ("a", "b", "large"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(OLD[: SMALL_FILE_BYTES * 2 if name == "large" else 10])
        (folder / name / "link").symlink_to("file")
    (folder / "out").symlink_to("/etc/passwd")
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_bytes("before", b"x")
    with pytest.raises(UsageError):
        snapshot.add_dir("", folder)
    assert [held.logical for held in snapshot.files] == ["before"]
    assert snapshot.entries == []
    (folder / "out").unlink()
    snapshot.add_dir("", folder)

    manifest = store(snapshot, blobs)
    assert sorted(manifest.entries) == [
        "a/file", "a/link", "b/file", "b/link", "before", "large/file", "large/link",
    ]  # fmt: skip


def test_the_folder_of_runs_is_left_out(tmp_path: Path) -> None:
    """Who adds the folder it lies in means the rest; a folder within it can be added."""
    root = tmp_path / "project/runs"
    (root / "local/p/run/files").mkdir(parents=True)
    (root / "local/p/run/files/plot.txt").write_bytes(b"x")
    (tmp_path / "project/train.py").write_bytes(b"import tracker")
    blobs = FolderBlobs(root / ".blobs")
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_dir("", tmp_path / "project")
    assert [held.logical for held in snapshot.files] == ["train.py"]
    assert "runs is the folder of runs" in snapshot.notes[0]
    snapshot.add_dir("files", root / "local/p/run/files")
    snapshot.add_dir("all", root)

    assert list(store(snapshot, blobs).entries) == ["all/local/p/run/files/plot.txt", "files/plot.txt", "train.py"]


def test_a_file_is_followed_where_it_is_named(blobs: FolderBlobs, tmp_path: Path) -> None:
    """`add_file` of a link keeps what it leads to."""
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "link").symlink_to("target")
    snapshot = taken(blobs, tmp_path / "link")

    assert kept(blobs, snapshot) == OLD
    assert snapshot.files[0].is_linked


def test_what_is_no_file_is_refused(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Folders, pipes, and what is not there; the path can be used afterwards."""
    snapshot = Snapshot.create(blobs.folder, "one")
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match=bad.name):
            snapshot.add_file("a", bad)
    with pytest.raises(StorageError, match="absent"):
        snapshot.add_file("a", tmp_path / "absent")
    with pytest.raises(UsageError, match="pipe"):
        snapshot.add_dir("d", tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        snapshot.add_dir("d", tmp_path / "absent")
    snapshot.add_bytes("a", b"at last")
    with pytest.raises(UsageError, match="already"):
        snapshot.add_bytes("a", b"again")
    with pytest.raises(UsageError, match="policy"):
        snapshot.add_file("b", tmp_path / "pipe", "never")
    with pytest.raises(UsageError, match="token"):
        Snapshot.create(blobs.folder, "../out")


@pytest.mark.parametrize("name", [b"back\\slash", b"line\nbreak", b"\xff\xfe"])
def test_names_that_cannot_be_kept_are_refused(blobs: FolderBlobs, tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    try:
        with open(os.path.join(os.fsencode(folder), name), "wb"):
            pass
    except OSError:
        pytest.skip("the file system has no such names")
    with pytest.raises(UsageError, match="path"):
        Snapshot.create(blobs.folder, "one").add_dir("", folder)


def test_a_deep_folder_is_walked(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Deeper than Python calls itself."""
    folder = tmp_path / "folder"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=fd)
        fd, old = os.open("d", os.O_RDONLY, dir_fd=fd), fd
        os.close(old)
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    snapshot = Snapshot.create(blobs.folder, "one")
    try:
        snapshot.add_dir("", folder)
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)  # Python's own would call itself too deeply

    assert list(store(snapshot, blobs).entries) == ["d/" * 1100 + "end"]


# --- taken over ---------------------------------------------------------------------------

DYING = """
import os, signal, sys
from pathlib import Path
from tracker.core.artifacts.snapshot import Snapshot
snapshot = Snapshot.create(Path(sys.argv[1]), sys.argv[2])
snapshot.add_file("last.ckpt", Path(sys.argv[3]))
snapshot.add_bytes("note", b"hello")
snapshot.add_link("link", "note")
if sys.argv[4] == "saved":
    snapshot.save({"name": "model", "aliases": ["best"]})
os.kill(os.getpid(), signal.SIGKILL)
"""


def _die(blobs: FolderBlobs, checkpoint: Path, token: str, how: str = "saved") -> None:
    arguments = [sys.executable, "-c", DYING, str(blobs.folder), token, str(checkpoint), how]
    assert subprocess.run(arguments, check=False).returncode == -9


def test_a_dead_process_s_snapshot_is_finished_by_another(blobs: FolderBlobs, checkpoint: Path) -> None:
    """It is handed out once, with its header; the bytes are those of its moment. What was never saved is removed."""
    living = taken(blobs, checkpoint, "living")
    _die(blobs, checkpoint, "saved")
    _die(blobs, checkpoint, "unsaved", "unsaved")
    _delete(checkpoint)
    (found,) = pending(blobs.folder)

    assert (found.token, found.header) == ("saved", {"name": "model", "aliases": ["best"]})
    manifest = store(found, blobs)
    assert {path: entry.size for path, entry in manifest.entries.items()} == {
        "last.ckpt": len(OLD),
        "link": 0,
        "note": 5,
    }
    with open_file(manifest, LocalBlobs(blobs), "last.ckpt") as file:
        assert file.read() == OLD
    assert list(pending(blobs.folder)) == []
    found.discard()
    assert list((blobs.folder / ".snapshots").iterdir()) == [living.folder]
    assert kept(blobs, living) == OLD


@pytest.mark.parametrize("change", HARMS)
def test_a_file_written_after_the_death_is_told(
    blobs: FolderBlobs, checkpoint: Path, change: Callable[[Path], None]
) -> None:
    _die(blobs, checkpoint, "dead")
    change(checkpoint)
    (found,) = pending(blobs.folder)
    with pytest.raises(ChangedError, match=r"last\.ckpt"):
        store(found, blobs)


@pytest.mark.parametrize("where", ["other-host", "this-host.0"])
def test_another_machine_s_snapshot_is_taken_over_after_hours(
    blobs: FolderBlobs, checkpoint: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its process lives cannot be seen, nor that of another container; one that is worked on is let be."""
    for token in ("saved", "unsaved"):
        snapshot = Snapshot.create(blobs.folder, token)
        snapshot.add_file("last.ckpt", checkpoint)
        if token == "saved":
            snapshot.save({})
        _, _, pid, begun = snapshot.folder.name.split("~")
        there = snapshot.folder.with_name(f"{token}~{where}~{pid}~{begun}")
        snapshot.folder = snapshot.folder.rename(there)
        long_ago = time.time() - 2 * FOREIGN_SNAPSHOT_SECONDS
        for path in (there, *there.glob("list")):
            os.utime(path, (long_ago, long_ago))
        if token == "saved":
            snapshot.touch()
            assert list(pending(blobs.folder)) == []
            os.utime(there / "list", (long_ago, long_ago))
            monkeypatch.setattr("tracker.core.artifacts.storing.SNAPSHOT_TOUCH_SECONDS", 0)
            store(snapshot, blobs)
            assert list(pending(blobs.folder)) == []
            os.utime(there / "list", (long_ago, long_ago))
    (found,) = pending(blobs.folder)

    assert found.token == "saved"
    assert kept(blobs, found) == OLD
    assert there.exists()


def test_a_living_process_can_leave_a_snapshot_to_others(blobs: FolderBlobs, checkpoint: Path) -> None:
    snapshot = Snapshot.create(blobs.folder, "left")
    snapshot.add_file("last.ckpt", checkpoint)
    snapshot.save({"a": 1}, is_left=True)
    (found,) = pending(blobs.folder)

    assert (found.token, found.header) == ("left", {"a": 1})
    assert kept(blobs, found) == OLD


def test_what_was_let_go_is_not_kept(blobs: FolderBlobs, checkpoint: Path) -> None:
    """Small, large and links; the path can be used again, and the others are what they were."""
    snapshot = Snapshot.create(blobs.folder, "one")
    for name in ("a", "b", "c"):
        snapshot.add_bytes(name, name.encode() * 10)
    snapshot.add_file("last.ckpt", checkpoint)
    snapshot.add_link("link", "a")
    for name in ("b", "last.ckpt", "link", "absent"):
        snapshot.remove(name)
        assert name not in snapshot
    snapshot.add_file("link", checkpoint)
    manifest = store(snapshot, blobs)

    assert "a" in snapshot
    assert list(manifest.entries) == ["a", "c", "link"]
    with open_file(manifest, LocalBlobs(blobs), "c") as file:
        assert file.read() == b"c" * 10


def test_there_is_nothing_pending_where_there_is_nothing(blobs: FolderBlobs) -> None:
    assert list(pending(blobs.folder)) == []


def test_references_are_held_as_they_are(blobs: FolderBlobs) -> None:
    snapshot = Snapshot.create(blobs.folder, "one")
    entry = Entry("far", 5, reference=RemoteObject("s3://bucket/key", etag="e"))
    snapshot.add_reference(entry)

    assert store(snapshot, blobs).entries == {"far": entry}
