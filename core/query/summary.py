"""A run's summary read back: a dict with dotted keys, in which what is nested can be read either way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class RunSummary(dict[str, Any]):
    """One value per metric.

    `summary["loss.min"]` is also `summary["loss"]["min"]`, and `summary["best"]` a dict of what was set below `best`.
    `_json_dict` is there for scripts that know it from W&B.

    Args:
        values: By dotted key.
        keep: Keeps what was changed here; called by `update`, as W&B's does.
    """

    def __init__(self, values: Mapping[str, Any], keep: Callable[[], object] | None = None) -> None:
        super().__init__(values)
        self._keep = keep
        self._tree: dict[str, list[str]] = {}  # names by what stands before each of their dots
        self._tree_size = -1

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take values in, and keep all that was changed in this summary."""
        self._tree_size = -1
        super().update(*args, **kwargs)
        if self._keep is not None:
            self._keep()

    def __getitem__(self, key: str) -> Any:
        below = {name[len(key) + 1 :]: self.get(name) for name in self._names_below(key)}
        if key not in self:
            if below:
                return RunSummary(below)
            raise KeyError(key)
        value = super().__getitem__(key)
        if below and isinstance(value, (int, float)) and not isinstance(value, bool):
            last = _Whole(value) if isinstance(value, int) else _Real(value)
            last._below = {"last": value, **below}
            return last
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._tree_size = -1
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._tree_size = -1
        super().__delitem__(key)

    def _names_below(self, key: str) -> list[str]:
        if self._tree_size != len(self):
            self._tree, self._tree_size = {}, len(self)
            for name in self:
                at = name.find(".")
                while at >= 0:
                    self._tree.setdefault(name[:at], []).append(name)
                    at = name.find(".", at + 1)
        return self._tree.get(key, [])

    @property
    def _json_dict(self) -> dict[str, Any]:
        return dict(self)


class _Below:
    """What a metric's last value also answers: `["min"]` and the like."""

    _below: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self._below[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Answer one of the values beside the last one."""
        return self._below.get(name, default)

    def __reduce__(self) -> Any:  # a plain number for whoever copies or pickles it
        return type(self._below["last"]), (self._below["last"],)


class _Real(_Below, float):
    pass


class _Whole(_Below, int):
    pass
