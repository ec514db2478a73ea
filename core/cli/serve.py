"""`tracker ui` and `tracker server`: the dashboard of this machine, the server of a team, and its keys."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import output
from .output import Column


def can_open_browser() -> bool:
    """Answer whether a browser can be opened for the one who looks on: not over SSH, not in a container."""
    if not output.is_terminal() or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def listening(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where to listen."""
    for option in (
        click.option(
            "--allow-host", "hosts", multiple=True, metavar="NAME", help="Answer to this name too (a proxy's)."
        ),
        click.option(
            "--port", type=click.IntRange(0, 65_535), help="0 for any; by default 8765, or the next free one."
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@listening
@click.option("--browser/--no-browser", default=None, help="Open a browser; by default where there is one.")
def ui(folder: Path | None, host: str, port: int | None, hosts: tuple[str, ...], browser: bool | None) -> None:
    """Show the runs of FOLDER in the browser, also those that are being written.

    Without FOLDER those of this machine: TRACKER_DIR, or the user's data folder. Nobody else can reach it, unless
    --host says so; then an API key is needed.

    \b
    Examples:
      tracker ui
      tracker ui ./runs --port 9000
    """
    from ...server.run import serve  # uvicorn

    root = folder or configured_folder()
    if not root.is_dir():
        click.echo(f"{root} is not there yet; runs are shown as soon as there are any.", err=True)
    is_opening = can_open_browser() if browser is None else browser
    raise click.exceptions.Exit(
        serve("ui", root=root, host=host, port=port, allowed_hosts=hosts, is_opening=is_opening)
    )


def configured_folder() -> Path:
    """Answer the folder of runs that the settings name."""
    from ..paths import data_root
    from ..settings import resolve

    return Path(resolve().dir or data_root()).expanduser().absolute()


@click.group(invoke_without_command=True)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where runs and keys are kept.")
@listening
@click.pass_context
def server(context: click.Context, folder: Path | None, host: str, port: int | None, hosts: tuple[str, ...]) -> None:
    """Serve runs to a team: takes them in over HTTP, and shows them.

    It listens on this machine only, unless --host says otherwise; then an API key is needed.

    \b
    Examples:
      tracker server key add alice
      tracker server --host 0.0.0.0 --port 7878
      TRACKER_BASE_URL=http://team:7878 TRACKER_API_KEY=tk_... python train.py
    """
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    from ...server.run import serve  # uvicorn

    raise click.exceptions.Exit(serve("server", folder=folder, host=host, port=port, allowed_hosts=hosts))


@server.group()
def key() -> None:
    """Manage the API keys of the server in --folder.

    \b
    Examples:
      tracker server key add alice
      tracker server key list
      tracker server key revoke 1f2e3d4c
    """


@key.command("add")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def add_key(folder: Path | None, name: str, as_json: bool) -> None:
    """Make a key for NAME (a person, a machine); it is shown once, and only its hash is kept."""
    made, text = _keys(folder).add(name)
    if as_json:
        output.print_json({"id": made.id, "name": made.name, "key": text})
        return
    click.echo(text)
    click.echo(f"This is the key {made.id} of {output.clean(name)}; it is not shown again. Use it with:", err=True)
    click.echo("  export TRACKER_API_KEY=<key>", err=True)


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_keys(folder: Path | None, as_json: bool) -> None:
    """List the keys: whose they are, and since when."""
    keys = _keys(folder).keys()
    if as_json:
        output.print_json([{"id": one.id, "name": one.name, "created_ns": one.created_ns} for one in keys])
        return
    if not keys:
        click.echo("there are no keys. Make one with: tracker server key add NAME")
        return
    now = time.time_ns()
    output.print_table(
        [
            Column("ID", [one.id for one in keys]),
            Column("NAME", [one.name for one in keys]),
            Column("MADE", [output.ago(one.created_ns, now) for one in keys]),
        ]
    )


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke_key(folder: Path | None, key_id: str) -> None:
    """Take the key ID away; who uses it is refused from now on."""
    gone = _keys(folder).remove(key_id)
    click.echo(f"the key {gone.id} of {output.clean(gone.name)} is revoked.")


def _keys(folder: Path | None) -> Any:
    from ...server.run import key_file  # uvicorn

    return key_file(folder)
