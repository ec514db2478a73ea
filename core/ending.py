"""The end of a run, step by step: what still has something to say, then the disk, then the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .limits import (
    DYING_MEDIA_SECONDS,
    FINISH_KEEP_SECONDS,
    FINISH_MEDIA_SECONDS,
    FINISH_SEAL_SECONDS,
    FINISH_STALL_SECONDS,
)
from .record import Kind, encode_control

if TYPE_CHECKING:
    from .run import Run


def end(
    run: Run, state: str, exit_code: int | None, reason: str | None, traceback: str | None, signal: str | None
) -> None:
    """End a run, once, and in the process that has begun it; it is over when this returns.

    Args:
        run: It may be in the middle of an append, where a signal ends it.
        state: "finished", "failed", "killed" or "preempted".
        exit_code: Of the process, where it is known.
        reason: What people read of a failure, in one line.
        traceback: Of the exception that has ended it.
        signal: That ends the process: there is little time then.
    """
    with run._ending:
        if run._state is not None or os.getpid() != run._pid:
            return
        run._state = state
        run._is_ending = True
        while run._captured:  # while what they still have to say can be kept
            run._captured.pop()()
        run._is_ending = False
        stall_seconds = getattr(run.settings, "finish_stall_seconds", None) or FINISH_STALL_SECONDS
        timeout = getattr(run.settings, "finish_timeout", None)
        run._keeper.flush(timeout=10.0)
        if run._media is not None:
            run._media.finish(FINISH_MEDIA_SECONDS if signal is None else DYING_MEDIA_SECONDS)
        run._finish_artifacts(stall_seconds if signal is None else 0, timeout)
        if reason or traceback:
            reason, traceback = _without_secrets(run, reason), _without_secrets(run, traceback)
        body = {"state": state, "exit_code": exit_code, "reason": reason, "traceback": traceback, "signal": signal}
        kind = Kind.EXIT if run._is_primary else Kind.HEARTBEAT
        payload = encode_control(run._clock.now_ns(), body if run._is_primary else {})
        run._append = run._refuse
        is_inside = not run._journal.append(kind, payload)
        if is_inside:
            # A signal came in the middle of an append, and the process may be gone when we return.
            run._journal.append_last(kind, payload)
        for call in run._on_end:
            call(run)
        # From within an append the keeper cannot get the journal, and waiting for it would be in vain.
        is_kept = run._keeper.stop(timeout=0.5 if is_inside else FINISH_KEEP_SECONDS)
        left = None if run._delivery is None else run._delivery.finish(stall_seconds, timeout)
        run._settle_artifacts(stall_seconds if signal is None else 0)
        if left is not None:
            run._complaints.say(left)
        if not is_kept:
            if not is_inside:
                run._complaints.say(
                    f"the disk under {run.folder} has not answered for {FINISH_KEEP_SECONDS:.0f} s. What was "
                    "logged is with the operating system; a power cut could still take it."
                )
            return
        try:
            run._journal.close()
        except OSError as error:
            run._complaints.say(f"the journal could not be closed: {error}. What it holds can be read all the same.")
        if state in ("finished", "failed"):  # a dying process has no time for it
            run._keeper.seal_closed(FINISH_SEAL_SECONDS, lambda _seconds: None)


def _without_secrets(run: Run, text: str | None) -> str | None:
    """Answer what is told of an exception; it may quote a line, or an address, with a password in it."""
    if not text or getattr(run.settings, "redact", None) is False:
        return text
    from .redaction import redact  # only where an exception is told

    return redact(text)
