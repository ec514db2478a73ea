"""What a training loop has around its optimizer: the model, the script's arguments, facts for the config."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

_MAX_FRAMES = 40
_MAX_NAMES = 500


class Surroundings(NamedTuple):
    """What was found.

    Args:
        model: The largest module that holds a parameter of the optimizer.
        arguments: Of the script, as argparse has read them.
    """

    model: nn.Module | None
    arguments: dict[str, Any]


def surroundings(optimizer: Optimizer) -> Surroundings:
    """Look for what belongs to an optimizer among the variables of those who have called it.

    Nothing is looked at but variables of functions that are running, and of the script.
    """
    import torch

    wanted = next((one for group in optimizer.param_groups for one in group["params"]), None)
    model: nn.Module | None = None
    size = -1
    arguments: dict[str, Any] = {}
    for value in _variables():
        if isinstance(value, torch.nn.Module) and wanted is not None and value is not model:
            parameters = list(value.parameters())
            if len(parameters) > size and any(one is wanted for one in parameters):
                model, size = value, len(parameters)
        elif not arguments and type(value).__name__ == "Namespace" and type(value).__module__ == "argparse":
            arguments = dict(vars(value))
    return Surroundings(model, arguments)


def _variables() -> Iterator[Any]:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in ("torch", "tracker"):
            scope = frame.f_locals
            yield from _values(dict(scope))
            if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
                # What a function's frame answers is a copy that it keeps as long as it runs: the user's tensors would
                # stay in memory with it. A module's is no copy.
                scope.clear()
        frame = frame.f_back
    yield from _values(vars(sys.modules["__main__"]))


def _values(scope: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in list(scope.items())[:_MAX_NAMES]:
        yield value
        is_own = name == "self" or type(value).__module__ == "__main__"
        inner = getattr(value, "__dict__", None) if is_own else None
        if isinstance(inner, dict):  # `self.model` of the user's own trainer
            yield from list(inner.values())[:_MAX_NAMES]


def facts_of(model: nn.Module) -> dict[str, Any]:
    """Answer a model's name and size."""
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    parameters = list(model.parameters())
    return {
        "class": type(getattr(model, "module", model)).__name__,
        "parameters": sum(one.numel() for one in parameters),
        "trainable_parameters": sum(one.numel() for one in parameters if one.requires_grad),
    }


def config_of(optimizer: Optimizer) -> dict[str, Any]:
    """Answer what an optimizer was made with."""
    kept = {name: value for name, value in optimizer.defaults.items() if isinstance(value, (int, float, str, bool))}
    rates = [group.get("lr") for group in optimizer.param_groups]
    if len(rates) == 1 and isinstance(rates[0], (int, float)):
        kept["lr"] = float(rates[0])
    return {
        "class": type(optimizer).__name__,
        **kept,
        "groups": len(optimizer.param_groups),
        "parameters": sum(one.numel() for group in optimizer.param_groups for one in group["params"]),
    }
