"""Parameters that are spread over ranks (FSDP2, tensor parallelism): norms and counts of the whole.

A rank measures what it holds. Sums of squares and counts add up, so each rank leaves its own in the store that
`torch.distributed` keeps for the group, and a rank with a run adds up those of the others. That is done in a thread of
its own and nothing in it is a collective: a rank that does not watch, or died, costs the others a few numbers, where a
collective would have training hang.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec
from torch import Tensor

from ..clock import Clock
from ..complaints import Complaints
from ..limits import (
    MAX_WATCH_ROUNDS,
    WATCH_PEERS_IMPATIENT_SECONDS,
    WATCH_PEERS_SECONDS,
    WATCH_POLL_SECONDS,
)
from .statistics import Raw, Statistics

if TYPE_CHECKING:
    from .torch_hooks import WatchedRow

_NUMBERS = 5  # of a tensor: squares, NaNs, infinities, units, units alive


@dataclass(frozen=True)
class Spread:
    """How a tensor is spread.

    Args:
        ranks: Those that hold a part of it.
        copies: How many ranks hold the same part.
        has_whole_units: Whether what lies along the first axis is not cut through.
    """

    ranks: tuple[int, ...]
    copies: int
    has_whole_units: bool


def spread_of(tensor: Tensor) -> Spread | None:
    """Answer how a tensor is spread over ranks; None where it is not.

    Raises:
        ValueError: Its values have yet to be summed over the ranks.
    """
    placements = getattr(tensor, "placements", None)
    mesh = getattr(tensor, "device_mesh", None)
    if placements is None or mesh is None:
        return None
    copies, has_whole_units = 1, True
    for axis, placement in enumerate(placements):
        if placement.is_replicate():
            copies *= mesh.size(axis)
        elif placement.is_partial():
            raise ValueError("its values have yet to be summed over the ranks")
        elif placement.dim != 0:
            has_whole_units = False
    return Spread(tuple(mesh.mesh.flatten().tolist()), copies, has_whole_units)


def local(tensor: Tensor) -> Tensor:
    """Answer the part of a tensor that this rank holds."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


class Participant:
    """What stands in for a run on a rank that has none, and only adds its part."""

    step = 0

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._clock = Clock()
        self._complaints = Complaints(is_silent=True)


