"""What is recorded of the tensors inside a model, whatever framework they live in: the names and the shapes.

A framework measures (`torch_statistics` for torch) and answers a `Statistics` for each gradient and parameter; `row`
turns them into the values of one row. Of each parameter `<p>`:

    gradients/<p>, parameters/<p>     histogram of the values
    grad_norm/<p>, param_norm/<p>     Euclidean norm; grad_norm/total is that of all gradients together
    update_ratio/<p>                  norm of what the step changed, over the norm of what was there before
    dead_units/<p>                    share of the units (entries along the first axis) whose gradient is zero throughout
    grad_nan/<p>, grad_inf/<p>, ...   how many values are NaN or infinite; written where there are any, and as .../total

A model of very many parameters can be recorded by its modules instead: `<p>` is a module, and there are no histograms.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..limits import WATCH_MODULES
from ..values import Reference, encodable

Log = Literal["gradients", "parameters", "all"]
LOGS: tuple[str, ...] = ("gradients", "parameters", "all")


@dataclass(frozen=True)
class Statistics:
    """What was measured of one tensor.

    Args:
        size: How many values it has.
        squares: The sum of their squares; None where only a part of the tensor is known.
        nans: How many are NaN.
        infs: How many are infinite.
        units: Entries along the first axis; 0 where they were not looked at.
        alive: How many of those are not zero throughout.
        low: Lower edge of the histogram.
        high: Upper edge of the histogram.
        counts: Values in each of its bins, which are equally wide.
    """

    size: int
    squares: float | None = None
    nans: int = 0
    infs: int = 0
    units: int = 0
    alive: int = 0
    low: float = math.inf
    high: float = -math.inf
    counts: Sequence[int] = ()

    @property
    def norm(self) -> float | None:
        """The Euclidean norm."""
        return None if self.squares is None else math.sqrt(self.squares)


@dataclass(frozen=True)
class Raw:
    """What was measured at one step of one optimizer, by the name of the parameter.

    Args:
        gradients: Of its gradient, as the optimizer took it.
        parameters: Of its values before the step.
        changes: Sums of squares: of its values before the step, and of what the step changed.
    """

    gradients: Mapping[str, Statistics]
    parameters: Mapping[str, Statistics]
    changes: Mapping[str, tuple[float, float]]


def depth_of(names: Iterable[str]) -> int:
    """Answer how many parts of parameters' names to keep, so that there are as many modules as may be and no more.

    Args:
        names: Of all parameters: `encoder.layer.0.attention.weight`.
    """
    parts = [name.split(".") for name in names]
    deepest = max(map(len, parts), default=0)
    depth = 0
    while depth < deepest and len({tuple(each[: depth + 1]) for each in parts}) <= WATCH_MODULES:
        depth += 1
    return depth


def by_module(raw: Raw, depth: int) -> Raw:
    """Answer what was measured of modules: norms, counts and changes of all parameters in each, without histograms.

    Args:
        raw: What was measured of parameters.
        depth: How many parts of their names to keep; 0 makes one of all, called `total`.
    """
    modules: list[dict[str, Statistics]] = []
    for tensors in (raw.gradients, raw.parameters):
        inside: dict[str, list[Statistics]] = {}
        for name, one in tensors.items():
            inside.setdefault(_module(name, depth), []).append(one)
        modules.append({name: _together(those) for name, those in inside.items()})
    changes: dict[str, tuple[float, float]] = {}
    for name, (held, changed) in raw.changes.items():
        before = changes.get(_module(name, depth), (0.0, 0.0))
        changes[_module(name, depth)] = (before[0] + held, before[1] + changed)
    return Raw(modules[0], modules[1], changes)


def _module(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth]) or "total"


def _together(those: Collection[Statistics]) -> Statistics:
    squares = [one.squares for one in those if one.squares is not None]
    return Statistics(
        size=sum(one.size for one in those),
        squares=sum(squares) if len(squares) == len(those) else None,
        nans=sum(one.nans for one in those),
        infs=sum(one.infs for one in those),
        units=sum(one.units for one in those),
        alive=sum(one.alive for one in those),
    )


def histogram(counts: Sequence[int], low: float, high: float, size: int) -> Reference | None:
    """Answer a histogram as a value of a row, or None where it has no values.

    Args:
        counts: Values in each bin, all bins equally wide.
        low: The lower edge of the first bin.
        high: The upper edge of the last bin.
        size: How many values there are; more than were counted where only a sample was looked at.
    """
    counted = sum(counts)
    if not counted or not low <= high:
        return None
    bins = len(counts)
    if low == high:  # one value, many times: a bin around it, in the middle
        low, high = low - 0.5, high + 0.5
        counts = [counted if number == bins // 2 else 0 for number in range(bins)]
    width = high / bins - low / bins  # their difference may be too large for a float
    edges = [low + width * number for number in range(bins)] + [high]
    return Reference(_type="histogram", values=list(counts), bins=edges, size=size, counted=counted)


def row(raw: Raw, prefix: str = "") -> dict[str, Any]:
    """Answer the values of one row, ready to be encoded.

    Args:
        raw: What was measured.
        prefix: Goes before each parameter's name: `graph_1/` for the second model of a run.
    """
    values: dict[str, Any] = {}
    for section, short, tensors in (
        ("gradients", "grad", raw.gradients),
        ("parameters", "param", raw.parameters),
    ):
        for name, one in tensors.items():
            drawn = histogram(one.counts, one.low, one.high, one.size)
            if drawn is not None:
                values[f"{section}/{prefix}{name}"] = encodable(drawn)
            if one.norm is not None:
                values[f"{short}_norm/{prefix}{name}"] = one.norm
            if one.nans:
                values[f"{short}_nan/{prefix}{name}"] = one.nans
            if one.infs:
                values[f"{short}_inf/{prefix}{name}"] = one.infs
            if one.units:
                values[f"dead_units/{prefix}{name}"] = (one.units - one.alive) / one.units
        known = [one.squares for one in tensors.values() if one.squares is not None]
        if known and len(known) == len(tensors):
            values[f"{short}_norm/{prefix}total"] = math.sqrt(sum(known))
            values[f"{short}_nan/{prefix}total"] = sum(one.nans for one in tensors.values())
            values[f"{short}_inf/{prefix}total"] = sum(one.infs for one in tensors.values())
    for name, (held, changed) in raw.changes.items():
        if held > 0:
            values[f"update_ratio/{prefix}{name}"] = math.sqrt(changed / held)
    return values
