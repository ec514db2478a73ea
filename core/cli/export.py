"""`tracker export`: runs or their history as CSV, Parquet or JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..progress import Progress
from .runs import api, where

if TYPE_CHECKING:
    from ..query import Api, Run

_FORMATS = ("csv", "json", "parquet")


@click.command()
@click.argument("path")
@click.option("--output", "-o", metavar="FILE", help="Where to write; the terminal by default (CSV and JSON).")
@click.option("--format", "-f", "kind", type=click.Choice(_FORMATS), help="By default what FILE ends in, else csv.")
@click.option("--history", is_flag=True, help="Of a project: the rows of all its runs instead of one row a run.")
@click.option("--key", "-k", "keys", multiple=True, help="Only this metric of the history; may be repeated.")
@where
def export(
    path: str,
    output: str | None,
    kind: str | None,
    history: bool,
    keys: tuple[str, ...],
    dir: str | None,
    url: str | None,
) -> None:
    """Write the history of a run, or the runs of a project.

    PATH is a run ("id", "project/id", "entity/project/id") or a project ("project", "entity/project"). Nothing is
    sampled. In CSV, texts that a spreadsheet would take for formulas get an apostrophe before them; in JSON, NaN and
    infinities are the texts "NaN", "Infinity" and "-Infinity".

    \b
    Examples:
      tracker export digits/a1b2c3d4 -o history.csv
      tracker export digits -o runs.parquet
      tracker export digits --history -k loss -f json
    """
    form = kind or _by_ending(output)
    if form == "parquet" and output is None:
        raise click.UsageError("Parquet is no text: name a file with --output.")
    with api(dir, url) as source:
        run, runs = _named(source, path)
        if run is None and (keys and not history):
            raise click.UsageError("--key chooses metrics of the history: add --history for a project.")
        count = _write(run, runs, form, output, list(keys) or None, history)
    if output:
        click.echo(f"{count:,} rows written to {output}.", err=True)


def _by_ending(output: str | None) -> str:
    if output is None:
        return "csv"
    ending = Path(output).suffix.lstrip(".").lower()
    if ending not in _FORMATS:
        raise click.UsageError(f"{output!r} does not end in .csv, .json or .parquet: say which with --format.")
    return ending


def _named(source: Api, path: str) -> tuple[Run | None, list[Run]]:
    parts = path.strip("/").split("/")
    projects = {(project.entity, project.name) for project in source.projects()}
    names = {name for _, name in projects}
    if (len(parts) == 1 and parts[0] in names) or (len(parts) == 2 and tuple(parts) in projects):
        return None, list(source.runs(path, per_page=1000))
    return source.run(path), []


def _write(
    run: Run | None, runs: list[Run], form: str, output: str | None, keys: list[str] | None, history: bool
) -> int:
    from .. import export as writing  # numpy comes with the history

    if run is not None and form == "parquet":
        from ..query.table import write_parquet

        table = run._table(keys)
        write_parquet(table, output, {"tracker.run": run.path, "tracker.name": run.name})
        return len(table)
    is_history = run is not None or history
    rows: Iterator[Mapping[str, Any]]
    if run is not None:
        rows = run._walk(keys)
    elif history:
        rows = writing.history_rows(runs, keys)
    else:
        rows = writing.run_rows(runs)
    if form == "parquet":
        kept = list(rows)
        writing.write_parquet(kept, output)
        return len(kept)
    if form == "json":
        with _opened(output) as file:
            return writing.write_json(rows, file)
    total = 0
    if is_history:
        columns, total = writing.history_columns([run] if run else runs, keys)
        columns = ["run"] * (run is None) + columns
    else:
        found = list(rows)
        columns, rows = writing.columns_of(found), iter(found)
    with _opened(output) as file, Progress("writing", "rows", total, is_silent=output is None) as bar:
        return writing.write_csv(_counted(rows, bar), columns, file)


def _counted(rows: Iterator[Mapping[str, Any]], bar: Progress) -> Iterator[Mapping[str, Any]]:
    for count, row in enumerate(rows):
        if count % 1000 == 0:
            bar.update(count)
        yield row


@contextmanager
def _opened(output: str | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
        return
    target = Path(output)
    if not target.parent.is_dir():
        raise UsageError(f"the folder {target.parent} is not there; make it first.")
    # Whole or not at all: a program that waits for the file never reads half of it.
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(draft, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
