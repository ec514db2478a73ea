"""NVIDIA's GPUs, sampled through the vendor's own module over a driver that is none."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tracker.core.capture.devices import Device, own_devices
from tracker.core.capture.nvidia import Nvidia, is_there, open_nvidia
from tracker.core.capture.probe import Answer, Guard, Place

from .fake_nvml import DEAR, GIB, LOST, FakeDriver, FakeGpu, data_centre_gpu, desktop_gpu, mig_gpu

_FIELDS = "nvmlDeviceGetFieldValues"


def place(said: list[str] | None = None, **environ: str) -> Place:
    """Answer this process, with other environment variables."""
    return Place("", environ, os.getpid(), "/", ([] if said is None else said).append)


def opened(patch: pytest.MonkeyPatch, gpus: list[FakeGpu], **options: Any) -> tuple[FakeDriver, Nvidia]:
    """Answer a driver with these GPUs, and the probe that has opened it."""
    environ = options.pop("environ", {})
    driver = FakeDriver(gpus, **options)
    driver.install(patch)
    probe = open_nvidia(place(**environ))
    assert isinstance(probe, Nvidia)
    return driver, probe


def test_a_gpu_tells_all_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure of one GPU, by name and unit; rates and energy count from the first sample on.

    PCIe takes so long that the first sample is without it.
    """
    gpu = data_centre_gpu(0, processes=[(os.getpid(), 3 * GIB), (1, GIB), (2, None)], ecc=(4, 1), throttle=0x40 | 0x04)
    _, probe = opened(monkeypatch, [gpu])

    first = probe.sample(100.0)
    gpu.millijoules += 3_600_000
    gpu.links_kib = (10_000 + 2048, 20_000 + 4096)
    second = probe.sample(102.0)
    counted = probe.sample(130.0)

    assert first == {
        "gpu.0.utilization": 50,
        "gpu.0.memory_utilization": 20,
        "gpu.0.memory_used_bytes": 10 * GIB,
        "gpu.0.memory_reserved_bytes": GIB // 2,
        "gpu.0.memory_percent": round(100 * 10.5 / 80, 2),
        "gpu.0.processes": 3,
        "gpu.0.process_memory_bytes": 3 * GIB,
        "gpu.0.temperature_celsius": 60,
        "gpu.0.memory_temperature_celsius": 70,
        "gpu.0.power_watts": 350.0,
        "gpu.0.power_percent": 50.0,
        "gpu.0.energy_kwh": 0.0,
        "gpu.energy_kwh": 0.0,
        "gpu.0.sm_clock_mhz": 1980,
        "gpu.0.memory_clock_mhz": 2619,
        "gpu.0.throttle_reasons": 0x44,
        "gpu.0.throttled_by_heat": 1,
        "gpu.0.throttled_by_power": 1,
        "gpu.0.encoder_utilization": 3,
        "gpu.0.decoder_utilization": 3,
        "gpu.0.ecc_corrected_errors": 4,
        "gpu.0.ecc_uncorrected_errors": 1,
    }
    assert second["gpu.0.pcie_sent_bytes_per_second"] == 1_024_000
    assert second["gpu.0.pcie_received_bytes_per_second"] == 2_048_000
    assert second["gpu.0.energy_kwh"] == second["gpu.energy_kwh"] == pytest.approx(350 * 2 / 3.6e6)
    assert counted["gpu.0.energy_kwh"] == counted["gpu.energy_kwh"] == pytest.approx(0.001)
    assert second["gpu.0.nvlink_sent_bytes_per_second"] == 1 << 20
    assert second["gpu.0.nvlink_received_bytes_per_second"] == 2 << 20


