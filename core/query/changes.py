"""Changing runs in the local folder: edits go to the journal, deletions to the trash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...server.stores.edits import edit_records
from ...server.trash import restore_folder, trash_folder
from ..clock import Clock
from ..errors import UsageError
from ..journal import Journal
from ..paths import RunPath
from ..record import encode_control
from ..values import plain

if TYPE_CHECKING:
    from ...server.stores import Stores


def edit(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write a user's edit to a run's journal, in a stream of its own.

    Args:
        folder: The run's folder.
        changes: See `edit_records`.

    Raises:
        UsageError: The run is not there, or something of it cannot be edited.
        OSError: The folder cannot be written.
    """
    records = edit_records({key: plain(value) for key, value in changes.items()})
    if not (folder / "streams").is_dir():
        raise UsageError(f"there is no run in {folder} any more.")
    clock = Clock()
    journal = Journal(folder / "streams", clock, is_mapped=False)
    for kind, body in records:
        journal.append(kind, encode_control(clock.now_ns(), body))
    journal.sync()
    journal.close()


def throw_away(root: Path, path: RunPath, stores: Stores) -> None:
    """Move a run to the trash: its folder first.

    Raises:
        UsageError: It still runs, or is not there.
        StorageError: The folder cannot be moved.
    """
    found = stores.metadata.run(path)
    if found is None:
        raise UsageError(f"there is no run {path} in {root}.")
    if found.trashed:
        return
    if found.run.state == "running":
        raise UsageError(f"the run {path} is still running; end it first.")
    trash_folder(root, path)
    stores.metadata.set_trashed(path, True)


def put_back(root: Path, path: RunPath, stores: Stores) -> None:
    """Take a run out of the trash.

    Raises:
        UsageError: It is not in the trash, or another run has its place by now.
        StorageError: The folder cannot be moved.
    """
    restore_folder(root, path)
    stores.metadata.set_trashed(path, False)
