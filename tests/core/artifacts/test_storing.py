"""Storing: each byte once, cut where the content says, several small files to a blob."""

from __future__ import annotations

import errno
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.core.artifacts.cutting import average_bytes
from tracker.core.artifacts.manifest import Diff, Manifest
from tracker.core.artifacts.restoring import LocalBlobs, open_file
from tracker.core.artifacts.snapshot import Snapshot
from tracker.core.artifacts.storing import StoppedError, store
from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.errors import StorageError
from tracker.core.limits import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, SMALL_FILE_BYTES

NOISE = random.Random(7).randbytes(8 << 20)


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def version(blobs: FolderBlobs, contents: dict[str, bytes], base: Manifest | None = None) -> Manifest:
    snapshot = Snapshot.create(blobs.folder, "token")
    for name, data in contents.items():
        snapshot.add_bytes(name, data) if len(data) < SMALL_FILE_BYTES else _add(snapshot, blobs, name, data)
    try:
        return store(snapshot, blobs, base)
    finally:
        snapshot.discard()


def _add(snapshot: Snapshot, blobs: FolderBlobs, name: str, data: bytes) -> None:
    path = blobs.folder.parent / "source" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    snapshot.add_file(name, path)


def content(blobs: FolderBlobs, manifest: Manifest, name: str) -> bytes:
    with open_file(manifest, LocalBlobs(blobs), name) as file:
        return file.read()


def stored_bytes(blobs: FolderBlobs) -> int:
    return sum(one.size for one in blobs.walk())


