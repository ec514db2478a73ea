"""What the control records of a run add up to, in whatever order they arrive: for each place the latest write wins.

Streams of one run reach a store independently, so an older record may come after a newer one. Each value is kept with
its stamp (time, stream, sequence number), and a run is the same however its records were mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ...core.record import Control, Kind
from ...core.values import encodable, from_extension

Stamp = tuple[int, str, int]  # time in ns, stream, sequence number
_Path = tuple[str, ...]
_SET, _EMPTY, _REMOVE = 0, 1, 2  # an empty dict makes room without replacing what is there
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)


class Registers:
    """One run's fields, config, summary set by hand and metric definitions."""

    def __init__(self) -> None:
        self._fields: dict[str, tuple[Stamp, Any]] = {}
        self._config: dict[tuple[_Path, int], tuple[Stamp, Any]] = {}  # by path and what was done there
        self._summary: dict[str, tuple[Stamp, int, Any]] = {}
        self._metrics: dict[str, tuple[Stamp, Stamp, Mapping[str, Any]]] = {}  # first defined, last defined

    def apply(self, stream: str, record: Control) -> bool:
        """Take a record in; answer whether it is of a kind that is kept here."""
        stamp = (record.time_ns, stream, record.seq)
        body = record.body
        if record.kind == Kind.RUN:
            for name, value in body.items():
                if name not in self._fields or self._fields[name][0] <= stamp:
                    self._fields[name] = (stamp, value)
        elif record.kind == Kind.CONFIG:
            for path, value in _leaves(_dict(body.get("set"))):
                self._configure((path, _EMPTY if isinstance(value, dict) else _SET), stamp, value)
            for path in _paths(body.get("remove")):
                self._configure((path, _REMOVE), stamp, None)
        elif record.kind == Kind.SUMMARY:
            for key, value in _dict(body.get("set")).items():
                self._sum_up(key, stamp, _SET, value)
            for path in _paths(body.get("remove")):
                self._sum_up(".".join(path), stamp, _REMOVE, None)
        elif record.kind == Kind.METRIC and isinstance(body.get("name"), str):
            first, last, known_body = self._metrics.get(body["name"], (stamp, stamp, body))
            kept = body if stamp >= last else known_body
            self._metrics[body["name"]] = (min(first, stamp), max(last, stamp), kept)
        else:
            return False
        return True

    @property
    def fields(self) -> dict[str, Any]:
        """The run's own fields."""
        return {name: value for name, (_, value) in self._fields.items()}

    @property
    def config(self) -> dict[str, Any]:
        """The config, nested."""
        found: dict[str, Any] = {}
        # In one record values are set first, then others are removed.
        for (path, action), (_, value) in sorted(self._config.items(), key=lambda item: (item[1][0], item[0][1])):
            place = found
            if action == _REMOVE:
                _remove(found, path)
                continue
            for name in path[:-1]:
                below = place.get(name)
                if not isinstance(below, dict):
                    below = place[name] = {}
                place = below
            if action == _SET or not isinstance(place.get(path[-1]), dict):
                place[path[-1]] = {} if action == _EMPTY else value
        return found

    @property
    def by_hand(self) -> dict[str, tuple[int, bool, Any]]:
        """What was set in the summary by hand: time in ns, whether it is there (else: taken away), value."""
        return {key: (stamp[0], action == _SET, value) for key, (stamp, action, value) in self._summary.items()}

    @property
    def metrics(self) -> list[Mapping[str, Any]]:
        """The metric definitions, in order of first definition."""
        return [body for _, _, body in sorted(self._metrics.values(), key=lambda item: item[0])]

    def encode(self) -> bytes:
        """Answer all of it as bytes."""
        return _encoder.encode(
            (
                [(name, *stamp, encodable(value)) for name, (stamp, value) in self._fields.items()],
                [
                    (list(path), action, *stamp, encodable(value))
                    for (path, action), (stamp, value) in self._config.items()
                ],
                [(key, *stamp, action, encodable(value)) for key, (stamp, action, value) in self._summary.items()],
                [(*first, *last, encodable(body)) for first, last, body in self._metrics.values()],
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Registers:
        """Read `encode`'s bytes."""
        found = cls()
        fields, config, summary, metrics = _decoder.decode(data)
        for name, time_ns, stream, seq, value in fields:
            found._fields[name] = ((time_ns, stream, seq), value)
        for path, action, time_ns, stream, seq, value in config:
            found._config[tuple(path), action] = ((time_ns, stream, seq), value)
        for key, time_ns, stream, seq, action, value in summary:
            found._summary[key] = ((time_ns, stream, seq), action, value)
        for *stamps, body in metrics:
            first, last = tuple(stamps[:3]), tuple(stamps[3:])
            found._metrics[body["name"]] = (first, last, body)
        return found

    def _configure(self, place: tuple[_Path, int], stamp: Stamp, value: Any) -> None:
        known = self._config.get(place)
        if known is None or known[0] <= stamp:
            self._config[place] = (stamp, value)

    def _sum_up(self, key: str, stamp: Stamp, action: int, value: Any) -> None:
        known = self._summary.get(key)
        if known is None or known[0] <= stamp:
            self._summary[key] = (stamp, action, value)


def _leaves(data: Mapping[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, str(key)))
        else:
            yield (*above, str(key)), value


def _paths(found: Any) -> Iterator[_Path]:
    for path in found if isinstance(found, list) else ():
        yield tuple(map(str, path)) if isinstance(path, list) else (str(path),)


def _remove(target: dict[str, Any], path: _Path) -> None:
    place: Any = target
    for name in path[:-1]:
        place = place.get(name) if isinstance(place, dict) else None
    if isinstance(place, dict) and path:
        place.pop(path[-1], None)


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