def test_what_is_dear_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of eight GPUs, and its end: by the costs of an H100's driver a sample takes 0.8 ms for each of them.

    The energy counter spins for 4 ms, PCIe takes 21 ms by the clock for each of its two counters.
    """
    driver, probe = opened(monkeypatch, [data_centre_gpu(number) for number in range(8)])
    opening = driver.cost_milliseconds()
    for second in range(0, 60, 2):
        probe.sample(float(second))
    cost = driver.cost_milliseconds() - opening
    asked = {name: driver.calls_of(name) for name in (*DEAR, "nvmlDeviceGetTotalEccErrors")}
    probe.sample_last(59.0)
    last = {name: driver.calls_of(name) - asked[name] for name in DEAR}

    assert asked == {
        "nvmlDeviceGetTotalEnergyConsumption": 8 * 2,
        "nvmlDeviceGetPcieThroughput": 8 * 2 * 2,
        "nvmlDeviceGetTotalEccErrors": 8 * 2 * 2,
    }
    assert last == {"nvmlDeviceGetTotalEnergyConsumption": 8, "nvmlDeviceGetPcieThroughput": 0}
    assert driver.calls_of("nvmlDeviceGetUtilizationRates") == 8 * 31
    assert cost / (8 * 30) < 0.85


def test_what_has_fields_is_asked_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power, NVLink, the memory's temperature; a field that a GPU does not have costs the others nothing."""
    gpus = [
        data_centre_gpu(0),
        data_centre_gpu(1, unknown_fields={185}),
        data_centre_gpu(2, unknown_fields={82, 138, 139}),
    ]
    gpus.append(data_centre_gpu(3, unknown_fields={82, 138, 139, 185}))
    driver, probe = opened(monkeypatch, gpus)

    probe.sample(0.0)
    found = probe.sample(2.0)
    calls = {name: [driver.calls[name, gpu.uuid] for gpu in gpus] for name in (_FIELDS, "nvmlDeviceGetPowerUsage")}

    assert calls == {_FIELDS: [2, 2, 2, 1], "nvmlDeviceGetPowerUsage": [0, 2, 0, 2]}
    assert [found[f"gpu.{number}.power_watts"] for number in range(4)] == [350.0] * 4
    assert [found[f"gpu.{number}.energy_kwh"] for number in range(4)] == pytest.approx([350 * 2 / 3.6e6] * 4)
    assert [f"gpu.{number}.memory_temperature_celsius" in found for number in range(4)] == [True, True, False, False]
    assert [f"gpu.{number}.nvlink_sent_bytes_per_second" in found for number in range(4)] == [True, True, False, False]


