"""Texts: plain, or in Markdown; long ones than a row should bear."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..limits import MAX_INLINE_TEXT_BYTES, MAX_TEXT_BYTES
from ..values import Reference, Unstorable
from .base import Encodable, Media
from .content import Content, Whole


class Text(Media):
    """A text: a sample of what a model writes, say.

    Args:
        data: The text; a `pathlib.Path` is read.
        caption: A few words under it.
        format: "text" or "markdown".

    Example:
        run.log({"sample": tracker.Text(model.generate(prompt))})
    """

    _type = "text"

    def __init__(self, data: Any, caption: str | None = None, format: Literal["text", "markdown"] = "text") -> None:
        self._take(lambda: _read(data, caption, format))


class Markdown(Text):
    """A text in Markdown.

    Args:
        data: The text; a `pathlib.Path` is read.
        caption: A few words under it.
    """

    def __init__(self, data: Any, caption: str | None = None) -> None:
        super().__init__(data, caption, "markdown")


def _read(data: Any, caption: str | None, format: str) -> Encodable | Reference:
    if format not in ("text", "markdown"):
        raise Unstorable(f"has the format {format!r}; it can be 'text' or 'markdown'")
    text = data.read_text(encoding="utf-8", errors="replace") if isinstance(data, Path) else str(data)
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) > MAX_TEXT_BYTES:
        raise Unstorable(f"has {len(encoded):,} bytes; at most {MAX_TEXT_BYTES:,} are kept as one text")
    reference = Reference(_type="text", format=format, size=len(encoded))
    if caption is not None:
        reference["caption"] = str(caption)
    if len(encoded) <= MAX_INLINE_TEXT_BYTES:
        reference["text"] = encoded.decode()
        return reference
    return Whole(Content(encoded), **reference)
