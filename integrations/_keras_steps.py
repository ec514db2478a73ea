"""Keras: how far a training is, and its learning rate there."""

from __future__ import annotations

import sys
import threading
from typing import Any

from .base import require

_AHEAD = 256
"""How many learning rates of a schedule are worked out at a time: alone each would cost more than many a step."""


class Steps:
    """Counts the batches a model was trained on, whatever Keras' hooks count.

    Those count from zero in each epoch, and leave batches out under `steps_per_execution`. The optimizer counts all of
    them, and goes on counting after its state was restored; it is asked where that costs nothing, between the epochs.
    Within them the number of the batch is added to that: on JAX the variables are away then, and hooks are called from
    several threads, in any order.

    Args:
        initial: The step at which the first training begins; found out without it.
    """

    def __init__(self, initial: int = 0) -> None:
        self._initial = int(initial or 0)
        self._reached = 0
        self._offset: int | None = None  # from what the optimizer counts; unknown before the first epoch
        self._start = 0  # of the epoch
        self._counted: int | None = None
        self._per_call = 1
        self._in_epoch: int | None = None  # batches, where that is known
        self._seen: dict[int, int] = {}  # thread -> the highest batch of the epoch it has seen

    def begin(self) -> None:
        """A training begins; its model may be restored until its first epoch does."""
        self._offset = None

    def begin_epoch(self, model: Any, epoch: int, in_epoch: int | None) -> None:
        """An epoch begins."""
        counted = iterations(model)
        if self._offset is None:
            self._offset = self._first(counted, epoch, in_epoch)
        if counted is None:
            self._start = self._reached
        else:
            self._start = counted + self._offset
        self._counted = counted
        self._per_call = max(1, int(number(getattr(model, "steps_per_execution", None)) or _legacy_per_call(model)))
        self._in_epoch = in_epoch or None
        self._seen = {}
        self._reached = self._start

    def _first(self, counted: int | None, epoch: int, in_epoch: int | None) -> int:
        initial, self._initial = self._initial, 0
        if initial:
            return initial - (counted or 0)
        if counted:  # a restored optimizer, or a second training
            return 0
        if self._reached:  # compiled anew: goes on behind what is there
            return self._reached
        return epoch * (in_epoch or 0)

    def see(self, batch: int) -> None:
        """Take note that the call whose last batch of the epoch is this one is done; to be told of each."""
        thread = threading.get_ident()
        if batch > self._seen.get(thread, -1):
            self._seen[thread] = batch

    def in_epoch(self, batch: int) -> tuple[int, int]:
        """Answer the steps before and after the call whose last batch of the epoch is this one."""
        done = batch + 1
        before = max(0, done - self._per_call)
        if self._in_epoch is not None:  # the last call of an epoch may have fewer batches than it says
            done = min(done, self._in_epoch)
        return self._start + before, self._start + done

    def end_epoch(self, model: Any) -> int:
        """An epoch has ended: answer the step."""
        counted = iterations(model)
        moved = 0 if counted is None else counted - (self._counted or 0)
        seen = max(self._seen.values(), default=-1) + 1
        if not seen:  # nobody was told of batches: the optimizer alone counts
            seen = moved or self._in_epoch or 0
        elif self._in_epoch is not None:
            seen = min(seen, self._in_epoch)
        elif self._per_call > 1 and moved:  # the last call may have had fewer batches than it says
            seen = min(seen, moved)
        # Optimizers count otherwise where a loss overflowed, where a model steps twice, and on TensorFlow, by one, at
        # the end of a generator.
        self._reached = self._start + seen
        if counted is not None:
            self._offset = self._reached - counted
            self._counted = counted
        return self._reached

    def now(self, model: Any) -> int:
        """Answer the step, asked for between batches that train: by an evaluation."""
        counted = iterations(model)
        moved = counted is not None and counted != self._counted
        return int(counted or 0) + self._offset if moved and self._offset is not None else self._reached

    @property
    def reached(self) -> int:
        """The step, as far as it is known."""
        return self._reached

    def by_optimizer(self, step: int) -> int:
        """Answer what the optimizer counts at a step."""
        return step - (self._offset or 0)


