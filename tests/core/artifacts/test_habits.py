"""What users of W&B write, and how they are answered where it cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tracker
from tracker.core.errors import UsageError


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="hands", id="r1", settings={"silent": True}) as run:
        yield run


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_the_same_file_may_be_added_twice_and_another_may_not(run: tracker.Run, tmp_path: Path, size: int) -> None:
    """A file by itself and once more with its folder, as scripts do; other bytes under its path are refused."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"x" * size)
    (tmp_path / "d" / "b").write_bytes(b"y")
    (tmp_path / "other").write_bytes(b"z" * size)
    artifact = tracker.Artifact("rows", type="dataset")
    artifact.add_file("d/b")
    assert artifact.add_file("d/a").size == size
    assert artifact.add_file("d/a").path == "a"
    artifact.add_dir("d")
    with pytest.raises(UsageError, match=r"'a' is there already, with other bytes; .*overwrite=True"):
        artifact.add_file("other", name="a")
    artifact.add_file("other", name="a", overwrite=True)
    run.log_artifact(artifact).wait(60)

    assert [(file.path, file.size) for file in artifact.files()] == [("a", size), ("b", 1)]
    assert artifact.get_entry("a").open().read(3) == b"zzz"


def test_properties_have_wandbs_names(run: tracker.Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    artifact = tracker.Artifact("one", type="dataset", metadata={"shape": np.arange(3), "deep": [np.ones((1, 2))]})
    artifact.add_file("a.txt", name="sub/a.txt")
    assert artifact.get_added_local_path_name("a.txt") == "sub/a.txt"
    assert artifact.get_added_local_path_name("b.txt") is None
    artifact.finalize()
    run.log_artifact(artifact).wait(60)
    linked = run.link_artifact(artifact, "hands/ones")
    before = artifact.updated_at
    artifact.metadata = {"n": np.float32(0.5)}
    artifact.save()

    assert Path(artifact.file("here")) == Path("here/sub/a.txt")
    assert Path("here/sub/a.txt").read_text() == "a"
    assert artifact.created_at <= before <= artifact.updated_at
    assert artifact.commit_hash == artifact.digest
    assert (linked.source_collection.name, linked.collection.name) == ("one", "ones")
    assert tracker.Api().artifact("hands/one:v0").metadata == {"n": 0.5}


def test_small_arrays_in_metadata_are_lists(run: tracker.Run) -> None:
    artifact = tracker.Artifact("m", type="dataset", metadata={"a": np.arange(3), "b": [np.ones((1, 2))]})
    artifact.metadata["later"] = np.array([True])
    run.log_artifact(artifact).wait(60)

    found = tracker.Api().artifact("hands/m:v0").metadata
    assert found == {"a": [0, 1, 2], "b": [[[1.0, 1.0]]], "later": [True]}


REFUSED: list[tuple[Callable[[tracker.Run], object], str]] = [
    (lambda run: tracker.Artifact("..", "t"), "give it at least one letter or digit"),
    (lambda run: tracker.Artifact(" a", "t"), "begins or ends with a blank"),
    (lambda run: tracker.Artifact("a@b", "t"), "holds '@'"),
    (lambda run: tracker.Artifact(3, "t"), "is 3, of type int; give a text"),  # type: ignore[arg-type]
    (lambda run: setattr(tracker.Artifact("a", "t"), "metadata", 3), "metadata is a int; give a dict"),
    (lambda run: tracker.Artifact("a", "t").add_file("nope.txt"), "there is no file 'nope.txt'. The working folder is"),
    (lambda run: tracker.Artifact("a", "t").add_dir("nope"), "there is no folder 'nope'. The working folder is"),
    (lambda run: tracker.Artifact("a", "t").add_reference("foo://x/y"), "Write file:///folder/file, https://"),
    (lambda run: run.link_artifact(tracker.Artifact("a", "t"), "a/b/c/d"), "write 'registry/collection'"),
    (lambda run: run.log_artifact(tracker.Artifact("a", "t")).wait(60).file(), "has 0 files, not one; use download()"),
]


@pytest.mark.parametrize(("call", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_says_what_to_do(run: tracker.Run, call: Callable[[tracker.Run], object], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        call(run)


def test_whatever_is_given_to_log_artifact_does_not_stop_training(
    run: tracker.Run, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = tracker.Artifact("a", type="dataset")
    artifact.aliases = 3  # type: ignore[assignment]
    failed = run.log_artifact(artifact)

    assert failed.state == "FAILED"
    assert "an artifact is not logged: " in caplog.text


def test_a_version_whose_name_would_be_refused_today_is_read(run: tracker.Run, home: Path) -> None:
    """Whoever made it: another client, an older version."""
    artifact = run.log_artifact(tracker.Artifact("plain", type="dataset")).wait(60)
    folder = home / "runs" / ".artifacts" / "local" / "hands"
    (folder / "plain").rename(folder / "a@b")
    with tracker.Api() as api:
        (found,) = api.artifacts("dataset", "hands/a@b:v0")

    assert (found.name, found.digest) == ("a@b:v0", artifact.digest)


def test_an_artifact_in_a_config_stays_one_that_can_be_found(run: tracker.Run, home: Path) -> None:
    """Its path and digest, not what it looks like; one that is on its way is not waited for."""
    artifact = tracker.Artifact("rows", type="dataset")
    run.config["draft"] = artifact
    run.log_artifact(artifact).wait(60)
    run.config.update({"data": artifact, "deep": {"data": artifact}})
    run.finish()
    with tracker.Api() as api:
        config = api.run("hands/r1").config

    told = {"_type": "artifactVersion", "name": "local/hands/rows:v0", "type": "dataset", "digest": artifact.digest}
    assert config == {
        "draft": {"_type": "artifact", "name": "rows", "type": "dataset"},
        "data": told,
        "deep": {"data": told},
    }
