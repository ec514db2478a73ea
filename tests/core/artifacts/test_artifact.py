"""The artifact object: filling it, its files, and what can be changed of a version."""

from __future__ import annotations

import datetime
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.core.errors import StorageError, UsageError


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="digits", id="r1", settings={"silent": True}) as run:
        yield run


def filled(name: str = "data", **files: str) -> tracker.Artifact:
    artifact = tracker.Artifact(name, type="dataset")
    for path, content in files.items():
        with artifact.new_file(path.replace("__", "/")) as file:
            file.write(content)
    return artifact


def contents(folder: Path | str) -> dict[str, str]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_files_go_where_they_are_told(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "b.txt").write_text("b")
    artifact = tracker.Artifact("data", type="dataset")
    artifact.add_file("a.txt")
    artifact.add_file(tmp_path / "a.txt", "other/name.txt", policy="immutable")
    artifact.add_dir("folder", name="below")
    artifact.add_dir("folder")
    with artifact.new_file("new.bin", "wb") as file:
        file.write(b"\x00")

    assert (artifact.file_count, artifact.size) == (5, 5)
    assert sorted(file.path for file in artifact.files()) == [
        "a.txt", "below/deep/b.txt", "deep/b.txt", "new.bin", "other/name.txt",
    ]  # fmt: skip
    run.log_artifact(artifact)
    assert contents(artifact.download("out")) == {
        "a.txt": "a", "below/deep/b.txt": "b", "deep/b.txt": "b", "new.bin": "\x00", "other/name.txt": "a",
    }  # fmt: skip


def test_what_is_there_is_replaced_only_when_asked(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("first")
    artifact = filled(a="new", b="b", c__d="d")
    with pytest.raises(UsageError, match="is there already"):
        artifact.add_file("a")
    with pytest.raises(UsageError, match="has a file 'a' already"), artifact.new_file("a"):
        pass
    artifact.add_file("a", overwrite=True)
    with artifact.new_file("b", "w") as file:
        file.write("other")
    artifact.remove("c")
    with pytest.raises(UsageError, match="has no file 'c'"):
        artifact.remove("c")

    assert contents(run.log_artifact(artifact).wait(60).download()) == {"a": "first", "b": "other"}
    with pytest.raises(UsageError, match="is logged, and does not change any more"):
        artifact.add_file("a", "x")


def test_a_file_whose_writing_fails_is_not_there(run: tracker.Run) -> None:
    artifact = filled(a="1")
    with pytest.raises(KeyError), artifact.new_file("b") as file:
        file.write("half")
        raise KeyError

    assert [file.path for file in artifact.files()] == ["a"]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "C:/x", "a\\b", "a\x00b", "", "a//b"])
def test_paths_that_lead_out_are_refused(run: tracker.Run, tmp_path: Path, path: str) -> None:
    (tmp_path / "a").write_text("a")
    artifact = tracker.Artifact("data", type="dataset")
    if path:
        with pytest.raises(UsageError):
            artifact.add_file("a", path)
    with pytest.raises(UsageError), artifact.new_file(path):
        pass
    assert artifact.file_count == 0


def test_what_cannot_be_meant_is_said(run: tracker.Run, tmp_path: Path) -> None:
    artifact = tracker.Artifact("data", type="dataset")
    for call, why in (
        (lambda: artifact.add_file(tmp_path), "is no file; add_dir adds a folder"),
        (lambda: artifact.add_dir("missing"), "is no folder"),
        (lambda: artifact.add_dir(__file__), "add_file adds a file"),
        (lambda: artifact.new_file("a", "r").__enter__(), "the mode is 'r'"),
        (lambda: tracker.Artifact("a:b", "t"), "holds ':'"),
        (lambda: tracker.Artifact("a", ""), "artifact's type"),
        (lambda: tracker.Artifact("a", "t", metadata=[1]), "metadata is a list"),  # type: ignore[arg-type]
        (lambda: artifact.version, "is known once the artifact is logged"),
        (lambda: artifact.wait(), "is not logged"),
    ):
        with pytest.raises(UsageError, match=why):
            call()


def test_an_artifact_that_is_never_logged_leaves_nothing(run: tracker.Run, home: Path) -> None:
    folder = home / "runs" / ".blobs" / ".snapshots"
    artifact = filled(a="1")
    assert len(os.listdir(folder)) == 1
    del artifact
    gc.collect()

    assert os.listdir(folder) == []


def test_downloads_write_what_is_missing_or_other(run: tracker.Run, tmp_path: Path) -> None:
    artifact = run.log_artifact(filled(a="1", b__c="2", b__d="3")).wait(60)
    folder = Path(artifact.download())
    assert folder == tmp_path / "artifacts" / "data:v0"
    (folder / "a").write_text("changed")
    (folder / "b" / "c").unlink()
    (folder / "own.txt").write_text("mine")
    with pytest.raises(StorageError, match="differs"):
        artifact.verify()
    artifact.download()

    assert contents(folder) == {"a": "1", "b/c": "2", "b/d": "3", "own.txt": "mine"}
    artifact.checkout()
    assert contents(folder) == {"a": "1", "b/c": "2", "b/d": "3"}
    artifact.verify()
    assert contents(artifact.download("part", path_prefix="b")) == {"b/c": "2", "b/d": "3"}
    assert artifact.get_entry("b/c").download("one") == str(Path("one") / "b" / "c")
    with pytest.raises(UsageError, match="nothing at 'x'"):
        artifact.download("none", path_prefix="x")


