"""Things in space: models in the usual files, and clouds of points with boxes and vectors among them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..limits import MAX_INLINE_BOXES_BYTES, MAX_POINTS, MAX_SCENE_ITEMS
from ..values import Reference, Unstorable
from .arrays import ArrayCopy, copy_array, is_array
from .base import Blobs, Encodable, Media
from .content import Content, Whole, is_path, take_bytes, take_file
from .held import Held

_FILES = ("glb", "gltf", "obj", "stl", "babylon", "pts.json")
_COLUMNS = (3, 4, 6)


class Object3D(Media):
    """A thing in space.

    Args:
        data_or_path: The path of a file (`.glb`, `.gltf`, `.obj`, `.stl`, `.babylon`, `.pts.json`), an open file (then
            `file_type` says what it is), points as an array of the shape (points, 3), (points, 4) or (points, 6), or a
            dict of `points`, `boxes` and `vectors`. The columns are x, y, z; a fourth is a class from 1 to 14, a
            fourth to sixth are red, green and blue from 0 to 255.
        caption: A few words under it.
        kwargs: `file_type`, for an open file.

    Example:
        run.log({"cloud": tracker.Object3D(points)})
    """

    _type = "object3D-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        self._take(lambda: _taken(data_or_path, caption, kwargs.get("file_type")))

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """Make one of a file.

        Args:
            data_or_path: Its path, or an open file.
            file_type: What it is, where its name does not tell.
        """
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """Make one of points.

        Args:
            data: (points, 3), (points, 4) or (points, 6).
        """
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls,
        points: Any,
        boxes: Sequence[Mapping[str, Any]] = (),
        vectors: Sequence[Mapping[str, Any]] | None = None,
        point_cloud_type: str = "lidar/beta",
    ) -> Object3D:
        """Make one of points, with boxes and vectors among them.

        Args:
            points: (points, 3), (points, 4) or (points, 6).
            boxes: Dicts of `corners` (eight of them), `label` and `color`.
            vectors: Dicts of `start` and `end`.
            point_cloud_type: Accepted as in W&B.
        """
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors or ()})


class _Cloud(Encodable):
    def __init__(self, points: ArrayCopy, scene: dict[str, Any], facts: dict[str, Any]) -> None:
        self.points = points
        self.scene = scene
        self.facts = facts

    def held(self) -> tuple[Held]:
        return (self.points.held,)

    def encode(self, blobs: Blobs) -> Reference:
        import msgspec
        import numpy as np

        points = self.points.array().astype("<f4")
        strange = len(points) - int(np.count_nonzero(np.isfinite(points).all(axis=1)))
        if strange == len(points):
            raise Unstorable("has no point whose numbers are finite")
        self.notes = [f"has {strange:,} points with NaN or infinities among its {len(points):,}"] if strange else []
        count, columns = points.shape
        told = {"format": "f32", "points": count, "columns": columns}
        reference = Reference(_type="object3D-file", **Content(points.tobytes()).store(blobs), **told, **self.facts)
        for name, items in self.scene.items():
            data = msgspec.json.encode(items)
            if len(data) <= MAX_INLINE_BOXES_BYTES:
                reference[name] = items
            else:
                stored = {"digest": blobs.put(data), "size": len(data), "format": "json"}
                reference[name] = {"count": len(items), **stored}
        return reference


def _taken(value: Any, caption: str | None, file_type: str | None) -> Encodable:
    facts = {} if caption is None else {"caption": str(caption)}
    if isinstance(value, Mapping):
        if value.get("points") is None:
            raise Unstorable("is a dict without 'points'")
        scene = {name: _scene(name, value[name]) for name in ("boxes", "vectors") if _has_any(value.get(name))}
        return _Cloud(_points(value["points"]), scene, facts)
    if is_path(value) or hasattr(value, "read"):
        name = os.fspath(value) if is_path(value) else str(getattr(value, "name", ""))
        kind = _kind(name, file_type)
        content = take_file(value) if is_path(value) else take_bytes(value)
        if kind == "glb" and content.head(4) != b"glTF":
            raise Unstorable(f"is no glb file: it begins with {content.head(4)!r}")
        return Whole(content, _type="object3D-file", format=kind, **facts)
    if is_array(value) or isinstance(value, (list, tuple)):
        return _Cloud(_points(value), {}, facts)
    raise Unstorable(f"is an Object3D of a {type(value).__name__}; a path, points or a dict of them is needed")


def _has_any(items: Any) -> bool:
    return items is not None and len(items) > 0


def _kind(name: str, file_type: str | None) -> str:
    given = (file_type or "").lower().lstrip(".")
    kind = given or next((kind for kind in _FILES if name.lower().endswith(f".{kind}")), "")
    if kind not in _FILES:
        what = f"file_type {file_type!r}" if file_type else f"name {name[-80:]!r}"
        raise Unstorable(f"has the {what}, which is none of {', '.join(_FILES)}")
    return kind


def _points(value: Any) -> ArrayCopy:
    points = copy_array(value)
    if len(points.shape) != 2 or points.shape[1] not in _COLUMNS:
        raise Unstorable(f"has points of the shape {points.shape}; (points, 3), (points, 4) or (points, 6) is needed")
    if points.shape[0] > MAX_POINTS:
        raise Unstorable(f"has {points.shape[0]:,} points; at most {MAX_POINTS:,} are kept. Log a sample of them")
    return points


def _scene(name: str, items: Any) -> list[dict[str, Any]]:
    if len(items) > MAX_SCENE_ITEMS:
        raise Unstorable(f"has {len(items):,} {name}; at most {MAX_SCENE_ITEMS:,} are kept")
    needed = ("corners",) if name == "boxes" else ("start", "end")
    kept = []
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or any(key not in item for key in needed):
            raise Unstorable(f"has {name} whose item {number} is without {' and '.join(needed)}")
        one: dict[str, Any] = {}
        for key, value in item.items():
            one[str(key)] = str(value) if isinstance(value, str) else copy_array(value).array().tolist()
        if name == "boxes" and len(one["corners"]) != 8:
            raise Unstorable(f"has a box {number} of {len(one['corners'])} corners; a box has eight")
        kept.append(one)
    return kept
