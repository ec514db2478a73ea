"""`run.log_code`: the files of a folder, kept with the run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import Draft, check_file_name, keep_all
from ..limits import MAX_CODE_BYTES, MAX_CODE_FILE_BYTES, MAX_CODE_FILES
from ..redaction import redact_bytes
from .ignoring import ALWAYS, SECRETS, Ignore, ignore_of
from .tree import NotKept, read_small

if TYPE_CHECKING:
    from ..run import Run

FILES = "code/files/"
_ENDINGS = (".py",)
_NAMES = ("requirements.txt", "pyproject.toml", "Dockerfile", "dockerfile")
Chooses = Callable[..., bool]


def is_code(path: str) -> bool:
    """Answer whether a file is kept where nobody says which: Python, requirements, a Dockerfile."""
    name = os.path.basename(path)
    return name.endswith(_ENDINGS) or name in _NAMES


def log_code(
    run: Run,
    root: str | os.PathLike[str],
    folder: str,
    is_redacted: bool,
    include_fn: Chooses | None,
    exclude_fn: Chooses | None,
    artifact_name: str | None = None,
) -> list[str]:
    """Keep files of a folder; answer their names in the run.

    Args:
        run: Whose.
        root: The folder.
        folder: The working folder: what lies in it keeps its place.
        is_redacted: Mask secrets.
        include_fn: Takes a path, and the root too where it has two parameters; answers whether the file is kept.
        exclude_fn: The same, and wins.
        artifact_name: Log them as an artifact of this name, too.
    """
    top = os.path.abspath(os.path.join(folder, os.path.expanduser(os.fspath(root))))
    place = os.path.relpath(top, folder)
    prefix = "" if place == "." or place.startswith("..") else Path(place).as_posix() + "/"
    includes = _choosing(include_fn or is_code, top)
    excludes = _choosing(exclude_fn, top) if exclude_fn else None
    drafts: list[Draft] = []
    total = 0
    left_out = 0
    for path in _walk(top, str(run.folder.parents[2])):
        if not includes(path) or (excludes is not None and excludes(path)):
            continue
        try:
            data, mode = read_small(os.path.realpath(path), MAX_CODE_FILE_BYTES, is_text=False)
            name = check_file_name(FILES + prefix + os.path.relpath(path, top).replace(os.sep, "/"))
            name.encode()
        except (NotKept, OSError, ValueError):
            left_out += 1
            continue
        total += len(data)
        if len(drafts) >= MAX_CODE_FILES or total > MAX_CODE_BYTES:
            left_out += 1
            break
        data, count = redact_bytes(data) if is_redacted else (data, 0)
        drafts.append(Draft(name, data, "code", {"mode": mode, **({"redacted": count} if count else {})}))
    keep_all(run, drafts)
    if artifact_name is not None and drafts:
        _log(run, artifact_name, [(draft.name[len(FILES) + len(prefix) :], draft.data) for draft in drafts])
    if left_out:
        run._complaints.say(
            f"log_code({os.fspath(root)!r}) has kept {len(drafts):,} files and left others out: at most "
            f"{MAX_CODE_FILES:,} files of {MAX_CODE_FILE_BYTES >> 20} MiB, {MAX_CODE_BYTES >> 20} MiB in all, are kept. "
            "Say which ones with include_fn, exclude_fn or .trackerignore."
        )
    return [draft.name for draft in drafts]


def _log(run: Run, name: str, files: list[tuple[str, bytes]]) -> None:
    """Log what was kept, secrets masked, as an artifact; its paths are those below the folder."""
    from ..artifacts.artifact import Artifact

    artifact = Artifact(name, type="code")
    for path, data in files:
        with artifact.new_file(path, "wb") as file:
            file.write(data)
    run.log_artifact(artifact)


def _walk(top: str, runs: str) -> Iterator[str]:
    ignore, always, secrets = ignore_of(Path(top)), Ignore(ALWAYS), Ignore(SECRETS)

    def is_out(path: str, is_folder: bool) -> bool:
        name = os.path.relpath(path, top).replace(os.sep, "/")
        if is_folder:
            name += "/x"  # what is in it
        return ignore.covers(name) or always.covers(name) or (not is_folder and secrets.covers(name))

    for folder, folders, names in os.walk(top):
        folders[:] = sorted(
            name
            for name in folders
            if os.path.join(folder, name) != runs and not is_out(os.path.join(folder, name), True)
        )
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not is_out(path, False):
                yield path


def _choosing(choose: Chooses, top: str) -> Callable[[str], bool]:
    """Answer a function of the path alone; those of today take the root as well, as in W&B."""
    try:
        count = len(inspect.signature(choose).parameters)
    except (TypeError, ValueError):  # one of C's
        count = 1
    return (lambda path: bool(choose(path, top))) if count > 1 else (lambda path: bool(choose(path)))
