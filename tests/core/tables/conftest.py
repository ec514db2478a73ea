"""A folder of runs, and its tables read back from their Parquet files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracker.core.blobs import FolderBlobs
from tracker.core.history import read_run
from tracker.core.paths import find_runs, run_blobs


class Stored:
    """The only run of a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        ((_, folder),) = find_runs(root)
        self.blobs = FolderBlobs(run_blobs(folder))
        self.written = [row.values for row in read_run(folder).rows]

    def references(self, key: str) -> list[dict[str, Any]]:
        """Answer all that was logged under a key, in order of writing."""
        return [values[key] for values in self.written if key in values]

    def files(self, reference: dict[str, Any]) -> list[Path]:
        """Answer the files of a reference."""
        digests = [reference["digest"]] if "digest" in reference else [part[0] for part in reference["parts"]]
        for digest in digests:
            self.blobs.read(digest)  # which checks it
        return [self.blobs.stored(digest)[0] for digest in digests]

    def rows(self, reference: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Answer the rows as DuckDB reads them."""
        import duckdb

        files = [str(path) for path in self.files(reference)]
        return duckdb.connect().execute("SELECT * FROM read_parquet(?)", [files]).fetchall()


@pytest.fixture
def stored(home: Path) -> Any:
    """Reads the run of the folder, once it has ended."""
    return lambda: Stored(home / "runs")
