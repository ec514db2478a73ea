"""Cleaning up: what no version needs goes, what any version needs stays, beside writers and after deaths."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.completing import complete
from tracker.core.artifacts.gc import collect, collect_server, trim
from tracker.core.artifacts.header import Header
from tracker.core.artifacts.manifest import Entry, Manifest, Part
from tracker.core.artifacts.place import Place, local_place
from tracker.core.artifacts.registry import link
from tracker.core.artifacts.snapshot import Snapshot
from tracker.core.artifacts.version import Draft, Version
from tracker.core.blobs import FolderBlobs
from tracker.core.errors import UsageError

DAY = 86_400.0


@pytest.fixture
def root(home: Path) -> Iterator[Path]:
    yield home / "runs"


def log(place: Place, name: str, files: dict[str, bytes], token: str | None = None, **facts: object) -> Version:
    snapshot = Snapshot.create(place.store.folder, token or os.urandom(6).hex())
    for path, data in files.items():
        snapshot.add_bytes(path, data)
    draft = Draft(entity="local", project="p", name=name, type="t", digest="", manifest="", **facts)  # type: ignore[arg-type]
    snapshot.save(Header(draft=draft).dump())
    version = complete(snapshot, place).version
    snapshot.discard()
    assert version is not None
    return version


def later(days: float) -> float:
    return time.time() + days * DAY


def is_whole(place: Place, version: Version) -> bool:
    return not place.store.missing({version.manifest, *place.manifest(version).blobs()})


def test_bytes_without_a_version_go_and_shared_ones_stay(root: Path) -> None:
    place = local_place(root)
    shared, own = os.urandom(100_000), os.urandom(100_000)
    first = log(place, "data", {"shared": shared, "own": own})
    second = log(place, "data", {"shared": shared})
    place.catalogue.delete(first)

    dry = collect(root, is_dry=True, clock=lambda: later(2))
    assert (dry.blobs, dry.expired) == (2, [])  # a manifest, and the bytes of its own
    assert dry.blob_bytes > 100_000
    assert place.store.missing([first.manifest]) == []
    report = collect(root, clock=lambda: later(2))
    assert (report.blobs, report.blob_bytes) == (dry.blobs, dry.blob_bytes)
    assert place.store.missing([first.manifest]) == [first.manifest]
    assert is_whole(place, second)
    assert collect(root, clock=lambda: later(2)).blobs == 0


def test_what_is_young_stays(root: Path) -> None:
    place = local_place(root)
    place.store.put(b"of a version that is not there yet" * 100)

    assert collect(root).young_blobs == 1
    assert collect(root, clock=lambda: later(2)).blobs == 1


def test_versions_whose_time_is_over_go_unless_they_are_called_something(root: Path) -> None:
    place = local_place(root)
    made = [
        log(place, "data", {"x": str(number).encode()}, ttl_days=1.0, aliases=aliases)
        for number, aliases in enumerate([(), ("best",), (), ()])
    ]
    stays = log(place, "data", {"x": b"for ever"})
    link(place.catalogue, made[2], "model", "kept")

    dry = collect(root, is_dry=True, clock=lambda: later(3))
    assert dry.expired == ["local/p/data:v0", "local/p/data:v3"]
    assert len(place.catalogue.versions("local", "p", "data")) == 5
    report = collect(root, clock=lambda: later(3))
    assert report.expired == dry.expired
    assert [version.version for version in place.catalogue.versions("local", "p", "data")] == [1, 2, 4]
    assert all(is_whole(place, version) for version in (made[1], made[2], stays))
    assert place.store.missing([made[0].manifest]) == [made[0].manifest]


def test_a_registrys_link_keeps_the_bytes_of_a_deleted_version(root: Path) -> None:
    place = local_place(root)
    version = log(place, "net", {"w": os.urandom(100_000)})
    linked = link(place.catalogue, version, "model", "net")
    place.catalogue.delete(version, delete_aliases=True)
    collect(root, clock=lambda: later(2))

    assert is_whole(place, linked)


def test_a_damaged_version_stops_the_sweep_and_is_named(root: Path) -> None:
    place = local_place(root)
    log(place, "data", {"x": b"1"})
    place.store.put(b"unused" * 100)
    path = root / ".artifacts" / "local" / "p" / "data" / "v0"
    path.write_bytes(path.read_bytes()[:50])

    report = collect(root, clock=lambda: later(2))
    assert report.blobs == 0
    assert "v0 cannot be read" in report.troubles[0]
    path.unlink()
    assert collect(root, clock=lambda: later(2)).blobs == 3


def test_a_lost_manifest_is_named_and_stops_nothing(root: Path) -> None:
    place = local_place(root)
    broken, whole = log(place, "a", {"x": b"1"}), log(place, "b", {"x": b"2"})
    place.store.remove(broken.manifest)

    report = collect(root, clock=lambda: later(2))
    assert "the list of files of local/p/a:v0 is lost" in report.troubles[0]
    assert report.blobs == 1  # the bytes that nobody can find any more
    assert is_whole(place, whole)


def test_a_cache_is_kept_up_to_its_size_the_last_used_first(root: Path) -> None:
    store = FolderBlobs(root / ".blobs")
    now = time.time()
    digests = [store.put(bytes([number]) * 1000, compress=False) for number in range(5)]
    for age, digest in enumerate(digests):
        os.utime(store.stored(digest)[0], (now - 2 * DAY - age, now - 2 * DAY - age))
    report = collect(root, cache_bytes=2500, clock=lambda: now)

    assert (report.blobs, report.blob_bytes, report.kept_blobs) == (3, 3000, 2)
    assert store.missing(digests) == digests[2:]


def test_a_folder_that_is_a_cache_is_trimmed_the_first_fetched_first(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    digests = [store.put(bytes([number]) * 1000, compress=False) for number in range(5)]
    for age, digest in enumerate(digests):
        os.utime(store.stored(digest)[0], (1000 - age, 1000 - age))

    assert trim(store, 10_000) == 0
    assert trim(store, 2500) == 3000
    assert store.missing(digests) == digests[2:]


def test_a_servers_folder_is_cleaned_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no data folder"):
        collect_server(tmp_path)
    catalogue, blobs = FolderCatalogue(tmp_path / "artifacts"), FolderBlobs(tmp_path / "blobs")
    needed, unused = blobs.put(b"needed" * 100), blobs.put(b"unused" * 100)
    manifest = blobs.put(Manifest([Entry("x", 600, needed, (Part(needed, 0, 600),))]).dump())
    catalogue.claim(Draft(entity="local", project="p", name="a", type="t", digest=needed, manifest=manifest), token="t")
    for digest in (needed, unused, manifest):
        os.utime(blobs.stored(digest)[0], (1000, 1000))

    assert collect_server(tmp_path).blobs == 1
    assert blobs.missing([needed, unused, manifest]) == [unused]


def test_what_dead_processes_have_left_is_tidied(root: Path) -> None:
    place = local_place(root)
    log(place, "data", {"x": b"1"})
    folder = root / ".artifacts" / "local" / "p" / "data"
    (folder / ".draft-1-abc").write_text("half")
    waiting = Snapshot.create(place.store.folder, "waiting")
    waiting.add_bytes("x", b"1")
    waiting.save({"some": "header"}, is_left=True)
    foreign = place.store.folder / ".snapshots" / "t~elsewhere~1~1"
    foreign.mkdir()

    assert collect(root).leftovers == 0
    assert collect(root, is_dry=True, clock=lambda: later(40)).leftovers == 2
    report = collect(root, clock=lambda: later(40))
    assert (report.leftovers, report.waiting) == (2, 1)
    assert sorted(os.listdir(folder)) == ["v0"] or sorted(os.listdir(folder)) == ["ledger", "v0"]
    assert len(os.listdir(place.store.folder / ".snapshots")) == 1


def test_what_was_put_aside_by_a_gc_that_died_comes_back(root: Path) -> None:
    place = local_place(root)
    version = log(place, "data", {"x": os.urandom(100_000)})
    path, _ = place.store.stored(version.manifest)
    path.rename(path.with_name(f".{path.name}.unused"))
    collect(root)

    assert is_whole(place, version)


@pytest.mark.fault
def test_beside_writers_no_byte_of_a_version_is_removed(root: Path, request: pytest.FixtureRequest) -> None:
    """Old bytes without a version are used again in the very moment in which they are swept."""
    rounds = 300 if request.config.getoption("--long") else 30
    place = local_place(root)
    files = [os.urandom(70_000) for _ in range(4)]
    stop = threading.Event()
    faults: list[BaseException] = []
    removed = 0

    def sweep() -> None:
        nonlocal removed
        while not stop.is_set():
            try:
                removed += collect(root, grace_seconds=DAY).blobs
            except BaseException as error:
                faults.append(error)
                return

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    broken = []
    try:
        for turn in range(rounds):
            old = time.time() - 3 * DAY
            for stored in place.store.walk():
                try:
                    os.utime(stored.path, (old, old))
                except FileNotFoundError:  # swept
                    continue
            version = log(place, "data", {str(number): data for number, data in enumerate(files)}, f"t{turn}")
            if not is_whole(place, version):
                broken.append(turn)
            place.catalogue.delete(version)
    finally:
        stop.set()
        for sweeper in sweepers:
            sweeper.join()

    assert broken == []
    assert faults == []
    assert removed > 0


def test_artifacts_are_whole_after_a_clean_up(root: Path) -> None:
    with tracker.init(project="p", settings={"silent": True}) as run:
        artifact = tracker.Artifact("data", type="t")
        for number in range(50):
            with artifact.new_file(str(number)) as file:
                file.write(str(number))
        run.log_artifact(artifact)
    collect(root, clock=lambda: later(100))

    assert {file.path: file.open().read() for file in artifact.files()} == {
        str(number): str(number).encode() for number in range(50)
    }
