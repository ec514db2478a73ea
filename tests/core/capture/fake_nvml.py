"""A driver that is none: stands where `libnvidia-ml.so.1` would, below the vendor's own Python module.

What the tests run is therefore `pynvml` itself, with its structures, its versions of calls and its errors; only the C
functions are ours. Where the vendor's guide says what one answers or refuses, this one does the same: a GPU without a
sensor says NOT_SUPPORTED, an older driver lacks the symbol, a GPU off the bus says GPU_IS_LOST to everything.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE = 0, 2, 3, 6, 7
LOST = 15
_NOT_AVAILABLE = 2**64 - 1
GIB = 1 << 30
# Milliseconds of processor time of a call, on an H100 (driver 580, persistence mode on); what is not named costs CHEAP.
DEAR = {"nvmlDeviceGetTotalEnergyConsumption": 4.0, "nvmlDeviceGetPcieThroughput": 0.9}
CHEAP = 0.1


@dataclass
class FakeGpu:
    """One GPU, or one MIG instance; tests change it while it is sampled."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total: int = 80 * GIB
    used: int = 10 * GIB
    reserved: int = GIB // 2
    utilization: int = 50
    memory_utilization: int = 20
    celsius: int = 60
    memory_celsius: int = 70
    milliwatts: int = 350_000
    limit_milliwatts: int = 700_000
    millijoules: int = 5_000_000_000
    sm_mhz: int = 1980
    memory_mhz: int = 2619
    throttle: int = 0
    pcie_kilobytes: tuple[int, int] = (1000, 2000)
    links_kib: tuple[int, int] = (10_000, 20_000)
    fan: int = 40
    ecc: tuple[int, int] = (0, 0)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    instances: list[FakeGpu | None] = field(default_factory=list)
    instance: tuple[int, int] | None = None
    unsupported: set[str] = field(default_factory=set)
    unknown_fields: set[int] = field(default_factory=set)
    error: int = SUCCESS


def data_centre_gpu(number: int, **changes: Any) -> FakeGpu:
    """Answer an H100 in a server: it has no fan of its own."""
    gpu = FakeGpu(uuid=f"GPU-{number:08x}-1111-2222-3333-444444444444", **changes)
    gpu.unsupported |= {"nvmlDeviceGetFanSpeed"}
    return gpu


def desktop_gpu(number: int, **changes: Any) -> FakeGpu:
    """Answer an RTX: no ECC, no NVLink, no sensor in its memory."""
    gpu = FakeGpu(uuid=f"GPU-{number:08x}-aaaa-bbbb-cccc-dddddddddddd", name="NVIDIA GeForce RTX 4090", **changes)
    gpu.unsupported |= {"nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetFieldValues", "nvmlDeviceGetMigMode"}
    return gpu


def mig_gpu(number: int, instances: int = 3, **changes: Any) -> FakeGpu:
    """Answer an H100 that is cut into instances; in the middle of them is a free place."""
    gpu = data_centre_gpu(number, **changes)
    gpu.unsupported |= {"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetEncoderUtilization"}
    for place in range(instances):
        one = FakeGpu(
            uuid=f"MIG-{number:08x}-{place}555-2222-3333-444444444444",
            name="NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            total=10 * GIB,
            used=(place + 1) * GIB,
            instance=(7 + place, 0),
            unsupported={"nvmlDeviceGetUtilizationRates"},
        )
        gpu.instances.append(one)
    gpu.instances.insert(1, None)
    return gpu