class LearningRate:
    """Answers the learning rate at a step: a variable's value, or what the schedule says, or the user's function."""

    def __init__(self) -> None:
        self._last: Any = None
        self._schedule: Any = None
        self._compiled: Any = None
        self._ahead: dict[int, list[float] | None] = {}

    def at(self, model: Any, step: int) -> Any:
        """Answer it; None where the optimizer has none. Asked within an epoch it waits for no device.

        Args:
            model: Its optimizer is asked.
            step: As the optimizer counts.
        """
        optimizer = _innermost(model)
        rate = getattr(optimizer, "_learning_rate", None)
        if rate is None:
            rate = getattr(optimizer, "learning_rate", None)
        if rate is None:
            return None
        if any(kind.__name__ == "LearningRateSchedule" for kind in type(rate).__mro__):
            return self._scheduled(rate, max(0, step), is_legacy=_is_legacy(optimizer))
        try:
            value: Any = _on_device(rate) if not callable(rate) or hasattr(rate, "assign") else number(rate())
            if hasattr(value, "copy_to_host_async"):  # JAX's: the next step may take its memory
                value = float(value)
        except Exception:  # JAX has taken the variable away between our looking and our reading
            value = None
        if value is not None:
            self._last = value
        return self._last

    def _scheduled(self, schedule: Any, step: int, is_legacy: bool) -> float | None:
        if schedule is not self._schedule:
            self._schedule, self._ahead = schedule, {}
            self._compiled = _many(schedule, is_legacy)
        first = step - step % _AHEAD
        if first not in self._ahead:
            self._ahead[first] = self._work_out(first, is_legacy)
            while len(self._ahead) > 4:
                self._ahead.pop(next(iter(self._ahead)))
        known = self._ahead.get(first)
        return number(schedule(step)) if known is None else known[step - first]

    def _work_out(self, first: int, is_legacy: bool) -> list[float] | None:
        import numpy as np

        steps = np.arange(first, first + _AHEAD, dtype="int64" if is_legacy else "int32")
        try:
            return [float(rate) for rate in _array(self._compiled(steps))]
        except Exception:  # a schedule that takes one step at a time
            return None

    def __getstate__(self) -> dict[str, Any]:
        return LearningRate().__dict__  # what was worked out belongs to the backend


def _many(schedule: Any, is_legacy: bool) -> Any:
    """Answer a function of many steps, compiled by the backend: there it costs what one step costs in the open."""
    if is_legacy:
        tensorflow = sys.modules["tensorflow"]
        return tensorflow.function(lambda steps: tensorflow.map_fn(schedule, steps, fn_output_signature="float32"))
    keras = require("keras")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tensorflow = sys.modules["tensorflow"]
        return tensorflow.function(lambda steps: tensorflow.map_fn(schedule, steps, fn_output_signature="float32"))
    if backend == "jax":
        jax = sys.modules["jax"]
        return jax.jit(jax.vmap(schedule))
    return lambda steps: keras.ops.vectorized_map(schedule, keras.ops.convert_to_tensor(steps))


def iterations(model: Any) -> int | None:
    """Answer how many batches a model's optimizer has seen, also those whose gradients it only gathers."""
    optimizer = _innermost(model)
    count = getattr(optimizer, "_iterations", None)
    if count is None:
        count = getattr(optimizer, "iterations", None)
    found = number(count)
    return None if found is None else int(found)


def number(value: Any) -> float | None:
    """Answer the number in a variable or tensor of any backend; None where there is none."""
    value = _on_device(value)
    if value is None:
        return None
    value = _array(value)
    return float(value.item() if hasattr(value, "item") else value)


def _on_device(value: Any) -> Any:
    if hasattr(value, "_value") and not hasattr(value, "read_value"):  # a variable of Keras; on JAX it may be away
        value = value._value
    if hasattr(value, "read_value"):  # TensorFlow's: as it is now
        value = value.read_value()
    return value.detach() if hasattr(value, "detach") else value


def _array(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.numpy() if hasattr(value, "numpy") else value


def _innermost(model: Any) -> Any:
    optimizer = getattr(model, "optimizer", None)
    return getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales the loss


def _is_legacy(optimizer: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "tf_keras" for kind in type(optimizer).__mro__)


def _legacy_per_call(model: Any) -> float:
    return number(getattr(model, "_steps_per_execution", None)) or 1
