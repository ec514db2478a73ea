"""Named files of a run: bytes of the run's own, recorded under a name, and how they come back to a disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .limits import MAX_KEY_CHARS
from .paths import run_blobs
from .record import Kind

if TYPE_CHECKING:
    from .run import Run

_OWN = ("name", "digest", "size", "kind")


@dataclass(frozen=True)
class NamedFile:
    """What is known of a file of a run.

    Args:
        name: With `/` between folders: `code/diff.patch`.
        digest: Of its bytes.
        size: Bytes.
        kind: What it is for: `code`, `environment`, ...
        time_ns: When it was recorded.
        more: What else its record says: `mode` (as git writes it), `redacted` (secrets masked in it), ...
    """

    name: str
    digest: str
    size: int
    kind: str
    time_ns: int
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A file that is to be kept.

    Args:
        name: With `/` between folders.
        data: Its bytes.
        kind: What it is for.
        more: Plain values that go into its record.
    """

    name: str
    data: bytes
    kind: str
    more: Mapping[str, Any] = field(default_factory=dict)


def keep(run: Run, name: str, data: bytes, kind: str, **more: Any) -> None:
    """Keep bytes under a name; what had the name before is replaced. See `keep_all`."""
    keep_all(run, [Draft(name, data, kind, more)])


def keep_all(run: Run, drafts: Sequence[Draft], is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Keep files of a run; all their bytes are on the disk before the first record tells of them.

    Args:
        run: Whose.
        drafts: The files.
        is_wanted: Asked again and again; once it is False nothing more is done.

    Raises:
        StorageError: The run's folder cannot be written.
        UsageError: A name is none that a file can have.
    """
    from .blobs import FolderBlobs  # blake3 and zstd: only where there are bytes to keep

    blobs = FolderBlobs(run_blobs(run.folder))
    bodies: list[dict[str, Any]] = []
    for draft in drafts:
        if not is_wanted():
            return
        body = {"name": check_file_name(draft.name), "digest": blobs.put(draft.data), "size": len(draft.data)}
        bodies.append({**body, "kind": draft.kind, **draft.more})
    blobs.sync()
    for body in bodies:
        if not is_wanted():
            return
        run._record(Kind.FILE, body)
    if run._uploads is not None:  # the server hears of the names first: what it has never heard of, it need not keep
        run._uploads.blobs("run", [body["digest"] for body in bodies])


def named_file(time_ns: int, body: Mapping[str, Any]) -> NamedFile | None:
    """Answer the file that the body of a FILE record tells of; None where it takes one away, or tells nothing."""
    name, digest, size = body.get("name"), body.get("digest"), body.get("size")
    if not (isinstance(name, str) and isinstance(digest, str) and isinstance(size, int)):
        return None
    more = {key: value for key, value in body.items() if key not in _OWN}
    return NamedFile(name, digest, size, str(body.get("kind") or ""), time_ns, more)


def check_file_name(name: str) -> str:
    """Answer a name that stays inside whatever folder it is put into, on every system.

    Raises:
        UsageError: It would not, or it is none.
    """
    parts = name.split("/")
    windows = PureWindowsPath(name)
    if (
        not name
        or len(name) > MAX_KEY_CHARS
        or "\0" in name
        or any(part in ("", ".", "..") for part in parts)
        or windows.drive
        or windows.is_absolute()
        or ".." in windows.parts
    ):
        raise UsageError(f"{name[:100]!r} is no name of a file of a run; write it like 'code/diff.patch'.")
    return name


def place_of(root: Path, name: str) -> Path:
    """Answer where a file of this name goes below `root`; its folders are made.

    Raises:
        UsageError: It would lie elsewhere: by its name, or because a folder on the way is a link.
    """
    place = root
    *folders, last = check_file_name(name).split("/")
    root.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        place = place / folder
        if os.path.islink(place):
            raise UsageError(f"{name!r} is not written: {place} is a link, and what lies behind it may be elsewhere.")
        place.mkdir(exist_ok=True)
    return place / last
