"""What a look at the samples shows, said as alerts of the run: an idle GPU, memory that runs out, heat, a full disk, NaN.

Each rule has a name under which it can be turned off (`observations_off`), speaks after the state has lasted, and
repeats itself at most each hour.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..limits import (
    GPU_IDLE_SECONDS,
    MEMORY_FULL_SECONDS,
    OBSERVATION_REPEAT_SECONDS,
    THROTTLED_SECONDS,
)
from .probe import Values

RULES = ("gpu_idle", "gpu_lost", "gpu_memory", "thermal", "host_memory", "disk", "loss")
_IDLE_PERCENT = 1.0
_GPU_MEMORY_PERCENT = 97.0
_ALLOCATED_SHARE = 0.9  # of a GPU's memory, by torch: its cache alone may fill all of it, and that is no danger
_HOST_MEMORY_PERCENT = 95.0
_DISK_PERCENT = 95.0
_DISK_FREE_BYTES = 20 << 30  # a large disk at 95 % is not nearly full
_DISK_LEAST_BYTES = 1 << 30
_GREEDY = ("jax", "tensorflow")  # take a device's memory at once, whatever they need

Alert = Callable[[str, str, str], None]  # title, text, level


class Observations:
    """Looks at each sample.

    Args:
        alert: Takes title, text and level; a title that was told within the last hour is not told again.
        off: Rules that are turned off; "all" for every one.
    """

    def __init__(self, alert: Alert, off: Iterable[str] = ()) -> None:
        chosen = set(off)
        self._alert = alert
        self._rules = () if "all" in chosen else tuple(rule for rule in RULES if rule not in chosen)
        self._since: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._gpus: list[Mapping[str, Any]] = []
        self._has_worked: set[str] = set()
        self._latest: Values = {}

    @property
    def is_on(self) -> bool:
        """Whether any rule is on."""
        return bool(self._rules)

    def has(self, rule: str) -> bool:
        """Answer whether a rule is on."""
        return rule in self._rules

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Take note of which GPUs there are."""
        self._gpus = [gpu for gpu in facts.get("gpus", self._gpus) if isinstance(gpu, Mapping)]

    def look(self, values: Values, now: float) -> None:
        """Look at a sample; what is not in it is as it was.

        Args:
            values: By name, as the probes tell them.
            now: Seconds of a clock that only goes forward.
        """
        self._latest.update(values)
        for rule in self._rules:
            if rule.startswith("gpu") or rule == "thermal":
                for gpu in self._gpus:
                    _GPU_RULES[rule](self, gpu, str(gpu["name"]), now)
            elif rule in _HOST_RULES:
                _HOST_RULES[rule](self, now)

    def see_rows(self, rows: Sequence[tuple[int | float, Mapping[str, Any]]], now: float) -> None:
        """Look at rows that were logged lately: a loss that is no number any more will not become one again."""
        for step, values in rows:
            for key, value in values.items():
                if isinstance(value, float) and value - value != 0 and "loss" in key.lower():
                    what = "NaN" if value != value else "infinite"
                    text = (
                        f"{key} is {what} at step {step}. A run whose loss is no number seldom recovers: look at the "
                        "learning rate, at mixed precision, and at the data of that step."
                    )
                    self._tell(f"{key} is {what}", text, "ERROR", now, once=True)

    # --- the rules -------------------------------------------------------------------------

    def _gpu_idle(self, gpu: Mapping[str, Any], name: str, now: float) -> None:
        utilization = self._latest.get(f"{name}.utilization")
        if utilization is None or not gpu.get("is_own", True):
            return
        if utilization >= _IDLE_PERCENT or self._latest.get(f"{name}.process_memory_bytes"):
            self._has_worked.add(name)
        # A GPU that nobody meant this process to use is no news.
        is_meant = gpu.get("is_chosen") or name in self._has_worked
        if self._lasts(f"idle {name}", bool(is_meant) and utilization < _IDLE_PERCENT, GPU_IDLE_SECONDS, now):
            text = (
                f"{_called(gpu)} has done nothing for {GPU_IDLE_SECONDS / 60:.0f} minutes while the run goes on: it "
                "may wait for data, or for another process, or hang."
            )
            self._tell(f"{name} is idle", text, "WARN", now)

    def _gpu_lost(self, gpu: Mapping[str, Any], name: str, now: float) -> None:
        if self._latest.get(f"{name}.lost"):
            text = (
                f"{_called(gpu)} does not answer any more (it has fallen off the bus, or needs a reset) and is not "
                "sampled; the other GPUs are. The system's log says more: dmesg | grep -i xid"
            )
            self._tell(f"{name} is lost", text, "ERROR", now, once=True)

    def _gpu_memory(self, gpu: Mapping[str, Any], name: str, now: float) -> None:
        percent = self._latest.get(f"{name}.memory_percent")
        if percent is None or not gpu.get("is_own", True) or any(module in sys.modules for module in _GREEDY):
            return
        total = gpu.get("memory_bytes") or 0
        allocated = self._latest.get(f"torch.cuda.{gpu.get('cuda_index')}.allocated_bytes")
        is_cache = allocated is not None and allocated < _ALLOCATED_SHARE * total
        is_full = percent >= _GPU_MEMORY_PERCENT and not is_cache
        if self._lasts(f"full {name}", is_full, MEMORY_FULL_SECONDS, now):
            text = f"{_called(gpu)} has {percent:.0f} % of its memory in use; a larger batch, or a leak, would end the run."
            self._tell(f"{name} is nearly out of memory", text, "WARN", now)

    def _thermal(self, gpu: Mapping[str, Any], name: str, now: float) -> None:
        is_throttled = bool(self._latest.get(f"{name}.throttled_by_heat"))
        if self._lasts(f"hot {name}", is_throttled, THROTTLED_SECONDS, now):
            celsius = self._latest.get(f"{name}.temperature_celsius")
            at = f" at {celsius:.0f} °C" if celsius is not None else ""
            text = f"{_called(gpu)} is slowed down for heat{at}: look at its cooling, or lower its power limit."
            self._tell(f"{name} is too hot", text, "WARN", now)

    def _host_memory(self, now: float) -> None:
        percent = self._latest.get("memory.percent", 0.0)
        if self._lasts("memory", percent >= _HOST_MEMORY_PERCENT, MEMORY_FULL_SECONDS, now):
            left = self._latest.get("memory.available_bytes", 0.0)
            text = (
                f"{percent:.0f} % of the memory that this machine, or this container, may use is taken, "
                f"{left / (1 << 30):.1f} GiB are left. When it is full, the system ends a process without a word."
            )
            self._tell("memory is nearly full", text, "WARN", now)

    def _disk(self, now: float) -> None:
        for name, what in (("runs", "the runs are kept on"), ("root", "the system is on")):
            free = self._latest.get(f"disk.{name}.free_bytes")
            if free is None:
                continue
            percent = self._latest.get(f"disk.{name}.percent", 0.0)
            is_full = free < _DISK_LEAST_BYTES or (percent >= _DISK_PERCENT and free < _DISK_FREE_BYTES)
            if self._lasts(f"disk {name}", is_full, 0.0, now):
                text = f"the disk that {what} has {free / (1 << 30):.1f} GiB left ({percent:.0f} % used)."
                self._tell(
                    f"the disk of {'the runs' if name == 'runs' else 'the system'} is nearly full", text, "WARN", now
                )

    def _lasts(self, state: str, is_so: bool, seconds: float, now: float) -> bool:
        if not is_so:
            self._since.pop(state, None)
            return False
        return now - self._since.setdefault(state, now) >= seconds

    def _tell(self, title: str, text: str, level: str, now: float, *, once: bool = False) -> None:
        before = self._told.get(title)
        if before is not None and (once or now - before < OBSERVATION_REPEAT_SECONDS):
            return
        self._told[title] = now
        self._alert(title, text, level)


_GPU_RULES: dict[str, Callable[[Observations, Mapping[str, Any], str, float], None]] = {
    "gpu_idle": Observations._gpu_idle,
    "gpu_lost": Observations._gpu_lost,
    "gpu_memory": Observations._gpu_memory,
    "thermal": Observations._thermal,
}
_HOST_RULES: dict[str, Callable[[Observations, float], None]] = {
    "host_memory": Observations._host_memory,
    "disk": Observations._disk,
}


def _called(gpu: Mapping[str, Any]) -> str:
    model = gpu.get("model")
    return f"{gpu['name']} ({model})" if model else str(gpu["name"])
