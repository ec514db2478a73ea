"""What the command line prints: tables that fit, times people read, JSON that programs read."""

from __future__ import annotations

import math
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

_COLORS = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "crashed": "red",
    "killed": "yellow",
    "preempted": "yellow",
}
_GAP = "  "
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")  # JSON lets them stand, a terminal obeys some of them


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: Its head.
        cells: One text a row.
        is_right: Numbers stand to the right.
        least: Width it is never cut below.
    """

    title: str
    cells: Sequence[str]
    is_right: bool = False
    least: int = 8


def is_terminal() -> bool:
    """Whether a person looks on."""
    return sys.stdout.isatty()


def width() -> int | None:
    """Answer how many characters a line holds; None where the output is no terminal and nothing need be cut."""
    return shutil.get_terminal_size((80, 24)).columns if is_terminal() else None


def clean(text: str) -> str:
    """Answer a text without control characters: a run's name must not steer the terminal."""
    return "".join(
        char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def table(columns: Sequence[Column], *, limit: int | None = None) -> list[str]:
    """Answer the lines of a table; the widest columns are cut until a line fits into `limit` characters."""
    cells = [[column.title, *map(clean, column.cells)] for column in columns]
    widths = [max(map(_length, column)) for column in cells]
    if limit is not None:
        room = limit - len(_GAP) * (len(columns) - 1)
        while sum(widths) > room:
            widest = max(
                (index for index in range(len(widths)) if widths[index] > columns[index].least),
                key=lambda index: widths[index],
                default=None,
            )
            if widest is None:
                break
            widths[widest] -= 1
    lines = []
    for row in zip(*cells, strict=True):
        parts = [_fit(cell, size, column.is_right) for cell, size, column in zip(row, widths, columns, strict=True)]
        lines.append(_GAP.join(parts).rstrip())
    return lines


def print_table(columns: Sequence[Column], states: Sequence[str] | None = None) -> None:
    """Print a table: its head bold, states in their colours.

    Args:
        columns: Of equal length.
        states: One a row; the word is coloured where it stands in the row.
    """
    head, *rows = table(columns, limit=width())
    click.echo(click.style(head, bold=True))
    for index, row in enumerate(rows):
        state = states[index] if states else ""
        click.echo(row.replace(f" {state} ", f" {styled_state(state)} ", 1) if state else row)


def styled_state(state: str) -> str:
    """Answer a run's state in its colour."""
    return click.style(state, fg=_COLORS.get(state))


def _length(text: str) -> int:
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _fit(text: str, size: int, is_right: bool) -> str:
    length = _length(text)
    if length > size:
        kept, used = "", 0
        for char in text:
            if used + _cells(char) > size - 1:
                break
            kept += char
            used += _cells(char)
        return kept + "…" + " " * (size - used - 1)
    space = " " * (size - length)
    return space + text if is_right else text + space


def number(value: Any) -> str:
    """Answer a value as a table shows it: five digits of a float."""
    if value is None:
        return "-"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if value != value else "∞" if value > 0 else "-∞"
        return f"{value:.5g}"
    if isinstance(value, str):
        return value
    return str(value)


def ago(time_ns: int | None, now_ns: int | None = None) -> str:
    """Answer how long ago a moment was."""
    if not time_ns:
        return "-"
    seconds = ((now_ns or time.time_ns()) - time_ns) / 1e9
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def duration(seconds: float | None) -> str:
    """Answer a time in its two largest units: "3m 20s"."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
    parts: list[str] = []
    for name, length in units:
        count, whole = divmod(whole, length)
        if count or parts:
            parts.append(f"{count}{name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"


def size(count: float) -> str:
    """Answer a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def print_json(value: Any) -> None:
    """Print JSON; see `export.jsonable` for NaN and infinities."""
    import json

    from ..export import jsonable

    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
