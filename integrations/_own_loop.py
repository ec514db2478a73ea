"""The run of a loop that the user has written: PyTorch's optimizers and TensorBoard's writers log to one and the same.

Nobody says when such a loop begins or ends. It begins with the first thing that happens in it, and goes on for as long
as what it works with is there; the next one has a run of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tracker

from .base import Session, training

# Those whose loop is the user's own as well: what happens inside is logged with them, not passed over.
OPEN = ("accelerate", "diffusers", "torch")

_sessions: list[Session] = []  # the loop that goes on, if one does


def loop() -> Session | None:
    """Answer the session of the loop that goes on; None inside a training that a framework's integration logs."""
    around = training()
    if around is not None and around.framework not in OPEN:
        return None
    if not _sessions:
        _sessions.append(Session("torch"))
    return _sessions[0]


def begin(config: Mapping[str, Any] | None = None) -> tracker.Run | None:
    """Answer the run of the loop; the first call opens one where there is none.

    Args:
        config: Values by namespace.

    Returns:
        The run; None where nothing is to be logged: in a framework's training, on other ranks, and when the user has
        finished the run while the loop goes on.
    """
    session = loop()
    if session is None:
        return None
    if session.run is None and session.has_begun and (tracker.run is None or tracker.run.released):
        return None
    return session.begin(config)


def rest() -> None:
    """Nothing of the loop is there any more. Its run stays open, until another begins."""
    while _sessions:
        _sessions.pop().pause(wait=False)


def release() -> None:
    """Nothing of the loop is there any more, for now. What comes next says whether it goes on."""
    for session in _sessions:
        session.pause(wait=False)


def is_going_on() -> bool:
    """Answer whether a training goes on around the caller."""
    return training() is not None
