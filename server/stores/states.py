"""The state of a run, from what its streams tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ...core.limits import CRASHED_AFTER_SECONDS
from .base import State, StreamRow

_STATES: tuple[State, ...] = get_args(State)


def run_state(streams: Sequence[StreamRow], fields: Mapping[str, Any], now_ns: int) -> tuple[State, int | None]:
    """Answer the state of a run and, where it has ended, when (ns since the epoch).

    The latest training process decides: a resumed run is running again, whatever became of its first process. Forked
    children come and go; they only show that somebody is there while the main process has not said goodbye.

    Args:
        streams: All streams of the run.
        fields: Its RUN fields; `preempting` makes a silent death a preemption.
        now_ns: The time.
    """
    main = latest_main(streams)
    if main is None:
        if not streams:
            return "crashed", None
        main = max(streams, key=lambda stream: (stream.started_ns, stream.id))
    if main.exit is not None:
        told = main.exit.get("state")
        state: State = next((name for name in _STATES if name == told and name != "running"), "finished")
        return state, main.exit.get("time_ns")
    heard = [main.heard_ns]
    heard += [stream.heard_ns for stream in streams if stream.is_child and stream.id.startswith(f"{main.id}.")]
    last = max(heard)
    if main.gone_ns is None and now_ns - last < CRASHED_AFTER_SECONDS * 1e9:
        return "running", None
    return "preempted" if fields.get("preempting") else "crashed", last


def latest_main(streams: Sequence[StreamRow]) -> StreamRow | None:
    """Answer the stream of the latest training process."""
    mains = [stream for stream in streams if stream.is_writer and not stream.is_child]
    return max(mains, key=lambda stream: (stream.started_ns, stream.id), default=None)
