"""Small pictures of large ones, for pages that show many. Made while encoding, so that no server has to."""

from __future__ import annotations

import io
from typing import Any

from ..limits import MAX_THUMBNAIL_PIXELS
from .base import Blobs
from .pixels import shrunk
from .png import encode_png

_QUALITY = 80  # of WebP and JPEG, percent
_BROWSERS_SHOW = ("png", "jpg", "gif", "webp", "bmp", "avif")


def of_pixels(pixels: Any, blobs: Blobs, always: bool = False) -> dict[str, Any] | None:
    """Keep a thumbnail of pixels; None where they are small enough themselves, unless there is `always` to be one."""
    if not always and max(pixels.shape[:2]) <= MAX_THUMBNAIL_PIXELS:
        return None
    small = shrunk(pixels, MAX_THUMBNAIL_PIXELS)
    try:
        from PIL import Image
    except ImportError:  # then it is a PNG, some times as large
        return _kept(encode_png(small), "png", small.shape[1], small.shape[0], blobs)
    return _save(Image.fromarray(small[:, :, 0] if small.shape[2] == 1 else small), blobs)


def of_file(data: memoryview, format: str, blobs: Blobs) -> dict[str, Any] | None:
    """Keep a thumbnail of an encoded image.

    Returns:
        None where it is small enough itself, or Pillow is not there to read it.

    Raises:
        ValueError: It is damaged, or so large that it would not fit in memory.
    """
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) <= MAX_THUMBNAIL_PIXELS and format in _BROWSERS_SHOW:
                image.load()  # to see whether it is whole
                return None
            image.draft("RGB", (2 * MAX_THUMBNAIL_PIXELS, 2 * MAX_THUMBNAIL_PIXELS))
            image.thumbnail((MAX_THUMBNAIL_PIXELS, MAX_THUMBNAIL_PIXELS))
            return _save(image, blobs)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever the decoders of a dozen formats raise for damaged bytes
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _save(image: Any, blobs: Blobs) -> dict[str, Any]:
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image = image.convert("RGBA" if has_alpha else "RGB")
    target = io.BytesIO()
    try:
        image.save(target, "WEBP", quality=_QUALITY, method=2)
        format = "webp"
    except (OSError, KeyError):  # a Pillow that was built without it
        format = "png" if has_alpha else "jpg"
        image.save(target, "PNG" if has_alpha else "JPEG", quality=_QUALITY)
    return _kept(target.getvalue(), format, image.width, image.height, blobs)


def _kept(data: bytes, format: str, width: int, height: int, blobs: Blobs) -> dict[str, Any]:
    return {"digest": blobs.put(data), "size": len(data), "format": format, "width": width, "height": height}
