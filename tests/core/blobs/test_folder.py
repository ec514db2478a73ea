"""A folder of blobs: what is put comes back, whole, or is said to be damaged."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import blake3
import pytest

from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.errors import DamagedBlob, OffsetError, StorageError
from tracker.core.limits import DRAFT_KEEP_SECONDS, TOUCH_INTERVAL_SECONDS

NOISE = random.Random(3).randbytes(300_000)
TEXT = b"step,loss\n1,0.5\n" * 20_000


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(blobs: FolderBlobs) -> list[str]:
    """All but the mark of what is not synced."""
    found = [path for path in blobs.folder.rglob("*") if path.is_file() and path.parent.name != ".unsynced"]
    return sorted(path.name for path in found)


@pytest.mark.parametrize("compress", [None, True, False])
@pytest.mark.parametrize("data", [b"", b"x", NOISE, TEXT], ids=["empty", "one", "noise", "text"])
def test_bytes_come_back(blobs: FolderBlobs, data: bytes, compress: bool | None) -> None:
    """However they were given and packed, the plain bytes come back under the digest of the plain bytes."""
    digest = blobs.put(data, compress=compress)
    other = FolderBlobs(blobs.folder.parent / "other")
    assert digest == other.put(io.BytesIO(data), compress=compress) == blake3.blake3(data).hexdigest()

    for place in (blobs, other):
        with place.open(digest) as file:
            assert file.read() == data
        assert place.read(digest) == data
        assert place.size(digest) == len(data)
        assert place.has(digest)
        assert [one.digest for one in place.walk()] == [digest]


def test_only_what_packs_is_packed(blobs: FolderBlobs) -> None:
    """Text is packed, noise is not, from memory and from a file."""
    text, noise = blobs.put(TEXT), blobs.put(io.BytesIO(NOISE))

    assert [path.suffix for path in (blobs.stored(text)[0], blobs.stored(noise)[0])] == [".zst", ""]
    assert next(one.size for one in blobs.walk() if one.digest == text) < len(TEXT) / 10
    assert blobs.stored(blobs.put(io.BytesIO(TEXT[1:])))[1]


def test_what_is_there_is_not_written_again(blobs: FolderBlobs) -> None:
    digest = blobs.put(NOISE)
    before = blobs.stored(digest)[0].stat()

    assert blobs.put(NOISE, compress=True) == digest
    assert blobs.put(io.BytesIO(NOISE)) == digest
    assert blobs.stored(digest)[0].stat().st_ino == before.st_ino
    assert files(blobs) == [digest]


def test_files_are_copied_or_moved(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A file that is moved in is not copied: it keeps its inode."""
    path = tmp_path / "weights"
    path.write_bytes(NOISE)
    digest = blobs.put_file(path)
    assert path.exists()
    blobs.remove(digest)
    inode = path.stat().st_ino

    assert blobs.put_file(path, digest, move=True) == digest
    assert not path.exists()
    assert blobs.stored(digest)[0].stat().st_ino == inode
    with pytest.raises(StorageError, match="absent"):
        blobs.put_file(tmp_path / "absent")


def test_other_bytes_than_announced_leave_nothing(blobs: FolderBlobs) -> None:
    for source in (b"one", io.BytesIO(b"one")):
        with pytest.raises(StorageError, match="announced"):
            blobs.put(source, digest_of(b"two"))

    assert files(blobs) == []


