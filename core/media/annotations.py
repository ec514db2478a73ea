"""What is drawn over images: boxes and masks, with the names of their classes. The structures are W&B's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..limits import MAX_BOXES, MAX_INLINE_BOXES_BYTES
from ..values import Reference, Unstorable
from .arrays import ArrayCopy, copy_array
from .base import Blobs, Media
from .content import Content, take_file
from .png import encode_png

_CORNERS = ("minX", "maxX", "minY", "maxY")


class Classes(Media):
    """The classes that boxes and masks speak of.

    Args:
        class_set: Dicts with an `id` (a whole number) and a `name`.

    Example:
        tracker.Classes([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
    """

    _type = "classes"

    def __init__(self, class_set: Sequence[Mapping[str, Any]]) -> None:
        self._take(lambda: Reference(_type="classes", classes=classes_of(class_set)))


def classes_of(classes: Any) -> list[dict[str, Any]]:
    """Answer classes as they stand in a reference.

    Raises:
        Unstorable: They are no classes.
    """
    if isinstance(classes, Classes):
        return list(classes.snapshot()["classes"])  # type: ignore[index] # it is a Reference
    if isinstance(classes, Mapping):
        classes = [{"id": number, "name": name} for number, name in classes.items()]
    try:
        return [{"id": int(one["id"]), "name": str(one["name"])} for one in classes]
    except (TypeError, KeyError, ValueError) as error:
        raise Unstorable(
            f"has classes that are no list of {{'id': 1, 'name': 'cat'}} ({type(error).__name__}: {error})"
        ) from error


def _labels(group: Mapping[str, Any]) -> dict[str, Any]:
    labels = group.get("class_labels")
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise Unstorable(f"has class_labels that are a {type(labels).__name__}; a dict of names by number is needed")
    return {"class_labels": {str(int(number)): str(name) for number, name in labels.items()}}


# --- boxes ---------------------------------------------------------------------------------


class Boxes:
    """Groups of boxes, checked.

    Args:
        groups: By name: `{"box_data": [...], "class_labels": {1: "cat"}}`.
    """

    def __init__(self, groups: Any) -> None:
        self.notes: list[str] = []
        self._groups: dict[str, dict[str, Any]] = {}
        if not isinstance(groups, Mapping):
            self.notes.append(f"has boxes that are a {type(groups).__name__}, which are left out; a dict is needed")
            return
        for name, group in groups.items():
            try:
                self._groups[str(name)] = self._group(name, group)
            except Unstorable as error:
                self.notes.append(f"has a group of boxes {name!r} that {error}; it is left out")

    def _group(self, name: Any, group: Any) -> dict[str, Any]:
        if not isinstance(group, Mapping) or "box_data" not in group:
            raise Unstorable("has no 'box_data'")
        kept: list[dict[str, Any]] = []
        for number, box in enumerate(group["box_data"]):
            if sum(len(each["box_data"]) for each in self._groups.values()) + len(kept) >= MAX_BOXES:
                self.notes.append(f"has more than {MAX_BOXES:,} boxes; the first ones are kept")
                break
            try:
                kept.append(_box(box))
            except (Unstorable, TypeError, ValueError, KeyError) as error:
                self.notes.append(f"has a box {number} of {name!r} that is left out: {error}")
        return {"box_data": kept, **_labels(group)}

    def store(self, blobs: Blobs) -> dict[str, Any]:
        """Answer the groups as they stand in a reference: many boxes as a blob."""
        import msgspec

        found: dict[str, Any] = {}
        for name, group in self._groups.items():
            data = msgspec.json.encode(group["box_data"])
            if len(data) <= MAX_INLINE_BOXES_BYTES:
                found[name] = group
            else:
                rest = {key: value for key, value in group.items() if key != "box_data"}
                stored = {"digest": blobs.put(data), "size": len(data), "format": "json"}
                found[name] = {"count": len(group["box_data"]), **stored, **rest}
        return found


def _box(box: Any) -> dict[str, Any]:
    if not isinstance(box, Mapping) or not isinstance(box.get("position"), Mapping):
        raise Unstorable("it has no 'position'")
    position = box["position"]
    if all(key in position for key in _CORNERS):
        kept: dict[str, Any] = {"position": {key: _finite(position[key], key) for key in _CORNERS}}
    elif all(key in position for key in ("middle", "width", "height")):
        x, y = (_finite(value, "middle") for value in position["middle"])
        sides = {key: _finite(position[key], key) for key in ("width", "height")}
        kept = {"position": {"middle": [x, y], **sides}}
    else:
        raise Unstorable("its position has neither minX, maxX, minY and maxY nor middle, width and height")
    domain = box.get("domain")
    if domain not in (None, "pixel", "percentage"):
        raise Unstorable(f"its domain is {domain!r}; it can be 'pixel', or None for parts of the image")
    if domain == "pixel":
        kept["domain"] = domain
    if box.get("class_id") is not None:
        kept["class_id"] = int(box["class_id"])
    if box.get("box_caption") is not None:
        kept["box_caption"] = str(box["box_caption"])
    if box.get("scores"):
        kept["scores"] = {str(name): _finite(score, "score") for name, score in box["scores"].items()}
    return kept


def _finite(value: Any, name: str) -> int | float:
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number - number != 0:
        raise Unstorable(f"its {name} is {value!r}, no finite number")
    return number


# --- masks ---------------------------------------------------------------------------------


class Masks:
    """Groups of masks, their numbers copied.

    Args:
        groups: By name: `{"mask_data": array}` or `{"path": file}`, and `"class_labels": {1: "cat"}`.
    """

    def __init__(self, groups: Any) -> None:
        self.notes: list[str] = []
        self._groups: dict[str, tuple[ArrayCopy | Content, dict[str, Any]]] = {}
        if not isinstance(groups, Mapping):
            self.notes.append(f"has masks that are a {type(groups).__name__}, which are left out; a dict is needed")
            return
        for name, group in groups.items():
            try:
                self._groups[str(name)] = _mask(group), _labels(group)
            except Exception as error:  # whatever the values' own methods may raise
                self.notes.append(f"has a mask {name!r} that {error}; it is left out")

    def held(self) -> list[Any]:
        """Answer what could wait on disk."""
        return [
            held
            for data, _ in self._groups.values()
            for held in ((data.held,) if isinstance(data, ArrayCopy) else data.held())
        ]

    def store(self, blobs: Blobs, notes: list[str]) -> dict[str, Any]:
        """Keep the masks, each as a grey PNG whose values are the numbers of classes; answer the references."""
        found: dict[str, Any] = {}
        for name, (data, labels) in self._groups.items():
            try:
                stored = _encoded(data, blobs)
            except Unstorable as error:
                notes.append(f"has a mask {name!r} that {error}; it is left out")
            else:
                found[name] = {**stored, **labels}
        return found


def _mask(group: Any) -> ArrayCopy | Content:
    if isinstance(group, Mapping) and group.get("path") is not None:
        content = take_file(group["path"])
        if content.head(8) != b"\x89PNG\r\n\x1a\n":
            raise Unstorable(f"names the file {group['path']}, which is no PNG")
        return content
    if not isinstance(group, Mapping) or group.get("mask_data") is None:
        raise Unstorable("has neither 'mask_data' nor 'path'")
    copy = copy_array(group["mask_data"])
    return copy._replace(shape=_flat(copy.shape))


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Answer (height, width), also where a mask bears its one channel."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        return shape[1:] if shape[0] == 1 else shape[:2]
    if len(shape) != 2:
        raise Unstorable(f"has the shape {shape}; (height, width) is needed")
    return shape


def _encoded(data: ArrayCopy | Content, blobs: Blobs) -> dict[str, Any]:
    import numpy as np

    if isinstance(data, Content):
        from .formats import sniff

        found = sniff(data.head(1024))
        size = {} if found is None or found.width is None else {"width": found.width, "height": found.height}
        return {**data.store(blobs), "format": "png", **size}
    array = data.array()
    if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):  # NaN is not equal to itself
        raise Unstorable("has fractions or NaN; whole numbers of classes are needed")
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise Unstorable(f"has numbers of classes from {low} to {high}; 0 to 255 are possible")
    png = encode_png(array.astype(np.uint8)[:, :, None])
    height, width = array.shape
    return {"digest": blobs.put(png), "size": len(png), "format": "png", "width": width, "height": height}