class FakeDriver:
    """The C library, function by function.

    Args:
        gpus: By index.
        missing: Functions that this driver does not have.
        error_at_start: What its initialisation answers.
    """

    def __init__(self, gpus: list[FakeGpu], missing: set[str] | None = None, error_at_start: int = SUCCESS) -> None:
        self.gpus = gpus
        self.missing = missing or set()
        self.error_at_start = error_at_start
        self.calls: Counter[tuple[str, str]] = Counter()
        self.open = 0
        self.hanging: set[str] = set()
        self.released = threading.Event()
        self.hung = threading.Event()
        self._known: dict[str, Callable[..., int]] = {}
        self._handles: dict[int, FakeGpu] = {}

    def install(self, patch: Any) -> None:
        """Put it below `pynvml`.

        Args:
            patch: pytest's MonkeyPatch, or what has its `setattr`.
        """
        import pynvml

        patch.setattr(pynvml, "nvmlLib", self)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("nvml") or name in self.missing:
            raise AttributeError(name)
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._function(name)
        return known

    def calls_of(self, name: str) -> int:
        """Answer how often a function was called, of all devices together."""
        return sum(count for (called, _), count in self.calls.items() if called == name)

    def cost_milliseconds(self) -> float:
        """Answer what all calls so far would have cost in processor time, asked of an H100."""
        return sum(count * DEAR.get(name, CHEAP) for (name, _), count in self.calls.items())

    def _function(self, name: str) -> Callable[..., int]:
        if name in _SYSTEM:
            system = _SYSTEM[name]

            def of_system(*arguments: Any) -> int:
                self.calls[name, ""] += 1
                self._maybe_hang(name)
                return system(self, *arguments)

            return of_system
        device = _DEVICE[name]  # a KeyError is a function that this fake does not know: a test's mistake

        def of_device(handle: Any, *arguments: Any) -> int:
            gpu = self._handles[ctypes.cast(handle, ctypes.c_void_p).value or 0]
            self.calls[name, gpu.uuid] += 1
            self._maybe_hang(name)
            if gpu.error:
                return gpu.error
            if name in gpu.unsupported:
                return NOT_SUPPORTED
            return device(self, gpu, *arguments)

        return of_device

    def _maybe_hang(self, name: str) -> None:
        if name in self.hanging:
            self.hung.set()
            self.released.wait(60)

    def _hand_out(self, gpu: FakeGpu, reference: Any) -> int:
        address = 0x1000 + 16 * next(
            (number for number, known in enumerate(self._handles.values()) if known is gpu), len(self._handles)
        )
        self._handles[address] = gpu
        ctypes.memmove(reference, ctypes.byref(ctypes.c_void_p(address)), ctypes.sizeof(ctypes.c_void_p))
        return SUCCESS

    # --- the system ------------------------------------------------------------------------

    def _start(self, _flags: int) -> int:
        if not self.error_at_start:
            self.open += 1
        return self.error_at_start

    def _shut_down(self) -> int:
        self.open -= 1
        return SUCCESS

    def _driver_version(self, buffer: Any, _length: Any) -> int:
        buffer.value = b"550.54.15"
        return SUCCESS

    def _cuda_version(self, reference: Any) -> int:
        return _give(reference, 12040)

    def _count(self, reference: Any) -> int:
        return _give(reference, len(self.gpus))

    def _handle(self, index: Any, reference: Any) -> int:
        if index.value >= len(self.gpus):
            return INVALID_ARGUMENT
        gpu = self.gpus[index.value]
        return gpu.error or self._hand_out(gpu, reference)

    # --- one device ------------------------------------------------------------------------

    def _name(self, gpu: FakeGpu, buffer: Any, _length: Any) -> int:
        buffer.value = gpu.name.encode()
        return SUCCESS

    def _uuid(self, gpu: FakeGpu, buffer: Any, _length: Any) -> int:
        buffer.value = gpu.uuid.encode()
        return SUCCESS

    def _memory(self, gpu: FakeGpu, reference: Any) -> int:
        info = reference._obj
        info.total, info.used = gpu.total, gpu.used + gpu.reserved  # the first version counts them together
        info.free = gpu.total - info.used
        return SUCCESS

    def _memory_v2(self, gpu: FakeGpu, reference: Any) -> int:
        info = reference._obj
        info.total, info.used, info.reserved = gpu.total, gpu.used, gpu.reserved
        info.free = gpu.total - gpu.used - gpu.reserved
        return SUCCESS

    def _utilization(self, gpu: FakeGpu, reference: Any) -> int:
        reference._obj.gpu, reference._obj.memory = gpu.utilization, gpu.memory_utilization
        return SUCCESS

    def _temperature(self, gpu: FakeGpu, _sensor: Any, reference: Any) -> int:
        return _give(reference, gpu.celsius)

    def _power(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, gpu.milliwatts)

    def _power_limit(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, gpu.limit_milliwatts)

    def _energy(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, gpu.millijoules)

    def _clock(self, gpu: FakeGpu, kind: Any, reference: Any) -> int:
        return _give(reference, {1: gpu.sm_mhz, 2: gpu.memory_mhz}[kind.value])

    def _throttling(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, gpu.throttle)

    def _fields(self, gpu: FakeGpu, count: Any, reference: Any) -> int:
        known = {138: gpu.links_kib[0], 139: gpu.links_kib[1], 82: gpu.memory_celsius, 185: gpu.milliwatts}
        for place in range(count.value):
            one = reference._obj[place]
            is_known = one.fieldId in known and one.fieldId not in gpu.unknown_fields
            if not is_known or one.scopeId != (0xFFFFFFFF if one.fieldId in (138, 139) else 0):
                one.nvmlReturn = NOT_SUPPORTED
                continue
            one.nvmlReturn = SUCCESS
            if one.fieldId in (82, 185):
                one.valueType, one.value.uiVal = 1, known[one.fieldId]
            else:
                one.valueType, one.value.ullVal = 3, known[one.fieldId]
        return SUCCESS

    def _pcie(self, gpu: FakeGpu, counter: Any, reference: Any) -> int:
        return _give(reference, gpu.pcie_kilobytes[counter.value])

    def _coder(self, gpu: FakeGpu, reference: Any, period: Any) -> int:
        _give(period, 167_000)
        return _give(reference, 3)

    def _fan(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, gpu.fan)

    def _ecc(self, gpu: FakeGpu, kind: Any, _counter: Any, reference: Any) -> int:
        return _give(reference, gpu.ecc[kind.value])

    def _processes(self, gpu: FakeGpu, reference: Any, array: Any) -> int:
        room = reference._obj.value
        reference._obj.value = len(gpu.processes)
        if not gpu.processes:
            return SUCCESS
        if array is None or room < len(gpu.processes):
            return INSUFFICIENT_SIZE
        for place, (pid, used) in enumerate(gpu.processes):
            array[place].pid = pid
            array[place].usedGpuMemory = _NOT_AVAILABLE if used is None else used
        return SUCCESS

    def _mig_mode(self, gpu: FakeGpu, current: Any, pending: Any) -> int:
        _give(pending, bool(gpu.instances))
        return _give(current, bool(gpu.instances))

    def _mig_count(self, gpu: FakeGpu, reference: Any) -> int:
        return _give(reference, 7)

    def _mig_handle(self, gpu: FakeGpu, index: Any, reference: Any) -> int:
        place = index.value
        one = gpu.instances[place] if place < len(gpu.instances) else None
        return NOT_FOUND if one is None else self._hand_out(one, reference)

    def _instance(self, gpu: FakeGpu, reference: Any) -> int:
        return NOT_SUPPORTED if gpu.instance is None else _give(reference, gpu.instance[0])

    def _compute_instance(self, gpu: FakeGpu, reference: Any) -> int:
        return NOT_SUPPORTED if gpu.instance is None else _give(reference, gpu.instance[1])


