"""The machine where there is no `/proc`: macOS and Windows, through psutil."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..limits import MAX_SAMPLED_CORES, MAX_SAMPLED_PROCESSES, SELDOM_SAMPLE_SECONDS, SLOW_SAMPLE_SECONDS
from .host import disk_space
from .probe import Due, Place, Rates, Values

_BUSY_PERCENT = 50.0


class PortableHost:
    """The same figures as `LinuxHost`, as far as the system tells them.

    Args:
        place: Where to look.
    """

    def __init__(self, place: Place) -> None:
        self._psutil: Any = import_module("psutil")  # in the sampler's thread, where there is no /proc: 20 ms
        psutil = self._psutil
        self._place = place
        self._rates = Rates()
        self._own = psutil.Process(place.pid)
        self._processes: dict[int, Any] = {}
        self._slow = Due(SLOW_SAMPLE_SECONDS)
        self._seldom = Due(SELDOM_SAMPLE_SECONDS)
        self._is_first = True

    def sample(self, now: float) -> Values:
        """Answer what can be told now; rates from the second sample on."""
        psutil = self._psutil
        found: Values = {}
        percents = psutil.cpu_percent(percpu=True)
        if not self._is_first and percents:
            found["cpu.percent"] = round(sum(percents) / len(percents), 2)
            found["cpu.busiest_core_percent"] = max(percents)
            found["cpu.busy_cores"] = sum(percent >= _BUSY_PERCENT for percent in percents)
            if len(percents) <= MAX_SAMPLED_CORES:
                found.update({f"cpu.{core}.percent": percent for core, percent in enumerate(percents)})
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        found["memory.used_bytes"] = memory.total - memory.available
        found["memory.available_bytes"] = memory.available
        found["memory.percent"] = memory.percent
        if swap.total:
            found["swap.used_bytes"], found["swap.percent"] = swap.used, swap.percent
        found["load.1m"], found["load.5m"], _ = psutil.getloadavg()
        if self._slow(now):
            self._follow_processes(found)
        self._sample_processes(found)
        if self._seldom(now):
            disk_space(found, self._place.folder)
        for prefix, totals in (("disk", psutil.disk_io_counters()), ("network", psutil.net_io_counters())):
            names = ("read_bytes", "write_bytes") if prefix == "disk" else ("bytes_recv", "bytes_sent")
            for name, field in zip(
                ("read", "written") if prefix == "disk" else ("received", "sent"), names, strict=True
            ):
                total = getattr(totals, field, None)
                rate = None if total is None else self._rates.of(f"{prefix}.{name}", total, now)
                if rate is not None:
                    found[f"{prefix}.{name}_bytes_per_second"] = round(rate)
        self._is_first = False
        return found

    def facts(self) -> dict[str, Any]:
        """Answer how much of the machine there is."""
        return {
            "limits": {
                "cores": self._psutil.cpu_count() or 1,
                "memory_bytes": self._psutil.virtual_memory().total,
            }
        }

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _follow_processes(self, found: Values) -> None:
        try:
            children = self._own.children(recursive=True)[: MAX_SAMPLED_PROCESSES - 1]
            known = self._processes
            # Kept as they are: each remembers when its processor time was last asked for.
            self._processes = {process.pid: known.get(process.pid, process) for process in (self._own, *children)}
            found["process.open_files"] = (
                self._own.num_fds() if hasattr(self._own, "num_fds") else self._own.num_handles()
            )
        except self._psutil.Error:
            return

    def _sample_processes(self, found: Values) -> None:
        count = threads = memory = 0
        percent = 0.0
        for process in self._processes.values():
            try:
                with process.oneshot():
                    memory += process.memory_info().rss
                    threads += process.num_threads()
                    percent += process.cpu_percent()
                    count += 1
            except self._psutil.Error:  # gone, or not ours to look at
                continue
        if count:
            found["process.count"], found["process.threads"] = count, threads
            found["process.memory_bytes"] = memory
            if not self._is_first:
                found["process.cpu_percent"] = round(percent, 1)
