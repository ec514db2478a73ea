"""Event files that are written behind Python's back (`tf.summary`), read while they grow."""

from __future__ import annotations

import glob
import os
import threading
import time
from collections.abc import Callable
from typing import Any

POLL_SECONDS = 1.0
FINISH_SECONDS = 10.0
"""What the end of a run waits for files to be read to their end."""
_SLICE = 200  # events read before others get their turn


def event_files(logdir: str) -> set[str]:
    """Answer the event files of a folder; `tf.summary` takes addresses of buckets as well, these have none here."""
    return set(glob.glob(os.path.join(glob.escape(logdir), "*.tfevents.*")))


class Folder:
    """A folder that event files appear in.

    Args:
        logdir: The folder.
        passed_over: Files that are not to be read.
    """

    def __init__(self, logdir: str, passed_over: set[str]) -> None:
        self.logdir = logdir
        self.passed_over = passed_over
        self.loaders: dict[str, Any] = {}

    def read(self, take: Callable[[str, Any], None], until: float | None = None) -> bool:
        """Read what has come since, and answer whether all of it was."""
        for path in sorted(event_files(self.logdir)):
            if path in self.passed_over:
                continue
            if path not in self.loaders:
                from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

                self.loaders[path] = EventFileLoader(path)
            for count, event in enumerate(self.loaders[path].Load()):
                take(self.logdir, event)
                if until is not None and time.monotonic() > until:
                    return False
                if count % _SLICE == _SLICE - 1:
                    time.sleep(0.001)
        return True


class Follower:
    """A thread that reads the files of some folders as they grow.

    Args:
        take: Called with the folder and each event.
        say: Called with a sentence where something cannot be read.
    """

    def __init__(self, take: Callable[[str, Any], None], say: Callable[[str], None]) -> None:
        self._take = take
        self._say = say
        self._folders: dict[str, Folder] = {}
        self._wakes: list[Callable[[], object]] = []
        self._reading = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def follow(self, logdir: str, passed_over: set[str], flush: Callable[[], object]) -> None:
        """Read a folder from now on.

        Args:
            logdir: The folder.
            passed_over: Files that were there before.
            flush: Has the writer put on disk what it holds.
        """
        with self._reading:
            if logdir not in self._folders:
                self._folders[logdir] = Folder(logdir, passed_over)
            self._wakes.append(flush)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tracker-tensorboard", daemon=True)
            self._thread.start()

    def pass_over(self, logdir: str, path: str) -> None:
        """Leave a file alone: what is written to it is seen already."""
        folder = self._folders.get(logdir)
        if folder is not None:
            folder.passed_over.add(path)

    def end(self) -> None:
        """Read all files to their end, for `FINISH_SECONDS` at most."""
        if self._thread is None or os.getpid() != self._pid:
            return
        until = time.monotonic() + FINISH_SECONDS
        self._ended.set()
        self._thread.join(FINISH_SECONDS)
        for flush in self._wakes:
            try:
                flush()
            except Exception:  # noqa: S112 - closed by now, which has put it on disk
                continue
        if not self._thread.is_alive() and self._read(until):
            return
        self._say(
            f"TensorBoard's files were not read to their end within {FINISH_SECONDS:.0f} s; the rest of them is missing "
            "in the run, and stays in the files."
        )

    def _work(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self._read(None)

    def _read(self, until: float | None) -> bool:
        is_whole = True
        with self._reading:
            for folder in list(self._folders.values()):
                try:
                    is_whole = folder.read(self._take, until) and is_whole
                except Exception as error:  # a disk that fails, a file that is none
                    self._say(
                        f"TensorBoard's files in {folder.logdir} cannot be read ({type(error).__name__}: {error})."
                    )
        return is_whole
