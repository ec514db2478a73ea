"""What a value becomes when it is logged.

The encoder takes plain values as they are, at C speed. What it does not know comes to `_one`, which turns scalars of
numpy, torch, JAX, TensorFlow and their like into plain ones without importing any of them. Only when that fails is a
row gone through value by value (`careful`), so that one bad value harms only itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import msgspec

from .limits import MAX_KEY_CHARS, MAX_PAYLOAD_BYTES, MAX_VALUE_BYTES

BIG_INT = 1  # msgpack extension: an integer beyond 64 bits, big-endian, two's complement
REFERENCE = 2  # msgpack extension: a map in msgpack, one value for all that it holds
_PLAIN = (type(None), bool, float, str)
_MAX_DEPTH = 32
# Classes of others that are media as they are.
_FOREIGN_MEDIA = {
    ("PIL.Image", "Image"),
    ("matplotlib.figure", "Figure"),
    ("matplotlib.axes._base", "_AxesBase"),
    ("plotly.basedatatypes", "BaseFigure"),
}


class Unstorable(Exception):
    """A value that cannot be kept; the text says why."""


class Reference(dict[str, Any]):
    """A value of a row that stands for something bulky: an image, a table, a histogram.

    It has a `_type`; where there are bytes, their `digest`, `size` and `format`. Unlike other dicts it is one value:
    it is never taken apart into dotted names.
    """


def short(value: Any) -> Any:
    """Answer a value as summaries have it: of references what tells them apart, not what they hold.

    A list of references is one, with their number as `count`.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping) and isinstance(value.get("_type"), str):
        return Reference({key: item for key, item in value.items() if _is_short(item)})
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and isinstance(value[0].get("_type"), str):
        return Reference(short(value[0]), count=len(value))
    return value


def _is_short(value: Any) -> bool:
    return isinstance(value, (int, float, type(None))) or (isinstance(value, str) and len(value) <= 200)


class OnDevice(Exception):
    """A value that still lies on a device: asking for it now would wait for the device."""


class HasMedia(Unstorable):
    """A value is to be encoded behind the training thread's back: an image, a table, a figure."""


def is_media(value: Any) -> bool:
    """Answer whether a value is one of our media, or an image or figure of another library."""
    kind = type(value)
    if kind is ModuleType:  # `log({"x": plt})`
        return bool(value.__name__ == "matplotlib.pyplot")
    return _is_kind_of_media(kind)  # type: ignore[arg-type] # classes can be hashed


@lru_cache(maxsize=256)
def _is_kind_of_media(kind: type) -> bool:
    if getattr(kind, "_is_media", None) is True:
        return True
    return any((base.__module__, base.__qualname__) in _FOREIGN_MEDIA for base in kind.__mro__)


