"""Statistics of many torch tensors at once: some kernels for all of them, no synchronisation, one copy to the host.

What is measured stays on the device as a few small tensors; a `Tape` lays them end to end, so that they travel
together, and the decoding happens where nobody waits. Norms are those of all values. Histograms are over all values of
a tensor, or over a sample of them, evenly spread, where it has more than the caller allows for: bins cost far more
than norms. Extra memory is bounded by `WATCH_CHUNK_VALUES` and `WATCH_SAMPLE_VALUES`, whatever the model's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..limits import (
    WATCH_BINS,
    WATCH_CHUNK_VALUES,
    WATCH_SAMPLE_VALUES,
    WATCH_TENSOR_VALUES,
    WATCH_UNITS,
)
from .statistics import Statistics

_BLOCK = 1024  # values whose NaNs are counted together
# Bins of a histogram, then one for the highest value itself, then one for what is no number, the padding too.
_SLOTS = WATCH_BINS + 2
_OUTSIDE = WATCH_BINS + 1.0
_NARROWEST = 64  # values in a row of the matrix of samples; wider ones are four times as wide


class Tape:
    """Small tensors of one device, end to end, for one copy to the host.

    Args:
        device: Where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pieces: list[Tensor] = []
        self._length = 0

    def add(self, values: Tensor) -> slice:
        """Append a tensor, and answer where it will be found."""
        start = self._length
        self._pieces.append(values.reshape(-1).to(torch.float32))
        self._length += values.numel()
        return slice(start, self._length)

    def whole(self) -> Tensor:
        """Answer all of it as one tensor on the device."""
        return torch.cat(self._pieces) if self._pieces else torch.zeros(0, device=self.device)


Decode = Callable[[Sequence[float]], list[Statistics]]


