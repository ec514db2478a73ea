"""What a run keeps by name: its files, and the facts of its machine and code. For each name the latest record rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from ...core.files import NamedFile, named_file
from ...core.limits import MAX_KEY_CHARS
from ...core.record import Control, Kind
from ...core.values import encodable, from_extension
from .tables import facts, files

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)


def note_named(db: sa.Connection, run: int, stream: str, records: Iterable[Control]) -> None:
    """Write down what FILE and ENVIRONMENT records tell; others are passed over."""
    for record in records:
        stamp = (record.time_ns, stream, record.seq)
        if record.kind == Kind.FILE and isinstance(name := record.body.get("name"), str):
            _note(db, files, run, name, stamp, {"body": _encoder.encode(encodable(record.body))})
        elif record.kind == Kind.ENVIRONMENT:
            for name, value in record.body.items():
                _note(db, facts, run, name, stamp, {"value": _encoder.encode(encodable(value))})


def _note(
    db: sa.Connection, table: sa.Table, run: int, name: str, stamp: tuple[int, str, int], data: dict[str, Any]
) -> None:
    if len(name) > MAX_KEY_CHARS:
        return
    where = (table.c.run == run, table.c.name == name)
    known = db.execute(sa.select(table.c.time_ns, table.c.stream, table.c.seq).where(*where)).first()
    row = {**dict(zip(("time_ns", "stream", "seq"), stamp, strict=True)), **data}
    if known is None:
        db.execute(table.insert(), {"run": run, "name": name, **row})
    elif tuple(known) <= stamp:
        db.execute(table.update().where(*where).values(**row))


def files_of(db: sa.Connection, run: int) -> list[NamedFile]:
    """Answer a run's files by name, without those that were taken away."""
    rows = db.execute(sa.select(files.c.time_ns, files.c.body).where(files.c.run == run).order_by(files.c.name))
    found = (named_file(row.time_ns, _decoder.decode(row.body)) for row in rows)
    return [file for file in found if file is not None]


def file_of(db: sa.Connection, run: int, name: str) -> NamedFile | None:
    """Answer one file of a run; None where there is none."""
    row = db.execute(sa.select(files.c.time_ns, files.c.body).where(files.c.run == run, files.c.name == name)).first()
    return named_file(row.time_ns, _decoder.decode(row.body)) if row else None


def facts_of(db: sa.Connection, run: int) -> dict[str, Any]:
    """Answer what a run told of its machine and code; a fact of value None was taken back."""
    rows = db.execute(sa.select(facts.c.name, facts.c.value).where(facts.c.run == run).order_by(facts.c.name))
    found = {row.name: _decoder.decode(row.value) for row in rows}
    return {name: value for name, value in found.items() if value is not None}