def holds_media(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """Answer whether there is a medium in a value: itself, or in dicts and lists of it."""
    if type(value) in _PLAIN or not depth:
        return False
    if isinstance(value, Mapping):
        return any(holds_media(item, depth - 1) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(holds_media(item, depth - 1) for item in value)
    return is_media(value)


def is_on_device(value: Any) -> bool:
    """Answer whether reading `value` would wait for a device, judged without touching its data."""
    device = getattr(value, "device", None)
    if device is None:
        return False
    kind = getattr(device, "type", None)  # torch: device(type="cuda", index=0)
    if isinstance(kind, str):
        return kind not in ("cpu", "meta")
    ready = getattr(value, "is_ready", None)  # JAX computes behind our back, on the CPU as well
    if callable(ready) and hasattr(value, "copy_to_host_async"):
        return not ready()
    return isinstance(device, str) and ("GPU" in device or "TPU" in device)  # TensorFlow: a string


def _one(value: Any) -> Any:
    """The encoder's hook: answer a plain value for a scalar it does not know."""
    if isinstance(value, float):  # subclasses: numpy.float64 is one
        return float(value)
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, str):
        return str(value)
    if is_on_device(value):
        raise OnDevice
    item = getattr(value, "item", None)
    if item is None:
        item = getattr(value, "numpy", None)  # a TensorFlow tensor: .numpy() gives a numpy scalar
    if callable(item) and not isinstance(value, type):
        shape = getattr(value, "shape", ())
        count = 1
        for length in tuple(shape):
            count *= length
        if count != 1:
            raise Unstorable(
                f"is not a number that can be stored: got a {type(value).__name__} of shape {tuple(shape)}. "
                "Log one number for each step, its mean for example"
            )
        plain = item()
        if type(plain) is type(value):  # numpy.longdouble answers itself
            return float(plain)
        if isinstance(plain, complex):
            raise Unstorable(f"is a complex number ({plain}). Log its real and imaginary parts as two metrics")
        return plain
    if is_media(value):
        raise HasMedia("is a medium inside of something else. Log it by itself, or in a list of media")
    raise Unstorable(f"is a {type(value).__name__}, which is no value that can be stored. Log a number or a text")


def _integer(value: int) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    return msgspec.msgpack.Ext(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


_encoder = msgspec.msgpack.Encoder(enc_hook=_one, decimal_format="number")
encode = _encoder.encode


def careful(
    data: Mapping[Any, Any], encode_part: Callable[[dict[str, Any]], bytes], say: Callable[[str, str], None]
) -> list[bytes]:
    """Encode a row that the encoder refused, or that is very large, value by value.

    Args:
        data: What was logged.
        encode_part: Encodes a part of the row.
        say: Takes a key and a sentence about it, for each value that is left out.

    Returns:
        Payloads that together hold all that can be kept; several where one would be too large.

    Raises:
        OnDevice: A value lies on a device.
        HasMedia: A value is none of a row's own.
    """
    parts: list[bytes] = []
    part: dict[str, Any] = {}
    size = 0
    for key, value in list(data.items()):
        name = key
        if not isinstance(key, str):
            name = _name_of(key)
            say(name, f"its key is the {type(key).__name__} {name}, not a text; it is kept as {name!r}")
        elif not _is_encodable(key):
            name = key.encode(errors="backslashreplace").decode()
            say(name, "its key has half a character in it, which is kept as its code")
        elif len(key) > MAX_KEY_CHARS:
            say(key[:40], f"its key has {len(key)} characters, at most {MAX_KEY_CHARS} are kept; the value is left out")
            continue
        try:
            kept = _checked(value, _MAX_DEPTH)
            length = len(_encoder.encode(kept))
        except (OnDevice, HasMedia):
            raise
        except Unstorable as error:
            say(name, str(error))
            continue
        except Exception as error:  # a value's own methods may raise anything at all
            say(name, f"could not be read ({type(error).__name__}: {error})")
            continue
        if length > MAX_VALUE_BYTES:
            say(
                name,
                f"takes {length:,} bytes, at most {MAX_VALUE_BYTES:,} are kept. Save it to a file in run.dir instead",
            )
            continue
        if size + length + len(name) > MAX_PAYLOAD_BYTES // 2:
            parts.append(encode_part(part))
            part, size = {}, 0
        part[name] = kept
        size += length + len(name) + 8
    if part:
        parts.append(encode_part(part))
    return parts


def _name_of(key: Any) -> str:
    try:
        return str(key).encode(errors="backslashreplace").decode()
    except Exception:  # a key's own methods may raise anything at all
        return f"<{type(key).__name__}>"


def _is_encodable(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _checked(value: Any, depth: int) -> Any:
    """Answer a plain copy of `value`; raise Unstorable where there is none."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, int) and not isinstance(value, enum.Enum):
        return _integer(value)
    if isinstance(value, Mapping):
        if not depth:
            raise Unstorable(f"is nested more than {_MAX_DEPTH} levels deep, or holds itself")
        return {str(key): _checked(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        if not depth:
            raise Unstorable(f"is nested more than {_MAX_DEPTH} levels deep, or holds itself")
        return [_checked(item, depth - 1) for item in value]
    try:
        _encoder.encode(value)  # dates, enums, Decimals, dataclasses and the scalars of `_one`
    except (OnDevice, Unstorable):
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unstorable(f"is a {type(value).__name__} that cannot be stored ({error})") from error
    return value


def plain(value: Any, *, limit: int = MAX_VALUE_BYTES, depth: int = _MAX_DEPTH) -> Any:
    """Answer `value` as plain data: what config, summary and other records hold. Never raises.

    What has a `json_encode()` becomes what that answers: artifacts. What has no plain form becomes its name (functions,
    classes, dtypes) or its shortened `repr`.

    Args:
        value: Anything.
        limit: Longest text kept, in characters.
        depth: Levels of nesting kept.
    """
    try:
        return _plain(value, limit, depth)
    except Exception as error:  # a value's own methods may raise anything at all
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _plain(value: Any, limit: int, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, limit, depth - 1)
    if isinstance(value, str):
        return str(value) if len(value) <= limit else f"{value[:limit]}… ({len(value):,} characters)"
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if depth <= 0:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): plain(item, limit=limit, depth=depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, limit=limit, depth=depth - 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item, limit=limit, depth=depth - 1) for item in sorted(value, key=repr)]
    if hasattr(type(value), "json_encode"):
        return _plain(value.json_encode(), limit, depth - 1)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}".lstrip(".")
    if hasattr(value, "__fspath__"):
        return str(value)
    try:
        decoded = decode(_encoder.encode(value))
    except (Unstorable, OnDevice, TypeError, ValueError, OverflowError, RecursionError):
        text = repr(value)
        return text if len(text) <= 1000 else f"{text[:1000]}…"
    return readable(decoded)


def _from_extension(code: int, data: memoryview) -> Any:
    if code == BIG_INT:
        return int.from_bytes(data, "big", signed=True)
    if code == REFERENCE:
        body = decode(data)
        return Reference(body) if type(body) is dict else body
    return f"<extension {code}>"


_decoder = msgspec.msgpack.Decoder(ext_hook=_from_extension)
decode = _decoder.decode
from_extension = _from_extension


def readable(value: Any) -> Any:
    """Answer a decoded value with only JSON's types and big integers in it: dates as ISO text, bytes as text."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, list):
        return [readable(item) for item in value]
    if isinstance(value, dict):
        items = {str(key): readable(item) for key, item in value.items()}
        return Reference(items) if type(value) is Reference else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def encodable(value: Any) -> Any:
    """Answer a readable value in the form msgpack can hold: big integers and references as extensions."""
    if type(value) is int:
        return _integer(value)
    if type(value) is list:
        return [encodable(item) for item in value]
    if type(value) is dict:
        return {key: encodable(item) for key, item in value.items()}
    if type(value) is Reference:
        return msgspec.msgpack.Ext(REFERENCE, encode({key: encodable(item) for key, item in value.items()}))
    return value
