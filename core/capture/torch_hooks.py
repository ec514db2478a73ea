"""Watched torch models: when something is measured, and of what.

Nothing is attached to a model, a parameter or an optimizer. Torch calls two hooks of ours around every optimizer's
step; there are none while no model is watched. Each optimizer's steps are counted, and what is due at one of them
covers the parameters it holds that belong to a watched model. A step without anything due costs a few lookups.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .. import exits
from ..complaints import is_strict
from ..deferred import Pending, fetch
from ..limits import WATCH_FAULTS, WATCH_MOST_TENSOR_VALUES, WATCH_TENSOR_VALUES, WATCH_VALUES_PER_STEP
from . import guarded, torch_graph
from .statistics import Raw, Statistics, by_module, depth_of, row
from .torch_shards import Participant, Peers, Spread, local, spread_of
from .torch_statistics import Decode, Tape, measure, samples, squared_norms

if TYPE_CHECKING:
    from ..run import Run

_cuda: Any = torch.cuda

# Wrappers that put a name of their own before every parameter's.
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")
_IN_NAMES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


class Watched:
    """A model that a run watches.

    Args:
        run: Takes the rows.
        model: The model; it is not kept alive.
        criterion: A loss function; if it has parameters, they are watched too.
        prefix: Goes before the parameters' names.
        log: What is recorded: "gradients", "parameters" or "all".
        log_freq: At every so many steps of an optimizer.
        by_module: Modules are recorded, not each parameter.
    """

    def __init__(
        self,
        run: Run | Participant,
        model: nn.Module,
        criterion: Any,
        prefix: str,
        log: str,
        log_freq: int,
        by_module: bool = False,
    ) -> None:
        self.run = run
        self.model = weakref.ref(model, self._forget)
        self.criterion = weakref.ref(criterion) if isinstance(criterion, nn.Module) else None
        self.prefix = prefix
        self.with_gradients = log in ("gradients", "all")
        self.with_parameters = log in ("parameters", "all")
        self.log_freq = log_freq
        self.sample = min(max(WATCH_TENSOR_VALUES, WATCH_VALUES_PER_STEP * log_freq), WATCH_MOST_TENSOR_VALUES)
        self.steps: dict[int, tuple[weakref.ref[Optimizer], list[int]]] = {}
        self.by_module = by_module
        self.depth: int | None = None  # of the modules' names, once there was a step
        self.open: Step | None = None
        self.has_rows = False
        self.faults = 0
        self.peers: Peers | None = None

    def _forget(self, _dead: object) -> None:
        _leave(self)

    def is_due(self, optimizer: Optimizer) -> bool:
        """Count a step of an optimizer, and answer whether it is to be recorded: the first one, and so on."""
        known = self.steps.get(id(optimizer))
        if known is None or known[0]() is not optimizer:  # ids are used again
            known = self.steps[id(optimizer)] = (weakref.ref(optimizer), [0])
        count = known[1]
        count[0] += 1
        return (count[0] - 1) % self.log_freq == 0

    def names(self) -> dict[int, str]:
        """Answer the names of the parameters by their ids; looked up anew, for they may be replaced at any time."""
        model = self.model()
        found = {} if model is None else {id(one): name for name, one in _unwrapped(model).named_parameters()}
        criterion = None if self.criterion is None else self.criterion()
        if criterion is not None:
            found.update({id(one): f"criterion.{name}" for name, one in criterion.named_parameters()})
        return {number: _plain_name(name) for number, name in found.items()}

    def trained(self) -> list[str]:
        """Answer the names of the model's parameters that are not frozen."""
        model = self.model()
        named = () if model is None else _unwrapped(model).named_parameters()
        return [_plain_name(name) for name, one in named if one.requires_grad]

    def begin(self, optimizer: Optimizer, has_closure: bool) -> None:
        """Measure what there is before a step."""
        self.open = None
        if os.getpid() != self.run._pid:  # a forked child, whose run it is not
            return
        if _cuda.is_initialized() and _cuda.is_current_stream_capturing():
            self.run._complaints.once(
                "watch: graph",
                "the optimizer's step is being captured in a CUDA graph; watch() sees nothing of its replays.",
            )
            return
        names = self.names()
        held = [one for group in optimizer.param_groups for one in group["params"] if id(one) in names]
        parameters = {names[id(one)]: one for one in held if one.requires_grad or one.grad is not None}
        if not parameters:
            return
        if self.by_module and self.depth is None:
            self.depth = depth_of(self.trained() or names.values())
        with torch.no_grad():
            self.open = Step(self, optimizer, parameters, has_closure)

    def end(self, optimizer: Optimizer) -> None:
        """Measure what there is after it, and send all of it on its way."""
        step, self.open = self.open, None
        if step is None or step.optimizer() is not optimizer:
            return
        with torch.no_grad():
            waiting = step.finish()
        self.has_rows = True
        self.send(optimizer, waiting)

    def send(self, optimizer: Optimizer, waiting: WatchedRow) -> None:
        """Have a row written when its values are here."""
        if waiting.spreads:
            if self.peers is None:
                write = None if isinstance(self.run, Participant) else self.run._complete
                # The same number on every rank, where all of them watch the same models.
                self.peers = Peers(f"tracker/watch/{next(_numbers)}", write, self.run._complaints.once)
                _exchanges.append((self.run, self.peers))
            self.peers.take(f"{list(self.steps).index(id(optimizer))}/{self.steps[id(optimizer)][1][0]}", waiting)
        elif isinstance(self.run, Participant):
            return
        elif not self.run._keeper.defer(waiting):
            self.run._complete(waiting)


