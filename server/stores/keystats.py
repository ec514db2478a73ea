"""Statistics of each key of a run, kept up to date batch by batch: what the automatic summary is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from ...core.samples import is_sample
from ...core.values import encodable, from_extension
from .rows import Floats, Ints, Rows, Table

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)

_FIELDS = np.dtype(
    [
        ("points", "<i8"),
        ("numeric", "<i8"),
        ("nan", "<i8"),
        ("posinf", "<i8"),
        ("neginf", "<i8"),
        ("sum", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("last_step", "<f8"),
        ("first_time", "<i8"),
        ("first_seq", "<i8"),
        ("last_time", "<i8"),
        ("last_seq", "<i8"),
    ]
)
_NEVER = np.iinfo(np.int64)


class KeyStats:
    """The keys of one run in order of first appearance, with their statistics, an array each.

    A copy shares the table of names with its origin, which only ever grows; `count` says how far this one knows it.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: dict[str, int] = {}
        self.count = 0
        self.fields = np.zeros(8, _FIELDS)
        self.first: list[Any] = []
        self.last: list[Any] = []
        self.points = 0
        self.rows = 0
        self.max_step: int | float | None = None
        self.first_time: int | None = None

    def copy(self) -> KeyStats:
        """Answer one that can be changed without this one changing."""
        other = KeyStats.__new__(KeyStats)
        other.__dict__.update(self.__dict__)
        other.fields = self.fields.copy()
        other.first = self.first.copy()
        other.last = self.last.copy()
        return other

    def place(self, key: str) -> int | None:
        """Answer the key's number, None where the run has no such key."""
        place = self.places.get(key)
        return place if place is not None and place < self.count else None

    def add(self, keys: Any) -> Ints:
        """Answer the numbers of these keys; new ones get one."""
        places = self.places
        found = np.empty(len(keys), np.int64)
        for index, key in enumerate(keys):
            place = places.get(key)
            if place is None:
                place = len(self.names)
                self.names.append(key)
                places[key] = place
            found[index] = place
        self._grow(len(self.names))
        return found

    def absorb(self, rows: Rows) -> None:
        """Take rows into the statistics."""
        if not len(rows):
            return
        start = int(rows.times.min())
        self.first_time = start if self.first_time is None else min(self.first_time, start)
        has_samples = any(map(is_sample, rows.cells))
        logged = rows.logged_at() if has_samples else None  # where the rows that are no samples stand
        steps = rows.steps if logged is None else rows.steps[logged]
        self.rows += len(steps)
        if steps.dtype != np.int64:
            steps = steps[np.isfinite(steps)]
        if len(steps):
            top = steps.max().item()
            self.max_step = top if self.max_step is None else max(self.max_step, top)
        if not rows.cells:
            return
        places = self.add(rows.cells)
        last_row = len(rows) - 1
        if isinstance(rows.cells, Table):
            numbers = rows.cells.numbers
            sizes = np.full(len(places), len(rows))
            firsts, lasts = np.zeros(len(places), np.int64), np.full(len(places), last_row)
            first, last = numbers[:, 0].tolist(), numbers[:, -1].tolist()
            self._numbers(places, np.ascontiguousarray(numbers).reshape(-1), sizes)
        else:
            columns = list(rows.cells.values())
            sizes = np.fromiter((len(c.values) for c in columns), np.int64, len(columns))
            firsts = np.fromiter((0 if c.at is None else c.at[0] for c in columns), np.int64, len(columns))
            lasts = np.fromiter((last_row if c.at is None else c.at[-1] for c in columns), np.int64, len(columns))
            first = [_plain(c.values[0]) for c in columns]
            last = [_plain(c.values[-1]) for c in columns]
            parts = [column.numbers()[0] for column in columns]
            self._numbers(places, np.concatenate(parts), np.fromiter(map(len, parts), np.int64, len(parts)))
        self.fields["points"][places] += sizes
        if has_samples:
            self.points += sum(size for key, size in zip(rows.cells, sizes.tolist(), strict=True) if not is_sample(key))
        else:
            self.points += int(sizes.sum())
        self._note_last(places, last, lasts, rows)
        self._note_first(places, first, firsts, rows)

    def _numbers(self, places: Ints, flat: Floats, sizes: Ints) -> None:
        """Take numbers in: of each key so many behind each other."""
        some = np.flatnonzero(sizes)
        if not len(some):
            return
        places, sizes = places[some], sizes[some]
        starts = np.cumsum(sizes) - sizes
        fields = self.fields
        fields["numeric"][places] += sizes
        finite = np.isfinite(flat)
        low = high = flat
        if not finite.all():
            for name, which in (("nan", np.isnan(flat)), ("posinf", flat == np.inf), ("neginf", flat == -np.inf)):
                fields[name][places] += np.add.reduceat(which.astype(np.int64), starts)
            low, high = np.where(finite, flat, np.inf), np.where(finite, flat, -np.inf)
            flat = np.where(finite, flat, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            fields["sum"][places] += np.add.reduceat(flat, starts)
        fields["min"][places] = np.minimum(fields["min"][places], np.minimum.reduceat(low, starts))
        fields["max"][places] = np.maximum(fields["max"][places], np.maximum.reduceat(high, starts))

    def _note_last(self, places: Ints, values: list[Any], at: Ints, rows: Rows) -> None:
        """Settle the last values: by time of writing, then by sequence number."""
        fields = self.fields
        times, seqs = rows.times[at], rows.seqs[at]
        known_times, known_seqs = fields["last_time"][places], fields["last_seq"][places]
        newer = (times > known_times) | ((times == known_times) & (seqs >= known_seqs))
        won = places[newer]
        fields["last_time"][won] = times[newer]
        fields["last_seq"][won] = seqs[newer]
        fields["last_step"][won] = rows.steps[at][newer]
        for place, index in zip(won.tolist(), np.flatnonzero(newer).tolist(), strict=True):
            self.last[place] = values[index]

    def _note_first(self, places: Ints, values: list[Any], at: Ints, rows: Rows) -> None:
        """Settle the first values in the same way."""
        fields = self.fields
        times, seqs = rows.times[at], rows.seqs[at]
        known_times, known_seqs = fields["first_time"][places], fields["first_seq"][places]
        older = (times < known_times) | ((times == known_times) & (seqs < known_seqs))
        won = places[older]
        fields["first_time"][won] = times[older]
        fields["first_seq"][won] = seqs[older]
        for place, index in zip(won.tolist(), np.flatnonzero(older).tolist(), strict=True):
            self.first[place] = values[index]

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk the keys that were logged and have points, with their statistics; samples of the machine are left out."""
        columns = {name: self.fields[name][: self.count].tolist() for name in _FIELDS.names or ()}
        for place in range(self.count):
            points = columns["points"][place]
            if not points or is_sample(self.names[place]):  # without points: all its rows are hidden
                continue
            numeric, nan = columns["numeric"][place], columns["nan"][place]
            posinf, neginf = columns["posinf"][place], columns["neginf"][place]
            finite = numeric - nan - posinf - neginf
            step = columns["last_step"][place]
            yield (
                self.names[place],
                {
                    "points": points,
                    "numeric": numeric,
                    "finite": finite,
                    "nan": nan,
                    "posinf": posinf,
                    "neginf": neginf,
                    "min": columns["min"][place] if finite else None,
                    "max": columns["max"][place] if finite else None,
                    "mean": columns["sum"][place] / finite if finite else None,
                    "first": self.first[place],
                    "last": self.last[place],
                    "last_step": int(step) if step.is_integer() else step,
                    "last_time_ns": columns["last_time"][place],
                    "last_seq": columns["last_seq"][place],
                },
            )

    def samples(self) -> dict[str, Any]:
        """Answer the last sample of the machine, by key."""
        points = self.fields["points"]
        return {
            name: self.last[place]
            for place, name in enumerate(self.names[: self.count])
            if is_sample(name) and points[place]
        }

    def logged(self) -> tuple[list[str], np.ndarray]:
        """Answer the keys that have points, and their figures side by side."""
        fields = self.fields[: self.count]
        if fields["points"].all():
            return self.names[: self.count], fields
        chosen = np.flatnonzero(fields["points"])
        return [self.names[place] for place in chosen], fields[chosen]

    def cleared(self) -> KeyStats:
        """Answer one with the same names and nothing else, to be filled anew."""
        other = KeyStats()
        other.names, other.places = self.names, self.places
        other._grow(self.count)
        return other

    def encode(self) -> bytes:
        """Answer all of it as bytes."""
        return _encoder.encode(
            (
                self.names[: self.count],
                self.fields[: self.count].tobytes(),
                encodable(self.first),
                encodable(self.last),
                self.points,
                self.rows,
                self.max_step,
                self.first_time,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> KeyStats:
        """Read `encode`'s bytes."""
        found = cls()
        names, fields, found.first, found.last, found.points, found.rows, found.max_step, found.first_time = (
            _decoder.decode(data)
        )
        found.names = names
        found.places = {name: place for place, name in enumerate(names)}
        found.fields = np.frombuffer(fields, _FIELDS).copy()
        found.count = len(names)
        return found

    def _grow(self, count: int) -> None:
        if count > len(self.fields):
            room = np.zeros(max(count, 2 * len(self.fields)), _FIELDS)
            room[: self.count] = self.fields[: self.count]
            self.fields = room
        fresh = self.fields[self.count : count]
        if len(fresh):
            fresh["min"], fresh["max"] = np.inf, -np.inf
            fresh["first_time"], fresh["last_time"] = _NEVER.max, _NEVER.min
            fresh["first_seq"], fresh["last_seq"] = _NEVER.max, _NEVER.min
            self.first.extend([None] * len(fresh))
            self.last.extend([None] * len(fresh))
            self.count = count


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