def test_what_takes_long_is_asked_of_one_gpu_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sample of eight GPUs would wait for a third of a second; and of none in a run's first moment."""
    driver, probe = opened(monkeypatch, [data_centre_gpu(number) for number in range(16)])
    each = []
    for second in range(0, 64, 2):
        before = driver.calls_of("nvmlDeviceGetPcieThroughput")
        probe.sample(float(second))
        each.append((driver.calls_of("nvmlDeviceGetPcieThroughput") - before) // 2)

    assert each[0] == 0
    assert max(each) <= 2
    assert sum(each) == 16 * 2 + 2  # the first one's third time, and that of the one that shares its turn


def test_what_is_not_supported_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without a sensor, and a driver without a function, leave their figures out, and are not asked again."""
    missing = {
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetDecoderUtilization",
    }
    driver, probe = opened(monkeypatch, [desktop_gpu(0), data_centre_gpu(1)], missing=missing)

    samples = [probe.sample(30.0 * number) for number in range(5)]

    assert driver.calls_of("nvmlDeviceGetTotalEccErrors") == 2 + 2 * 5  # the RTX once each, the H100 each time
    assert driver.calls_of("nvmlDeviceGetFanSpeed") == 5 + 1  # the other way round
    assert "gpu.0.ecc_corrected_errors" not in samples[-1]
    assert "gpu.1.fan_percent" not in samples[-1]
    assert samples[-1]["gpu.0.fan_percent"] == 40
    # The older ways of asking are taken where the newer ones are not there, and the other way round.
    assert samples[-1]["gpu.1.memory_used_bytes"] == 10 * GIB + GIB // 2
    assert "gpu.1.memory_reserved_bytes" not in samples[-1]
    assert samples[-1]["gpu.1.throttle_reasons"] == 0
    assert "gpu.1.decoder_utilization" not in samples[-1]
    assert samples[-1]["gpu.1.encoder_utilization"] == 3


def test_a_passing_failure_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown error now and then costs a figure; the same one five times in a row is given up."""
    gpu = data_centre_gpu(0)
    driver, probe = opened(monkeypatch, [gpu])
    probe.sample(0.0)

    gpu.error = 999
    lean = [probe.sample(float(second)) for second in range(2, 10, 2)]
    gpu.error = 0
    whole = probe.sample(10.0)
    gpu.error = 999
    for second in range(12, 24, 2):
        probe.sample(float(second))
    before = driver.calls_of("nvmlDeviceGetUtilizationRates")
    probe.sample(24.0)

    assert all("gpu.0.utilization" not in sample for sample in lean)
    assert whole["gpu.0.utilization"] == 50
    assert driver.calls_of("nvmlDeviceGetUtilizationRates") == before


def test_a_gpu_off_the_bus_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, and the lost one is not asked again."""
    gpus = [data_centre_gpu(number) for number in range(3)]
    driver, probe = opened(monkeypatch, gpus)
    probe.sample(0.0)

    gpus[1].error = LOST
    found = probe.sample(2.0)
    calls = sum(count for (_, uuid), count in driver.calls.items() if uuid == gpus[1].uuid)
    later = probe.sample(4.0)

    assert found["gpu.1.lost"] == 1
    assert "gpu.1.utilization" not in found
    assert (found["gpu.0.utilization"], found["gpu.2.utilization"]) == (50, 50)
    assert not any(key.startswith("gpu.1.") for key in later)
    assert sum(count for (_, uuid), count in driver.calls.items() if uuid == gpus[1].uuid) == calls


def test_without_a_counter_energy_is_the_sum_of_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs before Volta count no energy."""
    gpu = data_centre_gpu(0, milliwatts=360_000)
    gpu.unsupported.add("nvmlDeviceGetTotalEnergyConsumption")
    _, probe = opened(monkeypatch, [gpu])

    for second in range(0, 12, 2):
        found = probe.sample(float(second))

    assert found["gpu.0.energy_kwh"] == pytest.approx(360 * 10 / 3.6e6)


def test_between_its_counter_s_readings_energy_is_power_times_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart rises at each sample and never goes back; the run's own figure is the counter's whenever it is read."""
    gpu = data_centre_gpu(0, milliwatts=360_000)
    _, probe = opened(monkeypatch, [gpu])
    shown, known = [], []
    for second in range(0, 122, 2):
        found = probe.sample(float(second))
        shown.append(found["gpu.0.energy_kwh"])
        known.append(probe.energy_kwh)
        gpu.millijoules += 300_000 * 2  # power tells too much, by a fifth

    assert shown[:15] == known[:15] == pytest.approx([360 * second / 3.6e6 for second in range(0, 30, 2)])
    assert [known[place] for place in (15, 30, 45, 60)] == pytest.approx(
        [300 * second / 3.6e6 for second in (30, 60, 90, 120)]
    )
    steps = [later - earlier for earlier, later in pairwise(shown)]
    assert min(step for place, step in enumerate(steps) if place % 15 != 14) > 200 * 2 / 3.6e6
    assert min(steps) >= 0
    assert max(steps) <= 360 * 2 / 3.6e6 * 1.001
    assert shown[-1] == pytest.approx(300 * 120 / 3.6e6, rel=0.06)
    assert (found["gpu.energy_kwh"], probe.energy_kwh) == (shown[-1], pytest.approx(300 * 120 / 3.6e6))


def test_where_power_tells_too_little_the_counter_makes_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is read; a peak between two samples, say."""
    gpu = data_centre_gpu(0, milliwatts=100_000)
    _, probe = opened(monkeypatch, [gpu])
    shown = []
    for second in range(0, 34, 2):
        shown.append(probe.sample(float(second))["gpu.0.energy_kwh"] * 3.6e6)
        gpu.millijoules += 300_000 * 2

    assert shown[13:] == pytest.approx([100 * 26, 100 * 28, 300 * 30, 300 * 30 + 100 * 2])


def test_at_the_end_of_a_run_its_energy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of its own GPUs, whenever it was counted before; nothing is asked that takes long."""
    gpus = [data_centre_gpu(0), data_centre_gpu(1)]
    driver, probe = opened(monkeypatch, gpus, environ={"CUDA_VISIBLE_DEVICES": "1"})
    probe.sample(0.0)
    for gpu in gpus:
        gpu.millijoules += 3_600_000_000
    before = Counter(driver.calls)

    found = probe.sample_last(10.0)

    asked = {(name, uuid): count - before[name, uuid] for (name, uuid), count in driver.calls.items() if name in DEAR}
    assert probe.energy_kwh == found["gpu.energy_kwh"] == pytest.approx(1.0)
    assert asked.get(("nvmlDeviceGetPcieThroughput", gpus[1].uuid), 0) == 0
    assert asked["nvmlDeviceGetTotalEnergyConsumption", gpus[1].uuid] == 1


def test_a_driver_that_is_loaded_anew_takes_no_energy_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counter begins at zero then; the run's does not."""
    gpu = data_centre_gpu(0, milliwatts=0)
    _, probe = opened(monkeypatch, [gpu])
    probe.sample(0.0)
    gpu.millijoules += 3_600_000
    probe.sample(30.0)

    gpu.millijoules = 100
    again = probe.sample(60.0)
    gpu.millijoules += 3_600_000
    last = probe.sample(90.0)

    assert again["gpu.0.energy_kwh"] == pytest.approx(0.001)
    assert last["gpu.0.energy_kwh"] == pytest.approx(0.002)


def test_mig_instances_are_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has memory of its own; places without an instance are passed over."""
    _, probe = opened(monkeypatch, [mig_gpu(0), data_centre_gpu(1)])

    found = probe.sample(0.0)
    gpus = {gpu["name"]: gpu for gpu in probe.facts()["gpus"]}

    assert list(gpus) == ["gpu.0", "gpu.0.mig.0", "gpu.0.mig.2", "gpu.0.mig.3", "gpu.1"]
    assert [found[f"gpu.0.mig.{place}.memory_used_bytes"] for place in (0, 2, 3)] == [GIB, 2 * GIB, 3 * GIB]
    assert "gpu.0.mig.0.power_watts" not in found
    assert gpus["gpu.0.mig.2"]["instance_of"] == gpus["gpu.0"]["uuid"]
    assert gpus["gpu.0.mig.2"]["memory_bytes"] == 10 * GIB
    assert found["gpu.0.power_watts"] == 350.0


def test_the_facts_name_driver_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not change is told once, beside the samples."""
    _, probe = opened(monkeypatch, [data_centre_gpu(0), data_centre_gpu(1)], environ={"CUDA_VISIBLE_DEVICES": "1"})

    facts = probe.facts()

    assert facts["gpu_driver"] == "550.54.15"
    assert facts["cuda_driver"] == "12.4"
    assert facts["gpus"][1] == {
        "name": "gpu.1",
        "model": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-00000001-1111-2222-3333-444444444444",
        "memory_bytes": 80 * GIB,
        "power_limit_watts": 700.0,
        "is_own": True,
        "is_chosen": True,
        "cuda_index": 0,
    }
    assert facts["gpus"][0]["is_own"] is False


def test_the_energy_of_a_run_is_that_of_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others use on the same machine is charted, and not added up."""
    gpus = [data_centre_gpu(number, milliwatts=0) for number in range(2)]
    _, probe = opened(monkeypatch, gpus, environ={"CUDA_VISIBLE_DEVICES": "1"})
    probe.sample(0.0)
    for gpu in gpus:
        gpu.millijoules += 3_600_000

    found = probe.sample(30.0)

    assert found["gpu.0.energy_kwh"] == found["gpu.1.energy_kwh"] == pytest.approx(0.001)
    assert found["gpu.energy_kwh"] == pytest.approx(0.001)


def test_ranks_that_see_one_gpu_each_have_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them samples for the others, too."""
    environ = {"CUDA_VISIBLE_DEVICES": "0", "LOCAL_WORLD_SIZE": "2"}
    _, probe = opened(monkeypatch, [data_centre_gpu(0), data_centre_gpu(1)], environ=environ)

    assert [gpu["is_own"] for gpu in probe.facts()["gpus"]] == [True, True]


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", "NoDevFiles", "2", "none", "0,0"])
@pytest.mark.parametrize("launched", [{}, {"LOCAL_WORLD_SIZE": "2"}])
def test_a_process_without_gpus_has_none(
    monkeypatch: pytest.MonkeyPatch, visible: str, launched: dict[str, str]
) -> None:
    """Nor its energy: they are charted, and somebody else's. Slurm says `NoDevFiles` to a step without GPUs."""
    environ = {"CUDA_VISIBLE_DEVICES": visible, **launched}
    _, probe = opened(monkeypatch, [data_centre_gpu(0), data_centre_gpu(1)], environ=environ)

    found = probe.sample(0.0)
    gpus = probe.facts()["gpus"]

    assert [(gpu["is_own"], gpu["is_chosen"], "cuda_index" in gpu) for gpu in gpus] == [(False, False, False)] * 2
    assert found["gpu.1.utilization"] == 50
    assert "gpu.energy_kwh" not in found


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, {"gpu.0", "gpu.1", "gpu.1.mig.0", "gpu.1.mig.1"}),
        ("", set()),
        ("-1", set()),
        ("NoDevFiles", set()),
        ("-1,0", set()),
        ("0,-1,1", {"gpu.0"}),
        ("0,,1", {"gpu.0"}),
        ("0,1,0", set()),
        ("\u00b2", set()),
        ("0", {"gpu.0"}),
        ("1", {"gpu.1", "gpu.1.mig.0", "gpu.1.mig.1"}),
        ("0,7,1", {"gpu.0"}),
        (" 0 , 1", {"gpu.0", "gpu.1", "gpu.1.mig.0", "gpu.1.mig.1"}),
        ("GPU-aaaa", {"gpu.0"}),
        ("GPU-aaaa1111-2222", {"gpu.0"}),
        ("GPU-", set()),
        ("MIG-cccc", {"gpu.1.mig.0"}),
        ("MIG-GPU-bbbb3333-4444/7/0", {"gpu.1.mig.0"}),
        ("MIG-GPU-bbbb3333-4444/8/0", {"gpu.1.mig.1"}),
        ("MIG-GPU-bbbb3333-4444/9/0", set()),
        ("MIG-GPU-bbbb3333-4444/x", set()),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str | None, expected: set[str]) -> None:
    """By number, by the beginning of a UUID, by both names of a MIG instance; what is behind a wrong one is not seen."""
    devices = [
        Device("gpu.0", 0, "GPU-aaaa1111-2222"),
        Device("gpu.1", 1, "GPU-bbbb3333-4444"),
        Device("gpu.1.mig.0", 1, "MIG-cccc", "GPU-bbbb3333-4444", (7, 0)),
        Device("gpu.1.mig.1", 1, "MIG-dddd", "GPU-bbbb3333-4444", (8, 0)),
    ]
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert own_devices(environ, devices).keys() == expected


