"""PyTorch: what each optimizer's steps did, as `optimizer/step`, `/loss`, `/lr` and `/grad_norm` at the number of the step.

Torch calls two hooks of ours around every optimizer's step; nothing is attached to models, tensors or optimizers, and
the device is never waited for.
"""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from . import _own_loop, patching
from ._torch_surroundings import config_of, surroundings
from .base import Session, require, watch_choice

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

FIRST_STEPS = 10
"""All of them are logged: a short training is seen too."""
EVERY_STEPS = 10
"""From there on only each of so many: what a step costs is bounded."""
MAX_OPTIMIZERS = 16
"""In one training; of further ones nothing is logged."""
RETRY_STEPS = 100
"""An optimizer that is not logged (other ranks) is asked about again after so many steps."""
MAX_LOSSES = 256
"""Backward passes between two steps whose losses are added up."""


class Steps:
    """What is logged of one optimizer.

    Args:
        prefix: Goes before the names: "optimizer".
        every: From the `FIRST_STEPS`th step on, one of so many is logged.
    """

    def __init__(self, optimizer: Optimizer, prefix: str, every: int) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.parameters = [weakref.ref(one) for group in optimizer.param_groups for one in group["params"]]
        self.prefix = prefix
        self.every = every
        self.count = 0
        self.taken = 0  # steps taken in this process: the first ones are those that we see
        self.row: dict[str, Any] | None = None
        self.run: tracker.Run | None = None
        self.pid = os.getpid()
        self.is_kept = True
        self.has_gradients_inside = False

    def before(self, optimizer: Optimizer, losses: list[Tensor], has_closure: bool) -> None:
        """Count a step, and measure what there is before it where it is to be logged."""
        self.count += 1
        self.taken += 1
        self.is_kept = False
        self.row = None
        if self.taken > FIRST_STEPS and self.count % self.every:
            return
        self.row = {f"{self.prefix}/step": self.count, **self._rates(optimizer)}
        if losses:
            self.row[f"{self.prefix}/loss"] = sum(losses[1:], losses[0])
        self.has_gradients_inside = has_closure
        if not has_closure:
            self._measure(optimizer)

    def after(self, optimizer: Optimizer) -> dict[str, Any] | None:
        """Answer the row of the step, where it is to be logged."""
        row, self.row = self.row, None
        if row is None:
            return None
        if self.has_gradients_inside:
            self.row = row
            self._measure(optimizer)
            self.row = None
        self.is_kept = True
        return row

    def last(self) -> dict[str, Any] | None:
        """Answer the row of the last step, if it was not logged."""
        optimizer = self.optimizer()
        if self.is_kept:
            return None
        self.is_kept = True
        return {f"{self.prefix}/step": self.count, **(self._rates(optimizer) if optimizer is not None else {})}

    def _rates(self, optimizer: Optimizer) -> dict[str, Any]:
        rates = [group.get("lr") for group in optimizer.param_groups]
        if len(rates) == 1:
            return {f"{self.prefix}/lr": rates[0]} if rates[0] is not None else {}
        return {f"{self.prefix}/lr/{place}": rate for place, rate in enumerate(rates) if rate is not None}

    def _measure(self, optimizer: Optimizer) -> None:
        norm = gradient_norm(optimizer)
        if norm is not None and self.row is not None:
            self.row[f"{self.prefix}/grad_norm"] = norm

    def go_on(self, optimizer: Optimizer, run: tracker.Run) -> None:
        """Count on from where a checkpoint, or the run, has been."""
        known = _steps_taken(optimizer)
        if known is None and run.resumed:
            known = max(int(run.starting_step) - 1, 0)
        self.count = known or 0


