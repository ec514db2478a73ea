"""Arrays of every framework: the same picture, whoever made it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker

from .conftest import Logged

Pillow = pytest.importorskip("PIL.Image")
Log = Callable[..., Logged]
RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def pixels(logged: Logged, key: str) -> Any:
    with Pillow.open(io.BytesIO(logged.bytes_of(logged.value(key)))) as image:
        return np.asarray(image)


def test_torch(log: Log) -> None:
    """Channels first, as torch has them; also with gradients, in half precisions, in views, and in batches."""
    torch = pytest.importorskip("torch")
    first = torch.from_numpy(RGB.transpose(2, 0, 1).copy())
    parameter = (first / 255).requires_grad_()
    narrow = torch.zeros(3, 20, 3)  # both axes could be channels
    changed = first.clone()
    image = tracker.Image(changed)
    changed.zero_()
    logged = log(
        {
            "bytes": tracker.Image(first),
            "last": tracker.Image(torch.from_numpy(RGB)),
            "gradient": tracker.Image(parameter),
            "half": tracker.Image((first / 255).to(torch.bfloat16)),
            "view": tracker.Image(first[:, ::2, ::3]),
            "channels last": tracker.Image(first[None].to(memory_format=torch.channels_last)[0]),
            "narrow": tracker.Image(narrow),
            "batch": tracker.Image(torch.stack([first, first])),
            "bool": tracker.Image(first[0] > 100),
            "changed": image,
            "histogram": tracker.Histogram(parameter),
            "masked": tracker.Image(first, masks={"m": {"mask_data": first[0]}}),
            "sound": tracker.Audio(torch.zeros(2, 1000), sample_rate=8),
            "video": tracker.Video(torch.stack([first] * 3)),
        }
    )

    for key in ("bytes", "last", "gradient", "channels last", "changed", "masked"):
        assert np.array_equal(pixels(logged, key), RGB), key
    assert np.abs(pixels(logged, "half").astype(int) - RGB).max() <= 1
    assert np.array_equal(pixels(logged, "view"), RGB[::2, ::3])
    assert pixels(logged, "narrow").shape == (20, 3, 3)
    assert pixels(logged, "batch").shape == (20, 62, 3)
    assert np.array_equal(pixels(logged, "bool"), (RGB[:, :, 0] > 100) * np.uint8(255))
    assert sum(logged.value("histogram")["values"]) == RGB.size
    assert (logged.value("sound")["channels"], logged.value("video")["frames"]) == (2, 3)


def test_jax(log: Log) -> None:
    """Also what is still being computed."""
    jnp = pytest.importorskip("jax.numpy")
    array = jnp.asarray(RGB)
    logged = log(
        {
            "last": tracker.Image(array),
            "first": tracker.Image(array.transpose(2, 0, 1)),
            "floats": tracker.Image(array / 255),
            "half": tracker.Image((array / 255).astype(jnp.bfloat16)),
            "histogram": tracker.Histogram(array),
        }
    )

    for key in ("last", "first", "floats"):
        assert np.abs(pixels(logged, key).astype(int) - RGB).max() <= (1 if key == "floats" else 0), key
    assert np.abs(pixels(logged, "half").astype(int) - RGB).max() <= 1
    assert sum(logged.value("histogram")["values"]) == RGB.size


def test_tensorflow(log: Log) -> None:
    """Tensors and variables."""
    tf = pytest.importorskip("tensorflow")
    tensor = tf.constant(RGB)
    variable = tf.Variable(tensor)
    image = tracker.Image(variable)
    variable.assign(tf.zeros_like(tensor))
    logged = log(
        {
            "tensor": tracker.Image(tensor),
            "floats": tracker.Image(tf.cast(tensor, tf.float32) / 255),
            "half": tracker.Image(tf.cast(tf.cast(tensor, tf.float32) / 255, tf.bfloat16)),
            "variable": image,
            "histogram": tracker.Histogram(tensor),
        }
    )

    for key in ("tensor", "floats", "variable"):
        assert np.array_equal(pixels(logged, key), RGB), key
    assert np.abs(pixels(logged, "half").astype(int) - RGB).max() <= 1
    assert sum(logged.value("histogram")["values"]) == RGB.size


# --- devices ---------------------------------------------------------------------------------


class Device:
    """Where the tensors lie."""

    type = "cuda"


class Event:
    """An event of a device that has not come to it yet; whoever waits on the training thread is caught."""

    has_passed = threading.Event()
    training: int = 0

    def __init__(self, blocking: bool = False) -> None:
        return

    def record(self, *_: Any) -> None:
        return

    def query(self) -> bool:
        return self.has_passed.is_set()

    def synchronize(self) -> None:
        assert threading.get_ident() != self.training, "the training thread waits for the device"
        assert self.has_passed.wait(60)


class OnDevice:
    """A tensor on a device, as torch has them: its copy is only whole when the event has passed."""

    dtype = "torch.uint8"
    is_sparse = False

    def __init__(self, array: Any, device: Any) -> None:
        self._array = array
        self.device = device
        self.shape = array.shape

    def detach(self) -> OnDevice:
        return self

    def numel(self) -> int:
        return int(self._array.size)

    def to(self, where: str, non_blocking: bool = False) -> Any:
        assert (where, non_blocking) == ("cpu", True)
        return OnDevice(self._array, None)

    def numpy(self) -> Any:
        assert self.device is None, "a tensor on a device is read"
        assert Event.has_passed.is_set(), "the copy is read before it is whole"
        return self._array

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a tensor on a device is read")


def test_a_tensor_on_a_device_is_not_waited_for(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the image is made nor where it is logged; the numbers beside it are kept at once."""
    torch = type(
        "torch", (), {"cuda": type("cuda", (), {"Event": Event, "current_stream": staticmethod(lambda *_: None)})}
    )
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    monkeypatch.setattr(Event, "training", threading.get_ident())
    monkeypatch.setattr(Event, "has_passed", threading.Event())
    run = tracker.init(project="media", dir=tmp_path)
    run.log({"loss": 0.5, "image": tracker.Image(OnDevice(RGB.transpose(2, 0, 1), Device()))})
    before = Logged(tmp_path).rows
    Event.has_passed.set()
    run.finish()

    assert before == [{"_step": 0, "loss": 0.5}]
    assert np.array_equal(pixels(Logged(tmp_path), "image"), RGB)


