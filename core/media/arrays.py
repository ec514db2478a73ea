"""Arrays of any framework, as they are at this moment: copied at once, or on their way from a device."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..deferred import fetch
from ..limits import MAX_SNAPSHOT_BYTES
from ..values import Unstorable, is_on_device
from .held import Held


class ArrayCopy(NamedTuple):
    """An array's elements, copied.

    Args:
        held: The elements, in C order.
        dtype: As numpy names it.
        shape: Of the array.
        has_channels_first: Whether its framework puts channels before height and width.
    """

    held: Held
    dtype: str
    shape: tuple[int, ...]
    has_channels_first: bool

    def array(self) -> Any:
        """Answer a numpy array; it cannot be written to, and may have to be waited for."""
        import numpy as np

        return np.frombuffer(self.held.read(), np.dtype(self.dtype)).reshape(self.shape)


def is_array(value: Any) -> bool:
    """Answer whether a value is an array or tensor of some framework."""
    return hasattr(value, "shape") and (hasattr(value, "__array__") or hasattr(value, "__array_interface__"))


def copy_array(value: Any) -> ArrayCopy:
    """Copy an array, or a sequence of numbers; one on a device is only asked for, and not waited for.

    Raises:
        Unstorable: It holds something else than numbers, or nothing, or far too much.
    """
    import numpy as np

    is_torch = hasattr(value, "detach") and hasattr(value, "numel")
    if is_torch:
        value = value.detach()
        if str(value.dtype) in ("torch.bfloat16", "torch.float8_e4m3fn", "torch.float8_e5m2"):  # none of numpy's
            value = value.float()
        if getattr(value, "is_sparse", False):
            value = value.to_dense()
    if is_array(value):
        _check_size(value)
    if is_on_device(value):
        return _on_its_way(value, is_torch)
    if is_torch:
        value = value.resolve_conj().resolve_neg().numpy()
    elif hasattr(value, "numpy"):  # TensorFlow
        value = value.numpy()
    try:
        copy = np.array(value, order="C")  # copies always
    except ValueError as error:  # rows of different lengths
        raise Unstorable(f"is a {type(value).__name__} that is no array of numbers ({error})") from error
    copy = copy.astype(_usual(copy.dtype), copy=False)
    if not copy.size:
        raise Unstorable(f"is empty: its shape is {copy.shape}")
    return ArrayCopy(Held(copy.reshape(-1).view(np.uint8)), copy.dtype.str, copy.shape, is_torch)


def _usual(dtype: Any) -> Any:
    """Answer a type of numpy's own that holds what a type holds.

    Raises:
        Unstorable: There is none.
    """
    import numpy as np

    if dtype.kind in "biuf":
        return dtype
    if dtype.kind == "c":
        raise Unstorable("has complex numbers; log their real or absolute values")
    if dtype.kind != "V" or "float" not in dtype.name:  # bfloat16 and its like have the kind V
        raise Unstorable(f"has elements of type {dtype}; numbers are needed")
    return np.dtype(np.float32)


def _check_size(value: Any) -> None:
    shape = tuple(int(length) for length in value.shape)
    count = math.prod(shape)
    if not count:
        raise Unstorable(f"is empty: its shape is {shape}")
    size = count * int(getattr(getattr(value, "dtype", None), "itemsize", 4) or 4)
    if size > MAX_SNAPSHOT_BYTES:
        raise Unstorable(f"has {size:,} bytes (shape {shape}); at most {MAX_SNAPSHOT_BYTES:,} are kept")


def _on_its_way(value: Any, is_torch: bool) -> ArrayCopy:
    import numpy as np

    dtype = (
        np.dtype(str(value.dtype).rpartition(".")[2])
        if is_torch
        else _usual(np.dtype(getattr(value.dtype, "as_numpy_dtype", value.dtype)))
    )
    shape = tuple(int(length) for length in value.shape)
    pending = fetch(value)

    def get() -> Any:
        host = pending.get()
        array = np.asarray(host.numpy() if hasattr(host, "numpy") else host).astype(dtype, order="C", copy=False)
        return array.reshape(-1).view(np.uint8)

    return ArrayCopy(Held(get, math.prod(shape) * dtype.itemsize, is_here=False), dtype.str, shape, is_torch)
