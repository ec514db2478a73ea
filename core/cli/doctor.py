"""`tracker doctor`: can tracker work here, and if not, what mends it?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click

from . import output

_LEAST_FREE_BYTES = 1 << 30
_SLOW_SYNC_SECONDS = 0.5
_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("problem", "red")}


class Finding(NamedTuple):
    """What a check has found.

    Args:
        name: What was checked.
        level: "problem" makes the command fail; a "note" is worth knowing.
        text: What is so.
        fix: What to do, where there is something to do.
    """

    name: str
    level: Literal["ok", "note", "problem"]
    text: str
    fix: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check that tracker can work here, and say how to mend what cannot.

    Looks at the versions, the settings, the folder of runs and its disk, the index, the server if one is configured,
    and the start-up hook. The exit code is 1 where something is wrong.

    \b
    Examples:
      tracker doctor
      tracker doctor --json
    """
    findings = list(checks())
    if as_json:
        output.print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            word, color = _MARKS[finding.level]
            click.echo(f"{click.style(f'{word:<8}', fg=color)} {finding.name}: {output.clean(finding.text)}")
            if finding.fix:
                click.echo(f"{'':<8} → {finding.fix}")
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def checks() -> Iterator[Finding]:
    """Make all checks; one that fails in an unforeseen way is a finding itself."""
    for name, check in (
        ("versions", _versions),
        ("settings", _settings),
        ("folder", _folder),
        ("index", _index),
        ("server", _server),
        ("hook", _hook),
        ("page", _page),
    ):
        try:
            yield from check(name)
        except Exception as error:
            yield Finding(name, "problem", f"could not be checked ({type(error).__name__}: {error})")


Check = Callable[[str], Iterator[Finding]]


def _versions(name: str) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from tracker import __version__

    parts = [f"tracker {__version__}", f"Python {sys.version.split()[0]}", sys.platform]
    for package in ("msgspec", "numpy", "fastapi", "sqlalchemy", "requests"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} missing")
    yield Finding(name, "ok", ", ".join(parts))


def _settings(name: str) -> Iterator[Finding]:
    from ..settings import project_file, resolve, user_file

    chosen = resolve()  # raises where a file or a variable is wrong: that is then the finding
    files = [str(path) for path in (project_file(), user_file()) if path]
    yield Finding(name, "ok", f"mode {chosen.mode}; read from: {', '.join(files) or 'no file'}")
    if chosen.mode == "disabled":
        source = chosen.sources["mode"]
        yield Finding(name, "note", f"runs are not kept: the mode is disabled ({source}).", f"Unset {source}.")


def _root() -> Path:
    from ..paths import data_root
    from ..settings import resolve

    return Path(resolve().dir or data_root()).expanduser().absolute()


def _folder(name: str) -> Iterator[Finding]:
    from ..journal.storage import can_map

    root = _root()
    other = "Set TRACKER_DIR to a folder you can write to."
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root) as folder:
            is_mapped = can_map(Path(folder))
            seconds = _sync_seconds(Path(folder))
    except OSError as error:
        yield Finding(name, "problem", f"{root} cannot be written ({error}).", other)
        return
    how = "records are stored in mapped memory" if is_mapped else "records are written one by one (no mapping here)"
    yield Finding(name, "ok", f"{root} can be written; {how}.")
    if seconds > _SLOW_SYNC_SECONDS:
        yield Finding(
            name, "note", f"the disk takes {seconds:.1f} s to confirm a write; run.flush() waits that long.", other
        )
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE_BYTES:
        yield Finding(name, "problem", f"{output.size(free)} are free.", f"Free some space. {other}")
    else:
        yield Finding(name, "ok", f"{output.size(free)} are free.")


def _sync_seconds(folder: Path) -> float:
    began = time.monotonic()
    with open(folder / "probe", "wb") as file:
        file.write(b"probe")
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - began


def _index(name: str) -> Iterator[Finding]:
    from ..paths import cache_root

    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root):
            pass
    except OSError as error:
        fix = "Set TRACKER_CACHE_DIR to a folder on this machine's own disk."
        yield Finding(name, "problem", f"{root} cannot be written ({error}).", fix)
        return
    yield Finding(name, "ok", f"{root} can be written; it can be removed at any time and is made anew.")


def _server(name: str) -> Iterator[Finding]:
    from ..errors import TransportError
    from ..settings import resolve

    chosen = resolve()
    if not chosen.base_url:
        yield Finding(name, "ok", "none is configured; runs stay on this machine.")
        return
    from ..query.remote import HttpSource  # requests: only where there is a server

    source = HttpSource(chosen.base_url, chosen.api_key, 5.0)
    try:
        health = source.health()
        source.projects()
    except TransportError as error:
        yield Finding(name, "problem", str(error), f"It is set by {chosen.sources.get('base_url')}.")
        return
    finally:
        source.close()
    yield Finding(name, "ok", f"{chosen.base_url} answers (version {health.get('version')}) and takes the key.")


def _hook(name: str) -> Iterator[Finding]:
    from importlib.util import find_spec

    if find_spec("_tracker_hook") is None or not _pth_files():
        yield Finding(name, "note", "the start-up hook is not installed; frameworks are tracked when you ask for it.")
        return
    yield Finding(name, "ok", "the start-up hook is installed.")


def _pth_files() -> list[Path]:
    folders = [Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    return [path for folder in folders if folder.is_dir() for path in folder.glob("tracker_autoload.*")]


def _page(name: str) -> Iterator[Finding]:
    from importlib.util import find_spec

    spec = find_spec("tracker.server")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if any((Path(place) / "static" / "index.html").is_file() for place in places):
        yield Finding(name, "ok", "the dashboard is built.")
    else:
        yield Finding(
            name, "note", "the dashboard is not built; `tracker ui` shows a plain page.",
            "Install a wheel, or build it with: pip install . (Node comes along).",
        )  # fmt: skip
