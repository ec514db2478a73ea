"""The working tree as it is when a run begins: the commit, what differs from it, and what nobody has committed yet."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import Draft, check_file_name
from ..limits import (
    MAX_CHANGED_FILE_BYTES,
    MAX_DIFF_BYTES,
    MAX_LEFT_OUT,
    MAX_UNTRACKED_BYTES,
    MAX_UNTRACKED_FILE_BYTES,
    MAX_UNTRACKED_FILES,
)
from ..redaction import redact_bytes, redact_url
from . import diffs
from .git import Change, Git, GitTrouble, TooMuch
from .ignoring import ALWAYS, SECRETS, Ignore, ignore_of

DIFF = "code/diff.patch"
UNTRACKED = "code/untracked/"
_SUBMODULE = "160000"
_LINK = "120000"
_MAX_EXCLUDED = 500  # paths on git's command line
_CONFIG = r"^(remote\..*\.url|branch\..*\.remote|core\.(autocrlf|eol|symlinks|filemode))$"
_NAMES_BYTES = 4 << 20


@dataclass
class Tree:
    """What was found; `facts` is for people, `manifest` is what `tracker restore` builds from.

    Args:
        facts: commit, branch, remote, root, what was left out, ...
        manifest: See `docs/capture.md`.
        drafts: Files to be kept.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def leave_out(self, path: bytes, why: str, size: int | None = None) -> None:
        """Note a file that is not captured."""
        self.left_out.append({"path": os.fsdecode(path), "why": why, **({} if size is None else {"size": size})})


def find_root(folders: Iterable[str | None]) -> str | None:
    """Answer the root of the first repository that one of these folders is in; git is not asked."""
    for folder in folders:
        while folder:
            if os.path.lexists(os.path.join(folder, ".git")):
                return folder
            above = os.path.dirname(folder)
            folder = None if above == folder else above
    return None


def describe(git: Git, tree: Tree) -> None:
    """Ask for commit, branch and remote.

    Raises:
        GitTrouble: Git gives no answer.
    """
    top = os.fsdecode(git.ask("rev-parse", "--show-toplevel").rstrip(b"\n"))
    if os.path.realpath(top) != os.path.realpath(git.folder):
        raise GitTrouble(f"the repository says that its files are in {top}")
    commit = git.ask("rev-parse", "--verify", "-q", "HEAD^{commit}", codes=(0, 1)).decode("ascii", "replace").strip()
    branch = git.ask("symbolic-ref", "-q", "--short", "HEAD", codes=(0, 1)).decode("utf-8", "replace").strip()
    config = _config(git.ask("config", "-z", "--get-regexp", _CONFIG, codes=(0, 1)))
    remote = config.get(f"branch.{branch}.remote") or "origin"
    url = config.get(f"remote.{remote}.url") or next((v for k, v in config.items() if k.startswith("remote.")), None)
    tree.facts.update(
        {"commit": commit or None, "branch": branch or None, "remote": redact_url(url) if url else None, "root": top}
    )
    tree.manifest.update(tree.facts)
    tree.manifest["config"] = {name: value for name, value in config.items() if name.startswith("core.")}


def take_changes(git: Git, tree: Tree, is_redacted: bool, is_wanted: Callable[[], bool]) -> None:
    """Take the difference from the commit, without what is too large, ignored, or a secret as a whole.

    Args:
        git: The repository.
        tree: Takes what is found.
        is_redacted: Mask secrets.
        is_wanted: Asked now and then.

    Raises:
        GitTrouble: Git gives no answer.
    """
    git.disarm()
    changes = git.changes()
    tree.facts["dirty"] = bool(changes)
    if not changes:
        return
    sizes = git.sizes(
        [change.old_id for change in changes if set(change.old_id) != {"0"} and change.old_mode != _SUBMODULE]
    )
    filtered = git.filtered([change.path for change in changes])
    ignore, secrets = ignore_of(Path(git.folder)), Ignore(SECRETS)
    excluded: list[bytes] = []
    for change in changes:
        path = os.fsdecode(change.path)
        size = max(sizes.get(change.old_id, 0), _size(git.folder, change))
        if _SUBMODULE in (change.old_mode, change.new_mode):
            continue  # said with the submodules
        why = (
            "its name says that it holds secrets" if secrets.covers(path)
            else "ignored" if ignore.covers(path)
            else "another program keeps its content (a filter)" if change.path in filtered
            else f"larger than {MAX_CHANGED_FILE_BYTES:,} bytes" if size > MAX_CHANGED_FILE_BYTES
            else None
        )  # fmt: skip
        if why is not None:
            excluded.append(change.path)
            if change.status == "D":
                tree.manifest.setdefault("removed", []).append(path)
            else:
                tree.leave_out(change.path, why, size)
    if len(excluded) > _MAX_EXCLUDED:
        raise GitTrouble(f"{len(excluded):,} changed files are too large or ignored; commit them, or leave them alone")
    try:
        diff = git.diff(excluded, MAX_DIFF_BYTES)
    except TooMuch:
        raise GitTrouble(f"what differs from the commit is more than {MAX_DIFF_BYTES:,} bytes") from None
    if not diff:
        return
    count = 0
    if is_redacted:
        diff, count = diffs.masked(diff, is_wanted)
    tree.manifest["diff"] = {"file": DIFF, "redacted": count, "masked": is_redacted}
    tree.drafts.append(Draft(DIFF, diff, "code", {"redacted": count} if count else {}))


