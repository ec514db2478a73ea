"""The machine: what is read from `/proc` and `/sys`, of a machine made of files and of the one the tests run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.core.capture.cgroup import ControlGroup
from tracker.core.capture.host import LinuxHost, disk_space, process_tree
from tracker.core.capture.portable import PortableHost
from tracker.core.capture.probe import Place, Probe, Rates
from tracker.core.limits import MAX_SAMPLED_CORES

GIB = 1 << 30
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")


def place(root: Path | str = "", pid: int | None = None) -> Place:
    """Answer a place to look at, its disk being that of the tests."""
    return Place(str(root), {}, os.getpid() if pid is None else pid, "/", print)


class Machine:
    """A machine made of files, with one process and its child.

    Args:
        root: Where the files lie.
        cores: How many.
    """

    def __init__(self, root: Path, cores: int = 4) -> None:
        self.root = root
        self.cores = [(0, 0)] * cores
        self.write("sys/block/sda/size", "1")
        self.write("sys/block/loop0/size", "1")
        self.write("proc/loadavg", "1.50 2.50 3.50 2/300 4711\n")
        self.memory(total=64, available=48)
        self.processes(100, 200)
        self.counters(0)
        self.spend([0] * cores, 0)

    def write(self, name: str, text: str) -> None:
        """Write a file in place: it may be open."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def spend(self, busy: list[int], ticks: int) -> None:
        """Let each core be busy for some of so many ticks."""
        self.cores = [(b + more, i + ticks - more) for (b, i), more in zip(self.cores, busy, strict=True)]
        lines = [f"cpu{core} {b} 0 0 {i} 0 0 0 0 0 0" for core, (b, i) in enumerate(self.cores)]
        total = [sum(parts) for parts in zip(*self.cores, strict=True)]
        self.write("proc/stat", "\n".join([f"cpu  {total[0]} 0 0 {total[1]} 0 0 0 0 0 0", *lines, "intr 1 2 3", ""]))

    def memory(self, total: int, available: int) -> None:
        """Write how much there is, in GiB."""
        kib = 1 << 20
        self.write(
            "proc/meminfo",
            f"MemTotal:       {total * kib} kB\nMemFree:        1 kB\nMemAvailable:   {available * kib} kB\n"
            f"SwapCached:     5 kB\nSwapTotal:      {8 * kib} kB\nSwapFree:       {6 * kib} kB\n",
        )

    def processes(self, ticks: int, of_child: int) -> None:
        """Write the process 7 with a name full of traps, and its child 9, which its second thread has begun."""
        for pid, spent, name in ((7, ticks, "py) R 1 (x"), (9, of_child, "loader")):
            fields = ["S", "1", *["0"] * 9, str(spent - 30), "30", *["0"] * 4, "3", "0", "0", "0", "1000"]
            self.write(f"proc/{pid}/stat", f"{pid} ({name}) {' '.join(fields)} 0 0\n")
            self.write(f"proc/{pid}/io", f"rchar: 9\nread_bytes: {spent * 10}\nwrite_bytes: {spent * 20}\n")
        self.write("proc/7/status", f"Name:\tpython\nCpus_allowed_list:\t0-{len(self.cores) - 1}\n")
        self.write("proc/7/task/7/children", "")
        self.write("proc/7/task/8/children", "9 ")
        self.write("proc/9/task/9/children", "")
        for number in range(5):
            self.write(f"proc/7/fd/{number}", "")

    def counters(self, total: int) -> None:
        """Write what disk and network have moved."""
        self.write(
            "proc/diskstats",
            f"   8       0 sda 1 2 {total} 4 5 6 {2 * total} 8 9 10 11\n"
            f"   8       1 sda1 1 2 {total} 4 5 6 {total} 8 9 10 11\n"
            f"   7       0 loop0 1 2 {total} 4 5 6 {total} 8 9 10 11\n",
        )
        header = "Inter-|   Receive                |  Transmit\n face |bytes    packets\n"
        lines = [
            f"{name}: {total * 3} 1 0 0 0 0 0 0 {total * 5} 1 0 0 0 0 0 0\n" for name in ("lo", " eth0", "docker0")
        ]
        self.write("proc/net/dev", header + "".join(lines))
        for port, counter in (("port_rcv_data", total), ("port_xmit_data", 2 * total)):
            self.write(f"sys/class/infiniband/mlx5_0/ports/1/counters/{port}", f"{counter}\n")


