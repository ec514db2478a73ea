"""Walking all rows of a run in order of step, however many there are and in whatever order they were written.

Slabs and tails are opened in order of their smallest step. What is below the smallest step of all that is still closed
can be handed out; only the rest is held. Where steps rise, that is one slab.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.journal import Block
from ...core.limits import BLOCK_ROWS
from ...core.samples import Stream, is_sample
from .rewinds import visible
from .rows import Rows, span
from .source import Slab, Source

if TYPE_CHECKING:
    from .metrics import RunState


def walk(
    source: Source,
    db: sqlite3.Connection,
    state: RunState,
    keys: Sequence[str] | None,
    low: float | None,
    high: float | None,
    with_hidden: bool,
    of: Stream,
) -> Iterator[Block]:
    """Yield the rows in blocks; see `MetricStore.history`."""
    names = state.stats.names[: state.stats.count]
    samples = [key for key in names if is_sample(key)] if keys is None else []
    if keys is None and of == "system":
        keys = samples
    places = None
    if keys is not None:
        places = [place for key in dict.fromkeys(keys) if (place := state.stats.place(key)) is not None]
    closed: list[tuple[float, int, Slab | Rows]] = [
        (slab.min_step, slab.stream, slab)
        for slab in source.slabs(db, state.id)
        if (low is None or slab.max_step >= low) and (high is None or slab.min_step <= high)
    ]
    for stream, rows in source.tails(db, state.id):
        closed.append((span(rows.steps)[0], stream, rows))
    closed.sort(key=lambda item: (item[0], item[1]))
    held: list[tuple[int, Rows]] = []
    seq = 1
    for index, (_, stream, piece) in enumerate(closed):
        if isinstance(piece, Rows):
            rows = piece.logged() if samples and keys is None else piece
        elif samples and keys is None:
            rows = _logged(source, db, state, piece, samples)
        else:
            rows = source.slab_rows(db, state.id, piece, state.stats, places)
        rows = _wanted(rows, keys, low, high)
        if not with_hidden:
            rows = visible(state.rewinds, stream, rows)
        if len(rows):
            held.append((stream, rows))
        limit = closed[index + 1][0] if index + 1 < len(closed) else np.inf
        ready, held = _split(held, limit, is_last=index + 1 == len(closed))
        if ready is not None:
            yield from ready.blocks(seq, BLOCK_ROWS)
            seq += len(ready)


def _logged(source: Source, db: sqlite3.Connection, state: RunState, slab: Slab, samples: Sequence[str]) -> Rows:
    """Read a slab without its samples; of those only as much as tells them from rows that are empty."""
    known = state.stats
    chosen = set(samples)
    places = [place for place in range(known.count) if known.names[place] not in chosen]
    rows = source.slab_rows(db, state.id, slab, known, places)
    is_empty = np.ones(len(rows), np.bool_)
    for column in rows.cells.values():
        is_empty[slice(None) if column.at is None else column.at] = False
    is_sampled = np.zeros(len(rows), np.bool_)
    for key in samples:
        if not (is_empty & ~is_sampled).any():
            break
        place = known.place(key)
        cells = None if place is None else source.cells(db, state.id, place, slab.id, slab.rows)
        if cells is not None:
            is_sampled[slice(None) if cells.at is None else cells.at] = True
    gone = is_empty & is_sampled
    return rows.pick(np.flatnonzero(~gone)) if gone.any() else rows


def _wanted(rows: Rows, keys: Sequence[str] | None, low: float | None, high: float | None) -> Rows:
    if low is not None or high is not None:
        keep = np.ones(len(rows), np.bool_)
        if low is not None:
            keep &= rows.steps >= low
        if high is not None:
            keep &= rows.steps <= high
        if not keep.all():
            rows = rows.pick(np.flatnonzero(keep))
    return rows if keys is None else rows.only(keys)


def _split(held: list[tuple[int, Rows]], limit: float, *, is_last: bool) -> tuple[Rows | None, list[tuple[int, Rows]]]:
    """Take the rows below `limit` out, in order."""
    ready: list[tuple[int, Rows]] = []
    rest: list[tuple[int, Rows]] = []
    for stream, rows in held:
        below = np.ones(len(rows), np.bool_) if is_last else rows.steps < limit
        if below.all():
            ready.append((stream, rows))
        elif below.any():
            ready.append((stream, rows.pick(np.flatnonzero(below))))
            rest.append((stream, rows.pick(np.flatnonzero(~below))))
        else:
            rest.append((stream, rows))
    if not ready:
        return None, rest
    whole = Rows.join([rows for _, rows in ready])
    steps, times, seqs = whole.steps, whole.times, whole.seqs
    is_alone = len({stream for stream, _ in ready}) == 1
    falls = seqs[1:] < seqs[:-1] if is_alone else (times[1:] <= times[:-1])
    if np.any(steps[1:] < steps[:-1]) or np.any((steps[1:] == steps[:-1]) & falls):
        # Within a stream the sequence numbers tell the order of writing, across streams the times.
        whole = whole.pick(np.lexsort((seqs, steps) if is_alone else (seqs, times, steps)))
    return whole, rest
