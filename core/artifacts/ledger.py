"""The ledger of a collection: who moved which alias when, in lines that are only ever appended.

A line is written by one `write(2)` to a file opened for appending, so that writers need no lock. It begins with a line
break as well as ending with one: what a power cut has torn costs itself and not the line behind it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..errors import StorageError
from ..limits import MAX_LEDGER_LINE_BYTES
from .version import Actor

_encoder = msgspec.json.Encoder()


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line.

    Args:
        t: Nanoseconds since the epoch.
        do: What was done; see `version.Event`.
        v: The number of the version it was done to.
        name: The alias, the tag, the other end of a link.
        value: What else there is to say.
        user, host, run: Who did it.
        token: Of what was done by hand here: under it a server is told of it, once.
    """

    t: int
    do: str
    v: int | None = None
    name: str | None = None
    value: Any = None
    user: str | None = None
    host: str | None = None
    run: str | None = None
    token: str | None = None


class Placed(NamedTuple):
    """A line and where in the file it begins."""

    offset: int
    line: Line


_decoder = msgspec.json.Decoder(Line)


def line(
    do: str, v: int | None, actor: Actor, *, name: str | None = None, value: Any = None, token: str | None = None
) -> Line:
    """Make a line of now."""
    return Line(time.time_ns(), do, v, name, value, actor.user, actor.host, actor.run, token)


def append(path: Path, *lines: Any) -> None:
    """Append lines, all of them by one write, and have them on disk.

    Args:
        path: The file; made where it is not there.
        lines: `Line`s, or what else JSON can hold.

    Raises:
        StorageError: The file cannot be written.
    """
    data = b"".join(b"\n" + _encoder.encode(each) + b"\n" for each in lines)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if os.write(handle, data) != len(data):
                raise OSError("the disk is full")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}.") from error


def size(path: Path) -> int:
    """Answer the file's length in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read(path: Path, offset: int = 0) -> tuple[list[Placed], int]:
    """Read the lines from an offset on; those that cannot be understood are passed over.

    Returns:
        The lines, and the offset to go on from next time.
    """
    found, end = read_raw(path, offset)
    lines = []
    for at, text in found:
        try:
            lines.append(Placed(at, _decoder.decode(text)))
        except (msgspec.DecodeError, RecursionError):
            continue
    return lines, end


def read_raw(path: Path, offset: int = 0) -> tuple[list[tuple[int, bytes]], int]:
    """Read whole lines as they are, with their offsets; see `read`."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:  # none yet
        return [], offset
    found, at = [], 0
    while (end := data.find(b"\n", at)) >= 0:
        if 0 < end - at <= MAX_LEDGER_LINE_BYTES:
            found.append((offset + at, data[at:end]))
        at = end + 1
    return found, offset + at
