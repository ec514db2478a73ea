"""All of the battery bears the marker `fault`; `--long` makes it long."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is collected here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.fault)


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the battery is run in full."""
    return bool(request.config.getoption("--long", default=False))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount file systems for a test; it is skipped where that is not allowed."""
    mounted: list[Path] = []

    def make(*arguments: str, name: str = "mounted") -> Path:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("mounting a file system takes root, on Linux")
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)
