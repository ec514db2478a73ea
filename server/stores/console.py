"""What programs printed: one row a line, the latest telling of a line in place of those before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ...core.printed import ConsoleLine, ConsolePage
from ...core.record import Control, Kind
from .tables import schema

_MOST_CHARS = 64 << 10  # of one line; ours are shorter, others' need not be

console = sa.Table(
    "console",
    schema,
    # Grows with each telling, so that whoever follows asks for what came after the last one he has seen.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("level", sa.Text),
    sa.Column("logger", sa.Text),
    sa.Column("rank", sa.BigInteger),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "stream", "number"),
    sa.Index("console_order", "run", "time_ns", "stream", "number"),
    sqlite_autoincrement=True,
)
_TELL = console.insert().prefix_with("OR REPLACE", dialect="sqlite")


def note_console(db: sa.Connection, run: int, stream: str, controls: Iterable[Control]) -> None:
    """Write down the lines that records tell; what is no line is passed over."""
    told: dict[int, dict[str, Any]] = {}
    for entry in controls:
        if entry.kind != Kind.CONSOLE:
            continue
        rank = entry.body.get("rank")
        lines = entry.body.get("lines")
        for line in lines if isinstance(lines, list) else ():
            row = _row(line)
            if row is not None:
                told.pop(row["number"], None)
                told[row["number"]] = {"run": run, "stream": stream, "rank": _whole(rank), **row}
    if told:
        db.execute(_TELL, list(told.values()))


def find_console(
    db: sa.Connection,
    run: int,
    *,
    offset: int,
    limit: int,
    after: int | None,
    search: str | None,
    levels: Sequence[str] | None,
    sources: Sequence[str] | None,
    ranks: Sequence[int] | None,
    last: bool,
) -> ConsolePage:
    """Answer a part of what a run has printed; see `MetadataStore.console`."""
    of_run = console.c.run == run
    where: list[sa.ColumnElement[bool]] = [of_run]
    if search:
        where.append(sa.func.instr(sa.func.lower(console.c.text), search.lower()) > 0)
    if levels:
        where.append(console.c.level.in_([level.upper() for level in levels]))
    if sources:
        where.append(console.c.source.in_(sources))
    if ranks:
        where.append(console.c.rank.in_(ranks))
    total = db.execute(sa.select(sa.func.count()).where(*where)).scalar_one()
    mark = db.execute(sa.select(sa.func.max(console.c.id)).where(of_run)).scalar() or 0
    of_streams = (
        sa.select((sa.func.max(console.c.number) + 1 - sa.func.count()).label("gaps"))
        .where(of_run)
        .group_by(console.c.stream)
        .subquery()
    )
    left_out = db.execute(sa.select(sa.func.sum(of_streams.c.gaps))).scalar() or 0
    found = sa.select(console).where(*where)
    in_order = (console.c.time_ns, console.c.stream, console.c.number)
    if after is not None:
        found = found.where(console.c.id > after).order_by(console.c.id)
    else:
        found = found.order_by(*(column.desc() for column in in_order) if last else in_order).offset(offset)
    rows = db.execute(found.limit(limit)).all()
    if after is not None and len(rows) == limit:
        mark = rows[-1].id
    lines = [
        ConsoleLine(row.text, row.time_ns, row.source, row.level, row.logger, row.rank, row.stream, row.number)
        for row in rows
    ]
    if last and after is None:
        lines.reverse()
    return ConsolePage(total, left_out, mark, lines)


def _row(line: Any) -> Mapping[str, Any] | None:
    if not isinstance(line, list) or len(line) < 4:
        return None
    number, time_ns, source, text, *rest = line
    if _whole(number) is None or _whole(time_ns) is None or not isinstance(source, str) or not isinstance(text, str):
        return None
    level, logger = (*rest, None, None)[:2]
    return {
        "number": number,
        "time_ns": time_ns,
        "source": source[:100],
        "text": text[:_MOST_CHARS],
        "level": level[:100] if isinstance(level, str) else None,
        "logger": logger[:1000] if isinstance(logger, str) else None,
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62 else None
