"""Google's TPUs, through the monitoring of `libtpu`, where a framework has loaded it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from ..limits import SLOW_SAMPLE_SECONDS
from .probe import Due, Place, Values

# Names of `libtpu.sdk.tpumonitoring`, each a list with one text for each chip or core.
_FIGURES = {
    "duty_cycle_pct": "utilization",
    "tensorcore_util": "tensorcore_utilization",
    "hbm_capacity_usage": "memory_used_bytes",
    "hbm_capacity_total": "memory_total_bytes",
}


def is_there(place: Place) -> bool:
    """Answer whether a framework has loaded `libtpu`; never do we, as it takes the chips for itself."""
    return "libtpu" in sys.modules


def open_tpu(place: Place) -> Tpu | None:
    """Answer the probe; None where `libtpu` has no monitoring."""
    try:
        return Tpu(import_module("libtpu.sdk").tpumonitoring)
    except (ImportError, AttributeError):  # before libtpu 0.0.11
        return None


class Tpu:
    """All chips of the machine.

    Args:
        monitoring: `libtpu.sdk.tpumonitoring`.
    """

    def __init__(self, monitoring: Any) -> None:
        self._monitoring = monitoring
        self._due = Due(SLOW_SAMPLE_SECONDS)
        self._chips = 0

    def sample(self, now: float) -> Values:
        """Answer what the chips tell now, each ten seconds."""
        found: Values = {}
        if not self._due(now):
            return found
        for metric, name in _FIGURES.items():
            try:
                texts = self._monitoring.get_metric(metric).data()
            except Exception:  # noqa: S112 - a metric that this version does not know: it has no class for that
                continue
            for index, text in enumerate(texts):
                try:
                    found[f"tpu.{index}.{name}"] = float(text)
                except (TypeError, ValueError):
                    continue
                self._chips = max(self._chips, index + 1)
        for index in range(self._chips):
            used, total = (found.get(f"tpu.{index}.memory_{name}_bytes") for name in ("used", "total"))
            if used is not None and total:
                found[f"tpu.{index}.memory_percent"] = round(100.0 * used / total, 2)
        return found

    def facts(self) -> dict[str, Any]:
        """Answer nothing: the chips are known from the first sample on."""
        return {}

    def close(self) -> None:
        """Do nothing: nothing is held."""
