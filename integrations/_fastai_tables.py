"""fastai: rows of the validation set with what the model makes of them, as people read them."""

from __future__ import annotations

import itertools
from typing import Any

import tracker

from .base import sample_rows

_IMAGES = 36  # rows of a table that shows pictures
_LIST_CELLS = 16  # numbers of an input that is shown as a list


class Sample:
    """Rows of a validation, the same ones each time, taken as its batches go by.

    Args:
        loader: The validation's.
        limit: How many rows at most.
    """

    def __init__(self, loader: Any, limit: int) -> None:
        count = getattr(loader, "n", None) or len(loader.dataset)
        self.wanted = set(sample_rows(count, limit))
        self.loader = loader
        self.seen = 0
        self.inputs: list[tuple[Any, ...]] = []
        self.targets: list[tuple[Any, ...]] = []
        self.predictions: list[Any] = []

    def take(self, xb: tuple[Any, ...], yb: tuple[Any, ...], pred: Any) -> None:
        """Keep those of a batch's rows that are wanted."""
        if not hasattr(pred, "shape") or not all(hasattr(part, "shape") for part in (*xb, *yb)):
            self.wanted.clear()
            return
        rows = [row for row in range(len(pred)) if self.seen + row in self.wanted]
        self.seen += len(pred)
        if rows:
            self.inputs.append(tuple(part[rows] for part in xb))
            self.targets.append(tuple(part[rows] for part in yb))
            self.predictions.append(pred[rows])

    def table(self, learn: Any) -> tuple[list[str], list[list[Any]]]:
        """Answer the rows as people read them: inputs, target, prediction, loss."""
        import torch

        kinds = (self.inputs[0], self.targets[0])
        xb, yb = (
            tuple(_as(torch.cat([batch[part] for batch in batches]), kind[part]) for part in range(len(kind)))
            for batches, kind in zip((self.inputs, self.targets), kinds, strict=True)
        )
        preds = torch.cat(self.predictions)
        losses = _losses(learn, preds, yb)
        activation = getattr(learn.loss_func, "activation", None)
        decodes = getattr(learn.loss_func, "decodes", None)
        out = activation(preds) if activation else preds
        decoded = decodes(out) if decodes else out
        shown = None
        if hasattr(self.loader, "show_results"):
            shown = self.loader.show_results((*xb, *yb), decoded, show=False, max_n=len(preds))
        columns, rows = _frame(*shown[:2]) if shown is not None and shown[2] is None else _items(xb, yb, decoded, shown)
        if losses is not None:
            columns = [*columns, "loss"]
            rows = [[*row, loss] for row, loss in zip(rows, losses, strict=True)]
        return columns, rows[:_IMAGES] if any(isinstance(cell, tracker.Image) for cell in rows[0]) else rows


def _as(value: Any, kind: Any) -> Any:
    return value.as_subclass(type(kind)) if type(value) is not type(kind) else value


def _losses(learn: Any, preds: Any, yb: tuple[Any, ...]) -> list[float] | None:
    """Answer the loss of each row; None where the loss is not one of rows."""
    import torch

    try:
        with torch.no_grad(), learn.loss_not_reduced():
            losses = learn.loss_func(preds, *yb)
        return [float(value) for value in losses.reshape(len(preds), -1).mean(1)]
    except Exception:  # a loss of the user's own has no `reduction`
        return None


def _frame(x: Any, y: Any) -> tuple[list[str], list[list[Any]]]:
    """Answer rows of tabular data: both are whole tables, which differ in the target."""
    x, y = x.decode(), y.decode()
    table = x.all_cols
    columns = [str(name) for name in table.columns]
    predicted = [str(name) for name in x.y_names]
    rows = [
        [*cells, *more]
        for cells, more in zip(table.to_numpy().tolist(), y[list(x.y_names)].to_numpy().tolist(), strict=True)
    ]
    return [*columns, *(f"{name}_pred" for name in predicted)], rows


def _items(xb: Any, yb: Any, decoded: Any, shown: Any) -> tuple[list[str], list[list[Any]]]:
    if shown is not None:
        samples, outs = list(shown[2]), list(shown[3])
    else:
        samples = [tuple(part[row] for part in (*xb, *yb)) for row in range(len(decoded))]
        outs = [(decoded[row],) for row in range(len(decoded))]
    n_inputs = len(xb)
    numbers = [""] if n_inputs == 1 else [f"_{number}" for number in range(n_inputs)]
    targets = [""] if len(yb) == 1 else [f"_{number}" for number in range(len(yb))]
    columns = [
        *(f"input{number}" for number in numbers),
        *(f"label{number}" for number in targets),
        *(f"prediction{number}" for number in ([""] if len(outs[0]) == 1 else map(str, range(len(outs[0]))))),
    ]
    pairs = zip(samples, outs, strict=True)
    return columns, [[_cell(value) for value in itertools.chain(sample, out)] for sample, out in pairs]


def _cell(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool)):
        return str(value) if isinstance(value, str) else value
    shape = tuple(getattr(value, "shape", ()))
    if hasattr(value, "mode") and hasattr(value, "getbands"):  # a picture of Pillow's
        return tracker.Image(value)
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return tracker.Image(value.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy())
    if len(shape) == 2 and "Mask" in type(value).__name__:
        return tracker.Image(value.detach().cpu().numpy().astype("uint8"))
    if hasattr(value, "numel"):
        numbers = value.detach().cpu().reshape(-1)[:_LIST_CELLS].tolist()
        return numbers[0] if value.numel() == 1 else str([round(number, 5) for number in numbers])
    return str(value)
