"""Which rows a rewind hides: those of a later step that were written before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rows import Ints, Numbers, Rows


class Rewind(NamedTuple):
    """A REWIND record: rows with step > `step` written before it are hidden.

    Before means: a lower sequence number in the same stream, an earlier time in others.
    """

    stream: int
    seq: int
    time_ns: int
    step: float


def hidden(rewinds: Sequence[Rewind], stream: int, steps: Numbers, times: Ints, seqs: Ints) -> NDArray[np.bool_] | None:
    """Answer which rows of a stream are hidden; None where none is."""
    found: NDArray[np.bool_] | None = None
    for rewind in rewinds:
        earlier = seqs < rewind.seq if rewind.stream == stream else times < rewind.time_ns
        which = earlier & (steps > rewind.step)
        if which.any():
            found = which if found is None else found | which
    return found


def visible(rewinds: Sequence[Rewind], stream: int, rows: Rows) -> Rows:
    """Answer the rows that no rewind hides."""
    which = hidden(rewinds, stream, rows.steps, rows.times, rows.seqs)
    return rows if which is None else rows.pick(np.flatnonzero(~which))
