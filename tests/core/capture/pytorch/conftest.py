"""A run to watch with, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tracker
from tracker.core.run import Run
from tracker.testing import read_runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for runs."""
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """An open run; faults of ours raise."""
    monkeypatch.setenv("TRACKER_STRICT", "1")
    torch.manual_seed(0)
    with tracker.init(project="watch", dir=root, settings={"silent": True}) as run:
        yield run


@pytest.fixture
def rows(run: Run, root: Path) -> Callable[[], list[dict[str, Any]]]:
    """What ends the run and answers its rows."""

    def end() -> list[dict[str, Any]]:
        run.finish()
        (kept,) = read_runs(root)
        return list(kept["history"])

    return end