@pytest.mark.parametrize(
    "size", [0, 1, SMALL_FILE_BYTES - 1, SMALL_FILE_BYTES, MIN_CHUNK_BYTES * 4, MIN_CHUNK_BYTES * 4 + 1, len(NOISE)]
)
def test_files_of_all_sizes_come_back(blobs: FolderBlobs, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where pieces are cut at the edge of a buffer."""
    monkeypatch.setattr("tracker.core.artifacts.cutting.READ_BUFFER_BYTES", MIN_CHUNK_BYTES * 5 + 1)
    manifest = version(blobs, {"file": NOISE[:size]})
    entry = manifest.entries["file"]

    assert entry.digest == digest_of(NOISE[:size])
    assert sum(part.length for part in entry.parts) == entry.size == size
    assert content(blobs, manifest, "file") == NOISE[:size]


def test_the_cuts_do_not_depend_on_the_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes are cut the same, however much of them is read at once."""
    found = []
    for size in (MIN_CHUNK_BYTES * 4, MIN_CHUNK_BYTES * 7 + 13, len(NOISE), 2 * len(NOISE)):
        monkeypatch.setattr("tracker.core.artifacts.cutting.READ_BUFFER_BYTES", size)
        found.append(version(FolderBlobs(tmp_path / str(size)), {"file": NOISE}).entries["file"].parts)

    assert len(found[0]) > 50
    assert found.count(found[0]) == len(found)


def test_equal_bytes_are_kept_once(blobs: FolderBlobs) -> None:
    """Under other names, twice in a version, and in a later one."""
    version(blobs, {"a": NOISE, "b": NOISE, "small": b"s" * 500, "same": b"s" * 500})
    before = stored_bytes(blobs)
    assert before < len(NOISE) + 1000
    version(blobs, {"c": NOISE})

    assert stored_bytes(blobs) == before


def test_a_checkpoint_that_changed_a_little_costs_a_little(blobs: FolderBlobs) -> None:
    """With 5 % of the bytes changed, in twenty places, at most 8 % are added; with some inserted in front, far less."""
    noise = random.Random(3)
    data = noise.randbytes(160 << 20)
    version(blobs, {"model": data})
    before = stored_bytes(blobs)
    changed = bytearray(data)
    length = len(data) // 20 // 20
    for number in range(20):
        at = number * len(data) // 20 + 12345
        changed[at : at + length] = noise.randbytes(length)
    manifest = version(blobs, {"model": bytes(changed)})
    added = stored_bytes(blobs) - before
    assert 0.05 < added / len(data) < 0.08
    assert manifest.entries["model"].digest == digest_of(changed)

    version(blobs, {"model": b"header" + data})
    assert stored_bytes(blobs) - before - added < len(data) * 0.01


def test_the_pieces_are_of_a_size_with_the_file() -> None:
    """Some thousand to a file, within limits; files of about a size are cut alike."""
    assert average_bytes(1 << 20) == MIN_CHUNK_BYTES
    assert average_bytes(5 << 30) == average_bytes(50 << 30) == MAX_CHUNK_BYTES
    assert average_bytes(200 << 20) == average_bytes(220 << 20)


def test_small_files_share_blobs(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand files are a few blobs; each comes back, and a changed one costs its own bytes only."""
    monkeypatch.setattr("tracker.core.artifacts.storing.BUNDLE_BYTES", 200_000)
    noise = random.Random(5)
    contents = {f"d{number % 7}/{number}": noise.randbytes(noise.randrange(2000)) for number in range(1000)}
    first = version(blobs, contents)
    assert 3 <= len(list(blobs.walk())) <= 8
    before = stored_bytes(blobs)

    contents["d3/10"] = b"changed" * 10
    del contents["d4/11"]
    contents["renamed"] = contents.pop("d5/12")
    second = version(blobs, contents, base=first)
    assert stored_bytes(blobs) - before <= 70
    assert first.diff(second) == Diff(["renamed"], ["d3/10"], ["d4/11", "d5/12"])
    for name, data in contents.items():
        assert content(blobs, second, name) == data


def test_a_bundle_of_which_little_is_used_is_left(blobs: FolderBlobs) -> None:
    """What is in use of it is kept anew, so that it can go."""
    contents = {str(number): random.Random(number).randbytes(1000) for number in range(100)}
    first = version(blobs, contents)
    few = {name: contents[name] for name in ("1", "2", "3")}
    second = version(blobs, few, base=first)
    assert second.blobs() == first.blobs()
    third = version(blobs, few, base=second)

    assert third.blobs().isdisjoint(first.blobs())
    assert {name: content(blobs, third, name) for name in few} == few


def test_a_base_whose_blobs_are_gone_is_of_no_use(blobs: FolderBlobs) -> None:
    first = version(blobs, {"a": b"a" * 100})
    for blob in first.blobs():
        blobs.remove(blob)
    second = version(blobs, {"a": b"a" * 100}, base=first)

    assert content(blobs, second, "a") == b"a" * 100


def test_stopping_keeps_what_was_kept(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends soon, and the next attempt writes only what is missing."""
    monkeypatch.setattr("tracker.core.artifacts.cutting.READ_BUFFER_BYTES", 1 << 20)
    stop = threading.Event()
    snapshot = Snapshot.create(blobs.folder, "token")
    _add(snapshot, blobs, "file", NOISE)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if done > total // 2:
            stop.set()

    with pytest.raises(StoppedError):
        store(snapshot, blobs, progress=progress, stop=stop)
    assert told[-1][0] < told[-1][1] == len(NOISE)
    assert 0 < stored_bytes(blobs) < len(NOISE)
    assert not list((blobs.folder / ".drafts").iterdir())

    told.clear()
    manifest = store(snapshot, blobs, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(NOISE), len(NOISE))
    assert content(blobs, manifest, "file") == NOISE


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_full_disk_is_one_clear_error(blobs: FolderBlobs, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread meets it; no draft is left, and nothing else is there to be seen."""
    snapshot = Snapshot.create(blobs.folder, "token")
    if name == "large":
        _add(snapshot, blobs, name, NOISE)
    else:
        snapshot.add_bytes(name, b"x" * 1000)
    real = FolderBlobs._name
    count = []

    def full(self: FolderBlobs, *arguments: object) -> None:
        count.append(1)
        if len(count) > (3 if name == "large" else 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(FolderBlobs, "_name", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            store(snapshot, blobs)
    assert caught.value.errno == errno.ENOSPC
    assert not list((blobs.folder / ".drafts").iterdir())
    assert content(blobs, store(snapshot, blobs), name)


def test_a_snapshot_that_was_taken_away_is_an_error(blobs: FolderBlobs) -> None:
    snapshot = Snapshot.create(blobs.folder, "token")
    _add(snapshot, blobs, "file", NOISE)
    snapshot.discard()
    with pytest.raises(StorageError, match="snapshot"):
        store(snapshot, blobs)


NAMES = st.text("ab", min_size=1, max_size=3)
SIZES = st.sampled_from([0, 1, 99, 1000, 1001, 4096, 20_000]) | st.integers(0, 60_000)


@settings(max_examples=25)
@given(st.dictionaries(NAMES, st.tuples(SIZES, st.integers(0, 3)), max_size=12), st.data())
def test_any_versions_come_back(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, tuple[int, int]], data: st.DataObject
) -> None:
    """Two versions, the second on top of the first, hold exactly what was put in; their difference is theirs."""
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracker.core.artifacts.cutting.MIN_CHUNK_BYTES", 1024)
        patch.setattr("tracker.core.artifacts.cutting.MAX_CHUNK_BYTES", 4096)
        patch.setattr("tracker.core.artifacts.cutting.READ_BUFFER_BYTES", 20_001)
        patch.setattr("tracker.core.artifacts.storing.SMALL_FILE_BYTES", 1000)
        patch.setattr("tracker.core.artifacts.snapshot.SMALL_FILE_BYTES", 1000)
        patch.setattr("tracker.core.artifacts.storing.BUNDLE_BYTES", 3000)
        patch.setattr(__name__ + ".SMALL_FILE_BYTES", 1000)
        blobs = FolderBlobs(folder / "blobs")
        old = {name: random.Random(seed).randbytes(size) for name, (size, seed) in made.items()}
        new = dict(old)
        for name in list(old):
            change = data.draw(st.sampled_from(["keep", "drop", "change", "rename"]))
            if change == "drop":
                del new[name]
            elif change == "change":
                new[name] = old[name][: len(old[name]) // 2] + b"!" + old[name][len(old[name]) // 2 :]
            elif change == "rename":
                new[f"{name}-"] = new.pop(name)
        first = version(blobs, old)
        second = version(blobs, new, base=first)
        for contents, manifest in ((old, first), (new, second)):
            assert {name: content(blobs, manifest, name) for name in manifest.entries} == contents

    added, changed, removed = first.diff(second)
    assert set(added) == new.keys() - old.keys()
    assert set(removed) == old.keys() - new.keys()
    assert set(changed) == {name for name in old.keys() & new.keys() if old[name] != new[name]}
    assert (first.digest == second.digest) == (old == new)
