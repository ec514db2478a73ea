"""`tracker gc`: removes what no version of an artifact needs any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ..limits import GC_GRACE_SECONDS, LEAST_GC_GRACE_SECONDS
from ..sizes import parse_size
from . import output

if TYPE_CHECKING:
    from ..artifacts.gc import Report

_LEAST_HOURS = LEAST_GC_GRACE_SECONDS / 3600


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--grace",
    "hours",
    type=click.FloatRange(_LEAST_HOURS),
    default=GC_GRACE_SECONDS / 3600,
    show_default=True,
    metavar="HOURS",
    help=f"What was stored or used within so many hours stays; at least {_LEAST_HOURS:g}.",
)
@click.option("--cache", metavar="SIZE", help='Let so much of what was fetched from a server stay: "20GiB".')
@click.option("--dir", "folder", metavar="FOLDER", help="The folder that keeps the runs.")
@click.option("--server", metavar="FOLDER", help="Clean up the data folder of `tracker server` instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gc(dry_run: bool, hours: float, cache: str | None, folder: str | None, server: str | None, as_json: bool) -> None:
    """Remove what no version of an artifact needs any more, and versions whose time to live is over.

    Runs may go on meanwhile. A version that has an alias other than "latest", or that a registry links, stays whatever
    its time to live. Bytes fetched from a server are of no version here: they go too, unless --cache lets them stay.

    \b
    Examples:
      tracker gc --dry-run
      tracker gc
      tracker gc --cache 20GiB
      tracker gc --server /srv/tracker
    """
    from ..artifacts.gc import collect, collect_server
    from .serve import configured_folder

    if folder and server:
        raise click.UsageError(
            "--dir and --server cannot both be given: one names a folder of runs, the other a server's."
        )
    most = _bytes(cache)
    if server:
        data = Path(server).expanduser().absolute()
        report = collect_server(data, is_dry=dry_run, grace_seconds=hours * 3600)
    else:
        root = Path(folder).expanduser().absolute() if folder else configured_folder()
        report = collect(root, is_dry=dry_run, grace_seconds=hours * 3600, cache_bytes=most)
    if as_json:
        output.print_json(report.as_dict())
    else:
        _tell(report, dry_run)
    if report.troubles:
        raise click.exceptions.Exit(1)


def _tell(report: Report, is_dry: bool) -> None:
    for trouble in report.troubles:
        click.echo(f"{click.style('note:', fg='yellow')} {output.clean(trouble)}", err=True)
    verb = "would be removed" if is_dry else "removed"
    for path in report.expired:
        click.echo(f"{verb}: {output.clean(path)}, its time to live is over")
    click.echo(
        f"{verb}: {report.blobs:,} blobs ({output.size(report.blob_bytes)}), {len(report.expired):,} versions, "
        f"{report.leftovers:,} leftovers."
    )
    young = f"; {report.young_blobs:,} without a version are too young" if report.young_blobs else ""
    click.echo(f"kept: {report.kept_blobs:,} blobs ({output.size(report.kept_bytes)}){young}.")
    if report.waiting:
        click.echo(f"{report.waiting:,} artifacts of processes that are gone wait to be completed: tracker sync")


def _bytes(text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except UsageError as error:
        raise click.BadParameter(str(error), param_hint="--cache") from None
