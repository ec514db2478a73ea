"""LangChain: each call of a model, a tool, a retriever or a chain, as a row of the table `langchain/calls`."""

from __future__ import annotations

import functools
from typing import Any

import tracker

from ._calls import Calls
from .base import Session, require


def __getattr__(name: str) -> Any:
    if name != "TrackerCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _callback()


@functools.cache
def _callback() -> Any:
    require("langchain_core")
    from langchain_core.tracers.base import BaseTracer

    class TrackerCallback(BaseTracer):
        """Log what a chain does: `chain.invoke(question, config={"callbacks": [TrackerCallback()]})`.

        Args:
            run: The run to log to; it stays open afterwards.
            arguments: Of `tracker.init`, for a run that has to be begun.
        """

        def __init__(self, run: tracker.Run | None = None, **arguments: Any) -> None:
            super().__init__()
            self._calls = Calls(Session("langchain_core", run, spreads=True, **arguments), "langchain/calls")

        @tracker.guarded
        def _persist_run(self, run: Any) -> None:
            """Log a trace that has ended, with all that was called within."""
            self._add(run)
            self._calls.flush()

        def _add(self, run: Any) -> None:
            messages = (run.outputs or {}).get("generations") or [[]]
            usage: dict[str, Any] = next((use for group in messages for one in group if (use := _usage(one))), {})
            self._calls.add(
                time=run.start_time,
                kind=run.run_type,
                name=run.name,
                input=run.inputs,
                output=run.outputs,
                error=run.error,
                seconds=(run.end_time - run.start_time).total_seconds() if run.end_time else None,
                input_tokens=usage.get("input_tokens"),
                output_tokens=usage.get("output_tokens"),
                id=str(run.id),
                parent=str(run.parent_run_id) if run.parent_run_id else None,
            )
            for child in run.child_runs:
                self._add(child)

    TrackerCallback.__module__, TrackerCallback.__qualname__ = __name__, "TrackerCallback"
    return TrackerCallback


def _usage(generation: Any) -> Any:
    message = generation.get("message") if isinstance(generation, dict) else None
    inner = message.get("kwargs", message) if isinstance(message, dict) else message
    found = inner.get("usage_metadata") if isinstance(inner, dict) else getattr(inner, "usage_metadata", None)
    return found or {}