class TrackerHook:
    """Logs an optimizer's steps to a run, for who wants it by hand; it lasts until `remove()`.

    Args:
        optimizer: Any of torch's, or derived from them.
        model: What it trains: its name and size go into the config, and `watch` records its insides.
        run: The run to log to; it stays open. Without one it is the one that is open, or one that is begun at the
            first step.
        every: Beyond the first ten, one of so many steps is logged.
        name: Goes before the names of what is logged, in place of "optimizer".
        watch: "gradients", "parameters" or "all": as `tracker.watch(model, log=...)`.
        watch_freq: At every so many steps.
        arguments: Of `tracker.init`, for a run that has to be begun.

    Example:
        hook = TrackerHook(optimizer, model, watch="gradients")
        train()
        hook.remove()
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: Any = None,
        *,
        run: tracker.Run | None = None,
        every: int = EVERY_STEPS,
        name: str = "optimizer",
        watch: str | None = None,
        watch_freq: int = 1000,
        **arguments: Any,
    ) -> None:
        self.session = Session("torch", run, **arguments)
        self._steps = Steps(optimizer, name, max(int(every), 1))
        self._model = None if model is None else weakref.ref(model)
        self._watch = watch
        self._watch_freq = watch_freq
        self._waits = 0
        self._handles = [
            optimizer.register_step_pre_hook(_undisturbed(lambda *step: self._before(*step))),
            optimizer.register_step_post_hook(_undisturbed(lambda *step: self._after(*step))),
        ]
        _by_hand.add(optimizer)
        weakref.finalize(optimizer, self.session.pause, wait=False).atexit = False  # what comes next is no part of it

    def remove(self) -> None:
        """Log nothing more; a run that was begun here stays open until the next one, or the end of the program."""
        while self._handles:
            self._handles.pop().remove()
        optimizer = self._steps.optimizer()
        if optimizer is not None:
            _by_hand.discard(optimizer)
        self._finish()
        self.session.pause()

    @tracker.guarded
    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.session.run is None and not self.session.has_begun:
            if self._waits:
                self._waits -= 1
                return
            self._waits = RETRY_STEPS
            self._begin(optimizer)
        self._steps.before(optimizer, [], _has_closure(args, kwargs))

    @tracker.guarded
    def _after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        row, run = self._steps.after(optimizer), self.session.run
        if row is not None and run is not None:
            run.log_at(row, self._steps.count)

    def _begin(self, optimizer: Optimizer) -> None:
        model = None if self._model is None else self._model()
        run = self.session.begin()
        if run is None:
            return
        self.session.configure(self._steps.prefix, config_of(optimizer))
        self._steps.go_on(optimizer, run)
        if model is not None:
            _know(self.session, run, model, self._watch, self._watch_freq)
        run.on_finish(self._finish)

    def _finish(self) -> None:
        row, run = self._steps.last(), self.session._run
        if row is not None and run is not None:
            run.log_at(row, self._steps.count)


def track(optimizer: Optimizer, model: Any = None, **options: Any) -> TrackerHook:
    """Log an optimizer's steps from now on.

    Args:
        optimizer: Any of torch's, or derived from them.
        model: What it trains.
        options: As of `TrackerHook`: `run`, `every`, `name`, `watch`, `watch_freq`, and what `tracker.init` takes.

    Example:
        from tracker.integrations.torch import track
        track(optimizer, model, project="digits")
    """
    require("torch")
    return TrackerHook(optimizer, model, **options)


# --- by itself -----------------------------------------------------------------------------

_by_hand: weakref.WeakSet[Any] = weakref.WeakSet()
_all: list[Steps] = []  # of the loop that goes on
_refused: weakref.WeakKeyDictionary[Any, int] = (
    weakref.WeakKeyDictionary()
)  # optimizer -> steps until it is asked again
_losses = threading.local()  # .since_step: what backward was called on since the last step


def _autolog(module: ModuleType) -> None:
    """Log every optimizer's steps, wherever one takes a step; called with `torch.optim.optimizer`."""

    def register() -> Callable[[], object]:
        handles = [
            module.register_optimizer_step_pre_hook(_undisturbed(_before)),
            module.register_optimizer_step_post_hook(_undisturbed(_after)),
        ]
        return lambda: [handle.remove() for handle in handles]

    patching.add("torch", "hooks around every step of torch.optim.Optimizer", register)
    patching.wrap(require("torch").Tensor, "backward", _around_backward, "torch")


