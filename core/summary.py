"""One value per metric: the last one logged, what `define_metric` asks for, or what the user has set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from .journal import Block, Entry
from .metrics import Definitions, summarise
from .values import plain


class Summary(MutableMapping[str, Any]):
    """The run's summary. Nothing of it is computed while logging: it reads the journal when it is asked.

    Args:
        read: Answers what the journal has gained since the last call.
        write: Takes values set by hand, and the paths of removed ones.
        definitions: What `define_metric` has said.

    Example:
        run.summary["best_accuracy"] = 0.97
        run.summary.loss
    """

    _by_hand: dict[str, Any]

    def __init__(
        self,
        read: Callable[[], Iterable[Entry]],
        write: Callable[[dict[str, Any], list[Any]], None],
        definitions: Definitions,
    ) -> None:
        for name, value in {
            "_read": read,
            "_write": write,
            "_definitions": definitions,
            "_statistics": {},
            "_by_hand": {},
        }.items():
            object.__setattr__(self, name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def preload(self, values: dict[str, Any]) -> None:
        """Take in what an earlier process has left."""
        self._by_hand.update(values)

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._catch_up()  # what was logged until now is older than this
        kept = plain(value)
        self._by_hand[key] = kept
        self._write({key: kept}, [])

    def __delitem__(self, key: str) -> None:
        self._catch_up()
        if key not in self._by_hand and key not in self._statistics:
            raise KeyError(key)
        self._by_hand.pop(key, None)
        self._statistics.pop(key, None)
        self._write({}, [[key]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._now())

    def _now(self) -> dict[str, Any]:
        self._catch_up()
        found: dict[str, Any] = {}
        for key, statistics in self._statistics.items():
            found.update(summarise(self._definitions.match(key), statistics, key))
        found.update(self._by_hand)
        return found

    def _catch_up(self) -> None:
        for entry in self._read():
            if not isinstance(entry, Block):
                continue
            for key, column in entry.columns.items():
                self._by_hand.pop(key, None)  # logged after it was set: the later one wins
                _add(self._statistics.setdefault(key, {"count": 0, "sum": 0.0}), column.values)


def _add(statistics: dict[str, Any], values: Any) -> None:
    statistics.setdefault("first", values[0])
    statistics["last"] = values[-1]
    numbers = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if numbers:
        statistics["count"] += len(numbers)
        statistics["sum"] += math.fsum(numbers)
        statistics["mean"] = statistics["sum"] / statistics["count"]
        statistics["min"] = min(statistics.get("min", numbers[0]), min(numbers))
        statistics["max"] = max(statistics.get("max", numbers[0]), max(numbers))
