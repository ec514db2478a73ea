"""Rows of an evaluation: input, target, prediction, as `validation_step` and `test_step` work on them.

What was predicted is taken from what the step returns, where it returns that; else from what the model's `forward`
answered during the step. Nothing is computed a second time, and nothing on a device is waited for before the evaluation
is over. The rows are the same ones each time, spread over all batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tracker

from .base import Session, sample_rows

_PREDICTIONS = (
    "preds",
    "pred",
    "predictions",
    "prediction",
    "y_hat",
    "y_pred",
    "logits",
    "probs",
    "scores",
    "output",
    "outputs",
)
_TARGETS = ("target", "targets", "y", "label", "labels", "y_true")
_INPUTS = ("x", "input", "inputs", "image", "images", "text", "texts", "pixel_values", "input_ids", "features", "data")
_MAX_LIST = 32  # numbers of a vector in a cell
_MIN_SIDE = 8  # of what is shown as an image
_MAX_SIDE = 256

Rows = dict[str, list[Any]]


class Predictions:
    """What is collected during one evaluation.

    Args:
        limit: Rows at most.
        batches: How many there are, for each data loader; may be infinite.
        module: The model.
    """

    def __init__(self, limit: int, batches: Sequence[float], module: Any) -> None:
        self._left = limit
        self._limit = max(1, limit // max(1, len(batches)))
        self._batches = batches
        self._module = module
        self._parts: list[Callable[[], Rows]] = []
        self._handles: list[Any] = []
        self._answers: list[tuple[Any, Any]] = []  # what modules answered during the step, the model's own marked

    def wants(self, batch_index: int, loader: int) -> bool:
        """Answer whether rows of a batch are taken."""
        count = self._batches[loader] if loader < len(self._batches) else float("inf")
        if self._left <= 0:
            return False
        if count == float("inf"):
            return batch_index < self._limit
        return count <= self._limit or batch_index * self._limit % int(count) < self._limit

    def begin(self) -> None:
        """Look at what the model answers, from here to `end`."""
        module = self._module
        if getattr(module, "_compiler_ctx", None):  # a hook would have it compiled anew
            return
        self._answers.clear()
        self._handles = [module.register_forward_hook(self._saw_model)]
        for child in module.children():
            kind = type(child)
            if kind.__name__ != "OptimizedModule" and not _is_measure(kind):
                self._handles.append(child.register_forward_hook(self._saw_child))

    def end(self, outputs: Any, batch: Any, batch_index: int, loader: int) -> None:
        """Take rows of the batch that was evaluated."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        answers, self._answers = self._answers, []
        found = _named(outputs, _PREDICTIONS)
        if found is None and _length(outputs) is not None and not isinstance(outputs, (Mapping, tuple)):
            found = outputs
        if found is None:
            # DDP runs the whole step as the module's forward: that answer is the step's.
            own = [answer for is_whole, answer in answers if is_whole and answer is not None and answer is not outputs]
            found = own[-1] if own else None
        if found is None and answers:
            found = answers[-1][1]
        if isinstance(found, Mapping):  # a model's output of several parts
            found = _named(found, _PREDICTIONS)
        if isinstance(found, (tuple, list)) and found and _length(found[0]) is not None:
            found = found[0]
        size = _length(found)
        if size is None:
            return
        inputs, targets = _of_batch(batch, size)
        named = _named(outputs, _TARGETS)
        targets = named if _length(named) == size else targets
        count = self._batches[loader] if loader < len(self._batches) else float("inf")
        wanted = 1 if count == float("inf") else max(1, -(-self._limit // int(count)))
        chosen = sample_rows(size, min(wanted, self._left))
        self._left -= len(chosen)
        taken = [_rows(value, chosen) for value in (inputs, targets, found)]
        self._parts.append(lambda: self._part(chosen, batch_index, loader, *taken))

    def write(self, session: Session, key: str, step: int | None) -> None:
        """Write what was collected into the run's table."""
        parts, self._parts = self._parts, []
        by_columns: dict[tuple[str, ...], list[list[Any]]] = {}
        for part in parts:
            rows = part()
            by_columns.setdefault(tuple(rows), []).extend(list(row) for row in zip(*rows.values(), strict=True))
        for number, (columns, rows_) in enumerate(by_columns.items()):
            session.table(key if number == 0 else f"{key}_{number + 1}", columns, rows_, step)

    def _saw_model(self, _module: Any, _arguments: Any, answer: Any) -> None:
        self._answers.append((True, answer))

    def _saw_child(self, _module: Any, _arguments: Any, answer: Any) -> None:
        if _length(answer) is not None:
            self._answers.append((False, answer))

    def _part(self, chosen: list[int], batch: int, loader: int, inputs: Any, targets: Any, found: Any) -> Rows:
        rows: Rows = {"batch": [batch] * len(chosen), "row": chosen}
        if len(self._batches) > 1:
            rows = {"dataloader": [loader] * len(chosen), **rows}
        if inputs is not None:
            rows["input"] = self._cells(inputs)
        rows.update(_judged(found, targets) or {})
        if "prediction" not in rows:
            if targets is not None:
                rows["target"] = self._cells(targets)
            rows["prediction"] = self._cells(found)
        return rows

    def _cells(self, value: Any) -> list[Any]:
        if not hasattr(value, "dim"):
            return [item if isinstance(item, (str, int, float, bool)) or item is None else str(item) for item in value]
        value = value.detach().cpu()
        if value.dim() == 1:
            return list(value.tolist())
        if value.dim() == 4 and value.shape[1] in (1, 3, 4) and min(value.shape[2:]) >= _MIN_SIDE:
            return [_image(one) for one in value]
        if value.dim() == 3 and value.is_floating_point() and value.shape[-1] > _MAX_LIST:  # scores of tokens
            value = value.argmax(-1)
        tokenizer: Any = getattr(self._module, "tokenizer", None)
        if value.dim() == 2 and not value.is_floating_point() and hasattr(tokenizer, "decode"):
            return [tokenizer.decode([number for number in row if number >= 0]) for row in value.tolist()]
        if value[0].numel() <= _MAX_LIST:
            return [str(one.tolist()) for one in value]
        return [f"{str(one.dtype).removeprefix('torch.')} of shape {tuple(one.shape)}" for one in value]


def _judged(found: Any, targets: Any) -> Rows | None:
    """Answer columns for a classification or a regression; None where it is neither, or not to be told."""
    if not hasattr(found, "dim") or not hasattr(targets, "dim") or not found.is_floating_point():
        return None
    import torch  # it is there: these are tensors

    found, targets = found.detach().float().cpu(), targets.detach().cpu()
    if found.dim() == 2 and found.shape[1] > 1 and targets.dim() == 1 and not targets.is_floating_point():
        is_share = bool((found >= 0).all()) and torch.allclose(found.sum(1), torch.ones(len(found)), atol=1e-3)
        logs = found.clamp_min(1e-12).log() if is_share else found.log_softmax(1)
        best = logs.max(1)
        inside = (targets >= 0) & (targets < found.shape[1])
        losses = -logs.gather(1, targets.clamp(0, found.shape[1] - 1).long()[:, None])[:, 0]
        return {
            "target": targets.tolist(),
            "prediction": best.indices.tolist(),
            "confidence": best.values.exp().tolist(),
            "loss": [loss if known else None for loss, known in zip(losses.tolist(), inside.tolist(), strict=True)],
        }
    if targets.is_floating_point() and found.numel() == len(found) and targets.numel() == len(targets):
        found, targets = found.reshape(-1), targets.float().reshape(-1)
        return {
            "target": targets.tolist(),
            "prediction": found.tolist(),
            "error": (found - targets).tolist(),
        }
    return None


def _of_batch(batch: Any, size: int) -> tuple[Any, Any]:
    """Answer inputs and targets of a batch, each of `size` rows; None where they are not to be told."""
    if isinstance(batch, Mapping):
        inputs, targets = _named(batch, _INPUTS), _named(batch, _TARGETS)
    elif isinstance(batch, (tuple, list)) and batch and _length(batch[0]) == size:
        inputs, targets = batch[0], batch[1] if len(batch) > 1 else None
    else:
        inputs, targets = batch, None
    return inputs if _length(inputs) == size else None, targets if _length(targets) == size else None


def _named(values: Any, names: Sequence[str]) -> Any:
    if not isinstance(values, Mapping):
        return None
    return next((values[name] for name in names if _length(values.get(name)) is not None), None)


def _length(value: Any) -> int | None:
    """Answer how many rows something has; None for what has none."""
    if hasattr(value, "dim"):
        return int(value.shape[0]) if value.dim() > 0 else None
    return len(value) if isinstance(value, (list, tuple)) and value else None


def _rows(value: Any, chosen: list[int]) -> Any:
    """Answer some rows of a batch, of their own: the batch's memory may be used again."""
    if value is None:
        return None
    if hasattr(value, "dim"):
        rows = value.detach()[chosen]
        if rows.dim() == 4 and max(rows.shape[2:]) > _MAX_SIDE:  # a small picture says as much
            stride = -(-max(rows.shape[2:]) // _MAX_SIDE)
            rows = rows[:, :, ::stride, ::stride].clone()
        return rows
    return [value[index] for index in chosen]


def _image(one: Any) -> Any:
    if one.is_floating_point():
        low, high = float(one.min()), float(one.max())
        if low < 0 or high > 1:  # as normalized for the model
            one = (one - low) / ((high - low) or 1.0)
    return tracker.Image(one)


def _is_measure(kind: type) -> bool:
    """Answer whether a module is a loss or a metric, which predicts nothing."""
    return any(
        base.__module__.startswith("torchmetrics") or base.__name__ in ("_Loss", "Metric") for base in kind.__mro__
    )
