"""Stores in a folder of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.server.stores import Stores, open_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Stores on disk, empty."""
    found = open_stores(tmp_path / "stores")
    yield found
    found.close()


@pytest.fixture
def new_stores(tmp_path: Path) -> Iterator[object]:
    """A function that makes empty stores, for tests that try many cases."""
    opened: list[Stores] = []

    def make() -> Stores:
        for old in opened:
            old.close()
        opened[:] = [open_stores(Path(tempfile.mkdtemp(dir=tmp_path)))]
        return opened[0]

    yield make
    for old in opened:
        old.close()
