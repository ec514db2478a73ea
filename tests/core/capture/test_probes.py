"""The other probes, each on files or output as its vendor documents them: none of these devices was at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tracker.core.capture import amd, apple, intel, torch_memory, tpu
from tracker.core.capture.probe import Due, File, Place


def place(root: Path | str = "") -> Place:
    """Answer a place to look at."""
    return Place(str(root), {}, os.getpid(), "/", print)


def write(root: Path, files: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_amd_gpu_is_read_from_its_driver_s_files(tmp_path: Path) -> None:
    """Numbers and units of the kernel's amdgpu; outputs of cards, and cards of others, are passed over."""
    device = "sys/class/drm/card1/device"
    write(
        tmp_path,
        {
            "sys/class/drm/card0/device/vendor": "0x8086\n",
            "sys/class/drm/card1-HDMI-A-1/device/vendor": "0x1002\n",
            f"{device}/vendor": "0x1002\n",
            f"{device}/device": "0x74a1\n",
            f"{device}/product_name": "AMD Instinct MI300X\n",
            f"{device}/unique_id": "abc\n",
            f"{device}/gpu_busy_percent": "87\n",
            f"{device}/mem_busy_percent": "12\n",
            f"{device}/mem_info_vram_used": f"{48 << 30}\n",
            f"{device}/mem_info_vram_total": f"{192 << 30}\n",
            f"{device}/hwmon/hwmon3/temp1_input": "65000\n",
            f"{device}/hwmon/hwmon3/power1_average": "550000000\n",
            f"{device}/hwmon/hwmon3/freq1_input": "2100000000\n",
            f"{device}/hwmon/hwmon3/energy1_input": "1000\n",
        },
    )
    probe = amd.open_amd(place(tmp_path))
    assert probe is not None

    probe.sample(0.0)
    write(tmp_path, {f"{device}/hwmon/hwmon3/energy1_input": f"{1000 + 3_600_000_000}\n"})
    found = probe.sample(2.0)
    facts = probe.facts()
    probe.close()

    assert found == {
        "gpu.0.utilization": 87.0,
        "gpu.0.memory_utilization": 12.0,
        "gpu.0.temperature_celsius": 65.0,
        "gpu.0.power_watts": 550.0,
        "gpu.0.sm_clock_mhz": 2100.0,
        "gpu.0.energy_kwh": 0.001,
        "gpu.0.memory_used_bytes": float(48 << 30),
        "gpu.0.memory_percent": 25.0,
    }
    assert facts["gpus"] == [
        {"name": "gpu.0", "model": "AMD Instinct MI300X", "uuid": "abc", "memory_bytes": 192 << 30}
    ]


def test_an_intel_gpu_is_read_from_its_driver_s_files(tmp_path: Path) -> None:
    """Power is what its counter of energy gains; the graphics of a processor have no such counter."""
    device = "sys/class/drm/card1/device"
    write(
        tmp_path,
        {
            "sys/class/drm/card0/device/vendor": "0x8086\n",
            f"{device}/vendor": "0x8086\n",
            f"{device}/device": "0x0bd5\n",
            f"{device}/hwmon/hwmon2/energy1_input": "5000000\n",
            f"{device}/tile0/gt0/freq0/act_freq": "1550\n",
        },
    )
    probe = intel.open_intel(place(tmp_path))
    assert probe is not None

    first = probe.sample(0.0)
    write(tmp_path, {f"{device}/hwmon/hwmon2/energy1_input": f"{5_000_000 + 600_000_000}\n"})
    second = probe.sample(2.0)
    probe.close()

    assert first == {"gpu.0.energy_kwh": 0.0, "gpu.0.sm_clock_mhz": 1550.0}
    assert second["gpu.0.power_watts"] == 300.0
    assert second["gpu.0.energy_kwh"] == pytest.approx(600 / 3.6e6)
    assert probe.facts()["gpus"] == [{"name": "gpu.0", "model": "Intel 0x0bd5"}]


def test_what_is_not_there_makes_no_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without any of these devices nothing is opened, and nothing said."""
    monkeypatch.delitem(sys.modules, "libtpu", raising=False)
    assert amd.open_amd(place(tmp_path)) is None
    assert intel.open_intel(place(tmp_path)) is None
    assert not tpu.is_there(place())
    assert apple.is_there(place()) == (sys.platform == "darwin" and os.uname().machine == "arm64")


def test_apple_s_registry_is_read() -> None:
    """What `ioreg` prints of the accelerator, in part."""
    text = """
