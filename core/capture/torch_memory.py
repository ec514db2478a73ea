"""What torch's allocators hold on each device, once torch is loaded and has begun to use one."""

from __future__ import annotations

import sys
from typing import Any

from .probe import Place, Values


def open_torch(place: Place) -> TorchMemory:
    """Answer the probe; it tells nothing until torch is there."""
    return TorchMemory()


class TorchMemory:
    """Bytes allocated and reserved by torch, and how much of it lies in pieces. Nothing here loads or waits."""

    def sample(self, _now: float) -> Values:
        """Answer the figures of each device in use."""
        found: Values = {}
        torch: Any = sys.modules.get("torch")  # never imported by us; while it is being imported, parts are missing
        for kind in ("cuda", "xpu"):
            module: Any = getattr(torch, kind, None)
            is_initialized = getattr(module, "is_initialized", None)
            if is_initialized is None or not is_initialized():
                continue
            for index in range(module.device_count()):
                _note(found, f"torch.{kind}.{index}.", module.memory_stats(index))
        mps = getattr(torch, "mps", None)
        if mps is not None and sys.platform == "darwin" and torch.backends.mps.is_available():
            found["torch.mps.allocated_bytes"] = mps.current_allocated_memory()
            found["torch.mps.reserved_bytes"] = mps.driver_allocated_memory()
        return found

    def facts(self) -> dict[str, Any]:
        """Answer nothing: the devices' own probes tell what they are."""
        return {}

    def close(self) -> None:
        """Do nothing: nothing is held."""


def _note(found: Values, prefix: str, stats: dict[str, Any]) -> None:
    reserved = stats.get("reserved_bytes.all.current", 0)
    if not reserved and not stats.get("reserved_bytes.all.peak", 0):  # nothing of this process is on that device
        return
    allocated = stats.get("allocated_bytes.all.current", 0)
    found[prefix + "allocated_bytes"] = allocated
    found[prefix + "reserved_bytes"] = reserved
    found[prefix + "peak_allocated_bytes"] = stats.get("allocated_bytes.all.peak", 0)
    if reserved:
        # Free pieces of blocks that are in use: what cannot be given back, nor serve a large request.
        found[prefix + "fragmentation_percent"] = round(
            100.0 * stats.get("inactive_split_bytes.all.current", 0) / reserved, 2
        )
    for key, name in (("num_alloc_retries", "allocation_retries"), ("num_ooms", "out_of_memory_errors")):
        if stats.get(key):
            found[prefix + name] = stats[key]
