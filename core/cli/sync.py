"""`tracker sync`: what was written offline goes to the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import output

if TYPE_CHECKING:
    from ..sync import Report


@click.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=click.Path(path_type=Path))
@click.option("--url", metavar="URL", help="The server; by default the setting base_url (TRACKER_BASE_URL).")
@click.option("--follow", is_flag=True, help="Go on until all runs have ended, however long the server is away.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def sync(folders: tuple[Path, ...], url: str | None, follow: bool, as_json: bool) -> None:
    """Send runs that were written offline, or could not be sent, to the server.

    FOLDER is the folder of all runs, of a project, or of one run; without one, all runs of this machine are sent.
    Rows, media and files of the runs are sent, and the versions of artifacts that they made or read.
    What the server has already is not sent again: running it twice, or on two machines, is harmless. Runs may still be
    being written. The exit code is 1 where something is left.

    \b
    Examples:
      tracker sync
      tracker sync ./runs --url http://team:7878
      tracker sync --follow
    """
    from ..settings import resolve
    from ..sync import sync as send
    from ..transport import HttpTransport
    from .serve import configured_folder

    chosen = resolve()
    address = url or chosen.base_url
    if not address:
        raise click.UsageError("there is no server to send to: give --url, or set TRACKER_BASE_URL.")
    roots = list(folders) or [configured_folder()]
    report = send(
        roots,
        lambda: HttpTransport(address, chosen.api_key),
        follow=follow,
        progress=not as_json,
        say=lambda sentence: click.echo(output.clean(sentence), err=True),
    )
    if as_json:
        output.print_json(report.as_dict())
    else:
        _tell(report, address)
    if not report.is_complete:
        raise click.exceptions.Exit(1)


def _tell(report: Report, address: str) -> None:
    for run, reason in report.failed:
        click.echo(f"{click.style('error:', fg='red')} {run}: {output.clean(reason)}", err=True)
    if not report.runs:
        click.echo("there are no runs to send.")
        return
    click.echo(
        f"{report.sent_rows:,} rows ({output.size(report.sent_bytes)}) of {report.runs:,} runs sent to {address}."
    )
    if report.sent_files or report.sent_versions:
        click.echo(
            f"{report.sent_files:,} files ({output.size(report.sent_file_bytes)}) sent; "
            f"{report.sent_versions:,} versions of artifacts are there."
        )
    if report.sent_changes:
        click.echo(f"{report.sent_changes:,} later links, aliases and the like of versions sent.")
    for count, sentence in (
        (report.set_aside, "records were refused by the server and stay here"),
        (report.left, "records are still on this machine only; run it again"),
        (report.left_files, "files are still on this machine only; run it again"),
        (report.left_versions, "versions of artifacts are still on this machine only; run it again"),
        (report.live, "runs are still being written; --follow goes on with them"),
    ):
        if count:
            click.echo(click.style(f"{count:,} {sentence}.", fg="yellow"))
