"""One value per metric: the last one logged, what `define_metric` asks for, or what the user has set."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from .errors import FormatError
from .journal import Block, Entry
from .journal.block import flatten
from .metrics import Definitions, summarise
from .record import Control, Kind
from .samples import is_sample
from .values import holds_media, plain


class Summary(MutableMapping[str, Any]):
    """The run's summary. Nothing of it is computed while logging: it reads the journal when it is asked.

    Keys are those of the metrics; what is nested has a dotted key (`summary["best"] = {"acc": 1}` is `best.acc`) and
    can be read and set either way. A value set by hand holds until the metric is logged again.

    Args:
        read: Answers what the journal has gained since the last call.
        write: Takes values set by hand, and the paths of removed ones.
        definitions: What `define_metric` has said.
        take_media: Takes values with media among them, has these written when they are encoded, and answers the rest.

    Example:
        run.summary["best_accuracy"] = 0.97
        run.summary.loss
        run.summary["loss.min"]  # after run.define_metric("loss", summary="min")
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Entry]],
        write: Callable[[dict[str, Any], list[Any]], None],
        definitions: Definitions,
        take_media: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values,
    ) -> None:
        set_attribute = super().__setattr__
        set_attribute("_take_media", take_media)
        set_attribute("_read", read)
        set_attribute("_write", write)
        set_attribute("_definitions", definitions)
        set_attribute("_earlier", [])  # what earlier processes of the run have written, until it is asked for
        set_attribute("_statistics", {})
        set_attribute("_by_hand", {})
        set_attribute("_pending", {})
        set_attribute("_lock", threading.RLock())

    _read: Callable[[], Iterable[Entry]]
    _write: Callable[[dict[str, Any], list[Any]], None]
    _definitions: Definitions
    _take_media: Callable[[dict[str, Any]], dict[str, Any]]
    _earlier: list[Callable[[], Iterable[Entry]]]
    _statistics: dict[str, _Statistics]
    _by_hand: dict[str, tuple[int, bool, Any]]  # time in ns, whether it is there (else: taken away), value
    _pending: dict[str, tuple[bool, Any]]  # set by hand, and not seen in the journal yet
    _lock: threading.RLock

    def begin_with(self, read: Callable[[], Iterable[Entry]]) -> None:
        """Go on from what earlier processes have written; it is read when the summary is first asked for."""
        self._earlier.append(read)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values; those of nested dicts one by one."""
        with self._lock:
            given = self._without_media({str(key): value for key, value in dict(*args, **kwargs).items()})
            self._set(dict(flatten({key: plain(value) for key, value in given.items()})), [])

    def as_dict(self) -> dict[str, Any]:
        """Answer a plain copy, keys dotted."""
        return self._now()

    def __getitem__(self, key: str) -> Any:
        values = self._now()
        prefix = f"{key}."
        below = {name[len(prefix) :]: value for name, value in values.items() if str(name).startswith(prefix)}
        if key not in values:
            if below:
                return _Part(self, key, below)
            raise KeyError(key)
        value = values[key]
        if below and isinstance(value, (int, float)) and not isinstance(value, bool):
            return _beside(value, below)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock:
            self._catch_up()
            key = str(key)
            given = self._without_media({key: value})
            new = dict(flatten({name: plain(one) for name, one in given.items()}))
            self._set(new, [name for name in self._hand_made(f"{key}.") if name not in new])

    def __delitem__(self, key: str) -> None:
        with self._lock:
            gone = [name for name in self._now() if name == key or name.startswith(f"{key}.")]
            if not gone:
                raise KeyError(key)
            self._set({}, gone)

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __contains__(self, key: object) -> bool:
        return any(name == key or name.startswith(f"{key}.") for name in self._now())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for what must not be there
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            from difflib import get_close_matches  # only for this message

            near = get_close_matches(name, list(self), 1)
            raise AttributeError(
                f"the summary has no {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}.") from None

    def __repr__(self) -> str:
        return repr(self._now())

    def _without_media(self, values: dict[str, Any]) -> dict[str, Any]:
        return self._take_media(values) if holds_media(values) else values

    def _hand_made(self, prefix: str) -> list[str]:
        known = {name for name, (_, is_there, _) in self._by_hand.items() if is_there}
        known |= {name for name, (is_there, _) in self._pending.items() if is_there}
        return sorted(name for name in known if name.startswith(prefix))

    def _set(self, new: dict[str, Any], gone: Sequence[str]) -> None:
        if not new and not gone:
            return
        for name, value in new.items():
            self._pending[name] = (True, value)
        for name in gone:
            self._pending[name] = (False, None)
        self._write(new, [[name] for name in gone])

    def _now(self) -> dict[str, Any]:
        with self._lock:
            self._catch_up()
            found: dict[str, Any] = {}
            written: dict[str, int] = {}
            for key, statistics in self._statistics.items():
                for name, value in summarise(self._definitions.match(key), statistics.known(), key).items():
                    found[name] = value
                    written[name] = statistics.last_ns
            for name, (time_ns, is_there, value) in self._by_hand.items():
                if time_ns >= written.get(name, time_ns):
                    _place(found, name, is_there, value)
            for name, (is_there, value) in self._pending.items():  # newer than all that can be read
                _place(found, name, is_there, value)
            return found

    def _catch_up(self) -> None:
        try:
            while self._earlier:
                self._take(self._earlier.pop(0)())
            self._take(self._read())
        except (FormatError, OSError):  # damaged on disk: what can be read counts
            return

    def _take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, Block):
                self._take_rows(entry)
            elif entry.kind == Kind.SUMMARY:
                self._take_control(entry)
            elif entry.kind == Kind.METRIC and not self._definitions.knows(entry.body.get("name")):
                self._definitions.take_body(entry.body)  # of an earlier process

    def _take_rows(self, block: Block) -> None:
        for key, column in block.columns.items():
            if is_sample(key):
                continue
            first, last = 0, len(block) - 1
            if column.present is not None:
                first, last = column.present.find(1), column.present.rfind(1)
            statistics = self._statistics.get(key)
            if statistics is None:
                statistics = self._statistics[key] = _Statistics()
            statistics.add(column.values, block.times[first], block.times[last])

    def _take_control(self, control: Control) -> None:
        new, gone = control.body.get("set"), control.body.get("remove")
        for name, value in flatten(new) if isinstance(new, dict) else ():
            self._decide(name, control.time_ns, True, value)
        for path in gone if isinstance(gone, list) else ():
            self._decide(
                ".".join(map(str, path)) if isinstance(path, list) else str(path), control.time_ns, False, None
            )

    def _decide(self, name: str, time_ns: int, is_there: bool, value: Any) -> None:
        known = self._by_hand.get(name)
        if known is None or known[0] <= time_ns:
            self._by_hand[name] = (time_ns, is_there, value)
        pending = self._pending.get(name)
        if pending is not None and pending[0] == is_there and _is_same(pending[1], value):
            del self._pending[name]


class _Beside:
    """A number, which also answers `["min"]` and the like of its metric, as in W&B."""

    _below: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.get("last") if name == "last" else self._below[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Answer one of the values beside the last one."""
        return self.__reduce__()[1][0] if name == "last" else self._below.get(name, default)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._below:
            raise AttributeError(name)
        return self._below[name]

    def __reduce__(self) -> Any:
        raise NotImplementedError


