"""Making a run's folder again: the commit, what differed from it, what nobody had committed, and the command."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .capture import diffs
from .capture.code import CONDA, MANIFEST, NOTEBOOK, REQUIREMENTS, SCRIPT
from .capture.logged import FILES
from .capture.tree import DIFF, UNTRACKED
from .errors import StorageError, TrackerError, UsageError
from .files import check_file_name, place_of

if TYPE_CHECKING:
    from .query import File, Run

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LINK = "120000"
# What of the repository's configuration decides how files look on disk, and the values it may have.
_CONFIG = {
    "core.autocrlf": ("true", "false", "input"),
    "core.eol": ("lf", "crlf", "native"),
    "core.symlinks": ("true", "false"),
    "core.filemode": ("true", "false"),
}
# A repository that is cloned brings no programs of its own: no hooks, no templates, no monitor.
_SAFE = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never",
         "-c", "advice.detachedHead=false", "-c", "core.quotePath=false")  # fmt: skip


@dataclass
class Restored:
    """What was made.

    Args:
        folder: Where.
        commit: The commit that was checked out; None where there is none.
        source: The repository it came from.
        changed: Files that the diff has changed.
        files: Files that were written beside it.
        missing: Sentences about what could not be restored.
        notes: Sentences about what is different, or to be known.
        directory: The folder to run the program in.
        command: The command line that runs it again, in that folder; empty where it is not known.
        environment: Variables that change what it computes.
    """

    folder: Path
    commit: str | None = None
    source: str | None = None
    changed: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    directory: Path = field(default_factory=Path)
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def shell(self) -> str:
        """The command as a shell takes it, with the folder to go to first."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        words = " ".join([*variables, shlex.join(self.command)])
        return f"cd {shlex.quote(str(self.directory))} && {words}" if self.command else ""


def restore(run: Run, into: Path) -> Restored:
    """Make a run's folder again.

    Args:
        run: The run, as `Api` answers it.
        into: The folder; it is made, or is there and empty.

    Raises:
        UsageError: The folder holds something, or the run has no code.
        StorageError: A file cannot be read or written.
    """
    folder = into.expanduser().absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; nothing is written over. Name another one with --into.")
    files = {file.name: file for file in run.files()}
    facts = run.metadata
    manifest = _manifest(files, facts)
    if not manifest.get("commit") and not any(name.startswith("code/") for name in files):
        raise UsageError(
            f"the run {run.path} has no code: neither a commit nor a file of it was captured. "
            "It was begun with save_code=False or disable_code, or ended before there was time."
        )
    folder.mkdir(parents=True, exist_ok=True)
    done = Restored(folder, directory=folder)
    if MANIFEST not in files:
        done.missing.append("the code was not captured as a whole: the run ended before git had answered")
    has_base = _check_out(manifest, folder, done)
    if has_base:
        _apply(files, manifest, folder, done)
    elif DIFF in files:
        done.missing.append(f"the changes in {DIFF} need the commit")
    _remove(manifest, folder, done)
    _write_files(files, manifest, folder, done)
    _tell(manifest, done)
    _how_to_run(facts, manifest, folder, done)
    return done


def write_packages(run: Run, target: Path) -> int:
    """Write the packages of a run as a file of requirements; answer how many lines.

    Raises:
        UsageError: They were not captured, or the file is there already.
    """
    data = run.file(REQUIREMENTS).read()
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already; nothing is written over.")
    target.write_bytes(data)
    return data.count(b"\n")


