"""What the batteries share: programs run as processes of their own, and what they left on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tracker.core.journal import Block, StreamReader
from tracker.core.paths import find_runs, streams
from tracker.core.record import Kind
from tracker.testing import read_runs

LIMIT_SECONDS = 240.0  # for what hangs; a busy machine takes a minute for some

# Every program begins with this: `run`, and how to force the path on which records are written one by one.
PREAMBLE = """
import os, sys, threading, time, signal, atexit, json
if os.environ.get("BATTERY_WRITTEN"):
    import tracker.core.journal.writer as writer
    writer.can_map = lambda _folder: False
import tracker
folder = sys.argv[1]
def begin(**more):
    return tracker.init(project="battery", dir=folder, **more)
"""


def program(code: str) -> list[str]:
    """Answer the command that runs a program; its folder for runs is to follow."""
    return [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)]


def environment(**more: str) -> dict[str, str]:
    """Answer the environment of a program."""
    return {**os.environ, "PYTHONFAULTHANDLER": "1", **more}


def run_program(
    code: str, folder: Path, *arguments: str, before: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [*before, *program(code), str(folder), *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of all runs under a folder as they were written, one dict each: nothing merged, nothing left out."""
    return [values for _, stream in stream_folders(folder) for values in rows_of(stream)]


def rows_of(stream: Path) -> list[dict[str, Any]]:
    """Read the rows of one stream."""
    return [
        {"_step": step, **values}
        for entry in StreamReader(stream).entries()
        if isinstance(entry, Block)
        for step, _, values in entry.rows()
    ]


def numbers(folder: Path, key: str = "n") -> list[int]:
    """Answer the sorted values of one key over all rows."""
    return sorted(row[key] for row in rows(folder) if key in row)


def lost(folder: Path) -> int:
    """Answer how many records all the LOST records tell of."""
    return sum(
        entry.body["count"]
        for _, stream in stream_folders(folder)
        for entry in StreamReader(stream).entries()
        if not isinstance(entry, Block) and entry.kind == Kind.LOST
    )


def stream_folders(folder: Path) -> list[tuple[str, Path]]:
    """Answer the streams of all runs under a folder, with their runs' paths."""
    return [(str(path), stream) for path, run in sorted(find_runs(folder)) for stream in streams(run)]


def state(folder: Path) -> str:
    """Answer the state of the only run under a folder."""
    (run,) = read_runs(folder)
    return str(run["status"])
