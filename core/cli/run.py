"""`tracker run`: a program as it is, with its trainings logged. It becomes the program: nothing stands between."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from ..start_up import hook, start_up_files

_STARTUP = Path(__file__).parent / "startup"


@click.command(
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("--project", "-p", metavar="NAME", help="The project of its runs.")
@click.option("--entity", metavar="NAME", help="Whose project it is.")
@click.option("--name", "-n", metavar="NAME", help="What its run is called.")
@click.option("--group", "-g", metavar="NAME", help="The group of its runs.")
@click.option("--job-type", metavar="NAME", help='What its runs do: "train", "eval", ...')
@click.option("--tags", "-t", multiple=True, metavar="TAGS", help="Labels, with commas; may be repeated.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@click.option("--dir", "folder", type=click.Path(file_okay=False), help="Keep the runs in this folder.")
@click.option("--offline", is_flag=True, help="Send nothing while it runs.")
@click.option(
    "--autolog", metavar="LIST", help='Frameworks, with commas; "-NAME" for all but that one. All by default.'
)
@click.option("--no-autolog", is_flag=True, help="Log what the program logs by itself, and nothing else.")
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is a module, as with python -m.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SCRIPT [ARGUMENTS]...")
def run(
    project: str | None,
    entity: str | None,
    name: str | None,
    group: str | None,
    job_type: str | None,
    tags: tuple[str, ...],
    notes: str | None,
    folder: str | None,
    offline: bool,
    autolog: str | None,
    no_autolog: bool,
    is_module: bool,
    command: tuple[str, ...],
) -> None:
    """Run a program, and log its trainings with no word of tracker in it.

    SCRIPT is a file for the Python that tracker is installed in, a module with -m, or any other command: `torchrun`,
    `accelerate`, `python`. What stands behind it is the program's. Options become the program's defaults: what it says
    by itself rules. The exit code is the program's.

    \b
    Examples:
      tracker run train.py --lr 0.1
      tracker run -p digits -t baseline,small --autolog sklearn,xgboost train.py
      tracker run torchrun --nproc-per-node 2 train.py
    """
    chosen = {
        "TRACKER_PROJECT": project,
        "TRACKER_ENTITY": entity,
        "TRACKER_NAME": name,
        "TRACKER_RUN_GROUP": group,
        "TRACKER_JOB_TYPE": job_type,
        "TRACKER_TAGS": ",".join(tags) or None,
        "TRACKER_NOTES": notes,
        "TRACKER_DIR": str(Path(folder).expanduser().absolute()) if folder else None,
        "TRACKER_MODE": "offline" if offline else None,
        "TRACKER_AUTOLOG": _wish(autolog, no_autolog),
    }
    environment = {**os.environ, **{key: value for key, value in chosen.items() if value is not None}}
    words = _words(command, is_module)
    if "TRACKER_DISABLED" in environment:
        click.echo("TRACKER_DISABLED is set: nothing will be logged.", err=True)
    elif not _has_hook(words[0]):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_STARTUP), environment.get("PYTHONPATH"))))
    _become(words, environment)


def _wish(autolog: str | None, no_autolog: bool) -> str | None:
    if no_autolog:
        if autolog is not None:
            raise click.UsageError("--autolog and --no-autolog were both given; give one of them.")
        return "0"
    if autolog is None:
        return None if os.environ.get("TRACKER_AUTOLOG") else "1"
    known = hook()
    if known is not None and (wrong := known.unknown(autolog)):
        raise click.UsageError(f"--autolog names {', '.join(map(repr, wrong))}; there is: {', '.join(known.known())}.")
    return autolog


def _words(command: tuple[str, ...], is_module: bool) -> list[str]:
    """Answer the command line, its program with a path."""
    first = command[0]
    if is_module:
        return [sys.executable, "-m", *command]
    if first.endswith((".py", ".pyw", ".pyz")) or (os.path.exists(first) and not _can_execute(first)):
        if not os.path.exists(first):
            raise click.UsageError(f"there is no file {first!r} in {os.getcwd()}.")
        return [sys.executable, *command]
    beside = shutil.which(first, path=os.path.dirname(sys.executable)) if os.path.dirname(first) == "" else None
    program = shutil.which(first) or beside
    if program is None:
        raise click.UsageError(f"there is neither a file nor a command {first!r}.")
    return [program, *command[1:]]


def _can_execute(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _has_hook(program: str) -> bool:
    """Answer whether the program's Python starts the hook by itself: it is tracker's own, and reads our file."""
    folders = {os.path.realpath(os.path.dirname(path)) for path in (program, sys.executable)}
    return len(folders) == 1 and bool(start_up_files())


def _become(words: list[str], environment: dict[str, str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":  # pragma: no cover - there, `exec` leaves a child and returns at once
        import subprocess

        raise click.exceptions.Exit(subprocess.call(words, env=environment))
    import signal

    for name in ("SIGPIPE", "SIGXFSZ"):  # which Python ignores, and programs inherit
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(words[0], words, environment)  # noqa: S606 - the user's own command
    except OSError as error:
        raise click.ClickException(f"{words[0]} cannot be run: {error.strerror}.") from error