def test_a_machine_tells_what_it_does(tmp_path: Path) -> None:
    """Every figure, by name and unit; rates from the second sample on."""
    machine = Machine(tmp_path)
    host = LinuxHost(place(tmp_path, 7))

    first = host.sample(10.0)
    machine.spend([200, 100, 0, 0], 200)
    machine.processes(100 + os.sysconf("SC_CLK_TCK"), 200 + os.sysconf("SC_CLK_TCK"))
    machine.counters(4096)
    second = host.sample(12.0)
    kept = [file for files in host._processes.values() for file in files if file._fd is not None]
    host.close()

    page, ticks = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    free, percent = (first.pop(f"disk.runs.{name}") for name in ("free_bytes", "percent"))
    assert 0 <= percent <= 100
    assert free > 0
    assert {Path(file.path).parent.name for file in kept} == {"7"}  # of its children, none is kept open
    assert first == {
        "load.1m": 1.5,
        "load.5m": 2.5,
        "memory.used_bytes": 16 * GIB,
        "memory.available_bytes": 48 * GIB,
        "memory.percent": 25.0,
        "swap.used_bytes": 2 * GIB,
        "swap.percent": 25.0,
        "process.count": 2,
        "process.threads": 6,
        "process.open_files": 5,
        "process.memory_bytes": 2000 * page,
    }
    assert {key: value for key, value in second.items() if key not in first} == {
        "cpu.percent": 37.5,
        "cpu.busiest_core_percent": 100.0,
        "cpu.busy_cores": 2,
        "cpu.0.percent": 100.0,
        "cpu.1.percent": 50.0,
        "cpu.2.percent": 0.0,
        "cpu.3.percent": 0.0,
        "process.cpu_percent": 100.0,
        "process.read_bytes_per_second": 10 * ticks,
        "process.written_bytes_per_second": 20 * ticks,
        "disk.read_bytes_per_second": 512 * 2048,
        "disk.written_bytes_per_second": 512 * 4096,
        "network.received_bytes_per_second": 3 * 2048,
        "network.sent_bytes_per_second": 5 * 2048,
        "infiniband.received_bytes_per_second": 4 * 2048,
        "infiniband.sent_bytes_per_second": 4 * 4096,
    }


def test_only_the_cores_it_may_use_count(tmp_path: Path) -> None:
    """A job that is bound to some cores of a machine sees those."""
    machine = Machine(tmp_path)
    machine.write("proc/7/status", "Cpus_allowed_list:\t0,2-3\n")
    host = LinuxHost(place(tmp_path, 7))
    host.sample(0.0)
    machine.spend([0, 200, 200, 100], 200)

    found = host.sample(2.0)

    assert found["cpu.percent"] == 50.0
    assert "cpu.1.percent" not in found
    assert host.facts()["limits"] == {"cores": 3, "memory_bytes": 64 * GIB}


def test_a_machine_of_many_cores_is_summed_up(tmp_path: Path) -> None:
    """Two hundred and fifty-six lines in a chart show nothing."""
    cores = 256
    machine = Machine(tmp_path, cores)
    host = LinuxHost(place(tmp_path, 7))
    host.sample(0.0)
    machine.spend([90] * 64 + [10] * 192, 100)

    found = host.sample(2.0)

    assert cores > MAX_SAMPLED_CORES
    assert (found["cpu.percent"], found["cpu.busiest_core_percent"], found["cpu.busy_cores"]) == (30.0, 90.0, 64)
    assert not any(key.startswith("cpu.1") for key in found)


def test_a_container_s_limits_are_the_ones_shown(tmp_path: Path) -> None:
    """Version 2: two cores and 8 GiB of a machine with four cores and 64 GiB; caches that can be dropped do not count."""
    machine = Machine(tmp_path)
    machine.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    machine.write("proc/self/cgroup", "0::/\n")
    machine.write("sys/fs/cgroup/cpu.max", "200000 100000\n")
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 1000000\nuser_usec 1\nnr_periods 100\nnr_throttled 10\n")
    machine.write("sys/fs/cgroup/memory.max", f"{8 * GIB}\n")
    machine.write("sys/fs/cgroup/memory.current", f"{7 * GIB}\n")
    machine.write("sys/fs/cgroup/memory.stat", f"anon 1\nfile 2\ninactive_file {GIB}\n")
    host = LinuxHost(place(tmp_path, 7))
    host.sample(0.0)
    machine.spend([200, 200, 200, 200], 200)
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 3000000\nuser_usec 1\nnr_periods 120\nnr_throttled 15\n")

    found = host.sample(2.0)

    assert host.facts()["limits"] == {"cores": 2.0, "memory_bytes": 8 * GIB}
    assert found["cpu.percent"] == 50.0  # one core of two, whatever the neighbours do
    assert found["cpu.throttled_percent"] == 25.0
    assert found["memory.used_bytes"] == 6 * GIB
    assert found["memory.available_bytes"] == 2 * GIB
    assert found["memory.percent"] == 75.0


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    """A job's limit may be set on a group above its own, and its own path may be another name space's."""
    machine = Machine(tmp_path)
    machine.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    machine.write("proc/self/cgroup", "0::/slurm/job_1/step_0\n")
    machine.write("sys/fs/cgroup/slurm/job_1/step_0/memory.max", "max\n")
    machine.write("sys/fs/cgroup/slurm/job_1/memory.max", f"{4 * GIB}\n")
    machine.write("sys/fs/cgroup/slurm/job_1/memory.current", f"{GIB}\n")
    machine.write("sys/fs/cgroup/slurm/job_1/memory.stat", "inactive_file 0\n")
    machine.write("sys/fs/cgroup/slurm/memory.max", f"{40 * GIB}\n")
    above = ControlGroup(str(tmp_path)).memory()
    machine.write("proc/self/cgroup", "0::/../../escaped\n")
    elsewhere = ControlGroup(str(tmp_path))

    assert above is not None
    assert (above.used, above.limit) == (GIB, 4 * GIB)
    assert (elsewhere.memory(), elsewhere.cores) == (None, None)