class Step:
    """One step of an optimizer, being measured.

    Args:
        watched: On whose behalf.
        optimizer: Whose step it is.
        parameters: By name; those of the model that the optimizer holds.
        has_closure: Whether the gradients are computed within the step: then they are looked at behind it.
    """

    def __init__(
        self, watched: Watched, optimizer: Optimizer, parameters: Mapping[str, Tensor], has_closure: bool
    ) -> None:
        self.watched = watched
        self.optimizer = weakref.ref(optimizer)
        self.parameters = parameters
        self.place = watched.run.step
        self.time_ns = watched.run._clock.now_ns()
        # A fused optimizer divides by the scale itself, and passes over a step whose gradients have overflowed.
        self.scale = _tensor(optimizer, "grad_scale")
        self.overflow = _tensor(optimizer, "found_inf")
        self.has_closure = has_closure
        self.devices: dict[torch.device, _OnOneDevice] = {}
        self.sparse: dict[str, tuple[int, int]] = {}
        self.spreads = {name: how for name, how in _spreads(parameters) if how is not None}
        for name, one in _dense(parameters):
            self._on(one.device).parameters[name] = one
        if watched.with_gradients and not has_closure:
            self._measure_gradients()
        for part in self.devices.values():
            part.before(watched)

    def _on(self, device: torch.device) -> _OnOneDevice:
        part = self.devices.get(device)
        if part is None:
            part = self.devices[device] = _OnOneDevice(Tape(device))
        return part

    def _measure_gradients(self) -> None:
        gradients = {name: one.grad for name, one in self.parameters.items() if one.grad is not None}
        for name, one in gradients.items():
            if one.layout is not torch.strided:  # it has fewer values than its parameter
                self.sparse[name] = (self.parameters[name].numel(), self.parameters[name].shape[0])
        for name, one in _dense(gradients):
            self._on(one.device).gradients[name] = one
        for part in self.devices.values():
            part.measure_gradients(self.watched.sample, self.scale)

    def finish(self) -> WatchedRow:
        """Measure what the step has changed, and answer the row to be."""
        if self.watched.with_gradients and self.has_closure:
            self._measure_gradients()
        flights = [part.after(self.overflow) for part in self.devices.values()]
        watched = self.watched
        return WatchedRow(self.place, self.time_ns, watched.prefix, flights, self.sparse, self.spreads, watched.depth)


@dataclass
class _OnOneDevice:
    """The part of a step that lies on one device."""

    tape: Tape
    parameters: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    names: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    decode: list[Decode | None] = field(default_factory=lambda: [None, None])
    kept: tuple[Tensor, list[int]] | None = None

    def before(self, watched: Watched) -> None:
        """Measure the parameters, and keep a sample of them."""
        if not self.parameters:
            return
        tensors = list(self.parameters.values())
        if watched.with_parameters:
            self.names[1].extend(self.parameters)
            self.decode[1] = measure(tensors, self.tape, sample=watched.sample, with_units=False)
        self.kept = samples(tensors)

    def measure_gradients(self, sample: int, scale: Tensor | None) -> None:
        """Measure the gradients, and let them go."""
        if not self.gradients:
            return
        self.names[0].extend(self.gradients)
        if scale is not None:
            scale = scale.to(self.tape.device, non_blocking=True)
        tensors = list(self.gradients.values())
        self.decode[0] = measure(tensors, self.tape, sample=sample, with_units=True, scale=scale)
        self.gradients.clear()

    def after(self, overflow: Tensor | None) -> Flight:
        """Compare the parameters with what was kept, and send all of it to the host."""
        changed_at = held_at = overflow_at = slice(0, 0)
        if self.kept is not None:
            old, lengths = self.kept
            new, _ = samples(list(self.parameters.values()))
            held_at = self.tape.add(squared_norms(old, lengths))
            changed_at = self.tape.add(squared_norms(new.sub_(old), lengths))
        if overflow is not None:
            overflow_at = self.tape.add(overflow.to(self.tape.device, non_blocking=True))
        whole = self.tape.whole()
        arriving = fetch(whole) if whole.device.type != "cpu" else Pending(lambda: True, lambda: whole)
        updated = list(self.parameters)
        return Flight(arriving, self.names, tuple(self.decode), updated, held_at, changed_at, overflow_at)


