"""The example that people know from W&B works with the import changed, down to the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tracker as wandb
from tracker.core.tables import Table
from tracker.core.values import Reference, short


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """Three small images."""
    return [np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8) for n in range(3)]


def test_the_example_of_wandb(home: Path, pictures: list[np.ndarray]) -> None:
    """Images in cells are as they were when their row was added."""
    image_of = pytest.importorskip("PIL.Image")
    wandb.init(project="eval", config={"lr": 0.1})
    t = wandb.Table(columns=["Image", "Ground Truth", "Prediction"])
    for picture, guess in zip(pictures, ("cat", "truck", "truck"), strict=True):
        pil_image = image_of.fromarray(picture)
        t.add_data(wandb.Image(pil_image, caption="one"), "cat", guess)
        pil_image.paste((0, 0, 0), (0, 0, 8, 8))  # what the user does with it later is his own affair
    wandb.log({"predictions_table": t})
    path = wandb.run.path
    wandb.finish()

    table = wandb.Api().run(path).table("predictions_table")
    assert table.types == {"Image": "media", "Ground Truth": "str", "Prediction": "str"}
    wrong = table.filter({"Prediction": {"$ne": {"$column": "Ground Truth"}}}).rows()
    assert [row["Prediction"] for row in wrong] == ["truck", "truck"]
    for row, picture in zip(wrong, pictures[1:], strict=True):
        assert row["Image"].caption == "one"
        assert np.array_equal(np.asarray(row["Image"].to_pil()), picture)
    counts = table.group("Prediction", {"n": "count", "example": ("first", "Image")}).rows()
    assert [(row["Prediction"], row["n"]) for row in counts] == [("cat", 1), ("truck", 2)]
    assert np.array_equal(np.asarray(counts[1]["example"].to_pil()), pictures[1])
    assert table.to_table().columns == ["Ground Truth", "Prediction"]


def test_lists_of_images_plain_pictures_and_joins(home: Path, pictures: list[np.ndarray]) -> None:
    image_of = pytest.importorskip("PIL.Image")
    with wandb.init(project="eval", id="r") as run:
        for step in range(2):
            t = Table(columns=["id", "views", "plain"])
            for number in range(2):
                views = [wandb.Image(pictures[number]), wandb.Image(pictures[step])]
                t.add_data(number, views, image_of.fromarray(pictures[number]))
            run.log({"t": t}, step=step)

    table = wandb.Api().run("r").table("t")
    first, second = table.rows()
    assert [np.array_equal(np.asarray(file.to_pil()), pictures[1]) for file in second["views"]] == [True, True]
    assert np.array_equal(np.asarray(first["plain"].to_pil()), pictures[0])
    both = wandb.Api().run("r").table("t", step=0).join(table, "id")
    assert [row["_diff"] for row in both] == ["changed", "changed"]
    row = both.rows()[0]
    assert np.array_equal(np.asarray(row["left.views"][1].to_pil()), pictures[0])
    assert np.array_equal(np.asarray(row["right.views"][1].to_pil()), pictures[1])


def test_summaries_have_the_short_form(home: Path) -> None:
    """In the journal's own reader, in the running process and in the index."""
    from tracker.testing import read_runs

    with wandb.init(project="eval", id="r") as run:
        t = Table(columns=["x", "y"], data=[[1, 2.5]])
        run.log({"t": t, "p": wandb.plot.line(t, "x", "y", title="Title"), "l": [t, t], "loss": 0.5})
        run.flush()
        live = run.summary.as_dict()

    (kept,) = read_runs()
    with wandb.Api() as api:
        indexed = dict(api.run("r").summary)
    assert live == kept["summary"] == indexed
    assert indexed["loss"] == 0.5
    assert (indexed["t"]["_type"], indexed["t"]["rows"], indexed["t"]["ncols"]) == ("table-file", 1, 2)
    assert not {"columns", "spec", "fields"} & (indexed["t"].keys() | indexed["p"].keys())
    assert (indexed["p"]["kind"], indexed["p"]["title"]) == ("line", "Title")
    assert indexed["l"]["count"] == 2
    assert short([1, {"_type": 3}]) == [1, {"_type": 3}]
    assert short(Reference(_type="x", long="y" * 201, items=[1])) == {"_type": "x"}
