"""The catalogue of versions: numbers, aliases, lineage, and what survives."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.version import REGISTRY, Actor, Draft, Version, parse_name
from tracker.core.errors import StorageError, UsageError

RUN = "local/digits/r1"


def draft(content: int | str = 0, name: str = "data", **other: object) -> Draft:
    digest = (content if isinstance(content, str) else f"{content:x}").rjust(64, "0")
    facts = {"entity": "local", "project": "digits", "type": "dataset", "manifest": digest, "run": RUN, **other}
    return Draft(name=name, digest=digest, **facts)  # type: ignore[arg-type]


@pytest.fixture
def catalogue(tmp_path: Path) -> FolderCatalogue:
    return FolderCatalogue(tmp_path / ".artifacts")


def which(catalogue: FolderCatalogue, text: str) -> Version | None:
    name = parse_name(text, "local", "digits")
    return catalogue.version(str(name.entity), str(name.project), name.name, name.which)


def test_versions_count_from_zero_and_latest_is_the_last_one(catalogue: FolderCatalogue) -> None:
    first = catalogue.claim(draft(1), "t1")
    second = catalogue.claim(draft(2, aliases=("best",), tags=("small",)), "t2")

    assert [first.version, second.version] == [0, 1]
    assert [version.aliases for version in catalogue.versions("local", "digits", "data")] == [(), ("best", "latest")]
    assert which(catalogue, "data:latest") == which(catalogue, "data:best") == which(catalogue, "data:v1") == second
    assert which(catalogue, "data:v0") is not None
    assert which(catalogue, "data@" + second.digest) == second
    assert which(catalogue, "data:v2") is which(catalogue, "data:nothing") is which(catalogue, "other") is None
    assert second.tags == ("small",)


def test_what_another_process_reads_is_the_same(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1, metadata={"rows": 10, "loss": float("inf"), "big": 2**70}), "t1")
    catalogue.alias(catalogue.claim(draft(2), "t2"), "best")

    again = FolderCatalogue(catalogue.folder)
    assert again.versions("local", "digits", "data") == catalogue.versions("local", "digits", "data")
    assert again.versions("local", "digits", "data")[0].metadata == {"rows": 10, "loss": float("inf"), "big": 2**70}


def test_the_same_bytes_make_no_new_version_but_move_aliases(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1), "t1")
    catalogue.claim(draft(2, aliases=("best",)), "t2")
    again = catalogue.claim(draft(1, aliases=("best",), tags=("x",), run="local/digits/r2"), "t3")

    assert (again.version, again.aliases, again.tags) == (0, ("best", "latest"), ("x",))
    assert len(catalogue.versions("local", "digits", "data")) == 2
    assert catalogue.made_by(again) == [RUN, "local/digits/r2"]
    assert [edge.artifact for edge in catalogue.edges("local/digits/r2")] == ["local/digits/data:v0"]


def test_a_new_version_is_the_latest_also_after_latest_was_moved_back(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1), "t1")
    catalogue.claim(draft(2), "t2")
    catalogue.claim(draft(1), "t3")
    catalogue.claim(draft(3), "t4")

    latest = which(FolderCatalogue(catalogue.folder), "data")
    assert latest is not None
    assert latest.version == 2


def test_the_same_claim_told_twice_is_one_version(catalogue: FolderCatalogue) -> None:
    first = catalogue.claim(draft(1), "t1")
    catalogue.claim(draft(2), "t2")

    assert catalogue.claim(draft(1), "t1").version == first.version
    assert len(catalogue.versions("local", "digits", "data")) == 2


def test_an_alias_has_one_holder_and_its_way_is_told(catalogue: FolderCatalogue) -> None:
    first, second = catalogue.claim(draft(1), "t1"), catalogue.claim(draft(2), "t2")
    catalogue.alias(first, "production", Actor("ada", "lab", None))
    catalogue.alias(second, "production", Actor("bob", "lab", RUN))

    moves = [event for event in catalogue.history("local", "digits", "data") if event.action == "alias"]
    assert [(e.version, e.previous, e.user, e.run) for e in moves] == [(0, None, "ada", None), (1, 0, "bob", RUN)]
    assert "production" not in catalogue.versions("local", "digits", "data")[0].aliases
    catalogue.unalias(second, "production")
    assert which(catalogue, "data:production") is None


def test_many_versions_may_be_revoked(catalogue: FolderCatalogue) -> None:
    first, second = catalogue.claim(draft(1), "t1"), catalogue.claim(draft(2), "t2")
    catalogue.alias(first, "revoked")
    catalogue.alias(second, "revoked")
    catalogue.unalias(second, "revoked")

    assert [version.is_revoked for version in catalogue.versions("local", "digits", "data")] == [True, False]


def test_a_deleted_version_leaves_its_number_taken(catalogue: FolderCatalogue) -> None:
    first, second = catalogue.claim(draft(1), "t1"), catalogue.claim(draft(2), "t2")
    catalogue.delete(second)

    assert which(catalogue, "data:v1") is None
    assert which(catalogue, "data:latest") == catalogue.versions("local", "digits", "data")[0]
    assert catalogue.claim(draft(2), "t3").version == 2  # its bytes are gone with it: a version of its own
    catalogue.alias(first, "best")
    with pytest.raises(UsageError, match="still called 'best'"):
        catalogue.delete(first)
    catalogue.delete(first, delete_aliases=True)
    assert [version.version for version in catalogue.versions("local", "digits", "data")] == [2]


def test_a_collection_keeps_its_type(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1), "t1")

    with pytest.raises(UsageError, match="is of type 'dataset', not 'model'"):
        catalogue.claim(draft(2, type="model"), "t2")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a/b"},
        {"name": ""},
        {"aliases": ("v3",)},
        {"aliases": ("a:b",)},
        {"tags": ("a/b",)},
        {"type": "\n"},
        {"content": "zz"},
    ],
)
def test_what_cannot_be_named_is_refused(catalogue: FolderCatalogue, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        catalogue.claim(draft(**wrong), "t1")  # type: ignore[arg-type]
    assert catalogue.collections() == []


def test_names_that_no_file_system_likes_are_kept(catalogue: FolderCatalogue) -> None:
    for name in (".hidden", "con", "größe %41", "v0", "name.", "a b"):
        version = catalogue.claim(draft(1, name), name)
        assert version.name == name
    assert [c.name for c in catalogue.collections()] == sorted((".hidden", "con", "größe %41", "v0", "name.", "a b"))


def test_uses_tell_which_runs_ever_read_a_version(catalogue: FolderCatalogue) -> None:
    version = catalogue.claim(draft(1), "t1")
    for run in ("local/digits/r2", "local/other/r3", "local/digits/r2"):
        catalogue.use(version, run, "train-set")

    assert [(use.run, use.use_as) for use in catalogue.uses(version)] == [
        ("local/digits/r2", "train-set"),
        ("local/other/r3", "train-set"),
    ]
    assert [(edge.use, edge.artifact) for edge in catalogue.edges("local/other/r3")] == [
        ("input", "local/digits/data:v0")
    ]
    assert [(edge.use, edge.artifact) for edge in catalogue.edges(RUN)] == [("output", "local/digits/data:v0")]


def test_collections_are_listed_by_project_and_type(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1), "t1")
    catalogue.claim(draft(2, "net", type="model"), "t2")
    catalogue.claim(draft(3, "net", type="model", project="other"), "t3")
    catalogue.claim(draft(4, "best", type="model", entity=REGISTRY, project="model", source="x"), "t4")

    assert [c.path for c in catalogue.collections()] == ["local/digits/data", "local/digits/net", "local/other/net"]
    assert [c.path for c in catalogue.collections(project="digits", type="model")] == ["local/digits/net"]
    assert [c.path for c in catalogue.collections(REGISTRY)] == [".registry/model/best"]
    assert len(list(catalogue.walk())) == 4


def test_descriptions_metadata_and_ttl_can_be_replaced(catalogue: FolderCatalogue) -> None:
    version = catalogue.claim(draft(1, description="old", metadata={"a": 1}, ttl_days=3.0), "t1")
    catalogue.describe(version, description="new", metadata={"b": float("nan")})
    catalogue.ttl(version, None)
    catalogue.tag(version, "x")
    catalogue.tag(version, "y")
    catalogue.untag(version, "x")

    now = FolderCatalogue(catalogue.folder).versions("local", "digits", "data")[0]
    assert (now.description, now.ttl_days, now.tags) == ("new", None, ("y",))
    assert str(now.metadata) == "{'b': nan}"


def test_lines_that_make_no_sense_are_passed_over(catalogue: FolderCatalogue) -> None:
    version = catalogue.claim(draft(1), "t1")
    ledger = catalogue.folder / "local" / "digits" / "data" / "ledger"
    hostile: list[object] = [
        {"t": 1, "do": "alias", "v": 99, "name": "best"},
        {"t": "x", "do": "alias", "v": 0, "name": "best"},
        {"t": 1, "do": "describe", "v": 0, "value": {"description": 3, "metadata": {"$float": "abc"}}},
        {"t": 1, "do": "ttl", "v": 0, "value": "soon"},
        {"t": 1, "do": "used", "v": 0, "run": None},
        {"t": 1, "do": "alias", "v": -5, "name": "best"},
        {"t": 1, "do": "collection", "value": [1]},
        {"t": 1, "do": "from the future", "v": 0},
        [1, 2, 3],
    ]
    with open(ledger, "ab") as file:
        for line in hostile:
            file.write(json.dumps(line).encode() + b"\n")
        file.write(b"\x00\xff\xfe garbage\n" + b"[" * 100_000 + b"\n" + b'{"t":1,"do":"alias","v":0,"name":"torn')
    catalogue.alias(version, "best")  # behind what is torn

    for reader in (catalogue, FolderCatalogue(catalogue.folder)):
        assert which(reader, "data:best") is not None
        assert which(reader, "data:torn") is None
        assert reader.versions("local", "digits", "data")[0].description is None


def test_a_damaged_version_is_named_and_keeps_its_number(catalogue: FolderCatalogue) -> None:
    catalogue.claim(draft(1), "t1")
    folder = catalogue.folder / "local" / "digits" / "data"
    whole = (folder / "v0").read_bytes()
    (folder / "v1").write_bytes(whole[:-20])
    (folder / "v2").write_bytes(whole.replace(b'"manifest":"0', b'"manifest":"/'))
    (folder / "v03").write_bytes(whole)  # no number of ours

    reader = FolderCatalogue(catalogue.folder)
    assert [version.version for version in reader.versions("local", "digits", "data")] == [0]
    with pytest.raises(StorageError, match="v1 is damaged"):
        which(reader, "data:v1")
    assert reader.damaged() == [folder / "v1", folder / "v2"]
    assert reader.claim(draft(5), "t5").version == 3


def test_threads_writing_one_name_get_a_number_each(catalogue: FolderCatalogue) -> None:
    start = threading.Barrier(8)
    numbers: list[int] = []

    def write(writer: int) -> None:
        own = catalogue if writer % 2 else FolderCatalogue(catalogue.folder)
        start.wait()
        for number in range(10):
            version = own.claim(draft(1000 * writer + number, aliases=(f"w{writer}",)), f"{writer}-{number}")
            numbers.append(version.version)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == list(range(80))
    versions = FolderCatalogue(catalogue.folder).versions("local", "digits", "data")
    assert [version.version for version in versions] == list(range(80))
    assert versions[-1].aliases[-1] == "latest"
    for writer in range(1, 9):
        (holder,) = [version for version in versions if f"w{writer}" in version.aliases]
        assert holder.token == f"{writer}-9"


_WRITER = """
import sys
from pathlib import Path
from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.version import Draft
catalogue = FolderCatalogue(Path(sys.argv[1]))
for number in range(10_000):
    digest = (sys.argv[2] + f"{number:x}").rjust(64, "0")
    draft = Draft(entity="local", project="digits", name="data", type="t", digest=digest, manifest=digest,
                  aliases=("a" + sys.argv[2],), run="local/digits/r" + sys.argv[2])
    version = catalogue.claim(draft, digest)
    catalogue.alias(version, "moved" + sys.argv[2])
    print(version.version, flush=True)
