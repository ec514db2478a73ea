"""Threads for small pieces of work that also serve while the interpreter is ending.

A script that ends without `run.finish()` stores its artifacts at exit. By then the pools of `concurrent.futures` take no
work any more, and from Python 3.12 on no thread can be begun: what there are go on, else the caller does the work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Workers:
    """Does work on threads, which are begun as it comes.

    Args:
        count: How many threads at most.
        name: What they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have something done; it must not raise. From one thread at a time.

        Args:
            work: What.
            arguments: Its arguments.
        """
        if len(self._threads) < self._count:
            # Daemons: what is not would be waited for before the exit handlers, and wait for those.
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or there are too many
                self._count = len(self._threads)
            else:
                self._threads.append(thread)
        if self._threads:
            self._queue.put((work, arguments))
        else:
            work(*arguments)

    def finish(self) -> None:
        """Return when all is done, and no thread is left."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            work, arguments = item
            work(*arguments)
            del item, work, arguments  # a buffer, perhaps: not while waiting
