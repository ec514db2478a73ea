"""Small data, and autologging as a script asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tracker

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What one test has trained is nothing to the next one."""
    from tracker.integrations import _sklearn_autolog

    yield
    _sklearn_autolog._predictions.clear()
    _sklearn_autolog._known.clear()


@pytest.fixture
def autolog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have fits logged; no models, which tests of their own look at."""
    monkeypatch.setenv("TRACKER_LOG_MODEL", "false")
    tracker.autolog("sklearn")


@pytest.fixture
def data() -> Data:
    """Two classes that a line tells apart, nearly: (80, 4) and (80,)."""
    noise = np.random.default_rng(0)
    x = noise.normal(size=(80, 4))
    return x, (x[:, 0] + x[:, 1] + noise.normal(scale=0.3, size=80) > 0).astype(int)