@pytest.mark.parametrize("data", [NOISE, TEXT], ids=["plain", "packed"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_damage_is_named_and_the_blob_missing_from_then_on(blobs: FolderBlobs, data: bytes, harm: str) -> None:
    """A flipped bit, a cut tail, an empty file: reading names the blob, and the same bytes can be put again."""
    digest = blobs.put(data)
    path, _ = blobs.stored(digest)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes({"flip": bytes(raw), "cut": bytes(raw[: len(raw) // 2]), "empty": b""}[harm])

    with pytest.raises(DamagedBlob, match=digest) as caught:
        blobs.read(digest)
    assert caught.value.digest == digest
    assert blobs.missing([digest]) == [digest]
    assert list(blobs.walk()) == []
    assert blobs.read(blobs.put(data)) == data


def test_removed_is_removed(blobs: FolderBlobs) -> None:
    kept, gone = blobs.put(NOISE), blobs.put(TEXT)
    blobs.remove(gone)
    blobs.remove(gone)

    assert blobs.missing([gone, kept, gone]) == [gone]
    with pytest.raises(FileNotFoundError):
        blobs.read(gone)


def test_touch_makes_an_old_blob_young(blobs: FolderBlobs) -> None:
    """What is used again, by name or by being put again, does not look old."""
    digest = blobs.put(NOISE)
    old = time.time() - 10 * TOUCH_INTERVAL_SECONDS
    path, _ = blobs.stored(digest)
    for use in (lambda: blobs.touch([digest, digest_of(b"absent")]), lambda: blobs.put(NOISE)):
        os.utime(path, (old, old))
        use()
        assert path.stat().st_mtime > old + TOUCH_INTERVAL_SECONDS


def test_a_blob_arrives_in_pieces(blobs: FolderBlobs) -> None:
    """Pieces are taken in order only; what is held is said, and nothing is there before the end."""
    digest = digest_of(NOISE)
    assert blobs.held(digest) == 0
    assert blobs.arrive(digest, 0, NOISE[:1000]) == 1000
    for offset in (0, 999, 1001):
        with pytest.raises(OffsetError) as caught:
            blobs.arrive(digest, offset, b"x")
        assert caught.value.held == 1000
    other = FolderBlobs(blobs.folder)  # the server was started again
    assert other.held(digest) == 1000
    assert other.arrive(digest, 1000, NOISE[1000:]) == len(NOISE)
    assert not other.has(digest)
    other.complete(digest)

    assert blobs.read(digest) == NOISE
    assert blobs.held(digest) == 0
    assert files(blobs) == [digest]
    blobs.complete(digest)  # said twice


def test_a_wrong_arrival_can_begin_anew(blobs: FolderBlobs) -> None:
    digest = digest_of(NOISE)
    blobs.arrive(digest, 0, NOISE[:-1] + b"!")
    with pytest.raises(StorageError, match="digest"):
        blobs.complete(digest)

    assert blobs.held(digest) == 0
    assert files(blobs) == []
    with pytest.raises(StorageError):
        blobs.complete(digest)


def test_what_dead_processes_left_is_cleaned(blobs: FolderBlobs) -> None:
    """A draft of a process that is gone goes; one of a living process stays."""
    blobs.put(b"x")
    own = blobs.draft()
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.write_bytes(b"half")
    blobs.arrive(digest_of(NOISE), 0, b"young")

    assert blobs.clean() == 1
    assert own.exists()
    assert not dead.exists()
    assert blobs.held(digest_of(NOISE)) == 5


def test_what_was_set_aside_goes_after_a_week(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged blob is kept for who wants to look into it, counted from when it was found, not written."""
    digest = blobs.put(NOISE)
    path, _ = blobs.stored(digest)
    path.write_bytes(b"damaged")
    os.utime(path, (0, 0))
    with pytest.raises(DamagedBlob):
        blobs.read(digest)
    assert blobs.clean() == 0
    assert files(blobs) == [digest]
    in_a_week = time.time() + DRAFT_KEEP_SECONDS + 10
    monkeypatch.setattr(time, "time", lambda: in_a_week)

    assert blobs.clean() == 1
    assert files(blobs) == []


@pytest.mark.parametrize("many", [3, 40])
def test_synced(blobs: FolderBlobs, many: int) -> None:
    """Syncing few and many returns, also when some were removed meanwhile; a second time there is nothing to do."""
    digests = [blobs.put(b"%d" % number) for number in range(many)]
    blobs.remove(digests[0])
    blobs.sync()
    blobs.sync()

    assert blobs.missing(digests) == digests[:1]


def marks(blobs: FolderBlobs) -> list[Path]:
    return sorted((blobs.folder / ".unsynced").glob("*"))


def test_a_mark_lies_there_while_something_is_not_synced(blobs: FolderBlobs) -> None:
    """Of this start of the machine and this process; gone with the sync, and laid again for what comes then."""
    for data in (b"one", b"two"):
        blobs.put(data)
        blobs.put(data + b"!")
        (mark,) = marks(blobs)
        assert f"~{os.getpid()}~" in mark.name
        blobs.sync()
        assert marks(blobs) == []
    blobs.put(b"one")  # perhaps another process has put it just now
    assert len(marks(blobs)) == 1


def _of_before(mark: Path, boot: str = "0000-00", host: str | None = None, age: float = 0.0) -> None:
    """Make a mark one of another start of the machine, or of another machine."""
    parts = mark.name.split("~")
    new = mark.with_name("~".join([host or parts[0], boot, *parts[2:]]))
    mark.rename(new)
    os.utime(new, (time.time() - age,) * 2)


@pytest.mark.parametrize("many", [3, 40])
@pytest.mark.parametrize("how", ["put", "missing", "complete", "put_file", "packed"])
def test_what_a_power_cut_took_is_missing_afterwards(blobs: FolderBlobs, many: int, how: str, tmp_path: Path) -> None:
    """Files with a name and without their bytes are not taken for the blobs: whoever has the bytes writes them again."""
    digests = [blobs.put(TEXT[number:] if number % 2 else NOISE[number:]) for number in range(many)]
    for digest in digests[:2]:
        path, _ = blobs.stored(digest)
        path.write_bytes(b"")
    _of_before(*marks(blobs))
    after = FolderBlobs(blobs.folder)
    if how == "missing":
        assert after.missing(digests) == digests[:2]
    elif how == "complete":
        after.arrive(digests[0], 0, NOISE)
        after.complete(digests[0])
        assert after.missing(digests) == [digests[1]]
    elif how == "put_file":
        (tmp_path / "file").write_bytes(NOISE)
        after.put_file(tmp_path / "file")
    elif how == "packed":
        other = FolderBlobs(tmp_path / "other")
        with open(other.stored(other.put(TEXT[1:]))[0], "rb") as file:
            after.put_packed(file, digests[1], len(TEXT))
        assert after.missing(digests) == [digests[0]]
    after.put(NOISE)
    after.put(TEXT[1:])

    assert after.missing(digests) == []
    assert [after.read(digest)[:1] for digest in digests] == [blobs.read(digest)[:1] for digest in digests]
    assert all(f"~{os.getpid()}~" in mark.name and "0000-00" not in mark.name for mark in marks(after))


def test_nothing_is_read_again_without_need(blobs: FolderBlobs) -> None:
    """What was synced long before the mark is not looked at, nor what another machine may just be writing."""
    old = blobs.put(NOISE)
    blobs.sync()
    path, _ = blobs.stored(old)
    path.write_bytes(b"")
    os.utime(path, (time.time() - 100,) * 2)
    blobs.put(TEXT)
    _of_before(*marks(blobs))
    assert FolderBlobs(blobs.folder).missing([old]) == []

    blobs = FolderBlobs(blobs.folder)
    new = blobs.put(NOISE[1:])
    blobs.stored(new)[0].write_bytes(b"")
    (mark,) = marks(blobs)
    _of_before(mark, host="other")
    assert FolderBlobs(blobs.folder).missing([new]) == []
    (mark,) = marks(blobs)
    _of_before(mark, host="other", age=4000)
    os.utime(blobs.stored(new)[0], (time.time() - 3900,) * 2)
    assert FolderBlobs(blobs.folder).missing([new]) == [new]


def test_marks_of_processes_that_died_do_not_pile_up(blobs: FolderBlobs) -> None:
    """The machine lives, so its memory has the bytes: once the disk has them as well, the mark goes."""
    code = "import sys; from pathlib import Path; from tracker.core.blobs import FolderBlobs\n"
    code += "FolderBlobs(Path(sys.argv[1])).put(b'x')"
    subprocess.run([sys.executable, "-c", code, str(blobs.folder)], check=True)
    assert len(marks(blobs)) == 1
    blobs.missing([])

    assert marks(blobs) == [] or sys.platform != "linux"


def test_more_than_can_be_remembered_is_synced(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.core.blobs.folder.MAX_FRESH_BLOBS", 5)
    asked: list[list[str] | None] = []
    monkeypatch.setattr("tracker.core.blobs.folder.sync_files", lambda _folder, files: asked.append(files))
    for number in range(5):
        blobs.put(b"%d" % number)
    blobs.sync()
    for number in range(10, 16):
        blobs.put(b"%d" % number)
    blobs.sync()
    blobs.sync()

    assert [None if files is None else len(files) for files in asked] == [5, None]
    assert marks(blobs) == []


def test_a_disk_that_does_not_confirm_is_asked_again(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark stays, and nothing is forgotten."""
    blobs.put(b"x")

    def fail(_folder: Path, files: list[str] | None) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("tracker.core.blobs.folder.sync_files", fail)
        with pytest.raises(StorageError, match="confirm"):
            blobs.sync()
    assert len(marks(blobs)) == 1
    blobs.sync()
    assert marks(blobs) == []


def test_a_forked_child_has_its_own(blobs: FolderBlobs) -> None:
    """It leaves its parent's mark and drafts alone."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    blobs.put(b"parent")
    (parent,) = marks(blobs)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        try:
            blobs.put(b"child")
            blobs.sync()
        finally:
            os._exit(0 if marks(blobs) == [parent] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert marks(blobs) == [parent]
    blobs.sync()
    assert marks(blobs) == []


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    with pytest.raises(StorageError, match="blobs"):
        FolderBlobs(tmp_path / "blobs").put(b"x")
