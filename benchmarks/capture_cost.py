"""What a run costs while nothing happens: sampler, console and heartbeat, with eight GPUs that are none."""

from __future__ import annotations

import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import tools
from .harness import HERE, PEERS, Bench, Figure, Skipped, cpu_of, median, tree_of

SETTLE_SECONDS = 6.0  # a young run is sampled more often
GPUS = 8


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    seconds = float(bench.pick(60, 20))
    shares = bench.each(["tracker", "wandb"], bench.pick(3, 1), lambda tool: _share(bench, tool, seconds))
    found = {tool: median(values) for tool, values in shares.items()}
    peers = {tool: found[tool] for tool in PEERS if tool in found}  # others sample nothing unless they are told to
    note = f"ours each 2 s with {GPUS} fake GPUs; wandb each 15 s, and it does not see these GPUs"
    name = "sampler, console and heartbeat of an idle training, % of a core"
    rows = [Figure(name, found.get("tracker"), peers, 0.3, note=note)]
    try:
        cost = bench.call("tracker", "capture_cost", "sample_cost", count=bench.pick(500, 100))
    except Skipped as reason:
        bench.tell(str(reason))
        return rows
    rows.append(Figure("one sample of the machine, CPU, ms", cost["host"] * 1e3))
    rows.append(
        Figure(
            f"one sample of {GPUS} fake GPUs, CPU, ms",
            cost["gpus"] * 1e3,
            note=(
                f"Python and ctypes; by the calls it makes, an H100's driver (580) would take {cost['driver'] * 1e3:.1f} ms "
                "more: 0.1 each, but 4 for the energy counter and 0.9 for each of PCIe's"
            ),
        )
    )
    return rows


def _share(bench: Bench, tool: str, seconds: float) -> float:
    """Answer the processor time of an idle run's processes, in percent of a core."""
    room = bench.room()
    child = bench.start(tool, "capture_cost", "idle", room, tool=tool, seconds=SETTLE_SECONDS + seconds + 5)
    until = time.monotonic() + 120
    try:
        while not (room / "ready").exists():
            if child.process.poll() is not None or time.monotonic() > until:
                raise Skipped(f"{tool}: capture_cost.idle did not begin; see {child.log}")
            time.sleep(0.05)
        time.sleep(SETTLE_SECONDS)
        before, start = _cpu(child.process.pid), time.monotonic()
        time.sleep(seconds)
        return 100 * (_cpu(child.process.pid) - before) / (time.monotonic() - start)
    finally:
        child.stop()


def _cpu(pid: int) -> float:
    """Answer the processor time of a process and its children, finer than the clock's ticks where that is told."""
    total = 0.0
    for each in tree_of(pid):
        try:
            tasks = list(Path(f"/proc/{each}/task").iterdir())
            total += sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except (OSError, ValueError, IndexError):
            total += cpu_of(each)
    return total


def idle(tool: str, seconds: float) -> None:
    """Begin a run, log once, and do nothing; in the tool's interpreter."""
    if tool == "tracker":
        _fake_gpus()
    one = tools.TOOLS[tool]()
    log = one.open(Path.cwd())
    log({"loss": 0.5})
    Path("ready").touch()
    time.sleep(seconds)
    one.close()


def sample_cost(count: int) -> dict[str, float]:
    """Answer the processor seconds of one sample of the machine, and of the GPUs, two seconds apart by their clock.

    `driver` is what real GPUs would add: the calls that were made, at the costs measured on one.
    """
    import os

    from tracker.core.capture.host import open_host
    from tracker.core.capture.nvidia import open_nvidia
    from tracker.core.capture.probe import Place

    driver = _fake_gpus()
    place = Place("", dict(os.environ), os.getpid(), os.getcwd(), print)
    found = {}
    for name, probe in (("host", open_host(place)), ("gpus", open_nvidia(place))):
        if probe is None:
            raise RuntimeError("the fake driver is not found")
        probe.sample(0.0)
        before = driver.cost_milliseconds()
        start = time.process_time()
        for number in range(count):
            probe.sample(2.0 + 2 * number)
        found[name] = (time.process_time() - start) / count
        found["driver"] = (driver.cost_milliseconds() - before) / 1e3 / count
    return found


def _fake_gpus() -> Any:
    """Put the tests' driver below NVIDIA's module, and answer it."""
    path = HERE.parent / "tests" / "core" / "capture" / "fake_nvml.py"
    spec = spec_from_file_location("fake_nvml", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fake_nvml"] = module_from_spec(spec)  # its dataclasses look for it there
    spec.loader.exec_module(module)
    driver = module.FakeDriver([module.data_centre_gpu(number) for number in range(GPUS)])
    driver.install(SimpleNamespace(setattr=setattr))
    return driver
