"""What stands in TensorBoard's events, as values that a run can log.

Events come as protocol buffers of three libraries that agree on the names of their fields, so none is imported here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import tracker

MAX_BINS = 512
"""Of a histogram; TensorBoard's may have 1,500, and neighbours are put together."""
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4",
          23: "<u8"}  # fmt: skip
_LISTS = {1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 9: "int64_val",
          10: "bool_val", 17: "int_val", 22: "uint32_val", 23: "uint64_val"}  # fmt: skip
_SINGLE = struct.Struct("<f")
_pack, _unpack = _SINGLE.pack, _SINGLE.unpack
_TEXT = 7
_HALF = 19


class Known(NamedTuple):
    """What one value of an event says.

    Args:
        tag: Its name.
        value: For a row; None where there is only `config`.
        config: For the config.
    """

    tag: str
    value: Any
    config: dict[str, Any] | None = None


def values_of(event: Any, plugins: dict[str, str]) -> Iterator[Known]:
    """Answer what an event says, one by one; what is not understood is left out.

    Args:
        event: An `Event`.
        plugins: By tag: what its values are for. Writers say it once for each tag; it is kept here.
    """
    for value in event.summary.value:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield Known(value.tag, number(value.simple_value))
            continue
        plugin = value.metadata.plugin_data.plugin_name or plugins.get(value.tag, "")
        if plugin:
            plugins[value.tag] = plugin
        if plugin == "hparams":
            config = _hparams(value)
            if config:
                yield Known(value.tag, None, config)
            continue
        with tracker.guard(f"the {plugin or kind} {value.tag!r} of TensorBoard"):
            found = _value(value, kind, plugin)
            if found is not None:
                yield Known(value.tag.removesuffix("/text_summary") if plugin == "text" else value.tag, found)


def number(value: float) -> float:
    """Answer what was written: 0.1 stands in the file as 0.10000000149, the nearest number of 32 bits."""
    try:
        for text in ("%.7g", "%.8g"):
            short = float(text % value)
            if _unpack(_pack(short)) == (value,):
                return short
    except OverflowError:  # beyond 32 bits: it comes from elsewhere
        pass
    return value


def _value(value: Any, kind: str | None, plugin: str) -> Any:
    if kind == "image":
        return _picture(value.image.encoded_image_string)
    if kind == "histo":
        return _histogram(value.histo)
    if kind == "audio":
        return tracker.Audio(value.audio.encoded_audio_string)
    if kind != "tensor":
        return None
    if value.tensor.dtype == _TEXT:
        texts = list(value.tensor.string_val)
        shape = [axis.size for axis in value.tensor.tensor_shape.dim]
        if plugin == "images":  # width and height come first
            pictures = [_picture(one) for one in texts[2:]]
            return pictures[0] if len(pictures) == 1 else pictures or None
        if plugin == "audio":
            sounds = [tracker.Audio(one) for one in (texts[::2] if len(shape) == 2 else texts)]
            return sounds[0] if len(sounds) == 1 else sounds or None
        return tracker.Markdown(_text(texts, shape)) if plugin in ("text", "") else None
    if plugin not in ("scalars", "histograms", "pr_curves", ""):
        return None
    array = _array(value.tensor)
    if plugin == "histograms":
        return _ranges(array)
    if plugin == "pr_curves":
        return _curve(array)
    if array.size != 1:
        return None
    found = array.reshape(-1)[0]
    return number(float(found)) if found.dtype.itemsize == 4 and found.dtype.kind == "f" else found.item()


def _array(tensor: Any) -> Any:
    import numpy as np

    shape = [axis.size for axis in tensor.tensor_shape.dim]
    kind = np.dtype(_TYPES[tensor.dtype])
    if tensor.tensor_content:
        flat = np.frombuffer(tensor.tensor_content, kind)
    elif tensor.dtype == _HALF:
        flat = np.array(tensor.half_val, np.uint16).view(kind)
    else:
        flat = np.array(getattr(tensor, _LISTS[tensor.dtype]), kind)
    count = math.prod(shape)
    if flat.size == 1 and count > 1:  # one value stands for all
        flat = np.repeat(flat, count)
    return flat.reshape(shape)


def _picture(data: bytes) -> Any:
    return tracker.Video(data) if data[:4] == b"GIF8" else tracker.Image(data)


def _text(texts: list[bytes], shape: list[int]) -> str:
    cells = [one.decode(errors="replace") for one in texts]
    if len(shape) != 2 or not cells:
        return "\n\n".join(cells)
    rows = [cells[start : start + shape[1]] for start in range(0, len(cells), shape[1])]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * shape[1], *lines[1:]])


def _histogram(histo: Any) -> Any:
    counts, limits = list(histo.bucket), list(histo.bucket_limit)
    if not counts or not sum(counts):
        return None
    low = histo.min if math.isfinite(histo.min) else limits[0]
    # The outer ranges go on for ever, as far as the format is concerned.
    edges = [min(low, limits[0]), *limits]
    edges[-1] = min(edges[-1], max(histo.max, edges[-2]))
    return _told(counts, edges)


def _ranges(array: Any) -> Any:
    if array.ndim != 2 or array.shape[1] != 3 or not array.size or not array[:, 2].sum():
        return None
    counts = array[:, 2].tolist()
    return _told(counts, [*array[:, 0].tolist(), float(array[-1, 1])])


def _told(counts: list[float], edges: list[float]) -> Any:
    first = next(place for place, count in enumerate(counts) if count)
    last = len(counts) - next(place for place, count in enumerate(reversed(counts)) if count)
    counts, edges = counts[first:last], edges[first : last + 1]
    if edges[0] == edges[-1]:  # all values are one
        edges = [edges[0] - 0.5, *edges[1:-1], edges[-1] + 0.5]
    together = -(-len(counts) // MAX_BINS)
    if together > 1:
        starts = range(0, len(counts), together)
        counts, edges = [sum(counts[at : at + together]) for at in starts], [*(edges[at] for at in starts), edges[-1]]
    return tracker.Histogram(np_histogram=(counts, edges))


def _curve(array: Any) -> Any:
    if array.ndim != 2 or array.shape[0] != 6:  # true and false positives and negatives, precision, recall
        return None
    table = tracker.Table(columns=["recall", "precision"], data=array[[5, 4]].T.tolist())
    return tracker.plot.line(table, "recall", "precision", title="Precision over recall")


def _hparams(value: Any) -> dict[str, Any]:
    """Answer the hyperparameters that a session begins with."""
    if not value.tag.endswith("session_start_info"):
        return {}
    content = value.metadata.plugin_data.content
    found = _message(content)
    if found is None:
        return {}
    kept = {}
    for name, one in found.session_start_info.hparams.items():
        kind = one.WhichOneof("kind")
        kept[name] = getattr(one, kind) if kind in ("number_value", "string_value", "bool_value") else None
    return kept


def _message(content: bytes) -> Any:
    for module in ("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboardX.proto.plugin_hparams_pb2"):
        try:
            made = __import__(module, fromlist=["HParamsPluginData"]).HParamsPluginData()
            made.ParseFromString(content)
        except Exception:  # noqa: S112 - not installed, or of a version that knows other fields
            continue
        return made
    return None
