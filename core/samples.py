"""Samples of the machine among the rows: told by their keys, which begin with `system/`.

A sample is a row like any other where rows are written, sent and stored. Who reads a run's history, its summary or its
metrics wants what was logged, and sees no samples unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import or_
from typing import Any, Literal

from .journal import Block

PREFIX = "system/"
Stream = Literal["default", "system"]  # W&B's names: what was logged, or the samples


def is_sample(key: str) -> bool:
    """Answer whether a key is that of a sample."""
    return key.startswith(PREFIX)


def without_samples(values: dict[str, Any]) -> dict[str, Any] | None:
    """Answer a row's values without those of samples; None where the row is nothing but a sample."""
    if not any(map(is_sample, values)):
        return values
    return {key: value for key, value in values.items() if not is_sample(key)} or None


def logged_steps(block: Block) -> Iterable[int | float]:
    """Answer the steps of a block's rows, those left out that are nothing but samples."""
    kinds = list(map(is_sample, block.columns))
    if not any(kinds):
        return block.steps
    sampled = _rows_with(block, True)
    logged = _rows_with(block, False)
    return [step for step, s, other in zip(block.steps, sampled, logged, strict=True) if other or not s]


def _rows_with(block: Block, of_samples: bool) -> bytes:
    """Answer a byte for each row: 1 where it has a value of a sample, or one of another kind."""
    found = bytes(len(block))
    for key, column in block.columns.items():
        if is_sample(key) is of_samples:
            if column.present is None:
                return b"\x01" * len(block)
            found = bytes(map(or_, found, column.present))
    return found
