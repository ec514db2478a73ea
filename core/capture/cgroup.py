"""What a container or a job may use: the limits of its control groups, of either version."""

from __future__ import annotations

import os
from typing import NamedTuple

from .probe import File

_NO_LIMIT = 1 << 60  # version 1 writes "no limit" as a number of this size


class Memory(NamedTuple):
    """Bytes of memory that a group uses, caches left out that can be dropped, and its limit."""

    used: float
    limit: float


class ControlGroup:
    """The control groups of this process, read again and again.

    Args:
        root: What stands before `/proc` and `/sys`.
    """

    def __init__(self, root: str = "") -> None:
        self._files: list[File] = []
        mount = f"{root}/sys/fs/cgroup"
        paths = _paths(f"{root}/proc/self/cgroup")
        self.cores: float | None = None  # how many the group may use; None without a limit
        self._usage: File | None = None
        self._usage_unit = 1e-9
        self._throttling: File | None = None
        self._memory: tuple[File, File, float, bytes] | None = None
        if os.path.isfile(f"{mount}/cgroup.controllers"):
            self._open_second(mount, paths.get("", "/"))
        else:
            self._open_first(mount, paths)

    def cpu_seconds(self) -> float | None:
        """Answer the processor time that the group has used; None where it has no limit, or cannot tell."""
        if self._usage is None:
            return None
        data = self._usage.read()
        if data.startswith(b"usage_usec"):
            data = data.split(None, 2)[1]
        try:
            return float(data) * self._usage_unit
        except ValueError:
            return None

    def throttled(self) -> tuple[int, int] | None:
        """Answer in how many periods the group was held back, and how many there were."""
        if self._throttling is None:
            return None
        found = _table(self._throttling.read())
        return (found[b"nr_throttled"], found[b"nr_periods"]) if found.get(b"nr_periods") else None

    def memory(self) -> Memory | None:
        """Answer the memory in use and its limit; None without a limit."""
        if self._memory is None:
            return None
        usage, stat, limit, cache = self._memory
        used = usage.number()
        if used is None:
            return None
        return Memory(max(0.0, used - _table(stat.read()).get(cache, 0)), limit)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _open(self, path: str) -> File:
        file = File(path)
        self._files.append(file)
        return file

    def _open_second(self, mount: str, path: str) -> None:
        groups = _upwards(mount, path)
        found = [(_quota(_text(f"{group}/cpu.max")), group) for group in groups]
        if limits := [(cores, group) for cores, group in found if cores is not None]:
            self.cores, group = min(limits)
            self._usage, self._usage_unit = self._open(f"{group}/cpu.stat"), 1e-6
            self._throttling = self._usage
        sizes = [(_size(_text(f"{group}/memory.max")), group) for group in groups]
        if bounds := [(size, group) for size, group in sizes if size is not None]:
            limit, group = min(bounds)
            usage, stat = self._open(f"{group}/memory.current"), self._open(f"{group}/memory.stat")
            self._memory = (usage, stat, limit, b"inactive_file")

    def _open_first(self, mount: str, paths: dict[str, str]) -> None:
        groups = _upwards(f"{mount}/cpu", paths.get("cpu", "/"))
        found = []
        for group in groups:
            quota, period = _size(_text(f"{group}/cpu.cfs_quota_us")), _size(_text(f"{group}/cpu.cfs_period_us"))
            if quota is not None and period and quota > 0:
                found.append((quota / period, group))
        if found:
            self.cores, group = min(found)
            self._throttling = self._open(f"{group}/cpu.stat")
            of_group = os.path.relpath(group, f"{mount}/cpu")
            self._usage = self._open(os.path.normpath(f"{mount}/cpuacct/{of_group}/cpuacct.usage"))
        sizes = []
        for group in _upwards(f"{mount}/memory", paths.get("memory", "/")):
            size = _size(_text(f"{group}/memory.limit_in_bytes"))
            if size is not None and size < _NO_LIMIT:
                sizes.append((size, group))
        if sizes:
            limit, group = min(sizes)
            usage, stat = self._open(f"{group}/memory.usage_in_bytes"), self._open(f"{group}/memory.stat")
            self._memory = (usage, stat, limit, b"total_inactive_file")


def _paths(path: str) -> dict[str, str]:
    """Answer the group's path by controller; that of version 2 has no name."""
    found = {}
    for line in _text(path).splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, place = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = place
    return found


def _upwards(mount: str, path: str) -> list[str]:
    """Answer the folders of a group and of those above it: each of them may bear a limit.

    In a container the path may be that of another name space. Then the mount itself is the container's group.
    """
    place = os.path.normpath(f"{mount}/{path}")
    if not (place + "/").startswith(mount + "/") or not os.path.isdir(place):
        place = mount
    found = [place]
    while place != mount:
        place = os.path.dirname(place)
        found.append(place)
    return found


def _quota(text: str) -> float | None:
    quota, _, period = text.partition(" ")
    try:
        return float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max 100000", or nothing
        return None


def _size(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


def _table(data: bytes) -> dict[bytes, int]:
    found = {}
    for line in data.splitlines():
        name, _, number = line.partition(b" ")
        if number.isdigit():
            found[name] = int(number)
    return found
