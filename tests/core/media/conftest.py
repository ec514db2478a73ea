"""What the tests of media share: a folder of runs, and reading rows and bytes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import tracker
from tracker.core.blobs import FolderBlobs
from tracker.core.paths import find_runs, run_blobs
from tracker.testing import read_runs


@contextmanager
def serving(root: Path, cache: Path) -> Iterator[str]:
    """Start a server that shows a folder; answer its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TRACKER_CACHE_DIR": str(cache)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http"))
        limit = time.monotonic() + 60
        while not json.load(urlopen(f"{url}/api/v1/runs"))["total"]:  # the folder is read beside the first answers
            assert time.monotonic() < limit, "no run came to be seen"
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


class Logged:
    """A run that has ended, read back.

    Args:
        root: The folder that holds this run only.
    """

    def __init__(self, root: Path) -> None:
        ((_, self.folder),) = find_runs(root)
        (self.run,) = read_runs(root)
        self.blobs = FolderBlobs(run_blobs(self.folder))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history without times."""
        own = ("_timestamp", "_runtime")
        return [{key: row[key] for key in row if key not in own} for row in self.run["history"]]

    def value(self, key: str) -> Any:
        """Answer what was logged last under a key."""
        (*_, last) = [row[key] for row in self.rows if key in row]
        return last

    def bytes_of(self, reference: dict[str, Any]) -> bytes:
        """Answer the bytes that a reference stands for."""
        digests = [part[0] for part in reference["parts"]] if "parts" in reference else [reference["digest"]]
        return b"".join(self.blobs.read(digest) for digest in digests)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Logged]:
    """A function that logs rows in a run of their own, ends it, and reads it back."""

    def logged(*rows: dict[str, Any], **arguments: Any) -> Logged:
        root = tmp_path / "runs"
        with tracker.init(project="media", dir=root, **arguments) as run:
            for row in rows:
                run.log(row)
        return Logged(root)

    return logged