class _Float(_Beside, float):
    def __reduce__(self) -> Any:
        return float, (float(self),)


class _Int(_Beside, int):
    def __reduce__(self) -> Any:
        return int, (int(self),)


def _beside(value: int | float, below: dict[str, Any]) -> _Beside:
    made: _Beside = _Int(value) if isinstance(value, int) else _Float(value)
    made._below = below
    return made


class _Part(dict[str, Any]):
    """What lies below a dotted prefix of a summary: read as a dict, written through to the summary."""

    def __init__(self, summary: Summary, prefix: str, below: Mapping[str, Any]) -> None:
        super().__init__()
        object.__setattr__(self, "_summary", summary)
        object.__setattr__(self, "_prefix", prefix)
        nested: dict[str, dict[str, Any]] = {}
        for name, value in below.items():
            head, dot, rest = name.partition(".")
            if dot and head not in below:
                nested.setdefault(head, {})[rest] = value
            else:
                super().__setitem__(name, value)
        for head, values in nested.items():
            super().__setitem__(head, _Part(summary, f"{prefix}.{head}", values))

    _summary: Summary
    _prefix: str

    def __setitem__(self, name: str, value: Any) -> None:
        self._summary[f"{self._prefix}.{name}"] = value
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        del self._summary[f"{self._prefix}.{name}"]
        super().__delitem__(name)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {self._prefix}.{name}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class _Statistics:
    """Of one key: first and last value by time; count, sum, min and max of the finite numbers."""

    __slots__ = ("count", "first", "first_ns", "high", "last", "last_ns", "low", "sum")

    def __init__(self) -> None:
        self.first: Any = None
        self.last: Any = None
        self.first_ns = self.last_ns = -1
        self.count = 0
        self.sum = 0.0
        self.low: Any = math.inf
        self.high: Any = -math.inf

    def add(self, values: Sequence[Any], first_ns: int, last_ns: int) -> None:
        if self.first_ns < 0 or first_ns < self.first_ns:
            self.first, self.first_ns = values[0], first_ns
        if last_ns >= self.last_ns:  # streams of one run may overlap in time
            self.last, self.last_ns = values[-1], last_ns
        total: float = sum(values) if isinstance(values, array) else math.nan
        if not math.isfinite(total):  # something in it is no finite number: look at each
            values = [value for value in values if isinstance(value, (int, float)) and _is_finite(value)]
            if not values:
                return
            total = math.fsum(values)
        self.count += len(values)
        self.sum += total
        self.low = min(self.low, min(values))
        self.high = max(self.high, max(values))

    def known(self) -> dict[str, Any]:
        found = {"first": self.first, "last": self.last}
        if self.count:
            found.update(min=self.low, max=self.high, mean=self.sum / self.count)
        return found


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond what a float can tell
        return False


def _is_same(one: Any, other: Any) -> bool:
    # By representation: NaN differs from itself, and True is no 1.
    return one is other or repr(one) == repr(other)


def _place(found: dict[str, Any], name: str, is_there: bool, value: Any) -> None:
    if is_there:
        found[name] = value
    else:
        found.pop(name, None)
