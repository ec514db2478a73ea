"""What the tests of Lightning share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tracker.integrations.lightning import prepare


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """What the start-up hook has put into Lightning; the fixture of all integrations takes it away after each test."""
    for package in ("lightning.pytorch", "pytorch_lightning"):
        if package in sys.modules:
            prepare(package)
    yield
