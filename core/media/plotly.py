"""Figures of plotly's, kept as the JSON that its JavaScript draws."""

from __future__ import annotations

from typing import Any

from ..limits import MAX_TEXT_BYTES
from ..values import Unstorable
from .base import Media
from .content import Content, Whole


class Plotly(Media):
    """A figure of plotly's; drawn anew in the browser, with zoom and hover.

    Args:
        val: A plotly figure, or a dict of `data` and `layout`.

    Example:
        run.log({"curve": tracker.Plotly(figure)})
    """

    _type = "plotly-file"

    def __init__(self, val: Any) -> None:
        self._take(lambda: Whole(Content(_json_of(val)), _type="plotly-file", format="json"))


def _json_of(figure: Any) -> bytes:
    import msgspec

    data: bytes
    if hasattr(figure, "to_json") and hasattr(figure, "to_plotly_json"):
        data = str(figure.to_json()).encode()
    elif isinstance(figure, dict) and "data" in figure:
        data = msgspec.json.encode(figure, enc_hook=_listed)
    else:
        raise Unstorable(f"is a {type(figure).__name__}, which is no plotly figure; it has neither data nor layout")
    if len(data) > MAX_TEXT_BYTES:
        raise Unstorable(f"is a figure of {len(data):,} bytes; at most {MAX_TEXT_BYTES:,} are kept. Draw fewer points")
    return data


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays
        return value.tolist()
    raise Unstorable(f"is a figure with a {type(value).__name__} in it, which is no JSON")
