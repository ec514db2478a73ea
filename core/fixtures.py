"""Fixtures for pytest; `pytest_plugins = ["tracker.testing"]` in a conftest.py brings them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .testing import read_runs

if TYPE_CHECKING:
    from .query import Api


class Store:
    """A folder of runs that a test writes to and reads back.

    Args:
        dir: The folder.
    """

    def __init__(self, dir: Path) -> None:
        self.dir = dir

    def runs(self) -> list[dict[str, Any]]:
        """Answer all runs; see `tracker.testing.read_runs`."""
        return read_runs(self.dir)

    def run(self) -> dict[str, Any]:
        """Answer the only run.

        Raises:
            AssertionError: There is none, or more than one.
        """
        runs = self.runs()
        assert len(runs) == 1, f"the folder holds {len(runs)} runs: {', '.join(run['name'] for run in runs) or 'none'}"
        return runs[0]

    def api(self) -> Api:
        """Answer an `Api` of the folder."""
        from .query import Api  # SQLAlchemy and numpy: not every test reads through it

        return Api(dir=self.dir)


@pytest.fixture
def tracker_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for runs, index and settings; no server, whatever the environment says."""
    for name in ("BASE_URL", "API_KEY", "MODE", "DISABLED", "PROJECT", "ENTITY", "RUN_ID", "NAME"):
        monkeypatch.delenv(f"TRACKER_{name}", raising=False)
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path / "tracker-runs"))
    monkeypatch.setenv("TRACKER_CACHE_DIR", str(tmp_path / "tracker-cache"))
    monkeypatch.setenv("TRACKER_CONFIG_DIR", str(tmp_path / "tracker-config"))
    yield tmp_path / "tracker-runs"
    from .current import open_runs

    for run in open_runs():  # one that a failed test has left open must not become the next test's
        run.finish(quiet=True)


@pytest.fixture
def store(tracker_dir: Path) -> Store:
    """The same folder, with ways to read it back."""
    return Store(tracker_dir)


__all__ = ["Store", "store", "tracker_dir"]
