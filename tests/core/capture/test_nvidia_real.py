"""The sampler on a real NVIDIA GPU, beside `nvidia-smi` and torch; what it costs there is printed.

It needs no more than pytest, msgspec, backports.zstd and nvidia-ml-py, and torch for most of it; without the other
packages of the tests: `python -m pytest --noconftest -m gpu -s tests/core/capture/test_nvidia_real.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.capture.nvidia import Nvidia, is_there, open_nvidia
from tracker.core.capture.probe import Place
from tracker.core.capture.torch_memory import open_torch
from tracker.core.history import read_run

GIB = 1 << 30
pytestmark = pytest.mark.gpu
_PLACE = Place("", dict(os.environ), os.getpid(), "/", print)


@pytest.fixture
def probe() -> Iterator[Nvidia]:
    """The driver of this machine, opened."""
    found = open_nvidia(_PLACE) if is_there(_PLACE) else None
    if found is None:
        pytest.skip("there is no NVIDIA GPU here")
    assert isinstance(found, Nvidia)
    yield found
    found.close()


@pytest.fixture
def torch() -> Any:
    """A torch that sees a GPU."""
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("torch sees no GPU here")
    return module


class Load:
    """Matrix products on the first GPU that torch sees, until told to stop."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self._stop = threading.Event()
        self._is_hot = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Load:
        self._thread.start()
        assert self._is_hot.wait(120)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _work(self) -> None:
        torch = self.torch
        matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
        while not self._stop.is_set():
            for _ in range(20):
                matrix @ matrix
            torch.cuda.synchronize()
            self._is_hot.set()


def smi(*fields: str) -> list[list[str]]:
    """Answer what `nvidia-smi` says of each GPU."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is not here")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]


def number_of(torch: Any, probe: Nvidia) -> str:
    """Answer our name of the GPU that is torch's first."""
    uuid = str(getattr(torch.cuda.get_device_properties(0), "uuid", ""))
    names = [gpu["name"] for gpu in probe.facts()["gpus"] if uuid and uuid in gpu["uuid"]]
    return str(names[0]) if names else "gpu.0"


def counter_of(probe: Nvidia, name: str) -> float | None:
    """Answer what the energy counter of a GPU says, in joules; None where it has none."""
    import pynvml

    gpu = next(gpu for gpu in probe.gpus if gpu.device.name == name)
    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle)) / 1000
    except pynvml.NVMLError:
        return None


def test_the_facts_are_nvidia_smi_s(probe: Nvidia) -> None:
    """Names, UUIDs, memory, limits, driver."""
    facts = probe.facts()
    whole = [gpu for gpu in facts["gpus"] if "instance_of" not in gpu]
    print("\nfacts:", facts)

    told = smi("name", "uuid", "memory.total", "driver_version")

    assert [[gpu["model"], gpu["uuid"]] for gpu in whole] == [row[:2] for row in told]
    for gpu, row in zip(whole, told, strict=True):
        assert gpu["memory_bytes"] == pytest.approx(float(row[2]) * (1 << 20), rel=0.01)
        assert facts["gpu_driver"] == row[3]
    assert float(facts["cuda_driver"]) >= 11


def test_the_figures_are_nvidia_smi_s(probe: Nvidia) -> None:
    """Of each GPU, as near as two looks at different moments can be."""
    found = probe.sample(0.0)
    print("\nsample:", found)

    told = smi("temperature.gpu", "memory.used", "clocks.sm", "power.draw", "power.limit", "utilization.gpu")

    for number, (celsius, used, clock, watts, limit, _) in enumerate(told):
        n = f"gpu.{number}."
        assert found[n + "temperature_celsius"] == pytest.approx(float(celsius), abs=10)
        assert found[n + "memory_used_bytes"] == pytest.approx(float(used) * (1 << 20), abs=GIB)
        assert 0 < found[n + "sm_clock_mhz"] < 4000
        assert float(clock) < 4000
        if not watts.startswith("["):  # "[N/A]"
            assert found[n + "power_watts"] == pytest.approx(float(watts), rel=0.7)
            assert found[n + "power_percent"] == pytest.approx(100 * found[n + "power_watts"] / float(limit), rel=0.05)


def test_work_shows(probe: Nvidia, torch: Any) -> None:
    """Utilization, power, energy, memory of this process and of torch's allocator, while a GPU computes."""
    name = number_of(torch, probe)
    allocator = open_torch(_PLACE)
    with Load(torch):
        start = time.monotonic()
        before = counter_of(probe, name)
        first = probe.sample(start)
        while time.monotonic() - start < 4:
            time.sleep(0.5)
            found = probe.sample(time.monotonic())
        seconds = time.monotonic() - start
        probe.sample_last(time.monotonic())
        counted = counter_of(probe, name)
        memory = allocator.sample(0.0)
        allocated = torch.cuda.memory_allocated(0)
    print("\nunder load:", {key: value for key, value in found.items() if key.startswith(name)}, memory)

    assert found[f"{name}.utilization"] > 50
    watts = found[f"{name}.power_watts"]
    joules = (found[f"{name}.energy_kwh"] - first[f"{name}.energy_kwh"]) * 3.6e6
    assert joules == pytest.approx(watts * seconds, rel=0.5)
    if before is not None and counted is not None:
        gpu = next(gpu for gpu in probe.gpus if gpu.device.name == name)
        print(f"counted {counted - before:.1f} J, by power until the end {joules:.1f} J")
        assert gpu.energy.kwh == pytest.approx((counted - before) / 3.6e6, rel=0.1)
    assert found["gpu.energy_kwh"] >= found[f"{name}.energy_kwh"] * 0.99
    assert allocated / 4 <= memory["torch.cuda.0.allocated_bytes"] <= allocated * 4  # products come and go
    assert memory["torch.cuda.0.reserved_bytes"] >= memory["torch.cuda.0.allocated_bytes"] > 0
    assert 0 <= memory["torch.cuda.0.fragmentation_percent"] <= 100
    assert first[f"{name}.processes"] >= 0