def test_cuda_numbers_what_it_shows() -> None:
    """In the order of the variable: with "3,1" torch's `cuda:0` is `gpu.3`."""
    devices = [Device(f"gpu.{number}", number, f"GPU-{number}") for number in range(4)]
    devices.append(Device("gpu.3.mig.0", 3, "MIG-x", "GPU-3", (1, 0)))

    assert own_devices({"CUDA_VISIBLE_DEVICES": "3,1"}, devices) == {"gpu.3": 0, "gpu.1": 1, "gpu.3.mig.0": None}
    assert own_devices({"CUDA_VISIBLE_DEVICES": "MIG-x"}, devices) == {"gpu.3.mig.0": 0}
    assert own_devices({}, devices[:2]) == {"gpu.0": 0, "gpu.1": 1}


@pytest.mark.parametrize("code", [9, 12])
def test_no_driver_is_no_news(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A machine whose driver is not loaded is one without GPUs."""
    said: list[str] = []
    FakeDriver([data_centre_gpu(0)], error_at_start=code).install(monkeypatch)

    assert open_nvidia(place(said)) is None
    assert said == []


def test_a_driver_that_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Driver and library of different versions, say: then the user wonders where the GPUs are."""
    said: list[str] = []
    FakeDriver([data_centre_gpu(0)], error_at_start=18).install(monkeypatch)

    assert open_nvidia(place(said)) is None
    (sentence,) = said
    assert "the NVIDIA driver does not answer" in sentence


def test_a_gpu_that_cannot_be_opened_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is off the bus already, say."""
    said: list[str] = []
    gpus = [data_centre_gpu(0), data_centre_gpu(1)]
    gpus[0].error = LOST
    FakeDriver(gpus).install(monkeypatch)
    probe = open_nvidia(place(said))
    assert probe is not None

    found = probe.sample(0.0)

    assert found["gpu.1.utilization"] == 50
    assert len(said) == 1
    assert said[0].startswith("gpu.0 cannot be opened")


def test_nvml_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it was opened: a driver without GPUs at once, another at the end."""
    driver, probe = opened(monkeypatch, [data_centre_gpu(0)])
    probe.close()
    empty = FakeDriver([])
    empty.install(monkeypatch)

    assert open_nvidia(place()) is None
    assert (driver.open, empty.open) == (0, 0)


def test_the_library_is_not_loaded_without_a_driver(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files tell whether there is one."""
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    bare = Place(str(tmp_path), {}, os.getpid(), "/", print)
    before = is_there(bare)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()

    assert (before, is_there(bare)) == (False, True)


def test_a_call_that_hangs_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks goes on without an answer; it is said once; when the driver wakes up, it is sampled again."""
    driver = FakeDriver([data_centre_gpu(0)])
    driver.install(monkeypatch)
    said: list[str] = []
    guard = Guard("the NVIDIA driver", lambda: open_nvidia(place(said)), lambda: 1, said.append)
    guard.start()
    guard.ask(0.0)
    first = guard.answer(30.0)
    driver.hanging.add(_FIELDS)
    guard.ask(2.0)
    assert driver.hung.wait(30)

    unanswered = [guard.answer(0.0)]
    for second in range(4, 60, 2):
        guard.ask(float(second))
        unanswered.append(guard.answer(0.0))
    driver.hanging.clear()
    driver.released.set()
    late = None
    until = time.monotonic() + 30
    while late is None and time.monotonic() < until:  # it is known to hang by now, and is not waited for
        late = guard.answer(30.0)
    guard.ask(62.0)
    again = guard.answer(30.0)
    guard.close()
    guard._thread.join(30)

    assert isinstance(first, Answer)
    assert first.facts["gpu_driver"] == "550.54.15"
    assert unanswered == [None] * 29
    assert late is not None
    assert len(said) == 1
    assert said[0].startswith("the NVIDIA driver has not answered for 1")
    assert late.values["gpu.0.utilization"] == 50
    assert again is not None
    assert again.values["gpu.0.power_watts"] == 350.0
    assert driver.open == 0


def test_a_probe_that_breaks_is_given_up() -> None:
    """Its error is said, once, and it is not asked again."""
    said: list[str] = []

    def broken() -> None:
        raise RuntimeError("no such luck")

    guard = Guard("the TPU", broken, lambda: 1, said.append)
    guard.start()
    guard.ask(0.0)
    answer = guard.answer(30.0)
    guard.ask(2.0)

    assert answer is None
    assert guard.is_over
    assert said == ["the TPU is not sampled any more (RuntimeError: no such luck)."]
    assert guard._thread not in threading.enumerate() or not guard._thread.join(30)