def test_the_first_version_of_groups_is_read_too(tmp_path: Path) -> None:
    """Each controller has a tree of its own; no limit is a number beyond all memory."""
    machine = Machine(tmp_path)
    machine.write("proc/self/cgroup", "4:memory:/docker/abc\n3:cpuacct:/docker/abc\n1:cpu:/docker/abc\n")
    for group, quota, limit in (("docker/abc", "150000", str(2 * GIB)), ("docker", "-1", str((1 << 63) - 4096))):
        machine.write(f"sys/fs/cgroup/cpu/{group}/cpu.cfs_quota_us", f"{quota}\n")
        machine.write(f"sys/fs/cgroup/cpu/{group}/cpu.cfs_period_us", "100000\n")
        machine.write(f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes", f"{limit}\n")
    machine.write("sys/fs/cgroup/cpu/docker/abc/cpu.stat", "nr_periods 10\nnr_throttled 5\nthrottled_time 7\n")
    machine.write("sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage", "2500000000\n")
    machine.write("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", f"{2 * GIB}\n")
    machine.write("sys/fs/cgroup/memory/docker/abc/memory.stat", f"cache 1\ntotal_inactive_file {GIB}\n")
    group = ControlGroup(str(tmp_path))

    assert group.cores == 1.5
    assert group.cpu_seconds() == 2.5
    assert group.throttled() == (5, 10)
    assert group.memory() == (GIB, 2 * GIB)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    """A sandbox may hide all of it."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text("")

    found = LinuxHost(place(tmp_path, 7)).sample(0.0)

    assert {key.partition(".")[0] for key in found} <= {"disk"}


def test_rates_begin_anew_where_a_total_does() -> None:
    """A counter that wraps, or a device that was reset, is no negative rate."""
    rates = Rates()

    assert [rates.of("x", total, now) for total, now in ((10, 0.0), (30, 2.0), (5, 4.0), (5, 6.0), (6, 6.0))] == [
        None,
        10.0,
        None,
        0.0,
        None,
    ]


def test_a_disk_tells_its_room(tmp_path: Path) -> None:
    """In bytes and percent, as `df` does; two folders of one disk are told once."""
    found: dict[str, float] = {}
    disk_space(found, str(tmp_path), str(tmp_path))

    space = os.statvfs(tmp_path)
    assert found["disk.runs.free_bytes"] == pytest.approx(space.f_bavail * space.f_frsize, rel=0.05)
    assert set(found) == {"disk.runs.free_bytes", "disk.runs.percent"}


@on_linux
def test_the_figures_are_psutil_s() -> None:
    """On the machine at hand, our own reading and that of the usual package agree."""
    psutil = pytest.importorskip("psutil")
    host = LinuxHost(place())
    found = host.sample(0.0)
    host.close()
    group = ControlGroup()

    assert found["process.memory_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found["process.threads"] >= psutil.Process().num_threads()
    assert found["process.open_files"] > 0
    if group.memory() is None:
        memory = psutil.virtual_memory()
        assert found["memory.used_bytes"] == pytest.approx(memory.total - memory.available, rel=0.2)
    if group.cores is None:
        assert host.facts()["limits"]["cores"] == len(psutil.Process().cpu_affinity())


@on_linux
def test_children_of_children_are_followed() -> None:
    """A data loader, and what it starts."""
    code = "import subprocess, sys; p = subprocess.Popen(['cat'], stdin=subprocess.PIPE); print(p.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
            child.communicate("\n", timeout=30)
            pytest.skip("this kernel does not tell a process's children")
        tree = process_tree("/proc", os.getpid())
        child.communicate("\n", timeout=30)

    assert {os.getpid(), child.pid, grandchild} <= tree


def test_psutil_gives_the_same_names(tmp_path: Path) -> None:
    """Where there is no /proc, the same figures come under the same names."""
    pytest.importorskip("psutil")
    machine = Machine(tmp_path)
    linux: Probe = LinuxHost(place(tmp_path, 7))
    portable: Probe = PortableHost(place())
    names: list[set[str]] = []
    for probe in (linux, portable):
        probe.sample(0.0)
        machine.spend([100] * 4, 200)
        machine.counters(100)
        machine.processes(200, 300)
        names.append(set(probe.sample(20.0)))

    strange = {name for name in names[1] - names[0] if not name.startswith(("cpu.", "disk.", "swap."))}
    assert strange == set()
    assert {"cpu.percent", "memory.percent", "process.memory_bytes", "load.1m", "process.open_files"} <= names[1]
    assert set(portable.facts()["limits"]) == set(linux.facts()["limits"])
