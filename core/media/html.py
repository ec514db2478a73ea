"""Pages of HTML. They are nobody's but their author's: whoever shows them must keep them in a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..limits import MAX_TEXT_BYTES
from ..values import Unstorable
from .base import Media
from .content import Content, Whole, take_bytes, take_file

# Links lead out of the frame that the page is shown in; and it looks like a page.
_INJECTED = '<base target="_blank"><meta charset="utf-8"><style>body{font-family:sans-serif}</style>'


class Html(Media):
    """A page of HTML, shown in a frame that reaches nothing else.

    Args:
        data: HTML, an open file of it, or the path of a file that ends in `.html`.
        inject: Put a plain style into its head, and let its links open pages of their own.
        data_is_not_path: Never take `data` for a path.
        caption: A few words under it.

    Example:
        run.log({"report": tracker.Html("<h1>Fine</h1>")})
    """

    _type = "html-file"

    def __init__(
        self, data: Any, inject: bool = True, data_is_not_path: bool = False, caption: str | None = None
    ) -> None:
        self._take(lambda: _taken(data, inject, data_is_not_path, caption))


def _taken(data: Any, inject: bool, data_is_not_path: bool, caption: str | None) -> Whole:
    if not data_is_not_path and _is_html_file(data):
        content = take_file(data, MAX_TEXT_BYTES)
    elif isinstance(data, (str, bytes)) or hasattr(data, "read"):
        content = take_bytes(data, MAX_TEXT_BYTES)
    else:
        raise Unstorable(f"is Html of a {type(data).__name__}; a text, an open file or the path of one is needed")
    if inject:
        content = Content(_injected(bytes(content.read())))
    facts = {} if caption is None else {"caption": str(caption)}
    return Whole(content, _type="html-file", format="html", **facts)


def _is_html_file(data: Any) -> bool:
    if isinstance(data, Path):
        return True
    is_name = isinstance(data, str) and len(data) < 4096 and "<" not in data and "\n" not in data
    return is_name and data.lower().endswith((".html", ".htm"))


def _injected(page: bytes) -> bytes:
    lower = page[: 64 << 10].lower()
    for opening in (b"<head", b"<html"):
        start = lower.find(opening)
        end = lower.find(b">", start)
        if start >= 0 and end >= 0:
            return page[: end + 1] + _INJECTED.encode() + page[end + 1 :]
    return b"<html><head>" + _INJECTED.encode() + b"</head><body>" + page + b"</body></html>"