def measure(
    tensors: Sequence[Tensor], tape: Tape, *, sample: int, with_units: bool, scale: Tensor | None = None
) -> Decode:
    """Measure tensors, all on the tape's device.

    Args:
        tensors: Dense and not empty; of any shape and floating type.
        tape: Takes what was measured.
        sample: How many values of a tensor go into its histogram at most.
        with_units: Also count the entries along the first axis that are not zero throughout.
        scale: What the values were multiplied with; it is divided out again. One value on the device.

    Returns:
        What makes statistics of the tape's values, once they are on the host; in the order of `tensors`.
    """
    sizes = [tensor.numel() for tensor in tensors]
    tensors = [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
    alive_at: slice | None = None
    if with_units:
        norms, not_zero, units = _norms_and_units(tensors)
        alive_at = tape.add(not_zero)
    else:
        norms, units = _norms(tensors), [0] * len(tensors)
    nans_at, infs_at = _count_not_finite(tensors, norms, tape)
    factor = None if scale is None else scale.reshape(()).to(torch.float32).reciprocal()
    norms_at = tape.add(norms if factor is None else norms * factor)
    drawn = list(_histograms(tensors, tape, sample, factor))

    def decode(values: Sequence[float]) -> list[Statistics]:
        none = [0.0] * len(tensors)
        nans = none if nans_at is None else values[nans_at]
        infs = none if infs_at is None else values[infs_at]
        living = none if alive_at is None else values[alive_at]
        shapes: list[tuple[float, float, Sequence[int]]] = [(math.inf, -math.inf, ())] * len(tensors)
        for numbers, low_at, high_at, counts_at in drawn:
            counts = [int(value) for value in values[counts_at]]
            for place, (number, low, high) in enumerate(zip(numbers, values[low_at], values[high_at], strict=True)):
                bins = counts[place * _SLOTS : place * _SLOTS + WATCH_BINS]
                bins[-1] += counts[place * _SLOTS + WATCH_BINS]
                shapes[number] = (low, high, bins)
        return [
            Statistics(size, norm * norm, int(nan), int(inf), unit, int(alive) if unit else 0, *shape)
            for size, norm, nan, inf, unit, alive, shape in zip(
                sizes, values[norms_at], nans, infs, units, living, shapes, strict=True
            )
        ]

    return decode


def samples(tensors: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """Answer a copy of some values of each tensor, end to end, and how many are of which."""
    allowed = max(1, min(WATCH_TENSOR_VALUES, WATCH_SAMPLE_VALUES // max(len(tensors), 1)))
    pieces = [_some(torch.view_as_real(one) if one.is_complex() else one, allowed) for one in tensors]
    return torch.cat(pieces).to(torch.float32), [piece.numel() for piece in pieces]


def squared_norms(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Answer the sum of squares of each part of a tensor that holds them end to end."""
    return torch.stack(torch._foreach_norm(torch.split(values, list(lengths)))).square()


# --- norms, units --------------------------------------------------------------------------


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    """Answer the norm of each tensor."""
    if all(tensor.dtype is torch.float32 for tensor in tensors):
        return torch.stack(torch._foreach_norm(list(tensors)))
    # Each in float32 at least: half precision overflows at a norm of 65,504.
    return torch.stack([_wide(torch.linalg.vector_norm, tensor).to(torch.float32) for tensor in tensors])


def _wide(norm: Callable[..., Tensor], tensor: Tensor, **options: Any) -> Tensor:
    if tensor.dtype in (torch.float32, torch.float64):
        return norm(tensor, **options)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        return norm(tensor, dtype=torch.float32, **options)
    return norm(tensor.to(torch.float32), **options)  # 8 bits: without arithmetic of their own


def _norms_and_units(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[int]]:
    """Answer the norm of each tensor, how many of its units are not zero, and how many units it has."""
    rows = []
    for tensor in tensors:
        if tensor.ndim > 1:
            rest = tuple(range(1, tensor.ndim))
            rows.append(_wide(torch.linalg.vector_norm, tensor, dim=rest).to(torch.float32))
        elif tensor.numel() <= WATCH_UNITS:
            rows.append(tensor.reshape(-1).abs().to(torch.float32))
        else:  # a vector as long as this is many tensors in one: its entries are no units
            rows.append(_wide(torch.linalg.vector_norm, tensor).reshape(1).to(torch.float32))
    norms = torch.stack(torch._foreach_norm(rows))
    lengths = [row.numel() for row in rows]
    not_zero = (torch.cat(rows) != 0).to(torch.float32)
    alive = torch.stack(torch._foreach_norm(torch.split(not_zero, lengths), 1))
    is_long = [tensor.ndim <= 1 and tensor.numel() > WATCH_UNITS for tensor in tensors]
    return norms, alive, [0 if long else length for long, length in zip(is_long, lengths, strict=True)]


# --- NaN and infinity ----------------------------------------------------------------------


def _count_not_finite(tensors: Sequence[Tensor], norms: Tensor, tape: Tape) -> tuple[slice | None, slice | None]:
    """Count NaNs and infinities, and answer where on the tape they are; None where there are none."""
    if tape.device.type != "cpu":  # looking at the norms would wait for the device
        nans, infs = _count_in_blocks(tensors)
        return tape.add(nans), tape.add(infs)
    if bool(torch.isfinite(norms).all()):
        return None, None
    nans, infs = torch.zeros(len(tensors)), torch.zeros(len(tensors))
    for number, is_fine in enumerate(torch.isfinite(norms).tolist()):
        if not is_fine:
            for part in torch.split(_flat(tensors[number]), WATCH_CHUNK_VALUES):
                nans[number] += torch.isnan(part).sum()
                infs[number] += torch.isinf(part).sum()
    return tape.add(nans), tape.add(infs)


def _count_in_blocks(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Count NaNs and infinities of all tensors in a few kernels for each `WATCH_CHUNK_VALUES` values."""
    zeros = torch.zeros(_BLOCK, device=tensors[0].device)
    pieces: list[Tensor] = []
    held = 0
    nans: list[Tensor] = []
    infs: list[Tensor] = []

    def count() -> None:
        blocks = torch.cat(pieces).view(-1, _BLOCK)
        nans.append((blocks != blocks).sum(1, dtype=torch.float32))
        infs.append((blocks.abs_() == math.inf).sum(1, dtype=torch.float32))
        pieces.clear()

    lengths = []
    for tensor in tensors:
        lengths.append(-(-tensor.numel() // _BLOCK))
        for part in torch.split(_flat(tensor), WATCH_CHUNK_VALUES):
            if held + part.numel() > WATCH_CHUNK_VALUES and pieces:
                count()
                held = 0
            pieces.append(part if part.element_size() > 1 else part.to(torch.float32))
            padding = -part.numel() % _BLOCK
            if padding:
                pieces.append(zeros[:padding])
            held += part.numel() + padding
    count()
    sums = [torch.stack(torch._foreach_norm(torch.split(torch.cat(counts), lengths), 1)) for counts in (nans, infs)]
    return sums[0], sums[1]


# --- histograms ----------------------------------------------------------------------------


def _histograms(
    tensors: Sequence[Tensor], tape: Tape, sample: int, factor: Tensor | None
) -> Iterator[tuple[list[int], slice, slice, slice]]:
    """Count values into bins; yield which tensors, and where on the tape their edges and counts are."""
    widths: dict[int, list[tuple[int, Tensor]]] = {}
    for number, tensor in enumerate(tensors):
        piece = _some(tensor, sample)
        width = _NARROWEST
        while width < piece.numel():
            width *= 4
        widths.setdefault(min(width, max(sample, _NARROWEST)), []).append((number, piece))
    for width, members in widths.items():
        at_once = max(1, WATCH_CHUNK_VALUES // width)
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            low, high, counts = _count([piece for _, piece in some], width)
            if factor is not None:
                low, high = low * factor, high * factor
            yield [number for number, _ in some], tape.add(low), tape.add(high), tape.add(counts)


def _count(pieces: Sequence[Tensor], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Answer the lowest and highest finite value of each piece, and the counts in `_SLOTS` of each."""
    device = pieces[0].device
    padding = torch.full((width,), math.nan, device=device)
    padded: list[Tensor] = []
    for piece in pieces:
        padded.append(piece if piece.dtype is torch.float32 else piece.to(torch.float32))
        if piece.numel() < width:
            padded.append(padding[: width - piece.numel()])
    values = torch.cat(padded).view(-1, width)  # (pieces, width)
    infinity = math.inf
    low = torch.nan_to_num(values, infinity, infinity, infinity).amin(1)
    high = torch.nan_to_num(values, -infinity, -infinity, -infinity).amax(1)
    scale = (WATCH_BINS / (high - low)).nan_to_num_(0.0, 0.0, 0.0)  # equal ones, none at all: no width to speak of
    places = values.sub_(low.unsqueeze(1)).mul_(scale.unsqueeze(1))
    places.nan_to_num_(_OUTSIDE, _OUTSIDE, _OUTSIDE)
    numbers = places.to(torch.int64)  # (pieces, width)
    numbers += torch.arange(0, len(pieces) * _SLOTS, _SLOTS, device=device).unsqueeze(1)
    counts = torch.zeros(len(pieces) * _SLOTS, dtype=torch.int32, device=device)
    ones = torch.ones((), dtype=torch.int32, device=device).expand(numbers.numel())
    return low, high, counts.scatter_add_(0, numbers.view(-1), ones)


def _some(tensor: Tensor, allowed: int) -> Tensor:
    """Answer at most `allowed` values, evenly spread over the tensor: a view."""
    flat = _flat(tensor)
    return flat if flat.numel() <= allowed else flat[:: _stride(-(-flat.numel() // allowed))]


_strides: dict[int, int] = {}


def _stride(least: int) -> int:
    """Answer the next prime: a stride that divides the length of a row would see some of its columns only."""
    stride = _strides.get(least)
    if stride is None:
        stride = least
        while any(stride % divisor == 0 for divisor in range(2, math.isqrt(stride) + 1)):
            stride += 1
        _strides[least] = stride
    return stride


def _flat(tensor: Tensor) -> Tensor:
    """Answer the values in the order they have in memory: a view, unless they lie apart."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    strides = list(tensor.stride())
    tensor = tensor.permute(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))
    return tensor.view(-1) if tensor.is_contiguous() else tensor.reshape(-1)
