"""Restoring: what was logged comes back, damage is named, and nothing is touched outside of the folder."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tracker.core.artifacts import target as target_room
from tracker.core.artifacts.manifest import Entry, Manifest, Part, RemoteObject
from tracker.core.artifacts.restoring import LocalBlobs, checkout, open_file, restore, verify
from tracker.core.artifacts.snapshot import Snapshot
from tracker.core.artifacts.storing import store
from tracker.core.artifacts.target import check_windows
from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.errors import FormatError, StorageError, UsageError

NOISE = random.Random(11).randbytes(3_000_000)
CONTENTS = {
    "weights.bin": NOISE,
    "run.sh": b"#!/bin/sh\n",
    "deep/er/a": b"a" * 100,
    "deep/er/empty": b"",
    "deep/b": NOISE[:70_000],
    "zeros": bytes(1_000_000),
}


@pytest.fixture(params=[True, False], ids=["by number", "by name"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of going down the folders: the second is that of Windows."""
    monkeypatch.setattr(target_room, "_HAS_DIR_FD", request.param)


pytestmark = pytest.mark.usefixtures("_ways")


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
def manifest(blobs: FolderBlobs, tmp_path: Path) -> Manifest:
    source = tmp_path / "source"
    for name, data in CONTENTS.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    (source / "run.sh").chmod(0o755)
    (source / "deep/last").symlink_to("../weights.bin")
    (source / "dir").symlink_to("deep/er")
    snapshot = Snapshot.create(blobs.folder, "one")
    snapshot.add_dir("", source)
    snapshot.add_reference(Entry("far", 5, reference=RemoteObject("s3://bucket/key")))
    made = store(snapshot, blobs)
    return Manifest.load(made.dump())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


def below(folder: Path) -> dict[str, bytes | str]:
    """All files and links under a folder."""
    found: dict[str, bytes | str] = {}
    for root, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if (Path(root) / name).is_symlink())]:
            path = Path(root) / name
            found[path.relative_to(folder).as_posix()] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


EXPECTED: dict[str, bytes | str] = {**CONTENTS, "deep/last": "../weights.bin", "dir": "deep/er"}


def test_a_folder_comes_back(manifest: Manifest, blobs: FolderBlobs, place: Path) -> None:
    """Large, small, empty and executable files and links, byte by byte; all of it is told of."""
    told: list[tuple[int, int]] = []
    restore(manifest, LocalBlobs(blobs), place, progress=lambda done, total: told.append((done, total)))

    assert below(place) == EXPECTED
    assert [path for path in CONTENTS if (place / path).stat().st_mode & stat.S_IXUSR] == ["run.sh"]
    assert told[-1] == (manifest.size - 5, manifest.size - 5)
    (place / "far").write_bytes(b"brought by other means")
    verify(manifest, place)


def test_some_paths_come_back(manifest: Manifest, blobs: FolderBlobs, place: Path) -> None:
    restore(manifest, LocalBlobs(blobs), place, ["deep/er", "run.sh"])
    assert below(place).keys() == {"deep/er/a", "deep/er/empty", "run.sh"}
    with pytest.raises(UsageError, match="'absent'"):
        restore(manifest, LocalBlobs(blobs), place, ["absent"])


