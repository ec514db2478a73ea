"""Images: what arrays, files and figures become, read back pixel by pixel."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tracker
from tracker.core.media.png import encode_png

from .conftest import Logged

Pillow = pytest.importorskip("PIL.Image")
Log = Callable[..., Logged]

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def pixels(logged: Logged, reference: dict[str, Any]) -> Any:
    """Answer the pixels of a stored image as an independent reader sees them."""
    with Pillow.open(io.BytesIO(logged.bytes_of(reference))) as image:
        assert (image.width, image.height) == (reference["width"], reference["height"])
        return np.asarray(image)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]))))
def test_png_is_read_by_others_as_it_was_written(array: Any) -> None:
    """Whatever the filters, the pixels come back."""
    with Pillow.open(io.BytesIO(encode_png(array))) as image:
        assert np.array_equal(np.asarray(image).reshape(array.shape), array)


def test_a_large_png_is_filtered_in_stripes() -> None:
    """Where one ends and the next begins, the filters look above all the same; and they pay."""
    smooth = np.add.outer(np.arange(3000), np.arange(700)).astype(np.uint8)[:, :, None]
    encoded = encode_png(smooth)

    with Pillow.open(io.BytesIO(encoded)) as image:
        assert np.array_equal(np.asarray(image), smooth[:, :, 0])
    assert len(encoded) < len(zlib.compress(smooth, 3)) / 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (RGB[:, :, 0], RGB[:, :, 0]),
        (RGB[:, :, :1], RGB[:, :, 0]),
        (RGB[::2, ::-1], RGB[::2, ::-1]),
        (RGB.astype(np.int64), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (RGB.astype(np.float32), RGB),
        (RGB > 100, (RGB > 100) * np.uint8(255)),
        ((RGB / 127.5 - 1), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB[:, :, 0].tolist(), RGB[:, :, 0]),
        (np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.uint8)),
        (np.full((5, 5), 300), np.zeros((5, 5), np.uint8)),
    ],
    ids=[
        "hwc", "chw", "hw", "one channel", "a view", "whole numbers", "0 to 1", "half floats", "floats to 255", "bools",
        "-1 to 1", "16 bits", "lists", "black", "all the same and too large",
    ],
)  # fmt: skip
def test_arrays_become_pixels(log: Log, given: Any, expected: Any) -> None:
    """Wherever the channels are, and whatever range the numbers are in."""
    logged = log({"image": tracker.Image(given, caption="c", grouping=2)})
    reference = logged.value("image")

    off = np.abs(pixels(logged, reference).astype(int) - expected).max()
    assert off <= (0 if np.asarray(given).dtype in (np.uint8, np.int64, np.float64) else 1)
    assert {key: reference[key] for key in ("_type", "format", "caption", "grouping")} == {
        "_type": "image-file", "format": "png", "caption": "c", "grouping": 2,
    }  # fmt: skip
    assert reference["size"] == len(logged.bytes_of(reference))


def test_an_array_may_be_changed_right_after(log: Log) -> None:
    """What was there when the image was made is what is kept, also where it is logged later."""
    array = RGB.copy()
    image = tracker.Image(array)
    array[:] = 0
    picture = Pillow.fromarray(RGB)
    other = tracker.Image(picture)
    picture.paste((0, 0, 0), (0, 0, 30, 20))
    logged = log({"array": image, "pillow": other})

    assert np.array_equal(pixels(logged, logged.value("array")), RGB)
    assert np.array_equal(pixels(logged, logged.value("pillow")), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_images_of_pillow(log: Log, mode: str) -> None:
    """Whatever their mode, they look as they did."""
    picture = (
        Pillow.fromarray(RGB).convert("L").convert(mode) if mode == "I;16" else Pillow.fromarray(RGB).convert(mode)
    )
    logged = log({"image": picture})

    expected = np.asarray(
        picture.convert("RGBA" if mode == "LA" else "L" if mode in ("1", "L", "I", "F", "I;16") else "RGB")
    )
    got = pixels(logged, logged.value("image"))
    assert np.abs(got.astype(int) - expected[..., : got.shape[-1] if got.ndim == 3 else None]).max() <= 1


def test_modes_and_batches(log: Log) -> None:
    """`mode` says what an array becomes; several images become one in a grid."""
    batch = np.stack([np.full((4, 6), value, np.uint8) for value in range(100, 109)])[:, :, :, None]
    logged = log(
        {"grey": tracker.Image(RGB, mode="L"), "alpha": tracker.Image(RGB, mode="RGBA"), "grid": tracker.Image(batch)}
    )

    assert (
        np.abs(pixels(logged, logged.value("grey")).astype(int) - np.asarray(Pillow.fromarray(RGB).convert("L"))).max()
        <= 1
    )
    assert np.array_equal(pixels(logged, logged.value("alpha"))[:, :, 3], np.full((20, 30), 255))
    grid = pixels(logged, logged.value("grid"))
    assert grid.shape == (4 * 2 + 2, 6 * 8 + 2 * 7)
    assert [grid[0, 8 * column] for column in range(8)] == list(range(100, 108))
    assert (grid[6, 0], grid[6, 8], grid[4, 0]) == (108, 0, 0)


@pytest.mark.parametrize("format", ["png", "jpg", "gif", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("how", ["path", "bytes", "file"])
def test_files_are_kept_as_they_are(log: Log, tmp_path: Path, format: str, how: str) -> None:
    """Byte for byte, with what they tell of themselves, and deleted right after."""
    path = tmp_path / f"image.{format}"
    Pillow.fromarray(np.tile(RGB, (20, 20, 1))).save(path)
    data = path.read_bytes()
    image = tracker.Image({"path": str(path), "bytes": data, "file": io.BytesIO(data)}[how])
    path.unlink()
    logged = log({"image": image})
    reference = logged.value("image")

    assert logged.bytes_of(reference) == data
    size = {} if format == "tiff" else {"width": 600, "height": 400}
    assert {key: reference[key] for key in ("format", *size)} == {"format": format, **size}
    assert (reference["thumb"]["width"], reference["thumb"]["height"]) == (256, 171)
    with Pillow.open(io.BytesIO(logged.bytes_of(reference["thumb"]))) as small:
        assert small.size == (256, 171)


def test_small_images_need_no_thumbnail(log: Log) -> None:
    """Large ones have one that looks like them."""
    large = np.kron(RGB, np.ones((20, 20, 1), np.uint8))
    logged = log({"small": tracker.Image(RGB), "large": tracker.Image(large)})
    thumb = logged.value("large")["thumb"]

    assert "thumb" not in logged.value("small")
    with Pillow.open(io.BytesIO(logged.bytes_of(thumb))) as small:
        got = np.asarray(small.convert("RGB").resize((30, 20), Pillow.Resampling.BOX)).astype(int)
    assert (thumb["width"], thumb["height"]) == (200, 134)
    assert np.abs(got - RGB).mean() < 20


def test_svg_is_kept_and_never_opened(log: Log) -> None:
    """It is a text in the eyes of the journal; showing it safely is the server's part."""
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    logged = log({"image": tracker.Image(svg)})

    assert logged.value("image")["format"] == "svg"
    assert logged.bytes_of(logged.value("image")) == svg


