"""What a journal holds: the kinds of records and their payloads.

A payload is msgpack. A row is `[step, time_ns, {key: value}]`, every other record `[time_ns, {...}]`; readers pass
over fields they do not know. `docs/journal-format.md` is the specification.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from .values import encodable, from_extension


class Kind(IntEnum):
    """The kind of a frame, one byte; unknown kinds are kept and passed over."""

    ROW = 1
    BLOCK = 2
    RUN = 16
    CONFIG = 17
    SUMMARY = 18
    METRIC = 19
    ALERT = 20
    HEARTBEAT = 21
    EXIT = 22
    REWIND = 23
    LOST = 24
    ARTIFACT = 25
    FILE = 26
    CONSOLE = 27
    ENVIRONMENT = 28


class Control(msgspec.Struct, frozen=True):
    """A record that is no row, decoded.

    Args:
        kind: One of `Kind`, or a number from the future.
        seq: Its place in its stream.
        time_ns: When it was written, in nanoseconds since the epoch.
        body: Its fields.
    """

    kind: int
    seq: int
    time_ns: int
    body: dict[str, Any]


_encoder = msgspec.msgpack.Encoder()
_control_decoder = msgspec.msgpack.Decoder(tuple[int, dict[str, Any]], ext_hook=from_extension)


def encode_control(time_ns: int, body: dict[str, Any]) -> bytes:
    """Encode a record that is no row; its values must be plain already (see `values.plain`)."""
    return _encoder.encode((time_ns, encodable(body)))


def decode_control(kind: int, seq: int, payload: bytes) -> Control | None:
    """Decode a record that is no row; None where the payload has another shape (a kind from the future)."""
    try:
        time_ns, body = _control_decoder.decode(payload)
    except msgspec.DecodeError:
        return None
    return Control(kind, seq, time_ns, body)
