"""`tracker restore`: a run's folder as it was, and the command that runs it again."""

from __future__ import annotations

from pathlib import Path

import click

from . import output
from .output import clean
from .runs import api, where

_MOST_LINES = 20


@click.command()
@click.argument("run")
@click.option("--into", metavar="DIR", help="The folder to make; by default restored-<id> in this one.")
@click.option("--packages", metavar="FILE", help="Also write the packages of the run to a file of requirements.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def restore(
    ctx: click.Context,
    run: str,
    into: str | None,
    packages: str | None,
    dir: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Make a run's folder again: its commit, what was changed, and what was not committed.

    RUN is an id, "project/id" or "entity/project/id". The folder is a new one, or an empty one: nothing is written
    over. The commit comes from the repository where the run was, from the one you stand in, or from its remote.
    The exit code is 1 where something is missing.

    \b
    Examples:
      tracker restore a1b2c3d4
      tracker restore digits/a1b2c3d4 --into /tmp/again --packages requirements.txt
    """
    from ..names import to_folder
    from ..restoring import restore as make
    from ..restoring import write_packages

    with api(dir, url) as source:
        found = source.run(run)
        done = make(found, Path(into or f"restored-{to_folder(found.id)}"))
        if packages:
            write_packages(found, Path(packages))
    if as_json:
        output.print_json(
            {
                "folder": str(done.folder), "commit": done.commit, "source": done.source, "changed": done.changed,
                "files": done.files, "missing": done.missing, "notes": done.notes, "directory": str(done.directory),
                "command": done.command, "environment": done.environment,
            }
        )  # fmt: skip
    else:
        click.echo(f"{click.style(clean(found.name), bold=True)} is restored in {done.folder}")
        facts = [
            ("commit", f"{done.commit[:12]} from {done.source}" if done.commit else None),
            ("changed", f"{done.changed:,} files" if done.changed else None),
            ("written", f"{done.files:,} files" if done.files else None),
        ]
        for name, value in facts:
            if value:
                click.echo(f"  {name:<12}{clean(value)}")
        _list("missing", done.missing, "yellow")
        _list("note", done.notes, None)
        if packages:
            click.echo(f"  {'packages':<12}{clean(packages)}")
        if done.shell:
            click.echo("\nRun it again with:")
            click.echo(f"  {clean(done.shell)}")
    ctx.exit(1 if done.missing else 0)


def _list(name: str, sentences: list[str], color: str | None) -> None:
    for sentence in sentences[:_MOST_LINES]:
        click.echo(click.style(f"  {name:<12}{clean(sentence)}", fg=color))
    if len(sentences) > _MOST_LINES:
        click.echo(f"  {'':<12}and {len(sentences) - _MOST_LINES:,} more; --json shows all")