def test_checkout_removes_folders_and_links_but_nothing_behind_them(run: tracker.Run, tmp_path: Path) -> None:
    artifact = run.log_artifact(filled(a="1")).wait(60)
    folder = Path(artifact.download("out"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    (folder / "link").symlink_to(tmp_path / "precious")
    (folder / "empty" / "deep").mkdir(parents=True)
    artifact.checkout("out")

    assert sorted(os.listdir(folder)) == ["a"]
    assert (tmp_path / "precious" / "file").read_text() == "keep"


def test_downloads_go_where_the_environment_says(
    run: tracker.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    artifact = run.log_artifact(filled(a="1")).wait(60)

    assert artifact.download() == str(tmp_path / "elsewhere" / "data:v0")


def test_names_that_are_no_folders_do_not_lead_out(run: tracker.Run, tmp_path: Path) -> None:
    artifact = run.log_artifact(filled("...", a="1")).wait(60)

    assert Path(artifact.download()).parent == tmp_path / "artifacts"


def test_files_are_opened_without_being_written(run: tracker.Run) -> None:
    artifact = run.log_artifact(filled(a="1", b="22")).wait(60)
    entry = artifact.get_path("b")

    assert entry.open().read() == b"22"
    assert (entry.size, entry.name, entry.ref, len(entry.digest)) == (2, "b", None, 64)
    with pytest.raises(UsageError, match="has no file 'c'; it has 'a', 'b'"):
        artifact.get_entry("c")
    with pytest.raises(UsageError, match="refers to nothing"):
        entry.ref_target()


def test_what_can_be_changed_of_a_version_is_kept(run: tracker.Run) -> None:
    artifact = run.log_artifact(filled(a="1"), aliases=["old"]).wait(60)
    artifact.description = "text"
    artifact.metadata["score"] = float("nan")
    artifact.aliases = ["new"]
    artifact.tags.append("tag")
    artifact.ttl = datetime.timedelta(days=30)
    artifact.save()

    again = run.use_artifact("data:new")
    assert (again.description, str(again.metadata), again.aliases) == ("text", "{'score': nan}", ["new", "latest"])
    assert (again.tags, again.ttl) == (["tag"], datetime.timedelta(days=30))
    again.ttl = None
    again.tags = []
    again.save()
    assert run.use_artifact("data").ttl is tracker.ArtifactTTL.INHERIT
    with pytest.raises(UsageError, match="ttl is 3"):
        again.ttl = 3  # type: ignore[assignment]


def test_the_lineage_is_at_hand(run: tracker.Run) -> None:
    artifact = run.log_artifact(filled(a="1")).wait(60)
    run.use_artifact(artifact)
    run.flush()
    made = artifact.logged_by()

    assert made is not None
    assert made.path == run.path
    assert [used.path for used in artifact.used_by()] == [run.path]
    assert [logged.qualified_name for logged in made.logged_artifacts()] == ["local/digits/data:v0"]
    assert [used.qualified_name for used in made.used_artifacts()] == ["local/digits/data:v0"]
    assert artifact.json_encode() == {
        "_type": "artifactVersion", "name": "local/digits/data:v0", "type": "dataset", "digest": artifact.digest,
    }  # fmt: skip


def test_a_draft_of_a_version_begins_with_its_files(run: tracker.Run) -> None:
    first = run.log_artifact(filled(a="1", b="2")).wait(60)
    draft = first.new_draft()
    draft.remove("b")
    other = filled("other", c="3")
    run.log_artifact(other).wait(60)
    draft.add_reference(other.get_entry("c"), name="taken/c")
    second = run.log_artifact(draft).wait(60)

    assert second.version == "v1"
    assert contents(second.download()) == {"a": "1", "taken/c": "3"}


def test_deleting_leaves_the_number_taken(run: tracker.Run) -> None:
    artifact = run.log_artifact(filled(a="1"), aliases=["best"]).wait(60)
    with pytest.raises(UsageError, match="still called 'best'"):
        artifact.delete()
    artifact.delete(delete_aliases=True)

    assert artifact.state == "DELETED"
    assert run.log_artifact(filled(a="1")).wait(60).version == "v1"


def test_saving_without_a_run_makes_one(home: Path) -> None:
    artifact = filled(a="1")
    artifact.save(project="digits", settings={"silent": True})

    assert artifact.version == "v0"
    made = artifact.logged_by()
    assert made is not None
    assert (made.project, made.job_type, made.state) == ("digits", "auto", "finished")
