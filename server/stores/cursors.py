"""What of a batch is new to a store: every store goes through here, so that a repeated record is never kept twice."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.journal import Block, Entry
from ...core.record import Kind
from .base import GapError


def fresh(entries: Iterable[Entry], cursor: int) -> list[Entry]:
    """Answer the entries behind `cursor`, the first one cut where it overlaps.

    Raises:
        GapError: Something is missing between the cursor and the entries, or among them.
    """
    found: list[Entry] = []
    for entry in entries:
        last = last_seq(entry)
        if last <= cursor:
            continue
        first = first_seq(entry)
        if first > cursor + 1:
            raise GapError(cursor, first)
        found.append(entry.after(cursor) if isinstance(entry, Block) else entry)
        cursor = last
    return found


def first_seq(entry: Entry) -> int:
    """Answer the number of the first record an entry stands for."""
    if isinstance(entry, Block):
        return entry.first_seq
    if entry.kind == Kind.LOST and entry.body.get("last_seq") == entry.seq:
        first = entry.body.get("first_seq")  # a reader's mark for a gap spans the records that are missing
        if isinstance(first, int) and first <= entry.seq:
            return first
    return entry.seq


def last_seq(entry: Entry) -> int:
    """Answer the number of the last record an entry stands for."""
    return entry.last_seq if isinstance(entry, Block) else entry.seq