def test_other_formats_are_written_by_pillow(log: Log) -> None:
    """`file_type` says which."""
    logged = log(
        {"image": tracker.Image(RGB, file_type="jpg"), "other": tracker.Image(RGB, mode="RGBA", file_type="webp")}
    )

    assert logged.value("image")["format"] == "jpg"
    assert logged.bytes_of(logged.value("image")).startswith(b"\xff\xd8\xff")
    assert logged.bytes_of(logged.value("other"))[8:12] == b"WEBP"


def test_without_pillow_arrays_and_files_are_kept(tmp_path: Path) -> None:
    """Only what needs it is missing: other formats, and thumbnails of files."""
    png = tmp_path / "image.png"
    Pillow.fromarray(np.tile(RGB, (20, 20, 1))).save(png)
    code = f"""
import sys
sys.modules["PIL"] = None
import numpy as np, tracker
with tracker.init(project="media", dir={str(tmp_path / "runs")!r}) as run:
    array = np.arange(400 * 300 * 3).reshape(400, 300, 3).astype(np.uint8)
    run.log({{"array": tracker.Image(array), "jpg": tracker.Image(array, file_type="jpg"), "file": tracker.Image({str(png)!r})}})
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    logged = Logged(tmp_path / "runs")

    array = np.arange(400 * 300 * 3).reshape(400, 300, 3).astype(np.uint8)
    assert np.array_equal(pixels(logged, logged.value("array")), array)
    assert logged.value("array")["thumb"]["format"] == logged.value("jpg")["format"] == "png"
    assert logged.bytes_of(logged.value("file")) == png.read_bytes()
    assert (
        "'jpg' at step 0 is kept as PNG: file_type='jpg' needs Pillow. Install it: pip install pillow." in done.stderr
    )


def test_an_image_can_be_had_as_one_of_pillows(tmp_path: Path) -> None:
    """As in W&B."""
    assert np.array_equal(np.asarray(tracker.Image(RGB).image), RGB)
    assert np.array_equal(np.asarray(tracker.Image(tracker.Image(RGB)).image), RGB)


# --- boxes, masks, classes -------------------------------------------------------------------


def test_boxes_masks_and_classes_are_kept(log: Log) -> None:
    """In W&B's structure; masks are images whose values are the numbers of classes."""
    box = {
        "position": {"minX": 0.1, "maxX": np.float32(0.5), "minY": 0, "maxY": 1}, "class_id": np.int64(1),
        "box_caption": "a cat", "scores": {"p": 0.9},
    }  # fmt: skip
    pixel_box = {"position": {"middle": (3, 4), "width": 2, "height": 5}, "domain": "pixel", "class_id": 2}
    mask = np.array([[0, 1], [2, 255]])
    logged = log(
        {
            "image": tracker.Image(
                RGB,
                classes=tracker.Classes([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]),
                boxes={"predictions": {"box_data": [box, pixel_box], "class_labels": {1: "cat", 2: "dog"}}},
                masks={"truth": {"mask_data": mask, "class_labels": {1: "cat"}}},
            )
        }
    )
    reference = logged.value("image")

    assert reference["classes"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert reference["boxes"]["predictions"] == {
        "box_data": [
            {
                "position": {"minX": 0.1, "maxX": 0.5, "minY": 0, "maxY": 1}, "class_id": 1, "box_caption": "a cat",
                "scores": {"p": 0.9},
            },
            {"position": {"middle": [3, 4], "width": 2, "height": 5}, "domain": "pixel", "class_id": 2},
        ],
        "class_labels": {"1": "cat", "2": "dog"},
    }  # fmt: skip
    assert reference["masks"]["truth"]["class_labels"] == {"1": "cat"}
    assert np.array_equal(pixels(logged, reference["masks"]["truth"]), mask)


def test_many_boxes_are_a_blob(log: Log) -> None:
    """The row stays small."""
    boxes = [{"position": {"minX": 0, "maxX": n / 500, "minY": 0, "maxY": 1}, "class_id": n} for n in range(500)]
    logged = log({"image": tracker.Image(RGB, boxes={"all": {"box_data": boxes}})})
    group = logged.value("image")["boxes"]["all"]

    assert (group["count"], group["format"]) == (500, "json")
    assert json.loads(logged.bytes_of(group)) == boxes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"boxes": {"p": {"box_data": [{"position": {"minX": 0}}]}}}, "box 0 of 'p' that is left out: its position has"),
        ({"boxes": {"p": {"box_data": [{"position": {"minX": 0, "maxX": "a", "minY": 0, "maxY": 1}}]}}}, "maxX is 'a'"),
        ({"boxes": {"p": {"box_data": [{"position": {"minX": 0, "maxX": float("nan"), "minY": 0, "maxY": 1}}]}}}, "nan"),
        ({"boxes": {"p": [1]}}, "has no 'box_data'"),
        ({"boxes": [1]}, "boxes that are a list"),
        ({"masks": {"m": {"mask_data": np.full((20, 30), 0.5)}}}, "has fractions or NaN"),
        ({"masks": {"m": {"mask_data": np.full((20, 30), 300)}}}, "from 300 to 300; 0 to 255 are possible"),
        ({"masks": {"m": {"mask_data": np.zeros((2, 20, 30))}}}, "(height, width) is needed"),
        ({"masks": {"m": {"path": "nowhere.png"}}}, "'nowhere.png', which is not there"),
        ({"masks": {"m": {"class_labels": {1: "a"}}}}, "has neither 'mask_data' nor 'path'"),
        ({"classes": [{"name": "cat"}]}, "has classes that are no list"),
        ({"mode": "XYZ"}, "has the mode 'XYZ', which is passed over"),
        ({"file_type": "exe"}, "has the file_type 'exe', which is passed over"),
    ],
)  # fmt: skip
def test_broken_decoration_leaves_the_image(
    log: Log, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any], said: str
) -> None:
    """What is wrong with it is said, with the key."""
    logged = log({"loss": 1.0, "image": tracker.Image(RGB, **arguments)})

    assert "'image' at step 0 has " in caplog.text
    assert said in caplog.text
    assert np.array_equal(pixels(logged, logged.value("image")), RGB)
    assert logged.value("loss") == 1.0


