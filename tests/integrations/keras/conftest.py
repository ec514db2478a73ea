"""What tests of Keras start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.integrations import keras


@pytest.fixture(autouse=True)
def patched(runs: Path) -> None:
    """As the import of one of our callbacks leaves Keras; the test before has taken everything away."""
    keras._patch()
