"""From arrays of numbers to pixels: where the channels are, and what the numbers mean."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..limits import GRID_COLUMNS, MAX_IMAGE_PIXELS
from ..values import Unstorable

_CHANNELS = (1, 3, 4)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's
_GRID_GAP = 2  # pixels


class Pixels(NamedTuple):
    """Pixels, and what had to be guessed on the way to them.

    Args:
        data: Unsigned bytes, (height, width, channels).
        notes: Sentences, to be read behind the key.
    """

    data: Any
    notes: list[str]


def check_shape(shape: tuple[int, ...]) -> None:
    """See whether an array can be an image.

    Raises:
        Unstorable: It cannot.
    """
    if not 2 <= len(shape) <= 4:
        raise Unstorable(
            f"has the shape {shape}; an image has (height, width), (height, width, channels) or (channels, height, "
            "width), several of them one axis more"
        )
    if 0 in shape:
        raise Unstorable(f"is empty: its shape is {shape}")
    one = shape[-3:]
    if len(one) == 3 and one[0] not in _CHANNELS and one[2] not in _CHANNELS:
        raise Unstorable(f"has the shape {shape}; 1, 3 or 4 channels are possible, as the first or the last axis")
    count = 1
    for length in shape:
        count *= length
    if count // (one[0] if len(one) == 3 and one[2] not in _CHANNELS else one[-1] if len(one) == 3 else 1) > (
        MAX_IMAGE_PIXELS
    ):
        raise Unstorable(f"has the shape {shape}; at most {MAX_IMAGE_PIXELS:,} pixels are kept")


def to_pixels(array: Any, has_channels_first: bool, normalize: bool) -> Pixels:
    """Answer the pixels of an array of numbers.

    Args:
        array: Of a shape that `check_shape` lets pass.
        has_channels_first: Prefer (channels, height, width) where both are possible.
        normalize: Find out what range the numbers are in; else they are taken as 0..255.

    Raises:
        Unstorable: No number in it is finite.
    """
    notes: list[str] = []
    pixels = to_bytes(array, normalize, notes)
    if pixels.ndim == 2:
        return Pixels(pixels[:, :, None], notes)
    if pixels.ndim == 3:
        return Pixels(_channels_last(pixels, has_channels_first), notes)
    # (batch, ...): one picture of all of them
    return Pixels(grid([_channels_last(one, has_channels_first) for one in pixels]), notes)


def _channels_last(pixels: Any, has_channels_first: bool) -> Any:
    first, last = pixels.shape[0] in _CHANNELS, pixels.shape[2] in _CHANNELS
    return pixels.transpose(1, 2, 0) if first and (has_channels_first or not last) else pixels


def to_bytes(array: Any, normalize: bool, notes: list[str]) -> Any:
    """Answer an array of unsigned bytes, of the same shape.

    Args:
        array: Numbers.
        normalize: See `to_pixels`.
        notes: Takes what had to be guessed.

    Raises:
        Unstorable: No number in it is finite.
    """
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        array = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)
        is_finite = np.isfinite(array)
        strange = array.size - int(np.count_nonzero(is_finite))
        if strange == array.size:
            raise Unstorable("has no pixel that is a finite number")
        if strange:
            notes.append(
                f"has {strange:,} values that are NaN or infinite among its {array.size:,}; they are drawn as 0"
            )
            low, high = float(array[is_finite].min()), float(array[is_finite].max())
            array = np.where(is_finite, array, 0)
        else:
            low, high = float(array.min()), float(array.max())
    else:
        low, high = int(array.min()), int(array.max())
    if not normalize:
        return array.clip(0, 255).astype(np.uint8)
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return (array * 255 + 0.5).astype(np.uint8)
    if low >= 0 and high <= 255:
        if array.dtype.kind == "f":
            notes.append(f"has floats from {low:g} to {high:g}, which are taken for values of 0 to 255")
            array = array + 0.5
        return array.clip(0, 255).astype(np.uint8)
    notes.append(
        f"has values from {low:g} to {high:g}, neither 0 to 1 nor 0 to 255; they are drawn from black to white. "
        "Give normalize=False to cut them off at 0 and 255 instead"
    )
    span = float(high) - float(low) or 1.0
    return ((array.astype(np.float64) - low) * (255 / span)).clip(0, 255).round().astype(np.uint8)


def grid(images: list[Any]) -> Any:
    """Answer several images as one: eight beside each other, two pixels between them.

    Args:
        images: All (height, width, channels), of one shape.
    """
    import numpy as np

    height, width, channels = images[0].shape
    columns = min(GRID_COLUMNS, len(images))
    lines = -(-len(images) // columns)
    high, wide = height + _GRID_GAP, width + _GRID_GAP
    canvas = np.zeros((lines * high - _GRID_GAP, columns * wide - _GRID_GAP, channels), np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * high, number % columns * wide
        canvas[top : top + height, left : left + width] = image
    return canvas


def to_mode(pixels: Any, mode: str) -> Any:
    """Answer pixels as "L", "RGB" or "RGBA"."""
    import numpy as np

    channels = pixels.shape[2]
    if mode == "L":
        if channels == 1:
            return pixels
        return (pixels[:, :, :3] @ np.array(_LUMA) + 0.5).astype(np.uint8)[:, :, None]
    if channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if mode == "RGB":
        return pixels[:, :, :3]
    if pixels.shape[2] == 3:
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    return pixels


def without_alpha(pixels: Any) -> Any:
    """Answer the pixels without their fourth channel, if it says nothing."""
    return pixels[:, :, :3] if pixels.shape[2] == 4 and (pixels[:, :, 3] == 255).all() else pixels


def shrunk(pixels: Any, limit: int) -> Any:
    """Answer the pixels at most `limit` wide and high, each the mean of what it stands for."""
    import numpy as np

    height, width, channels = pixels.shape
    factor = -(-max(height, width) // limit)
    if factor <= 1:
        return pixels
    tall, wide = -height % factor, -width % factor
    padded = np.pad(pixels, ((0, tall), (0, wide), (0, 0)), mode="edge")
    blocks = padded.reshape((height + tall) // factor, factor, (width + wide) // factor, factor, channels)
    return blocks.mean(axis=(1, 3), dtype=np.float32).round().astype(np.uint8)
