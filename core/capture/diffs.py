"""A diff with its secrets masked, and the way back: lines that the commit knows are taken from there again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..redaction import MASK, redact_bytes

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MARK = MASK.encode()


class _Hunk(NamedTuple):
    """Lines of a hunk, its head left out.

    Args:
        first, last: Of the diff's lines, the last one not among them.
        old_path: The file in the commit, as the diff writes it; None for a new file.
        old_line: The first line there, from 1.
    """

    first: int
    last: int
    old_path: bytes | None
    old_line: int


def masked(diff: bytes, pause: Callable[[], object] = lambda: None) -> tuple[bytes, int]:
    """Answer a diff with the secrets in it masked, and the number of added lines that hold one.

    Heads and binary parts stay, so that what is left can still be applied. Lines that were there before are masked
    too, and do not count: `unmasked` brings them back.

    Args:
        diff: As git writes it.
        pause: Called between hunks: the work takes a quarter of a second for a megabyte.
    """
    lines = diff.split(b"\n")
    count = 0
    for hunk in _hunks(lines):
        text = b"\n".join(lines[hunk.first : hunk.last])
        found, masks = redact_bytes(text)
        pause()
        if not masks:
            continue
        for index, line in enumerate(found.split(b"\n"), hunk.first):
            if line != lines[index]:
                count += line.startswith(b"+")
                lines[index] = line
    return b"\n".join(lines), count


def unmasked(diff: bytes, before: Callable[[bytes], bytes]) -> bytes:
    """Answer a diff whose lines that were there before are as they were.

    Args:
        diff: With masks.
        before: Answers a file as the commit has it.
    """
    if _MARK not in diff:
        return diff
    lines = diff.split(b"\n")
    for hunk in _hunks(lines):
        if hunk.old_path is None or not any(_is_old(lines[at]) for at in range(hunk.first, hunk.last)):
            continue
        known = before(hunk.old_path).split(b"\n")
        number = hunk.old_line - 1
        for at in range(hunk.first, hunk.last):
            line = lines[at]
            if line[:1] in (b" ", b"-", b""):
                if _is_old(line) and number < len(known):
                    lines[at] = line[:1] + known[number]
                number += 1
    return b"\n".join(lines)


def paths_of(diff: bytes) -> list[bytes]:
    """Answer the files that a diff has anything to say of, as it writes their names."""
    lines = diff.split(b"\n")
    inside = {at for hunk in _hunks(lines) for at in range(hunk.first, hunk.last)}
    return [line[11:] for at, line in enumerate(lines) if line.startswith(b"diff --git ") and at not in inside]


def _is_old(line: bytes) -> bool:
    return line[:1] in (b" ", b"-") and _MARK in line


def _hunks(lines: list[bytes]) -> Iterator[_Hunk]:
    """Walk the hunks; how long each is stands in its head, whatever its lines look like."""
    at = 0
    old_path: bytes | None = None
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(b"diff --git "):
            old_path = None
        elif line.startswith(b"--- "):
            old_path = None if line == b"--- /dev/null" else _name(line[4:])
        elif (head := _HUNK.match(line)) is not None:
            old, new = (int(head[2] or 1), int(head[4] or 1))
            first = at
            while (old > 0 or new > 0) and at < len(lines):
                sign = lines[at][:1]
                if sign != b"\\":
                    old -= sign != b"+"
                    new -= sign != b"-"
                at += 1
            yield _Hunk(first, at, old_path, int(head[1]))


def _name(text: bytes) -> bytes:
    """Answer the path behind `--- a/`; git quotes names with odd characters as C does."""
    text = text.removesuffix(b"\t")
    if text.startswith(b'"') and text.endswith(b'"'):
        text = _ESCAPE.sub(_unescaped, text[1:-1])
    return text.partition(b"/")[2]


_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _LETTERS.get(code, code)
