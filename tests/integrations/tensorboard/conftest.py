"""Patches of writers are taken away after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tracker
from tracker.integrations import _own_loop, patching


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    """No test sees another's writers."""
    yield
    tracker.tensorboard.unpatch()
    patching.unwrap("tensorboard")
    _own_loop._sessions.clear()