def _manifest(files: Mapping[str, File], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Answer what was captured; of a run that died early, what its files tell."""
    found: Any = {}
    if MANIFEST in files:
        data = files[MANIFEST].read()
        try:
            found = json.loads(data)
        except ValueError as error:
            raise StorageError(f"{MANIFEST} of the run cannot be understood: {error}.") from error
    if not isinstance(found, dict):
        raise StorageError(f"{MANIFEST} of the run is no list of what was captured.")
    git = facts.get("git")
    for name in ("commit", "branch", "remote", "root"):
        if isinstance(git, Mapping):
            found.setdefault(name, git.get(name))
    found.setdefault("root", facts.get("cwd"))
    if MANIFEST not in files:
        found["untracked"] = [
            {"path": name.removeprefix(UNTRACKED), "file": name, "mode": file.details.get("mode")}
            for name, file in files.items()
            if name.startswith(UNTRACKED)
        ]
        if DIFF in files:
            found["diff"] = {"file": DIFF, "redacted": files[DIFF].details.get("redacted", 0), "masked": True}
    if "script" not in found:
        for name in files:
            if name.startswith(SCRIPT):
                found["script"] = {"path": name.removeprefix(SCRIPT), "file": name}
    return found


# --- the commit ---------------------------------------------------------------------------


def _check_out(manifest: Mapping[str, Any], folder: Path, done: Restored) -> bool:
    commit = manifest.get("commit")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return False
    tried: list[str] = []
    for source in _sources(manifest):
        try:
            _clone(source, commit, manifest, folder)
        except TrackerError as error:
            tried.append(f"{source} ({error})")
            _empty(folder)
            continue
        done.commit, done.source = commit, source
        return True
    where = "; ".join(tried) or "neither its folder nor its remote is known here"
    done.missing.append(f"the commit {commit[:12]} cannot be had: {where}")
    return False


def _sources(manifest: Mapping[str, Any]) -> list[str]:
    """Answer the repositories that may hold the commit: where the run was, where we are, where it came from."""
    commit = str(manifest["commit"])
    found = []
    for place in (manifest.get("root"), os.getcwd()):
        if isinstance(place, str) and os.path.isdir(place):
            try:
                top = os.fsdecode(_git("-C", place, "rev-parse", "--show-toplevel").rstrip(b"\n"))
                _git("-C", place, "cat-file", "-e", f"{commit}^{{commit}}")
            except TrackerError:
                continue
            found.append(top)
    remote = manifest.get("remote")
    if isinstance(remote, str) and remote and not remote.startswith("-") and "::" not in remote:
        found.append(remote)
    return list(dict.fromkeys(found))


def _clone(source: str, commit: str, manifest: Mapping[str, Any], folder: Path) -> None:
    _git("clone", "--quiet", "--no-checkout", "--template=", "--", source, str(folder))
    here = ("-C", str(folder))
    try:
        _git(*here, "cat-file", "-e", f"{commit}^{{commit}}")
    except TrackerError:
        _git(*here, "fetch", "--quiet", "origin", commit)
    config = manifest.get("config")
    for name, values in _CONFIG.items():
        value = config.get(name) if isinstance(config, Mapping) else None
        if value in values:
            _git(*here, "config", name, str(value))
    remote = manifest.get("remote")
    if isinstance(remote, str) and remote and not remote.startswith("-") and "::" not in remote:
        _git(*here, "remote", "set-url", "origin", "--", remote) if remote != source else None
    _git(*here, "checkout", "--quiet", "--detach", commit)


def _apply(files: Mapping[str, File], manifest: Mapping[str, Any], folder: Path, done: Restored) -> None:
    told = manifest.get("diff")
    if not isinstance(told, Mapping) or DIFF not in files:
        return
    try:
        diff = files[DIFF].read()
    except (TrackerError, OSError) as error:
        done.missing.append(f"the changes cannot be read: {error}")
        return
    here = ("-C", str(folder))
    if told.get("masked"):
        diff = diffs.unmasked(diff, lambda path: _git(*here, "cat-file", "blob", f"{done.commit}:{os.fsdecode(path)}"))
    try:
        _git(*here, "apply", "--whitespace=nowarn", "--binary", "-", given=diff)
    except TrackerError as error:
        done.missing.append(f"the changes in {DIFF} cannot be applied ({error})")
        return
    done.changed = len(diffs.paths_of(diff))
    if count := told.get("redacted"):
        done.missing.append(f"{count} changed lines held secrets; they are masked in {DIFF}, and so they are here")


def _git(*arguments: str, given: bytes | None = None) -> bytes:
    """Answer what git prints; it may ask the user for a password, and take its time."""
    names = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            input=given,
            capture_output=True,
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise TrackerError("git is not installed") from None
    except OSError as error:
        raise TrackerError(f"git cannot be started: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise TrackerError(said[-1][:300] if said else f"git {arguments[-1]} ended with {done.returncode}")
    return done.stdout


def _empty(folder: Path) -> None:
    """Take away what an attempt has left in a folder that was empty before."""
    import shutil

    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


# --- files beside it ----------------------------------------------------------------------


def _remove(manifest: Mapping[str, Any], folder: Path, done: Restored) -> None:
    for name in _texts(manifest.get("removed")):
        try:
            place = folder / _checked(name)
            if not any(
                above.is_symlink() for above in place.parents if above.is_relative_to(folder) and above != folder
            ):
                place.unlink(missing_ok=True)
        except (UsageError, OSError) as error:
            done.missing.append(f"{name!r} is still there, and was removed ({error})")


def _write_files(files: Mapping[str, File], manifest: Mapping[str, Any], folder: Path, done: Restored) -> None:
    masked = 0
    listed = manifest.get("untracked")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("path"), str):
            masked += bool(entry.get("redacted"))
            _write(files.get(str(entry.get("file"))), entry["path"], entry.get("mode"), folder, done)
    inside = str(manifest.get("folder") or ".")
    base = "" if inside == "." else inside + "/"
    for name, file in files.items():  # what `log_code` has kept and is not there yet
        if name.startswith(FILES):
            place = base + name.removeprefix(FILES)
            if not _is_there(folder, place):
                masked += bool(file.details.get("redacted"))
                _write(file, place, file.details.get("mode"), folder, done)
    script = manifest.get("script")
    if isinstance(script, Mapping) and isinstance(script.get("path"), str) and not _is_there(folder, script["path"]):
        masked += bool(script.get("redacted"))
        _write(files.get(str(script.get("file"))), script["path"], script.get("mode"), folder, done)
    if NOTEBOOK in files and not _is_there(folder, base + "notebook.ipynb"):
        _write(files[NOTEBOOK], base + "notebook.ipynb", None, folder, done)
    if masked:
        done.missing.append(f"{masked} files held secrets; they are masked in what was kept, and so they are here")


def _write(file: File | None, path: str, mode: Any, folder: Path, done: Restored) -> None:
    if file is None:
        done.missing.append(f"{path!r} was not kept")
        return
    try:
        place = place_of(folder, _checked(path))
        data = file.read()
        if mode == _LINK:
            os.symlink(os.fsdecode(data), place)
        else:
            # A file that is there is not written over, and no link is followed.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(place, flags, 0o777 if mode == "100755" else 0o666), "wb") as target:
                target.write(data)
    except (TrackerError, OSError) as error:
        done.missing.append(f"{path!r} cannot be written: {error}")
        return
    done.files += 1


def _is_there(folder: Path, path: str) -> bool:
    try:
        return os.path.lexists(folder / check_file_name(path))
    except UsageError:
        return False


def _checked(path: str) -> str:
    """Answer a path inside the folder, and not inside the repository's own files: git would run what lies there.

    Raises:
        UsageError: It is none.
    """
    for part in check_file_name(path).split("/"):
        plain = part.encode("ascii", "ignore").decode().casefold().rstrip(". ")
        if plain == ".git" or plain.startswith(("git~", ".git:")):
            raise UsageError(f"{path!r} is a file of git's own; it is not written.")
    return path


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


# --- words --------------------------------------------------------------------------------


def _tell(manifest: Mapping[str, Any], done: Restored) -> None:
    if trouble := manifest.get("trouble"):
        done.missing.append(f"the state of the code was not captured as a whole: {trouble}")
    left_out = manifest.get("left_out")
    for entry in left_out if isinstance(left_out, list) else ():
        if isinstance(entry, Mapping):
            done.missing.append(f"{entry.get('path')!r} was not captured: {entry.get('why')}")
    rest = manifest.get("left_out_count")
    if isinstance(rest, int) and isinstance(left_out, list) and rest > len(left_out):
        done.missing.append(f"{rest - len(left_out):,} more files were not captured")
    submodules = manifest.get("submodules")
    for module in submodules if isinstance(submodules, list) else ():
        if isinstance(module, Mapping):
            done.notes.append(
                f"the submodule {module.get('path')!r} stood at {module.get('commit')}; "
                "fetch it with: git submodule update --init"
            )


def _how_to_run(facts: Mapping[str, Any], manifest: Mapping[str, Any], folder: Path, done: Restored) -> None:
    inside = manifest.get("folder")
    if isinstance(inside, str) and inside != "." and _is_there(folder, inside) and (folder / inside).is_dir():
        done.directory = folder / inside
    command = _texts(facts.get("command"))
    root = manifest.get("root")
    if isinstance(root, str) and root:
        command = [_moved(word, root, str(folder)) for word in command]
    if command:
        executable = str(facts.get("executable") or command[0])
        command[0] = executable if os.path.exists(executable) else "python"
    if facts.get("notebook"):
        command = ["jupyter", "notebook", "notebook.ipynb"] if _is_there(done.directory, "notebook.ipynb") else []
    done.command = command
    variables = facts.get("env")
    if isinstance(variables, Mapping):
        done.environment = {str(name): str(value) for name, value in variables.items() if str(name).isidentifier()}
    version = facts.get("python")
    here = ".".join(map(str, sys.version_info[:3]))
    if version and version != here:
        done.notes.append(f"it ran on Python {version}; this is {here}")
    if launcher := facts.get("torchrun"):
        size = launcher.get("world_size") if isinstance(launcher, Mapping) else None
        done.notes.append(f"it was one of {size} processes of a launcher; this is the command of one of them")
    if facts.get("packages"):
        done.notes.append(f"it had {facts['packages']} packages; write them to a file with: --packages FILE")
    if facts.get("conda"):
        done.notes.append(f"it ran in the conda environment {facts['conda']}, whose packages are in {CONDA}")


def _moved(word: str, root: str, folder: str) -> str:
    """Answer a word of a command line with the old folder in it replaced by the new one."""
    name, sign, value = word.partition("=")
    if word == root or word.startswith(root.rstrip("/") + "/"):
        return folder + word[len(root.rstrip("/")) :]
    if sign and value.startswith(root.rstrip("/") + "/"):
        return f"{name}={folder}{value[len(root.rstrip('/')) :]}"
    return word


__all__: Sequence[str] = ["Restored", "restore", "write_packages"]