def test_what_is_there_and_the_same_is_not_written(manifest: Manifest, blobs: FolderBlobs, place: Path) -> None:
    """Same bytes keep their inode, a lost mode is mended, others are replaced."""
    restore(manifest, LocalBlobs(blobs), place)
    before = {path: (place / path).lstat().st_ino for path in EXPECTED}
    (place / "deep/er/a").write_bytes(b"b" * 100)
    (place / "run.sh").chmod(0o644)
    (place / "deep/b").chmod(0o755)
    kept = open(place / "deep/er/a", "rb")  # noqa: SIM115 - so that the number of its inode is not given again
    restore(manifest, LocalBlobs(blobs), place)
    kept.close()

    assert below(place) == EXPECTED
    after = {path: (place / path).lstat().st_ino for path in EXPECTED}
    assert [path for path in EXPECTED if before[path] != after[path]] == ["deep/er/a"]
    assert (place / "run.sh").stat().st_mode & stat.S_IXUSR
    assert not (place / "deep/b").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda place: (place / "deep/b").unlink(), "deep/b is missing"),
        (lambda place: (place / "deep/b").write_bytes(NOISE[1:70_001]), "deep/b has other bytes"),
        (lambda place: (place / "deep/b").write_bytes(b"x"), "deep/b has 1 bytes instead of 70000"),
        (lambda place: (place / "new").write_bytes(b""), "new is not in the version"),
        (lambda place: (place / "deep/last").unlink(), "deep/last is missing"),
        (lambda place: (place / "dir").unlink() or (place / "dir").symlink_to("deep"), "dir is no link to deep/er"),
        (lambda place: (place / "run.sh").unlink() or (place / "run.sh").symlink_to("deep/b"), r"run.sh is no file"),
    ],
)
def test_differences_are_named(manifest: Manifest, blobs: FolderBlobs, place: Path, harm: Any, told: str) -> None:
    """A folder is what the version says, or it is said what is not."""
    restore(manifest, LocalBlobs(blobs), place)
    (place / "far").write_bytes(b"")
    verify(manifest, place)
    harm(place)

    with pytest.raises(StorageError, match=told) as caught:
        verify(manifest, place)
    assert str(caught.value).count(";") == 0
    with pytest.raises(StorageError, match="no folder"):
        verify(manifest, place / "absent")


