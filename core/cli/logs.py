"""`tracker logs`: what a run printed, from the folder or from a server."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .output import clean
from .runs import api, where

if TYPE_CHECKING:
    from ..printed import ConsoleLine
    from ..query import Run

_FOLLOW_SECONDS = 0.5
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")  # of what programs send to a terminal, only this is sent on
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command()
@click.argument("run")
@click.option("--tail", "-n", metavar="N", type=click.IntRange(1), help="Only the last N lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@click.option("--search", "-s", metavar="TEXT", help="Only lines that hold this text.")
@click.option("--level", "-l", "levels", multiple=True, metavar="LEVEL", help="Only log records of this level.")
@click.option("--rank", "ranks", multiple=True, type=int, metavar="N", help="Only processes of this rank.")
@click.option("--time", "with_time", is_flag=True, help="Print when each line began.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def logs(
    run: str,
    tail: int | None,
    follow: bool,
    search: str | None,
    levels: tuple[str, ...],
    ranks: tuple[int, ...],
    with_time: bool,
    dir: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Print what the programs of RUN printed: an id, 'project/id' or 'entity/project/id'.

    \b
    Examples:
      tracker logs a1b2c3d4
      tracker logs a1b2c3d4 -f
      tracker logs digits/a1b2c3d4 --level ERROR --time
    """
    wanted: dict[str, Any] = {"search": search, "levels": list(levels) or None, "ranks": list(ranks) or None}
    with api(dir, url) as source:
        found = source.run(run)
        printer = _Printer(with_time, as_json, has_ranks=not ranks)
        # The mark first: what comes while the rest is printed is printed again, rather than never.
        mark = found._source.console(found._info.path, {"limit": 0}).mark
        if tail is not None:
            lines: Any = found._source.console(found._info.path, {**wanted, "limit": tail, "last": True}).lines
        else:
            lines = found.console(**wanted)
        for line in lines:
            printer.show(line)
        if follow:
            _follow(found, wanted, mark, printer)


def _follow(run: Run, wanted: dict[str, Any], mark: int, printer: _Printer) -> None:
    while True:
        is_over = run.load().state != "running"  # before the look: what came by then is seen
        while True:
            page = run._source.console(run._info.path, {**wanted, "after": mark, "limit": 1000})
            mark = page.mark
            for line in page.lines:
                printer.show(line)
            if len(page.lines) < 1000:
                break
        if is_over:
            return
        time.sleep(_FOLLOW_SECONDS)


class _Printer:
    """Prints lines; one that was told already only where it has changed."""

    def __init__(self, with_time: bool, as_json: bool, has_ranks: bool) -> None:
        self._with_time = with_time
        self._as_json = as_json
        self._has_ranks = has_ranks
        self._shown: dict[tuple[str, int], str] = {}

    def show(self, line: ConsoleLine) -> None:
        place = (line.stream, line.number)
        if self._shown.get(place) == line.text:
            return
        if len(self._shown) > 10_000:
            self._shown.clear()
        self._shown[place] = line.text
        if self._as_json:
            click.echo(json.dumps(asdict(line)))
            return
        head = ""
        if self._with_time:
            head += click.style(time.strftime("%H:%M:%S ", time.localtime(line.time_ns / 1e9)), dim=True)
        if line.rank is not None and self._has_ranks:
            head += click.style(f"[{line.rank}] ", dim=True)
        text = "".join(part if _COLOUR.fullmatch(part) else clean(part) for part in _COLOUR.split(line.text))
        if "\x1b" in text:
            text += "\x1b[0m"
        click.echo(head + click.style(text, fg=_COLOURS.get(line.level or "")))
