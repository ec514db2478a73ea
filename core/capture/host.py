"""The machine under Linux, read from `/proc` and `/sys`: a third of a millisecond a sample, and no package to import."""

from __future__ import annotations

import os
from typing import Any

from ..limits import (
    MAX_SAMPLED_CORES,
    MAX_SAMPLED_PROCESSES,
    SELDOM_SAMPLE_SECONDS,
    SLOW_SAMPLE_SECONDS,
)
from .cgroup import ControlGroup
from .probe import Due, File, Place, Probe, Rates, Values

_SECTOR_BYTES = 512  # in /proc/diskstats, whatever the disk's own sectors are
_BUSY_PERCENT = 50.0  # from there on a core counts as busy
_VIRTUAL_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd")  # their bytes are those of others, or none
_VIRTUAL_NETWORKS = ("lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali", "ifb")


def open_host(place: Place) -> Probe:
    """Answer the probe of this machine."""
    if os.path.isfile(f"{place.root}/proc/stat"):
        return LinuxHost(place)
    from .portable import PortableHost  # psutil: only where there is no /proc

    return PortableHost(place)


class LinuxHost:
    """Processor, memory, disks, network, and the process with its children.

    Args:
        place: Where to look.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._proc = f"{place.root}/proc"
        self._group = ControlGroup(place.root)
        self._rates = Rates()
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._stat = File(f"{self._proc}/stat", 1 << 18)
        self._memory = File(f"{self._proc}/meminfo")
        self._disks = File(f"{self._proc}/diskstats", 1 << 18)
        self._network = File(f"{self._proc}/net/dev")
        self._load = File(f"{self._proc}/loadavg")
        self._cores = _allowed_cores(f"{self._proc}/{place.pid}/status", self._stat.read())
        self._core_names = {f"cpu{core}".encode(): f"cpu.{core}.percent" for core in self._cores}
        self._before: dict[bytes, tuple[float, float]] = {}  # by core: busy and all ticks
        self._processes: dict[int, tuple[File, File]] = {}
        self._whole_disks: set[bytes] = set()
        self._known_interfaces: dict[bytes, bool] = {}
        self._slow = Due(SLOW_SAMPLE_SECONDS)
        self._seldom = Due(SELDOM_SAMPLE_SECONDS)
        self._fabric = _fabric(place.root)

    def sample(self, now: float) -> Values:
        """Answer what can be told now; rates from the second sample on."""
        found: Values = {}
        is_slow, is_seldom = self._slow(now), self._seldom(now)
        self._sample_cpu(found, now)
        self._sample_memory(found)
        if is_slow:
            self._follow_processes()
            self._count_files(found)
        self._sample_processes(found, now)
        if is_seldom:
            self._whole_disks = _whole_disks(self._place.root)
            disk_space(found, self._place.folder)
        self._sample_disks(found, now)
        self._sample_network(found, now)
        return found

    def facts(self) -> dict[str, Any]:
        """Answer how much of the machine this process may use."""
        total = _meminfo(self._memory.read()).get(b"MemTotal", 0)
        memory = self._group.memory()
        limit = memory.limit if memory is not None and memory.limit < total else None
        limits = {"cores": self._group.cores or len(self._cores), "memory_bytes": int(limit or total)}
        return {"limits": limits}

    def close(self) -> None:
        """Close all files."""
        for file in (self._stat, self._memory, self._disks, self._network, self._load):
            file.close()
        for files in self._processes.values():
            for file in files:
                file.close()
        for _, file in self._fabric:
            file.close()
        self._group.close()

    # --- processor and memory --------------------------------------------------------------

    def _sample_cpu(self, found: Values, now: float) -> None:
        busy_now = all_now = 0.0
        percents = []
        names = self._core_names
        is_each_shown = len(names) <= MAX_SAMPLED_CORES
        for line in self._stat.read().split(b"\n"):
            if not line.startswith(b"cpu"):
                break
            fields = line.split()
            name = names.get(fields[0])
            if name is None:  # the sum of all, or a core that is not ours
                continue
            numbers = [int(field) for field in fields[1:9]]
            total = sum(numbers)
            busy = total - numbers[3] - numbers[4]  # idle, and waiting for a disk
            before = self._before.get(fields[0])
            self._before[fields[0]] = (busy, total)
            if before is None or total <= before[1]:
                continue
            percent = max(0.0, 100.0 * (busy - before[0]) / (total - before[1]))
            percents.append(percent)
            busy_now += busy - before[0]
            all_now += total - before[1]
            if is_each_shown:
                found[name] = round(percent, 1)
        if all_now:
            found["cpu.percent"] = round(max(0.0, 100.0 * busy_now / all_now), 2)
            found["cpu.busiest_core_percent"] = round(max(percents), 1)
            found["cpu.busy_cores"] = sum(percent >= _BUSY_PERCENT for percent in percents)
        self._sample_group(found, now)
        load = self._load.read().split()
        if len(load) >= 3:
            found["load.1m"], found["load.5m"] = float(load[0]), float(load[1])

    def _sample_group(self, found: Values, now: float) -> None:
        cores = self._group.cores
        if cores is None or cores >= len(self._cores):
            return
        # What the container may use is all there is: the machine's other cores are somebody else's.
        seconds = self._group.cpu_seconds()
        rate = None if seconds is None else self._rates.of("group", seconds, now)
        if rate is not None:
            found["cpu.percent"] = round(100.0 * rate / cores, 2)
        if (throttled := self._group.throttled()) is not None:
            held, periods = (self._rates.of(name, total, now) for name, total in zip("hp", throttled, strict=True))
            if held is not None and periods:
                found["cpu.throttled_percent"] = round(100.0 * held / periods, 2)

    def _sample_memory(self, found: Values) -> None:
        table = _meminfo(self._memory.read())
        total = table.get(b"MemTotal", 0)
        if not total:
            return
        used = total - table.get(b"MemAvailable", table.get(b"MemFree", 0))
        group = self._group.memory()
        if group is not None and group.limit < total:
            used, total = int(group.used), int(group.limit)
        found["memory.used_bytes"] = used
        found["memory.available_bytes"] = max(0, total - used)
        found["memory.percent"] = round(100.0 * used / total, 2)
        if swap := table.get(b"SwapTotal", 0):
            found["swap.used_bytes"] = swap - table.get(b"SwapFree", 0)
            found["swap.percent"] = round(100.0 * found["swap.used_bytes"] / swap, 2)

    # --- the process and its children --------------------------------------------------------

    def _follow_processes(self) -> None:
        """See which children there are: data loaders come and go."""
        pids = process_tree(self._proc, self._place.pid)
        for pid in pids - self._processes.keys():
            folder = f"{self._proc}/{pid}"
            # Not those of children: a hundred data loaders would take a fifth of the files a process may have open.
            is_kept = pid == self._place.pid
            stat = File(f"{folder}/stat", 4096, is_kept=is_kept)
            self._processes[pid] = (stat, File(f"{folder}/io", 4096, is_kept=is_kept))
        for pid in self._processes.keys() - pids:
            for file in self._processes.pop(pid):
                file.close()
            for kind in ("ticks", "read", "written"):
                self._rates.forget(f"{kind}.{pid}")

    def _sample_processes(self, found: Values, now: float) -> None:
        threads = pages = count = 0
        rates: dict[str, list[float]] = {"ticks": [], "read": [], "written": []}

        def note(kind: str, pid: int, total: bytes) -> None:
            rate = self._rates.of(f"{kind}.{pid}", float(total), now)
            if rate is not None:
                rates[kind].append(rate)

        for pid, (stat, io) in self._processes.items():
            # The name may hold blanks and brackets; what follows it has fixed places.
            fields = stat.read().rpartition(b")")[2].split()
            if len(fields) < 22:  # it is gone
                continue
            count += 1
            note("ticks", pid, b"%d" % (int(fields[11]) + int(fields[12])))
            threads += int(fields[17])
            pages += int(fields[21])
            for line in io.read().split(b"\n"):
                if line.startswith(b"read_bytes: "):
                    note("read", pid, line[12:])
                elif line.startswith(b"write_bytes: "):
                    note("written", pid, line[13:])
        if not count:
            return
        found["process.count"] = count
        found["process.threads"] = threads
        found["process.memory_bytes"] = pages * self._page
        if rates["ticks"]:
            found["process.cpu_percent"] = round(100.0 * sum(rates["ticks"]) / self._ticks, 1)
        for kind in ("read", "written"):
            if rates[kind]:
                found[f"process.{kind}_bytes_per_second"] = round(sum(rates[kind]))

    def _count_files(self, found: Values) -> None:
        try:
            found["process.open_files"] = len(os.listdir(f"{self._proc}/{self._place.pid}/fd"))
        except OSError:
            return

    # --- disks and network -----------------------------------------------------------------

    def _sample_disks(self, found: Values, now: float) -> None:
        read = written = 0
        has_any = False
        for line in self._disks.read().split(b"\n") if self._whole_disks else ():
            fields = line.split(None, 10)
            if len(fields) > 10 and fields[2] in self._whole_disks:
                read += int(fields[5])
                written += int(fields[9])
                has_any = True
        if has_any:
            self._note_rate(found, "disk.read_bytes_per_second", read * _SECTOR_BYTES, now)
            self._note_rate(found, "disk.written_bytes_per_second", written * _SECTOR_BYTES, now)

    def _sample_network(self, found: Values, now: float) -> None:
        received = sent = 0
        has_any = False
        for line in self._network.read().split(b"\n"):
            name, colon, rest = line.partition(b":")
            if not colon:
                continue
            is_real = self._known_interfaces.get(name)
            if is_real is None:
                is_real = self._known_interfaces[name] = not name.decode().strip().startswith(_VIRTUAL_NETWORKS)
            if is_real:
                fields = rest.split(None, 9)
                received += int(fields[0])
                sent += int(fields[8])
                has_any = True
        if has_any:
            self._note_rate(found, "network.received_bytes_per_second", received, now)
            self._note_rate(found, "network.sent_bytes_per_second", sent, now)
        totals: dict[str, float] = {}
        for name_of, file in self._fabric:
            if (number := file.number()) is not None:
                totals[name_of] = totals.get(name_of, 0.0) + 4 * number  # counted in words of 32 bits
        for name_of, total in totals.items():
            self._note_rate(found, name_of, total, now)

    def _note_rate(self, found: Values, name: str, total: float, now: float) -> None:
        rate = self._rates.of(name, total, now)
        if rate is not None:
            found[name] = round(rate)


def disk_space(found: Values, folder: str, root: str = "/") -> None:
    """Note how full the disk of the runs is, and the system's own where it is another."""
    places = {"runs": folder, "root": root}
    devices = set()
    for name, path in places.items():
        try:
            device = os.stat(path).st_dev
            if device in devices:
                continue
            devices.add(device)
            space: Any = os.statvfs(path) if hasattr(os, "statvfs") else None
            if space is None:
                from shutil import disk_usage  # Windows only

                usage = disk_usage(path)
                found[f"disk.{name}.free_bytes"] = usage.free
                found[f"disk.{name}.percent"] = round(100.0 * usage.used / max(1, usage.total), 2)
                continue
        except OSError:
            continue
        if space.f_blocks:
            found[f"disk.{name}.free_bytes"] = space.f_bavail * space.f_frsize
            # As df does: what is reserved for the administrator counts neither as used nor as free.
            used = space.f_blocks - space.f_bfree
            found[f"disk.{name}.percent"] = round(100.0 * used / max(1, used + space.f_bavail), 2)