def test_checkout_leaves_nothing_else(manifest: Manifest, blobs: FolderBlobs, place: Path, tmp_path: Path) -> None:
    """Other files, links, folders in the place of files and the reverse go; a link's target outside stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    (place / "weights.bin/sub").mkdir(parents=True)
    (place / "weights.bin/sub/file").write_bytes(b"x")
    (place / "deep").write_bytes(b"a file")
    (place / "more/empty").mkdir(parents=True)
    (place / "link").symlink_to(outside)
    (place / "run.sh").symlink_to(outside / "precious")
    checkout(manifest, LocalBlobs(blobs), place)

    assert below(place) == EXPECTED
    assert sorted(path.name for path in place.iterdir()) == ["deep", "dir", "run.sh", "weights.bin", "zeros"]
    assert below(outside) == {"precious": b"x"}


def test_checkout_removes_nothing_before_all_is_at_hand(manifest: Manifest, blobs: FolderBlobs, place: Path) -> None:
    place.mkdir()
    (place / "mine").write_bytes(b"x")
    blobs.remove(manifest.entries["weights.bin"].parts[3].blob)
    with pytest.raises(StorageError, match="missing"):
        checkout(manifest, LocalBlobs(blobs), place)

    assert below(place) == {"mine": b"x"}


# --- reading ------------------------------------------------------------------------------


def test_one_file_is_read_without_being_written(manifest: Manifest, blobs: FolderBlobs) -> None:
    """Whole, in pieces, from anywhere."""
    noise = random.Random(2)
    with open_file(manifest, LocalBlobs(blobs), "weights.bin") as file:
        for _ in range(20):
            at, count = noise.randrange(len(NOISE) + 10), noise.randrange(500_000)
            assert file.seek(at) == at
            assert file.read(count) == NOISE[at : at + count]
        assert file.seek(-5, os.SEEK_END) == len(NOISE) - 5
        assert file.read() == NOISE[-5:]
    with open_file(manifest, LocalBlobs(blobs), "deep/er/empty") as file:
        assert file.read() == b""
    for path in ("absent", "deep/last", "far", "deep"):
        with pytest.raises(UsageError, match=path):
            open_file(manifest, LocalBlobs(blobs), path)


class Fetched(LocalBlobs):
    """Blobs of which some come from elsewhere."""

    def __init__(self, near: FolderBlobs, far: FolderBlobs) -> None:
        super().__init__(near)
        self.near, self.far = near, far
        self.asked: list[str] = []

    def fetch(self, digests: Iterable[str]) -> None:
        for digest in self.near.missing(digests):
            self.asked.append(digest)
            self.near.put(self.far.read(digest), digest)


def _damage(blobs: FolderBlobs, digest: str) -> None:
    path, _ = blobs.stored(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damaged_and_missing_blobs_are_fetched_again(
    manifest: Manifest, blobs: FolderBlobs, place: Path, tmp_path: Path
) -> None:
    """A flipped bit is noticed on reading, and the chunk is had from where it is whole: that one only."""
    far = FolderBlobs(tmp_path / "far")
    for blob in manifest.blobs():
        far.put(blobs.read(blob))
    bundle = manifest.entries["deep/er/a"].parts[0].blob
    chunks = [part.blob for part in manifest.entries["weights.bin"].parts]
    _damage(blobs, bundle)
    _damage(blobs, chunks[2])
    blobs.remove(chunks[-1])
    fetched = Fetched(blobs, far)
    restore(manifest, fetched, place)

    assert below(place) == EXPECTED
    assert sorted(fetched.asked) == sorted([bundle, chunks[2], chunks[-1]])
    with open_file(manifest, LocalBlobs(blobs), "weights.bin") as file:
        assert file.read() == NOISE


@pytest.mark.parametrize("path", ["weights.bin", "run.sh"])
@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_what_cannot_be_had_is_named(manifest: Manifest, blobs: FolderBlobs, place: Path, path: str, harm: str) -> None:
    """By file and blob; no half of that file is left, and what was there stays."""
    place.mkdir()
    (place / path).write_bytes(b"before")
    blob = manifest.entries[path].parts[-1].blob
    _damage(blobs, blob) if harm == "damaged" else blobs.remove(blob)

    with pytest.raises(StorageError, match=rf"{harm}.*{blob}|{blob}.*{harm}") as caught:
        restore(manifest, LocalBlobs(blobs), place, [path])
    assert path in str(caught.value)
    assert below(place) == {path: b"before"}
    with pytest.raises(StorageError, match=blob), open_file(manifest, LocalBlobs(blobs), path) as file:
        file.read()


# --- hostile manifests and folders ---------------------------------------------------------


def one(path: str, blobs: FolderBlobs, data: bytes = b"hostile") -> Entry:
    digest = blobs.put(data)
    return Entry(path, len(data), digest, (Part(digest, 0, len(data)),))


@pytest.mark.parametrize("kind", ["folder", "deeper", "file", "dangling"])
def test_links_in_the_folder_are_not_followed(blobs: FolderBlobs, place: Path, tmp_path: Path, kind: str) -> None:
    """A link on the way is an error that names it; a link in a file's place is replaced."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    (place / "a").mkdir(parents=True)
    path = {"folder": "l/file", "deeper": "a/l/x/file", "file": "a/l", "dangling": "a/l"}[kind]
    leads = {"folder": outside, "deeper": outside, "file": outside / "file", "dangling": outside / "none"}[kind]
    (place / path.partition("l")[0] / "l").symlink_to(leads)
    manifest = Manifest([one(path, blobs)])
    if kind in ("folder", "deeper"):
        with pytest.raises(StorageError, match="link"):
            restore(manifest, LocalBlobs(blobs), place)
    else:
        restore(manifest, LocalBlobs(blobs), place)
        assert (place / path).read_bytes() == b"hostile"
        assert not (place / path).is_symlink()

    assert below(outside) == {"file": b"mine"}


def test_a_link_of_the_version_is_not_written_through(blobs: FolderBlobs, place: Path, tmp_path: Path) -> None:
    """A version whose link leads to a folder of the user's cannot reach into it with the next."""
    place.mkdir()
    restore(Manifest([Entry("a", link="b")]), LocalBlobs(blobs), place)
    (place / "b").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="link"):
        restore(Manifest([one("a/evil", blobs)]), LocalBlobs(blobs), place)

    assert not (tmp_path / "evil").exists()


def test_folders_and_files_in_each_other_s_place_are_told(blobs: FolderBlobs, place: Path) -> None:
    (place / "folder").mkdir(parents=True)
    (place / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="folder"):
        restore(Manifest([one("folder", blobs)]), LocalBlobs(blobs), place)
    with pytest.raises(StorageError, match="file"):
        restore(Manifest([one("file/x", blobs)]), LocalBlobs(blobs), place)

    assert below(place) == {"file": b"mine"}