@pytest.mark.gpu
def test_images_on_a_real_gpu(tmp_path: Path) -> None:
    """Nothing waits for it, and what was there when the image was made is kept, though it is written over right after."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    tensor = torch.from_numpy(RGB.transpose(2, 0, 1).copy()).cuda()
    same, other = tensor.clone(), torch.zeros_like(tensor)
    with tracker.init(project="media", dir=tmp_path) as run:
        run.log({"first": tracker.Image(tensor)})  # what is only done once may wait
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in range(50):
                torch.cuda._sleep(1_000_000)  # the device is behind
                run.log({"image": tracker.Image(tensor), "loss": tensor[0, 0, 0], "step": step})
                tensor.copy_(other)
                tensor.copy_(same)
            half = tracker.Image((tensor / 255).to(torch.bfloat16))
            sound = tracker.Audio(torch.zeros(2, 1000, device="cuda"), sample_rate=8)
            run.log({"half": half, "histogram": tracker.Histogram(tensor), "sound": sound})
        finally:
            torch.cuda.set_sync_debug_mode("default")
    logged = Logged(tmp_path)

    images = [row["image"] for row in logged.rows if "image" in row]
    assert len(images) == 50
    for reference in images:
        with Pillow.open(io.BytesIO(logged.bytes_of(reference))) as image:
            assert np.array_equal(np.asarray(image), RGB)
    assert [row["loss"] for row in logged.rows if "loss" in row] == [RGB[0, 0, 0]] * 50
    assert np.abs(pixels(logged, "half").astype(int) - RGB).max() <= 1
    assert sum(logged.value("histogram")["values"]) == RGB.size
    assert logged.value("sound")["channels"] == 2
