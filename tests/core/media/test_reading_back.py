"""Media read back through `Api`: from the folder, and through a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker import Api
from tracker.core.paths import find_runs, run_blobs

from .conftest import serving

RGB = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
BOXES = [{"position": {"minX": 0, "maxX": n / 500, "minY": 0, "maxY": 1}, "class_id": n} for n in range(500)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one run, which logged media."""
    root = tmp_path / "runs"
    with tracker.init(project="media", dir=root, id="one", settings={"silent": True}) as run:
        for step in range(3):
            run.log({"loss": 1.0, "image": tracker.Image(RGB, caption=f"c{step}")}, step=step)
        run.log(
            {
                "gallery/all": [
                    tracker.Image(RGB[:9, :9]),
                    tracker.Image(RGB[:5, :5], boxes={"p": {"box_data": BOXES}}),
                ],
                "masked": tracker.Image(
                    RGB, masks={"m": {"mask_data": RGB[:, :, 0]}}, boxes={"p": {"box_data": BOXES[:1]}}
                ),
                "counts": tracker.Histogram([1, 2, 3]),
                "text": tracker.Markdown("# hello"),
                "long": tracker.Text("é" * 5000),
                "loss": 0.5,
            },
            step=7,
        )
    return root


@pytest.fixture(params=["folder", "server"])
def run(root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The run, as `Api` answers it."""
    if request.param == "folder":
        with Api(dir=root) as api:
            yield api.run("media/one")
    else:
        with serving(root, tmp_path / "cache") as url, Api(base_url=url) as api:
            yield api.run("media/one")


def test_media_come_back(run: Any, tmp_path: Path) -> None:
    """Step by step, with what was said of them, and their bytes."""
    pillow = pytest.importorskip("PIL.Image")
    images = run.media("image")

    assert [(image.step, image.caption, image.type, image.format) for image in images] == [
        (step, f"c{step}", "image-file", "png") for step in range(3)
    ]
    assert np.array_equal(np.asarray(images[0].to_pil()), RGB)
    assert images[0].open().read(4) == b"\x89PNG"
    assert images[0].thumbnail.to_pil().size == (200, 150)
    written = images[2].download(tmp_path / "out")
    assert written.name == "image_2.png"
    with pillow.open(written) as image:
        assert np.array_equal(np.asarray(image), RGB)
    with pytest.raises(tracker.UsageError, match="is there already"):
        images[2].download(tmp_path / "out")
    assert images[2].download(tmp_path / "out", replace=True) == written
    assert [image.step for image in run.media("image", min_step=1, max_step=1)] == [1]


def test_lists_boxes_and_masks_come_back(run: Any) -> None:
    """Item by item; masks as images of their own; boxes whether they are many or few."""
    first, second = run.media("gallery/all")

    assert (first.index, second.index, first.name) == (0, 1, "gallery%2Fall_7_0.png")
    assert first.to_pil().size == (9, 9)
    assert second.boxes == {"p": BOXES}
    (masked,) = run.media("masked")
    assert np.array_equal(np.asarray(masked.masks["m"].to_pil()), RGB[:, :, 0])
    assert masked.boxes == {"p": BOXES[:1]}
    assert masked.thumbnail is not None


def test_what_has_no_bytes_says_so(run: Any) -> None:
    """A histogram is its reference, a text is its bytes."""
    (counts,) = run.media("counts")

    assert sum(counts.reference["values"]) == 3
    with pytest.raises(tracker.UsageError, match="has no bytes"):
        counts.read()
    assert run.media("text")[0].read() == b"# hello"
    assert run.media("long")[0].read().decode() == "é" * 5000
    assert run.media("loss") == run.media("nothing") == []


def test_rows_and_summary_hold_references(run: Any) -> None:
    """And a reference of a row can be read."""
    (row,) = [row for row in run.history(pandas=False) if "masked" in row]
    (medium,) = run.media(row["masked"])

    assert row["masked"]["_type"] == "image-file"
    assert np.array_equal(np.asarray(medium.to_pil()), RGB)
    assert run.summary["image"]["caption"] == "c2"
    assert json.dumps(row["masked"])


def test_damaged_and_missing_bytes_are_told(root: Path) -> None:
    """Never answered as something that was not logged."""
    ((_, folder),) = find_runs(root)
    with Api(dir=root) as api:
        image, _, _ = api.run("media/one").media("image")
        digest = image.reference["digest"]
        (place,) = run_blobs(folder).rglob(f"{digest}*")
        place.write_bytes(place.read_bytes()[:-1] + b"x")
        with pytest.raises(tracker.StorageError, match="are others than were kept"):
            image.read()
        place.unlink()
        with pytest.raises(tracker.StorageError, match="are not in the folder"):
            image.read()


def test_a_fork_and_a_run_that_goes_on_have_their_media(root: Path) -> None:
    """Also when the run that was forked is gone."""
    with tracker.init(
        project="media", dir=root, id="two", fork_from="one?_step=1", settings={"silent": True}
    ) as forked:
        forked.log({"image": tracker.Image(RGB[:5, :5])})
    with tracker.init(project="media", dir=root, id="one", resume="must", settings={"silent": True}) as resumed:
        resumed.log({"image": tracker.Image(RGB[:6, :6])})
    with Api(dir=root) as api:
        assert [image.to_pil().size[0] for image in api.run("media/one").media("image")] == [400, 400, 400, 6]
        api.run("media/one").delete()
        images = api.run("media/two").media("image")

        assert [(image.step, image.to_pil().size[0]) for image in images] == [(0, 400), (1, 400), (2, 5)]


@pytest.mark.parametrize("through", ["folder", "server"])
def test_the_summary_takes_media(tmp_path: Path, through: str, caplog: pytest.LogCaptureFixture) -> None:
    """By hand, beside numbers, nested and in lists; what is broken is said."""
    root = tmp_path / "runs"
    with tracker.init(project="media", dir=root, id="one", settings={"silent": True}) as run:
        run.log({"loss": 1.0})
        run.summary["best"] = tracker.Image(RGB, caption="best")
        run.summary.update({"last": {"image": tracker.Image(RGB[:5]), "loss": 0.5}, "all": [tracker.Image(RGB[:4])]})
        run.summary["broken"] = tracker.Image(None)
        run.flush()
        assert run.summary["best"]["caption"] == "best"
    with serving(root, tmp_path / "cache") as url, Api(dir=root) if through == "folder" else Api(base_url=url) as api:
        found = api.run("media/one")
        summary = found.summary

        assert (summary["loss"], summary["last.loss"]) == (1.0, 0.5)
        assert np.array_equal(np.asarray(found.media(summary["best"])[0].to_pil()), RGB)
        assert summary["last.image"]["height"] == 5
        assert summary["all"][0]["height"] == 4
        assert "broken" not in summary
    assert "'broken' is an Image of a NoneType" in caplog.text