@pytest.mark.parametrize("change", ["digest", "offset", "length", "order"])
def test_a_manifest_that_lies_about_its_blobs_is_refused(
    manifest: Manifest, blobs: FolderBlobs, place: Path, change: str
) -> None:
    """Right blobs in the wrong places make a wrong file: it is told, and not left."""
    entry = manifest.entries["weights.bin"]
    digest, parts = entry.digest, list(entry.parts)
    if change == "digest":
        digest = digest_of(b"other")
    elif change == "order":
        parts.reverse()
    elif change == "offset":
        parts[0] = Part(parts[0].blob, 1, parts[0].length)
    else:
        parts[0] = Part(parts[0].blob, 0, parts[0].length + 1)
    lying = Manifest([Entry("weights.bin", sum(part.length for part in parts), digest, tuple(parts))])
    with pytest.raises(FormatError, match=r"weights\.bin"):
        restore(lying, LocalBlobs(blobs), place)
    small = one("s", blobs)
    with pytest.raises(FormatError, match="manifest says"):
        restore(Manifest([Entry("s", 3, digest, (Part(small.parts[0].blob, 0, 3),))]), LocalBlobs(blobs), place)

    assert below(place) == {}


def test_a_blob_too_long_for_memory_is_not_read(
    blobs: FolderBlobs, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.core.artifacts.restoring.MAX_BLOB_BYTES", 1000)
    blob = blobs.put(bytes(1001))
    entry = Entry("a", 10, digest_of(bytes(10)), (Part(blob, 0, 10),))
    with pytest.raises(StorageError, match="longer"):
        restore(Manifest([entry]), LocalBlobs(blobs), place)


def test_names_that_differ_by_case(blobs: FolderBlobs, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system does not tell them apart none is written over the other; elsewhere both are there."""
    for paths in (["Readme", "README"], ["A/x", "a/y"], ["caf\u00e9", "cafe\u0301"]):
        manifest = Manifest([one(path, blobs, path.encode()) for path in paths])
        with monkeypatch.context() as patch:
            patch.setattr(target_room.Target, "_is_case_blind", lambda _self: True)
            with pytest.raises(UsageError, match="one and the same"):
                restore(manifest, LocalBlobs(blobs), place)
        place.mkdir(exist_ok=True)
        (place / "probe").write_bytes(b"")
        if not (place / "PROBE").exists():
            restore(manifest, LocalBlobs(blobs), place / "both")
            assert below(place / "both") == {path: path.encode() for path in paths}
            checkout(Manifest([]), LocalBlobs(blobs), place / "both")


@pytest.mark.parametrize(
    "path",
    [
        "con",
        "a/NUL.txt",
        "aux.py",
        "COM1",
        "lpt9.log",
        "a:b",
        "x/y:stream",
        "end.",
        "end ",
        "a/end./b",
        "q?",
        "a*",
        "<",
    ],
)
def test_names_that_windows_reserves(path: str) -> None:
    """They would open a device, a second stream, or another file."""
    with pytest.raises(UsageError, match="Windows"):
        check_windows(path)


@pytest.mark.parametrize("path", ["console", "a/com10", "null", ".hidden", "a.b", "com"])
def test_names_that_windows_takes(path: str) -> None:
    assert check_windows(path) == path


def test_holes_stay_holes(blobs: FolderBlobs, tmp_path: Path, place: Path) -> None:
    """A file of zeros costs one chunk, and on being restored no disk."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(40_000_000)
        file.write(b"end")
    snapshot = Snapshot.create(blobs.folder, "sparse")
    snapshot.add_file("sparse", path)
    manifest = store(snapshot, blobs)
    restore(manifest, LocalBlobs(blobs), place)

    assert len(manifest.blobs()) < 5
    assert (place / "sparse").read_bytes() == path.read_bytes()
    assert (place / "sparse").stat().st_blocks * 512 < 10_000_000
