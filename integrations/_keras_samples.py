"""Keras: a few rows of the validation data, the same each time, and what to show of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tracker

from .base import EVAL_ROWS, sample_rows

_MAX_NUMBERS = 32
"""Numbers of a row's input or output that a cell shows."""
_LEAST_SIDE = 8
"""Pixels: what is smaller is no picture."""


class Sample(NamedTuple):
    """Rows of a data set.

    Args:
        x: What the model takes: an array, or a list or dict of them.
        y: What it should answer; None where that is not known.
        rows: Their places in the data set.
    """

    x: Any
    y: Any
    rows: list[int]


def of_fit(arguments: Mapping[str, Any], limit: int = EVAL_ROWS) -> Sample | None:
    """Answer rows of what `fit` validates with; None where it does not, or where reading would use it up."""
    data = arguments.get("validation_data")
    if data is not None:
        return of_data(data, limit)
    share = arguments.get("validation_split") or 0
    x, y = arguments.get("x"), arguments.get("y")
    if not share or y is None:
        return None
    count = _count(x)
    if count is None:
        return None
    first = int(count * (1 - share))  # Keras takes the last ones
    rows = [first + row for row in sample_rows(count - first, limit)]
    return Sample(_take(x, rows), _take(y, rows), rows)


def of_data(data: Any, limit: int = EVAL_ROWS) -> Sample | None:
    """Answer rows of a data set: arrays, or what can be read again. Generators are let be: they would be used up."""
    if isinstance(data, (tuple, list)) and len(data) in (2, 3) and _count(data[0]) is not None:
        count = _count(data[0]) or 0
        rows = sample_rows(count, limit)
        return Sample(_take(data[0], rows), _take(data[1], rows), rows)
    if hasattr(data, "element_spec") and hasattr(data, "take"):  # tf.data
        return _of_batches(iter(data), limit)
    if hasattr(data, "collate_fn") and hasattr(getattr(data, "dataset", None), "__getitem__"):  # torch's DataLoader
        rows = sample_rows(len(data.dataset), limit)
        with same_dice():
            return _with_rows(_pair(data.collate_fn([data.dataset[row] for row in rows])), rows)
    is_indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if is_indexed and not isinstance(data, (tuple, list, dict, str)) and not hasattr(data, "shape"):
        with same_dice():  # keras.utils.PyDataset, or its elder, Sequence
            return _of_batches((data[index] for index in range(len(data))), limit)
    return None


def _of_batches(batches: Iterator[Any], limit: int) -> Sample | None:
    parts: list[tuple[Any, Any]] = []
    count = 0
    for batch in batches:
        pair = _pair(batch)
        size = None if pair is None else _count(pair[0])
        if pair is None or not size:
            return None
        rows = list(range(min(size, limit - count)))
        parts.append((_take(pair[0], rows), _take(pair[1], rows)))
        count += len(rows)
        if count >= limit:
            break
    if not parts:
        return None
    return Sample(_join([x for x, _ in parts]), _join([y for _, y in parts]), list(range(count)))


def _pair(batch: Any) -> tuple[Any, Any] | None:
    return (batch[0], batch[1]) if isinstance(batch, (tuple, list)) and len(batch) in (2, 3) else None


def _with_rows(pair: tuple[Any, Any] | None, rows: list[int]) -> Sample | None:
    if pair is None:
        return None
    every = list(range(len(rows)))
    return Sample(_take(pair[0], every), _take(pair[1], every), rows)


@contextmanager
def same_dice() -> Iterator[None]:
    """Leave the generators of random numbers as they were: a data set may throw them for each row."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    states = random.getstate(), numpy and numpy.random.get_state(), torch and torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        if numpy:
            numpy.random.set_state(states[1])
        if torch:
            torch.set_rng_state(states[2])


# --- arrays of any kind ----------------------------------------------------------------------------


def leaves(data: Any) -> dict[str, Any]:
    """Answer the arrays in an input or output by name; "" is the only one."""
    if isinstance(data, Mapping):
        return {str(name): value for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return {str(place): value for place, value in enumerate(data)}
    return {"": data}


def _map(function: Callable[..., Any], *data: Any) -> Any:
    first = data[0]
    if isinstance(first, Mapping):
        return {name: _map(function, *(one[name] for one in data)) for name in first}
    if isinstance(first, (list, tuple)):
        return [_map(function, *(one[place] for one in data)) for place in range(len(first))]
    return None if first is None else function(*data)


def _count(data: Any) -> int | None:
    for leaf in leaves(data).values():
        if isinstance(leaf, (Mapping, list, tuple)):
            return _count(leaf)
        shape = getattr(leaf, "shape", None)
        return int(shape[0]) if shape is not None and len(shape) else None
    return None


def _take(data: Any, rows: Sequence[int]) -> Any:
    return _map(lambda leaf: _rows_of(leaf, list(rows)), data)


def _rows_of(leaf: Any, rows: list[int]) -> Any:
    import numpy as np

    if hasattr(leaf, "iloc"):  # pandas
        return leaf.iloc[rows].to_numpy()
    if hasattr(leaf, "detach"):
        return leaf[rows].detach().cpu().numpy()
    if not isinstance(leaf, np.ndarray) and hasattr(leaf, "numpy"):  # TensorFlow's tensors have no lists as indices
        return sys.modules["tensorflow"].gather(leaf, rows).numpy()
    if hasattr(leaf, "__jax_array__") or hasattr(leaf, "copy_to_host_async"):
        return np.asarray(leaf[np.asarray(rows)])
    return np.array(leaf[rows])


def _join(parts: list[Any]) -> Any:
    import numpy as np

    return _map(lambda *leaves: np.concatenate(leaves), *parts)


# --- cells -----------------------------------------------------------------------------------------


def cell(value: Any) -> Any:
    """Answer what a table shows of one row of an array: a text, a picture, a number, or the first of many numbers."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in array.ravel().tolist()]
        return texts[0] if len(texts) == 1 else texts[:_MAX_NUMBERS]
    if array.size == 1:
        return array.item()
    if _is_picture(array):
        return tracker.Image(_bright(array))
    flat = array.ravel()[:_MAX_NUMBERS].tolist()
    return [*flat, f"… {array.size} in all"] if array.size > _MAX_NUMBERS else flat


def _is_picture(array: Any) -> bool:
    if array.ndim == 2:
        return bool(min(array.shape) >= _LEAST_SIDE and array.shape[0] == array.shape[1])
    return bool(array.ndim == 3 and array.shape[-1] in (1, 3, 4) and min(array.shape[:2]) >= _LEAST_SIDE)


def _bright(array: Any) -> Any:
    import numpy as np

    if array.dtype == np.uint8:
        return array
    values = np.nan_to_num(array.astype("float32"))
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    return ((values - low) * (255 / ((high - low) or 1))).astype("uint8")
