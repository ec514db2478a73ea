"""Media and tables in artifacts come back as what they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tracker
from tracker.core.errors import UsageError
from tracker.testing import read_runs


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="digits", settings={"silent": True}) as run:
        yield run


def picture(shade: int) -> np.ndarray:
    return np.full((8, 8, 3), shade, np.uint8)


def test_a_table_comes_back_with_its_types_and_media(run: tracker.Run) -> None:
    table = tracker.Table(columns=["name", "score", "picture"])
    table.add_data("a", 1.5, tracker.Image(picture(10), caption="ten"))
    table.add_data("b", float("nan"), tracker.Image(picture(20)))
    artifact = tracker.Artifact("eval", type="table")
    artifact.add(table, "predictions")
    run.log_artifact(artifact).wait(60)

    found = run.use_artifact("eval").get("predictions")
    assert found.columns == ["name", "score", "picture"]
    assert [row[0] for _, row in found.iterrows()] == ["a", "b"]
    assert str([row[1] for _, row in found.iterrows()]) == "[1.5, nan]"
    pictures = [row[2] for _, row in found.iterrows()]
    assert [np.asarray(one.to_pil())[0, 0, 0] for one in pictures] == [10, 20]
    assert pictures[0].caption == "ten"


def test_the_same_table_is_the_same_version(run: tracker.Run) -> None:
    for version in ("v0", "v0", "v1"):
        artifact = tracker.Artifact("eval", type="table")
        artifact["image"] = tracker.Image(picture(1 if version == "v0" else 2))
        assert run.log_artifact(artifact).wait(60).version == version


def test_a_medium_comes_back_and_can_be_logged(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracker.init(project="digits", settings={"silent": True}) as run:
        artifact = tracker.Artifact("pictures", type="media")
        artifact.add(tracker.Image(picture(7), caption="seven"), "folder/seven")
        run.log_artifact(artifact).wait(60)
        found = artifact.get("folder/seven")
        assert np.asarray(found.to_pil()).tolist() == picture(7).tolist()
        run.log({"again": found})

    (row,) = read_runs(home / "runs")[0]["history"]
    assert row["again"]["caption"] == "seven"
    api_run = tracker.Api().runs("digits")[0]
    (medium,) = api_run.media("again")
    assert np.asarray(medium.to_pil()).tolist() == picture(7).tolist()


def test_what_is_no_object_is_said(run: tracker.Run) -> None:
    artifact = tracker.Artifact("eval", type="table")
    with pytest.raises(UsageError, match="add\\(\\) takes media and tables, got a int"):
        artifact.add(3, "x")
    with pytest.raises(UsageError, match="cannot be kept: it"):
        artifact.add(tracker.Image(np.zeros((0, 5))), "x")
    artifact.add(tracker.Image(picture(1)), "x")
    with pytest.raises(UsageError, match="already"):
        artifact.add(tracker.Image(picture(2)), "x")
    artifact.add(tracker.Image(picture(2)), "x", overwrite=True)
    with artifact.new_file("plain.json") as file:
        json.dump({"object": 1}, file)
    run.log_artifact(artifact).wait(60)

    assert artifact.get("plain.json") is None
    assert artifact.get("nothing") is None
    assert np.asarray(artifact["x"].to_pil())[0, 0, 0] == 2
