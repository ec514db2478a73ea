"""Opening stores: newer, damaged, and made anew."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tracker.core.errors import StorageError
from tracker.server.stores import open_stores

from .reference import RUN, entries_of, rows_of


@pytest.mark.parametrize("name", ["metadata.db", "metrics.db"])
def test_a_newer_file_is_refused(tmp_path: Path, name: str) -> None:
    """A file that a newer tracker made is left as it is, and the error says to update."""
    open_stores(tmp_path).close()
    with sqlite3.connect(tmp_path / name) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / name).read_bytes()
    with pytest.raises(StorageError, match="newer tracker"):
        open_stores(tmp_path)

    assert before == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["metadata.db", "metrics.db"])
@pytest.mark.parametrize("damage", ["no database at all" * 300, ""])
def test_a_damaged_file_is_told_and_an_index_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    """Damage is told with what to do; an index is begun again by itself."""
    open_stores(tmp_path).close()
    if damage:
        (tmp_path / name).write_text(damage)
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"{name}{suffix}").unlink(missing_ok=True)
        with pytest.raises(StorageError, match="damaged"):
            open_stores(tmp_path)
    else:
        (tmp_path / name).unlink()
    stores = open_stores(tmp_path, is_index=True)
    stores.metrics.append(RUN, "s", entries_of(rows_of([1], [{"a": 1.0}])))

    assert stores.metrics.totals(RUN) == (1, 1)
    stores.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file where the folder should be gives our error, with the path."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file"):
        open_stores(tmp_path / "file" / "stores")
