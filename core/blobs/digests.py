"""Digests: BLAKE3 of the plain bytes, in 64 hexadecimal digits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blake3 import blake3

    Bytes = bytes | bytearray | memoryview

_DIGEST = re.compile(r"[0-9a-f]{64}")


def new_digest() -> blake3:
    """Begin a digest; it takes bytes by `update` and gives the GIL away meanwhile."""
    from blake3 import blake3  # only where there are bytes to name: a run that logs numbers never loads it

    return blake3()


def digest_of(data: Bytes) -> str:
    """Answer the digest of bytes."""
    from blake3 import blake3

    return blake3(data).hexdigest()


def is_digest(text: object) -> bool:
    """Answer whether this is a digest as we write them."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """Answer the digest, which comes from outside and becomes a path.

    Raises:
        FileNotFoundError: It is none, so that it names nothing.
    """
    if not is_digest(text):
        raise FileNotFoundError(f"{str(text)[:80]!r} is no digest: 64 digits of 0-9 and a-f are.")
    return text
