"""Samples of the machine: a thread that asks the probes, beginning when `init` has long returned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..limits import FIRST_SAMPLE_SECONDS, LAST_SAMPLE_SECONDS

if TYPE_CHECKING:
    from ..run import Run


def begin(run: Run, settings: Any) -> Callable[[], None] | None:
    """Begin to sample, unless `x_disable_stats` says otherwise."""
    if getattr(settings, "x_disable_stats", None):
        return None
    stop, is_over = threading.Event(), threading.Event()

    def work() -> None:
        # Nothing is loaded, asked or opened before: a run of a moment pays for a thread and no more.
        if stop.wait(FIRST_SAMPLE_SECONDS):
            return
        from .sampling import Sampling

        try:
            Sampling.of(run, settings, stop, is_over).work()
        except Exception as error:  # whatever a machine has in store; the run goes on
            run._complaints.say(f"the machine is not sampled any more ({type(error).__name__}: {error}).")

    thread = threading.Thread(target=work, name="tracker-sampler", daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(LAST_SAMPLE_SECONDS)
        is_over.set()  # should it hang: the journal is about to be closed

    return end
