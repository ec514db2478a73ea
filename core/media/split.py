"""Taking a row apart: what the encoder knows, and what is to be encoded behind the training thread's back."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from ..limits import MAX_GALLERY_ITEMS
from ..values import HasMedia, Reference, Unstorable, encode, holds_media, is_media
from .base import Encodable, Media

Taken = Encodable | Reference
_MAX_DEPTH = 32


class Split(NamedTuple):
    """A row, taken apart.

    Args:
        rest: What holds no media, nested as it was.
        media: Snapshots, by name; those in nested dicts have dotted names.
        faults: Names, and why what they stand for is left out.
    """

    rest: dict[Any, Any]
    media: dict[str, Taken | list[Taken]]
    faults: list[tuple[str, str]]


def split(data: Mapping[Any, Any]) -> Split:
    """Take a row apart; the snapshots of its media are taken here and now."""
    found = Split({}, {}, [])
    found.rest.update(_walk(data, "", found, _MAX_DEPTH))
    if not found.media and not found.faults:  # then one hides in a dataclass or the like
        for key, value in list(found.rest.items()):
            try:
                encode(value)
            except HasMedia as error:
                found.faults.append((str(key), str(error)))
                del found.rest[key]
            except Exception:  # noqa: S112 - met again, and said, where the rest is encoded
                continue
    return found


def _walk(data: Mapping[Any, Any], prefix: str, found: Split, depth: int) -> dict[Any, Any]:
    rest: dict[Any, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if not holds_media(value):
            rest[key] = value
        elif isinstance(value, Mapping):
            if inner := _walk(value, f"{name}.", found, depth - 1):
                rest[key] = inner
        elif isinstance(value, (list, tuple, set, frozenset)):
            _take_list(name, list(value), found)
        else:
            _take(name, value, found)
    return rest


def _take(name: str, value: Any, found: Split) -> None:
    try:
        found.media[name] = as_media(value).snapshot()
    except Unstorable as error:
        found.faults.append((name, str(error)))


def _take_list(name: str, items: list[Any], found: Split) -> None:
    taken: list[Taken] = []
    for number, item in enumerate(items):
        if number == MAX_GALLERY_ITEMS:
            found.faults.append((name, f"is a list of {len(items):,} media; the first {MAX_GALLERY_ITEMS:,} are kept"))
            break
        if not is_media(item):
            why = f"has a {type(item).__name__} in its list of media (item {number}), which is left out"
            found.faults.append((name, why))
            continue
        try:
            taken.append(as_media(item).snapshot())
        except Unstorable as error:
            found.faults.append((name, f"has an item {number} that {error}"))
    if taken:
        found.media[name] = taken


def as_media(value: Any) -> Media:
    """Answer a medium of ours for one of another library: an image of Pillow's, a figure."""
    if isinstance(value, Media):
        return value
    if not isinstance(value, ModuleType) and hasattr(value, "to_plotly_json"):
        from .plotly import Plotly

        return Plotly(value)
    from .image import Image

    return Image(value)