class Peers:
    """The ranks that hold the other parts of a model.

    Args:
        name: The same on all ranks, and another for each call of `watch`.
        write: Takes a row that is whole; None on a rank without a run.
        say: Takes a sentence for the user.
    """

    def __init__(self, name: str, write: Callable[[Complete], None] | None, say: Callable[[str, str], None]) -> None:
        self._name = name
        self._write = write
        self._say = say
        self._rank, self._store = _rank_and_store()
        self._patience = WATCH_PEERS_SECONDS
        self._left: deque[str] = deque()
        self._rows: SimpleQueue[tuple[str, WatchedRow] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracker-watch", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def take(self, round_name: str, row: WatchedRow) -> None:
        """Take a row with this rank's part."""
        if self._rows.qsize() >= MAX_WATCH_ROUNDS:
            self._say("watch: slow", "the other ranks' parts of a watched model come too late; some rows are left out.")
            return
        self._rows.put((round_name, row))

    def close(self) -> None:
        """Take nothing more; what was taken is finished."""
        self._rows.put(None)

    def stop(self) -> None:
        """Finish what was taken, and end."""
        atexit.unregister(self.stop)
        self.close()
        self._thread.join(2 * WATCH_PEERS_SECONDS)

    def _work(self) -> None:
        while True:
            taken = self._rows.get()
            if taken is None:
                return
            try:
                self._exchange(*taken)
            except Exception as error:  # the group may be gone, a rank with it
                self._say("watch: exchange", f"a watched model's norms over all ranks are not known: {error}")

    def _exchange(self, round_name: str, row: WatchedRow) -> None:
        raw = row.raw()
        self._leave(f"{self._name}/{round_name}", parts_of(raw, row.spreads))
        if self._write is None:
            return
        others = {rank for spread in row.spreads.values() for rank in spread.ranks} - {self._rank}
        parts = self._collect(f"{self._name}/{round_name}", others)
        missing = others - set(parts)
        if missing:
            self._patience = WATCH_PEERS_IMPATIENT_SECONDS
            self._say(
                "watch: peers",
                f"rank {min(missing)} does not tell its part of a model that is spread over ranks, so norms and counts "
                "are left out. Call tracker.watch() on every rank; those without a run only add their part.",
            )
        self._write(Complete(row.step, row.time_ns, row.row_of(joined(raw, row.spreads, parts))))

    def _leave(self, key: str, parts: Mapping[str, list[float]]) -> None:
        if self._store is None:
            return
        self._store.set(f"{key}/{self._rank}", msgspec.msgpack.encode(parts))
        self._left.append(f"{key}/{self._rank}")
        while len(self._left) > MAX_WATCH_ROUNDS:
            self._store.delete_key(self._left.popleft())

    def _collect(self, key: str, ranks: set[int]) -> dict[int, dict[str, list[float]]]:
        found: dict[int, dict[str, list[float]]] = {}
        limit = time.monotonic() + self._patience
        while self._store is not None and len(found) < len(ranks):
            for rank in ranks - set(found):
                if self._store.check([f"{key}/{rank}"]):
                    answer = self._store.get(f"{key}/{rank}")
                    found[rank] = msgspec.msgpack.decode(answer, type=dict[str, list[float]])
            if time.monotonic() >= limit:
                break
            if len(found) < len(ranks):
                time.sleep(WATCH_POLL_SECONDS)
        return found


@dataclass(frozen=True)
class Complete:
    """A row that waits for nothing more; see `deferred.Waiting`."""

    step: int | float
    time_ns: int
    data: dict[str, Any]
    is_ready: bool = True

    def arrived(self) -> dict[str, Any]:
        """Answer the row's data."""
        return self.data


def parts_of(raw: Raw, spreads: Mapping[str, Spread]) -> dict[str, list[float]]:
    """Answer this rank's share of the sums: what several ranks hold alike is divided among them."""
    parts = {}
    for name, spread in spreads.items():
        numbers: list[float] = []
        for tensors in (raw.gradients, raw.parameters):
            one = tensors.get(name)
            numbers += (
                [0.0] * _NUMBERS if one is None else [one.squares or 0.0, one.nans, one.infs, one.units, one.alive]
            )
        numbers += raw.changes.get(name, (0.0, 0.0))
        parts[name] = [number / spread.copies for number in numbers]
    return parts


def joined(raw: Raw, spreads: Mapping[str, Spread], parts: Mapping[int, Mapping[str, list[float]]]) -> Raw:
    """Answer what was measured with the norms and counts of the whole; without them where a rank's part is missing."""
    own = parts_of(raw, spreads)
    gradients, parameters, changes = dict(raw.gradients), dict(raw.parameters), dict(raw.changes)
    for name, spread in spreads.items():
        rows = [parts[rank].get(name) for rank in spread.ranks if rank in parts]
        others = [row for row in rows if row is not None]
        is_whole = len(others) == len(spread.ranks) - 1
        sums = [sum(numbers) for numbers in zip(own[name], *others, strict=True)]
        for tensors, start in ((gradients, 0), (parameters, _NUMBERS)):
            numbers = sums[start : start + _NUMBERS]
            if name in tensors or any(numbers):  # this rank's part may be empty
                tensors[name] = _with_sums(tensors.get(name, Statistics(0)), numbers, spread, is_whole)
        if is_whole and (name in changes or any(sums[-2:])):
            changes[name] = (sums[-2], sums[-1])
        else:
            changes.pop(name, None)
    return Raw(gradients, parameters, changes)


def _with_sums(one: Statistics, sums: list[float], spread: Spread, is_whole: bool) -> Statistics:
    if not is_whole:
        return replace(one, squares=None, nans=0, infs=0, units=0, alive=0)
    squares, nans, infs, units, alive = sums
    if not spread.has_whole_units:
        units = alive = 0
    return replace(one, squares=squares, nans=round(nans), infs=round(infs), units=round(units), alive=round(alive))


def is_spread(models: Any) -> bool:
    """Answer whether a model has parameters that are spread over ranks."""
    return any(hasattr(one, "placements") for model in models for one in model.parameters())


def _rank_and_store() -> tuple[int, Any]:
    distributed = sys.modules["torch.distributed"]
    try:
        return distributed.get_rank(), distributed.distributed_c10d._get_default_store()
    except (AttributeError, RuntimeError, ValueError):  # a group of another make
        return 0, None