@dataclass(frozen=True)
class Flight:
    """What was measured on one device, on its way to the host."""

    arriving: Pending
    names: tuple[list[str], list[str]]
    decode: tuple[Decode | None, ...]
    updated: list[str]
    held_at: slice
    changed_at: slice
    overflow_at: slice

    def land(self) -> tuple[list[dict[str, Statistics]], dict[str, tuple[float, float]]]:
        """Answer statistics of gradients and parameters, and what was there and was changed."""
        values: list[float] = self.arriving.get().tolist()
        found = [
            dict(zip(names, decode(values), strict=True)) if decode is not None else {}
            for names, decode in zip(self.names, self.decode, strict=True)
        ]
        if any(values[self.overflow_at]):  # the step was passed over: nothing was changed
            return found, {}
        changes = zip(values[self.held_at], values[self.changed_at], strict=True)
        return found, dict(zip(self.updated, changes, strict=True))


class WatchedRow:
    """A row of statistics that waits for its values; see `deferred.Waiting`.

    Args:
        step: Where it belongs.
        time_ns: When it was measured.
        prefix: Goes before the parameters' names.
        flights: What is on its way.
        sizes: How many values and units each parameter has, where that is more than its gradient shows.
        spreads: How the parameters are spread that are spread over ranks.
        depth: How many parts of the names to keep, where modules are recorded and not each parameter.
    """

    def __init__(
        self,
        step: int | float,
        time_ns: int,
        prefix: str,
        flights: Sequence[Flight],
        sizes: Mapping[str, tuple[int, int]],
        spreads: Mapping[str, Spread],
        depth: int | None = None,
    ) -> None:
        self.step = step
        self.time_ns = time_ns
        self.spreads = spreads
        self._prefix = prefix
        self._flights = flights
        self._sizes = sizes
        self._depth = depth

    @property
    def is_ready(self) -> bool:
        """Whether all values have arrived."""
        return all(flight.arriving.is_ready() for flight in self._flights)

    def arrived(self) -> dict[str, Any]:
        """Wait for the values, and answer the row's data."""
        return self.row_of(self.raw())

    def raw(self) -> Raw:
        """Wait for the values, and answer what was measured here."""
        gradients: dict[str, Statistics] = {}
        parameters: dict[str, Statistics] = {}
        changes: dict[str, tuple[float, float]] = {}
        for flight in self._flights:
            found, changed = flight.land()
            gradients.update(found[0])
            parameters.update(found[1])
            changes.update(changed)
        for name, (size, units) in self._sizes.items():
            if name in gradients:
                gradients[name] = replace(gradients[name], size=size, units=units)
        return Raw(gradients, parameters, changes)

    def row_of(self, raw: Raw) -> dict[str, Any]:
        """Answer the values of a row."""
        return row(raw if self._depth is None else by_module(raw, self._depth), self._prefix)


# --- tensors as they come ------------------------------------------------------------------


