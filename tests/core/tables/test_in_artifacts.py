"""Tables in artifacts are read back as what they were, with values of every type and all their media."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.core.errors import UsageError

UTC = datetime.timezone.utc
PICTURES = [np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8) for n in range(3)]


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="p", id="r", settings={"silent": True}) as run:
        yield run


def logged(run: tracker.Run, **objects: Any) -> tracker.Artifact:
    """Log an artifact with objects; answer it as another script gets it."""
    artifact = tracker.Artifact("data", type="dataset")
    for name, one in objects.items():
        artifact.add(one, name)
    run.log_artifact(artifact).wait()
    return run.use_artifact("data:latest")


def test_a_table_comes_back(run: tracker.Run) -> None:
    """With its types, its Nones and its odd numbers; the file is Parquet with its true names."""
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    rows = [
        [0, "a", 0.5, True, moment, [1, None], {"k": [1.5]}, 2**70, None],
        [1, None, float("inf"), False, None, [], {}, None, None],
    ]
    table = tracker.Table(columns=["id", "Text", "x", "ok", "when", "list", "dict", "big", "none"], data=rows)
    artifact = logged(run, eval=table)

    found = artifact.get("eval")
    assert found == table
    assert found.data == rows
    found.add_data(2, "b", 1, True, moment, [], {}, 5, "now")
    pyarrow = pytest.importorskip("pyarrow.parquet")
    (path,) = (file.path for file in artifact.files() if file.path.endswith(".parquet"))
    with artifact.get_entry(path).open() as file:
        assert pyarrow.read_table(file).column_names == table.columns
    assert artifact.get("absent") is None


def test_images_in_cells_are_files_of_the_artifact(run: tracker.Run) -> None:
    """Each once; they are read when they are asked for, and can be logged again."""
    pytest.importorskip("PIL")
    table = tracker.Table(columns=["image", "views", "n"])
    for number, picture in enumerate(PICTURES):
        table.add_data(tracker.Image(picture, caption=f"{number}"), [tracker.Image(PICTURES[0])] * 2, number)
    table.add_data(None, None, 3)
    artifact = logged(run, eval=table)

    paths = [file.path for file in artifact.files()]
    assert sum(path.startswith("media/") for path in paths) == 4
    found = artifact.get("eval")
    assert found.types == {"image": "media", "views": "media", "n": "int"}
    cells = found.get_column("image")
    assert [np.array_equal(np.asarray(c.to_pil()), p) for c, p in zip(cells[:3], PICTURES, strict=True)] == [True] * 3
    assert cells[1].reference["caption"] == "1"
    assert cells[3] is None
    assert np.array_equal(np.asarray(found.get_column("views")[2][1].to_pil()), PICTURES[0])
    run.log({"again": found})
    run.flush()
    again = tracker.Api().run("r").table("again").rows()
    assert np.array_equal(np.asarray(again[2]["image"].to_pil()), PICTURES[2])
    assert again[2]["image"].caption == "2"


def test_what_is_added_later_or_twice_does_not_change_it(run: tracker.Run) -> None:
    table = tracker.Table(columns=["x"], data=[[1]])
    artifact = tracker.Artifact("data", type="dataset")
    artifact.add(table, "t")
    table.add_data(2)
    with pytest.raises(UsageError):
        artifact.add(table, "t")
    artifact.add(table, "t", overwrite=True)
    run.log_artifact(artifact).wait()

    assert run.use_artifact("data:latest").get("t").data == [[1], [2]]


def test_joined_and_empty_tables(run: tracker.Run) -> None:
    left, right = tracker.Table(columns=["k", "a"], data=[[1, 2]]), tracker.Table(columns=["k", "b"], data=[[1, 3]])
    artifact = logged(run, both=tracker.JoinedTable(left, right, "k"), empty=tracker.Table(columns=["x", "y"]))

    assert artifact.get("both").data == [[1, 2, 3]]
    assert artifact.get("empty").columns == ["x", "y"]
    assert len(artifact.get("empty")) == 0
