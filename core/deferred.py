"""Rows with values that still lie on a device: completed behind the training thread's back.

`log()` of a CUDA tensor must not wait for the device. So the copy to host memory is only asked for, an event marks its
end, and the keeper completes the row when the event has passed. Such a row is on disk a moment after `log()` has
returned, not before: the price of not waiting.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from .values import is_on_device


class Pending(NamedTuple):
    """A value on its way to the host.

    Args:
        is_ready: Answers whether `get` would answer at once.
        get: Waits for the value and answers it.
    """

    is_ready: Callable[[], bool]
    get: Callable[[], Any]


class Waiting(Protocol):
    """A row that cannot be written yet."""

    @property
    def step(self) -> int | float:
        """Where it belongs."""
        ...

    @property
    def time_ns(self) -> int:
        """When it was logged."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether `arrived` would answer at once."""
        ...

    def arrived(self) -> dict[Any, Any]:
        """Wait for the values, and answer the row's data."""
        ...


class DeferredRow(NamedTuple):
    """A row that waits for some of its values."""

    step: int | float
    time_ns: int
    data: dict[Any, Any]

    @property
    def is_ready(self) -> bool:
        """Whether all values have arrived."""
        return all(value.is_ready() for value in self.data.values() if isinstance(value, Pending))

    def arrived(self) -> dict[Any, Any]:
        """Wait for the values, and answer the row's data."""
        return {key: value.get() if isinstance(value, Pending) else value for key, value in self.data.items()}


def defer(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Answer `data` with a `Pending` in place of each value on a device; nothing here waits for one."""
    kept: dict[Any, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            kept.update({f"{key}.{inner}": item for inner, item in defer(value).items()})
        else:
            kept[key] = _fetch(value) if is_on_device(value) else value
    return kept


def _fetch(value: Any) -> Pending:
    pending = fetch(value)

    def get() -> Any:
        whole = pending.get()
        return whole.item() if math.prod(getattr(whole, "shape", ())) == 1 else whole

    return Pending(pending.is_ready, get)


def fetch(value: Any) -> Pending:
    """Ask for a tensor on a device, with all its elements; nothing here waits for it."""
    if hasattr(value, "copy_to_host_async"):  # JAX: arrays never change, a reference is enough
        value.copy_to_host_async()
        return Pending(value.is_ready, lambda: value)
    if not hasattr(value, "detach"):  # TensorFlow: immutable as well
        return Pending(lambda: True, value.numpy)
    value = value.detach()  # not the graph: it would be kept alive
    event = _event_of(value)
    if event is None:  # a device without events: the keeper will wait, the training thread does not
        copy = value.clone()
        return Pending(lambda: True, copy.cpu)
    host = value.to("cpu", non_blocking=True)  # into pinned memory
    event.record(*_stream_of(value))

    def get() -> Any:
        event.synchronize()
        return host

    return Pending(event.query, get)


def _stream_of(value: Any) -> tuple[Any, ...]:
    # An event is recorded on the current device's stream, which need not be the value's.
    module = getattr(sys.modules.get("torch"), value.device.type, None)
    stream = getattr(module, "current_stream", None)
    return () if stream is None else (stream(value.device),)


def _event_of(value: Any) -> Any:
    torch = sys.modules.get("torch")  # never imported by us
    module = getattr(torch, value.device.type, None)
    make = getattr(module, "Event", None)
    if make is None:
        return None
    try:
        return make(blocking=True)
    except TypeError:  # torch.mps.Event takes no such argument
        return make()
