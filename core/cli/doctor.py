"""`tracker doctor`: can tracker work here, and if not, what mends it?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
@click.option(
    "--framework",
    "-f",
    "looked_into",
    multiple=True,
    metavar="NAME",
    help="Import it in a new process, and list what of it is patched; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(looked_into: tuple[str, ...], as_json: bool) -> None:
    """Check that tracker can work here, and say how to mend what cannot.

    Looks at the versions, the settings, the folder of runs and its disk, the index, the server if one is configured,
    the start-up hook, and the frameworks that are installed. The exit code is 1 where something is wrong.

    \b
    Examples:
      tracker doctor
      tracker doctor --json
      TRACKER_AUTOLOG=1 tracker doctor --framework sklearn
    """
    findings = [*checks(), *(found for name in looked_into for found in _patches(name))]
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
    from ..start_up import hook, start_up_files

    files, found = start_up_files(), hook()
    otherwise = "Frameworks are let know of tracker by `import tracker`, and by: tracker run script.py"
    if found is None:
        text = "the start-up hook, _tracker_hook.py, is not there."
        yield Finding(name, "problem", text, "Install tracker again: a part of it is missing.")
    elif "TRACKER_DISABLED" in os.environ:
        fix = "Unset TRACKER_DISABLED. TRACKER_MODE=disabled keeps nothing and lets scripts that name tracker run."
        yield Finding(name, "note", "the start-up hook is kept out by TRACKER_DISABLED.", fix)
    elif found.began == "start-up":
        yield Finding(name, "ok", f"the start-up hook is active ({files[0] if files else 'by tracker run'}).")
    elif not files:
        yield Finding(
            name, "note", "the start-up hook is not active: this Python reads no tracker_autoload.pth.", otherwise
        )
    elif not (found.HOOKS or found.AUTOLOG):
        yield Finding(name, "ok", "the start-up hook is installed, and waits for nothing.")
    else:
        yield Finding(name, "note", f"the start-up hook is not active, although {files[0]} is there.", otherwise)
    if found is not None:
        yield from _frameworks("frameworks", found)
    for own in ("tracker.py", os.path.join("tracker", "__init__.py")):
        if os.path.isfile(own) and not os.path.isdir(os.path.join("tracker", "core")):
            yield Finding(
                name, "note", f"scripts in this folder that import tracker get {own}, which is not this package.",
                "Rename it, if you want them to have this one.",
            )  # fmt: skip


def _frameworks(name: str, hook: Any) -> Iterator[Finding]:
    """Say of each framework that is installed whether its trainings are logged by themselves, and why not."""
    from importlib.metadata import PackageNotFoundError, version

    from ...integrations import INTEGRATIONS  # data: it imports no framework

    told = {target for table in (hook.HOOKS, hook.AUTOLOG) for target in table.values()}
    wish = os.environ.get("TRACKER_AUTOLOG", "")
    for wrong in hook.unknown(wish):
        yield Finding(
            name,
            "problem",
            f"TRACKER_AUTOLOG names {wrong!r}, which is not known.",
            f"There is: {', '.join(hook.known())}.",
        )
    for one in INTEGRATIONS:
        try:
            there = version(one.distribution)
        except PackageNotFoundError:
            continue
        if not fits(there, one.versions):
            text = (
                f"{one.name} {there} is not of the versions that are supported ({one.versions}); it may not be logged."
            )
            yield Finding(name, "note", text, f"pip install '{one.distribution}{one.versions}'")
            continue
        lacking = [f"tracker.integrations.{one.name}:{each}" for each in (*one.hooks.values(), *one.autolog.values())]
        if not told.issuperset(lacking):
            text = f"the start-up hook is older than the package: it does not wait for {one.name}."
            yield Finding(name, "problem", text, "Install tracker again, in this environment.")
            continue
        ways = ["knows the name tracker"] if one.hooks else []
        if one.autolog and hook.is_listed(one.name):
            ways.append(f"logs by itself (TRACKER_AUTOLOG={wish})")
        elif one.autolog:
            reason = f"is {wish!r}" if wish else "is not set"
            ways.append(f"does not log by itself: TRACKER_AUTOLOG {reason}")
        text = f"{one.name} {there} {', and '.join(ways) or 'logs where its callback is given'}."
        yield Finding(name, "ok", text)


_LOOK = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        sys.stderr.write(f"{name}: {error}\\n")
patching = sys.modules.get("tracker.integrations.patching")
for patch in patching.patched() if patching else ():
    print(patch)
"""


def _patches(framework: str) -> Iterator[Finding]:
    """Import a framework in a new process, as a script would, and say what of it is patched then."""
    import subprocess

    from ..start_up import hook

    found: Any = hook()
    name = framework if found is None else found.canonical(framework)
    tables = () if found is None else (found.HOOKS, found.AUTOLOG)
    modules = [module for table in tables for module, target in table.items() if f".integrations.{name}:" in target]
    if not modules:
        known = sorted({target.partition(":")[0].rpartition(".")[2] for table in tables for target in table.values()})
        raise click.UsageError(f"--framework is {framework!r}; there is: {', '.join(known)}.")
    command = [sys.executable, "-c", _LOOK, *dict.fromkeys(modules)]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if line.startswith("tracker: "):
            yield Finding("patches", "problem", line.removeprefix("tracker: "))
    if done.returncode:
        last = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        yield Finding("patches", "problem", f"{name} could not be imported ({last}).")
    elif lines := done.stdout.splitlines():
        yield Finding("patches", "ok", f"of {name}: {', '.join(lines)}.")
    elif not found.is_listed(name) and os.environ.get("TRACKER_AUTOLOG", "") in ("", "0"):
        yield Finding("patches", "note", f"nothing of {name} is patched: autologging is off.", "Set TRACKER_AUTOLOG=1.")
    else:
        missing = [line for line in done.stderr.splitlines() if line.partition(":")[0] in modules]
        why = f" ({'; '.join(missing)})" if missing else ""
        yield Finding("patches", "note", f"nothing of {name} is patched{why}.")


def fits(version: str, wanted: str) -> bool:
    """Answer whether a version is one of those that a specifier such as ">=4.40,<6" means; by its numbers alone."""
    have = _numbers(version)
    for part in filter(None, (part.strip() for part in wanted.split(","))):
        sign = part.rstrip("0123456789.*abcrdevpost ")
        least = _numbers(part[len(sign) :])
        size = max(len(have), len(least))
        one, other = (numbers + [0] * (size - len(numbers)) for numbers in (have, least))
        is_so = {">=": one >= other, "<=": one <= other, ">": one > other, "<": one < other, "==": one == other,
                 "!=": one != other}.get(sign, True)  # fmt: skip
        if not is_so:
            return False
    return True


def _numbers(version: str) -> list[int]:
    from re import match

    found = match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in found[0].split(".")] if found else []


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
