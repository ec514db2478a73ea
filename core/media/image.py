"""Images: from arrays, files, bytes, Pillow and matplotlib, with boxes and masks over them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..limits import MAX_IMAGE_FILE_BYTES, MAX_TEXT_BYTES
from ..values import Reference, Unstorable
from . import thumbnail
from .annotations import Boxes, Classes, Masks, classes_of
from .arrays import ArrayCopy, copy_array, is_array
from .base import Blobs, Encodable, Media
from .content import Content, is_path, take_bytes, take_file
from .formats import sniff
from .held import Held
from .pictures import copy_figure, copy_pillow, figure_of, is_pillow
from .pixels import Pixels, check_shape, to_mode, to_pixels, without_alpha
from .png import encode_png

_MODES = ("L", "RGB", "RGBA")
_FILE_TYPES = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF"}
_HEAD_BYTES = 256 << 10  # a JPEG tells its size behind what the camera wrote


class Image(Media):
    """An image.

    It is taken as it is when this is called; what happens to the array, the file or the figure afterwards does not
    change it. Broken input is said when it is logged, under its name, and never raises.

    Args:
        data_or_path: The path of a file, its bytes, an array or tensor of any framework ((height, width), with 1, 3
            or 4 channels as the last or the first axis; several images, one axis more, become a grid), an image of
            Pillow's, a figure or axes of matplotlib's, or pyplot itself.
        mode: "L", "RGB" or "RGBA": what an array is turned into.
        caption: A few words under it.
        grouping: Accepted as in W&B.
        classes: The classes that boxes and masks speak of.
        boxes: Groups of boxes by name, as in W&B: `{"predictions": {"box_data": [...], "class_labels": {1: "cat"}}}`.
        masks: Groups of masks by name, as in W&B: `{"truth": {"mask_data": array, "class_labels": {1: "cat"}}}`.
        file_type: "png" (the default) or, where Pillow is installed, "jpg", "webp", "bmp" or "gif": how an array is
            kept. Files and bytes are kept as they are.
        normalize: Find out what range the numbers of an array are in: floats from 0 to 1 are multiplied by 255, whole
            numbers from 0 to 255 are taken as they are, and anything else is drawn from black to white, which is said
            once. False: what is below 0 or above 255 is cut off. Bytes (uint8) are never changed.

    Example:
        run.log({"sample": tracker.Image(array, caption="a cat")})
    """

    _type = "image-file"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[Mapping[str, Any]] | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        self._take(
            lambda: _ImageCopy(
                _taken(data_or_path), mode, caption, grouping, classes, boxes, masks, file_type, bool(normalize)
            )
        )

    @property
    def image(self) -> Any:
        """The image as one of Pillow's.

        Raises:
            MissingFramework: Pillow is not installed.
            Unstorable: The input was broken.
        """
        taken = self.snapshot()
        assert isinstance(taken, _ImageCopy)
        return taken.to_pillow()


class _ImageCopy(Encodable):
    """An image as it was."""

    def __init__(
        self,
        data: ArrayCopy | Content,
        mode: str | None,
        caption: str | None,
        grouping: int | None,
        classes: Any,
        boxes: Any,
        masks: Any,
        file_type: str | None,
        normalize: bool,
    ) -> None:
        self._given: list[str] = []  # notes
        self.data = data
        self.mode = self._one_of(_MODES, mode, "mode")
        self.file_type = (self._one_of(_FILE_TYPES, str(file_type or "png").lower(), "file_type") or "png").lower()
        self.normalize = normalize
        self.facts: dict[str, Any] = {}
        if caption is not None:
            self.facts["caption"] = str(caption)
        if grouping is not None:
            self.facts["grouping"] = int(grouping)
        if classes is not None:
            try:
                self.facts["classes"] = classes_of(classes)
            except Unstorable as error:
                self._given.append(f"{error}; they are left out")
        self.boxes = None if boxes is None else Boxes(boxes)
        self.masks = None if masks is None else Masks(masks)
        for drawn in (self.boxes, self.masks):
            self._given += [] if drawn is None else drawn.notes

    def _one_of(self, known: Any, value: str | None, name: str) -> str | None:
        if value is None or value in known:
            return value
        self._given.append(f"has the {name} {value!r}, which is passed over; it can be {', '.join(known)}")
        return None

    def held(self) -> list[Held]:
        own = [self.data.held] if isinstance(self.data, ArrayCopy) else list(self.data.held())
        return own + ([] if self.masks is None else self.masks.held())

    def encode(self, blobs: Blobs) -> Reference:
        notes = list(self._given)
        stored = self._of_pixels(blobs, notes) if isinstance(self.data, ArrayCopy) else self._of_file(blobs, notes)
        reference = Reference(_type="image-file", **stored, **self.facts)
        if self.boxes is not None:
            reference["boxes"] = self.boxes.store(blobs)
        if self.masks is not None:
            reference["masks"] = self.masks.store(blobs, notes)
        self.notes = notes
        return reference

    def _pixels(self) -> Pixels:
        assert isinstance(self.data, ArrayCopy)
        pixels, notes = to_pixels(self.data.array(), self.data.has_channels_first, self.normalize)
        return Pixels(without_alpha(pixels) if self.mode is None else to_mode(pixels, self.mode), notes)

    def _of_pixels(self, blobs: Blobs, notes: list[str]) -> dict[str, Any]:
        pixels, guesses = self._pixels()
        notes += guesses
        format = self.file_type
        encoded = encode_png(pixels) if format == "png" else _by_pillow(pixels, format, notes)
        if encoded is None:
            encoded, format = encode_png(pixels), "png"
        height, width = pixels.shape[:2]
        stored = {"digest": blobs.put(encoded, compress=False), "size": len(encoded), "format": format}
        stored.update(width=width, height=height)
        if small := thumbnail.of_pixels(pixels, blobs):
            stored["thumb"] = small
        return stored

    def _of_file(self, blobs: Blobs, notes: list[str]) -> dict[str, Any]:
        assert isinstance(self.data, Content)
        found = sniff(self.data.head(_HEAD_BYTES))
        assert found is not None
        stored = {**self.data.store(blobs), "format": found.name}
        if found.width is not None:
            stored.update(width=found.width, height=found.height)
        if found.name != "svg":
            try:
                small = thumbnail.of_file(self.data.read(), found.name, blobs)
            except ValueError as error:
                notes.append(f"cannot be decoded ({error}); its bytes are kept as they are")
            else:
                if small is not None:
                    stored["thumb"] = small
        return stored

    def to_pillow(self) -> Any:
        pillow = _pillow()
        if isinstance(self.data, Content):
            return pillow.open(io.BytesIO(self.data.read()))
        pixels = self._pixels().data
        return pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _taken(value: Any) -> ArrayCopy | Content:
    if isinstance(value, Image):
        taken = value.snapshot()
        assert isinstance(taken, _ImageCopy)
        return taken.data
    if is_path(value):
        return _checked(take_file(value, MAX_IMAGE_FILE_BYTES), f"names the file {str(value)[:200]!r}, which")
    if isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read"):
        return _checked(take_bytes(value, MAX_IMAGE_FILE_BYTES), "")
    if is_pillow(value):
        return copy_pillow(value)
    figure = figure_of(value)
    if figure is not None:
        return copy_figure(figure)
    if not is_array(value) and not isinstance(value, (list, tuple)):
        raise Unstorable(
            f"is an Image of a {type(value).__name__}; a path, bytes, an array, an image of Pillow's or a figure of "
            "matplotlib's is needed"
        )
    if is_array(value):
        check_shape(tuple(int(length) for length in value.shape))  # before anything is copied
    copy = copy_array(value)
    check_shape(copy.shape)
    return copy


def _checked(content: Content, what: str) -> Content:
    head = content.head(_HEAD_BYTES)
    found = sniff(head)
    if found is None:
        raise Unstorable(f"{what} is no image that browsers show: it begins with {head[:8]!r}".strip())
    if found.name == "svg" and content.size > MAX_TEXT_BYTES:
        raise Unstorable(f"{what} is an SVG of {content.size:,} bytes; at most {MAX_TEXT_BYTES:,} are kept".strip())
    return content


def _by_pillow(pixels: Any, format: str, notes: list[str]) -> bytes | None:
    try:
        from PIL import Image as pillow  # noqa: N813
    except ImportError:
        notes.append(f"is kept as PNG: file_type={format!r} needs Pillow. Install it: pip install pillow")
        return None
    image = pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if image.mode == "RGBA" and format in ("jpg", "jpeg"):
        image = image.convert("RGB")
    target = io.BytesIO()
    image.save(target, _FILE_TYPES[format])
    return target.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image as pillow  # noqa: N813
    except ImportError as error:
        from ..errors import MissingFramework

        raise MissingFramework("Pillow is needed for this. Install it: pip install pillow") from error
    return pillow