def _autolog_scaler(module: ModuleType) -> None:
    """Know losses as they were before they were scaled; called with `torch.amp.grad_scaler`."""
    patching.wrap(module.GradScaler, "scale", _around_scale, "torch")


@tracker.guarded
def _before(optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    losses = _taken()
    if not patching.is_autologging("torch") or optimizer in _by_hand:
        return
    if _own_loop.loop() is None:  # a framework's training: its own integration logs
        return
    if _all and _all[0].pid != os.getpid():  # a forked child's part of the training
        return
    steps = _steps_of(optimizer)
    if steps is not None:
        steps.before(optimizer, losses, _has_closure(args, kwargs))


@tracker.guarded
def _after(optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    _taken()  # of a closure's
    for steps in _all:
        if steps.row is not None and steps.optimizer() is optimizer:
            row = steps.after(optimizer)
            steps.run = _own_loop.begin()
            if row is not None and steps.run is not None:
                steps.run.log_at(row, steps.count)


def _steps_of(optimizer: Optimizer) -> Steps | None:
    """Answer what is known of an optimizer; one that was not seen yet may be the first of another training."""
    for steps in _all:
        if steps.optimizer() is optimizer:
            return steps
    if _refused.get(optimizer):
        _refused[optimizer] -= 1
        return None
    if _all and optimizer not in _refused:
        gc.collect()  # a schedule makes a cycle of its optimizer: only so it is seen that one is gone
        own = {id(one) for group in optimizer.param_groups for one in group["params"]}
        is_another = all(steps.optimizer() is None for steps in _all) and not any(
            (one := known()) is not None and id(one) in own for steps in _all for known in steps.parameters
        )
        if is_another:
            _rest()
    begun = _begin(optimizer)
    if begun is None:
        _refused[optimizer] = RETRY_STEPS
    return begun


def _begin(optimizer: Optimizer) -> Steps | None:
    place = next((place for place, steps in enumerate(_all) if steps.optimizer() is None), len(_all))
    if place >= MAX_OPTIMIZERS:
        return None
    prefix = "optimizer" if place == 0 else f"optimizer_{place + 1}"
    run = _own_loop.begin()
    session = _own_loop.loop()
    if run is None or session is None:
        return None
    session.configure(prefix, config_of(optimizer))
    steps = Steps(optimizer, prefix, EVERY_STEPS)
    steps.run = run
    if place < len(_all):  # in the place of one that is gone: the same training with another optimizer
        steps.count = _all[place].count
        _all[place] = steps
    else:
        steps.go_on(optimizer, run)
        _all.append(steps)
    if place == 0:
        with tracker.guard("the model's facts"):
            found = surroundings(optimizer)
            if found.arguments:
                session.configure("args", found.arguments)
            if found.model is not None:
                _know(session, run, found.model, None, 0)
        run.on_finish(lambda: _finish(run))
    weakref.finalize(optimizer, _one_is_gone).atexit = False
    return steps


def _finish(ending: tracker.Run | None = None) -> None:
    """Log the last step of each optimizer, where its run still takes it."""
    for steps in _all:
        row, run = steps.last(), steps.run
        if row is not None and run is not None and (run is ending or run.state == "running"):
            run.log_at(row, steps.count)


@tracker.guarded
def _one_is_gone() -> None:
    if all(steps.optimizer() is None for steps in _all):
        _own_loop.release()


def _rest() -> None:
    _finish()
    _all.clear()
    _own_loop.rest()


# --- the loss: what backward() was called on -------------------------------------------------


def _around_backward(original: Callable[..., Any], loss: Any, *args: Any, **kwargs: Any) -> Any:
    with tracker.guard("optimizer/loss"):
        since = _since_step()
        if len(since) < MAX_LOSSES and loss.numel() == 1 and not _losses.is_inside:
            scaled = getattr(loss, "_tracker_unscaled", None)
            since.append((loss if scaled is None else scaled).detach().reshape(()))
    inside, _losses.is_inside = _losses.is_inside, True
    try:
        return original(loss, *args, **kwargs)
    finally:
        _losses.is_inside = inside


def _around_scale(original: Callable[..., Any], scaler: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
    scaled = original(scaler, outputs, *args, **kwargs)
    with tracker.guard("optimizer/loss"):
        if scaled is not outputs and hasattr(scaled, "detach") and hasattr(outputs, "detach"):
            scaled._tracker_unscaled = outputs.detach()
    return scaled


def _since_step() -> list[Tensor]:
    since: list[Tensor] | None = getattr(_losses, "since_step", None)
    if since is None:
        since = _losses.since_step = []
        _losses.is_inside = False
    return since


def _taken() -> list[Tensor]:
    since = _since_step()
    _losses.since_step = []
    return since


# --- what is measured ----------------------------------------------------------------------


def gradient_norm(optimizer: Optimizer) -> Any:
    """Answer the norm of all gradients of an optimizer, on the device; nothing is waited for.

    None where there are no gradients, or where each rank holds a part of them: adding up the parts needs all ranks.
    """
    torch: Any = require("torch")
    groups: dict[tuple[Any, bool], list[Any]] = {}
    for group in optimizer.param_groups:
        for one in group["params"]:
            gradient = one.grad
            if gradient is None:
                continue
            if hasattr(gradient, "placements") or getattr(one, "_is_flat_param", False):
                return None
            gradient = gradient.detach()
            if gradient.layout is not torch.strided:
                if gradient.device.type != "cpu":  # summing up equal rows would wait for the device
                    return None
                gradient = gradient.coalesce().values()
            is_narrow = gradient.dtype in (torch.float16, torch.bfloat16)
            groups.setdefault((gradient.device, is_narrow), []).append(gradient)
    if not groups:
        return None
    norms: list[Any] = []
    for (_, is_narrow), gradients in groups.items():
        # In half precision a norm soon overflows.
        norms.extend(torch._foreach_norm(gradients, 2, **({"dtype": torch.float32} if is_narrow else {})))
    device = norms[0].device
    norm = torch.linalg.vector_norm(torch.stack([one.to(device, non_blocking=True).float() for one in norms]))
    scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer divides by it itself
    return norm / scale.to(device, non_blocking=True) if isinstance(scale, torch.Tensor) else norm


def _steps_taken(optimizer: Optimizer) -> int | None:
    """Answer how many steps an optimizer has behind it, where it says so itself (a loaded Adam does)."""
    for state in optimizer.state.values():
        step: Any = state.get("step") if isinstance(state, Mapping) else None
        if hasattr(step, "device"):
            return int(step) if step.device.type == "cpu" else None
        return int(step) if isinstance(step, (int, float)) else None
    return None


def _know(session: Session, run: tracker.Run, model: Any, watch: str | None, watch_freq: int) -> None:
    from ._torch_surroundings import facts_of

    session.configure("model", facts_of(model))
    choice, is_asked_for = watch_choice(watch)
    if choice is not None and is_asked_for:  # of a loop of one's own, nothing unasked but the norm of all gradients
        run.watch(model, log=choice, log_freq=watch_freq or 1000)


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return (args[1] if len(args) > 1 else kwargs.get("closure")) is not None


def _undisturbed(hook: Callable[..., None]) -> Callable[..., None]:
    """Keep a hook out of `torch.compile`, which would try to compile it with the step."""
    disable: Callable[[Callable[..., None]], Callable[..., None]] | None
    disable = getattr(require("torch"), "_disable_dynamo", None)
    return hook if disable is None else disable(hook)
