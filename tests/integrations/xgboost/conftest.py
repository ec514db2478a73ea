"""Where the framework is not installed there is nothing to test."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = ["test_*.py"] if find_spec("xgboost") is None else []


@pytest.fixture(autouse=True)
def imported(runs: Path) -> Iterator[None]:
    """What `from tracker.integrations.xgboost import TrackerCallback` does: each test takes it away again."""
    from tracker.integrations import xgboost

    assert callable(xgboost.TrackerCallback)
    yield