def test_a_sample_does_not_wait_for_the_device(probe: Nvidia, torch: Any) -> None:
    """Torch raises where one of its calls would synchronise; NVML asks the driver, not the stream."""
    allocator = open_torch(_PLACE)
    torch.zeros(1, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        matrix = torch.ones(8192, 8192, device="cuda")
        for _ in range(200):
            matrix @ matrix
        done = torch.cuda.Event()
        done.record()
        start = time.monotonic()
        allocator.sample(0.0)
        probe.sample(0.0)
        seconds = time.monotonic() - start
        was_busy = not done.query()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    print(
        f"\nfirst sample under a full queue: {seconds * 1e3:.1f} ms; the queue was {'' if was_busy else 'not '}busy after it"
    )

    assert was_busy or seconds < 5


def test_what_a_sample_costs_is_told(probe: Nvidia) -> None:
    """Processor time and wait of one sample, the dear questions included as they come; and of each question by itself."""
    probe.sample(0.0)
    before, start, count = time.process_time(), time.perf_counter(), 50
    for number in range(count):
        probe.sample(2.0 + 2 * number)
    cpu, wall = (time.process_time() - before) / count, (time.perf_counter() - start) / count
    gpus = len(probe.gpus)
    share = 100 * cpu / 2
    print(
        f"\none sample of {gpus} GPU(s): {cpu * 1e3:.2f} ms CPU, {wall * 1e3:.2f} ms by the clock; {share:.3f} % of a core"
    )
    asked = {reading.read.__name__ for gpu in probe.gpus for reading in gpu.readings}
    for reading in probe.gpus[0].readings:
        each = []
        for number in range(5):
            time.sleep(0.05)  # caches are as cold as between two samples
            before, start = time.thread_time(), time.perf_counter()
            reading.read({}, 1000.0 + number)
            each.append((time.thread_time() - before, time.perf_counter() - start))
        cpu, wall = (sorted(column)[2] for column in zip(*each, strict=True))
        print(f"{reading.read.__name__}, each {reading.every:.0f} s: {cpu * 1e3:.3f} ms CPU, {wall * 1e3:.3f} ms")
    print("fields:", sorted(field for field, _ in probe.gpus[0]._fields))

    assert {"_utilization", "_memory", "_temperature"} <= asked


def test_visible_devices_are_torch_s(probe: Nvidia, torch: Any) -> None:
    """As many of ours as torch sees, by number, by UUID, and none."""
    gpu = probe.facts()["gpus"][0]
    code = """
import os
from tracker.core.capture.nvidia import open_nvidia
from tracker.core.capture.probe import Place
probe = open_nvidia(Place("", dict(os.environ), os.getpid(), "/", print))
own = [gpu["name"] for gpu in probe.facts()["gpus"] if gpu["is_own"] and "instance_of" not in gpu]
import torch
print(own, torch.cuda.device_count())
"""
    for visible, expected in (
        ("0", f"{['gpu.0']} 1"),
        (gpu["uuid"], f"{['gpu.0']} 1"),
        ("", "[] 0"),
        ("NoDevFiles", "[] 0"),
    ):
        environ = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environ, check=True
        )

        assert done.stdout.splitlines()[-1] == expected, visible


def test_a_run_holds_its_gpu(tmp_path: Path, torch: Any, probe: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run of a few seconds: samples, energy in the summary, and the training no slower for it."""
    monkeypatch.delenv("TRACKER_X_DISABLE_STATS", raising=False)
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    name = number_of(torch, probe)
    start = time.perf_counter()
    run = tracker.init(project="gpu", id="r", dir=tmp_path, settings={"silent": True})
    begun = time.perf_counter() - start
    with Load(torch):
        until = time.monotonic() + 6
        while time.monotonic() < until:
            run.log({"loss": 1.0})
            time.sleep(0.05)
    start = time.perf_counter()
    run.finish()
    print(f"\ninit {begun * 1e3:.1f} ms, finish {(time.perf_counter() - start) * 1e3:.1f} ms")

    stored = read_run(tmp_path / "local" / "gpu" / "r")

    assert len(stored.samples) >= 5
    used = [
        row.values[f"system/{name}.utilization"] for row in stored.samples if f"system/{name}.utilization" in row.values
    ]
    print("utilization:", used)
    assert max(used) > 50
    assert any("system/torch.cuda.0.allocated_bytes" in row.values for row in stored.samples)
    assert stored.summary()["system/gpu.energy_kwh"] > 0
