"""Sizes as people write them: "500MiB", "20GiB"."""

from __future__ import annotations

import re

from .errors import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Answer a size in bytes; units are powers of 1024.

    Raises:
        UsageError: It is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no size; write 500MiB, or 20GiB.")
    return int(float(found[1]) * _UNITS[found[2].lower()])