def _allowed_cores(status: str, stat: bytes) -> list[int]:
    """Answer the numbers of the cores that the process may run on."""
    present = []
    for line in stat.split(b"\n"):
        name = line.partition(b" ")[0]
        if name.startswith(b"cpu") and name[3:].isdigit():
            present.append(int(name[3:]))
    allowed: set[int] = set()
    for text in File(status).read().decode(errors="replace").splitlines():
        if text.startswith("Cpus_allowed_list:"):
            for part in text.partition(":")[2].strip().split(","):
                low, _, high = part.partition("-")
                if low.isdigit():
                    allowed.update(range(int(low), int(high or low) + 1))
    return [core for core in present if core in allowed] or present


def process_tree(proc: str, pid: int) -> set[int]:
    """Answer a process and all that descend from it, `MAX_SAMPLED_PROCESSES` at most, the nearest first."""
    found = {pid}
    waiting = [pid]
    while waiting and len(found) < MAX_SAMPLED_PROCESSES:
        parent = waiting.pop(0)
        try:
            tasks = os.listdir(f"{proc}/{parent}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"{proc}/{parent}/task/{task}/children", "rb") as file:
                    children = [int(child) for child in file.read(1 << 16).split()]
            except OSError:  # gone; or a kernel that does not tell
                continue
            new = [child for child in children if child not in found]
            found.update(new[: MAX_SAMPLED_PROCESSES - len(found)])
            waiting.extend(new)
    return found


def _whole_disks(root: str) -> set[bytes]:
    try:
        names = os.listdir(f"{root}/sys/block")
    except OSError:
        return set()
    return {os.fsencode(name) for name in names if not name.startswith(_VIRTUAL_DISKS)}


def _fabric(root: str) -> list[tuple[str, File]]:
    """Answer the counters of InfiniBand and RoCE, which no other file tells of."""
    found = []
    base = f"{root}/sys/class/infiniband"
    for counter, name in (
        ("port_rcv_data", "infiniband.received_bytes_per_second"),
        ("port_xmit_data", "infiniband.sent_bytes_per_second"),
    ):
        try:
            for device in sorted(os.listdir(base)):
                for port in sorted(os.listdir(f"{base}/{device}/ports")):
                    found.append((name, File(f"{base}/{device}/ports/{port}/counters/{counter}", 64)))
        except OSError:
            break
    return found


def _meminfo(data: bytes) -> dict[bytes, int]:
    """Answer the table of /proc/meminfo, in bytes."""
    found = {}
    for name in (b"MemTotal", b"MemFree", b"MemAvailable", b"SwapTotal", b"SwapFree"):
        at = data.find(b"\n" + name + b":") + 1
        if data.startswith(name + b":", at):
            fields = data[at + len(name) + 1 : at + len(name) + 40].split(None, 1)
            if fields and fields[0].isdigit():
                found[name] = int(fields[0]) << 10
    return found
