"""The GPU of Apple's own processors, as the system's registry tells of it."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from ..limits import SLOW_SAMPLE_SECONDS
from .probe import Due, Place, Values

_COMMAND = ("/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
_TIMEOUT_SECONDS = 5.0
_FIGURES = {
    "Device Utilization %": "utilization",
    "In use system memory": "memory_used_bytes",
    "Alloc system memory": "memory_allocated_bytes",
}


def is_there(place: Place) -> bool:
    """Answer whether this is a Mac with Apple's own processor."""
    system: str = sys.platform  # as a plain text: a type checker would see no Mac here
    return system == "darwin" and os.uname().machine == "arm64"


def open_apple(place: Place) -> Apple:
    """Answer the probe."""
    return Apple()


class Apple:
    """The one GPU; what costs a process is asked seldom."""

    def __init__(self) -> None:
        self._due = Due(SLOW_SAMPLE_SECONDS)

    def sample(self, now: float) -> Values:
        """Answer what the registry tells now, each ten seconds."""
        if not self._due(now):
            return {}
        import subprocess  # Macs only

        # Without close_fds it is a posix_spawn: no copy of a process full of threads.
        done = subprocess.run(_COMMAND, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False, close_fds=False)
        return read_registry(done.stdout.decode(errors="replace"))

    def facts(self) -> dict[str, Any]:
        """Answer the device."""
        return {"gpus": [{"name": "gpu.0", "model": "Apple GPU"}]}

    def close(self) -> None:
        """Do nothing: nothing is held."""


def read_registry(text: str) -> Values:
    """Answer the figures in what `ioreg` prints."""
    found: Values = {}
    for label, name in _FIGURES.items():
        match = re.search(rf'"{re.escape(label)}"\s*=\s*(\d+)', text)
        if match:
            found[f"gpu.0.{name}"] = int(match[1])
    return found