def _give(reference: Any, value: int) -> int:
    reference._obj.value = int(value)
    return SUCCESS


def _error_string(_driver: FakeDriver, code: int) -> Any:
    return f"error {code}".encode()


_SYSTEM: dict[str, Callable[..., int]] = {
    "nvmlInitWithFlags": FakeDriver._start,
    "nvmlShutdown": FakeDriver._shut_down,
    "nvmlSystemGetDriverVersion": FakeDriver._driver_version,
    "nvmlSystemGetCudaDriverVersion_v2": FakeDriver._cuda_version,
    "nvmlDeviceGetCount_v2": FakeDriver._count,
    "nvmlDeviceGetHandleByIndex_v2": FakeDriver._handle,
    "nvmlErrorString": _error_string,
}
_DEVICE: dict[str, Callable[..., int]] = {
    "nvmlDeviceGetName": FakeDriver._name,
    "nvmlDeviceGetUUID": FakeDriver._uuid,
    "nvmlDeviceGetMemoryInfo": FakeDriver._memory,
    "nvmlDeviceGetMemoryInfo_v2": FakeDriver._memory_v2,
    "nvmlDeviceGetUtilizationRates": FakeDriver._utilization,
    "nvmlDeviceGetTemperature": FakeDriver._temperature,
    "nvmlDeviceGetPowerUsage": FakeDriver._power,
    "nvmlDeviceGetEnforcedPowerLimit": FakeDriver._power_limit,
    "nvmlDeviceGetTotalEnergyConsumption": FakeDriver._energy,
    "nvmlDeviceGetClockInfo": FakeDriver._clock,
    "nvmlDeviceGetCurrentClocksThrottleReasons": FakeDriver._throttling,
    "nvmlDeviceGetCurrentClocksEventReasons": FakeDriver._throttling,
    "nvmlDeviceGetFieldValues": FakeDriver._fields,
    "nvmlDeviceGetPcieThroughput": FakeDriver._pcie,
    "nvmlDeviceGetEncoderUtilization": FakeDriver._coder,
    "nvmlDeviceGetDecoderUtilization": FakeDriver._coder,
    "nvmlDeviceGetFanSpeed": FakeDriver._fan,
    "nvmlDeviceGetTotalEccErrors": FakeDriver._ecc,
    "nvmlDeviceGetComputeRunningProcesses_v3": FakeDriver._processes,
    "nvmlDeviceGetMigMode": FakeDriver._mig_mode,
    "nvmlDeviceGetMaxMigDeviceCount": FakeDriver._mig_count,
    "nvmlDeviceGetMigDeviceHandleByIndex": FakeDriver._mig_handle,
    "nvmlDeviceGetGpuInstanceId": FakeDriver._instance,
    "nvmlDeviceGetComputeInstanceId": FakeDriver._compute_instance,
}
