"""What changes is told to the pages that look: one stream of server-sent events for each page.

Changes are collected per run and sent at most every quarter of a second, so a client costs as much as what it looks
at changes, however fast that is. What waits for a client is bounded; one that takes nothing is dropped, and reads all
anew when it comes back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..core.paths import RunPath
from .limits import (
    EVENT_INTERVAL_SECONDS,
    EVENT_KEEP_ALIVE_SECONDS,
    EVENT_STALL_SECONDS,
    MAX_WAITING_RUNS,
)
from .paths import encode_path

_encode = msgspec.json.encode


@dataclass
class Change:
    """What became of a run since it was last told: its state, and which parts of it."""

    state: str
    parts: set[str] = field(default_factory=set)


class Feed:
    """What waits for one client. Filled from any thread, emptied on the event loop.

    Args:
        project: Only runs of this (entity, project); all without one.
    """

    def __init__(self, project: tuple[str, str] | None, loop: asyncio.AbstractEventLoop) -> None:
        self.project = project
        self.is_closed = False
        self._loop = loop
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._runs: dict[RunPath, Change] = {}
        self._projects: set[tuple[str, str]] = set()

    def put(self, path: RunPath, state: str, parts: Iterable[str], is_project: bool) -> None:
        """Add a change."""
        if self.project is not None and self.project != path[:2]:
            return
        with self._lock:
            change = self._runs.setdefault(path, Change(state))
            change.state = state
            change.parts.update(parts)
            if is_project:
                self._projects.add((path.entity, path.project))
            if len(self._runs) > MAX_WAITING_RUNS:
                self.is_closed = True  # too far behind: when it comes back it reads all anew
        self._wake()

    def close(self) -> None:
        """End the stream."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._ready.set)

    def _is_over(self) -> bool:  # asked again after each wait: others close the feed
        return self.is_closed

    def _take(self) -> bytes:
        with self._lock:
            runs, self._runs = self._runs, {}
            projects, self._projects = self._projects, set()
            self._ready.clear()
        parts = [
            b"event: run\ndata: %b\n\n"
            % _encode({"path": encode_path(path), "state": change.state, "changed": sorted(change.parts)})
            for path, change in runs.items()
        ]
        parts += [b"event: project\ndata: %b\n\n" % _encode({"project": encode_path(p)}) for p in sorted(projects)]
        return b"".join(parts)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Walk what is to be sent, until the feed is closed."""
        yield b"retry: 1000\n: welcome\n\n"
        while not self._is_over():
            try:
                await asyncio.wait_for(self._ready.wait(), EVENT_KEEP_ALIVE_SECONDS)
            except asyncio.TimeoutError:
                yield b": still here\n\n"
                continue
            if self._is_over():
                return
            if data := self._take():
                yield data
            await asyncio.sleep(EVENT_INTERVAL_SECONDS)


class Hub:
    """All feeds. `publish` may be called from any thread."""

    def __init__(self) -> None:
        self._feeds: set[Feed] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def open(self, project: tuple[str, str] | None) -> Feed:
        """Begin a feed; called on the event loop."""
        feed = Feed(project, asyncio.get_running_loop())
        with self._lock:
            feed.is_closed = self._is_closed
            self._feeds.add(feed)
        return feed

    def drop(self, feed: Feed) -> None:
        """Forget a feed."""
        with self._lock:
            self._feeds.discard(feed)

    def publish(self, path: RunPath, state: str, parts: Iterable[str], *, is_project: bool = False) -> None:
        """Tell of a change.

        Args:
            path: Of which run.
            state: The run's state now.
            parts: What changed: "rows", "config", "summary", "state", "metrics", "alerts", "info", "trash".
            is_project: The project's own figures changed as well: a run came, went, or changed its state.
        """
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.put(path, state, parts, is_project)

    def close(self) -> None:
        """End all streams, and those that are asked for from now on."""
        with self._lock:
            self._is_closed = True
            feeds = list(self._feeds)
        for feed in feeds:
            feed.close()

    def __len__(self) -> int:
        """Answer how many clients there are."""
        return len(self._feeds)


class EventStream(Response):
    """The answer that never ends: what a feed says, until either side goes away."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, feed: Feed) -> None:
        self.hub = hub
        self.feed = feed
        self.status_code = 200
        self.background = None
        self.body = b""
        # A proxy that buffers would keep the events for itself.
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self.raw_headers = [item for item in self.raw_headers if item[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client is gone, stalls, or the server ends."""
        gone = asyncio.ensure_future(_until_gone(receive, self.feed))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self.feed.pieces():
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(message), EVENT_STALL_SECONDS)
                if gone.done():
                    return
            await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), EVENT_STALL_SECONDS)
        except (asyncio.TimeoutError, OSError):
            return  # it takes nothing: it reads all anew when it comes back
        finally:
            gone.cancel()
            self.hub.drop(self.feed)


async def _until_gone(receive: Receive, feed: Feed) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    feed.close()
