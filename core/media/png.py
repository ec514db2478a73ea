"""Writing PNG: a page of code that spares every user the need for an image library.

Filtered line by line as the format's authors advise, it is as small as what Pillow writes and takes no longer.
Source: PNG (Third Edition), W3C Recommendation, sections 5, 9 and 12.7.
"""

from __future__ import annotations

import zlib
from struct import pack
from typing import Any

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA
_LEVEL = 3  # beyond, photographs take twice the time for a few percent
_STRIPE_BYTES = 128 << 10  # filtered at a time: bounds the memory, and training gets its turn in between


def encode_png(pixels: Any) -> bytes:
    """Encode pixels.

    Args:
        pixels: An array of unsigned bytes of the shape (height, width, channels), with 1, 3 or 4 channels.
    """
    height, width, channels = pixels.shape
    header = pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    packer = zlib.compressobj(_LEVEL)
    lines = pixels.reshape(height, width * channels)
    count = max(1, _STRIPE_BYTES // (width * channels))
    packed = [packer.compress(_filtered(lines, start, start + count, channels)) for start in range(0, height, count)]
    packed.append(packer.flush())
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(packed)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _filtered(lines: Any, start: int, end: int, channels: int) -> Any:
    """Answer lines, each behind the number of its filter: the one whose outcome is nearest to zero."""
    import numpy as np

    stripe = lines[start:end]
    count, width = stripe.shape
    tried = np.empty((3, count, width), np.uint8)
    tried[:] = stripe
    tried[1][:, channels:] -= stripe[:, :-channels]  # 1: what lies to the left
    tried[2][1:] -= stripe[:-1]  # 2: what lies above
    if start:
        tried[2][0] -= lines[start - 1]
    weight = np.abs(tried.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64)
    best = weight.argmin(0)
    out = np.empty((count, 1 + width), np.uint8)
    out[:, 0] = best
    out[:, 1:] = tried[best, np.arange(count)]
    return out
