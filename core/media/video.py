"""Moving images: frames become a GIF (or, where PyAV or imageio is there, MP4 or WebM), files are kept as they are."""

from __future__ import annotations

import io
from typing import Any, Literal

from ..limits import MAX_IMAGE_PIXELS
from ..values import Reference, Unstorable
from . import thumbnail
from .arrays import ArrayCopy, copy_array, is_array
from .base import Blobs, Encodable, Media
from .content import Content, Whole, is_path, take_bytes, take_file
from .formats import sniff, sniff_video
from .held import Held
from .pixels import grid, to_bytes

_FORMATS = ("gif", "mp4", "webm", "ogg")
_CHANNELS = (1, 3, 4)
_DEFAULT_FPS = 4  # as in W&B


class Video(Media):
    """A moving image.

    Args:
        data_or_path: The path of a file (GIF, MP4, WebM, OGG), its bytes, or frames: an array or tensor of the shape
            (time, channels, height, width), or with the channels last; with one axis more before them, several videos
            play beside each other. Numbers are taken as those of an `Image`.
        caption: A few words under it.
        fps: Frames in a second, for arrays; 4 without it.
        format: "gif" (the default; needs Pillow), "mp4" or "webm" (need PyAV, `pip install av`, or imageio with one of
            its video plugins): how an array is kept.

    Example:
        run.log({"episode": tracker.Video(frames, fps=30)})
    """

    _type = "video-file"

    def __init__(
        self,
        data_or_path: Any,
        caption: str | None = None,
        fps: int | None = None,
        format: Literal["gif", "mp4", "webm", "ogg"] | None = None,
    ) -> None:
        self._take(lambda: _taken(data_or_path, caption, fps, format))


class _Frames(Encodable):
    def __init__(self, frames: ArrayCopy, fps: float, format: str, facts: dict[str, Any]) -> None:
        self.frames = frames
        self.fps = fps
        self.format = format
        self.facts = facts

    def held(self) -> tuple[Held]:
        return (self.frames.held,)

    def encode(self, blobs: Blobs) -> Reference:
        notes: list[str] = []
        frames = _frames(to_bytes(self.frames.array(), True, notes))
        encoded, format = _encoded(frames, self.fps, self.format, notes)
        self.notes = notes
        count, height, width, _ = frames.shape
        told = {
            "format": "ogv" if format == "ogg" else format,
            "width": width,
            "height": height,
            "frames": count,
            "fps": self.fps,
        }
        reference = Reference(_type="video-file", **Content(encoded).store(blobs), **told, **self.facts)
        reference["thumb"] = thumbnail.of_pixels(frames[0], blobs, always=True)
        return reference


def _taken(value: Any, caption: str | None, fps: float | None, format: str | None) -> Encodable:
    facts: dict[str, Any] = {} if caption is None else {"caption": str(caption)}
    if format is not None and format not in _FORMATS:
        raise Unstorable(f"has the format {format!r}; it can be {', '.join(_FORMATS)}")
    if is_path(value):
        return _file(take_file(value), f"names the file {str(value)[:200]!r}, which", facts)
    if isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read"):
        return _file(take_bytes(value), "", facts)
    if not is_array(value) and not isinstance(value, (list, tuple)):
        raise Unstorable(f"is a Video of a {type(value).__name__}; a path, bytes or an array of frames is needed")
    rate = float(fps or _DEFAULT_FPS)
    if not 0 < rate <= 1000:
        raise Unstorable(f"has fps={fps!r}; frames in a second are needed")
    if is_array(value):
        _check_shape(tuple(int(length) for length in value.shape))
    frames = copy_array(value)
    _check_shape(frames.shape)
    return _Frames(frames, rate, format or "gif", facts)


def _file(content: Content, what: str, facts: dict[str, Any]) -> Encodable:
    head = content.head(64)
    found = sniff_video(head)
    if found is None:
        raise Unstorable(f"{what} is no video that browsers play: it begins with {head[:12]!r}".strip())
    size = sniff(head) if found == "gif" else None
    if size is not None and size.width is not None:
        facts = {**facts, "width": size.width, "height": size.height}
    # As file names end: a server would take "ogg" for a sound.
    return Whole(content, _type="video-file", format="ogv" if found == "ogg" else found, **facts)


def _check_shape(shape: tuple[int, ...]) -> None:
    if not 3 <= len(shape) <= 5:
        raise Unstorable(
            f"has the shape {shape}; a video has (time, channels, height, width), several of them one axis more"
        )
    if 0 in shape:
        raise Unstorable(f"is empty: its shape is {shape}")
    if len(shape) > 3 and shape[-3] not in _CHANNELS and shape[-1] not in _CHANNELS:
        raise Unstorable(f"has the shape {shape}; 1, 3 or 4 channels are possible, before height and width or behind")
    height, width = _sides(shape)
    if height * width * (shape[0] if len(shape) == 5 else 1) > MAX_IMAGE_PIXELS:
        raise Unstorable(f"has the shape {shape}; at most {MAX_IMAGE_PIXELS:,} pixels in a frame are kept")


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 3:
        return shape[1], shape[2]
    return (shape[-2], shape[-1]) if shape[-3] in _CHANNELS else (shape[-3], shape[-2])


def _frames(array: Any) -> Any:
    """Answer (time, height, width, channels)."""
    import numpy as np

    if array.ndim == 3:
        return array[:, :, :, None]
    if array.shape[-3] in _CHANNELS:  # W&B's order
        array = np.moveaxis(array, -3, -1)
    if array.ndim == 5:
        return np.stack([grid(list(array[:, moment])) for moment in range(array.shape[1])])
    return array


def _encoded(frames: Any, fps: float, format: str, notes: list[str]) -> tuple[bytes, str]:
    if format in ("mp4", "webm", "ogg"):
        try:
            return _by_av(frames, fps, format), format
        except ImportError:
            pass
        try:
            return _by_imageio(frames, fps, format), format
        except ImportError:
            notes.append(f"is kept as GIF: format={format!r} needs PyAV. Install it: pip install av")
    return _gif(frames, fps), "gif"


def _gif(frames: Any, fps: float) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise Unstorable("is a Video of an array, which needs Pillow. Install it: pip install pillow") from None
    images = (Image.fromarray(one[:, :, 0] if one.shape[2] == 1 else one[:, :, :3]) for one in frames)
    target = io.BytesIO()
    next(images).save(target, "GIF", save_all=True, append_images=images, duration=1000 / fps, loop=0)
    return target.getvalue()


def _by_av(frames: Any, fps: float, format: str) -> bytes:
    from fractions import Fraction

    import av

    frames = _even(frames)
    target = io.BytesIO()
    codec = {"mp4": "libx264", "webm": "libvpx-vp9", "ogg": "libtheora"}[format]
    with av.open(target, "w", format=format) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"  # the only one that all browsers play
        for one in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def _by_imageio(frames: Any, fps: float, format: str) -> bytes:
    import imageio.v3 as imageio

    encoded: bytes = imageio.imwrite("<bytes>", list(_even(frames)), extension=f".{format}", fps=fps)
    return encoded


def _even(frames: Any) -> Any:
    """Answer frames in three colours whose sides are even, as video codecs want them; the last line is repeated."""
    import numpy as np

    _count, height, width, channels = frames.shape
    frames = np.repeat(frames, 3, axis=3) if channels == 1 else frames[:, :, :, :3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frames)