# --- guesses and faults ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.where(RGB[:, :, 0] > 100, np.nan, 0.5), "values that are NaN or infinite among its 600; they are drawn as 0"),
        (np.where(RGB[:, :, 0] > 100, np.inf, 0.5), "values that are NaN or infinite"),
        (RGB.astype(np.float32) / 2, "are taken for values of 0 to 255"),
        (RGB.astype(np.int32) - 100, "neither 0 to 1 nor 0 to 255"),
    ],
)  # fmt: skip
def test_guesses_are_said_once(log: Log, caplog: pytest.LogCaptureFixture, array: Any, said: str) -> None:
    """Though the numbers differ from step to step."""
    log(*({"image": tracker.Image(array * (1 + step / 1000))} for step in range(5)))

    assert caplog.text.count(said) == 1


def test_no_guess_is_made_where_none_is_wanted(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """`normalize=False` cuts off."""
    logged = log({"image": tracker.Image(np.array([[-5.0, 0.9], [100.4, 300.0]]), normalize=False)})

    assert pixels(logged, logged.value("image")).tolist() == [[0, 0], [100, 255]]
    assert "image" not in caplog.text.replace("media", "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((0, 5, 3)), "is empty: its shape is (0, 5, 3)"),
        (np.zeros((5, 5, 2)), "has the shape (5, 5, 2); 1, 3 or 4 channels"),
        (np.zeros((5, 5, 7)), "1, 3 or 4 channels are possible"),
        (np.zeros(5), "has the shape (5,)"),
        (np.zeros((1, 2, 3, 4, 5)), "has the shape (1, 2, 3, 4, 5)"),
        (np.full((5, 5), np.nan), "has no pixel that is a finite number"),
        (np.array([["a", "b"]]), "elements of type <U1"),
        (np.array([[object()]]), "elements of type object"),
        (np.zeros((5, 5), complex), "has complex numbers"),
        ([[1, 2], [3]], "is a list that is no array of numbers"),
        (np.broadcast_to(np.uint8(0), (100_000, 100_000)), "bytes (shape (100000, 100000))|at most 100,000,000 pixels"),
        ("nowhere.png", "names the file 'nowhere.png', which is not there"),
        (".", "names '.', which is no file"),
        ("https://example.org/a.png", "nothing is fetched"),
        (b"", "is empty"),
        (b"no image at all", "is no image that browsers show: it begins with b'no image'"),
        (None, "is an Image of a NoneType"),
        (5, "is an Image of a int"),
        ({"a": 1}, "is an Image of a dict"),
        (np, "is an Image of a module"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_named_with_its_reason(
    log: Log, caplog: pytest.LogCaptureFixture, value: Any, said: str
) -> None:
    """Nothing is raised, and the rest of the row is kept."""
    logged = log({"loss": 1.0, "image": tracker.Image(value)})

    assert "'image'" in caplog.text
    assert any(part in caplog.text for part in said.split("|"))
    assert logged.rows == [{"_step": 0, "loss": 1.0}]


def test_large_svg_and_odd_files_are_refused(log: Log, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Without reading them into memory, or waiting for a pipe."""
    svg = tmp_path / "large.svg"
    with open(svg, "wb") as file:
        file.write(b"<svg xmlns='http://www.w3.org/2000/svg'>")
        file.truncate(300 << 20)
    middle = tmp_path / "middle.svg"
    middle.write_bytes(b"<svg>".ljust(40 << 20))
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    logged = log({"svg": tracker.Image(svg), "middle": tracker.Image(middle), "pipe": tracker.Image(pipe), "loss": 1.0})

    assert "large.svg', which has 314,572,800 bytes; at most 67,108,864 are kept" in caplog.text
    assert "is an SVG of 41,943,040 bytes; at most 33,554,432 are kept" in caplog.text
    assert "pipe.png', which is no file" in caplog.text
    assert logged.rows == [{"_step": 0, "loss": 1.0}]


def test_a_damaged_file_is_kept_and_said(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody may still make something of it."""
    target = io.BytesIO()
    Pillow.fromarray(RGB).save(target, "PNG")
    data = target.getvalue()[:200]
    logged = log({"image": tracker.Image(data)})

    assert "'image' at step 0 cannot be decoded" in caplog.text
    assert logged.bytes_of(logged.value("image")) == data
