"""Which runs are alive, told when it changes. The store derives the states; this finds dead processes and silence.

A training process of this machine that is no more is found at once, one on another machine by 45 seconds of silence.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Protocol

from ...core.paths import RunPath
from ...core.processes import is_alive
from ..stores.base import MetadataStore, StreamRow

HOST = socket.gethostname()


class Tells(Protocol):
    """Publishes that parts of a run changed."""

    def __call__(self, path: RunPath, parts: set[str], is_project: bool = False) -> None:
        """Tell it."""
        ...


class Liveness:
    """Looks after the training processes that have not said goodbye.

    Args:
        metadata: Knows them.
        tell: Is told of runs whose state changed.
        is_local: Whether the processes of this machine can be seen from here (not so on a server that others send to:
            a container of the same host name may be behind it).
        now_ns: The time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        tell: Tells,
        *,
        is_local: bool,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._metadata = metadata
        self._tell = tell
        self._is_local = is_local
        self._now_ns = now_ns
        self._states: dict[RunPath, str | None] = {}
        # Streams found gone, with the time of their last record then. One that writes again is of another process
        # namespace (a container with this machine's name): its pid says nothing here.
        self._gone: dict[tuple[RunPath, str], int] = {}

    def sweep(self) -> None:
        """Look once; a few milliseconds for hundreds of processes."""
        now_ns = self._now_ns()
        paths: set[RunPath] = set()
        for path, stream in self._metadata.live():
            paths.add(path)
            if self.is_gone(path, stream):
                self._gone[path, stream.id] = stream.heard_ns
                self._metadata.writer_gone(path, stream.id)
        states: dict[RunPath, str | None] = {}
        for path in paths:
            states[path] = self._metadata.state(path, now_ns=now_ns)
            if states[path] != self._states.get(path, "running"):
                self._tell(path, {"state"}, True)
        self._states = states

    def is_gone(self, path: RunPath, stream: StreamRow) -> bool:
        """Answer whether a stream's process ran on this machine and is no more."""
        if not self._is_local or stream.pid is None or stream.host != HOST or is_alive(stream.pid):
            return False
        return self._gone.get((path, stream.id), stream.heard_ns) >= stream.heard_ns
