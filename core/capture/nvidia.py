"""NVIDIA's GPUs and their MIG instances, through NVML (`nvidia-ml-py`, module `pynvml`).

What a GPU, a driver or a container does not offer is asked once and never again. A GPU that has fallen off the bus is
told once (`gpu.3.lost`), the others go on.

Every call costs about 0.1 ms of processor time, whatever it asks for; some cost more (`docs/capture.md` has the figures).
So what has fields is asked together, what changes slowly is asked now and then, and what is dear seldom.

Source of codes, bits and units: NVIDIA, NVML API Reference Guide.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from ..limits import SAMPLE_INTERVAL_SECONDS, SELDOM_SAMPLE_SECONDS, SLOW_SAMPLE_SECONDS
from .devices import Device, is_chosen, own_devices
from .energy import Energy
from .host import process_tree
from .nodes import local_size
from .probe import Place, Probe, Rates, Values

_UNINITIALIZED = 1
_LOST = (15, 16)  # fallen off the bus; needs a reset
# Not supported, no permission, not found, unknown to this driver, another version of a struct, deprecated.
_NEVER = (2, 3, 4, 6, 13, 25, 26, 28)
_MOST_FAILURES = 5  # in a row, of any other kind
_THERMAL_BITS = 0x20 | 0x40  # slowed down by software and by hardware, for heat
_POWER_BITS = 0x04 | 0x80  # the power cap, and the power brake
_ALL_LINKS = 0xFFFFFFFF  # scope of an NVLink field: the sum over the links
_MEMORY_TEMPERATURE, _LINKS_SENT, _LINKS_RECEIVED = (82, 0), (138, _ALL_LINKS), (139, _ALL_LINKS)  # fields and scopes
_POWER_AVERAGE = (185, 0)  # over a second, as `nvmlDeviceGetPowerUsage` has it since Ampere; of the GPU, not its module
_SIGNS = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/dxg",  # WSL
)


def open_nvidia(place: Place) -> Probe | None:
    """Open NVML; None where no driver works, or has no device."""
    nvml: Any = import_module("pynvml")  # only where there is a driver: 15 ms
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        # No driver loaded, or no library, is how a machine without GPUs looks. All else is worth a word.
        if error.value not in (9, 12):
            place.say(f"the NVIDIA driver does not answer ({error}); its GPUs are not sampled.")
        return None
    probe = Nvidia(nvml, place)
    if not probe.gpus:
        probe.close()
        return None
    return probe


def is_there(place: Place) -> bool:
    """Answer whether there is an NVIDIA driver, without loading anything."""
    root = place.root
    known = sys.modules.get("pynvml")
    if known is not None and getattr(known, "nvmlLib", None) is not None:  # somebody in this process has found one
        return True
    if sys.platform == "win32":
        return os.path.isfile(os.path.join(os.environ.get("WINDIR", r"C:\Windows"), "System32", "nvml.dll"))
    if any(os.path.exists(root + sign) for sign in _SIGNS):
        return True
    return bool(glob.glob(f"{root}/dev/nvidia[0-9]*"))


class _Reading:
    """One question to one device.

    Args:
        read: Asks, and notes what is answered.
        every: Seconds from one time to the next; 0 for each sample.
        due: When it is first asked.
    """

    __slots__ = ("due", "every", "failures", "read")

    def __init__(self, read: Callable[[Values, float], None], every: float = 0.0, due: float = float("-inf")) -> None:
        self.read = read
        self.every = every
        self.due = due
        self.failures = 0


class Nvidia:
    """All NVIDIA devices of the machine.

    Args:
        nvml: The module `pynvml`, initialised.
        place: Whose process it is.
    """

    def __init__(self, nvml: Any, place: Place) -> None:
        self._nvml = nvml
        self._place = place
        self.gpus: list[_Gpu] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                gpu = _Gpu(self, nvml.nvmlDeviceGetHandleByIndex(index), f"gpu.{index}", index)
            except nvml.NVMLError as error:
                place.say(f"gpu.{index} cannot be opened ({error}); the others are sampled.")
                continue
            self.gpus.append(gpu)
            self.gpus.extend(gpu.instances())
        own = own_devices(place.environ, [gpu.device for gpu in self.gpus])
        # With more ranks than GPUs to see each rank sees its own, and together they have all; a rank that sees none has none.
        has_more_ranks = bool(own) and local_size(place.environ) > len(own)
        for gpu in self.gpus:
            gpu.is_own = has_more_ranks or gpu.device.name in own
            gpu.cuda_index = own.get(gpu.device.name)
        self._is_first = True
        self._own_pids: set[int] = {place.pid}
        self._pids_due = float("-inf")

    @property
    def energy_kwh(self) -> float | None:
        """The energy of the run's devices since it began."""
        known = [kwh for gpu in self.gpus if gpu.is_own and (kwh := gpu.energy.kwh) is not None]
        return sum(known) if known else None

    def sample(self, now: float) -> Values:
        """Answer what all devices tell now."""
        return self._sample(now)

    def sample_last(self, now: float) -> Values:
        """Answer the same at the end of the run: its energy is counted, and nothing is asked that makes it wait."""
        for gpu in self.gpus:
            gpu.hurry()
        return self._sample(now)

    def _sample(self, now: float) -> Values:
        found: Values = {}
        if self._is_first:
            self._is_first = False
            for gpu in self.gpus:
                gpu.stagger(now)
        if now >= self._pids_due:
            self._pids_due = now + SLOW_SAMPLE_SECONDS
            self._own_pids = process_tree(f"{self._place.root}/proc", self._place.pid)
        for gpu in self.gpus:
            if not gpu.is_lost:
                self._sample_one(gpu, found, now)
        energy = [kwh for gpu in self.gpus if gpu.is_own and (kwh := gpu.energy.shown_kwh(now)) is not None]
        if energy:
            found["gpu.energy_kwh"] = sum(energy)
        return found

    def facts(self) -> dict[str, Any]:
        """Answer the devices, which of them are this process's, and the versions of driver and CUDA."""
        nvml = self._nvml
        facts: dict[str, Any] = {"gpus": [gpu.facts() for gpu in self.gpus]}
        if (driver := self._try(nvml.nvmlSystemGetDriverVersion)) is not None:
            facts["gpu_driver"] = driver
        if cuda := self._try(nvml.nvmlSystemGetCudaDriverVersion_v2):
            facts["cuda_driver"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        return facts

    def close(self) -> None:
        """Let NVML go."""
        self._try(self._nvml.nvmlShutdown)

    def own_pids(self) -> set[int]:
        """Answer the process and its children, as of lately."""
        return self._own_pids

    def _try(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None

    def _sample_one(self, gpu: _Gpu, found: Values, now: float) -> None:
        failed: list[_Reading] | None = None
        for reading in gpu.readings:
            if now < reading.due:
                continue
            reading.due = now + reading.every - 0.001
            try:
                reading.read(found, now)
                reading.failures = 0
            except (self._nvml.NVMLError, AttributeError, TypeError) as error:  # the last two: an older pynvml
                code = getattr(error, "value", 3)
                if code in _LOST:
                    gpu.is_lost = True
                    found[f"{gpu.device.name}.lost"] = 1
                    return
                if code == _UNINITIALIZED:  # somebody in this process has shut NVML down once too often
                    self._try(self._nvml.nvmlInit)
                reading.failures += 1
                if code in _NEVER or reading.failures >= _MOST_FAILURES:
                    failed = [*(failed or ()), reading]
        if failed:
            gpu.readings = [reading for reading in gpu.readings if reading not in failed]
        energy = gpu.energy.shown_kwh(now)
        if energy is not None:
            found[f"{gpu.device.name}.energy_kwh"] = energy


class _Gpu:
    """One GPU, or one instance of it, and what is asked of it.

    Args:
        owner: All of them.
        handle: NVML's.
        name: What its samples are called.
        index: NVML's number of the GPU.
        parent: UUID of the GPU it is an instance of.
    """

    def __init__(self, owner: Nvidia, handle: Any, name: str, index: int, parent: str = "") -> None:
        nvml = owner._nvml
        self.owner, self.handle = owner, handle
        self.is_own = self.is_lost = False
        self.cuda_index: int | None = None
        self.energy = Energy()
        self._rates = Rates()
        self._tells_reserved = True
        uuid = str(nvml.nvmlDeviceGetUUID(handle))
        instances = None
        if parent:
            numbers = (
                owner._try(nvml.nvmlDeviceGetGpuInstanceId, handle),
                owner._try(nvml.nvmlDeviceGetComputeInstanceId, handle),
            )
            instances = (int(numbers[0]), int(numbers[1])) if None not in numbers else None
        self.device = Device(name, index, uuid, parent, instances)
        self._limit_watts = (owner._try(nvml.nvmlDeviceGetEnforcedPowerLimit, handle) or 0) / 1000
        n = f"{name}."
        self._n = n
        seldom, slow = SELDOM_SAMPLE_SECONDS, SLOW_SAMPLE_SECONDS
        self._fields: dict[tuple[int, int], Callable[[float, Values, float], None]] = {
            _POWER_AVERAGE: self._see_power,
            _LINKS_SENT: partial(self._see_links, "sent"),
            _LINKS_RECEIVED: partial(self._see_links, "received"),
            _MEMORY_TEMPERATURE: self._see_memory_temperature,
        }
        self._counter = _Reading(self._energy, seldom)
        self._long = _Reading(self._pcie, seldom)
        self.readings = [
            _Reading(self._utilization),
            _Reading(self._memory),
            _Reading(self._processes, slow),
        ]
        if parent:  # an instance has memory and processes of its own; all else is the GPU's
            return
        self.readings += [
            _Reading(self._many),
            _Reading(self._temperature, slow),
            _Reading(self._sm_clock, slow),
            _Reading(self._memory_clock, slow),
            _Reading(self._throttling, slow),
            _Reading(self._fan, slow),
            _Reading(self._encoder, seldom),
            _Reading(self._decoder, seldom),
            _Reading(self._corrected, seldom),
            _Reading(self._uncorrected, seldom),
            self._counter,
            self._long,
        ]

    def instances(self) -> list[_Gpu]:
        """Answer its MIG instances, where there are any."""
        nvml = self.owner._nvml
        mode = self.owner._try(nvml.nvmlDeviceGetMigMode, self.handle)
        if not mode or not mode[0]:
            return []
        found = []
        for place in range(self.owner._try(nvml.nvmlDeviceGetMaxMigDeviceCount, self.handle) or 0):
            handle = self.owner._try(nvml.nvmlDeviceGetMigDeviceHandleByIndex, self.handle, place)
            if handle is not None:  # else nobody has made an instance there
                name = f"{self.device.name}.mig.{place}"
                found.append(_Gpu(self.owner, handle, name, self.device.number, self.device.uuid))
        return found

    def stagger(self, now: float) -> None:
        """Have the one question that takes long asked of one GPU after the other: eight at once take a third of a second.

        Not of the first one at once, either: a run that is over in a moment would have to wait for it.
        """
        places = int(SELDOM_SAMPLE_SECONDS / SAMPLE_INTERVAL_SECONDS)
        self._long.due = now + SAMPLE_INTERVAL_SECONDS * (1 + self.device.number % places)

    def hurry(self) -> None:
        """Have the energy of the run counted once more, and nothing asked that takes long: the run ends."""
        self._long.due = float("inf")
        if self.is_own:
            self._counter.due = float("-inf")

    def facts(self) -> dict[str, Any]:
        """Answer what it is."""
        nvml, ask = self.owner._nvml, self.owner._try
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, self.handle)
        facts: dict[str, Any] = {
            "name": self.device.name,
            "model": ask(nvml.nvmlDeviceGetName, self.handle),
            "uuid": self.device.uuid,
            "memory_bytes": None if memory is None else int(memory.total),
            "power_limit_watts": self._limit_watts or None,
            "is_own": self.is_own,
            "is_chosen": self.is_own and is_chosen(self.owner._place.environ),
            "cuda_index": self.cuda_index,
            "instance_of": self.device.parent or None,
        }
        return {key: value for key, value in facts.items() if value is not None}

    # --- what is asked ---------------------------------------------------------------------

    def _utilization(self, found: Values, _now: float) -> None:
        rates = self.owner._nvml.nvmlDeviceGetUtilizationRates(self.handle)
        found[self._n + "utilization"] = rates.gpu
        found[self._n + "memory_utilization"] = rates.memory

    def _memory(self, found: Values, _now: float) -> None:
        nvml = self.owner._nvml
        if self._tells_reserved:
            try:
                info = nvml.nvmlDeviceGetMemoryInfo(self.handle, version=nvml.nvmlMemory_v2)
                found[self._n + "memory_reserved_bytes"] = info.reserved  # by the driver; not in `used`
            except (nvml.NVMLError, AttributeError, TypeError) as error:
                if getattr(error, "value", 13) not in _NEVER:
                    raise
                self._tells_reserved = False  # a driver before R510
        if not self._tells_reserved:
            info = nvml.nvmlDeviceGetMemoryInfo(self.handle)
        found[self._n + "memory_used_bytes"] = info.used
        if info.total:
            found[self._n + "memory_percent"] = round(100.0 * (info.total - info.free) / info.total, 2)

    def _temperature(self, found: Values, _now: float) -> None:
        nvml = self.owner._nvml
        found[self._n + "temperature_celsius"] = nvml.nvmlDeviceGetTemperature(self.handle, 0)

    def _many(self, found: Values, now: float) -> None:
        """Ask for all fields in one call: it costs as much as a call for one of them."""
        nvml = self.owner._nvml
        try:
            answers = nvml.nvmlDeviceGetFieldValues(self.handle, list(self._fields))
        except (nvml.NVMLError, AttributeError) as error:
            if getattr(error, "value", 13) in _NEVER:
                self._do_without(*self._fields)
            raise
        for (name, see), answer in zip(tuple(self._fields.items()), answers, strict=True):
            if answer.nvmlReturn in _LOST:
                raise nvml.NVMLError(answer.nvmlReturn)
            if answer.nvmlReturn in _NEVER:
                self._do_without(name)
            elif not answer.nvmlReturn:
                see(_value(answer), found, now)

    def _do_without(self, *names: tuple[int, int]) -> None:
        for name in names:
            del self._fields[name]
            if name == _POWER_AVERAGE:  # a driver before R530: there is an older way of asking
                self.readings.append(_Reading(self._power))
        if not self._fields:
            self.readings = [reading for reading in self.readings if reading.read != self._many]

    def _power(self, found: Values, now: float) -> None:
        self._see_power(self.owner._nvml.nvmlDeviceGetPowerUsage(self.handle), found, now)

    def _see_power(self, milliwatts: float, found: Values, now: float) -> None:
        watts = milliwatts / 1000
        found[self._n + "power_watts"] = watts
        if self._limit_watts:
            found[self._n + "power_percent"] = round(100.0 * watts / self._limit_watts, 2)
        self.energy.see_power(watts, now)

    def _see_links(self, direction: str, kibibytes: float, found: Values, now: float) -> None:
        rate = self._rates.of(direction, kibibytes * 1024, now)
        if rate is not None:
            found[f"{self._n}nvlink_{direction}_bytes_per_second"] = round(rate)

    def _see_memory_temperature(self, celsius: float, found: Values, _now: float) -> None:
        if celsius:  # 0 where the memory has no sensor
            found[self._n + "memory_temperature_celsius"] = celsius

    def _energy(self, _found: Values, now: float) -> None:
        self.energy.see_counter(self.owner._nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000, now)

    def _sm_clock(self, found: Values, _now: float) -> None:
        found[self._n + "sm_clock_mhz"] = self.owner._nvml.nvmlDeviceGetClockInfo(self.handle, 1)

    def _memory_clock(self, found: Values, _now: float) -> None:
        found[self._n + "memory_clock_mhz"] = self.owner._nvml.nvmlDeviceGetClockInfo(self.handle, 2)

    def _throttling(self, found: Values, _now: float) -> None:
        nvml = self.owner._nvml
        try:
            bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle)
        except (nvml.NVMLError, AttributeError) as error:
            if getattr(error, "value", 13) != 13:
                raise
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(self.handle)  # its name from CUDA 12.2 on
        found[self._n + "throttle_reasons"] = bits
        found[self._n + "throttled_by_heat"] = int(bits & _THERMAL_BITS != 0)
        found[self._n + "throttled_by_power"] = int(bits & _POWER_BITS != 0)

    def _pcie(self, found: Values, _now: float) -> None:
        # Each of the two takes 20 ms in the driver, which measures for so long.
        nvml = self.owner._nvml
        for name, counter in (("sent", 0), ("received", 1)):
            kilobytes = nvml.nvmlDeviceGetPcieThroughput(self.handle, counter)
            found[f"{self._n}pcie_{name}_bytes_per_second"] = kilobytes * 1024

    def _encoder(self, found: Values, _now: float) -> None:
        found[self._n + "encoder_utilization"] = self.owner._nvml.nvmlDeviceGetEncoderUtilization(self.handle)[0]

    def _decoder(self, found: Values, _now: float) -> None:
        found[self._n + "decoder_utilization"] = self.owner._nvml.nvmlDeviceGetDecoderUtilization(self.handle)[0]

    def _fan(self, found: Values, _now: float) -> None:
        found[self._n + "fan_percent"] = self.owner._nvml.nvmlDeviceGetFanSpeed(self.handle)

    def _corrected(self, found: Values, _now: float) -> None:
        found[self._n + "ecc_corrected_errors"] = self.owner._nvml.nvmlDeviceGetTotalEccErrors(self.handle, 0, 0)

    def _uncorrected(self, found: Values, _now: float) -> None:
        found[self._n + "ecc_uncorrected_errors"] = self.owner._nvml.nvmlDeviceGetTotalEccErrors(self.handle, 1, 0)

    def _processes(self, found: Values, _now: float) -> None:
        processes = self.owner._nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
        found[self._n + "processes"] = len(processes)
        own = self.owner.own_pids()
        # In a container the driver tells the machine's numbers of processes: ours is then among none of them.
        used = [process.usedGpuMemory or 0 for process in processes if process.pid in own]
        if used:
            found[self._n + "process_memory_bytes"] = sum(used)


def _value(field: Any) -> float:
    """Answer the member of the union that is meant."""
    names = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
    kind = field.valueType
    return float(getattr(field.value, names[kind])) if 0 <= kind < len(names) else 0.0
