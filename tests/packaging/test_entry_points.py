"""What other packages find us by."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import distribution

import pytest

POINTS = [point for point in distribution("runtracker").entry_points if point.group != "console_scripts"]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.group}-{point.name}")
def test_a_framework_that_looks_for_us_finds_what_it_can_call(point) -> None:
    """It is named in the package's metadata, and loaded by the framework: it must be there, and import no framework."""
    assert callable(getattr(import_module(point.module), point.attr))