def take_submodules(git: Git, tree: Tree) -> None:
    """Note where the submodules stand; what was changed in them is not captured."""
    try:
        named = _config(git.ask("config", "-f", ".gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$"))
    except GitTrouble:
        return  # there are none
    found = []
    for path in list(named.values())[:100]:
        folder = os.path.join(git.folder, path)
        if os.path.lexists(os.path.join(folder, ".git")):
            commit = git.ask("-C", path, "rev-parse", "HEAD", codes=(0, 128)).decode("ascii", "replace").strip()
            found.append({"path": path, "commit": commit})
    if found:
        tree.facts["submodules"] = tree.manifest["submodules"] = found


def take_untracked(git: Git, tree: Tree, run_folders: str, is_redacted: bool, is_wanted: Callable[[], bool]) -> None:
    """Take the small text files that git neither tracks nor ignores; without a commit, those it tracks as well.

    Args:
        git: The repository.
        tree: Takes what is found.
        run_folders: The folder of all runs: it is no code.
        is_redacted: Mask secrets.
        is_wanted: Asked at each file.

    Raises:
        GitTrouble: Git gives no answer.
    """
    patterns = list(ALWAYS)
    own = os.path.relpath(os.path.realpath(run_folders), os.path.realpath(git.folder))
    if not own.startswith("..") and own != ".":
        patterns.append("/" + re.sub(r"([\\*?\[!# ])", r"\\\1", own.replace(os.sep, "/")) + "/")
    try:
        paths = git.others(patterns, _NAMES_BYTES, with_known=not tree.manifest.get("commit"))
    except TooMuch:
        raise GitTrouble(
            "too many files are neither tracked nor ignored; say which in .gitignore or .trackerignore"
        ) from None
    ignore, secrets = ignore_of(Path(git.folder)), Ignore(SECRETS)
    kept: list[dict[str, Any]] = []
    total = 0
    for path in sorted(paths):
        if not is_wanted():
            return
        name = os.fsdecode(path)
        if ignore.covers(name):
            continue
        if secrets.covers(name):
            tree.leave_out(path, "its name says that it holds secrets")
            continue
        try:
            data, mode = read_small(os.path.join(git.folder, name), MAX_UNTRACKED_FILE_BYTES)
            file = check_file_name(UNTRACKED + name)
            file.encode()
        except NotKept as error:
            tree.leave_out(path, str(error), error.size)
            continue
        except (OSError, ValueError) as error:  # UsageError and names that are no UTF-8 are ValueErrors
            tree.leave_out(path, "its name cannot be kept" if isinstance(error, ValueError) else str(error.strerror))
            continue
        if len(kept) >= MAX_UNTRACKED_FILES or total + len(data) > MAX_UNTRACKED_BYTES:
            tree.leave_out(path, "there is too much of it", len(data))
            continue
        count = 0
        if is_redacted and mode != _LINK:
            data, count = redact_bytes(data)
        total += len(data)
        kept.append({"path": name, "file": file, "mode": mode, "redacted": count})
        tree.drafts.append(Draft(file, data, "code", {"mode": mode, **({"redacted": count} if count else {})}))
    tree.manifest["untracked"] = kept


def tell_left_out(tree: Tree) -> None:
    """Put what was left out where people see it, at most so many by name."""
    if tree.left_out:
        tree.facts["left_out"] = tree.manifest["left_out"] = tree.left_out[:MAX_LEFT_OUT]
        tree.facts["left_out_count"] = tree.manifest["left_out_count"] = len(tree.left_out)


class NotKept(Exception):
    """A file that is no code to keep; the text says why."""

    def __init__(self, why: str, size: int | None = None) -> None:
        super().__init__(why)
        self.size = size


def read_small(path: str, most_bytes: int, *, is_text: bool = True) -> tuple[bytes, str]:
    """Answer a file's bytes and its mode as git writes it; of a link, where it points to.

    Raises:
        NotKept: It is too large, no text, or no file.
        OSError: It cannot be read.
    """
    stat = os.lstat(path)
    kind = stat.st_mode & 0o170000
    if kind == 0o120000:
        return os.fsencode(os.readlink(path)), _LINK
    if kind != 0o100000:
        raise NotKept("no regular file")
    if stat.st_size > most_bytes:
        raise NotKept(f"larger than {most_bytes:,} bytes", stat.st_size)
    with open(path, "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NotKept(f"larger than {most_bytes:,} bytes", len(data))
    if is_text and b"\0" in data:
        raise NotKept("no text", len(data))
    return data, "100755" if stat.st_mode & 0o100 else "100644"


def _size(root: str, change: Change) -> int:
    if change.status == "D":
        return 0
    try:
        return os.lstat(os.path.join(os.fsencode(root), change.path)).st_size
    except OSError:
        return 0


def _config(answer: bytes) -> dict[str, str]:
    found = {}
    for item in answer.decode("utf-8", "replace").split("\0"):
        name, _, value = item.partition("\n")
        if name:
            found[name] = value
    return found


__all__: Sequence[str] = [
    "NotKept",
    "Tree",
    "describe",
    "find_root",
    "read_small",
    "take_changes",
    "take_submodules",
    "take_untracked",
    "tell_left_out",
]
