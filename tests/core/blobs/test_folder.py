"""A folder of blobs: what is put comes back, whole, or is said to be damaged."""

from __future__ import annotations

import io
import os
import random
import time
from pathlib import Path

import blake3
import pytest

from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.errors import DamagedBlob, OffsetError, StorageError
from tracker.core.limits import TOUCH_INTERVAL_SECONDS

NOISE = random.Random(3).randbytes(300_000)
TEXT = b"step,loss\n1,0.5\n" * 20_000


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(blobs: FolderBlobs) -> list[str]:
    return sorted(path.name for path in blobs.folder.rglob("*") if path.is_file())


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
    own, fd = blobs._draft()
    os.close(fd)
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.write_bytes(b"half")
    blobs.arrive(digest_of(NOISE), 0, b"young")

    assert blobs.clean() == 1
    assert own.exists()
    assert not dead.exists()
    assert blobs.held(digest_of(NOISE)) == 5


@pytest.mark.parametrize("many", [3, 40])
def test_synced(blobs: FolderBlobs, many: int) -> None:
    """Syncing few and many returns, also when some were removed meanwhile; a second time there is nothing to do."""
    digests = [blobs.put(b"%d" % number) for number in range(many)]
    blobs.remove(digests[0])
    blobs.sync()
    blobs.sync()

    assert blobs.missing(digests) == digests[:1]


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    with pytest.raises(StorageError, match="blobs"):
        FolderBlobs(tmp_path / "blobs").put(b"x")