def _dense(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield what can be measured of each tensor: its values here, if it has any."""
    for name, tensor in tensors.items():
        values = local(tensor.detach())
        if values.layout is torch.sparse_coo:
            values = _summed(values)
        elif values.layout is not torch.strided:
            values = values.values()
        if values.numel() and not values.is_meta and (values.is_floating_point() or values.is_complex()):
            yield name, values


def _spreads(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Spread | None]]:
    return ((name, spread_of(tensor)) for name, tensor in tensors.items())


def _summed(gradient: Tensor) -> Tensor:
    """Answer the values of a sparse gradient, those of equal place summed."""
    if gradient.is_coalesced() or gradient.device.type == "cpu" or gradient.sparse_dim() != 1:
        return gradient.coalesce().values()
    # Coalescing waits for the device, to learn how many places there are. Here as many rows are left as there were,
    # and those that were summed up into others are zero.
    order = gradient._indices()[0].argsort()
    places = gradient._indices()[0][order]
    is_new = torch.ones_like(places, dtype=torch.bool)
    is_new[1:] = places[1:] != places[:-1]
    values = gradient._values()[order]
    return torch.zeros_like(values).index_add_(0, is_new.cumsum(0) - 1, values)


def _tensor(optimizer: Optimizer, name: str) -> Tensor | None:
    value = getattr(optimizer, name, None)
    return value if isinstance(value, Tensor) else None


def _unwrapped(model: nn.Module) -> nn.Module:
    inner = getattr(model, "module", None)
    if type(model).__name__ in _WRAPPERS and isinstance(inner, nn.Module):
        return _unwrapped(inner)
    return model


def _plain_name(name: str) -> str:
    for part in _IN_NAMES:
        name = name.replace(part, "")
    return name


# --- hooks ---------------------------------------------------------------------------------

_watched: list[Watched] = []
_exchanges: list[tuple[Run | Participant, Peers]] = []
_numbers = count()
_is_inside = [False]
_participants: list[Participant] = []
_handles: list[Any] = []
_seen: weakref.WeakKeyDictionary[Run | Participant, list[weakref.ref[nn.Module]]] = weakref.WeakKeyDictionary()


def participant() -> Participant:
    """Answer what stands in for a run on this rank."""
    if not _participants:
        _participants.append(Participant())
    return _participants[0]


def attach(
    run: Run | Participant,
    models: Sequence[nn.Module],
    criterion: Any,
    log: str | None,
    log_freq: int,
    idx: int | None,
    log_graph: bool,
    by: str,
) -> None:
    """Watch models for a run, each from now on."""
    if not isinstance(run, Participant) and not any(one.run is run for one in _watched):
        run._captured.append(guarded(run, "watch", lambda: _end(run)))
    detach(run, models, is_final=False)
    for place, model in enumerate(models):
        number = _number(run, model) if idx is None else idx + place
        prefix = f"graph_{number}/" if number else ""
        if log_graph and not isinstance(run, Participant):
            torch_graph.attach(run, model, number)
        if log is not None:
            first_criterion = criterion if place == 0 else None
            _watched.append(Watched(run, model, first_criterion, prefix, log, log_freq, by == "module"))
    if not _handles:
        _handles.append(register_optimizer_step_pre_hook(_before))
        _handles.append(register_optimizer_step_post_hook(_after))


def detach(run: Run | Participant, models: Sequence[nn.Module] | None, *, is_final: bool = True) -> None:
    """Watch models of a run no longer; None means all of them."""
    torch_graph.detach(run, models)
    for one in list(_watched):
        if one.run is run and (models is None or any(one.model() is model for model in models)):
            _leave(one)
            if is_final and one.steps and not one.has_rows:
                run._complaints.say(
                    "watch() has recorded nothing: no torch.optim optimizer has stepped a parameter of the model."
                )
    _unhook()


def _end(run: Run) -> None:
    detach(run, None)
    for one in list(_exchanges):
        if one[0] is run:
            one[1].stop()
            _exchanges.remove(one)


def leave_peers(models: Sequence[nn.Module] | None) -> bool:
    """Take part in nothing more, on a rank without a run; answer whether it did."""
    has_part = any(isinstance(one.run, Participant) for one in _watched)
    if has_part:
        detach(participant(), models)
    return has_part


def _number(run: Run | Participant, model: nn.Module) -> int:
    """Answer which of the run's models this is, from 0 on; it stays so when it is watched again."""
    seen = _seen.setdefault(run, [])
    for number, known in enumerate(seen):
        if known() is model:
            return number
    seen.append(weakref.ref(model))
    return len(seen) - 1


def _leave(watched: Watched) -> None:
    if watched in _watched:
        _watched.remove(watched)
        if watched.peers is not None:
            watched.peers.close()


def _unhook() -> None:
    """Take our hooks away where nothing needs them; never from within one, torch is going through them then."""
    if not _watched and not torch_graph.has_any() and not _is_inside[0]:
        while _handles:
            _handles.pop().remove()


def _before(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for graph in tuple(torch_graph.waiting):  # training goes on without a forward pass that shows the shapes
        graph.wait_no_longer()
    for watched in tuple(_watched):
        if watched.is_due(optimizer):
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            _guard(watched, watched.begin, optimizer, closure is not None)


def _after(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for watched in tuple(_watched):
        if watched.open is not None:
            _guard(watched, watched.end, optimizer)


def _guard(watched: Watched, work: Callable[..., None], *arguments: Any) -> None:
    """Do our work; a fault in it never reaches the training loop."""
    _is_inside[0] = True
    try:
        work(*arguments)
    except Exception as error:  # whatever a device has in store, out of memory not least
        watched.open = None
        if exits.is_from_handler(error) or is_strict():
            raise
        watched.faults += 1
        watched.run._complaints.say(f"a step of a watched model was not recorded ({type(error).__name__}: {error}).")
        if watched.faults >= WATCH_FAULTS:
            watched.run._complaints.say("the model is not watched any longer: it has failed too often.")
            _leave(watched)
    else:
        watched.faults = 0
    finally:
        _is_inside[0] = False


# `torch.compile` of an optimizer's step would otherwise try to compile ours; made lazily, torch._dynamo is large.
_disabled: Any = getattr(torch, "_disable_dynamo", None)
if _disabled is not None:
    _before = _disabled(_before)
    _after = _disabled(_after)
