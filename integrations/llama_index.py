"""LlamaIndex: each call of a model and each retrieval, as a row of the table `llama_index/calls`."""

from __future__ import annotations

import functools
import time
from typing import Any

import tracker

from ._calls import Calls
from .base import Session, require

_KINDS = {
    "LLMChat": ("chat", "messages", "response"),
    "LLMCompletion": ("completion", "prompt", "response"),
    "Retrieval": ("retrieval", "str_or_query_bundle", "nodes"),
}
_STARTED_AT_ONCE = 1000  # calls whose end was never told are forgotten beyond this


def __getattr__(name: str) -> Any:
    if name != "TrackerEventHandler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _handler()


@functools.cache
def _handler() -> Any:
    require("llama_index.core")
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from pydantic import PrivateAttr

    class TrackerEventHandler(BaseEventHandler):
        """Log what LlamaIndex calls: `get_dispatcher().add_event_handler(TrackerEventHandler())`.

        Args:
            run: The run to log to; it stays open afterwards.
            arguments: Of `tracker.init`, for a run that has to be begun.
        """

        _calls: Any = PrivateAttr()
        _started: dict[Any, float] = PrivateAttr(default_factory=dict)

        def __init__(self, run: tracker.Run | None = None, **arguments: Any) -> None:
            super().__init__()
            self._calls = Calls(Session("llama_index", run, spreads=True, **arguments), "llama_index/calls")

        @classmethod
        def class_name(cls) -> str:
            """Answer the name that the framework asks for."""
            return "TrackerEventHandler"

        @tracker.guarded
        def handle(self, event: Any, **kwargs: Any) -> None:
            """Take an event."""
            what = type(event).__name__
            place = next((name for name in _KINDS if what in (f"{name}StartEvent", f"{name}EndEvent")), None)
            if place is None:
                return
            if what.endswith("StartEvent"):
                if len(self._started) >= _STARTED_AT_ONCE:
                    self._started.clear()
                self._started[event.span_id, place] = time.perf_counter()
                return
            kind, asked, came = _KINDS[place]
            begin = self._started.pop((event.span_id, place), None)
            self._calls.add(
                time=event.timestamp,
                kind=kind,
                name=str((event.tags or {}).get("model", "")),
                input=getattr(event, asked, None),
                output=getattr(event, came, None),
                seconds=None if begin is None else time.perf_counter() - begin,
                id=str(event.id_),
                parent=str(event.span_id or ""),
            )

        def flush(self) -> None:
            """Write what has come; it is written by itself at the end of the run."""
            self._calls.flush()

    TrackerEventHandler.__module__, TrackerEventHandler.__qualname__ = __name__, "TrackerEventHandler"
    return TrackerEventHandler
