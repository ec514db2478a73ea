"""Histograms: how often values fall into which range. They are small, and stand in the row itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..limits import MAX_HISTOGRAM_BINS
from ..values import Reference, Unstorable
from .arrays import ArrayCopy, copy_array
from .base import Blobs, Encodable, Media
from .held import Held


class Histogram(Media):
    """How the values of an array are distributed: counts, and the edges between them.

    Args:
        sequence: Numbers: an array or tensor of any shape, or a list. NaN and infinities are counted apart.
        np_histogram: Counts and edges, as `numpy.histogram` answers them, in place of `sequence`; one edge more than
            counts.
        num_bins: How many ranges of equal width `sequence` is divided into, at most 512.

    Example:
        run.log({"gradients": tracker.Histogram(gradients)})
    """

    MAX_LENGTH = MAX_HISTOGRAM_BINS
    _type = "histogram"

    def __init__(
        self,
        sequence: Any = None,
        np_histogram: tuple[Sequence[float], Sequence[float]] | None = None,
        num_bins: int = 64,
    ) -> None:
        self._take(lambda: _counted(sequence, np_histogram, num_bins))

    @property
    def histogram(self) -> list[float]:
        """The counts."""
        return list(self._reference()["values"])

    @property
    def bins(self) -> list[float]:
        """The edges between the ranges, one more than counts."""
        return list(self._reference()["bins"])

    def _reference(self) -> Reference:
        taken = self.snapshot()
        return taken if isinstance(taken, Reference) else _bin(taken)  # type: ignore[arg-type] # there is no third


class _Values(Encodable):
    def __init__(self, values: ArrayCopy, num_bins: int) -> None:
        self.values = values
        self.num_bins = num_bins

    def held(self) -> tuple[Held]:
        return (self.values.held,)

    def encode(self, blobs: Blobs) -> Reference:
        return _bin(self)


def _counted(sequence: Any, np_histogram: Any, num_bins: int) -> Encodable | Reference:
    if np_histogram is not None:
        return _given(np_histogram)
    if sequence is None:
        raise Unstorable("has neither a sequence nor an np_histogram")
    if not 1 <= int(num_bins) <= MAX_HISTOGRAM_BINS:
        raise Unstorable(f"has num_bins={num_bins}; 1 to {MAX_HISTOGRAM_BINS} are possible")
    return _Values(copy_array(sequence), int(num_bins))


def _given(np_histogram: Any) -> Reference:
    try:
        counts, edges = (list(map(float, part)) for part in np_histogram)
    except (TypeError, ValueError) as error:
        raise Unstorable(
            f"has an np_histogram that is no pair of counts and edges ({error}); numpy.histogram answers one"
        ) from error
    if len(edges) != len(counts) + 1:
        raise Unstorable(f"has {len(counts)} counts and {len(edges)} edges in np_histogram; there is one edge more")
    if not all(math.isfinite(number) for number in (*counts, *edges)):
        raise Unstorable("has counts or edges that are no finite numbers in np_histogram")
    if len(counts) > MAX_HISTOGRAM_BINS:
        raise Unstorable(f"has {len(counts)} counts; at most {MAX_HISTOGRAM_BINS} are kept")
    return Reference(_type="histogram", values=[int(c) if c.is_integer() else c for c in counts], bins=edges)


def _bin(taken: _Values) -> Reference:
    import numpy as np

    values = taken.values.array().reshape(-1)
    if values.dtype.kind == "f":
        is_finite = np.isfinite(values)
        strange = values.size - int(np.count_nonzero(is_finite))
        if strange:
            values = values[is_finite]
        if values.dtype.itemsize == 2:  # sums and differences overflow in half precision
            values = values.astype(np.float32)
    else:
        strange = 0
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
    if not values.size:
        raise Unstorable(f"holds no finite number: all {strange:,} are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise Unstorable(f"spans from {low:g} to {high:g}, which is beyond what floats can divide")
    try:
        counts, edges = np.histogram(values, bins=taken.num_bins)
    except ValueError:  # all so near each other that there is no float between: a wider range has room for the edges
        room, most = max(abs(low), abs(high)) / 1000, float(np.finfo(np.float64).max)
        wider = (max(low - room, -most), min(high + room, most))
        counts, edges = np.histogram(values.astype(np.float64), bins=taken.num_bins, range=wider)
    reference = Reference(_type="histogram", values=counts.tolist(), bins=[float(edge) for edge in edges])
    if strange:
        reference["nonfinite"] = strange
    return reference