+-o AGXAcceleratorG13X  <class AGXAcceleratorG13X, id 0x1000003f2, registered>
    {
      "model" = "Apple M1 Max"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=9663676416,"Tiler Utilization %"=31,"Renderer Utilization %"=40,"Device Utilization %"=42,"In use system memory"=1073741824}
    }
"""
    assert apple.read_registry(text) == {
        "gpu.0.utilization": 42,
        "gpu.0.memory_used_bytes": 1 << 30,
        "gpu.0.memory_allocated_bytes": 9 << 30,
    }
    assert apple.read_registry("") == {}


def test_tpus_are_asked_through_what_a_framework_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure is a list of texts, one for each chip; what a version does not know is left out."""

    def get_metric(name: str) -> Any:
        known = {
            "duty_cycle_pct": ["10.5", "0.0"],
            "hbm_capacity_usage": ["1000", "2000"],
            "hbm_capacity_total": ["4000", "4000"],
        }
        return SimpleNamespace(data=lambda: known[name])

    package, sdk = ModuleType("libtpu"), ModuleType("libtpu.sdk")
    sdk.tpumonitoring = SimpleNamespace(get_metric=get_metric)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "libtpu", package)
    monkeypatch.setitem(sys.modules, "libtpu.sdk", sdk)
    assert tpu.is_there(place())
    probe = tpu.open_tpu(place())
    assert probe is not None

    found = probe.sample(0.0)

    assert found == {
        "tpu.0.utilization": 10.5,
        "tpu.1.utilization": 0.0,
        "tpu.0.memory_used_bytes": 1000.0,
        "tpu.1.memory_used_bytes": 2000.0,
        "tpu.0.memory_total_bytes": 4000.0,
        "tpu.1.memory_total_bytes": 4000.0,
        "tpu.0.memory_percent": 25.0,
        "tpu.1.memory_percent": 50.0,
    }
    assert probe.sample(2.0) == {}
    del sdk.tpumonitoring
    assert tpu.open_tpu(place()) is None


def test_torch_is_not_loaded_nor_begun_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, while it is being imported, and before a program uses a GPU, there is nothing to tell."""
    probe = torch_memory.open_torch(place())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert probe.sample(0.0) == {}
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert probe.sample(0.0) == {}


def test_the_allocator_of_real_torch_on_a_cpu_has_nothing_to_tell() -> None:
    """And asking does not begin CUDA."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: see test_nvidia_real.py")

    assert torch_memory.open_torch(place()).sample(0.0) == {}
    assert not torch.cuda.is_initialized()


def test_the_allocator_s_figures_have_names_and_units() -> None:
    """Of the statistics that torch documents; a device that this process has not used is left out."""
    found: dict[str, float] = {}
    stats = {
        "allocated_bytes.all.current": 60,
        "allocated_bytes.all.peak": 80,
        "reserved_bytes.all.current": 100,
        "reserved_bytes.all.peak": 100,
        "inactive_split_bytes.all.current": 25,
        "num_alloc_retries": 2,
        "num_ooms": 0,
    }
    torch_memory._note(found, "torch.cuda.0.", stats)
    torch_memory._note(found, "torch.cuda.1.", dict.fromkeys(stats, 0))

    assert found == {
        "torch.cuda.0.allocated_bytes": 60,
        "torch.cuda.0.reserved_bytes": 100,
        "torch.cuda.0.peak_allocated_bytes": 80,
        "torch.cuda.0.fragmentation_percent": 25.0,
        "torch.cuda.0.allocation_retries": 2,
    }


def test_a_file_that_goes_is_not_tried_again(tmp_path: Path) -> None:
    """A device that was removed costs nothing from then on."""
    path = tmp_path / "x"
    path.write_text("7\n")
    file, missing = File(str(path)), File(str(tmp_path / "y"))

    first = file.number()
    path.write_text("8\n")

    assert (first, file.number()) == (7.0, 8.0)
    assert (missing.read(), missing.is_there, missing.number()) == (b"", False, None)
    file.close()


def test_what_is_due_is_due_now_and_then() -> None:
    """The first time at once; a sample that comes a moment early is the one."""
    due = Due(10.0)

    assert [due(now) for now in (5.0, 6.0, 14.9, 15.0, 24.9995, 30.0, 36.0)] == [
        True,
        False,
        False,
        True,
        True,
        False,
        True,
    ]
