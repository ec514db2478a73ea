"""The tree of a torch model's modules, kept as the run's named file `graph/model.json`.

It is written as soon as the model is watched, and once more when the first forward pass has shown the shapes. They
are seen through torch's hooks around all modules: the model has none of its own, and after that pass, or the first
step of an optimizer, there are none at all. A compiled model is not looked into: hooks would have it compiled twice.
"""

from __future__ import annotations

import json
import math
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parameter import is_lazy

from ..complaints import is_strict
from ..files import keep
from ..limits import MAX_GRAPH_DETAIL_CHARS, MAX_GRAPH_SHAPES

if TYPE_CHECKING:
    from ..run import Run

KIND = "graph"
_FORMAT = 1


class Graph:
    """A model's tree on its way into a run.

    Args:
        run: Takes the file.
        model: The model; it is not kept alive.
        name: The file's name.
    """

    def __init__(self, run: Run, model: nn.Module, name: str) -> None:
        self._run = run
        self._name = name
        self._model = weakref.ref(model)
        self._tree = tree_of(model)
        self._places = {id(module): place for place, (_, module) in enumerate(model.named_modules())}
        self._handles: list[Any] = []
        self._writing: threading.Thread | None = None
        self._write()
        if not _is_compiled(model):
            self._handles.append(register_module_forward_hook(self._saw))
            waiting.append(self)

    def is_of(self, model: nn.Module) -> bool:
        """Answer whether it is the tree of this model."""
        return self._model() is model

    def end(self) -> None:
        """Look no further, and have on disk what was seen."""
        self.wait_no_longer()
        if self._writing is not None:
            self._writing.join()

    def _saw(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        place = self._places.get(id(module))
        model = self._model()
        if model is None:  # gone before it was ever called
            self.wait_no_longer()
            return
        if place is None or os.getpid() != self._run._pid:
            return
        try:
            seen = self._tree["modules"][place]
            if "output" not in seen:
                seen.update(input=_shape(inputs), output=_shape(output), flops=_flops(module, inputs, output))
            if module is model:
                self.wait_no_longer()
                self._tree["flops"] = sum(one.get("flops") or 0 for one in self._tree["modules"]) or None
                self._write()
        except Exception as error:  # a module's own shapes may be anything at all
            self.wait_no_longer()
            if is_strict():
                raise
            self._run._complaints.say(f"the shapes of a model could not be read ({type(error).__name__}: {error}).")

    def wait_no_longer(self) -> None:
        """Give up on the shapes."""
        if self in waiting:
            waiting.remove(self)
        while self._handles:
            self._handles.pop().remove()

    def _write(self) -> None:
        data = json.dumps(self._tree, separators=(",", ":")).encode()
        before = self._writing

        def write() -> None:
            if before is not None:
                before.join()
            try:
                keep(self._run, self._name, data, KIND)
            except Exception as error:  # a full disk, a folder that is gone
                self._run._complaints.say(f"{self._name} could not be kept ({type(error).__name__}: {error}).")

        # The disk is waited for, so not here.
        self._writing = threading.Thread(target=write, name="tracker-graph", daemon=True)
        self._writing.start()


def tree_of(model: nn.Module) -> dict[str, Any]:
    """Answer the tree of a model's modules, as plain data.

    Args:
        model: Any module; parameters that are not made yet are left out.

    Returns:
        The model's type, its numbers of parameters, trainable ones and bytes (shared parameters once), and `modules`:
        name, type, parameters, what it says of itself, and its own tensors; in the order in which they are nested.
    """
    modules = []
    for name, module in model.named_modules():
        parameters, trainable, _ = _sizes(module)
        modules.append(
            {
                "name": name,
                "type": f"{type(module).__module__}.{type(module).__qualname__}",
                "detail": _detail(module),
                "parameters": parameters,
                "trainable": trainable,
                "tensors": {
                    own: {
                        "shape": list(tensor.shape),
                        "dtype": str(tensor.dtype).removeprefix("torch."),
                        "trainable": tensor.requires_grad,
                    }
                    for own, tensor in module.named_parameters(recurse=False)
                    if not is_lazy(tensor)
                },
            }
        )
    parameters, trainable, size = _sizes(model)
    return {
        "format": _FORMAT,
        "type": modules[0]["type"],
        "parameters": parameters,
        "trainable": trainable,
        "bytes": size,
        "flops": None,
        "modules": modules,
    }


def _sizes(module: nn.Module) -> tuple[int, int, int]:
    known = [one for one in module.parameters() if not is_lazy(one)]
    trainable = sum(one.numel() for one in known if one.requires_grad)
    return sum(one.numel() for one in known), trainable, sum(one.numel() * one.element_size() for one in known)


def _detail(module: nn.Module) -> str:
    try:
        return str(module.extra_repr())[:MAX_GRAPH_DETAIL_CHARS]
    except Exception:  # the user's own code, for people only
        return ""


def _is_compiled(model: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def _shape(value: Any, depth: int = 3) -> Any:
    """Answer the shape of a tensor, or of what holds tensors; the name of its type for anything else."""
    if isinstance(value, Tensor):
        return list(value.shape)
    if depth and isinstance(value, (list, tuple)):
        return [_shape(one, depth - 1) for one in value[:MAX_GRAPH_SHAPES]]
    if depth and isinstance(value, Mapping):
        return {str(key): _shape(one, depth - 1) for key, one in list(value.items())[:MAX_GRAPH_SHAPES]}
    return type(value).__name__


def _flops(module: nn.Module, inputs: Any, output: Any) -> int | None:
    """Answer the multiplications and additions of one pass; None for kinds that are not known."""
    if not isinstance(output, Tensor):
        return None
    count = _FLOPS.get(_kind(module))
    return None if count is None else int(count(module, inputs, output))


def _kind(module: nn.Module) -> str:
    for kind in type(module).__mro__:
        if kind.__name__ in _FLOPS and kind.__module__.startswith("torch.nn."):
            return kind.__name__
    return ""


def _of_convolution(module: Any, _inputs: Any, output: Tensor) -> int:
    per_value: int = (module.in_channels // module.groups) * math.prod(module.kernel_size)
    return 2 * int(output.numel()) * per_value


def _of_transposed(module: Any, inputs: Any, _output: Tensor) -> int:
    per_value: int = (module.out_channels // module.groups) * math.prod(module.kernel_size)
    return 2 * int(inputs[0].numel()) * per_value if inputs else 0


_FLOPS: dict[str, Callable[[Any, Any, Tensor], int]] = {
    "Linear": lambda module, _inputs, output: 2 * output.numel() * module.in_features,
    **{f"Conv{axes}d": _of_convolution for axes in (1, 2, 3)},
    **{f"ConvTranspose{axes}d": _of_transposed for axes in (1, 2, 3)},
}


def file_name(number: int) -> str:
    """Answer the name of the file of a run's model; the first has number 0."""
    return f"graph/model_{number}.json" if number else "graph/model.json"


_graphs: list[tuple[Any, Graph]] = []
waiting: list[Graph] = []  # those that have not seen a forward pass


def attach(run: Run, model: nn.Module, number: int) -> None:
    """Keep a model's tree in a run."""
    _graphs.append((run, Graph(run, model, file_name(number))))


def has_any() -> bool:
    """Answer whether any run keeps a model's tree."""
    return bool(_graphs)


def detach(run: Any, models: Sequence[nn.Module] | None) -> None:
    """End what a run has begun here, of some models or of all."""
    for one in list(_graphs):
        if one[0] is run and (models is None or any(one[1].is_of(model) for model in models)):
            _graphs.remove(one)
            one[1].end()
