"""`tracker diff`: what two runs differ in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from . import output
from .output import Column, clean
from .runs import api, where

if TYPE_CHECKING:
    from ..comparing import Comparison, FileChange, Pairs

_FILE_LINES = 40
_ALL_LINES = 400


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--all", "with_same", is_flag=True, help="Show also what is the same in both.")
@click.option("--full", is_flag=True, help="Show the whole difference of the code, however long.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(a: str, b: str, with_same: bool, full: bool, dir: str | None, url: str | None, as_json: bool) -> None:
    """Compare two runs: config, code, packages, machine and summary.

    A and B are ids, "project/id" or "entity/project/id". Only what differs is shown, from A to B.

    \b
    Examples:
      tracker diff a1b2c3d4 e5f6g7h8
      tracker diff digits/a1b2c3d4 digits/e5f6g7h8 --full
      tracker diff a1b2c3d4 e5f6g7h8 --json --url http://team:7878
    """
    from ..comparing import compare

    with api(dir, url) as source:
        first, second = source.run(a), source.run(b)
        found = compare(first, second, only_differing=not with_same)
    if as_json:
        output.print_json({"a": first.path, "b": second.path, **asdict(found)})
        return
    click.echo(f"A  {click.style(clean(first.name), bold=True)}  {first.path}  {output.styled_state(first.state)}")
    click.echo(f"B  {click.style(clean(second.name), bold=True)}  {second.path}  {output.styled_state(second.state)}")
    _pairs("config", found.config)
    _pairs("summary", found.summary, is_measured=True)
    _pairs("command", found.command)
    _pairs("commit", found.commits)
    _files(found, full)
    _pairs("packages", found.packages)
    _pairs("machine", found.machine)
    for note in found.notes:
        click.echo(f"\n{clean(note)}")
    if found.is_empty:
        click.echo("\nthey do not differ.")


def _pairs(title: str, pairs: Pairs, is_measured: bool = False) -> None:
    if not pairs:
        return
    from ..comparing import delta

    click.echo()
    columns = [
        Column(title.upper(), list(pairs), least=16),
        Column("A", [_value(old) for old, _ in pairs.values()], least=16),
        Column("B", [_value(new) for _, new in pairs.values()], least=16),
    ]
    if is_measured:
        grown = [delta(old, new) for old, new in pairs.values()]
        columns.append(Column("B - A", ["" if by is None else f"{by:+.5g}" for by in grown], True, least=6))
    output.print_table(columns)


def _value(value: Any) -> str:
    return "-" if value is None else output.number(value)


def _files(found: Comparison, full: bool) -> None:
    if not found.files:
        return
    click.echo(f"\n{click.style('CODE', bold=True)}")
    left = _ALL_LINES
    for change in found.files:
        click.echo(f"{clean(change.name)}  {change.what}{_counted(change)}")
        shown = change.lines if full else change.lines[: min(_FILE_LINES, max(left, 0))]
        left -= len(shown)
        for line in shown:
            click.echo(f"  {_styled(line)(clean(line))}")
        if len(change.lines) > len(shown):
            click.echo(f"  ... {len(change.lines) - len(shown):,} more lines; --full shows all")


def _counted(change: FileChange) -> str:
    added = sum(line.startswith("+") for line in change.lines)
    removed = sum(line.startswith("-") for line in change.lines)
    return f"  +{added} -{removed}" if change.lines else ""


def _styled(line: str) -> Callable[[str], str]:
    color = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return lambda text: click.style(text, fg=color) if color else text