"""


@pytest.mark.fault
def test_killed_writers_leave_whole_versions_and_dense_numbers(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What was answered is there, whatever comes next; what is there is whole."""
    rounds = 20 if request.config.getoption("--long") else 3
    folder = tmp_path / ".artifacts"
    told: list[int] = []
    for turn in range(rounds):
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), f"{turn}{name}"], stdout=subprocess.PIPE)
            for name in "ab"
        ]
        for writer, enough in zip(writers, (5, 9), strict=True):
            assert writer.stdout is not None
            for _ in range(enough):
                told.append(int(writer.stdout.readline()))
            os.kill(writer.pid, signal.SIGKILL)
            rest, _ = writer.communicate()
            told += [int(line) for line in rest.split(b"\n")[:-1]]

    catalogue = FolderCatalogue(folder)
    versions = catalogue.versions("local", "digits", "data")
    assert catalogue.damaged() == []
    assert [version.version for version in versions] == list(range(len(versions)))
    assert set(told) <= {version.version for version in versions}
    assert len(told) == len(set(told))
    assert len(versions) - len(told) <= 2 * rounds  # claimed, and killed before it could be said
    assert versions[-1].aliases[-1] == "latest"
    for turn in range(rounds):
        for name in "ab":
            made = [v.path for v in versions if v.run == f"local/digits/r{turn}{name}"]
            assert [edge.artifact for edge in catalogue.edges(f"local/digits/r{turn}{name}")] == made


def test_without_hard_links_a_number_is_taken_first(
    catalogue: FolderCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not on this file system")

    monkeypatch.setattr(os, "link", link)
    catalogue.claim(draft(1), "t1")
    (catalogue.folder / "local" / "digits" / "data" / "v1.taken").touch()  # a crash before it was filled

    assert catalogue.claim(draft(2), "t2").version == 2
    assert [version.version for version in catalogue.versions("local", "digits", "data")] == [0, 2]
